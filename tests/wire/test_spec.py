"""docs/promises.md, section 1: PODIUM.SPEC and what a schema makes of a record."""

from __future__ import annotations

import json

import pytest

from asking import get, index, meta, spec
from support import ReplyError, eventually, text
from world import SINGLE_LINK, SPECS, event, item, project, schema, user


def effective(client, entity) -> dict:
    return json.loads(client.call("PODIUM.SPEC", "GET", entity))


def test_set_get_list_and_del(server):
    client = server.client()
    assert client.call("PODIUM.SPEC", "GET", "events") is None
    assert client.call("PODIUM.SPEC", "LIST") == []
    for entity in ("votes", "events", "{shop}events", "Users"):
        spec(client, entity, {})
    assert text(client.call("PODIUM.SPEC", "LIST")) == sorted(["votes", "events", "{shop}events", "Users"])
    assert client.call("PODIUM.SPEC", "DEL", "votes") == 1
    assert client.call("PODIUM.SPEC", "DEL", "votes") == 0
    assert client.call("PODIUM.SPEC", "GET", "votes") is None


def test_get_shows_the_effective_spec(server, world):
    client = server.client()
    spec(client, "users", SPECS["users"])
    shown = effective(client, "users")
    assert shown["table"] == "users" and shown["base"] == world.base
    email = shown["fields"]["email"]
    assert email["indexed"] is True and email["normalize"] == ["trim", "lower"] and email["airtable"] == "email" and email["kind"]
    assert shown["fields"]["points"]["sortable"] is True and shown["fields"]["points"]["default"] == 0
    assert shown["default_view"] == "public"
    assert set(shown["views"]["public"]) == {"id", "display_name", "points"}
    assert shown["ttl"] == 28800 and shown["tombstone_ttl"] == 21600


def test_the_table_is_the_name_without_its_tag(server):
    client = server.client()
    spec(client, "{shop}events", {})
    assert effective(client, "{shop}events")["table"] == "events"


def test_a_bare_json_schema_is_a_spec(server):
    client = server.client()
    spec(client, "events", SPECS["events"]["schema"])
    assert effective(client, "events")["fields"]["slug"]["indexed"] is True


@pytest.mark.parametrize("entity", ["tomb", "tag", "podium", "{x}tomb", "{x}tag", "", "a b", "a:b", "a/b", "a*", "{}", "{x}", "{x", "é", "a\x00b"])
def test_bad_entity_names_are_refused(server, entity):
    error = server.client().error("PODIUM.SPEC", "SET", entity, "{}")
    assert error.code in ("BADSPEC", "BADKEY"), error.text


@pytest.mark.parametrize("given, named", [
    ('{"tabel": "x"}', "tabel"),
    ('{"schema": {"type": "object", "properties": {"a": {"type": "string"}}}, "views": {"v": ["b"]}}', "b"),
    ('{"schema": {"type": "object", "properties": {"a": {"type": "string"}}}, "indexed": ["zz"]}', "zz"),
    ('{"ttl": "long"}', "ttl"),
    ('{"ttl": 0}', "ttl"),
    ('{"jitter": 7}', "jitter"),
    ('{"default_view": "nope"}', "nope"),
    ('{"normalize": {"email": ["rot13"]}}', "normalize/email"),
    ('{"schema": {"$ref": "#/$defs/None"}}', "None"),
    ("{", ""),
    ("[]", ""),
    ("null", ""),
    ("", ""),
    ('{"schema": 3}', "schema"),
    ("\xff\xfe", ""),
])
def test_a_bad_spec_is_refused_and_named(server, given, named):
    client = server.client()
    error = client.error("PODIUM.SPEC", "SET", "events", given)
    assert error.code == "BADSPEC" and named in error.text, error.text
    assert client.call("PODIUM.SPEC", "GET", "events") is None


def test_a_refused_spec_leaves_the_old_one_in_force(client, world):
    assert get(client, f"events:{event(1)}")["name"] == "Event 1"
    client.error("PODIUM.SPEC", "SET", "events", '{"nonsense": 1}')
    world.airtable.forget()
    assert get(client, f"events:{event(1)}")["name"] == "Event 1"
    assert world.airtable.count() == 0


