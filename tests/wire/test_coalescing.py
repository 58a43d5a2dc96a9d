"""What is asked together costs few calls, and nobody waits for another's miss."""

from __future__ import annotations

import json
import time

import pytest

from asking import get, ids
from support import Client, ReplyError, blocked, eventually
from world import define, event, item


def crowd(server, count) -> list[Client]:
    return [server.client() for _ in range(count)]


def test_one_cold_record_asked_by_a_thousand_clients_is_one_call(server, client, world):
    clients = crowd(server, 1000)
    world.airtable.latency(500)
    for one in clients:
        one.send("PODIUM.GET", f"items:{item(1)}")
    replies = {one.read() for one in clients}
    assert len(replies) == 1 and json.loads(replies.pop())["n"] == 1
    assert world.airtable.count() == 1
    assert server.figure("collapsed") == 999


def test_one_cold_index_question_asked_by_many_is_one_call(server, client, world):
    clients = crowd(server, 200)
    world.airtable.latency(300)
    for one in clients:
        one.send("PODIUM.INDEX", "items:group:g1", "COUNT")
    assert {one.read() for one in clients} == {40}
    assert world.airtable.count() == 1


def test_three_hundred_cold_records_asked_by_three_hundred_clients_are_at_most_six_calls(server, client, world):
    clients = crowd(server, 300)
    world.airtable.latency(20)
    for n, one in enumerate(clients, 1):
        one.send("PODIUM.GET", f"items:{item(n)}")
    for n, one in enumerate(clients, 1):
        assert json.loads(one.read())["n"] == n
    assert world.airtable.count() <= 6


def test_pipelined_misses_go_out_together(client, world):
    replies = client.pipeline([("PODIUM.GET", f"items:{item(n)}") for n in range(1, 101)])
    # One connection's replies stay in order, so its next command waits for the one before: MGET is the way to batch. All are answered.
    assert [json.loads(reply)["n"] for reply in replies] == list(range(1, 101))


def test_a_hit_is_unaffected_while_another_clients_miss_waits(server, client, world):
    get(client, f"events:{event(1)}")
    world.airtable.latency(2000)
    other = server.client()
    started = time.monotonic()
    other.send("PODIUM.GET", f"items:{item(1)}")
    blocked(server, 1)
    slowest = 0.0
    for _ in range(2000):
        before = time.monotonic()
        client.call("PODIUM.GET", f"events:{event(1)}")
        slowest = max(slowest, time.monotonic() - before)
    assert not other.answered(), "the miss was to wait meanwhile"
    assert slowest < 0.5, f"the slowest hit took {slowest:.3f} s"
    assert json.loads(other.read())["n"] == 1
    assert time.monotonic() - started >= 1.9


def test_an_index_and_a_get_of_a_member_under_way_share(server, client, world):
    world.airtable.latency(200)
    a, b = server.client(), server.client()
    a.send("PODIUM.INDEX", "items:group:g1", "IDS")
    blocked(server, 1)
    b.send("PODIUM.GET", f"items:{item(1)}")
    assert len(a.read()) == 40 and json.loads(b.read())["group"] == "g1"
    assert world.airtable.count() <= 2


def test_misses_of_two_entities_do_not_share_a_call_but_do_not_wait_for_each_other(server, client, world):
    world.airtable.fault("slow", ms=1500, match={"path_contains": "items"})
    slow = server.client()
    slow.send("PODIUM.GET", f"items:{item(1)}")
    blocked(server, 1)
    started = time.monotonic()
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"
    assert time.monotonic() - started < 1.2
    assert json.loads(slow.read())["n"] == 1


@pytest.mark.parametrize("how", ["at start", "by CONFIG SET"])
def test_the_default_rate_is_kept(spawn, world, how):
    """At the default rate the emulator's own limit (5 a second, then a lock-out) is never met."""
    server = spawn({"rate-limit": 4 if how == "at start" else 1000, "fetch-timeout-ms": 20000})
    define(server.client())
    if how == "by CONFIG SET":
        server.client().call("CONFIG", "SET", "podium.rate-limit", "4")
    world.airtable.control("POST", "limits", {"enabled": True, "per_second": 5, "lockout_ms": 30000, "clear": True})
    clients = crowd(server, 12)
    for n, one in enumerate(clients):
        one.send("PODIUM.INDEX", f"items:group:g{n}", "COUNT")
    assert [one.read(20) for one in clients] == [40] * 10 + [0] * 2
    assert world.airtable.count_records() == 12
    assert all(call["status"] == 200 for call in world.airtable.calls())
    assert server.figure("upstream_429") == 0


def test_a_full_queue_is_told_at_once(server, client, world):
    client.call("CONFIG", "SET", "podium.max-pending", "5")
    world.airtable.latency(1000)
    clients = crowd(server, 12)
    for n, one in enumerate(clients, 1):
        one.send("PODIUM.GET", f"items:{item(n)}")
    replies = [one.read() for one in clients]
    refused = [reply for reply in replies if isinstance(reply, ReplyError)]
    assert len(refused) == 7 and all(reply.code == "UPSTREAMBUSY" for reply in refused), replies
    assert server.figure("pending") == 0


def test_members_missing_from_a_set_are_fetched_once_for_all(server, client, world):
    members = ids(client, "items:group:g1")
    client.call("DEL", *[f"items:{id}" for id in members])
    world.airtable.forget()
    world.airtable.latency(200)
    clients = crowd(server, 50)
    for one in clients:
        one.send("PODIUM.INDEX", "items:group:g1")
    assert {len(one.read()) for one in clients} == {40}
    assert world.airtable.count() == 1


def test_nothing_is_left_waiting(server, client, world):
    for one in crowd(server, 20):
        one.call("PODIUM.GET", f"items:{item(5)}")
    eventually(5, "no pending read", lambda: server.info()["podium_pending"] == "0" and server.info()["podium_blocked_clients"] == "0")
