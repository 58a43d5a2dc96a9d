"""One soft end and one hard end: what is served past freshness, when, to whom, and how it is called."""

from __future__ import annotations

import time

import pytest

from asking import get, ids, index, meta, mget
from support import ReplyError, blocked, eventually
from world import item

KEY = f"items:{item(1)}"
GROUP = "items:group:g1"
READS = {
    "get": ("PODIUM.GET", KEY),
    "mget": ("PODIUM.MGET", 2, KEY, f"items:{item(11)}"),
    "index": ("PODIUM.INDEX", GROUP),
    "index ids": ("PODIUM.INDEX", GROUP, "IDS"),
    "index count": ("PODIUM.INDEX", GROUP, "COUNT"),
    "inter": ("PODIUM.INTER", 1, GROUP),
}


def read(client, command):
    """The reply and the META maps it came with; an error as it is."""
    reply = client.attempt(*command, "META")
    if isinstance(reply, ReplyError):
        return reply, []
    pairs = reply if command[0] == "PODIUM.MGET" else [reply]
    if any(isinstance(pair, ReplyError) for pair in pairs):
        return next(pair for pair in pairs if isinstance(pair, ReplyError)), []
    metas = [dict(zip(pair[1][::2], pair[1][1::2])) for pair in pairs]
    return [pair[0] for pair in pairs] if command[0] == "PODIUM.MGET" else reply[0], metas


@pytest.fixture(params=READS)
def command(request):
    return READS[request.param]


def stale(client, command=None, **settings):
    """Everything is cached, and past its freshness. What the command answered before."""
    client.call("CONFIG", "SET", "podium.ttl", "1", *[word for name, value in settings.items() for word in (f"podium.{name.replace('_', '-')}", str(value))])
    ids(client, GROUP)
    mget(client, [KEY, f"items:{item(11)}"])
    good = command and read(client, command)[0]
    client.call("CONFIG", "SET", "podium.ttl", "28800")
    for key in (KEY, f"items:{item(11)}"):
        eventually(5, "past its freshness", lambda: meta(client, "PODIUM.GET", key, "CACHEONLY")["cache"] != "HIT")
    eventually(5, "the set too", lambda: meta(client, "PODIUM.INDEX", GROUP, "CACHEONLY")["cache"] != "HIT")
    return good


OUTAGES = {
    "refused": lambda client, world: client.call("CONFIG", "SET", "podium.airtable-url", "http://127.0.0.1:9"),
    "down": lambda client, world: world.airtable.status(503, "SERVICE_UNAVAILABLE"),
    "not the API": lambda client, world: world.airtable.fault("html"),
    "no rights any more": lambda client, world: world.airtable.status(403, "INVALID_PERMISSIONS"),
    "locked out": lambda client, world: world.airtable.status(429, "RATE_LIMIT_REACHED", shape="plural"),
    "month spent": lambda client, world: world.airtable.fault("billing_limit"),
    "hanging": lambda client, world: (client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "400"), world.airtable.fault("hang")),
}


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("name", ["get", "mget", "index"])
def test_a_stale_copy_answers_while_airtable_fails(client, world, name, outage):
    command = READS[name]
    good = stale(client, command, stale_if_error=60)
    OUTAGES[outage](client, world)
    started = time.monotonic()
    reply, metas = read(client, command)
    assert reply == good
    assert all(m[b"cache"] == b"STALE" and m[b"ttl"] < 0 and m[b"detail"] == b"stale-if-error" for m in metas), metas
    assert time.monotonic() - started < 5
    # All of them, for as long as it lasts.
    for _ in range(10):
        assert read(client, command)[0] == good


