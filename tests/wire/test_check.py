"""docs/promises.md, section 1: PODIUM.SPEC CHECK compares specs with the base's schema, and runs by itself."""

from __future__ import annotations

import json
import urllib.request

import pytest

from airtable import TOKEN
from asking import get, meta, spec
from support import eventually, mapping, text
from world import SPECS, define, item, project, schema


def check(client, *words) -> list[dict]:
    return [{key: text(value) for key, value in mapping(row).items()} for row in client.call("PODIUM.SPEC", "CHECK", *words)]


def one(client, *words) -> dict:
    """The only problem there is."""
    found = check(client, *words)
    assert len(found) == 1, found
    return found[0]


def edit(world, table: str, **change) -> None:
    """Changes the schema as a user of the web client does."""
    world.airtable.control("POST", "schema", {"base": world.base, "table": table, **change})


def rename(world, table: str, field: str, name: str) -> None:
    edit(world, table, rename_field={"field": field, "name": name})


def meta_calls(world) -> int:
    return len([call for call in world.airtable.calls() if "/meta/" in call["path"]])


def field_id(world, table: str, field: str) -> str:
    url = f"{world.airtable.url}/v0/meta/bases/{world.base}/tables"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"}), timeout=10) as answer:
        tables = json.load(answer)["tables"]
    for t in tables:
        for f in t["fields"]:
            if t["name"] == table and f["name"] == field:
                return f["id"]
    raise AssertionError(f"no {table}.{field}")


def problems(server) -> int:
    return server.figure("spec_problems")


def said(server) -> str:
    """What the server logged in this test."""
    return server.log()[server.log_seen:]


def test_specs_that_fit_have_no_problems(server, client, world):
    assert check(client) == []
    assert world.airtable.count() == meta_calls(world) == 1 == server.figure("upstream_calls_meta"), "one call for five entities"
    assert check(client, "projects") == []
    assert problems(server) == 0


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_shape_of_the_reply(server, client, world, protocol):
    c = server.client(protocol)
    rename(world, "items", "group", "Crew")
    found = c.call("PODIUM.SPEC", "CHECK", "items")
    assert len(found) == 1 and set(mapping(found[0])) == {"entity", "field", "problem", "do"}


def test_a_renamed_column(server, client, world):
    """The id it had, and the name it has now: what is known of the schema from before."""
    assert check(client) == []
    fld = field_id(world, "projects", "stage")
    rename(world, "projects", "stage", "Phase of it")
    found = one(client)
    assert found["entity"] == "projects" and found["field"] == "stage"
    assert fld in found["problem"] and "Phase of it" in found["problem"] and fld in found["do"]
    assert one(client, "projects") == found and check(client, "items") == []
    assert problems(server) == 1
    own = dict(mapping(client.call("PODIUM.STATS", "projects")))
    assert own["podium_spec_problems"] == 1
    rename(world, "projects", "Phase of it", "stage")
    assert check(client) == [] and problems(server) == 0


def test_the_history_survives_a_restart_and_a_flush(spawn, world):
    server = spawn(save=True)
    client = server.client()
    define(client)
    assert check(client) == []
    fld = field_id(world, "projects", "stage")
    rename(world, "projects", "stage", "Phase of it")
    client.call("FLUSHALL")
    client.call("SAVE")
    server.restart()
    client = server.client()
    assert fld in one(client)["problem"]


def test_the_history_reaches_replicas(spawn, world):
    primary = spawn()
    client = primary.client()
    define(client)
    replica = spawn(config=[f"replicaof 127.0.0.1 {primary.port}"])
    r = replica.client()
    eventually(10, "the specs are there", lambda: len(r.call("PODIUM.SPEC", "LIST")) == len(SPECS))
    assert check(client) == []
    assert r.error("PODIUM.SPEC", "CHECK").code == "REPLICAMISS"
    fld = field_id(world, "projects", "stage")
    rename(world, "projects", "stage", "Phase of it")
    eventually(10, "what is known of tables is there", lambda: r.call("HEXISTS", "podium:spec:projects", "table"))
    primary.stop()
    r.call("REPLICAOF", "NO", "ONE")
    assert fld in one(r)["problem"]


def test_without_a_history_the_nearest_name_is_guessed(client, world):
    rename(world, "projects", "stage", "Stage 2")
    found = one(client)
    assert "Stage 2" in found["problem"] and found["field"] == "stage"


def test_a_deleted_column(client, world):
    check(client)
    edit(world, "projects", delete_field="stage")
    found = one(client)
    assert found["field"] == "stage" and "deleted" in found["problem"]


def test_a_lookup_that_is_missing_or_looks_up_something_else(client, world):
    rename(world, "projects", "event_id", "whose")
    found = one(client)
    assert found["field"] == "event" and "event_id" in found["problem"] and "whose" in found["do"]
    rename(world, "projects", "owner_id", "event_id")
    found = {p["field"]: p for p in check(client)}
    assert set(found) == {"event", "owner"} and "owner" in found["event"]["problem"] and "whose" in found["event"]["do"]
    assert "event_id" in found["owner"]["do"]


def test_types_names_and_tables(client, world):
    spec(client, "items", {"schema": schema({"name": {"type": "integer"}, "n": {"type": "number"}})})
    spec(client, "loose", {"table": "items", "views": {"public": ["name", "nowhere"]}, "depends": {"n": "nobody"}})
    check(client)
    edit(world, "projects", rename_table="Undertakings")
    found = {(p["entity"], p["field"]): p for p in check(client)}
    assert set(found) == {("items", "name"), ("loose", "n"), ("loose", "nowhere"), ("projects", "")}
    assert "Undertakings" in found["projects", ""]["problem"] and "tbl" in found["projects", ""]["do"]
    assert "nobody" in found["loose", "n"]["problem"]