def test_an_equal_spec_changes_nothing(client, world):
    get(client, f"events:{event(1)}")
    index(client, "events:slug:event-2")
    world.airtable.forget()
    reordered = json.dumps(dict(reversed(list(SPECS["events"].items()))), indent=3)
    spec(client, "events", reordered)
    spec(client, "events", {**SPECS["events"], "table": "events"})
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"
    assert index(client, "events:slug:event-2")[0]["id"] == event(2)
    assert world.airtable.count() == 0


def test_a_spec_that_differs_is_in_force_for_the_next_read(client):
    assert "open" in get(client, f"events:{event(1)}")
    index(client, "events:slug:event-2")
    spec(client, "events", {"schema": schema({"slug": {"type": "string", "indexed": True}, "title": {"type": "string", "airtable": "name"}})})
    assert get(client, f"events:{event(1)}") == {"id": event(1), "slug": "event-1", "title": "Event 1"}
    assert index(client, "events:slug:event-2") == [{"id": event(2), "slug": "event-2", "title": "Event 2"}]
    assert client.error("PODIUM.INDEX", "events:open:true").code in ("NOINDEX", "BADKEY")


def test_del_takes_the_cached_data_along(client):
    get(client, f"events:{event(1)}")
    index(client, "events:slug:event-2")
    assert client.call("PODIUM.SPEC", "DEL", "events") == 1
    eventually(5, "no key of the entity left", lambda: not client.call("KEYS", "events:*"))
    assert client.error("PODIUM.GET", f"events:{event(1)}").code == "NOENTITY"


def test_noentity_quotes_what_to_type(server):
    error = server.client().error("PODIUM.GET", f"events:{event(1)}")
    assert error.code == "NOENTITY" and "PODIUM.SPEC SET events" in error.text and "DISCOVER" in error.text


@pytest.mark.parametrize("flush", ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"])
def test_specs_survive_a_flush_that_empties_the_cache(client, world, flush):
    get(client, f"events:{event(1)}")
    client.call(*flush.split())
    assert len(client.call("PODIUM.SPEC", "LIST")) == len(SPECS)
    world.airtable.forget()
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"
    assert world.airtable.count() == 1


def test_without_a_schema_everything_is_stored(server, world):
    client = server.client()
    spec(client, "projects", {})
    record = get(client, f"projects:{project(1)}")
    truth = world.truth("projects")[project(1)]
    assert record["id"] == project(1) and {k: v for k, v in record.items() if k != "id"} == {k: v for k, v in truth.items() if k != "id"}


def test_with_a_schema_only_its_fields_are_stored(server):
    client = server.client()
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}})})
    assert get(client, f"projects:{project(1)}") == {"id": project(1), "name": "Project 01"}


def test_a_single_link_is_indexed_by_itself(server, world):
    client = server.client()
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}, "event": SINGLE_LINK})})
    assert effective(client, "projects")["fields"]["event"]["indexed"] is True
    expected = sorted(id for id, cells in world.truth("projects").items() if cells["event"] == [event(1)])
    assert [record["id"] for record in index(client, f"projects:event:{event(1)}")] == expected


def test_lacking_cells_are_filled_so_that_the_model_passes(server):
    client = server.client()
    spec(client, "projects", {"schema": schema({
        "points": {"type": "integer", "default": 5},
        "stage": {"type": "string", "default": 7},
        "tags": {"type": "array", "items": {"type": "string"}},
        "flag": {"type": "boolean"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "text": {"type": "string"},
        "optional": {"type": "string"},
    }, ["tags", "flag", "note", "text"])})
    # Project 20 has no points, stage, tags.
    record = get(client, f"projects:{project(20)}")
    assert record["points"] == 5 and record["flag"] is False and record["note"] is None and record["text"] == ""
    assert "optional" not in record and "stage" not in record, "no default that satisfies the field's own schema: left out"
    assert get(client, f"projects:{project(3)}")["tags"] == []


def test_a_required_field_that_nothing_may_fill_is_left_out_and_counted(server):
    client = server.client()
    spec(client, "projects", {"schema": schema({"stage": {"type": "string", "minLength": 1}, "name": {"type": "string"}}, ["stage"])})
    before = server.figure("schema_violations")
    assert get(client, f"projects:{project(5)}") == {"id": project(5), "name": "Project 05"}
    assert server.figure("schema_violations") == before + 1


def test_readonly_fields_are_never_filled(server):
    client = server.client()
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}, "ghost": {"type": "string", "default": "x", "readOnly": True}})})
    assert get(client, f"projects:{project(1)}") == {"id": project(1), "name": "Project 01"}


