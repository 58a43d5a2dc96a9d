"""docs/promises.md, section 2: META, on RESP2 and RESP3."""

from __future__ import annotations

import json
import time

import pytest

from asking import get, meta
from support import eventually, mapping, text
from world import ABSENT, define, event, item, user

FIELDS = {"cache", "age", "ttl", "key", "airtable-hits", "detail", "cache-status"}


@pytest.mark.parametrize("protocol", [2, 3])
def test_shapes(server, world, protocol):
    client = server.client(protocol)
    define(client)
    key = f"events:{event(1)}"
    reply = client.call("PODIUM.GET", key, "META")
    assert len(reply) == 2 and isinstance(reply[0], bytes)
    assert isinstance(reply[1], dict if protocol == 3 else list)
    m = mapping(reply[1])
    assert set(m) == FIELDS
    assert text(m["cache"]) == "MISS" and m["airtable-hits"] == 1 and text(m["key"]) == key
    assert isinstance(m["age"], int) and isinstance(m["ttl"], int)
    listed = client.call("PODIUM.INDEX", "events:slug:event-2", "META")
    assert isinstance(listed[0], list) and set(mapping(listed[1])) == FIELDS
    pairs = client.call("PODIUM.MGET", 2, key, f"events:{ABSENT}", "META")
    assert [len(pair) for pair in pairs] == [2, 2] and pairs[1][0] is None
    assert all(set(mapping(pair[1])) == FIELDS for pair in pairs)


def test_a_miss_and_a_hit(client):
    key = f"events:{event(1)}"
    miss = meta(client, "PODIUM.GET", key)
    assert miss["cache"] == "MISS" and miss["airtable-hits"] == 1 and miss["age"] == 0 and 28790 <= miss["ttl"] <= 28800
    assert miss["cache-status"].startswith("podium; fwd=uri-miss; fwd-status=200; stored; ttl=")
    hit = meta(client, "PODIUM.GET", key)
    assert hit["cache"] == "HIT" and hit["airtable-hits"] == 0 and hit["detail"] == ""
    assert hit["cache-status"] == f"podium; hit; ttl={hit['ttl']}"


def test_age_grows_and_ttl_shrinks(client):
    key = f"events:{event(1)}"
    first = meta(client, "PODIUM.GET", key)
    later = eventually(5, "a second of age", lambda: (m := meta(client, "PODIUM.GET", key))["age"] >= 1 and m)
    assert abs(later["age"] + later["ttl"] - first["ttl"]) <= 1


def test_a_tombstone(client):
    key = f"events:{ABSENT}"
    assert client.call("PODIUM.GET", key, "META")[0] is None
    m = meta(client, "PODIUM.GET", key)
    assert m["cache"] == "HIT" and m["detail"] == "tombstone" and m["airtable-hits"] == 0
    assert 21500 <= m["ttl"] <= 21600


def test_an_index(client):
    assert meta(client, "PODIUM.INDEX", "items:group:g1")["cache"] == "MISS"
    m = meta(client, "PODIUM.INDEX", "items:group:g1")
    assert m["cache"] == "HIT" and m["detail"] == "index" and m["key"] == "items:group:g1"
    assert meta(client, "PODIUM.INDEX", "items:group:g1", "IDS")["cache"] == "HIT"
    reply = client.call("PODIUM.INDEX", "items:group:g1", "COUNT", "META")
    assert reply[0] == 40 and len(reply) == 2


def test_an_index_of_several_pages_counts_its_calls(client):
    assert meta(client, "PODIUM.INDEX", "items:*", "COUNT")["airtable-hits"] == 4


def test_a_read_that_joined_anothers_fetch_is_collapsed(server, client, world):
    world.airtable.latency(300)
    other = server.client()
    key = f"items:{item(1)}"
    client.send("PODIUM.GET", key, "META")
    eventually(5, "the first waits", lambda: server.info("clients")["blocked_clients"] == "1")
    other.send("PODIUM.GET", key, "META")
    first, second = mapping(client.read()[1]), mapping(other.read()[1])
    assert (first["airtable-hits"], second["airtable-hits"]) == (1, 0)
    assert text(second["detail"]) == "collapsed" and "collapsed" in text(second["cache-status"])
    assert text(second["cache-status"]).startswith("podium; fwd=uri-miss; collapsed")


def test_a_bypass(client):
    client.call("CONFIG", "SET", "podium.enabled", "no")
    m = meta(client, "PODIUM.GET", f"events:{event(1)}")
    assert m["cache"] == "BYPASS" and m["airtable-hits"] == 1 and "stored" not in m["cache-status"]