def test_a_deadline_answers_stale_and_the_fetch_goes_on(server, client, world):
    stale(client, stale_if_error=60)
    world.change("items", item(1), name="newer")
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "2000")
    world.airtable.latency(1200)
    other = server.client()
    other.send("PODIUM.GET", KEY, "META")
    blocked(server, 1)
    assert client.call("CLIENT", "UNBLOCK", eventually(2, "the waiting client's id", lambda: waiting_id(client))) == 1
    record, told = other.read()
    assert b"Item 1" in record and b"STALE" in told
    assert eventually(5, "what was fetched", lambda: b"newer" in client.call("PODIUM.GET", KEY))
    assert world.airtable.count("RECORD_ID") == 1, "the fetch that was under way was the one"


def test_an_airtable_slower_than_the_deadline_is_cached_all_the_same(client, world):
    stale(client, stale_if_error=60)
    world.change("items", item(1), name="newer")
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "800", "podium.ttl", "600")
    world.airtable.latency(1400)
    started = time.monotonic()
    assert meta(client, "PODIUM.GET", KEY)["cache"] == "STALE"
    assert time.monotonic() - started < 1.3, "who waits has the deadline that is set"
    assert eventually(5, "what was fetched", lambda: b"newer" in (client.call("PODIUM.GET", KEY, "CACHEONLY") or b""))
    assert world.airtable.count("RECORD_ID") == 1


def waiting_id(client):
    for line in client.call("CLIENT", "LIST").decode().splitlines():
        fields = dict(field.split("=", 1) for field in line.split(" ") if "=" in field)
        if "b" in fields["flags"]:
            return fields["id"]
    return None


@pytest.mark.parametrize("option", [("NOCACHE",), ("MAXAGE", "3600")])
def test_who_forbids_it_is_served_nothing_stale(client, world, command, option):
    stale(client, stale_if_error=60, stale_while_revalidate=60)
    world.airtable.status(503, "SERVICE_UNAVAILABLE")
    # An age that the copy has not reached yet allows it as far as age goes, but it is not fresh.
    reply, _ = read(client, (*command, *option))
    assert isinstance(reply, ReplyError) and reply.code.startswith("UPSTREAM"), reply


def test_what_is_invalidated_is_not_served_stale(client, world, command):
    stale(client, stale_if_error=60, stale_while_revalidate=60)
    client.call("PODIUM.INVALIDATE", KEY)
    world.airtable.status(503, "SERVICE_UNAVAILABLE")
    reply, _ = read(client, command)
    assert isinstance(reply, ReplyError) and reply.code.startswith("UPSTREAM"), reply


def test_past_the_window_the_error_is_told(client, world):
    client.call("CONFIG", "SET", "podium.ttl", "1", "podium.stale-if-error", "1")
    get(client, KEY)
    world.airtable.status(503, "SERVICE_UNAVAILABLE")
    error = eventually(6, "the end of the window", lambda: isinstance(e := client.attempt("PODIUM.GET", KEY), ReplyError) and e)
    assert error.code.startswith("UPSTREAM")


def test_while_one_refresh_runs_the_stale_copy_answers_at_once(server, client, world, command):
    good = stale(client, command, stale_while_revalidate=60)
    world.airtable.forget()
    world.airtable.latency(3000)
    for _ in range(20):
        reply, metas = read(client, command)
        assert reply == good and all(m[b"cache"] == b"STALE" for m in metas), "whoever waited would have seen a hit"
    assert eventually(10, "the refresh landed", lambda: all(m[b"cache"] == b"HIT" for m in read(client, command)[1]))
    assert world.airtable.count_records() <= 3, "one refresh of the set, one of its members"
    assert server.figure("upstream_calls_refresh") == world.airtable.count_records()


def test_index_answers_are_whole_when_stale(client, world):
    stale(client, stale_if_error=60)
    world.airtable.status(500, "SERVER_ERROR")
    truth = {id: fields for id, fields in world.truth("items").items() if fields.get("group") == "g1"}
    assert {record["id"]: record["n"] for record in index(client, GROUP)} == {id: fields["n"] for id, fields in truth.items()}
