"""The way to Airtable fails: nobody listens, nobody answers, TLS does not come about, a redirect leads elsewhere.

For each: the word within the deadline, no tombstone, another base's reads undisturbed, recovery without help."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import closing

import pytest

from airtable import TOKEN
from asking import get
from support import ReplyError, eventually, free_port
from world import SPECS, event, item, seed

KEY = f"items:{item(1)}"


class Trap:
    """A listener on loopback that does as it is told with each connection."""

    def __init__(self, handle=None, backlog=64):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(backlog)
        self.port = self.socket.getsockname()[1]
        self.seen: list[bytes] = []
        self.handle = handle
        if handle is not None:
            threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        with closing(connection):
            connection.settimeout(5)
            try:
                self.handle(self, connection)
            except OSError:
                pass

    def close(self):
        self.socket.close()


def nobody_listens():
    return f"http://127.0.0.1:{free_port()}", None


def no_such_name():
    return "http://no-such-host.invalid", None


def tls_against_plain_text():
    def handle(trap, connection):
        trap.seen.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    trap = Trap(handle)
    return f"https://127.0.0.1:{trap.port}", trap


def tls_that_hangs():
    trap = Trap(lambda trap, connection: (trap.seen.append(connection.recv(4096)), connection.recv(1)))
    return f"https://127.0.0.1:{trap.port}", trap


def no_connection_is_taken():
    """The listener's queue is full, so that the handshake never ends: what an unreachable host looks like."""
    trap = Trap(backlog=0)
    trap.fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", trap.port))
        trap.fillers.append(filler)
    return f"http://127.0.0.1:{trap.port}", trap


def closes_at_once():
    trap = Trap(lambda trap, connection: None)
    return f"http://127.0.0.1:{trap.port}", trap


def speaks_something_else():
    trap = Trap(lambda trap, connection: (trap.seen.append(connection.recv(4096)), connection.sendall(b"220 mail.example.com ESMTP\r\n" * 50)))
    return f"http://127.0.0.1:{trap.port}", trap


def header_without_end():
    def handle(trap, connection):
        trap.seen.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for n in range(100_000):
            connection.sendall(b"X-Filler-%d: %s\r\n" % (n, b"x" * 1000))

    trap = Trap(handle)
    return f"http://127.0.0.1:{trap.port}", trap


WAYS = [nobody_listens, no_such_name, tls_against_plain_text, tls_that_hangs, no_connection_is_taken, closes_at_once, speaks_something_else, header_without_end]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_way_to_airtable_fails(client, world, way):
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "1500", "podium.connect-timeout-ms", "700")
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"
    url, trap = way()
    try:
        client.call("CONFIG", "SET", "podium.airtable-url", url)
        for command in (("PODIUM.GET", KEY), ("PODIUM.INDEX", "items:group:g1"), ("PODIUM.MGET", 1, KEY)):
            started = time.monotonic()
            reply = client.attempt(*command)
            took = time.monotonic() - started
            error = reply[0] if isinstance(reply, list) else reply
            assert isinstance(error, ReplyError) and error.code in ("UPSTREAMBAD", "UPSTREAMTIMEOUT", "UPSTREAMBUSY"), reply
            assert took < 2.5, f"{took:.2f} s"
            assert TOKEN not in error.text
        assert client.call("EXISTS", KEY, f"tomb:{KEY}", "items:group:g1") == 0
        assert get(client, f"events:{event(1)}")["slug"] == "event-1", "a hit needs no way"
    finally:
        if trap:
            trap.close()
    client.call("CONFIG", "SET", "podium.airtable-url", world.airtable.url)
    # Nobody helps but time: a breaker that opened probes every five seconds.
    assert eventually(15, "recovery", lambda: isinstance(client.attempt("PODIUM.GET", KEY), bytes))


def test_a_redirect_is_not_followed_and_takes_no_token_along(client, world):
    trap = Trap(lambda trap, connection: trap.seen.append(connection.recv(65536)))
    for status in (301, 302, 307, 308):
        world.airtable.fault("redirect", times=1, status=status, location=f"http://127.0.0.1:{trap.port}/v0/steal")
        error = client.error("PODIUM.GET", KEY)
        assert error.code in ("UPSTREAM", "UPSTREAMBAD"), error.text
        assert TOKEN not in error.text
    world.airtable.clear_faults()
    assert eventually(15, "recovery", lambda: isinstance(client.attempt("PODIUM.GET", KEY), bytes))
    assert trap.seen == []
    trap.close()


def test_another_base_is_not_disturbed(server, client, world):
    """One base hangs on every thread it may have; the other is answered as if nothing were."""
    other = "appOther00000000001"
    both = seed(world.base)
    both["bases"] += seed(other)["bases"]
    both["tokens"][0]["bases"].append(other)
    world.airtable.control("POST", "seed", both)
    client.call("PODIUM.SPEC", "SET", "elsewhere", json.dumps({**SPECS["items"], "base": other, "table": "items"}))
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "3000")
    get(client, f"elsewhere:{item(1)}")
    world.airtable.fault("hang", match={"path_contains": world.base})
    stuck = [server.client() for _ in range(8)]
    for n, one in enumerate(stuck):
        one.send("PODIUM.INDEX", f"items:group:g{n}")
    started = time.monotonic()
    assert get(client, f"elsewhere:{item(2)}")["n"] == 2
    assert time.monotonic() - started < 1, "the other base waited"
    assert all(isinstance(one.read(), ReplyError) for one in stuck)

