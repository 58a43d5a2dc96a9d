"""A set that is lost while those of a whole table are stored is asked for anew: it is neither empty nor what comes to it later."""

from __future__ import annotations

import threading
import time

import pytest

from asking import cells, get
from support import eventually
from world import ITEMS, item, rid

MANY = 3000


@pytest.fixture
def many(client):
    """Sets enough for one to be lost while the others are stored."""
    for n in range(MANY):
        id = rid("mny", n)
        client.send("PODIUM.UPSERT", f"items:{id}", cells(id, name=f"M{n}", n=n, group=f"u{n}"))
    assert [client.read() for _ in range(MANY)] == [1] * MANY


def at_once(check):
    """The first true value of `check`, without a pause."""
    return next(filter(None, (check() for _ in range(100_000))))


@pytest.mark.parametrize("how", [("DEL",), ("UNLINK",), ("PEXPIRE", 1)], ids=lambda how: how[0])
@pytest.mark.parametrize("read", [("PODIUM.WARM", "items:*"), ("PODIUM.INDEX", "items:*", "NOCACHE", "COUNT")], ids=lambda read: read[0])
def test_a_set_lost_meanwhile(server, client, many, read, how):
    other = server.client()
    other.send(*read)
    lost = at_once(lambda: client.call("KEYS", "items:group:u1*"))[0]
    client.call(how[0], lost, *how[1:])
    assert not other.answered(0.0), "while the others are stored"
    other.read()
    assert client.call("PODIUM.INDEX", lost, "COUNT") == 1


def test_the_set_of_all_lost_meanwhile(server, client, many):
    other = server.client()
    other.send("PODIUM.WARM", "items:*")
    at_once(lambda: client.call("EXISTS", "items:*"))
    client.call("DEL", "items:*")
    other.read()
    get(client, f"items:{item(10)}", "NOCACHE")
    get(client, f"items:{item(11)}", "NOCACHE")
    assert client.call("PODIUM.INDEX", "items:*", "COUNT") == ITEMS + MANY


def test_what_is_left_of_one_is_no_foreign_value(server, client, many):
    """The set of all is dropped while it is being written: what stands under its key for a moment says not whose it is."""
    other = server.client()
    other.send("PODIUM.INDEX", "items:*", "NOCACHE", "COUNT")
    at_once(lambda: client.call("EXISTS", "items:*"))
    client.send("PODIUM.INVALIDATE", "items:*")
    client.send("EXISTS", "items:*")
    client.send("PODIUM.INDEX", "items:*", "IDS", "CACHEONLY")
    assert client.read() > 0 and client.read() == 1, "it is there still"
    assert client.read() is None
    other.read()


@pytest.mark.parametrize("how", [("DEL",), ("PEXPIRE", 1)], ids=lambda how: how[0])
def test_a_set_lost_later(client, world, how):
    client.call("PODIUM.WARM", "items:*")
    client.call(how[0], "items:group:g0", *how[1:])
    eventually(5, "it is gone", lambda: not client.call("EXISTS", "items:group:g0"))
    world.change("items", item(10), name="x")
    get(client, f"items:{item(10)}", "NOCACHE")
    assert client.call("PODIUM.INDEX", "items:group:g0", "COUNT") == 40


def test_sets_lost_to_eviction_again_and_again(server, client):
    """`allkeys-lru` takes sets and records while four clients ask for the whole table."""
    client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    stop = time.monotonic() + 3
    seen = set()

    def reads():
        with server.client() as other:
            while time.monotonic() < stop:
                answer = other.attempt("PODIUM.INDEX", "items:*", "IDS")
                seen.add(len(answer) if isinstance(answer, list) else str(answer))
    readers = [threading.Thread(target=reads) for _ in range(4)]
    [reader.start() for reader in readers]
    while time.monotonic() < stop:
        used = int(client.call("INFO", "memory").decode().split("used_memory:")[1].split()[0])
        for limit in (used - 100_000, 0):
            client.call("CONFIG", "SET", "maxmemory", limit)
            time.sleep(0.03)
    [reader.join() for reader in readers]
    assert seen == {ITEMS}
