"""docs/promises.md, section 2: PODIUM.INDEX, its order, its values, and what is asked upstream."""

from __future__ import annotations

import json
import time

import pytest

from asking import get, ids, index, meta, spec
from support import eventually
from world import ITEMS, SPECS, event, item, project, schema, user


def where(world, table, keep):
    """The ids that the truth holds, in the order of a reply."""
    return sorted(id for id, cells in world.truth(table).items() if keep(cells))


def test_every_record_with_the_value_and_complete_from_then_on(client, world):
    expected = where(world, "items", lambda cells: cells["group"] == "g3")
    records = index(client, "items:group:g3")
    assert [record["id"] for record in records] == expected and len(expected) == 40
    assert world.airtable.count() == 1
    assert index(client, "items:group:g3") == records
    assert world.airtable.count() == 1
    world.airtable.forget()
    assert get(client, f"items:{expected[0]}")["group"] == "g3"
    assert world.airtable.count() == 0, "what an index fetch brought is cached"


def test_more_than_a_page(server, world):
    client = server.client()
    spec(client, "items", SPECS["items"])
    for n in range(1, ITEMS + 1, 1):
        if n % 10 not in (1, 2, 3):
            world.change("items", item(n), group="many")
            if n > 250:
                break
    expected = where(world, "items", lambda cells: cells.get("group") == "many")
    assert len(expected) > 100
    assert ids(client, "items:group:many") == expected


def test_an_empty_answer_is_remembered_for_empty_ttl(client, world):
    assert index(client, "items:group:none") == []
    assert index(client, "items:group:none") == []
    assert world.airtable.count() == 1
    assert meta(client, "PODIUM.INDEX", "items:group:none")["detail"] == "index-empty"
    assert 1 <= meta(client, "PODIUM.INDEX", "items:group:none")["ttl"] <= 30
    client.call("CONFIG", "SET", "podium.empty-ttl", "1")
    index(client, "items:group:none2")
    world.airtable.forget()
    world.create("items", "recNewItem0000001", name="new", group="none2")
    eventually(5, "the new record is seen when the empty set's freshness ends", lambda: ids(client, "items:group:none2") == ["recNewItem0000001"])


def test_links_are_asked_for_by_id_through_the_lookup(client, world):
    expected = where(world, "projects", lambda cells: cells["event"] == [event(2)])
    assert ids(client, f"projects:event:{event(2)}") == expected
    assert world.airtable.count("event_id") == 1 and world.airtable.count() == 1


def test_index_to_airtable_overrides_the_lookup(client, world):
    expected = where(world, "votes", lambda cells: cells["voter"] == [user(2)])
    assert ids(client, f"votes:voter:{user(2)}") == expected and expected
    assert world.airtable.count("user_id") == 1


@pytest.mark.parametrize("raw", ["user3@example.com", "User3@Example.com", "  USER3@EXAMPLE.COM "])
def test_values_are_normalised(client, raw):
    assert ids(client, f"users:email:{raw}") == [user(3)]


def test_a_value_not_in_normal_form_is_answered_from_its_normal_form(client, world):
    assert ids(client, "users:email:user3@example.com") == [user(3)]
    world.airtable.forget()
    assert ids(client, "users:email: USER3@example.COM") == [user(3)]
    assert world.airtable.count() == 0


@pytest.mark.parametrize("key, keep", [
    ("projects:points:3", lambda c: c.get("points") == 3),
    ("projects:points:3.0", lambda c: c.get("points") == 3),
    ("projects:points:0", lambda c: not c.get("points")),
    ("projects:stage:build", lambda c: c.get("stage") == "build"),
    ("projects:due:2026-03-05", lambda c: c.get("due") == "2026-03-05"),
])
def test_values_of_every_kind(client, world, key, keep):
    expected = where(world, "projects", keep)
    assert ids(client, key) == expected and expected


@pytest.mark.parametrize("value, keep", [("true", lambda c: bool(c.get("open"))), ("false", lambda c: not c.get("open"))])
def test_booleans_take_true_and_false(client, world, value, keep):
    assert ids(client, f"events:open:{value}") == where(world, "events", keep)


