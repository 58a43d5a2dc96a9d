"""docs/promises.md, section 3: INVALIDATE, TOMBSTONE, UPSERT, and the index invariant."""

from __future__ import annotations

import json
import time

import pytest

from asking import cells, get, ids, index, meta, mget, spec
from support import eventually
from world import ABSENT, LINKS, SINGLE_LINK, event, item, project, rid, schema, user


def now_ms():
    return int(time.time() * 1000)


# INVALIDATE --------------------------------------------------------------------------------------------------------


def test_invalidate_a_record_and_the_next_read_fetches(client, world):
    key = f"events:{event(1)}"
    get(client, key)
    world.change("events", event(1), name="Renamed")
    assert get(client, key)["name"] == "Event 1"
    assert client.call("PODIUM.INVALIDATE", key) == 1
    assert client.call("PODIUM.INVALIDATE", key) == 0
    assert get(client, key)["name"] == "Renamed"


def test_invalidate_counts_what_was_cached(client):
    mget(client, [f"items:{item(n)}" for n in range(1, 4)])
    assert client.call("PODIUM.INVALIDATE", *[f"items:{item(n)}" for n in range(1, 6)]) == 3


def test_invalidate_an_index_key_drops_members_and_set(client, world):
    members = ids(client, "items:group:g1")
    get(client, f"items:{item(2)}")
    assert client.call("PODIUM.INVALIDATE", "items:group:g1") == len(members)
    world.airtable.forget()
    assert get(client, f"items:{item(2)}", "CACHEONLY") is not None
    assert get(client, f"items:{members[0]}", "CACHEONLY") is None
    assert ids(client, "items:group:g1") == members
    assert world.airtable.count() == 1


def test_invalidate_an_entity(client, world):
    mget(client, [f"items:{item(n)}" for n in range(1, 101)])
    index(client, "items:group:g1")
    get(client, f"events:{event(1)}")
    cached = len(client.call("KEYS", "items:rec*"))
    assert client.call("PODIUM.INVALIDATE", "items:*") == cached
    assert get(client, f"items:{item(1)}", "CACHEONLY") is None
    assert client.call("PODIUM.INDEX", "items:group:g1", "CACHEONLY") is None
    assert get(client, f"events:{event(1)}", "CACHEONLY") is not None
    eventually(10, "the old keys went in the background", lambda: not client.call("KEYS", "items:rec*"))
    world.airtable.forget()
    assert get(client, f"items:{item(1)}")["n"] == 1
    assert world.airtable.count() == 1


def test_invalidate_everything(client):
    get(client, f"items:{item(1)}")
    get(client, f"events:{event(1)}")
    assert client.call("PODIUM.INVALIDATE", "*") == 2
    assert get(client, f"items:{item(1)}", "CACHEONLY") is None and get(client, f"events:{event(1)}", "CACHEONLY") is None


def test_invalidate_clears_a_tombstone(client, world):
    assert get(client, f"items:{ABSENT}") is None
    world.create("items", ABSENT, name="born", group="g1")
    client.call("PODIUM.INVALIDATE", f"items:{ABSENT}")
    assert get(client, f"items:{ABSENT}")["name"] == "born"


@pytest.mark.parametrize("command", ["PODIUM.INVALIDATE", "PODIUM.TOMBSTONE"])
@pytest.mark.parametrize("key, code", [("events", "BADKEY"), ("events:", "BADKEY"), (f"ghosts:{event(1)}", "NOENTITY")])
def test_bad_keys_are_told_and_nothing_is_done(client, command, key, code):
    get(client, f"events:{event(1)}")
    assert client.error(command, f"events:{event(1)}", key).code == code
    assert get(client, f"events:{event(1)}", "CACHEONLY") is not None


# The index invariant -----------------------------------------------------------------------------------------------


def test_an_invalidated_record_that_moved_is_found_in_its_new_set_and_not_in_its_old(client, world):
    old, new = ids(client, "items:group:g1"), ids(client, "items:group:g2")
    moved = old[0]
    world.change("items", moved, group="g2")
    client.call("PODIUM.INVALIDATE", f"items:{moved}")
    assert ids(client, "items:group:g2") == sorted(new + [moved])
    assert ids(client, "items:group:g1") == old[1:]


def test_an_invalidated_record_that_was_never_cached_may_match_any_value(client, world):
    before = ids(client, "items:group:g1")
    world.create("items", rid("itm", 900), name="new", group="g1")
    client.call("PODIUM.INVALIDATE", f"items:{rid('itm', 900)}")
    assert ids(client, "items:group:g1") == sorted(before + [rid("itm", 900)])


