"""Out of memory: hits are answered; a miss is fetched and answered, not stored."""

from __future__ import annotations

import json
import time

import pytest

from asking import cells, get, ids, mget
from support import eventually, text
from world import define, event, item


def exhaust(client):
    client.call("CONFIG", "SET", "maxmemory", "1mb")


def test_noeviction(client, world):
    get(client, f"events:{event(1)}")
    exhaust(client)
    assert client.error("SET", "x", "y").code == "OOM"
    world.airtable.forget()
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"
    assert world.airtable.count() == 0
    assert get(client, f"events:{event(2)}")["slug"] == "event-2"
    assert client.call("EXISTS", f"events:{event(2)}") == 0
    assert len(ids(client, "items:group:g1")) == 40
    assert client.call("EXISTS", "items:group:g1", f"items:{item(1)}") == 0
    client.call("CONFIG", "SET", "maxmemory", "0")
    assert get(client, f"events:{event(2)}")["slug"] == "event-2"
    assert client.call("EXISTS", f"events:{event(2)}") == 1


def test_what_is_told_is_never_lost_for_want_of_memory(client, world):
    get(client, f"items:{item(1)}")
    found = ids(client, "items:group:g1")
    exhaust(client)
    assert client.call("PODIUM.UPSERT", f"items:{item(1)}", cells(item(1), name="told", group="g2")) == 0, "it may not store: it drops"
    world.change("items", item(1), name="told", group="g2")
    assert get(client, f"items:{item(1)}")["name"] == "told"
    assert item(1) not in ids(client, "items:group:g1")
    client.call("PODIUM.INVALIDATE", f"items:{item(11)}")
    world.change("items", item(11), group="g2")
    assert ids(client, "items:group:g1") == [id for id in found if id not in (item(1), item(11))]
    client.call("PODIUM.TOMBSTONE", f"items:{item(21)}")
    world.delete("items", item(21))
    assert get(client, f"items:{item(21)}") is None


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_with_an_eviction_policy_reads_stay_right(client, world, policy):
    client.call("CONFIG", "SET", "maxmemory-policy", policy)
    used = int(client.call("INFO", "memory").split(b"used_memory:")[1].split(b"\r")[0])
    client.call("CONFIG", "SET", "maxmemory", used + 60_000)
    expected = sorted(id for id, c in world.truth("items").items() if c["group"] == "g3")
    for _ in range(3):
        for n in range(1, 400, 40):
            keys = [f"items:{item(m)}" for m in range(n, min(n + 40, 401))]
            assert [record["n"] for record in mget(client, keys)] == list(range(n, min(n + 40, 401)))
        assert ids(client, "items:group:g3") == expected
    assert client.call("PODIUM.SPEC", "LIST"), "specs are not evicted away"
    assert json.loads(client.call("PODIUM.SPEC", "GET", "items"))["fields"]["group"]["indexed"] is True


def calls_of(client, command: str) -> int:
    """How often a command ran since CONFIG RESETSTAT, Podium's own calls included."""
    for line in client.call("INFO", "commandstats").decode().splitlines():
        if line.startswith(f"cmdstat_{command}:"):
            return int(line.split("calls=")[1].split(",")[0])
    return 0


def leave_nothing(client, policy: str):
    """Whatever may be evicted is, own keys too, and is again as soon as it is there."""
    client.call("CONFIG", "SET", "maxmemory-policy", policy)
    client.call("CONFIG", "RESETSTAT")
    client.call("CONFIG", "SET", "maxmemory", "1")
    eventually(5, "our own keys are evicted too, and not written at once", lambda: client.call("PING") and not client.call("KEYS", "*podium:*"))


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_own_keys_are_not_written_in_a_loop(client, world, policy):
    found = ids(client, "items:group:g3")
    client.call("PODIUM.INVALIDATE", f"items:{found[0]}")
    world.change("items", found[0], group="g4")
    leave_nothing(client, policy)
    started = time.monotonic()
    for n in range(1, 41):
        assert get(client, f"items:{item(n)}")["n"] == n
        assert ids(client, "items:group:g3") == found[1:]
    seconds = time.monotonic() - started
    assert len(client.call("PODIUM.SPEC", "LIST")) == 5
    keys = 5 + 1 + 1
    assert calls_of(client, "hset") <= keys * (2 + 2 * seconds), "each key once a second at most"
    client.call("CONFIG", "SET", "maxmemory", "0")
    eventually(5, "the specs are written again", lambda: len(client.call("KEYS", "podium:spec:*")) == 5)
    for key in client.call("KEYS", "podium:spec:*"):
        assert {b"spec", b"generation", b"sets"} <= set(client.call("HKEYS", key)), "and whole"


def test_what_is_in_doubt_is_not_forgotten_by_a_restart_after_evictions(spawn, world):
    server = spawn(save=True)
    client = server.client()
    define(client, "items")
    found = ids(client, "items:group:g1")
    world.change("items", found[0], group="g2")
    client.call("PODIUM.INVALIDATE", f"items:{found[0]}")
    leave_nothing(client, "allkeys-random")
    client.call("PODIUM.INVALIDATE", f"items:{found[1]}")
    client.call("CONFIG", "SET", "maxmemory", "0")
    world.change("items", found[1], group="g2")
    eventually(5, "the spec is written again", lambda: client.call("KEYS", "podium:spec:*"))
    client.call("SAVE")
    server.restart(kill=True)
    assert ids(server.client(), "items:group:g1") == found[2:]


def test_a_replica_knows_an_entity_whose_spec_was_evicted(spawn, world):
    primary = spawn()
    replica = spawn(config=[f"replicaof 127.0.0.1 {primary.port}"])
    eventually(20, "the replica is in step", lambda: replica.info("replication").get("master_link_status") == "up")
    client, reader = primary.client(), replica.client()

    def in_step():
        offset = int(primary.info("replication")["master_repl_offset"])
        eventually(10, "the replica caught up", lambda: int(replica.info("replication")["slave_repl_offset"]) >= offset)

    define(client, "events", "items")
    leave_nothing(client, "allkeys-random")
    in_step()
    assert not reader.call("KEYS", "podium:spec:*")
    assert text(reader.call("PODIUM.SPEC", "LIST")) == ["events", "items"]
    assert reader.error("PODIUM.GET", f"events:{event(1)}").code == "REPLICAMISS"
    assert client.call("PODIUM.SPEC", "DEL", "events") == 1
    in_step()
    assert text(reader.call("PODIUM.SPEC", "LIST")) == ["items"], "that it is over is said"
    client.call("CONFIG", "SET", "maxmemory", "0")
    eventually(5, "the other is written again", lambda: client.call("KEYS", "podium:spec:*"))
    assert get(client, f"items:{item(1)}")["n"] == 1
    in_step()
    assert get(reader, f"items:{item(1)}")["n"] == 1


def test_a_doubt_that_is_evicted_is_not_forgotten(client, world):
    found = ids(client, "items:group:g1")
    world.change("items", found[0], group="g2")
    client.call("PODIUM.INVALIDATE", f"items:{found[0]}")
    for key in client.call("KEYS", "podium:*"):
        client.call("DEL", key)
    assert ids(client, "items:group:g1") == found[1:]
    assert len(client.call("PODIUM.SPEC", "LIST")) == 5


def test_specs_come_back_when_their_keys_are_deleted(client):
    for key in client.call("KEYS", "podium:*") + client.call("KEYS", "*podium:*"):
        client.call("DEL", key)
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"
    eventually(5, "the specs are written again", lambda: client.call("KEYS", "*podium:*"))
