"""Locked out, broken or spent: who waits is told for how long, nothing is fetched for nobody, and it ends without help."""

from __future__ import annotations

import re
import time

import pytest

from asking import get, ids, meta
from support import ReplyError, blocked, eventually
from world import event, item

KEY = f"items:{item(1)}"


def seconds(error):
    """The seconds that a busy answer names."""
    found = re.search(r"in (\d+) s", error.text)
    assert found, error.text
    return int(found.group(1))


def locked_out(world, **more):
    world.airtable.status(429, "RATE_LIMIT_REACHED", "Rate limit exceeded. Please try again later", more.pop("shape", "plural"), times=1, **more)


@pytest.mark.parametrize("shape", ["plural", "object"])
def test_a_lock_out_is_told_with_the_seconds_left(client, world, shape):
    locked_out(world, shape=shape)
    started = time.monotonic()
    first = client.error("PODIUM.GET", KEY)
    assert first.code == "UPSTREAMBUSY" and 25 <= seconds(first) <= 30
    for command in (("PODIUM.GET", f"items:{item(2)}"), ("PODIUM.INDEX", "items:group:g1"), ("PODIUM.INDEX", "events:*")):
        error = client.error(*command)
        assert error.code == "UPSTREAMBUSY" and 25 <= seconds(error) <= 30, error.text
    assert time.monotonic() - started < 1, "all are told at once"
    assert world.airtable.count() == 1, "a lock-out is not asked about"


@pytest.mark.parametrize("command", [("PODIUM.GET", KEY), ("PODIUM.MGET", 2, KEY, f"items:{item(2)}"), ("PODIUM.INDEX", "items:group:g1")], ids=lambda c: c[0])
def test_who_can_wait_for_the_end_of_the_silence_does(client, world, command):
    locked_out(world, retry_after="1")
    started = time.monotonic()
    reply = client.call(*command)
    assert not any(isinstance(r, ReplyError) for r in (reply if isinstance(reply, list) else [reply]))
    assert 0.9 <= time.monotonic() - started <= 3.5
    assert world.airtable.count() == 2


def test_retry_after_is_obeyed_and_the_end_needs_no_help(client, world):
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "1500")
    locked_out(world, retry_after="2")
    started = time.monotonic()
    assert seconds(client.error("PODIUM.GET", KEY)) <= 2
    assert time.monotonic() - started < 1, "its end lies beyond the deadline: it is told at once"
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "4000")
    # Its end lies within the deadline: who asks now waits for it.
    assert get(client, KEY)["n"] == 1
    assert 1.5 <= time.monotonic() - started <= 4
    assert world.airtable.count() == 2


def test_a_refresh_does_not_wait_through_a_silence(server, client, world):
    client.call("CONFIG", "SET", "podium.ttl", "1", "podium.stale-while-revalidate", "60")
    get(client, KEY)
    locked_out(world, retry_after="3")
    eventually(5, "a refresh is ordered", lambda: meta(client, "PODIUM.GET", KEY)["detail"] == "revalidating")
    eventually(2, "it is answered 429", lambda: server.figure("upstream_429") == 1)
    eventually(1, "nothing is queued", lambda: server.figure("pending") == 0)


def test_those_already_queued_are_told_too(server, client, world):
    """They wait for a slot when another call is answered 429: none of them waits for the deadline."""
    client.call("CONFIG", "SET", "podium.rate-limit", "1", "podium.fetch-timeout-ms", "20000")
    get(client, f"events:{event(1)}")
    world.airtable.latency(500)
    locked_out(world)
    readers = [server.client() for _ in range(5)]
    for n, one in enumerate(readers[:3]):
        one.send("PODIUM.INDEX", f"items:group:g{n}")
    readers[3].send("PODIUM.GET", KEY)
    readers[4].send("PODIUM.MGET", 2, f"items:{item(2)}", f"projects:{item(3)}")
    started = time.monotonic()
    for one in readers:
        reply = one.read()
        error = next(r for r in reply if isinstance(r, ReplyError)) if isinstance(reply, list) else reply
        assert isinstance(error, ReplyError) and error.code == "UPSTREAMBUSY" and seconds(error) > 20, error
    assert time.monotonic() - started < 5
    eventually(3, "the queue is empty", lambda: server.figure("pending") == 0)


def test_a_stale_copy_is_served_to_those_queued(server, client, world):
    client.call("CONFIG", "SET", "podium.ttl", "1", "podium.stale-if-error", "60", "podium.fetch-timeout-ms", "20000")
    get(client, KEY)
    found = ids(client, "items:group:g3")
    eventually(5, "stale", lambda: meta(client, "PODIUM.GET", KEY, "CACHEONLY")["cache"] == "MISS" and meta(client, "PODIUM.INDEX", "items:group:g3", "IDS", "CACHEONLY")["cache"] == "MISS")
    client.call("CONFIG", "SET", "podium.rate-limit", "1")
    world.airtable.latency(700)
    locked_out(world)
    readers = [server.client() for _ in range(3)]
    readers[0].send("PODIUM.GET", f"events:{event(1)}")
    blocked(server, 1)
    readers[1].send("PODIUM.GET", KEY)
    readers[2].send("PODIUM.INDEX", "items:group:g3", "IDS")
    assert readers[0].read().code == "UPSTREAMBUSY"
    assert b'"n":1' in readers[1].read()
    assert [id.decode() for id in readers[2].read()] == found