@pytest.mark.parametrize("key", ["events:open:yes", "events:open:1", "events:open:TRUE", "projects:points:abc", "projects:points:", "projects:event:evt1", "projects:due:tomorrow"])
def test_a_value_that_its_kind_cannot_have_is_badkey(client, world, key):
    assert client.error("PODIUM.INDEX", key).code == "BADKEY"
    assert world.airtable.count() == 0


def test_text_compares_exactly(client):
    assert ids(client, "events:slug:event-1") == [event(1)]
    assert ids(client, "events:slug:EVENT-1") == []
    assert ids(client, "events:slug:event-1 ") == []


@pytest.mark.parametrize("value", [
    "it's", "a'b\\", "\\'", "') , TRUE() , ('", "\"quoted\"", "a:b:c", "{slug}", "'&{slug}&'", "é ü 漢", "tab\tbed", "line\nbreak", "%s%n", "x" * 1024, "' OR 1=1", "\\n",
])
def test_no_value_can_inject_a_formula(client, world, value):
    world.change("events", event(3), slug=value)
    assert ids(client, f"events:slug:{value}") == [event(3)]
    assert ids(client, f"events:slug:{value[:-1]}?") == []


@pytest.mark.parametrize("key, code", [
    ("events:name:Event 1", "NOINDEX"), ("events:nofield:x", "NOINDEX"), ("events", "BADKEY"), (f"events:{event(1)}", "BADKEY"), ("events:", "BADKEY"), ("ghosts:slug:x", "NOENTITY"),
    ("events:slug:" + "x" * 1025, "BADKEY"), ("*", "BADKEY"),
])
def test_what_is_no_index_is_told_before_any_call(client, world, key, code):
    assert client.error("PODIUM.INDEX", key).code == code
    assert world.airtable.count() == 0


def test_the_whole_entity(client, world):
    assert ids(client, "projects:*") == sorted(world.truth("projects"))
    calls = world.airtable.count()
    assert calls == 1
    assert len(index(client, "projects:*")) == 20 and world.airtable.count() == calls
    assert client.call("PODIUM.INDEX", "items:*", "COUNT") == ITEMS
    assert world.airtable.count() == calls + 4


def test_ids_and_count(client, world):
    assert client.call("PODIUM.INDEX", "items:group:g1", "COUNT") == 40
    assert len(ids(client, "items:group:g1")) == 40
    assert client.call("PODIUM.INDEX", "items:group:g1", "COUNT", "LIMIT", 0, 5) == 40, "of all, before LIMIT"
    assert world.airtable.count() == 1


@pytest.mark.parametrize("offset, count, expect", [(0, 3, slice(0, 3)), (5, 3, slice(5, 8)), (38, 10, slice(38, None)), (40, 1, slice(40, 40)), (2, -1, slice(2, None)), (0, 0, slice(0, 0))])
def test_limit(client, world, offset, count, expect):
    everything = where(world, "items", lambda cells: cells["group"] == "g1")
    assert ids(client, "items:group:g1", "LIMIT", offset, count) == everything[expect]


def sorted_ids(world, table, field, descending, empty=None):
    rows = world.truth(table)
    value = lambda id: rows[id].get(field, empty)
    having = sorted(id for id in rows if value(id) is not None)
    having.sort(key=value, reverse=descending)
    return having + sorted(id for id in rows if value(id) is None)


@pytest.mark.parametrize("order", [(), ("ASC",), ("DESC",), ("desc",)])
@pytest.mark.parametrize("field, empty", [("points", 0), ("name", None), ("due", None)])
def test_sort(client, world, order, field, empty):
    expected = sorted_ids(world, "projects", field, order[:1] in (("DESC",), ("desc",)), empty)
    assert ids(client, "projects:*", "SORT", field, *order) == expected, "ties by id ascending, no value last, in both directions"


def test_numbers_sort_as_numbers(client, world):
    found = [record["n"] for record in index(client, "items:group:g0", "SORT", "n", "DESC", "LIMIT", 0, 4)]
    assert found == [400, 390, 380, 370]


def test_top_of_an_index(client):
    found = index(client, f"projects:event:{event(2)}", "SORT", "points", "DESC", "LIMIT", 0, 2)
    assert [record["points"] for record in found] == [19, 13]


