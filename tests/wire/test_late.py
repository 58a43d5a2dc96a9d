"""What is told late, as of an earlier time, brings nothing back that the cache was told is over, whatever became of the copy."""

from __future__ import annotations

import json
import time

import pytest

from asking import cells, get, ids, spec
from support import eventually
from world import SPECS, define, event, item, user

X = item(1)
KEY = f"items:{X}"
OTHER_SPEC = {**SPECS["items"], "schema": {**SPECS["items"]["schema"], "properties": {"first": {"type": "string"}, **SPECS["items"]["schema"]["properties"]}}}


def now_ms():
    return time.time_ns() // 1_000_000


def later():
    """A moment that is over."""
    at = now_ms()
    eventually(5, "a few ms went by", lambda: now_ms() > at + 5)
    return at


def upsert(client, name, at, key=KEY):
    id = key.split(":")[1]
    return client.call("PODIUM.UPSERT", key, cells(id, name=name, n=1, group="g1"), "AT", at)


def test_two_late_ones_in_a_row_do_not_beat_a_newer_fetched_copy(client, world):
    first, second = later(), later()
    world.change("items", X, name="v3")
    assert get(client, KEY)["name"] == "v3"
    assert upsert(client, "v2", second) == 0
    assert upsert(client, "v1", first) == 0
    assert get(client, KEY)["name"] == "v3"


DROPS = [("PODIUM.INVALIDATE", KEY), ("PODIUM.INVALIDATE", "items:*"), ("PODIUM.INVALIDATE", "*"), ("PODIUM.INVALIDATE", "items:group:g1"), ("FLUSHALL",), ("FLUSHDB",),
         ("DEL", KEY), ("SWAPDB", 0, 1), "expiry", "eviction", "another spec", "DEL of its tombstone"]


@pytest.mark.parametrize("sets", [False, True])
@pytest.mark.parametrize("how", DROPS, ids=lambda how: how if isinstance(how, str) else " ".join(map(str, how[:2])))
def test_what_was_dropped_is_not_brought_back(client, world, how, sets):
    if sets:
        ids(client, "items:group:g1")
    get(client, KEY)
    at = later()
    world.change("items", X, name="v2")
    if how == "expiry":
        client.call("PEXPIRE", KEY, 1)
        eventually(5, "it expired", lambda: client.call("EXISTS", KEY) == 0)
    elif how == "eviction":
        client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "1")
        eventually(5, "it is evicted", lambda: client.call("EXISTS", KEY) == 0)
        client.call("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")
    elif how == "another spec":
        spec(client, "items", OTHER_SPEC)
    elif how == "DEL of its tombstone":
        client.call("PODIUM.TOMBSTONE", KEY)
        client.call("DEL", f"tomb:{KEY}")
    else:
        if how[-1] == "items:group:g1":
            ids(client, "items:group:g1")
        client.call(*how)
    assert upsert(client, "v1", at) == 0
    assert upsert(client, "v0", at - 60_000) == 0
    assert get(client, KEY)["name"] == "v2"
    assert X in ids(client, "items:group:g1")
    client.call("PODIUM.INVALIDATE", KEY)
    assert upsert(client, "v3", now_ms() + 1) == 1
    assert get(client, KEY)["name"] == "v3"


def test_a_deleted_record_does_not_come_back(client, world):
    at = later()
    world.delete("items", X)
    client.call("PODIUM.INVALIDATE", KEY)
    assert upsert(client, "back", at) == 0
    assert get(client, KEY) is None
    assert X not in ids(client, "items:group:g1")


def test_nor_after_a_restart(spawn, world):
    server = spawn()
    client = server.client()
    define(client, "items")
    get(client, KEY)
    at = later()
    world.change("items", X, name="v2")
    client.call("PODIUM.INVALIDATE", KEY)
    client.call("SAVE")
    server.restart()
    client = server.client()
    assert upsert(client, "v1", at) == 0
    assert get(client, KEY)["name"] == "v2"
    assert upsert(client, "v3", now_ms()) == 1


def test_the_webhook_is_held_to_the_same(spawn, world, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    client = spawn({"webhook-secret-file": secret}).client()
    define(client, "items")
    at = later()
    world.change("items", X, name="v2")
    client.call("PODIUM.INVALIDATE", KEY)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 1000)) + f".{at % 1000:03d}Z"
    for action in ("update", "delete"):
        payload = {"table": "items", "record_id": X, "record": {"name": "v1", "n": 1, "group": "g1"}, "timestamp": stamp, "action": action}
        assert client.call("PODIUM.WEBHOOK", json.dumps(payload), "SECRET", "s3cret") == 0
        assert get(client, KEY)["name"] == "v2"
        client.call("PODIUM.INVALIDATE", KEY)


def test_others_are_told_as_before(client):
    at = later()
    get(client, KEY)
    client.call("PODIUM.INVALIDATE", KEY)
    assert upsert(client, "told", at, f"items:{item(2)}") == 1
    assert get(client, f"items:{item(2)}")["name"] == "told"


def test_both_ends_of_a_link_may_be_told_one_after_the_other(client):
    """What the first puts in doubt at its other end is as old as itself."""
    get(client, f"users:{user(1)}")
    at = later()
    assert client.call("PODIUM.UPSERT", f"events:{event(1)}", cells(event(1), slug="s", name="E", owner=[user(2)]), "AT", at) == 1
    assert client.call("PODIUM.UPSERT", f"users:{user(2)}", cells(user(2), email="a@b.c"), "AT", at) == 1