def test_doubt_is_resolved_in_few_calls(client, world):
    index(client, "items:group:g1")
    index(client, "items:group:g2")
    for n in range(1, 151):
        if n % 10 == 1:
            world.change("items", item(n), group="g2")
    client.call("PODIUM.INVALIDATE", *[f"items:{item(n)}" for n in range(1, 151)])
    world.airtable.forget()
    truth = world.truth("items")
    assert ids(client, "items:group:g2") == sorted(id for id in truth if truth[id].get("group") == "g2")
    assert world.airtable.count() <= 2, "150 in doubt: two calls, or the question anew"
    assert ids(client, "items:group:g1") == sorted(id for id in truth if truth[id].get("group") == "g1")
    assert world.airtable.count() <= 3


def test_beyond_a_thousand_in_doubt_the_sets_are_dropped(client, world):
    index(client, "items:group:g1")
    client.call("PODIUM.INVALIDATE", *[f"items:{rid('dbt', n)}" for n in range(1100)])
    world.airtable.forget()
    assert len(ids(client, "items:group:g1")) == 40
    assert world.airtable.count() == 1


def test_if_airtable_fails_meanwhile_its_error_never_a_doubtful_answer(client, world):
    index(client, "items:group:g1")
    client.call("PODIUM.INVALIDATE", f"items:{item(2)}")
    world.airtable.status(422, "INVALID_REQUEST_UNKNOWN", "down")
    assert client.error("PODIUM.INDEX", "items:group:g1").code == "UPSTREAM"
    world.airtable.clear_faults()
    assert len(ids(client, "items:group:g1")) == 40


def test_doubt_cleared_by_a_read_costs_no_second_call(client, world):
    index(client, "items:group:g1")
    client.call("PODIUM.INVALIDATE", f"items:{item(2)}")
    get(client, f"items:{item(2)}")
    world.airtable.forget()
    assert len(ids(client, "items:group:g1")) == 40
    assert world.airtable.count() == 0


# TOMBSTONE ---------------------------------------------------------------------------------------------------------


def test_tombstone_drops_the_record_and_takes_it_out_of_every_set(client, world):
    members = ids(client, "items:group:g1")
    world.airtable.forget()
    assert client.call("PODIUM.TOMBSTONE", f"items:{members[0]}", f"items:{ABSENT}") == 1
    assert get(client, f"items:{members[0]}") is None
    assert get(client, f"items:{ABSENT}") is None
    assert ids(client, "items:group:g1") == members[1:]
    assert world.airtable.count() == 0
    assert meta(client, "PODIUM.GET", f"items:{members[0]}")["detail"] == "tombstone"


def test_tombstone_takes_no_index_key(client):
    assert client.error("PODIUM.TOMBSTONE", "items:group:g1").code == "BADKEY"


def test_tombstones_live_as_long_as_the_setting_says(client):
    client.call("CONFIG", "SET", "podium.tombstone-ttl", "100")
    client.call("PODIUM.TOMBSTONE", f"items:{item(1)}")
    assert 98 <= client.call("TTL", f"tomb:items:{item(1)}") <= 100


# UPSERT ------------------------------------------------------------------------------------------------------------


def test_upsert_stores_the_whole_record(client, world):
    key = f"items:{item(1)}"
    assert client.call("PODIUM.UPSERT", key, cells(item(1), name="told", n=7, group="g9")) == 1
    assert get(client, key) == {"id": item(1), "name": "told", "n": 7, "group": "g9"}
    assert world.airtable.count() == 0


@pytest.mark.parametrize("body", [
    {"name": "told", "n": 7},
    {"id": item(1), "name": "told", "n": 7},
    {"fields": {"name": "told", "n": 7}},
    {"id": item(1), "createdTime": "2026-01-01T00:00:00.000Z", "fields": {"name": "told", "n": 7}},
])
def test_upsert_takes_flat_and_airtable_shaped_json(client, body):
    assert client.call("PODIUM.UPSERT", f"items:{item(1)}", json.dumps(body)) == 1
    assert get(client, f"items:{item(1)}", "CACHEONLY") == {"id": item(1), "name": "told", "n": 7, "group": ""}


@pytest.mark.parametrize("link", [[event(2)], event(2), [{"id": event(2), "name": "Event 2"}], {"id": event(2), "name": "Event 2"}])
def test_upsert_takes_links_in_every_shape(client, link):
    assert client.call("PODIUM.UPSERT", f"projects:{project(1)}", cells(project(1), name="told", event=link)) == 1
    assert get(client, f"projects:{project(1)}", "CACHEONLY")["event"] == [event(2)]


def test_upsert_moves_the_record_between_index_sets(client, world):
    g1, g2 = ids(client, "items:group:g1"), ids(client, "items:group:g2")
    world.airtable.forget()
    client.call("PODIUM.UPSERT", f"items:{g1[0]}", cells(g1[0], name="moved", n=1, group="g2"))
    new = rid("itm", 901)
    client.call("PODIUM.UPSERT", f"items:{new}", cells(new, name="new", n=1, group="g1"))
    assert ids(client, "items:group:g1") == sorted(g1[1:] + [new])
    assert ids(client, "items:group:g2") == sorted(g2 + [g1[0]])
    assert world.airtable.count() == 0


