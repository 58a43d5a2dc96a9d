"""PODIUM.EXPLAIN: what is known of a key and what a read of it would do, said without doing any of it."""

from __future__ import annotations

import json
import time

import pytest

from asking import get, index
from support import blocked, eventually, mapping, text
from world import event, item, project, user

MEMBERS = ["state", "would", "since", "fresh-until", "vouched", "doubt", "bytes", "sets", "used-by", "uses", "waiters", "last-change"]
RECORD = f"items:{item(1)}"
SET = "items:group:g1"


@pytest.fixture
def explain(client):
    def explain(key):
        found = mapping(client.call("PODIUM.EXPLAIN", key))
        assert list(found) == MEMBERS
        return {name: text(value) for name, value in found.items()}

    return explain


@pytest.fixture
def page(client):
    """A resource, and its answer computed from what `read` reads."""
    assert client.call("PODIUM.SPEC", "SET", "page", '{"computed":true,"grace":60}') == "OK"

    def page(*reads, key="page:a", **options):
        _, token = client.call("PODIUM.LEASE", key)
        for read in reads:
            client.call(*read, "FOR", token)
        assert client.call("PODIUM.FILL", key, "v", "TOKEN", token, *(word for pair in options.items() for word in pair)) == 1

    return page


def is_now(ms):
    return abs(ms - time.time() * 1000) < 30_000


def told(client, id, **cells):
    assert client.call("PODIUM.UPSERT", f"items:{id}", json.dumps({"id": id, **cells})) == 1


# --- Records ---------------------------------------------------------------------------------------------------------


def test_a_record_that_is_not_there(explain, world):
    found = explain(RECORD)
    assert (found["state"], found["would"], found["bytes"]) == ("absent", "one call", 0)
    assert found["since"] is None and found["fresh-until"] is None and found["last-change"] is None
    assert found["doubt"] == found["sets"] == found["used-by"] == found["uses"] == [] and found["waiters"] == 0


def test_a_record_by_the_way_it_came(client, explain, world):
    get(client, RECORD)
    found = explain(RECORD)
    assert (found["state"], found["would"], found["since"][0], found["vouched"]) == ("fresh", "hit", "fetch", None)
    assert is_now(found["since"][1]) and found["fresh-until"] > found["since"][1] and found["bytes"] > 100
    told(client, item(1), name="told", group="g1")
    found = explain(RECORD)
    assert (found["state"], found["would"], found["since"][0]) == ("fresh", "hit", "told")
    assert found["last-change"][0] == "told" and is_now(found["last-change"][1])
    client.call("PODIUM.UPDATE", RECORD, '{"name":"written"}')
    found = explain(RECORD)
    assert (found["since"][0], found["last-change"][0]) == ("write", "write")


def test_a_record_past_its_freshness(client, explain, world):
    client.call("CONFIG", "SET", "podium.ttl", 1)
    client.call("CONFIG", "SET", "podium.stale-if-error", 600)
    get(client, RECORD)
    found = eventually(5, "it is stale", lambda: (x := explain(RECORD))["state"] == "stale" and x)
    assert found["would"] == "one call" and found["fresh-until"] < time.time() * 1000
    client.call("CONFIG", "SET", "podium.stale-while-revalidate", 600)
    assert explain(RECORD)["would"] == "hit"


def test_a_record_in_doubt(client, explain, world):
    get(client, RECORD)
    client.call("PODIUM.INVALIDATE", RECORD)
    found = explain(RECORD)
    assert (found["state"], found["would"]) == ("doubtful", "one call")
    [[key, how, at]] = found["doubt"]
    assert (key, how) == (RECORD, "told") and is_now(at) and found["last-change"] == ["told", at]
    get(client, RECORD)
    found = explain(RECORD)
    assert (found["state"], found["doubt"], found["since"][0]) == ("fresh", [], "fetch")


def test_a_record_whose_key_a_user_deleted(client, explain, world):
    get(client, RECORD)
    client.call("DEL", RECORD)
    assert [one[1] for one in explain(RECORD)["doubt"]] == ["removed"]
    client.call("PODIUM.INVALIDATE", "items:*")
    assert explain(RECORD)["state"] == "absent", "what was in doubt before is over"


