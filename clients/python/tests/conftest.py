"""Real servers with the module on the emulator of Airtable: the fixtures of the wire tests, with the models of a user."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PACKAGE / "src"), str(PACKAGE.parents[1] / "tests" / "wire")]
# The programs that tests start, and mypy, find the same package.
os.environ["PYTHONPATH"] = os.environ["MYPYPATH"] = str(PACKAGE / "src")

import models
from airtable import Emulator
from support import SERVERS, Server
from world import World

import podium

SETTINGS = {"rate-limit": 1000, "sweep-interval": 0, "jitter-percent": 0, "stale-if-error": 0, "monthly-calls": 0, "log-events": "no"}


def pytest_addoption(parser):
    parser.addoption("--valkey", default=",".join(SERVERS), help="server versions to test, separated by commas")


def pytest_generate_tests(metafunc):
    if "version" in metafunc.fixturenames:
        metafunc.parametrize("version", metafunc.config.getoption("--valkey").split(","), scope="session")


@pytest.fixture(scope="session")
def emulator():
    emulator = Emulator()
    yield emulator
    emulator.stop()


@pytest.fixture(scope="session")
def session_server(version, emulator):
    server = Server(version, {"airtable-url": emulator.url, **SETTINGS}).start()
    yield server
    server.remove()


@pytest.fixture
def world(emulator):
    return World(emulator)


@pytest.fixture
def server(session_server, world):
    """A server without data or specs, on the test's own base."""
    with session_server.client() as client:
        for name in client.call("PODIUM.SPEC", "LIST"):
            client.call("PODIUM.SPEC", "DEL", name)
        client.call("FLUSHALL")
        client.call("CONFIG", "SET", "podium.base", world.base)
        client.call("PODIUM.STATS", "RESET")
    yield session_server
    session_server.close_clients()
    session_server.assert_well()


@pytest.fixture
def own_server(version, world):
    """A server that the test may stop."""
    server = Server(version, {"airtable-url": world.airtable.url, "base": world.base, **SETTINGS}).start()
    yield server
    server.remove()


@pytest.fixture
def raw(server):
    """A connection that sees everything as it is."""
    return server.client()


def client_of(library: str, port: int, **options):
    module = importlib.import_module(library)
    kind = module.Valkey if library.startswith("valkey") else module.Redis
    return kind(host="127.0.0.1", port=port, **options)


@pytest.fixture
def cache(server):
    cache = podium.Podium(client_of("valkey", server.port))
    yield cache
    cache.close()


@pytest.fixture
def acache(server):
    return podium.AsyncPodium(client_of("valkey.asyncio", server.port))


class Counter:
    """How often something ran; threads may count."""

    def __init__(self):
        self.n = 0
        self._lock = threading.Lock()

    def __call__(self):
        with self._lock:
            self.n += 1
            return self.n


@pytest.fixture
def count():
    return Counter()


@pytest.fixture
def projects(cache):
    return models.projects(cache)
