"""Computed answers: who computes, what is thrown away, what is still a hit."""

from __future__ import annotations

import json

import pytest

from asking import get, index
from support import ReplyError, eventually
from world import item


@pytest.fixture
def lease(client):
    assert client.call("PODIUM.SPEC", "SET", "page", '{"computed":true}') == "OK"

    def lease(key="page:a", *options):
        return client.call("PODIUM.LEASE", key, *options)

    return lease


def fill(client, key, value, token, *more):
    return client.call("PODIUM.FILL", key, value, "TOKEN", token, *more)


def test_a_lease_is_given_and_filled(client, lease):
    value, token = lease()
    assert value is None and token
    assert fill(client, "page:a", "hello", token) == 1
    assert lease() == [b"hello", None]
    assert client.call("PODIUM.GET", "page:a") == b"hello"
    assert fill(client, "page:a", "again", token) == 0, "the lease is over"
    assert client.call("PODIUM.MGET", 2, "page:a", "page:none") == [b"hello", None]


def test_what_it_used_throws_it_away(client, lease, world):
    key = f"items:{item(1)}"
    _, token = lease()
    before = json.loads(client.call("PODIUM.GET", key, "FOR", token))
    assert fill(client, "page:a", "v1", token) == 1
    assert lease() == [b"v1", None]
    client.call("PODIUM.UPSERT", f"items:{item(2)}", json.dumps({"id": item(2), "name": "other"}))
    assert lease() == [b"v1", None]
    client.call("PODIUM.UPSERT", key, json.dumps({**before, "name": "changed"}))
    value, token = lease()
    assert value is None and token


def test_a_set_that_gains_a_member_throws_it_away(client, lease, world):
    _, token = lease()
    found = index(client, "items:group:g1", "FOR", token)
    assert fill(client, "page:a", str(len(found)), token) == 1
    assert lease()[0] == str(len(found)).encode()
    client.call("PODIUM.UPSERT", f"items:{item(2)}", json.dumps({"id": item(2), "name": "x", "group": "g3"}))
    assert lease()[0] == str(len(found)).encode()
    client.call("PODIUM.UPSERT", "items:recNewcomer000001", json.dumps({"id": "recNewcomer000001", "name": "x", "group": "g1"}))
    assert lease()[0] is None


def test_doubt_is_settled(client, lease, world):
    key = f"items:{item(1)}"
    _, token = lease()
    get(client, key, "FOR", token)
    assert fill(client, "page:a", "v1", token) == 1
    client.call("PODIUM.INVALIDATE", key)
    assert lease() == [b"v1", None], "it was looked at, and is the same"
    world.change("items", item(1), name="changed")
    client.call("PODIUM.INVALIDATE", key)
    assert lease()[0] is None


def test_tags_and_prefixes(client, lease):
    for key, tag in (("page:a:1", "x"), ("page:a:2", "x"), ("page:b:1", "y")):
        _, token = lease(key)
        assert fill(client, key, "v", token, "TAGS", 1, tag) == 1
    assert client.call("PODIUM.INVALIDATE", "tag:x") == 2
    assert lease("page:a:1", "CACHEONLY") == [None, None]
    assert lease("page:b:1") == [b"v", None]
    assert client.call("PODIUM.INVALIDATE", "page:b*") == 1
    assert lease("page:b:1", "CACHEONLY") == [None, None]
    assert client.error("PODIUM.INVALIDATE", "tag:").code == "BADTAG"


def test_who_waits_gets_the_value(client, server, lease):
    _, token = lease()
    others = [server.client() for _ in range(5)]
    for other in others:
        other.send("PODIUM.LEASE", "page:a")
    eventually(5, "they wait", lambda: server.figure("lease_waits") == 5)
    assert fill(client, "page:a", "v", token) == 1
    assert [other.read() for other in others] == [[b"v", None]] * 5


def test_a_lease_passes_on_when_its_holder_goes(client, server, lease):
    holder = server.client()
    assert holder.call("PODIUM.LEASE", "page:a")[1]
    other = server.client()
    other.send("PODIUM.LEASE", "page:a")
    eventually(5, "it waits", lambda: server.figure("lease_waits") == 1)
    holder.close()
    value, token = other.read()
    assert value is None and token
    assert client.call("PODIUM.RELEASE", "page:a", token) == 1
    assert client.call("PODIUM.RELEASE", "page:a", token) == 0
