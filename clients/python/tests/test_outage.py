"""Valkey away: what answers, what is said, how long it takes, and what happens when it is back."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time

import models
import pytest
from conftest import client_of
from fastapi import FastAPI
from fastapi.testclient import TestClient
from models import Event
from support import eventually, free_port
from world import event, project

import podium
from podium import Unavailable
from podium.circuit import Circuit


@pytest.fixture
def cache(own_server):
    cache = podium.Podium(client_of("valkey", own_server.port), retry_after=0.2)
    yield cache
    cache.close()


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "podium"]


def test_the_circuit():
    circuit = Circuit(retry_after=1)
    assert circuit.allows(0) and not circuit.troubled
    assert circuit.failed(0) is True and circuit.open and circuit.troubled
    assert not circuit.allows(0.5)
    assert circuit.allows(1.0) and not circuit.allows(1.0), "one finds out"
    assert circuit.failed(1.1) is False, "it is the same outage"
    assert not circuit.allows(2.0) and circuit.allows(2.1)
    assert circuit.answered(3.0) == 3.0 and not circuit.open and not circuit.troubled
    assert [circuit.failed(4, timeout=True), circuit.failed(4, timeout=True)] == [False, False] and not circuit.open
    assert circuit.answered(4) is None
    assert [circuit.failed(5, timeout=True) for _ in range(3)] == [False, False, True]


def test_an_endpoint_answers_on_while_valkey_is_away_and_after(cache, own_server, world, caplog):
    calls = []
    app = FastAPI()
    events = models.events(cache)

    @app.get("/events/{id}")
    @cache.cached("page", resource_id_param="id")
    def one(id: str) -> Event:
        calls.append(id)
        return events.get(id, fallback=lambda: {"id": id, "name": "From elsewhere", "slug": "x"})

    with TestClient(app) as http:
        path = f"/events/{event(1)}"
        assert http.get(path).json()["name"] == "Event 1" and len(calls) == 1
        port = own_server.port
        own_server.stop(kill=True)
        began = time.monotonic()
        for _ in range(20):
            answer = http.get(path)
            assert answer.status_code == 200 and answer.json()["name"] == "From elsewhere"
        assert len(calls) == 2, "kept in the process meanwhile"
        assert time.monotonic() - began < 5
        assert [line for line in said(caplog) if "away" in line] == said(caplog) and len(said(caplog)) == 1
        own_server.restart_at(port)
        assert eventually(10, "it is asked again", lambda: http.get(path).json()["name"] == "Event 1")
        assert len(said(caplog)) == 2 and "is back after" in said(caplog)[1]
        before = len(calls)
        assert http.get(path).json()["name"] == "Event 1" and len(calls) == before


def test_a_read_of_records_says_so_at_once_or_falls_back(cache, own_server):
    projects = models.projects(cache, fallback=lambda id: {"id": id, "name": f"Fallback {id[-1]}"})
    events = models.events(cache)
    assert projects.get(project(1)).name == "Project 01"
    own_server.stop()
    with pytest.raises(Unavailable, match="Valkey did not answer"):
        events.get(event(1))
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(Unavailable, match="as a moment ago"):
            events.get(event(1))
    assert time.monotonic() - began < 2
    assert projects.get(project(1)).name == "Fallback 1"
    assert [one.name for one in projects.get_many([project(1), project(2)])] == ["Fallback 1", "Fallback 2"]
    assert projects.by_index(event=event(1), how={"fallback": list}) == []
    for write in (
        lambda: projects.create({"name": "x"}),
        lambda: projects.delete(project(1)),
        lambda: projects.upsert(project(1), {"name": "x"}),
    ):
        with pytest.raises(Unavailable):
            write()


def test_what_fell_back_is_not_stored(cache, own_server):
    """An answer that holds what the server knows nothing of must not live there."""
    projects = models.projects(cache)
    calls = []

    @cache.cached("page", key="a")
    def page() -> str:
        calls.append(1)
        with podium.disabled():
            return projects.get(project(1), fallback=lambda: {"id": project(1), "name": "mine"}).name

    assert page() == page() == "mine" and len(calls) == 2


def test_valkey_stops_in_the_middle_of_a_computation(cache, own_server, caplog):
    calls = []

    @cache.cached("page", key="a")
    def page() -> int:
        calls.append(1)
        if len(calls) == 1:
            own_server.stop(kill=True)
        return len(calls)

    assert page() == 1
    assert page() == page() == 2, "computed once more, and kept"
    assert len(said(caplog)) == 1


def test_what_changed_meanwhile_is_told_first_when_it_is_back(cache, own_server, world):
    """The server was never restarted, only out of reach: it still has what it knew."""
    relay = Relay(own_server.port)
    cache = podium.Podium(client_of("valkey", relay.port), retry_after=0.1)
    projects = models.projects(cache)
    calls = []

    @cache.cached("page", key="a")
    def page() -> str:
        calls.append(1)
        return projects.get(project(1), fallback=lambda: {"id": project(1), "name": "elsewhere"}).name

    @cache.invalidates("projects:{id}")
    def change(id: str, name: str) -> None:
        world.change("projects", id, name=name)

    assert page() == "Project 01"
    relay.cut()
    assert page() == page() == "elsewhere" and len(calls) == 2
    change(project(1), "Changed")
    assert page() == "elsewhere" and len(calls) == 3, "what was kept is given up when something changes"
    assert projects.invalidate(project(2)) == 0
    relay.mend()
    assert eventually(5, "it is back", lambda: page() != "elsewhere" and page()) == "Changed"
    relay.close()


def test_what_changed_is_told_though_nothing_more_is_asked(own_server, world):
    """Other processes read what the server keeps."""
    relay = Relay(own_server.port)
    cache = podium.Podium(client_of("valkey", relay.port), retry_after=0.1)
    projects = models.projects(cache)
    projects.get(project(1))
    with own_server.client() as raw:
        relay.cut()
        assert projects.invalidate(project(1)) == 0
        assert raw.call("PODIUM.GET", f"projects:{project(1)}", "CACHEONLY") is not None
        relay.mend()
        eventually(5, "it is told", lambda: raw.call("PODIUM.GET", f"projects:{project(1)}", "CACHEONLY") is None)
        eventually(5, "that is all", lambda: not cache._core.pending and not cache._core._paying)
    cache.close()
    relay.close()


def test_a_server_that_hangs_costs_few_requests_its_timeout(own_server):
    cache = podium.Podium(client_of("valkey", own_server.port, socket_timeout=0.3), retry_after=5)
    page = cache.cached("page", key="a")(lambda: 1)
    assert page() == 1
    own_server.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert [page() for _ in range(50)] == [1] * 50
        assert time.monotonic() - began < 3
    finally:
        own_server.process.send_signal(signal.SIGCONT)
    cache.close()


def test_many_callers_at_once_while_it_is_away_compute_once(cache, own_server, caplog):
    own_server.stop()
    calls, go_on = [], threading.Event()

    @cache.cached("page", key="a")
    def page() -> int:
        calls.append(1)
        go_on.wait(5)
        return len(calls)

    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(page())) for _ in range(50)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert answers == [1] * 50 and len(said(caplog)) == 1


def test_the_same_with_await(own_server, caplog):
    async def scene():
        cache = podium.AsyncPodium(client_of("valkey.asyncio", own_server.port), retry_after=0.1)
        projects = models.projects(cache)
        calls = []

        async def elsewhere():
            return {"id": project(1), "name": "elsewhere"}

        @cache.cached("page", key="a")
        async def page() -> str:
            calls.append(1)
            return (await projects.get(project(1), fallback=elsewhere)).name

        assert await page() == "Project 01"
        port = own_server.port
        own_server.stop(kill=True)
        assert [await page() for _ in range(5)] == ["elsewhere"] * 5 and len(calls) == 2
        with pytest.raises(Unavailable):
            await projects.get(project(1))
        own_server.restart_at(port)
        for _ in range(100):
            if await page() == "Project 01":
                break
            await asyncio.sleep(0.05)
        assert await page() == "Project 01" and await page() == "Project 01"
        await cache.close()

    asyncio.run(scene())
    assert len(said(caplog)) == 2


def test_a_server_that_never_was(caplog):
    cache = podium.Podium(client_of("redis", free_port()))
    page = cache.cached("page", key="a")(lambda: 1)
    began = time.monotonic()
    assert [page() for _ in range(100)] == [1] * 100
    assert time.monotonic() - began < 3 and len(said(caplog)) == 1
    assert cache.invalidate("projects", project(1)) == 0


def test_a_server_without_the_module(version, caplog):
    from support import Server

    with Server(version, module=False).start() as bare:
        cache = podium.Podium(client_of("valkey", bare.port))
        page = cache.cached("page", key="a")(lambda: 1)
        assert [page(), page()] == [1, 1]
        assert "is computed and not cached" in caplog.text and len(said(caplog)) == 1
        cache.close()


class Relay:
    """A wire between client and server that can be cut."""

    def __init__(self, port: int):
        self._target = port
        self.port = free_port()
        self._pairs: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.mend()

    def mend(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                one, _ = listener.accept()
                other = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._pairs += [one, other]
            for pair in ((one, other), (other, one)):
                threading.Thread(target=self._copy, args=pair, daemon=True).start()

    @staticmethod
    def _copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        # Closing a socket wakes no thread that is in accept.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for one in self._pairs:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
        self._pairs.clear()

    close = cut
