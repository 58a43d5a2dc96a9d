"""Airtable refuses by itself: the API calls that the workspace's plan has for the month are used up (429 of the other kind)."""

from __future__ import annotations

import pytest

from asking import get, meta
from support import ReplyError, eventually, text
from world import ABSENT, define, event, item

KEY = f"items:{item(1)}"
TYPE = "PUBLIC_API_BILLING_LIMIT_EXCEEDED"
SAYS = "API billing plan limit exceeded. You've reached the maximum number of requests allowed for this month."


def told(error):
    """It is Airtable that refused, and what lifts it is named; our own limit is not blamed."""
    assert isinstance(error, ReplyError) and error.code == "UPSTREAMBUSY", error
    assert "Airtable refused" in error.text and TYPE in error.text, error.text
    assert "one call an hour" in error.text.lower() and "podium.monthly-calls" in error.text, error.text
    assert "the month's calls are spent" not in error.text, error.text
    return True


@pytest.mark.parametrize("shape", ["object", "plural", "string"])
def test_it_is_said_that_airtable_refused_whatever_the_bodys_shape(client, world, shape):
    world.airtable.status(429, TYPE, SAYS, shape)
    for n in range(1, 4):
        told(client.error("PODIUM.GET", f"items:{item(n)}"))
    assert world.airtable.count() == 1


READS = {
    "get": ("PODIUM.GET", KEY),
    "index": ("PODIUM.INDEX", "items:group:g1"),
    "whole": ("PODIUM.INDEX", "items:*", "COUNT"),
    "inter": ("PODIUM.INTER", 2, "items:group:g1", "items:group:g2"),
    "create": ("PODIUM.CREATE", "items:*", '{"name":"x"}'),
    "update": ("PODIUM.UPDATE", KEY, '{"name":"x"}'),
    "delete": ("PODIUM.DELETE", KEY),
    "warm": ("PODIUM.WARM", "items:*"),
    "discover": ("PODIUM.SPEC", "DISCOVER"),
}


@pytest.mark.parametrize("name", READS)
def test_every_command_is_told_by_the_first_refusal_and_without_a_call_after_it(client, world, name):
    world.airtable.fault("billing_limit")
    for _ in range(3):
        reply = client.attempt(*READS[name])
        told(reply[0] if isinstance(reply, list) else reply)
    assert world.airtable.count() == 1
    for command in READS.values():
        reply = client.attempt(*command)
        told(reply[0] if isinstance(reply, list) else reply)
    told(client.call("PODIUM.MGET", 2, KEY, f"items:{item(2)}")[1])
    assert world.airtable.count() == 1, "one call an hour"


def test_a_sweep_is_told_too(client, world):
    get(client, KEY)
    world.airtable.forget()
    world.airtable.fault("billing_limit")
    for _ in range(3):
        told(client.error("PODIUM.SWEEP", "items:*", "FULL"))
    assert world.airtable.count() == 1
    assert get(client, KEY)["n"] == 1, "a hit is a hit"


@pytest.mark.parametrize("limit", ["90000", "5000", "1000000"])
def test_any_change_of_our_own_limit_lifts_it_at_once(server, client, world, limit):
    world.airtable.fault("billing_limit", times=1)
    told(client.error("PODIUM.GET", KEY))
    told(client.error("PODIUM.GET", KEY))
    client.call("CONFIG", "SET", "podium.monthly-calls", "0")
    told(client.error("PODIUM.GET", KEY)), "what it was is no change"
    client.call("CONFIG", "SET", "podium.rate-limit", "900")
    told(client.error("PODIUM.GET", KEY)), "nor is another setting"
    client.call("CONFIG", "SET", "podium.monthly-calls", limit)
    assert get(client, KEY)["n"] == 1
    assert get(client, f"items:{item(2)}")["n"] == 2


def test_what_was_lifted_and_is_refused_again_is_said_again(client, world):
    world.airtable.fault("billing_limit")
    for limit in ("0", "7000", "6000", "0"):
        client.call("CONFIG", "SET", "podium.monthly-calls", limit)
        world.airtable.forget()
        told(client.error("PODIUM.GET", KEY))
        told(client.error("PODIUM.GET", KEY))
        assert world.airtable.count() <= 1
    world.airtable.clear_faults()
    client.call("CONFIG", "SET", "podium.monthly-calls", "8000")
    assert get(client, KEY)["n"] == 1


