"""Specs, records, sets and doubt survive restart by RDB, and by AOF with and without preamble."""

from __future__ import annotations

import pytest

from asking import cells, get, ids
from support import eventually, text
from world import ABSENT, SPECS, define, event, item

WAYS = {
    "rdb": (True, ['save 3600 100000']),
    "aof": (False, ["appendonly yes", "aof-use-rdb-preamble yes", "appendfsync always"]),
    "aof without preamble": (False, ["appendonly yes", "aof-use-rdb-preamble no", "appendfsync always"]),
}


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


def keep(server, client, way):
    """Makes durable what the way needs to be told to."""
    if way == "rdb":
        client.call("SAVE")


def start(spawn, way):
    save, config = WAYS[way]
    return spawn(config=config, save=save)


@pytest.mark.parametrize("rewrite", [False, True])
def test_everything_survives(spawn, world, way, rewrite):
    server = start(spawn, way)
    client = server.client()
    define(client)
    record, found = get(client, f"events:{event(1)}"), ids(client, "items:group:g1")
    assert get(client, f"events:{ABSENT}") is None
    client.call("PODIUM.UPSERT", f"items:{item(2)}", cells(item(2), name="told", group="g1"))
    ttl = client.call("PTTL", f"events:{event(1)}")
    if rewrite and way != "rdb":
        client.call("BGREWRITEAOF")
        eventually(20, "the AOF is rewritten", lambda: server.info("persistence")["aof_rewrite_in_progress"] == "0" and server.info("persistence")["aof_rewrite_scheduled"] == "0")
    keep(server, client, way)
    server.restart(kill=way != "rdb")
    client = server.client()
    world.airtable.forget()
    assert text(client.call("PODIUM.SPEC", "LIST")) == sorted(SPECS)
    assert get(client, f"events:{event(1)}") == record
    assert get(client, f"items:{item(2)}")["name"] == "told"
    assert get(client, f"events:{ABSENT}") is None
    assert ids(client, "items:group:g1") == sorted(found + [item(2)])
    assert world.airtable.count() == 0
    assert 0 < client.call("PTTL", f"events:{event(1)}") <= ttl, "no lifetime starts anew"


def test_doubt_survives(spawn, world, way):
    server = start(spawn, way)
    client = server.client()
    define(client)
    found = ids(client, "items:group:g1")
    world.change("items", found[0], group="g2")
    world.create("items", "recBornInDoubt001", name="new", group="g1")
    client.call("PODIUM.INVALIDATE", f"items:{found[0]}", "items:recBornInDoubt001")
    keep(server, client, way)
    server.restart(kill=way != "rdb")
    assert ids(server.client(), "items:group:g1") == sorted(found[1:] + ["recBornInDoubt001"])


def test_invalidation_of_an_entity_survives(spawn, world, way):
    server = start(spawn, way)
    client = server.client()
    define(client)
    ids(client, "items:group:g1")
    world.change("items", item(1), name="after")
    client.call("PODIUM.INVALIDATE", "items:*")
    keep(server, client, way)
    server.restart(kill=way != "rdb")
    assert get(server.client(), f"items:{item(1)}")["name"] == "after"


@pytest.mark.parametrize("flush", ["FLUSHALL", "FLUSHDB"])
def test_specs_survive_a_flush_and_a_restart(spawn, way, flush):
    server = start(spawn, way)
    client = server.client()
    define(client)
    get(client, f"events:{event(1)}")
    client.call(flush)
    keep(server, client, way)
    server.restart(kill=way != "rdb")
    client = server.client()
    assert text(client.call("PODIUM.SPEC", "LIST")) == sorted(SPECS)
    assert get(client, f"events:{event(1)}", "CACHEONLY") is None


def test_a_flush_inside_multi(spawn, way):
    server = start(spawn, way)
    client = server.client()
    define(client)
    client.call("MULTI")
    client.call("FLUSHALL")
    client.call("SET", "x", "y")
    client.call("EXEC")
    keep(server, client, way)
    server.restart(kill=way != "rdb")
    client = server.client()
    assert text(client.call("PODIUM.SPEC", "LIST")) == sorted(SPECS) and client.call("GET", "x") == b"y"


def test_a_deleted_spec_stays_deleted(spawn, way):
    server = start(spawn, way)
    client = server.client()
    define(client)
    client.call("PODIUM.SPEC", "DEL", "votes")
    keep(server, client, way)
    server.restart(kill=way != "rdb")
    assert "votes" not in text(server.client().call("PODIUM.SPEC", "LIST"))


def test_debug_reload(client, world):
    record, found = get(client, f"events:{event(1)}"), ids(client, "items:group:g1")
    world.airtable.forget()
    client.call("DEBUG", "RELOAD")
    assert get(client, f"events:{event(1)}") == record and ids(client, "items:group:g1") == found
    assert len(client.call("PODIUM.SPEC", "LIST")) == len(SPECS)
    assert world.airtable.count() == 0


def test_the_rdb_loads_without_the_module(spawn, way):
    server = start(spawn, way)
    client = server.client()
    define(client)
    ids(client, "items:group:g1")
    keep(server, client, way)
    server.stop()
    server.module = False
    server.start()
    assert server.client().call("DBSIZE") > 40