def test_upsert_enters_a_set_that_was_empty(client, world):
    assert ids(client, "items:group:fresh") == []
    client.call("PODIUM.UPSERT", f"items:{item(1)}", cells(item(1), name="a", group="fresh"))
    world.airtable.forget()
    assert ids(client, "items:group:fresh") == [item(1)]
    assert world.airtable.count() == 0


def test_upsert_clears_a_tombstone(client, world):
    client.call("PODIUM.TOMBSTONE", f"items:{item(1)}")
    client.call("PODIUM.UPSERT", f"items:{item(1)}", cells(item(1), name="back"))
    assert get(client, f"items:{item(1)}")["name"] == "back"
    assert client.call("EXISTS", f"tomb:items:{item(1)}") == 0
    assert world.airtable.count() == 0


def test_upsert_at_an_older_time_is_not_applied(client):
    key, at = f"items:{item(1)}", now_ms()
    assert client.call("PODIUM.UPSERT", key, cells(item(1), name="second"), "AT", at) == 1
    assert client.call("PODIUM.UPSERT", key, cells(item(1), name="first"), "AT", at - 5000) == 0
    assert get(client, key)["name"] == "second"
    assert client.call("PODIUM.UPSERT", key, cells(item(1), name="third"), "AT", at + 5000) == 1
    assert get(client, key)["name"] == "third"


def test_upsert_older_than_the_tombstone_is_not_applied(client):
    key = f"items:{item(1)}"
    client.call("PODIUM.TOMBSTONE", key)
    assert client.call("PODIUM.UPSERT", key, cells(item(1), name="ghost"), "AT", now_ms() - 120_000) == 0
    assert get(client, key) is None


def test_upsert_far_older_than_the_fetched_copy_is_not_applied(client):
    key = f"items:{item(1)}"
    get(client, key)
    assert client.call("PODIUM.UPSERT", key, cells(item(1), name="ancient"), "AT", now_ms() - 3_600_000) == 0
    assert get(client, key)["name"] == "Item 1"


def test_upsert_within_a_minute_of_the_fetch_puts_the_record_in_doubt(client, world):
    key = f"items:{item(1)}"
    get(client, key)
    world.change("items", item(1), name="true now")
    assert client.call("PODIUM.UPSERT", key, cells(item(1), name="which?"), "AT", now_ms() - 20_000) == 0
    assert get(client, key)["name"] == "true now"


def test_upsert_of_a_record_that_lacks_a_required_field_invalidates(client, world):
    key = f"items:{item(1)}"
    get(client, key)
    world.change("items", item(1), name="true now")
    assert client.call("PODIUM.UPSERT", key, '{"n": 3}') == 0
    assert get(client, key)["name"] == "true now"


@pytest.mark.parametrize("body, code", [
    ("", "BADRECORD"), ("{", "BADRECORD"), ("[]", "BADRECORD"), ("null", "BADRECORD"), ("3", "BADRECORD"), ('{"id":"recOther000000001","name":"x"}', "BADRECORD"), ('{"id":3,"name":"x"}', "BADRECORD"),
    ("\xff", "BADRECORD"), ("[" * 100_000, "BADRECORD"), ('{"a":' * 20_000, "BADRECORD"), ('{"name":"x"} trailing', "BADRECORD"),
])
def test_upsert_of_what_is_no_record(client, body, code):
    assert client.error("PODIUM.UPSERT", f"items:{item(1)}", body).code == code


@pytest.mark.parametrize("tail", [("AT",), ("AT", "x"), ("AT", "-1"), ("AT", "1", "AT", "2"), ("AT", "99999999999999999999"), ("BOGUS",)])
def test_upsert_with_bad_options(client, tail):
    assert client.error("PODIUM.UPSERT", f"items:{item(1)}", '{"name":"x"}', *tail).code == "ERR"


def test_what_is_told_is_normalised_as_what_is_fetched(client, world):
    client.call("PODIUM.UPSERT", f"users:{user(9)}", cells(user(9), email="  ADA@Example.com ", display_name="Ada"))
    assert get(client, f"users:{user(9)}", "VIEW", "contact")["email"] == "ada@example.com"


def test_upsert_is_in_force_while_the_cache_is_disabled(client):
    client.call("CONFIG", "SET", "podium.enabled", "no")
    client.call("PODIUM.TOMBSTONE", f"items:{item(1)}")
    client.call("CONFIG", "SET", "podium.enabled", "yes")
    assert get(client, f"items:{item(1)}") is None


