"""SHUTDOWN, signals, MODULE UNLOAD and LOAD, with and without fetches under way."""

from __future__ import annotations

import signal

import pytest

from asking import get
from support import MODULE, Closed, ReplyError, blocked, eventually, mapping, text
from world import define, event, item


@pytest.fixture
def busy(spawn, world):
    """A server with three reads waiting for an answer that takes `latency` ms."""
    def start(latency=1500, **options):
        server = spawn(**options)
        define(server.client())
        world.airtable.latency(latency)
        readers = [server.client() for _ in range(3)]
        for n, reader in enumerate(readers, 1):
            reader.send("PODIUM.GET", f"items:{item(n)}")
        blocked(server, 3)
        return server, readers
    return start


def ended(server):
    eventually(10, "the server ended", lambda: server.process.poll() is not None)
    log, code = server.log(), server.process.returncode
    server.process = None
    assert not any(word in log for word in ("ASSERTION", "crashed by signal", "panicked")), log[-3000:]
    return code


@pytest.mark.parametrize("how", ["NOSAVE", "SAVE", "NOW"])
def test_shutdown_with_fetches_under_way(busy, how):
    server, readers = busy()
    client = server.client()
    client.send("SHUTDOWN", how)
    assert ended(server) == 0
    for reader in readers:
        with pytest.raises((Closed, ConnectionError)):
            reader.read(2)


def test_sigterm_with_fetches_under_way(busy):
    server, _ = busy()
    server.process.send_signal(signal.SIGTERM)
    assert ended(server) == 0


def test_shutdown_when_idle(spawn):
    server = spawn()
    server.client().send("SHUTDOWN", "NOSAVE")
    assert ended(server) == 0


def test_unload_is_refused_while_clients_wait_and_works_afterwards(busy, world):
    server, readers = busy(500)
    client = server.client()
    assert isinstance(client.attempt("MODULE", "UNLOAD", "podium"), ReplyError)
    for reader in readers:
        assert reader.read() is not None
    eventually(10, "it unloads", lambda: client.attempt("MODULE", "UNLOAD", "podium") == "OK")
    assert client.error("PODIUM.GET", f"items:{item(1)}").text.startswith("ERR unknown command")
    assert client.call("PING") == "PONG"


def test_unload_and_load_again(spawn, world):
    server = spawn()
    client = server.client()
    define(client)
    get(client, f"events:{event(1)}")
    for _ in range(3):
        eventually(10, "it unloads", lambda: client.attempt("MODULE", "UNLOAD", "podium") == "OK")
        settings = [word for name, value in server.settings.items() for word in ("CONFIG", f"podium.{name}", str(value))]
        assert client.call("MODULE", "LOADEX", str(MODULE), *settings) == "OK"
        define(client)
        assert get(client, f"events:{event(1)}")["slug"] == "event-1"
        assert get(client, f"events:{event(2)}")["slug"] == "event-2"


def test_loadex_with_config(spawn):
    server = spawn({"ttl": 77}, loadex=True)
    client = server.client()
    define(client)
    assert text(client.call("CONFIG", "GET", "podium.ttl")) == ["podium.ttl", "77"]
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"


def test_module_list_names_it(server):
    modules = [mapping(module) for module in server.client().call("MODULE", "LIST")]
    podium = next(module for module in modules if text(module["name"]) == "podium")
    assert podium["ver"] >= 1


@pytest.mark.parametrize("name, value", [("ttl", 0), ("ttl", "x"), ("jitter-percent", 51), ("rate-limit", 0), ("rate-limit", 1001), ("bogus", 1), ("airtable-url", "not a url")])
def test_a_bad_setting_stops_the_start_and_is_named(spawn, name, value):
    server = spawn({name: value}, expect_failure=True)
    assert server.process.poll() is not None
    assert f"podium.{name}" in server.log() or name in server.log()
    server.process = None


def test_no_token_is_no_crash(spawn, world):
    server = spawn(env={"AIRTABLE_TOKEN": ""})
    client = server.client()
    define(client)
    error = client.error("PODIUM.GET", f"events:{event(1)}")
    assert error.code == "UPSTREAMAUTH" and ("token-file" in error.text or "AIRTABLE_TOKEN" in error.text), error.text


def test_token_from_a_file(spawn, tmp_path):
    path = tmp_path / "token"
    path.write_text("patTEST.secret\n")
    server = spawn({"token-file": path}, env={"AIRTABLE_TOKEN": ""})
    client = server.client()
    define(client)
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"


def test_the_token_appears_nowhere(spawn, world):
    server = spawn(config=["slowlog-log-slower-than 0", "loglevel debug"])
    client, monitor = server.client(), server.client()
    monitor.call("MONITOR")
    define(client)
    get(client, f"events:{event(1)}")
    world.airtable.status(401, "UNAUTHORIZED", "Invalid authentication token")
    seen = [client.error("PODIUM.GET", f"events:{event(2)}").text]
    seen += [repr(client.call(*command)) for command in (("INFO", "everything"), ("CONFIG", "GET", "*"), ("SLOWLOG", "GET", "-1"), ("PODIUM.STATS",))]
    seen.append(server.log())
    while monitor.answered(0.1):
        seen.append(str(monitor.read()))
    assert "patTEST" not in "".join(seen)
