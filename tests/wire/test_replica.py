"""Replicas answer hits, say REPLICAMISS, and know the specs."""

from __future__ import annotations

import json

import pytest

from asking import cells, get, ids, index
from support import eventually, text
from world import SPECS, define, event, item


@pytest.fixture
def pair(spawn):
    """A primary and its replica, in step."""
    primary = spawn()
    replica = spawn(config=[f"replicaof 127.0.0.1 {primary.port}"])
    eventually(20, "the replica is in step", lambda: replica.info("replication").get("master_link_status") == "up")
    return primary, replica


def in_step(primary, replica):
    offset = int(primary.info("replication")["master_repl_offset"])
    eventually(10, "the replica caught up", lambda: int(replica.info("replication")["slave_repl_offset"]) >= offset)


def test_hits_and_misses(pair, world):
    primary, replica = pair
    p, r = primary.client(), replica.client()
    define(p)
    in_step(primary, replica)
    assert text(r.call("PODIUM.SPEC", "LIST")) == sorted(SPECS)
    assert r.error("PODIUM.GET", f"events:{event(1)}").code == "REPLICAMISS"
    assert r.error("PODIUM.INDEX", "items:group:g1").code == "REPLICAMISS"
    assert world.airtable.count() == 0, "a replica asks nothing"
    p.call("PODIUM.GET", f"events:{event(3)}")
    in_step(primary, replica)
    lacking = r.error("PODIUM.MGET", 2, f"events:{event(3)}", f"events:{event(2)}")
    assert lacking.code == "REPLICAMISS" and event(2) in str(lacking), "it names the key that lacks"
    record, found = get(p, f"events:{event(1)}"), index(p, "items:group:g1")
    in_step(primary, replica)
    assert get(r, f"events:{event(1)}") == record
    assert index(r, "items:group:g1") == found
    assert get(r, f"items:{item(1)}")["group"] == "g1"
    assert r.call("PODIUM.GET", f"events:{event(2)}", "CACHEONLY") is None


def test_what_is_told_reaches_the_replica(pair):
    primary, replica = pair
    p, r = primary.client(), replica.client()
    define(p)
    ids(p, "items:group:g1")
    p.call("PODIUM.UPSERT", f"items:{item(1)}", cells(item(1), name="told", group="g1"))
    p.call("PODIUM.TOMBSTONE", f"items:{item(11)}")
    in_step(primary, replica)
    assert get(r, f"items:{item(1)}")["name"] == "told"
    assert get(r, f"items:{item(11)}") is None
    assert item(11) not in ids(r, "items:group:g1")
    p.call("PODIUM.INVALIDATE", f"items:{item(1)}")
    in_step(primary, replica)
    assert r.error("PODIUM.GET", f"items:{item(1)}").code == "REPLICAMISS"
    assert r.error("PODIUM.INDEX", "items:group:g1").code == "REPLICAMISS", "a record in doubt may match any value"
    p.call("PODIUM.INVALIDATE", "items:*")
    in_step(primary, replica)
    assert r.error("PODIUM.GET", f"items:{item(21)}").code == "REPLICAMISS"


def test_specs_reach_it_by_full_sync_and_by_stream(pair, spawn):
    primary, replica = pair
    p = primary.client()
    define(p, "events")
    in_step(primary, replica)
    assert text(replica.client().call("PODIUM.SPEC", "LIST")) == ["events"]
    p.call("PODIUM.SPEC", "DEL", "events")
    define(p, "items")
    in_step(primary, replica)
    assert text(replica.client().call("PODIUM.SPEC", "LIST")) == ["items"]
    late = spawn(config=[f"replicaof 127.0.0.1 {primary.port}"])
    eventually(20, "the late replica is in step", lambda: late.info("replication").get("master_link_status") == "up")
    assert text(late.client().call("PODIUM.SPEC", "LIST")) == ["items"]
    p.call("FLUSHALL")
    in_step(primary, late)
    assert text(late.client().call("PODIUM.SPEC", "LIST")) == ["items"]


def test_telling_a_replica_is_readonly(pair):
    primary, replica = pair
    define(primary.client())
    in_step(primary, replica)
    r = replica.client()
    for command in (("PODIUM.UPSERT", f"items:{item(1)}", '{"name":"x"}'), ("PODIUM.INVALIDATE", f"items:{item(1)}"), ("PODIUM.SPEC", "SET", "x", "{}"), ("PODIUM.SPEC", "DEL", "items")):
        assert r.error(*command).code == "READONLY", command


def test_a_promoted_replica_carries_on(pair, world):
    primary, replica = pair
    p = primary.client()
    define(p)
    get(p, f"events:{event(1)}")
    ids(p, "items:group:g1")
    p.call("PODIUM.INVALIDATE", f"items:{item(1)}")
    in_step(primary, replica)
    world.change("items", item(1), group="g2")
    primary.stop()
    r = replica.client()
    r.call("REPLICAOF", "NO", "ONE")
    world.airtable.forget()
    assert get(r, f"events:{event(1)}")["slug"] == "event-1" and world.airtable.count() == 0
    assert item(1) not in ids(r, "items:group:g1"), "doubt survived the failover"
    assert get(r, f"events:{event(2)}")["slug"] == "event-2"


def test_a_primary_demoted_while_a_client_waits(spawn, world):
    first, second = spawn(), spawn()
    client = first.client()
    define(client)
    world.airtable.latency(500)
    client.send("PODIUM.GET", f"items:{item(1)}")
    eventually(5, "the client waits", lambda: first.info("clients")["blocked_clients"] == "1")
    first.client().call("REPLICAOF", "127.0.0.1", second.port)
    reply = client.read()
    assert not isinstance(reply, bytes) or json.loads(reply)["n"] == 1
    eventually(20, "it is a replica", lambda: first.info("replication").get("master_link_status") == "up")
    eventually(5, "nothing under way", lambda: first.info()["podium_pending"] == "0")
    assert first.client().call("DBSIZE") == second.client().call("DBSIZE"), "nothing was stored on the replica by itself"


def test_failover_with_a_fetch_under_way(pair, world):
    primary, replica = pair
    p = primary.client()
    define(p)
    in_step(primary, replica)
    world.airtable.latency(700)
    p.send("PODIUM.GET", f"items:{item(1)}")
    eventually(5, "the client waits", lambda: primary.info("clients")["blocked_clients"] == "1")
    primary.client().call("FAILOVER")
    p.read()
    eventually(20, "the roles changed", lambda: replica.info("replication")["role"] == "master" and primary.info("replication")["role"] == "slave")
    world.airtable.latency(0)
    assert get(replica.client(), f"items:{item(1)}")["n"] == 1