def test_a_record_that_is_gone(client, explain, world):
    client.call("PODIUM.TOMBSTONE", RECORD)
    found = explain(RECORD)
    assert (found["state"], found["would"], found["since"][0]) == ("tombstone", "hit", "told")
    client.call("PODIUM.INVALIDATE", RECORD)
    world.delete("items", item(1))
    assert get(client, RECORD) is None
    found = explain(RECORD)
    assert (found["state"], found["since"][0]) == ("tombstone", "fetch")


def test_a_link_puts_the_other_end_in_doubt(client, explain, world):
    key = f"projects:{project(1)}"
    one = get(client, key)
    for n in (1, 2):
        get(client, f"events:{event(n)}")
    other = event(2) if one["event"] != [event(2)] else event(1)
    client.call("PODIUM.UPSERT", key, json.dumps({**one, "event": [other]}))
    found = explain(f"events:{other}")
    assert found["state"] == "doubtful" and [one[1] for one in found["doubt"]] == ["link"]


def test_a_record_that_is_waited_for(client, server, explain, world):
    world.airtable.latency(1500)
    other = server.client()
    other.send("PODIUM.GET", RECORD)
    blocked(server, 1)
    found = explain(RECORD)
    assert (found["state"], found["would"], found["waiters"]) == ("absent", "wait", 1)
    world.airtable.latency(0)
    assert other.read()


def test_the_sets_that_hold_a_record(client, explain, world):
    index(client, SET)
    get(client, RECORD)
    assert explain(RECORD)["sets"] == [SET]
    told(client, item(1), name="x", group="g2")
    assert explain(RECORD)["sets"] == []
    assert explain(SET)["last-change"][0] == "told"


def test_what_is_not_ours_is_said(client, explain):
    client.call("SET", RECORD, "theirs")
    assert explain(RECORD)["would"] == "WRONGTYPE"
    client.call("SET", SET, "theirs")
    assert explain(SET)["would"] == "WRONGTYPE"


def test_with_the_month_spent_the_error_is_named(client, explain, world):
    get(client, RECORD)
    client.call("CONFIG", "SET", "podium.monthly-calls", 1)
    assert explain(f"items:{item(2)}")["would"] == "UPSTREAMBUSY"
    assert explain(RECORD)["would"] == "hit"
    client.call("CONFIG", "SET", "podium.monthly-calls", 0)


def test_with_the_cache_switched_off_every_read_is_a_call(client, explain, world):
    get(client, RECORD)
    client.call("CONFIG", "SET", "podium.enabled", "no")
    assert explain(RECORD)["would"] == "one call"


# --- Index sets ------------------------------------------------------------------------------------------------------


def test_a_set_from_nothing_to_doubt(client, explain, world):
    assert (explain(SET)["state"], explain(SET)["would"]) == ("absent", "one call")
    members = [one["id"] for one in index(client, SET)]
    found = explain(SET)
    assert (found["state"], found["would"], found["since"][0]) == ("fresh", "hit", "fetch")
    assert sorted(found["uses"]) == sorted(f"items:{id}" for id in members) and found["bytes"] > 50
    client.call("PODIUM.INVALIDATE", RECORD)
    found = explain(SET)
    assert (found["state"], found["would"]) == ("doubtful", "one call")
    assert [one[:2] for one in found["doubt"]] == [[RECORD, "told"]]
    index(client, SET)
    assert explain(SET)["would"] == "hit"


def test_a_set_whose_member_is_not_cached(client, explain, world):
    index(client, SET)
    client.call("CONFIG", "SET", "podium.ttl", 1)
    told(client, item(1), name="short", group="g1")
    found = eventually(5, "a member is stale", lambda: (x := explain(SET))["would"] != "hit" and x)
    assert (found["state"], found["would"]) == ("fresh", "one call")


def test_all_of_an_entity(client, explain, world):
    assert explain("items:*")["would"] == "one call"
    client.call("PODIUM.WARM", "items:*")
    assert explain("items:*")["would"] == "hit"
    assert (explain("items:group:nobody")["state"], explain("items:group:nobody")["would"]) == ("fresh", "hit"), "known to be empty"


def test_an_argument_is_explained_by_its_normal_form(client, explain, world):
    index(client, "users:email:ada@example.com")
    assert explain("users:email: ADA@example.com ")["would"] == "hit"