@pytest.mark.parametrize("options, code", [
    (("SORT", "description"), "NOSORT"), (("SORT", "nofield"), "NOSORT"), (("SORT",), "ERR"), (("LIMIT", "0"), "ERR"), (("LIMIT", "-1", "5"), "ERR"), (("LIMIT", "0", "-2"), "ERR"),
    (("LIMIT", "a", "b"), "ERR"), (("IDS", "COUNT"), "ERR"), (("IDS", "IDS"), "ERR"), (("SORT", "points", "SORT", "points"), "ERR"), (("SORT", "points", "UP"), "ERR"),
    (("VIEW", "nope"), "NOVIEW"), (("LIMIT", "0", "99999999999999999999"), "ERR"),
])
def test_bad_options(client, world, options, code):
    assert client.error("PODIUM.INDEX", "projects:*", *options).code == code
    assert world.airtable.count() == 0


def test_too_big_an_answer(client):
    client.call("CONFIG", "SET", "podium.max-answer", "30")
    assert client.error("PODIUM.INDEX", "items:group:g1").code == "TOOBIG"
    assert len(index(client, "items:group:g1", "LIMIT", 0, 30)) == 30
    assert client.call("PODIUM.INDEX", "items:group:g1", "COUNT") == 40
    assert len(ids(client, "items:group:g1")) == 40
    assert client.error("PODIUM.INDEX", "items:group:g1", "LIMIT", 0, 31).code == "TOOBIG"


def test_options_of_reads_hold_for_indexes(client, world):
    assert client.error("PODIUM.INDEX", "items:group:g1", "NOWAIT").code == "WOULDBLOCK"
    eventually(5, "the fetch behind lands", lambda: len(client.call("PODIUM.INDEX", "items:group:g1", "CACHEONLY") or []) == 40)
    world.create("items", "recNewItem0000002", name="new", group="g1")
    assert len(ids(client, "items:group:g1")) == 40
    assert len(ids(client, "items:group:g1", "NOCACHE")) == 41
    assert len(ids(client, "items:group:g1")) == 41
    world.airtable.forget()
    assert client.call("PODIUM.INDEX", "items:group:g2", "CACHEONLY") is None
    assert world.airtable.count() == 0
    world.delete("items", "recNewItem0000002")
    eventually(5, "the set is a second old", lambda: meta(client, "PODIUM.INDEX", "items:group:g1")["age"] >= 1)
    assert len(ids(client, "items:group:g1", "MAXAGE", 0)) == 40


def test_an_evicted_member_is_refetched_in_one_call(client, world):
    members = ids(client, "items:group:g1")
    client.call("DEL", *[f"items:{id}" for id in members[:5]])
    world.airtable.forget()
    assert [record["id"] for record in index(client, "items:group:g1")] == members
    assert world.airtable.count() == 1


def test_a_lost_set_is_asked_for_anew(client, world):
    members = ids(client, "items:group:g1")
    assert client.call("DEL", "items:group:g1") == 1, "the set is stored under the key's own name"
    world.airtable.forget()
    assert ids(client, "items:group:g1") == members
    assert world.airtable.count() == 1


def test_a_members_deletion_upstream_drops_it_when_it_is_refetched(client, world):
    members = ids(client, "items:group:g1")
    world.delete("items", members[0])
    client.call("PODIUM.INVALIDATE", f"items:{members[0]}")
    assert ids(client, "items:group:g1") == members[1:]


def test_a_default_also_matches_blank(server, world):
    client = server.client()
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}, "stage": {"type": "string", "default": "idea", "indexed": True}})})
    assert ids(client, "projects:stage:idea") == where(world, "projects", lambda c: c.get("stage", "idea") == "idea")


def test_arrays_index_every_element(server, world):
    client = server.client()
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}, "indexed": True}})})
    for tag in ("web", "ai"):
        assert ids(client, f"projects:tags:{tag}") == where(world, "projects", lambda c: tag in c.get("tags", []))