# Links have two ends -----------------------------------------------------------------------------------------------


def test_both_ends_of_a_changed_link_are_in_doubt(server, world):
    client = server.client()
    spec(client, "events", {"schema": schema({"name": {"type": "string"}, "projects": LINKS})})
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}, "event": SINGLE_LINK})})
    old, new = f"events:{event(2)}", f"events:{event(3)}"
    assert project(1) in get(client, old)["projects"] and project(1) not in get(client, new)["projects"]
    get(client, f"projects:{project(1)}")
    world.change("projects", project(1), event=[event(3)])
    client.call("PODIUM.UPSERT", f"projects:{project(1)}", cells(project(1), name="Project 01", event=[event(3)]))
    assert project(1) not in get(client, old)["projects"], "the record that lost the link is refetched"
    assert project(1) in get(client, new)["projects"], "the record that gained it is refetched"


@pytest.mark.parametrize("required", [True, False], ids=["stored", "lacking a required field"])
def test_what_a_record_that_was_not_cached_links_to_is_in_doubt(server, world, required):
    client = server.client()
    spec(client, "events", {"schema": schema({"name": {"type": "string"}, "projects": LINKS})})
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}, "event": SINGLE_LINK}, ["name"])})
    gained, left_alone = f"events:{event(3)}", f"events:{event(4)}"
    get(client, gained), get(client, left_alone)
    new = rid("prj", 900)
    world.create("projects", new, name="new", event=[event(3)])
    told = cells(new, name="new", event=[event(3)]) if required else cells(new, event=[event(3)])
    assert client.call("PODIUM.UPSERT", f"projects:{new}", told) == int(required)
    assert new in get(client, gained)["projects"]
    assert meta(client, "PODIUM.GET", left_alone)["cache"] == "HIT"
    world.airtable.forget()
    assert client.call("PODIUM.UPSERT", f"projects:{new}", cells(new, name="newer", event=[event(3)]))
    get(client, gained)
    assert world.airtable.count() == 0, "told again, nothing is gained"


def test_a_fill_of_a_record_that_was_not_cached_doubts_nothing(server, world):
    client = server.client()
    spec(client, "events", {"schema": schema({"name": {"type": "string"}, "projects": LINKS})})
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}, "event": SINGLE_LINK})})
    [linked] = world.truth("projects")[project(1)]["event"]
    get(client, f"events:{linked}"), get(client, f"projects:{project(1)}")
    assert meta(client, "PODIUM.GET", f"events:{linked}")["cache"] == "HIT"


def test_a_fill_that_shows_a_changed_link_doubts_the_other_end(server, world):
    client = server.client()
    spec(client, "events", {"schema": schema({"name": {"type": "string"}, "projects": LINKS})})
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}, "event": SINGLE_LINK})})
    get(client, f"events:{event(2)}"), get(client, f"events:{event(3)}"), get(client, f"projects:{project(1)}")
    world.change("projects", project(1), event=[event(3)])
    client.call("PODIUM.INVALIDATE", f"projects:{project(1)}")
    assert get(client, f"projects:{project(1)}")["event"] == [event(3)]
    assert project(1) not in get(client, f"events:{event(2)}")["projects"]
    assert project(1) in get(client, f"events:{event(3)}")["projects"]


def test_an_index_follows_a_link_told_by_upsert(client, world):
    before = ids(client, f"projects:event:{event(3)}")
    moved = next(id for id, c in sorted(world.truth("projects").items()) if c["event"] != [event(3)])
    client.call("PODIUM.UPSERT", f"projects:{moved}", cells(moved, name="x", event=[event(3)]))
    world.airtable.forget()
    assert ids(client, f"projects:event:{event(3)}") == sorted(before + [moved])
    assert world.airtable.count() == 0


def test_invalidating_an_entity_holds_the_server_up_for_no_longer_whatever_its_size(client):
    """Its old keys go in slices, behind the reply."""

    def longest(records: int) -> float:
        """ms of the command itself, the best of three: what else this machine does is no part of it."""
        best = []
        for _ in range(3):
            for n in range(records):
                client.send("PODIUM.UPSERT", f"items:{rid('big', n)}", cells(rid("big", n), name="x" * 50))
            for _ in range(records):
                client.read()
            client.call("CONFIG", "RESETSTAT")
            assert client.call("PODIUM.INVALIDATE", "items:*") == records
            line = next(line for line in client.call("INFO", "commandstats").decode().splitlines() if line.startswith("cmdstat_podium.invalidate:"))
            best.append(int(line.split("usec=")[1].split(",")[0]) / 1000)
            eventually(20, "its keys are gone", lambda: not client.call("KEYS", "items:rec*"))
        return min(best)

    few, many = longest(10), longest(5_000)
    assert many < 10 * few + 1, f"10 records {few} ms, 5,000 records {many} ms"
