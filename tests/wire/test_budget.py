"""What was spent of Airtable's budget is known after a restart and after a failover: the month, the lock-out, the last second."""

from __future__ import annotations

import json

import pytest

from asking import get, ids, meta
from support import ReplyError, eventually, free_port, text
from world import SPECS, define, event, item

AOF = ["appendonly yes", "appendfsync always"]


def kept(client, key="podium:budget"):
    """The budget's fields as they are stored."""
    flat = text(client.call("HGETALL", key))
    return dict(zip(flat[::2], flat[1::2]))


def written(client, calls, key="podium:budget"):
    return eventually(10, f"{calls} calls are written down", lambda: (k := kept(client, key)).get("calls") == str(calls) and k)


def spend(client, calls):
    for n in range(calls):
        assert get(client, f"items:{item(n + 1)}")["n"] == n + 1


@pytest.mark.parametrize("how", ["killed, AOF", "stopped, RDB"])
def test_the_months_calls_survive_a_restart(spawn, how):
    killed = how.startswith("killed")
    server = spawn(config=AOF) if killed else spawn(config=["save 3600 100000"], save=True)
    client = server.client()
    define(client)
    spend(client, 5)
    assert server.figure("month_calls") == 5
    written(client, 5)
    server.restart(kill=killed)
    assert server.figure("month_calls") == 5
    spend(server.client(), 6)
    assert server.figure("month_calls") == 6, "five are hits, one more call"
    written(server.client(), 6)


def test_the_months_calls_survive_flushall(client, server):
    before = server.figure("month_calls")
    get(client, f"items:{item(1)}")
    client.call("FLUSHALL")
    assert server.figure("month_calls") == before + 1
    written(client, before + 1)


def test_a_data_set_loaded_again_is_not_counted_twice(spawn):
    server = spawn(save=True)
    client = server.client()
    define(client)
    spend(client, 3)
    written(client, 3)
    for _ in range(3):
        assert client.call("DEBUG", "RELOAD") == "OK"
    assert server.figure("month_calls") == 3


def test_a_lock_out_survives_a_restart(spawn, world):
    server = spawn({"rate-limit": 4}, AOF)
    client = server.client()
    define(client)
    world.airtable.status(429, "RATE_LIMIT_REACHED", "Rate limit exceeded. Please try again later", "plural", times=1)
    assert client.error("PODIUM.GET", f"items:{item(1)}").code == "UPSTREAMBUSY"
    eventually(5, "the lock-out is written down", lambda: any(name.startswith("base:") for name in kept(client)))
    calls = world.airtable.count()
    server.restart(kill=True)
    error = server.client().error("PODIUM.GET", f"items:{item(2)}")
    assert error.code == "UPSTREAMBUSY" and " s" in error.text, error.text
    assert world.airtable.count() == calls, "the silence goes on"


def test_a_base_that_is_well_again_leaves_no_trace(spawn, world):
    server = spawn({"rate-limit": 1000, "fetch-timeout-ms": 900}, AOF)
    client = server.client()
    define(client)
    world.airtable.status(429, "RATE_LIMIT_REACHED", "Rate limit exceeded. Please try again later", "plural", times=1, retry_after="1")
    assert client.error("PODIUM.GET", f"items:{item(1)}").code == "UPSTREAMBUSY"
    eventually(5, "the lock-out is written down", lambda: any(name.startswith("base:") for name in kept(client)))
    eventually(10, "recovery", lambda: isinstance(client.attempt("PODIUM.GET", f"items:{item(1)}"), bytes))
    eventually(5, "and its end", lambda: not any(name.startswith("base:") for name in kept(client)))


