"""However a wait ends, the server stays well and the client is answered once."""

from __future__ import annotations

import json
import time

import pytest

from asking import get
from support import Closed, ReplyError, blocked, eventually
from world import define, event, item

KEY = f"items:{item(1)}"


@pytest.fixture
def waiting(server, client, world):
    """A connection whose GET waits for an answer that takes `latency` ms."""
    def start(latency=600, command=("PODIUM.GET", KEY)):
        world.airtable.latency(latency)
        reader = server.client()
        reader.client_id = reader.id()
        reader.send(*command)
        blocked(server, 1)
        return reader
    return start


def quiet(server):
    eventually(10, "nothing under way", lambda: server.info()["podium_pending"] == "0" and server.info()["podium_blocked_clients"] == "0")


def test_client_kill(server, client, waiting):
    reader = waiting()
    assert client.call("CLIENT", "KILL", "ID", reader.client_id) == 1
    with pytest.raises((Closed, ConnectionError)):
        reader.read()
    blocked(server, 0)
    quiet(server)
    assert get(client, KEY)["n"] == 1


def test_a_client_that_goes_away(server, client, waiting):
    waiting().close()
    blocked(server, 0)
    quiet(server)
    assert get(client, KEY)["n"] == 1


@pytest.mark.parametrize("how", [(), ("TIMEOUT",), ("ERROR",)])
def test_client_unblock(server, client, waiting, how):
    reader = waiting()
    assert client.call("CLIENT", "UNBLOCK", reader.client_id, *how) == 1
    reply = reader.read(2)
    assert isinstance(reply, ReplyError), reply
    assert reader.call("PING") == "PONG", "its replies are still in step"
    quiet(server)


def test_a_timeout_names_itself(server, client, waiting, world):
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "300")
    started = time.monotonic()
    reader = waiting(3000)
    reply = reader.read()
    assert isinstance(reply, ReplyError) and reply.code == "UPSTREAMTIMEOUT", reply
    assert 0.2 <= time.monotonic() - started <= 1.5
    assert reader.call("PING") == "PONG"
    world.airtable.latency(0)
    assert client.call("EXISTS", f"tomb:{KEY}") == 0
    eventually(10, "recovery without help", lambda: not isinstance(client.attempt("PODIUM.GET", KEY), ReplyError))


@pytest.mark.parametrize("mode", ["WRITE", "ALL"])
def test_client_pause_with_a_fetch_under_way(server, client, waiting, mode):
    hit = f"events:{event(1)}"
    get(client, hit)
    reader = waiting(300)
    client.call("CLIENT", "PAUSE", 1500, mode)
    reply = reader.read()
    assert json.loads(reply)["n"] == 1, "a miss is fetched and answered while writes are paused"
    if mode == "WRITE":
        assert client.call("EXISTS", KEY) == 0, "and not stored"
        assert get(client, hit)["slug"] == "event-1"
        assert get(client, f"events:{event(2)}")["slug"] == "event-2"
    client.call("CLIENT", "UNPAUSE")
    quiet(server)
    assert get(client, KEY)["n"] == 1


def test_client_pause_write_with_aof_and_replica(spawn, world):
    """Writing while writes are paused is an assertion in the server as soon as anything listens to the stream."""
    primary = spawn(config=["appendonly yes"])
    replica = spawn(config=[f"replicaof 127.0.0.1 {primary.port}"])
    eventually(20, "the replica is in step", lambda: replica.info("replication").get("master_link_status") == "up")
    client, reader = primary.client(), primary.client()
    define(client)
    world.airtable.latency(300)
    reader.send("PODIUM.MGET", 50, *[f"items:{item(n)}" for n in range(1, 51)])
    blocked(primary, 1)
    client.call("CLIENT", "PAUSE", 2000, "WRITE")
    assert len(reader.read()) == 50
    assert client.call("PODIUM.INDEX", "items:group:g1", "COUNT") == 40
    client.call("CLIENT", "UNPAUSE")
    assert get(client, KEY)["n"] == 1
    primary.assert_well()


def test_commands_pipelined_behind_a_wait_keep_their_order(server, client, world):
    world.airtable.latency(200)
    reader = server.client()
    replies = reader.pipeline([("PODIUM.GET", KEY), ("PING",), ("ECHO", "x"), ("PODIUM.GET", f"items:{item(2)}"), ("PING", "end")])
    assert [json.loads(replies[0])["n"], replies[1], replies[2], json.loads(replies[3])["n"], replies[4]] == [1, "PONG", b"x", 2, b"end"]


def test_reset_and_quit_while_waiting(server, client, waiting):
    reader = waiting(200)
    reader.send("QUIT")
    assert json.loads(reader.read())["n"] == 1
    assert reader.read() == "OK"
    quiet(server)


def test_many_killed_at_once(server, client, world):
    world.airtable.latency(500)
    readers = [server.client() for _ in range(200)]
    for n, reader in enumerate(readers):
        reader.send("PODIUM.GET", f"items:{item(1 + n % 50)}")
    blocked(server, 200)
    client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    blocked(server, 0)
    quiet(server)
    assert get(client, KEY)["n"] == 1


def test_kill_of_one_waiter_leaves_the_others(server, client, world):
    world.airtable.latency(500)
    readers = [server.client() for _ in range(5)]
    numbers = [reader.id() for reader in readers]
    for reader in readers:
        reader.send("PODIUM.GET", KEY)
    blocked(server, 5)
    client.call("CLIENT", "KILL", "ID", numbers[0])
    assert all(json.loads(reader.read())["n"] == 1 for reader in readers[1:])
    assert world.airtable.count() == 1


def test_acl_deluser_of_a_waiting_client(server, client, world):
    client.call("ACL", "SETUSER", "web", "on", ">pw", "+@podium", "~*")
    world.airtable.latency(400)
    web = server.client(user="web", password="pw")
    web.send("PODIUM.GET", KEY)
    blocked(server, 1)
    client.call("ACL", "DELUSER", "web")
    blocked(server, 0)
    quiet(server)


@pytest.mark.parametrize("how", ["goes away", "killed", "unblocked"])
@pytest.mark.parametrize("command", [("PODIUM.WARM", "items:*"), ("PODIUM.SWEEP", "events:*", "FULL"), ("PODIUM.SYNC", "START"), ("PODIUM.SPEC", "DISCOVER"),
                                     ("PODIUM.CREATE", "items:*", '{"name":"x"}')], ids=lambda c: " ".join(c[:2]))
def test_who_left_waits_no_longer_however_long_the_work_goes_on(server, client, world, waiting, command, how):
    """It is not counted, and does not take a place of those that `max-pending` allows."""
    get(client, f"events:{event(1)}")
    client.call("CONFIG", "SET", "podium.max-pending", "1")
    reader = waiting(2000, command)
    assert client.error("PODIUM.GET", KEY).code == "UPSTREAMBUSY"
    if how == "goes away":
        reader.close()
    elif how == "killed":
        client.call("CLIENT", "KILL", "ID", reader.client_id)
    else:
        assert client.call("CLIENT", "UNBLOCK", reader.client_id) == 1
        # CREATE says of each record what became of it.
        assert "ReplyError" in repr(reader.read(2))
    eventually(1, "it is not counted", lambda: server.info()["podium_blocked_clients"] == "0")
    eventually(1, "the work goes on", lambda: server.figure("pending") > 0)
    world.airtable.latency(0)
    assert get(client, KEY)["n"] == 1
    quiet(server)
    assert server.figure("blocked_clients") == 0, "nor counted off twice"
