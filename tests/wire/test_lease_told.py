"""Computed answers that are thrown away by name, resources as specs, restart and replicas."""

from __future__ import annotations

import json

import pytest

from asking import get, ids, meta, spec
from support import ReplyError, eventually, mapping, text
from test_lease import fill, lease  # noqa: F401 (a fixture)
from test_lease_replies import NOTHING, filled, resource
from test_replica import in_step, pair  # noqa: F401 (a fixture)
from world import define, event, item


def gone(client, *keys):
    return all(client.call("PODIUM.GET", key) is None for key in keys)


def figures(client, name):
    return {key: text(value) for key, value in mapping(client.call("PODIUM.STATS", name)).items()}


# INVALIDATE -----------------------------------------------------------------------------------------------------


def test_all_kinds_in_one_call(client, server, lease):
    resource(client, "other")
    for key in ("page:1", "page:12", "page:2", "other:1", "other:2"):
        filled(client, key, "v", *(["TAGS", 2, "t", "u"] if key == "page:2" else []))
    get(client, f"items:{item(1)}")
    get(client, f"items:{item(2)}")
    assert client.call("PODIUM.INVALIDATE", f"items:{item(1)}", "page:1*", "tag:t", "tag:u", "other:2", "page:none", f"items:{item(99)}") == 5
    assert gone(client, "page:1", "page:12", "page:2", "other:2") and client.call("PODIUM.GET", "other:1") == b"v"
    assert client.call("PODIUM.INVALIDATE", "other:*") == 1
    assert client.call("PODIUM.INVALIDATE", "other:*", "page:*", "tag:t") == 0
    eventually(5, "the keys are gone", lambda: client.call("EXISTS", "page:1", "page:12", "page:2", "other:1", "other:2") == 0)
    assert (server.figure("computed"), server.figure("computed_bytes"), server.figure("computed_dropped")) == (0, 0, 5)


def test_everything_of_an_entity(client, lease):
    _, token = lease()
    get(client, f"items:{item(1)}", "FOR", token)
    fill(client, "page:a", "v", token)
    filled(client, "page:b")
    client.call("PODIUM.INVALIDATE", "items:*")
    assert lease()[0] is None and lease("page:b")[0] == b"v"


def test_figures(client, server, lease):
    filled(client, "page:1", "x" * 100)
    filled(client, "page:2", "x" * 50)
    lease("page:1")
    assert (server.figure("computed"), server.figure("computed_bytes"), server.figure("fills"), server.figure("leases")) == (2, 150, 2, 2)
    mine = figures(client, "page")
    assert (mine["podium_computed"], mine["podium_computed_bytes"], mine["podium_hits"]) == (2, 150, 1)
    client.call("DEL", "page:2")
    assert (server.figure("computed"), server.figure("computed_bytes")) == (1, 100)
    filled(client, "page:1", "x" * 10)
    assert (server.figure("computed"), server.figure("computed_bytes")) == (1, 10)
    client.call("FLUSHALL")
    eventually(2, "nothing is stored", lambda: (server.figure("computed"), server.figure("computed_bytes")) == (0, 0))


def test_what_is_overwritten_by_somebody_else(client, server, lease):
    filled(client)
    client.call("SET", "page:a", "mine")
    assert client.error("PODIUM.GET", "page:a").code == "WRONGTYPE"
    client.call("DEL", "page:a")
    assert lease()[1]


# Specs ----------------------------------------------------------------------------------------------------------


def test_spec(client, lease):
    assert b"page" in client.call("PODIUM.SPEC", "LIST") and client.call("PODIUM.SPEC", "LIST") == sorted(client.call("PODIUM.SPEC", "LIST"))
    effective = json.loads(client.call("PODIUM.SPEC", "GET", "page"))
    assert effective["computed"] is True
    assert (effective["grace"], effective["lease_ms"], effective["wait_ms"], effective["early"], effective["max_bytes"]) == (0, 10000, 5000, 1.0, 16777216)
    filled(client)
    assert client.call("PODIUM.SPEC", "DEL", "page") == 1
    assert client.call("PODIUM.SPEC", "GET", "page") is None
    assert client.error("PODIUM.LEASE", "page:a").code == "NOENTITY"
    eventually(5, "its data went", lambda: client.call("EXISTS", "page:a") == 0)
    assert client.call("PODIUM.SPEC", "DEL", "page") == 0
    resource(client)
    assert lease()[0] is None


@pytest.mark.parametrize("bad", ['{"computed":false}', '{"computed":true,"nosuch":1}', '{"computed":true,"lease_ms":0}', '{"computed":true,"table":"x"}', '{"computed":1}'])
def test_bad_specs(client, bad):
    got = client.error("PODIUM.SPEC", "SET", "thing", bad)
    assert got.code == "BADSPEC", got


def test_one_name_is_an_entity_or_a_resource(client, lease):
    assert client.error("PODIUM.SPEC", "SET", "items", '{"computed":true}').code == "BADSPEC"
    assert client.error("PODIUM.SPEC", "SET", "page", "{}").code == "BADSPEC"
    for name in ("tag", "tomb", "podium"):
        assert isinstance(client.attempt("PODIUM.SPEC", "SET", name, '{"computed":true}'), ReplyError)
    client.call("PODIUM.SPEC", "DEL", "page")
    spec(client, "page", {})
    client.call("PODIUM.SPEC", "DEL", "page")


def test_another_spec_throws_its_answers_away(client, lease):
    filled(client)
    resource(client, ttl=99)
    assert lease()[0] is None


# Restart and replicas -------------------------------------------------------------------------------------------