def test_a_lookup_that_the_base_lacks_falls_back_to_the_table(server, world):
    client = server.client()
    spec(client, "projects", {**SPECS["projects"], "index_to_airtable": {"event": "no_such_lookup"}})
    assert ids(client, f"projects:event:{event(2)}") == where(world, "projects", lambda c: c["event"] == [event(2)])


def test_a_lookup_that_lies_falls_back_to_the_table(server, world):
    client = server.client()
    # owner_id holds ids, but not those of `event`: a record that was seen shows it.
    spec(client, "projects", {**SPECS["projects"], "index_to_airtable": {"event": "owner_id"}})
    get(client, f"projects:{project(1)}")
    assert ids(client, f"projects:event:{event(2)}") == where(world, "projects", lambda c: c["event"] == [event(2)])
    # A lookup of names shows itself as well.
    spec(client, "projects", {**SPECS["projects"], "index_to_airtable": {"event": "owner_display_name"}})
    assert ids(client, f"projects:event:{event(2)}") == where(world, "projects", lambda c: c["event"] == [event(2)])


def test_beyond_warm_limit_the_error_names_what_to_create(server):
    client = server.client()
    client.call("CONFIG", "SET", "podium.warm-limit", "10")
    spec(client, "projects", {**SPECS["projects"], "index_to_airtable": {"event": "no_such_lookup"}})
    error = client.error("PODIUM.INDEX", f"projects:event:{event(2)}")
    assert "no_such_lookup" in error.text and "index_to_airtable" in error.text, error.text


def test_two_fields_of_one_entity_do_not_mix(client, world):
    assert ids(client, f"projects:owner:{user(2)}") == where(world, "projects", lambda c: c["owner"] == [user(2)])
    assert ids(client, f"projects:event:{event(2)}") == where(world, "projects", lambda c: c["event"] == [event(2)])
    assert ids(client, f"projects:event:{user(2)}") == []


def test_the_answer_is_in_the_default_view(client):
    assert set(index(client, "users:email:user3@example.com")[0]) == {"id", "display_name", "points"}
    assert set(index(client, "users:email:user3@example.com", "VIEW", "*")[0]) >= {"email", "is_admin"}


def test_record_of_index_is_the_one_of_get(client):
    from_index = client.call("PODIUM.INDEX", f"projects:event:{event(2)}")
    for raw in from_index:
        assert client.call("PODIUM.GET", f"projects:{raw[7:24].decode()}") == raw
    assert client.call("PODIUM.GET", f"projects:{project(1)}") in from_index


def test_what_was_told_is_in_the_set_that_is_asked_for_later(client, world):
    """Airtable may list a fresh write only after a while; what the cache was told stands until it is fetched."""
    client.call("PODIUM.UPSERT", "items:recToldOnly000001", json.dumps({"name": "told", "n": 1, "group": "cold"}))
    assert ids(client, "items:group:cold") == ["recToldOnly000001"]
    assert client.call("PODIUM.INDEX", "items:group:cold", "COUNT") == 1
    assert get(client, "items:recToldOnly000001")["group"] == "cold"


def test_the_whole_entity_makes_every_value_complete(client, world):
    """As a warmed table: the values that it holds, and those that it does not."""
    assert client.call("PODIUM.INDEX", "items:*", "COUNT") == ITEMS
    world.airtable.forget()
    assert len(ids(client, "items:group:g1")) == 40 and ids(client, "items:group:nobody") == []
    assert world.airtable.count() == 0


def test_maxage_looks_at_every_member(client, world):
    """A set may be younger than a record that was told into it, as of some time ago."""
    new = "recNewItem0000003"
    found = ids(client, "items:group:g1")
    world.create("items", new, name="true", group="g1")
    ago = int(time.time() * 1000) - 100_000
    assert client.call("PODIUM.UPSERT", f"items:{new}", json.dumps({"name": "told", "n": 0, "group": "g1"}), "AT", ago) == 1
    world.airtable.forget()
    assert [r["name"] for r in index(client, "items:group:g1", "MAXAGE", 1000) if r["id"] == new] == ["told"]
    assert world.airtable.count() == 0
    assert [r["name"] for r in index(client, "items:group:g1", "MAXAGE", 50) if r["id"] == new] == ["true"]
    assert ids(client, "items:group:g1") == sorted([*found, new])