def test_a_lookup_of_one_becomes_the_scalar_its_schema_asks_for(client):
    assert get(client, f"projects:{project(1)}")["owner_display_name"] == "User 2"


def test_id_is_always_the_records_id(server):
    client = server.client()
    spec(client, "items", {"schema": {"type": "object", "properties": {"id": {"type": "string", "airtable": "name"}, "n": {"type": "integer"}}}})
    assert get(client, f"items:{item(3)}") == {"id": item(3), "n": 3}


def test_views_as_list_and_as_schema(server):
    client = server.client()
    spec(client, "users", {"schema": SPECS["users"]["schema"], "views": {
        "listed": ["id", "points"],
        "modelled": {"type": "object", "properties": {"id": {"type": "string"}, "points": {"type": "number", "default": 99}, "display_name": {"type": "string"}}},
    }})
    key = f"users:{user(3)}"
    assert get(client, key, "VIEW", "listed") == {"id": user(3), "points": 0}
    assert get(client, key, "VIEW", "modelled") == {"id": user(3), "display_name": "User 3", "points": 99}, "a view schema has its own defaults"
    assert get(client, key)["email"] == "user3@example.com", "no view `public`, no default_view: the whole record"


def test_ttl_of_a_spec_overrides_the_setting(server):
    client = server.client()
    spec(client, "items", {"table": "items", "ttl": 100, "jitter": 0})
    get(client, f"items:{item(1)}")
    assert 98 <= meta(client, "PODIUM.GET", f"items:{item(1)}")["ttl"] <= 100


def test_jitter_spreads_the_lifetimes(server):
    client = server.client()
    spec(client, "items", {"ttl": 10000, "jitter": 0.05})
    keys = [f"items:{item(n)}" for n in range(1, 101)]
    client.call("PODIUM.MGET", len(keys), *keys)
    lifetimes = [meta(client, "PODIUM.GET", key)["ttl"] for key in keys]
    assert all(9490 <= ttl <= 10500 for ttl in lifetimes) and max(lifetimes) - min(lifetimes) > 300, lifetimes


def test_spec_file_is_loaded_at_start(spawn, tmp_path):
    path = tmp_path / "specs.json"
    path.write_text(json.dumps({"events": SPECS["events"], "items": {}}))
    client = spawn({"spec-file": path}).client()
    assert text(client.call("PODIUM.SPEC", "LIST")) == ["events", "items"]
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"


@pytest.mark.parametrize("content, named", [
    ('{"events": {"tabel": "x"}}', "tabel"), ("{", "specs.json"), ('{"a b": {}}', "a b"), (None, "specs.json"),
])
def test_a_broken_spec_file_refuses_to_load_and_names_the_place(spawn, tmp_path, content, named):
    path = tmp_path / "specs.json"
    if content is not None:
        path.write_text(content)
    server = spawn({"spec-file": path}, expect_failure=True)
    assert server.process.poll() is not None, "the server runs although its module was told a broken spec file"
    assert named in server.log()
    server.process = None


@pytest.mark.parametrize("base", ["meta", "app", "bases", "appA-1", "appA_1", "APPabc123", "appé", "app/../meta", "app" + "x" * 62, " appA1", ""])
def test_what_is_no_base_is_refused_in_a_spec_as_in_the_setting(client, base):
    """One rule for all: the id goes into a path in which other words are routes of their own."""
    error = client.error("PODIUM.SPEC", "SET", "elsewhere", json.dumps({**SPECS["items"], "base": base}))
    assert error.code == "BADSPEC" and "/base" in error.text, error.text
    if base:
        assert isinstance(client.attempt("CONFIG", "SET", "podium.base", base), ReplyError)
        assert client.error("PODIUM.SYNC", "STATUS", base).code == "BADKEY"
        assert client.error("PODIUM.SPEC", "DISCOVER", base, "x_").code == "ERR"


@pytest.mark.parametrize("base", ["appA", "appABCDEF1234567", "app" + "x" * 61])
def test_what_may_be_a_base_is_taken_everywhere(server, client, base):
    assert client.call("PODIUM.SPEC", "SET", "elsewhere", json.dumps({**SPECS["items"], "base": base})) == "OK"
    assert client.call("CONFIG", "SET", "podium.base", base) == "OK"