def test_nocache_is_no_hit(client):
    key = f"events:{event(1)}"
    get(client, key)
    m = meta(client, "PODIUM.GET", key, "NOCACHE")
    assert m["cache"] in ("BYPASS", "MISS") and m["airtable-hits"] == 1


@pytest.mark.parametrize("command", [("PODIUM.GET", f"events:{event(1)}"), ("PODIUM.INDEX", "items:group:g1")], ids=["record", "index"])
def test_what_cacheonly_does_not_find_was_not_forwarded(client, world, command):
    m = meta(client, *command, "CACHEONLY")
    assert m["cache"] == "MISS" and m["airtable-hits"] == 0 and m["detail"] == "cache-only"
    assert m["cache-status"] == "podium; detail=cache-only"
    assert world.airtable.count() == 0


def test_an_error_stays_an_error(client, world):
    world.airtable.status(422, "INVALID_REQUEST_UNKNOWN", "bad")
    assert client.error("PODIUM.GET", f"events:{event(1)}", "META").code == "UPSTREAM"


def test_a_stale_copy_served_while_airtable_fails(client, world):
    client.call("CONFIG", "SET", "podium.ttl", "1", "podium.stale-if-error", "60")
    key = f"events:{event(1)}"
    get(client, key)
    world.airtable.status(500, "SERVER_ERROR", "down")
    m = eventually(10, "stale", lambda: (m := meta(client, "PODIUM.GET", key))["cache"] == "STALE" and m)
    assert m["ttl"] < 0 and m["detail"] == "stale-if-error"
    assert client.error("PODIUM.GET", key, "MAXAGE", "0").code.startswith("UPSTREAM"), "never for MAXAGE"
    assert client.error("PODIUM.GET", key, "NOCACHE").code.startswith("UPSTREAM"), "never for NOCACHE"


def test_a_stale_copy_served_while_one_refresh_runs(client, world):
    client.call("CONFIG", "SET", "podium.ttl", "1", "podium.stale-while-revalidate", "60")
    key = f"events:{event(1)}"
    get(client, key)
    world.change("events", event(1), name="Renamed")
    world.airtable.latency(300)
    world.airtable.forget()
    m = eventually(10, "stale", lambda: (m := meta(client, "PODIUM.GET", key))["cache"] == "STALE" and m)
    assert m["detail"] == "revalidating" and m["ttl"] <= 0
    eventually(10, "the refresh lands", lambda: get(client, key)["name"] == "Renamed")


@pytest.mark.parametrize("what, type", [(503, "RETRIABLE_ERROR"), (502, "BAD_GATEWAY")])
def test_calls_that_failed_first_count(client, world, what, type):
    world.airtable.status(what, type, times=1)
    assert meta(client, "PODIUM.GET", f"items:{item(1)}")["airtable-hits"] == 2
    assert world.airtable.count() == 2
    world.airtable.status(429, "RATE_LIMIT_REACHED", shape="plural", times=1, retry_after="0")
    pairs = client.call("PODIUM.MGET", 2, f"items:{item(2)}", f"items:{item(3)}", "META")
    assert sum(mapping(m)["airtable-hits"] for _, m in pairs) == 2, "the first pair that a call served counts it"
    assert world.airtable.count() == 4


@pytest.mark.parametrize("fault, key", [(("offset_expired",), "items:*"), (("status", {"status": 422, "shape": "object", "type": "INVALID_FILTER_BY_FORMULA", "message": "The formula for filtering records is invalid: Unknown field names: event_id"}), f"projects:event:{event(1)}")])
def test_calls_of_a_question_begun_anew_count(client, world, fault, key):
    kind, more = (*fault, {})[:2]
    world.airtable.fault(kind, times=1, **more)
    assert meta(client, "PODIUM.INDEX", key, "COUNT")["airtable-hits"] == world.airtable.count() > 1


def test_age_and_ttl_of_an_index_are_of_its_oldest_and_its_shortest_lived_part(client, world):
    key = "users:is_admin:false"
    assert client.call("PODIUM.INDEX", key, "COUNT") == 10
    assert meta(client, "PODIUM.INDEX", key)["ttl"] <= 5400 < meta(client, "PODIUM.GET", f"users:{user(2)}")["ttl"], "one of them holds an attachment"
    told = json.dumps({"name": "told", "n": 0, "group": "g1"})
    client.call("PODIUM.INDEX", "items:group:g1")
    client.call("PODIUM.UPSERT", "items:recToldAgo0000001", told, "AT", int(time.time() * 1000) - 100_000)
    assert 100 <= meta(client, "PODIUM.GET", "items:recToldAgo0000001")["age"] <= 102
    assert 100 <= meta(client, "PODIUM.INDEX", "items:group:g1")["age"] <= 102