@pytest.fixture
def saved(spawn, world):
    server = spawn(save=True)
    client = server.client()
    define(client, "items", "events")
    resource(client)

    def compute(key, *read):
        _, token = client.call("PODIUM.LEASE", key)
        client.call(*read, "FOR", token)
        assert fill(client, key, key, token) == 1
    compute("page:record", "PODIUM.GET", f"items:{item(1)}")
    compute("page:set", "PODIUM.INDEX", "items:group:g2")
    compute("page:absent", "PODIUM.GET", "items:recAbsent00000001")
    compute("page:event", "PODIUM.GET", f"events:{event(1)}")
    filled(client, "page:tag", "page:tag", "TAGS", 1, "t")
    return server


KEYS = ["page:record", "page:set", "page:absent", "page:event", "page:tag"]


def hits(client):
    return [key for key in KEYS if client.call("PODIUM.LEASE", key, "CACHEONLY")[0] is not None]


@pytest.mark.parametrize("kill", [True, False])
def test_after_a_restart_they_are_hits(saved, world, kill):
    saved.client().call("SAVE")
    saved.restart(kill)
    client = saved.client()
    assert hits(client) == KEYS
    assert saved.figure("computed") == 5
    client.call("PODIUM.UPSERT", f"items:{item(1)}", '{"name":"other","group":"g1"}')
    client.call("PODIUM.UPSERT", f"items:{item(12)}", '{"name":"other","group":"g2"}')
    client.call("PODIUM.UPSERT", "items:recAbsent00000001", '{"name":"new"}')
    client.call("PODIUM.INVALIDATE", "tag:t")
    assert hits(client) == ["page:event"]


@pytest.mark.parametrize("how", ["told", "doubt", "doubt, the same"])
def test_what_changed_before_the_restart(saved, world, how):
    client = saved.client()
    if how == "told":
        client.call("PODIUM.UPSERT", f"items:{item(1)}", '{"name":"other","group":"g1"}')
    else:
        if how == "doubt":
            world.change("events", event(1), name="other")
        client.call("PODIUM.INVALIDATE", f"events:{event(1)}")
    client.call("SAVE")
    saved.restart(kill=True)
    client = saved.client()
    got = client.call("PODIUM.LEASE", "page:event")
    assert (got[0] is None) == (how == "doubt"), got
    assert (client.call("PODIUM.LEASE", "page:record")[0] is None) == (how == "told")


def test_a_replica(pair, world):
    primary, replica = pair
    p, r = primary.client(), replica.client()
    define(p, "items")
    resource(p)
    _, token = p.call("PODIUM.LEASE", "page:a")
    get(p, f"items:{item(1)}", "FOR", token)
    assert fill(p, "page:a", "v", token) == 1
    in_step(primary, replica)
    assert r.call("PODIUM.LEASE", "page:a") == [b"v", None] and r.call("PODIUM.GET", "page:a") == b"v"
    assert r.call("PODIUM.LEASE", "page:b") == NOTHING, "it gives no lease"
    assert r.error("PODIUM.FILL", "page:a", "v").code == "READONLY"
    p.call("PODIUM.INVALIDATE", f"items:{item(1)}")
    in_step(primary, replica)
    assert r.call("PODIUM.GET", "page:a") is None and r.call("PODIUM.LEASE", "page:a") == NOTHING, "it is in doubt"
    assert p.call("PODIUM.LEASE", "page:a") == [b"v", None]
    eventually(5, "the replica knows", lambda: r.call("PODIUM.GET", "page:a") == b"v")
    p.call("PODIUM.UPSERT", f"items:{item(1)}", '{"name":"other"}')
    assert p.call("PODIUM.LEASE", "page:a", "CACHEONLY") == NOTHING
    eventually(5, "the replica knows", lambda: r.call("PODIUM.GET", "page:a") is None)


def test_promotion(pair, world):
    primary, replica = pair
    p = primary.client()
    define(p, "items")
    resource(p)
    for key, n in (("page:a", 1), ("page:b", 2), ("page:c", 3)):
        _, token = p.call("PODIUM.LEASE", key)
        get(p, f"items:{item(n)}", "FOR", token)
        assert fill(p, key, "v", token) == 1
    p.call("PODIUM.INVALIDATE", f"items:{item(3)}")
    in_step(primary, replica)
    primary.stop()
    r = replica.client()
    r.call("REPLICAOF", "NO", "ONE")
    eventually(5, "it serves what it learned", lambda: r.call("PODIUM.LEASE", "page:a", "CACHEONLY") == [b"v", None])
    world.change("items", item(3), name="other")
    assert r.call("PODIUM.LEASE", "page:c")[0] is None, "doubt is promoted too"
    r.call("PODIUM.UPSERT", f"items:{item(1)}", '{"name":"other"}')
    assert r.call("PODIUM.LEASE", "page:a")[0] is None and r.call("PODIUM.LEASE", "page:b") == [b"v", None]


def test_eviction_is_no_change(client, lease, world):
    _, token = lease()
    ids(client, "items:group:g1", "FOR", token)
    assert fill(client, "page:a", "v", token) == 1
    for key in (f"items:{item(1)}", "items:group:g1"):
        client.call("PEXPIRE", key, 1)
        eventually(2, "it expired", lambda key=key: client.call("EXISTS", key) == 0)
    assert lease() == [b"v", None]
    ids(client, "items:group:g1")
    get(client, f"items:{item(1)}")
    assert lease() == [b"v", None], "refetched, the same"


def test_it_is_fresh_no_longer_than_what_it_used(client, lease, world):
    client.call("CONFIG", "SET", "podium.ttl", "20")
    _, token = lease()
    get(client, f"items:{item(1)}", "FOR", token)
    assert fill(client, "page:a", "v", token, "TTL", "1000") == 1
    assert meta(client, "PODIUM.GET", "page:a")["ttl"] <= 20