def test_our_own_limit_is_another_matter(server, client, world):
    client.call("CONFIG", "SET", "podium.monthly-calls", str(server.figure("month_calls") + 1))
    get(client, KEY)
    error = client.error("PODIUM.GET", f"items:{item(2)}")
    assert error.code == "UPSTREAMBUSY" and "podium.monthly-calls" in error.text and "refused" not in error.text, error.text
    for command in (("PODIUM.SWEEP", "items:*", "FULL"), ("PODIUM.WARM", "items:*")):
        error = client.error(*command)
        assert error.code == "UPSTREAMBUSY" and "refused" not in error.text, error.text
    client.call("CONFIG", "SET", "podium.monthly-calls", "0")
    assert get(client, f"items:{item(2)}")["n"] == 2


def test_who_waits_when_it_is_refused_is_told(server, client, world):
    """Calls are paced to one a second: of six commands five wait in the queue while the first is refused."""
    get(client, KEY)
    client.call("CONFIG", "SET", "podium.rate-limit", "1", "podium.fetch-timeout-ms", "20000")
    world.airtable.fault("billing_limit")
    commands = [("PODIUM.GET", f"items:{ABSENT}"), ("PODIUM.INDEX", "items:group:g1"), ("PODIUM.SWEEP", "items:*", "FULL"),
                ("PODIUM.WARM", "events:*"), ("PODIUM.UPDATE", KEY, '{"name":"x"}'), ("PODIUM.SPEC", "DISCOVER")]
    waiting = [server.client() for _ in commands]
    for each, command in zip(waiting, commands):
        each.send(*command)
    for each in waiting:
        told(each.read())
    assert server.figure("pending") == 0


def test_stale_if_error_serves_on(client, world):
    client.call("CONFIG", "SET", "podium.stale-if-error", "3600", "podium.ttl", "1")
    get(client, KEY)
    eventually(5, "past its freshness", lambda: meta(client, "PODIUM.GET", KEY, "CACHEONLY")["cache"] != "HIT")
    world.airtable.fault("billing_limit")
    for _ in range(2):
        shown = meta(client, "PODIUM.GET", KEY)
        assert (shown["cache"], shown["detail"]) == ("STALE", "stale-if-error")


def test_the_feed_says_so_and_goes_on_when_it_is_lifted(server, client, world):
    client.call("CONFIG", "SET", "podium.sync-interval", "1")
    assert client.call("PODIUM.SYNC", "START") == "OK"
    assert client.call("PODIUM.SYNC", "NOW") == "OK"
    world.airtable.fault("billing_limit")
    told(client.error("PODIUM.SYNC", "NOW"))
    told(client.error("PODIUM.SYNC", "NOW"))
    world.airtable.forget()
    world.change("items", item(1), name="changed")
    told(client.error("PODIUM.GET", KEY))
    assert world.airtable.count() == 0
    status = text(client.call("PODIUM.SYNC", "STATUS"))
    assert any("Airtable refused" in str(value) for value in status), status
    world.airtable.clear_faults()
    client.call("CONFIG", "SET", "podium.monthly-calls", "90000")
    eventually(10, "a poll is answered", lambda: client.attempt("PODIUM.SYNC", "NOW") == "OK")
    assert get(client, KEY)["name"] == "changed"


def test_a_feed_that_cannot_be_started_says_why(client, world):
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "300")
    world.airtable.fault("billing_limit")
    for _ in range(2):
        told(client.error("PODIUM.SYNC", "START"))


@pytest.mark.parametrize("changed", [False, True])
def test_a_restart_neither_forgets_it_nor_keeps_it_under_another_limit(spawn, world, changed):
    server = spawn(save=True, settings={"monthly-calls": 1000})
    client = server.client()
    define(client)
    get(client, f"events:{event(1)}")
    world.airtable.fault("billing_limit", times=1)
    told(client.error("PODIUM.GET", KEY))
    eventually(5, "it is written down", lambda: any(" 1000" in v for v in text(client.call("HGETALL", "podium:budget"))))
    if changed:
        server.settings["monthly-calls"] = 2000
    server.restart()
    client = server.client()
    world.airtable.forget()
    if changed:
        assert get(client, KEY)["n"] == 1
    else:
        told(client.error("PODIUM.GET", KEY))
        assert world.airtable.count() == 0
        client.call("CONFIG", "SET", "podium.monthly-calls", "2000")
        assert get(client, KEY)["n"] == 1
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"
