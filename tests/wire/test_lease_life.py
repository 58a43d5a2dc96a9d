"""A lease is never lost and never doubled, however a computation ends."""

from __future__ import annotations

import select
import time

import pytest

from asking import get
from support import ReplyError, blocked, eventually
from test_lease import fill, lease  # noqa: F401 (a fixture)
from test_lease_replies import NOTHING, filled, resource
from test_replica import in_step, pair  # noqa: F401 (a fixture)
from test_unload_acl import load, unload
from world import define, item

KEY = "page:a"


def waiters(server, count, key=KEY, *options):
    """So many connections that wait for a key."""
    before = int(server.info("clients")["blocked_clients"])
    all = [server.client() for _ in range(count)]
    for n, one in enumerate(all, 1):
        one.send("PODIUM.LEASE", key, *options)
        if count <= 10:
            blocked(server, before + n)
    blocked(server, before + count)
    return all


def test_a_thousand_and_one_computation(client, server, lease):
    all = [server.client() for _ in range(1000)]
    for one in all:
        one.send("PODIUM.LEASE", KEY)
    blocked(server, 999)
    answered = select.poll()
    for one in all:
        answered.register(one.socket, select.POLLIN)
    [(found, _)] = answered.poll(5000)
    [holder] = [one for one in all if one.socket.fileno() == found]
    value, token = holder.read()
    assert value is None and token
    assert fill(holder, KEY, "v", token) == 1
    assert [one.read() for one in all if one is not holder] == [[b"v", None]] * 999
    assert (server.figure("leases"), server.figure("fills")) == (1, 1)


def test_one_other_gets_it_when_the_holder_dies(client, server, lease):
    holder = server.client()
    assert holder.call("PODIUM.LEASE", KEY)[1]
    others = waiters(server, 20)
    started = time.monotonic()
    holder.close()
    eventually(5, "one has it", lambda: int(server.info("clients")["blocked_clients"]) == 19)
    assert time.monotonic() - started < 0.5
    value, token = others[0].read()
    assert value is None and token, "it is the one who has waited longest"
    assert fill(others[0], KEY, "v", token) == 1
    assert [one.read() for one in others[1:]] == [[b"v", None]] * 19


def test_killed_holder(client, server, lease):
    holder = server.client()
    number = holder.id()
    assert holder.call("PODIUM.LEASE", KEY)[1]
    [other] = waiters(server, 1)
    client.call("CLIENT", "KILL", "ID", number)
    assert other.read()[1]


def test_the_connection_that_holds_it_may_do_other_things(client, server, lease):
    holder = server.client()
    _, token = holder.call("PODIUM.LEASE", KEY)
    assert fill(server.client(), KEY, "v", token) == 1, "whoever has the token fills"


def test_lease_ms_passes(client, server):
    resource(client, lease_ms=150)
    _, token = client.call("PODIUM.LEASE", KEY)
    [other] = waiters(server, 1)
    value, next_token = other.read()
    assert value is None and next_token
    assert fill(client, KEY, "late", token) == 0
    assert fill(other, KEY, "v", next_token) == 1
    assert server.figure("lease_timeouts") >= 1


def test_lease_ms_passes_and_nobody_waits(client, server):
    resource(client, lease_ms=50)
    client.call("PODIUM.LEASE", KEY)
    assert eventually(5, "it is free", lambda: client.call("PODIUM.LEASE", KEY, "NOWAIT")[1])


def test_released(client, server, lease):
    _, token = lease()
    first, second = waiters(server, 2)
    assert client.call("PODIUM.RELEASE", KEY, token) == 1
    _, token = first.read()
    assert token
    assert first.call("PODIUM.RELEASE", KEY, token) == 1
    assert second.read()[1]


def test_fill_refused(client, server, lease, world):
    _, token = lease()
    get(client, f"items:{item(1)}", "FOR", token)
    [other] = waiters(server, 1)
    client.call("PODIUM.UPSERT", f"items:{item(1)}", '{"name":"other"}')
    assert fill(client, KEY, "v", token) == 0
    value, token = other.read()
    assert value is None and token
    assert server.figure("fills_refused") == 1