# --- Computed answers ------------------------------------------------------------------------------------------------


def test_an_answer_from_lease_to_grace(client, server, explain, page, world):
    assert (explain("page:a")["state"], explain("page:a")["would"]) == ("absent", "lease")
    _, token = client.call("PODIUM.LEASE", "page:a")
    other = server.client()
    other.send("PODIUM.LEASE", "page:a")
    eventually(5, "it waits", lambda: server.figure("lease_waits") == 1)
    found = explain("page:a")
    assert (found["state"], found["would"], found["waiters"]) == ("leased", "wait", 1)
    assert client.call("PODIUM.FILL", "page:a", "v", "TOKEN", token, "TTL", 1) == 1
    assert other.read() == [b"v", None]
    found = explain("page:a")
    assert (found["state"], found["would"], found["since"][0], found["waiters"]) == ("fresh", "hit", "fill", 0)
    found = eventually(5, "it is stale", lambda: (x := explain("page:a"))["state"] == "stale" and x)
    assert found["would"] == "lease", "it is in grace: served, and somebody computes it anew"


def test_what_an_answer_used_and_what_used_it(client, explain, page, world):
    page(("PODIUM.INDEX", SET), ("PODIUM.GET", f"users:{user(1)}"))
    page(("PODIUM.GET", "page:a"), key="page:b")
    used = explain("page:a")["uses"]
    assert {SET, RECORD, f"users:{user(1)}"} <= set(used)
    assert explain("page:b")["uses"][0].startswith("items:") and "page:a" in explain("page:b")["uses"]
    assert sorted(explain(RECORD)["used-by"]) == ["page:a", "page:b"]
    assert sorted(explain(SET)["used-by"]) == ["page:a", "page:b"]
    assert explain("page:a")["used-by"] == ["page:b"]
    _, token = client.call("PODIUM.LEASE", "page:all")
    client.call("PODIUM.FILL", "page:all", "v", "TOKEN", token, "USED", 2, "items:*", RECORD)
    assert explain(RECORD)["used-by"] == ["page:a", "page:all", "page:b"], "each once"
    assert explain(f"items:{item(399)}")["used-by"] == explain("items:*")["used-by"] == ["page:all"]
    assert explain("page:all")["uses"] == ["items:*", RECORD]


def test_more_than_a_hundred_are_counted(client, explain, page, world):
    for n in range(105):
        page(("PODIUM.GET", RECORD), key=f"page:{n:03}")
    used_by = explain(RECORD)["used-by"]
    assert len(used_by) == 101 and used_by[-1] == 5
    for n in range(120):
        told(client, f"recMany{n:010}", name="x", group="many")
    page(("PODIUM.MGET", 120, *(f"items:recMany{n:010}" for n in range(120))))
    uses = explain("page:a")["uses"]
    assert len(uses) == 101 and uses[-1] == 20


def test_an_answer_with_tags_says_how_many_have_no_name(client, explain, page, world):
    _, token = client.call("PODIUM.LEASE", "page:t")
    get(client, RECORD, "FOR", token)
    assert client.call("PODIUM.FILL", "page:t", "v", "TOKEN", token, "TAGS", 2, "x", "y") == 1
    assert explain("page:t")["uses"] == [RECORD, 2]


def test_an_answer_in_doubt(client, explain, page, world):
    page(("PODIUM.GET", RECORD))
    client.call("PODIUM.INVALIDATE", RECORD)
    found = explain("page:a")
    assert (found["state"], found["would"]) == ("doubtful", "one call")
    assert [one[:2] for one in found["doubt"]] == [[RECORD, "told"]]
    assert client.call("PODIUM.LEASE", "page:a") == [b"v", None]
    assert explain("page:a")["would"] == "hit"


def test_an_answer_that_was_thrown_away(client, explain, page, world):
    page(("PODIUM.GET", RECORD))
    told(client, item(1), name="other", group="g1")
    assert (explain("page:a")["state"], explain("page:a")["would"]) == ("absent", "lease")
    eventually(5, "its key is gone", lambda: client.call("EXISTS", "page:a") == 0)
    assert explain("page:a")["last-change"][0] == "dropped"


