"""Servers, emulator and the state each test starts from."""

from __future__ import annotations

import pytest

from airtable import BINARY, Emulator
from support import MODULE, SERVERS, Server, eventually, text
from world import World, define

SETTINGS = {"rate-limit": 1000, "sweep-interval": 0, "jitter-percent": 0, "stale-if-error": 0, "monthly-calls": 0}
"""What tests run with unless they say otherwise: pacing out of the way, nothing happening by itself."""


def pytest_addoption(parser):
    parser.addoption("--valkey", default=",".join(SERVERS), help="server versions to test, separated by commas")


def pytest_configure(config):
    for path in (MODULE, BINARY):
        if not path.exists():
            pytest.exit(f"{path} is missing: build it with `cargo build --release -p podium -p airtable-emulator`", 2)


def pytest_generate_tests(metafunc):
    if "version" in metafunc.fixturenames:
        metafunc.parametrize("version", metafunc.config.getoption("--valkey").split(","), scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the logs of the servers that took part."""
    report = yield
    if report.failed:
        for server in _servers_of(item):
            report.sections.append((f"log of valkey-server {server.version} on port {server.port}", server.log()[-6000:]))
        world = getattr(item, "funcargs", {}).get("world")
        if world is not None:
            try:
                lines = [str(call) for call in world.airtable.calls()[-30:]]
            except Exception as error:  # The emulator itself may be what failed.
                lines = [f"not available: {error}"]
            report.sections.append(("last calls to Airtable", "\n".join(lines)))
    return report


def _servers_of(item):
    funcargs = getattr(item, "funcargs", {})
    # `server` and `module_server` are one: its log is shown once.
    found = {id(value): value for value in funcargs.values() if isinstance(value, Server)}
    return list(found.values()) + list(getattr(funcargs.get("spawn"), "servers", []))


@pytest.fixture(scope="session")
def emulator():
    emulator = Emulator()
    yield emulator
    emulator.stop()


@pytest.fixture
def world(emulator):
    """A fresh base in the emulator."""
    yield World(emulator)


@pytest.fixture(scope="module")
def module_server(version, emulator):
    """One server for the tests of a file; `server` is what tests use."""
    server = Server(version, {"airtable-url": emulator.url, **SETTINGS}).start()
    with server.client() as client:
        pairs = client.call("CONFIG", "GET", "podium.*")
    server.at_start = dict(zip(text(pairs[::2]), pairs[1::2]))
    yield server
    server.remove()


@pytest.fixture
def server(module_server, world):
    """A running server with the module and no data, no entities, no figures, on the test's own base."""
    server = module_server
    if server.process is None or server.process.poll() is not None:
        server.start()
    _reset(server, world.base)
    server.log_seen = len(server.log())
    yield server
    server.close_clients()
    server.assert_well()
    _rest(server)


def _rest(server: Server) -> None:
    """What it would do by itself for a base that is over (its schema, say) is no call in the test that comes next."""
    if server.process is None:
        return
    with server.client() as client:
        entities = client.attempt("PODIUM.SPEC", "LIST")
        for entity in entities if isinstance(entities, list) else []:
            client.attempt("PODIUM.SPEC", "DEL", entity)


def _reset(server: Server, base: str) -> None:
    with server.client() as client:
        client.call("CLIENT", "UNPAUSE")
        client.call("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")
        for user in text(client.call("ACL", "USERS")):
            if user != "default":
                client.call("ACL", "DELUSER", user)
        for entity in client.call("PODIUM.SPEC", "LIST"):
            client.call("PODIUM.SPEC", "DEL", entity)
        client.call("FLUSHALL")
        client.call("FUNCTION", "FLUSH")
        pairs = client.call("CONFIG", "GET", "podium.*")
        for name, value in zip(text(pairs[::2]), pairs[1::2]):
            if name != "podium.base" and value != server.at_start[name]:
                client.call("CONFIG", "SET", name, server.at_start[name])
        client.call("CONFIG", "SET", "podium.base", base)
        client.call("PODIUM.STATS", "RESET")
    eventually(10, "no call under way", lambda: server.info()["podium_pending"] == "0")


@pytest.fixture
def client(server, world):
    """A connection to `server` on which every entity of `world` is defined, nothing cached, no call made."""
    client = server.client()
    define(client)
    world.airtable.forget()
    return client


@pytest.fixture
def spawn(version, world):
    """Starts servers of a test's own: `spawn(settings={…}, config=[…], …)`. All are stopped and their logs looked through."""

    def spawn(settings=None, config=None, expect_failure=False, **options):
        server = Server(version, {"airtable-url": world.airtable.url, "base": world.base, **SETTINGS, **(settings or {})}, config, **options)
        spawn.servers.append(server)
        return server.start(expect_failure)

    spawn.servers = []
    yield spawn
    try:
        for server in spawn.servers:
            if server.process is not None:
                server.assert_well()
    finally:
        for server in spawn.servers:
            server.remove()