def test_an_outage_fetches_for_nobody(server, client, world):
    """Whoever gave up waiting leaves the queue: when Airtable is back, it is asked for nothing that nobody wants."""
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "400", "podium.threads", "1")
    world.airtable.fault("hang")
    readers = [server.client() for _ in range(60)]
    for n, one in enumerate(readers):
        one.send("PODIUM.INDEX", f"items:group:x{n}")
    assert all(isinstance(one.read(), ReplyError) for one in readers)
    eventually(5, "the queue is empty", lambda: server.figure("pending") == 0)
    for n, one in enumerate(readers):
        one.send("PODIUM.GET", f"items:{item(n + 100)}")
    assert all(isinstance(one.read(), ReplyError) for one in readers)
    eventually(5, "the queue is empty again", lambda: server.figure("pending") == 0 and server.figure("blocked_clients") == 0)
    world.airtable.clear_faults()
    world.airtable.forget()
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "4000")
    assert eventually(15, "recovery", lambda: isinstance(client.attempt("PODIUM.GET", KEY), bytes))
    assert world.airtable.count("group") == 0 and world.airtable.count(item(130)) == 0, world.airtable.calls()


def test_clients_that_went_away_leave_the_queue(server, client, world):
    client.call("CONFIG", "SET", "podium.rate-limit", "1", "podium.fetch-timeout-ms", "60000")
    get(client, f"events:{event(1)}")
    world.airtable.forget()
    readers = [server.client() for _ in range(30)]
    for n, one in enumerate(readers):
        one.send("PODIUM.INDEX", f"items:group:x{n}")
    blocked(server, 30)
    for one in readers:
        one.close()
    eventually(8, "the queue is empty", lambda: server.figure("pending") == 0 and server.figure("blocked_clients") == 0)
    assert world.airtable.count() < 8, "thirty questions at one a second"
    client.call("CONFIG", "SET", "podium.rate-limit", "1000")
    assert eventually(5, "all is well", lambda: client.call("PODIUM.INDEX", "items:group:x7", "COUNT") == 0)


def test_one_that_still_waits_keeps_its_place(server, client, world):
    client.call("CONFIG", "SET", "podium.rate-limit", "1", "podium.fetch-timeout-ms", "15000")
    get(client, f"events:{event(1)}")
    leaver, stayer = server.client(), server.client()
    for one in (leaver, stayer):
        one.send("PODIUM.INDEX", "items:group:g1", "COUNT")
    blocked(server, 2)
    leaver.close()
    assert stayer.read() == 40


def test_a_failing_base_opens_the_breaker_and_is_probed(server, client, world):
    world.airtable.status(503, "SERVICE_UNAVAILABLE")
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "2000")
    eventually(20, "the breaker opens", lambda: (client.attempt("PODIUM.GET", KEY), server.info()["podium_breaker"] == "open")[1])
    started, calls = time.monotonic(), world.airtable.count()
    reader = server.client()

    def three_probes():
        error = reader.attempt("PODIUM.GET", KEY)
        assert isinstance(error, ReplyError), error
        return world.airtable.count() >= calls + 3

    eventually(30, "three probes", three_probes)
    assert time.monotonic() - started > 9, "one probe per five seconds"
    world.airtable.clear_faults()
    assert eventually(10, "recovery", lambda: isinstance(client.attempt("PODIUM.GET", KEY), bytes))
    eventually(5, "the breaker is closed", lambda: server.info()["podium_breaker"] == "closed")


def test_a_write_that_is_never_sent_is_no_answer_of_airtables(server, client, world):
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "1900", "podium.rate-limit", "1000")
    world.airtable.status(500)
    number = 0
    while server.info()["podium_breaker"] == "closed":
        number += 1
        assert isinstance(client.attempt("PODIUM.GET", f"items:{item(number)}", "NOCACHE"), ReplyError)
    world.airtable.forget()
    calls, month = server.figure("upstream_calls"), server.figure("month_calls")
    # Less is left than it may wait: it waits for the next probe, but is let go before.
    writer = server.client()
    number = writer.call("CLIENT", "ID")

    def waits():
        writer.send("PODIUM.UPDATE", KEY, '{"n":5}')
        return not writer.answered(0.2) or writer.read() and None

    eventually(6, "a write waits", waits)
    assert client.call("CLIENT", "UNBLOCK", number) == 1
    assert "nothing was written" in writer.read().text
    eventually(6, "its turn came", lambda: server.info()["podium_breaker"] == "half-open" and server.figure("pending") == 0)
    assert world.airtable.count() == 0
    assert (server.figure("upstream_calls"), server.figure("month_calls")) == (calls, month)
    # The probe is still to be made.
    assert client.error("PODIUM.GET", KEY).code == "UPSTREAM"
    assert world.airtable.count() == 1
    assert server.info()["podium_breaker"] == "open"


def test_retries_have_a_budget(server, client, world):
    """A fifth of the calls fails: at most one retry in ten calls, and one."""
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "3000")
    before = server.figure("upstream_retries"), server.figure("upstream_calls")
    for n in range(60):
        if n % 5 == 0:
            world.airtable.status(503, "RETRIABLE_ERROR", times=1)
        client.attempt("PODIUM.GET", f"items:{item(n + 1)}")
    retries, calls = server.figure("upstream_retries") - before[0], server.figure("upstream_calls") - before[1]
    assert 1 <= retries <= calls / 10 + 2, (retries, calls)


def test_a_refused_month_is_seen_by_the_operator(server, client, world):
    get(client, f"events:{event(1)}")
    world.airtable.fault("billing_limit")
    error = client.error("PODIUM.GET", KEY)
    assert error.code == "UPSTREAMBUSY" and "month" in error.text
    assert server.figure("upstream_429") >= 1
    calls = world.airtable.count()
    for n in range(2, 12):
        error = client.error("PODIUM.GET", f"items:{item(n)}")
        assert error.code == "UPSTREAMBUSY" and "month" in error.text
    assert world.airtable.count() == calls
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"