# --- The feed --------------------------------------------------------------------------------------------------------


def test_what_the_feed_brought_and_vouches_for(client, explain, world):
    client.call("PODIUM.SYNC", "START", world.base)
    client.call("PODIUM.SYNC", "NOW")
    get(client, RECORD)
    assert explain(RECORD)["vouched"] is not None
    world.change("items", item(1), name="edited")
    client.call("PODIUM.SYNC", "NOW")
    found = eventually(5, "it is read anew", lambda: (x := explain(RECORD))["state"] == "fresh" and x)
    assert (found["since"][0], found["last-change"][0], found["would"]) == ("feed", "feed", "hit")
    assert isinstance(found["vouched"], int)
    world.delete("items", item(1))
    client.call("PODIUM.SYNC", "NOW")
    found = explain(RECORD)
    assert (found["state"], found["since"][0]) == ("tombstone", "feed")
    client.call("PODIUM.SYNC", "STOP")


# --- It calls nobody and changes nothing -----------------------------------------------------------------------------


def test_it_calls_nobody_and_changes_nothing(client, server, explain, page, world):
    page(("PODIUM.INDEX", SET))
    get(client, RECORD)
    index(client, SET)
    world.airtable.forget()
    keys = [RECORD, SET, "page:a", f"items:{item(2)}", "items:group:g9", "items:*", "page:none", f"users:{user(9)}"]
    client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    dumps = {key: client.call("DUMP", key) for key in keys}
    ages = {key: client.attempt("OBJECT", "FREQ", key) for key in keys[:3]}
    figures = {name: value for name, value in server.info().items() if "_ms" not in name}
    stats = {name: value for name, value in server.info("stats").items() if name.startswith("keyspace_")}
    before = [explain(key) for key in keys]
    for _ in range(20):
        assert [explain(key) for key in keys] == before
    assert world.airtable.calls() == []
    assert {name: value for name, value in server.info("stats").items() if name.startswith("keyspace_")} == stats
    assert {name: value for name, value in server.info().items() if "_ms" not in name} == figures
    assert {key: client.attempt("OBJECT", "FREQ", key) for key in keys[:3]} == ages
    assert {key: client.call("DUMP", key) for key in keys} == dumps
    client.call("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_it_is_answered_where_nothing_may_wait(client, explain, world):
    client.call("MULTI")
    client.call("PODIUM.EXPLAIN", RECORD)
    [found] = client.call("EXEC")
    assert mapping(found)["would"] == b"one call"
    assert client.call("EVAL", "return redis.call('PODIUM.EXPLAIN', KEYS[1])[2]", 1, RECORD) == b"absent"


def test_both_protocols(server, client, world):
    three = server.client(protocol=3)
    found = three.call("PODIUM.EXPLAIN", RECORD)
    assert isinstance(found, dict) and text(list(found)) == MEMBERS


def test_on_a_replica(server, client, explain, page, world, spawn):
    replica = spawn(config=[f"replicaof 127.0.0.1 {server.port}"])
    page(("PODIUM.GET", RECORD))
    other = replica.client()
    eventually(20, "it follows", lambda: other.call("EXISTS", "page:a") == 1)
    would = lambda key: mapping(other.call("PODIUM.EXPLAIN", key))["would"]
    assert text([would(RECORD), would("page:a"), would(f"items:{item(2)}"), would(SET), would("page:b")]) == ["hit", "hit", "REPLICAMISS", "REPLICAMISS", "nothing"]


def test_keys_that_are_none(client):
    assert client.error("PODIUM.EXPLAIN", "nonsense").code == "BADKEY"
    assert client.error("PODIUM.EXPLAIN", "nobody:recAAAAAAAAAAAAAA").code == "NOENTITY"
    assert client.error("PODIUM.EXPLAIN", "items:nofield:x").code == "NOINDEX"
    assert client.error("PODIUM.EXPLAIN", "podium:x").code == "BADKEY"


def test_it_is_for_operators(client):
    client.call("ACL", "SETUSER", "web", "on", ">x", "resetkeys", "+@podium", "-@admin", "~*")
    assert b"explain" in client.call("ACL", "DRYRUN", "web", "PODIUM.EXPLAIN", RECORD).lower()
    client.call("ACL", "DELUSER", "web")
