"""Cells of very many links: what changed of them is put in doubt at its other end, and meanwhile others are served."""

from __future__ import annotations

import threading
import time

import pytest

from asking import cells, get, spec
from between import between
from support import eventually
from world import LINKS, define, event, item, rid, schema

MANY = 20_000
HOLDER = rid("hld", 1)
KEY = f"holders:{HOLDER}"


def end(n):
    return rid("end", n)


@pytest.fixture
def linked(spawn, world):
    """A server whose Airtable shows `shown["ids"]` in the link cell of one record, or that the record is gone (None)."""
    shown = {"ids": [end(n) for n in range(MANY)]}

    def answer(path, ask):
        if HOLDER not in path:
            return None
        if shown["ids"] is None:
            return {"records": []}
        return {"records": [{"id": HOLDER, "createdTime": "2026-03-04T05:06:07.000Z", "fields": {"name": shown.get("name", "H"), "ends": shown["ids"]}}]}
    with between(world.airtable.url, answer) as url:
        server = spawn({"airtable-url": url, "rate-limit": 1000, "fetch-timeout-ms": 20_000})
        client = server.client()
        define(client, "items")
        spec(client, "holders", {"table": "events", "schema": schema({"name": {"type": "string"}, "ends": {**LINKS, "default": []}})})
        spec(client, "ends", {"table": "items", "schema": schema({"name": {"type": "string"}, "holder": {**LINKS, "default": []}})})
        for n in range(MANY + MANY // 2):
            client.send("PODIUM.UPSERT", f"ends:{end(n)}", cells(end(n), name=f"E{n}", holder=[HOLDER] if n < MANY else []))
            if n % 1000 == 999:
                assert [client.read() for _ in range(1000)] == [1] * 1000
        yield server, client, shown


def longest_wait(server, command):
    """Milliseconds that somebody else waited at most for a PING while `command` ran, and its reply."""
    worst, over = [0.0], threading.Event()

    def ping():
        with server.client() as other:
            while not over.is_set():
                before = time.monotonic()
                other.call("PING")
                worst[0] = max(worst[0], time.monotonic() - before)
    pinger = threading.Thread(target=ping)
    with server.client() as reader:
        pinger.start()
        try:
            reply = reader.call(*command)
        finally:
            over.set()
            pinger.join()
    return worst[0] * 1000, reply


@pytest.mark.parametrize("into", ["half exchanged", "all lost", "gone"])
def test_a_refetch_puts_both_kinds_of_ends_in_doubt(linked, into):
    server, client, shown = linked
    assert len(get(client, KEY)["ends"]) == MANY
    assert client.call("EXISTS", *(f"ends:{end(n)}" for n in range(MANY))) == MANY
    shown["ids"] = {"half exchanged": [end(n) for n in range(MANY // 2, MANY + MANY // 2)], "all lost": [], "gone": None}[into]
    waited, reply = longest_wait(server, ("PODIUM.GET", KEY, "NOCACHE"))
    assert (reply is None) == (into == "gone")
    lost = MANY // 2 if into == "half exchanged" else MANY
    assert client.call("EXISTS", *(f"ends:{end(n)}" for n in range(lost))) == 0, "what was lost is in doubt once it has landed"
    if into == "half exchanged":
        assert client.call("EXISTS", *(f"ends:{end(n)}" for n in range(MANY, MANY + MANY // 2))) == 0, "what was gained too"
        assert client.call("EXISTS", *(f"ends:{end(n)}" for n in range(lost, MANY))) == MANY - lost, "and nothing else"
    # A figure to look at (pytest -s), not one to judge a busy machine by.
    print(f"somebody else waited {waited:.0f} ms at most")
    assert get(client, KEY, "CACHEONLY") == get(client, KEY)


def test_a_damaged_record_lost_no_links(linked):
    server, client, shown = linked
    assert len(get(client, KEY)["ends"]) == MANY
    shown["name"] = float("nan")
    assert client.error("PODIUM.GET", KEY, "NOCACHE").code == "BADRECORD"
    assert client.call("EXISTS", *(f"ends:{end(n)}" for n in range(MANY))) == MANY
