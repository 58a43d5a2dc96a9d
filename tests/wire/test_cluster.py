"""A single-node cluster: tagged entities, key positions, slots."""

from __future__ import annotations

import json

import pytest

from asking import get, ids, mget
from support import eventually, free_port
from world import SPECS, item


@pytest.fixture
def node(spawn):
    server = spawn(config=["cluster-enabled yes", f"cluster-port {free_port()}", "cluster-require-full-coverage no"])
    client = server.client()
    client.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    eventually(10, "the cluster is up", lambda: b"cluster_state:ok" in client.call("CLUSTER", "INFO"))
    return server


@pytest.fixture
def tagged(node, world):
    client = node.client()
    for entity in ("items", "projects"):
        assert client.call("PODIUM.SPEC", "SET", "{shop}" + entity, json.dumps(SPECS[entity])) == "OK"
    world.airtable.forget()
    return client


def test_reads_and_indexes(tagged, world):
    assert get(tagged, "{shop}items:" + item(1))["n"] == 1
    assert len(ids(tagged, "{shop}items:group:g1")) == 40
    assert [r["n"] for r in mget(tagged, ["{shop}items:" + item(n) for n in (1, 2)])] == [1, 2]
    tagged.call("PODIUM.INVALIDATE", "{shop}items:" + item(1))
    assert get(tagged, "{shop}items:" + item(1))["n"] == 1
    assert tagged.call("PODIUM.TOMBSTONE", "{shop}items:" + item(1)) == 1


def test_every_key_lies_in_the_tags_slot(tagged):
    ids(tagged, "{shop}items:group:g1")
    get(tagged, "{shop}items:recDoesNotExist01")
    tagged.call("PODIUM.INVALIDATE", "{shop}items:" + item(1))
    slot = tagged.call("CLUSTER", "KEYSLOT", "{shop}x")
    keys = [key for key in tagged.call("KEYS", "*") if b"shop" in key]
    assert len(keys) > 40 and {tagged.call("CLUSTER", "KEYSLOT", key) for key in keys} == {slot}


def test_a_tag_is_required(tagged):
    error = tagged.error("PODIUM.SPEC", "SET", "items", "{}")
    assert error.code in ("BADSPEC", "BADKEY", "ERR") and "tag" in error.text


def test_keys_of_several_slots_in_one_command(tagged):
    assert tagged.error("PODIUM.MGET", 2, "{shop}items:" + item(1), "{other}items:" + item(1)).code == "CROSSSLOT"


def test_specs_survive_a_restart(node, tagged):
    tagged.call("CONFIG", "SET", "appendonly", "yes")
    eventually(10, "the AOF is on", lambda: node.info("persistence")["aof_rewrite_in_progress"] == "0" and node.info("persistence")["aof_enabled"] == "1")
    node.config.append("appendonly yes")
    node.restart()
    client = node.client()
    eventually(10, "the cluster is up", lambda: b"cluster_state:ok" in client.call("CLUSTER", "INFO"))
    assert len(client.call("PODIUM.SPEC", "LIST")) == 2
    assert get(client, "{shop}items:" + item(1))["n"] == 1


def test_in_a_cluster_an_entity_is_named(tagged):
    """`*` belongs to no slot of theirs: it is all entities of this node, if the server lets it pass at all."""
    get(tagged, "{shop}items:" + item(1))
    assert tagged.call("PODIUM.INVALIDATE", "{shop}items:*") == 1
    assert tagged.error("PODIUM.INVALIDATE", "items:*").code in ("NOENTITY", "BADKEY")
