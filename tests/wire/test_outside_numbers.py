"""Numbers that come from outside (keys of ours that somebody wrote to, a client's AT) end no order: "no stale set" holds."""

from __future__ import annotations

import json
import time

import pytest

from asking import cells, get, ids
from support import eventually
from test_sync import fed, now  # noqa: F401 (a fixture)
from world import item

ONE = item(1)
KEY = f"items:{ONE}"
HUGE = ["18446744073709551615", "18446744073709551614", "9999999999999999999", "99999999999999999999", "-1", "x"]


def outdated_fetch_is_not_stored(client, server, world):
    """A fetch under way, a change told meanwhile: what comes is not stored. On records and sets."""
    world.change("items", ONE, name="old")
    client.call("PODIUM.INVALIDATE", KEY)
    world.airtable.latency(400)
    world.airtable.forget()
    reader, asker = server.client(), server.client()
    reader.send("PODIUM.GET", KEY)
    asker.send("PODIUM.INDEX", "items:group:g7", "IDS")
    eventually(5, "they are on their way", lambda: world.airtable.count() >= 2)
    world.change("items", ONE, name="new")
    assert client.call("PODIUM.UPSERT", KEY, cells(ONE, name="told", n=1, group="g7")) == 1
    reader.read(), asker.read()
    world.airtable.latency(0)
    assert get(client, KEY)["name"] == "told", "the fetch began before"
    assert ONE in ids(client, "items:group:g7")
    client.call("PODIUM.INVALIDATE", KEY)
    assert get(client, KEY)["name"] == "new"


@pytest.mark.parametrize("number", HUGE)
def test_a_damaged_doubt(client, server, world, number):
    ids(client, "items:group:g1")
    client.call("HSET", "podium:doubt:items", item(2), number)
    outdated_fetch_is_not_stored(client, server, world)
    world.airtable.forget()
    assert item(2) in ids(client, "items:group:g2")


@pytest.mark.parametrize("number", HUGE[:2])
def test_a_damaged_doubt_over_a_restart(spawn, world, number):
    from world import define
    server = spawn(save=True)
    client = server.client()
    define(client, "items")
    ids(client, "items:group:g1")
    client.call("HSET", "podium:doubt:items", ONE, number)
    client.call("SAVE")
    server.restart()
    client = server.client()
    world.change("items", ONE, group="g2")
    assert ONE not in ids(client, "items:group:g1"), "it is in doubt, whatever its number"
    outdated_fetch_is_not_stored(client, server, world)


@pytest.mark.parametrize("field", ["since", "polled", "cursor"])
def test_a_damaged_place_of_the_feed(spawn, world, field):
    from world import define
    server = spawn({"sync-interval": 1}, save=True)
    client = server.client()
    define(client, "items")
    assert client.call("PODIUM.SYNC", "START") == "OK"
    get(client, KEY)
    [name] = client.call("KEYS", "podium:feed:*")
    client.call("SAVE")
    client.call("HSET", name, field, HUGE[0])
    client.call("SAVE")
    server.stop(kill=True)
    world.change("items", ONE, name="changed")
    server.start()
    client = server.client()
    eventually(10, "the change is known", lambda: client.attempt("PODIUM.SYNC", "NOW") == "OK" and get(client, KEY)["name"] == "changed")
    outdated_fetch_is_not_stored(client, server, world)


@pytest.mark.parametrize("at", ["999999999999999999", "9999999999999", None])
def test_a_time_far_ahead_is_not_later_than_what_is_told_next(client, world, at):
    at = at or int(time.time() * 1000) + 3_600_000
    assert client.call("PODIUM.UPSERT", KEY, cells(ONE, name="ahead", n=1, group="g1"), "AT", at) == 1
    assert client.call("PODIUM.UPSERT", KEY, cells(ONE, name="now", n=1, group="g1"), "AT", int(time.time() * 1000) + 61_000) == 1
    assert get(client, KEY, "CACHEONLY")["name"] == "now"


SEQ, END = (12, 7), (19, 4)
"""Where they lie in a stored record, and how many bytes: its number, which the time it was asked for is near; its end of freshness."""


def header(value: bytes, place: tuple[int, int]) -> bytes:
    at, size = place
    return value[:at] + b"\xff" * size + value[at + size:]


@pytest.mark.parametrize("at", [SEQ, END, (12, 11)], ids=["seq", "end", "both"])
def test_a_damaged_header_of_a_record(client, server, world, at):
    get(client, KEY)
    stored = client.call("GET", KEY)
    client.call("SET", KEY, header(stored, at), "KEEPTTL")
    world.change("items", ONE, name="newer")
    assert json.loads(client.call("PODIUM.GET", KEY, "NOCACHE"))["name"] == "newer"
    assert get(client, KEY)["name"] == "newer", "what was fetched is stored over it"
    client.call("SET", KEY, header(stored, at), "KEEPTTL")
    assert client.call("PODIUM.UPSERT", KEY, cells(ONE, name="told", n=1, group="g1"), "AT", int(time.time() * 1000)) == 1
    assert get(client, KEY)["name"] == "told"
    outdated_fetch_is_not_stored(client, server, world)


def test_a_damaged_head_of_a_set(client, server, world):
    found = ids(client, "items:group:g1")
    [(head, _)] = [(m, s) for m, s in zip(*[iter(client.call("ZRANGE", "items:group:g1", 0, 0, "WITHSCORES"))] * 2)]
    damaged = head[:28] + (2**64 - 1).to_bytes(8, "little") + head[36:]
    client.call("ZREM", "items:group:g1", head)
    client.call("ZADD", "items:group:g1", 0, damaged)
    world.change("items", item(2), group="g1")
    client.call("PODIUM.INVALIDATE", f"items:{item(2)}")
    assert ids(client, "items:group:g1") == sorted(found + [item(2)]), "doubt counts, whatever the set says of itself"
    outdated_fetch_is_not_stored(client, server, world)