def test_entities_of_several_bases(client, world):
    spec(client, "far", {"base": "appNotForThisOne01", "table": "x"})
    rename(world, "items", "group", "Crew")
    found = {p["entity"]: p for p in check(client)}
    assert set(found) == {"far", "items"} and "could not be read" in found["far"]["problem"]
    error = client.error("PODIUM.SPEC", "CHECK", "far")
    assert error.code in ("UPSTREAMAUTH", "UPSTREAM")


def test_errors(server, client, world):
    assert client.error("PODIUM.SPEC", "CHECK", "nobody").code == "NOENTITY"
    assert client.error("PODIUM.SPEC", "CHECK", "items", "x").code == "ERR"
    client.call("MULTI")
    client.call("PODIUM.SPEC", "CHECK")
    assert client.call("EXEC")[0].code == "WOULDBLOCK"
    assert client.error("EVAL", "return redis.call('PODIUM.SPEC', 'CHECK')", "0").code == "WOULDBLOCK"
    assert world.airtable.count() == 0
    world.airtable.status(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "no", match={"path_contains": "/meta/"})
    error = client.error("PODIUM.SPEC", "CHECK")
    assert error.code == "UPSTREAMAUTH" and "schema.bases:read" in error.text
    world.airtable.clear_faults()
    client.call("CONFIG", "SET", "podium.base", "")
    assert "no base" in one(client, "items")["problem"]


# By itself ------------------------------------------------------------------------------------------------------


def test_a_spec_is_checked_behind_its_first_fetch(server, client, world):
    """And not before a fetch: defining entities makes no call. Each problem is logged once."""
    rename(world, "items", "group", "Crew")
    assert meta(client, "PODIUM.GET", f"items:{item(1)}")["airtable-hits"] == 1
    assert world.airtable.count() == 1, "behind the read, not beside it"
    assert server.figure("upstream_calls_get") == 1
    eventually(10, "the problem is counted", lambda: problems(server) == 1)
    assert meta_calls(world) == 1 == server.figure("upstream_calls_meta") and world.airtable.count() == 2
    assert said(server).count("the spec of items.group") == 1
    check(client)
    assert said(server).count("the spec of items.group") == 1 and "Crew" in said(server)


def test_another_spec_is_checked_anew(server, client, world):
    get(client, f"items:{item(1)}")
    eventually(10, "the first check", lambda: meta_calls(world) == 1)
    rename(world, "items", "group", "Crew")
    own = {"schema": schema({"group": {"type": "string", "indexed": True}})}
    spec(client, "items", own)
    get(client, f"items:{item(1)}")
    eventually(10, "the second check", lambda: problems(server) == 1)
    assert meta_calls(world) == 2
    own["schema"]["properties"]["group"]["airtable"] = "Crew"
    spec(client, "items", own)
    assert problems(server) == 0, "nothing is known of what is in force now"
    client.call("PODIUM.SPEC", "DEL", "items")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_token_that_may_not_read_schemas(server, client, world, status):
    """It disturbs no read, and is not tried again and again."""
    world.airtable.status(status, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "no", match={"path_contains": "/meta/"})
    assert get(client, f"items:{item(1)}")["n"] == 1
    eventually(10, "it was tried", lambda: meta_calls(world) == 1)
    eventually(10, "and said once", lambda: said(server).count("are not compared with its schema") == 1)
    for n in range(2, 6):
        assert get(client, f"items:{item(n)}")["n"] == n
    assert server.info()["podium_breaker"] == "closed" and meta_calls(world) == 1


def test_a_switched_off_cache_checks_nothing(server, client, world):
    client.call("CONFIG", "SET", "podium.enabled", "no")
    get(client, f"items:{item(1)}")
    with pytest.raises(AssertionError, match="still not"):
        eventually(4.5, "a check", lambda: meta_calls(world))


def test_the_feed_tells_of_a_changed_schema(server, client, world):
    client.call("CONFIG", "SET", "podium.sync-interval", "1")
    assert client.call("PODIUM.SYNC", "START") == "OK"
    try:
        get(client, f"projects:{project(1)}")
        fld = field_id(world, "projects", "stage")
        rename(world, "projects", "stage", "Phase of it")
        client.call("PODIUM.SYNC", "NOW")
        get(client, f"projects:{project(2)}")
        eventually(15, "the problem is counted", lambda: get(client, f"projects:{project(1)}") and problems(server) == 1)
        assert fld in said(server) and "Phase of it" in said(server)
    finally:
        client.call("PODIUM.SYNC", "STOP")


def test_a_discovery_is_a_check_too(server, client, world):
    client.call("PODIUM.SPEC", "DISCOVER")
    world.airtable.forget()
    rename(world, "items", "group", "Crew")
    assert one(client)["field"] == "group" and "fld" in one(client)["do"]


def test_rights(server, client):
    shown = text(client.call("COMMAND", "INFO", "podium.spec|check")[0][6])
    assert {"@podium", "@admin"} <= set(shown)
    docs = mapping(mapping(client.call("COMMAND", "DOCS", "podium.spec|check"))["podium.spec|check"])
    assert docs["summary"] and docs["arguments"]