CHANGES = {
    "FLUSHALL": (("FLUSHALL",), None),
    "INVALIDATE the key": (("PODIUM.INVALIDATE", KEY), None),
    "INVALIDATE a prefix": (("PODIUM.INVALIDATE", "page:*"), None),
    "SPEC SET": (("PODIUM.SPEC", "SET", "page", '{"computed":true,"ttl":5}'), NOTHING),
    "SPEC DEL": (("PODIUM.SPEC", "DEL", "page"), "NOENTITY"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_thrown_away_while_it_is_computed(client, server, lease, what):
    command, _ = CHANGES[what]
    _, token = lease()
    [other] = waiters(server, 1)
    client.call(*command)
    if what == "SPEC DEL":
        got = other.read()
        assert isinstance(got, ReplyError) and got.code == "NOENTITY"
        assert client.error("PODIUM.FILL", KEY, "v", "TOKEN", token).code == "NOENTITY"
        return
    got = other.read()
    assert got[0] is None, got
    assert fill(client, KEY, "v", token) == 0
    if what == "SPEC SET":
        assert client.call("PODIUM.LEASE", KEY)[1]
    else:
        assert got[1] and fill(other, KEY, "v", got[1]) == 1


def test_del_of_the_key_while_it_is_computed(client, server, lease):
    filled(client)
    token = lease(KEY, "NOCACHE")[1]
    client.call("DEL", KEY)
    assert fill(client, KEY, "v", token) == 0


def test_an_equal_spec_changes_nothing(client, server, lease):
    value = filled(client)
    _, token = lease("page:b")
    assert client.call("PODIUM.SPEC", "SET", "page", '{ "computed" : true }') == "OK"
    assert lease() == [value, None]
    assert fill(client, "page:b", "v", token) == 1


@pytest.mark.parametrize("how", [(), ("TIMEOUT",), ("ERROR",)])
def test_client_unblock(client, server, lease, how):
    _, token = lease()
    first, second = waiters(server, 2)
    number = int(next(line for line in client.call("CLIENT", "LIST").decode().splitlines() if " flags=b" in line).split()[0].split("=")[1])
    assert client.call("CLIENT", "UNBLOCK", number, *how) == 1
    blocked(server, 1)
    got = first.read()
    assert isinstance(got, ReplyError) if how == ("ERROR",) else got == NOTHING or isinstance(got, ReplyError)
    assert first.call("PING") == "PONG"
    assert client.call("PODIUM.RELEASE", KEY, token) == 1
    assert second.read()[1], "it passes over who gave up"


def test_waiters_that_go_away(client, server, lease):
    _, token = lease()
    gone = waiters(server, 10)
    [last] = waiters(server, 1)
    for one in gone:
        one.close()
    blocked(server, 1)
    assert client.call("PODIUM.RELEASE", KEY, token) == 1
    assert last.read()[1]
    assert server.figure("blocked_clients") == 0


def test_writes_paused(client, server, lease):
    value = filled(client)
    _, token = lease("page:b")
    client.call("CLIENT", "PAUSE", 300, "WRITE")
    assert lease() == [value, None]
    other = server.client()
    other.send("PODIUM.FILL", "page:b", "v", "TOKEN", token)
    assert other.read() == 1, "FILL is a write: it comes through when the pause is over"
    assert lease("page:b") == [b"v", None]


def test_out_of_memory(client, server, lease):
    value = filled(client)
    _, token = lease("page:b")
    [other] = waiters(server, 1, "page:b")
    client.call("CONFIG", "SET", "maxmemory", "1")
    got = client.attempt("PODIUM.FILL", "page:b", "v", "TOKEN", token)
    assert isinstance(got, ReplyError) or got == 0
    assert lease() == [value, None]
    client.call("CONFIG", "SET", "maxmemory", "0")
    if isinstance(got, ReplyError):
        assert fill(client, "page:b", "v", token) == 1
        assert other.read() == [b"v", None]
    else:
        assert other.read()[0] is None


def test_debug_reload(client, server, lease):
    value = filled(client)
    _, token = lease("page:b")
    [other] = waiters(server, 1, "page:b")
    client.call("DEBUG", "RELOAD")
    got = other.read()
    assert got[0] is None
    assert lease() == [value, None]
    assert fill(client, "page:b", "v", token) == 0


def test_failover(pair):
    primary, replica = pair
    p = primary.client()
    define(p, "items")
    resource(p)
    value = filled(p)
    _, token = p.call("PODIUM.LEASE", "page:b")
    [other] = waiters(primary, 1, "page:b")
    in_step(primary, replica)
    primary.client().call("FAILOVER")
    got = other.read()
    assert isinstance(got, ReplyError) or got == NOTHING, got
    eventually(20, "the roles changed", lambda: replica.info("replication")["role"] == "master" and primary.info("replication")["role"] == "slave")
    r = replica.client()
    eventually(5, "it serves what it learned", lambda: r.call("PODIUM.LEASE", KEY, "CACHEONLY") == [value, None])
    assert fill(r, "page:b", "v", token) == 0, "leases are the old primary's"
    got, token = r.call("PODIUM.LEASE", "page:b")
    assert got is None and fill(r, "page:b", "v", token) == 1


def test_unload(spawn):
    server = spawn()
    client = server.client()
    define(client, "items")
    resource(client)
    value = filled(client)
    _, token = client.call("PODIUM.LEASE", "page:b")
    [other] = waiters(server, 1, "page:b")
    assert isinstance(unload(client), ReplyError), "somebody waits"
    assert fill(client, "page:b", "v", token) == 1
    assert other.read() == [b"v", None]
    client.call("PODIUM.LEASE", "page:c")
    eventually(10, "it unloads", lambda: unload(client) == "OK")
    assert client.call("PING") == "PONG"
    load(server, client)
    assert client.call("PODIUM.LEASE", KEY) == [value, None]
    assert client.call("PODIUM.LEASE", "page:c")[1]