@pytest.mark.parametrize("keeps", [True, False])
def test_a_restart_does_not_burst_into_the_lock_out(spawn, world, keeps):
    """Calls of the process before and of this one share a second: Airtable locks out above five."""
    server = spawn({"rate-limit": 4, "fetch-timeout-ms": 10000}, AOF if keeps else [])
    define(server.client())
    world.airtable.control("POST", "limits", {"enabled": True, "per_second": 5, "lockout_ms": 30000, "window": "sliding", "clear": True})
    groups = iter(range(100))
    for _ in range(3):
        clients = [server.client() for _ in range(4)]
        for one in clients:
            one.send("PODIUM.INDEX", f"items:group:x{next(groups)}", "COUNT")
        assert [one.read(10) for one in clients] == [0] * 4
        server.restart(kill=True)
        if not keeps:
            define(server.client())
    assert [call["status"] for call in world.airtable.calls() if call["status"] != 200] == []


def test_a_promoted_replica_carries_on(spawn, world):
    primary = spawn()
    replica = spawn(config=[f"replicaof 127.0.0.1 {primary.port}"])
    eventually(20, "the replica is in step", lambda: replica.info("replication").get("master_link_status") == "up")
    client = primary.client()
    define(client)
    spend(client, 7)
    reader = replica.client()
    written(reader, 7)
    assert replica.figure("month_calls") == 0, "what it did not spend is its primary's"
    primary.stop(kill=True)
    reader.call("REPLICAOF", "NO", "ONE")
    assert replica.figure("month_calls") == 7
    spend(reader, 8)
    assert replica.figure("month_calls") == 8


def test_in_a_cluster_it_lies_in_the_bases_slot(spawn, world):
    server = spawn(config=["cluster-enabled yes", f"cluster-port {free_port()}", "cluster-require-full-coverage no"])
    client = server.client()
    client.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    eventually(10, "the cluster is up", lambda: b"cluster_state:ok" in client.call("CLUSTER", "INFO"))
    client.call("PODIUM.SPEC", "SET", "{shop}items", json.dumps(SPECS["items"]))
    get(client, "{shop}items:" + item(1))
    written(client, 1, "podium:budget:{shop}")
    assert client.call("EXISTS", "podium:budget") == 0


def test_the_month_set_here_is_kept(client, server, world):
    """`podium.monthly-calls`: reads stop when it is spent, hits go on, and raising it helps at once."""
    get(client, f"events:{event(1)}")
    spent = server.figure("month_calls")
    client.call("CONFIG", "SET", "podium.monthly-calls", spent)
    error = eventually(5, "the limit is in force", lambda: isinstance(e := client.attempt("PODIUM.GET", f"items:{item(1)}", "NOCACHE"), ReplyError) and e)
    assert error.code == "UPSTREAMBUSY" and "podium.monthly-calls" in error.text, error.text
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"
    calls = world.airtable.count()
    assert client.error("PODIUM.INDEX", "items:group:g1").code == "UPSTREAMBUSY" and world.airtable.count() == calls
    client.call("CONFIG", "SET", "podium.monthly-calls", spent + 100)
    assert eventually(5, "the new limit is in force", lambda: isinstance(client.attempt("PODIUM.INDEX", "items:group:g1", "COUNT"), int))
    assert len(ids(client, "items:group:g1")) == 40


@pytest.mark.parametrize("options", [("NOCACHE",), ("MAXAGE", 0)], ids=lambda o: o[0])
def test_a_read_that_joins_a_refresh_waits_as_a_read(spawn, options):
    """What refreshes may take of a small month is spent: a refresh of an index set waits for hours, who reads it does not."""
    server = spawn({"monthly-calls": 60, "ttl": 1, "stale-while-revalidate": 600, "rate-limit": 1000})
    client = server.client()
    define(client, "items")
    members = ids(client, "items:group:g1")

    def spent():
        if server.info()["podium_warm_entity"] == "":
            client.call("PODIUM.WARM", "items:*", "ASYNC")
        return server.figure("month_calls") == 11

    eventually(20, "the background's calls are spent", spent)
    eventually(10, "a refresh is queued", lambda: meta(client, "PODIUM.INDEX", "items:group:g1", "IDS")["detail"] == "revalidating")
    assert server.figure("upstream_calls_refresh") == 0
    assert ids(client, "items:group:g1", *options) == members
    assert server.figure("upstream_calls_refresh") == 0 and server.figure("upstream_calls_index") == 2
