"""Computed answers: the whole table of replies of LEASE, FILL and RELEASE, and what META says of them."""

from __future__ import annotations

import json

import pytest

from asking import meta
from support import ReplyError, blocked, eventually, mapping, text
from test_lease import fill, lease  # noqa: F401 (a fixture)
from world import ABSENT, event, item, user

NOTHING = [None, None]


def resource(client, name="page", **members):
    assert client.call("PODIUM.SPEC", "SET", name, json.dumps({"computed": True, **members})) == "OK"


def filled(client, key="page:a", value="v", *more):
    _, token = client.call("PODIUM.LEASE", key, "NOCACHE")
    assert token and fill(client, key, value, token, *more) == 1
    return value.encode()


def age(client, key):
    """Waits until a copy's freshness is over."""
    eventually(5, "it is past freshness", lambda: meta(client, "PODIUM.GET", key)["cache"] != "HIT")


# LEASE ----------------------------------------------------------------------------------------------------------


def test_a_miss_and_a_hit(client, lease):
    reply, said = client.call("PODIUM.LEASE", "page:a", "META")
    said = text(mapping(said))
    assert reply[0] is None and len(reply[1]) == 16
    assert (said["cache"], said["detail"], said["key"], said["airtable-hits"]) == ("MISS", "lease", "page:a", 0)
    assert fill(client, "page:a", b"\x00\xff\r\n", reply[1], "TTL", 100) == 1
    said = meta(client, "PODIUM.LEASE", "page:a")
    assert (said["cache"], said["detail"]) == ("HIT", "") and 95 <= said["ttl"] <= 100 and said["age"] == 0
    assert lease() == [b"\x00\xff\r\n", None]
    assert client.call("PODIUM.GET", "page:a", "META")[0] == b"\x00\xff\r\n"
    assert meta(client, "PODIUM.GET", "page:a")["cache"] == "HIT"


def test_an_empty_value_is_a_value(client, lease):
    filled(client, value="")
    assert lease() == [b"", None] and client.call("PODIUM.GET", "page:a") == b""


def test_who_may_not_wait_gets_nothing(client, server, lease):
    lease()
    other = server.client()
    assert other.call("PODIUM.LEASE", "page:a", "NOWAIT") == NOTHING
    assert meta(other, "PODIUM.LEASE", "page:a", "NOWAIT")["detail"] == "no-lease"
    assert other.call("PODIUM.LEASE", "page:a", "CACHEONLY") == NOTHING
    other.call("MULTI")
    other.call("PODIUM.LEASE", "page:a")
    other.call("PODIUM.LEASE", "page:b")
    replies = other.call("EXEC")
    assert replies[0] == NOTHING and replies[1][0] is None and replies[1][1], "a free key's lease needs no waiting"
    assert other.call("EVAL", "local r = server.call('PODIUM.LEASE', KEYS[1]); return {tostring(r[1]), tostring(r[2])}", 1, "page:a") == [b"false", b"false"]


def test_cacheonly_gives_no_lease(client, lease):
    assert lease("page:a", "CACHEONLY") == NOTHING
    value = filled(client)
    assert lease("page:a", "CACHEONLY") == [value, None]


def test_who_waits_gets_nothing_after_wait_ms(client, server):
    resource(client, wait_ms=100)
    client.call("PODIUM.LEASE", "page:a")
    other = server.client()
    assert other.call("PODIUM.LEASE", "page:a") == NOTHING
    assert meta(other, "PODIUM.LEASE", "page:a")["detail"] == "no-lease"
    eventually(2, "it is counted", lambda: server.figure("lease_waits") == 2)


def test_switched_off(client, server, lease):
    value = filled(client)
    client.call("CONFIG", "SET", "podium.enabled", "no")
    assert lease() == NOTHING and lease("page:b") == NOTHING
    assert meta(client, "PODIUM.LEASE", "page:a")["cache"] == "BYPASS"
    assert client.call("PODIUM.GET", "page:a") is None
    client.call("CONFIG", "SET", "podium.enabled", "yes")
    assert lease() == [value, None]


def test_nocache_gives_a_lease_whatever_is_there(client, server, lease):
    value = filled(client)
    first, said = client.call("PODIUM.LEASE", "page:a", "NOCACHE", "META")
    assert first[0] is None and first[1] and text(mapping(said))["cache"] == "BYPASS"
    second = lease("page:a", "NOCACHE")
    assert lease() == [value, None], "others are served meanwhile"
    assert fill(client, "page:a", "first", first[1]) == 1, "a token taken before stays good"
    assert fill(client, "page:a", "second", second[1]) == 1
    assert lease() == [b"second", None]


def test_an_older_computation_does_not_overwrite_a_newer(client, lease):
    first, second = lease("page:a", "NOCACHE")[1], lease("page:a", "NOCACHE")[1]
    assert fill(client, "page:a", "second", second) == 1
    assert fill(client, "page:a", "first", first) == 0
    assert lease() == [b"second", None]


def test_maxage(client, server, lease):
    value = filled(client)
    assert lease("page:a", "MAXAGE", 60) == [value, None]
    eventually(5, "it is older", lambda: meta(client, "PODIUM.GET", "page:a")["age"] >= 1)
    got = lease("page:a", "MAXAGE", 0)
    assert got[0] is None and got[1]
    assert client.call("PODIUM.GET", "page:a", "MAXAGE", 0) is None
    assert lease() == [value, None]


def test_grace(client, server):
    resource(client, ttl=1, grace=60, early=0, jitter=0)
    value = filled(client)
    age(client, "page:a")
    reply, said = client.call("PODIUM.LEASE", "page:a", "META")
    said = text(mapping(said))
    assert reply[0] == value and reply[1] and said["cache"] == "STALE" and said["detail"] == "lease" and said["ttl"] <= 0
    other = server.client()
    assert other.call("PODIUM.LEASE", "page:a") == [value, None]
    assert meta(other, "PODIUM.LEASE", "page:a")["cache"] == "STALE"
    assert meta(other, "PODIUM.GET", "page:a")["cache"] == "STALE"
    assert fill(client, "page:a", "new", reply[1]) == 1
    assert other.call("PODIUM.LEASE", "page:a") == [b"new", None]


def test_past_grace_it_is_not_there(client):
    resource(client, ttl=1, grace=0, stale_if_error=0, early=0, jitter=0)
    filled(client)
    eventually(5, "it ends", lambda: client.call("PODIUM.GET", "page:a") is None)
    got = client.call("PODIUM.LEASE", "page:a")
    assert got[0] is None and got[1]


def test_early(client, server):
    """A copy that took long and is about to end is recomputed by one caller while it is still served."""
    resource(client, ttl=2, jitter=0, early=100)
    _, token = client.call("PODIUM.LEASE", "page:a")
    client.call("DEBUG", "SLEEP", "0.1")
    assert fill(client, "page:a", "v", token) == 1

    def asked():
        reply, said = client.call("PODIUM.LEASE", "page:a", "META")
        assert reply[0] == b"v", "it is served while it is fresh"
        return reply[1] and text(mapping(said))
    said = eventually(2, "somebody is asked early", asked)
    assert (said["cache"], said["detail"]) == ("HIT", "early")
    assert server.client().call("PODIUM.LEASE", "page:a") == [b"v", None], "one is asked"


def test_waited_says_so(client, server, lease):
    _, token = lease()
    other = server.client(3)
    other.send("PODIUM.LEASE", "page:a", "META")
    blocked(server, 1)
    assert fill(client, "page:a", "v", token) == 1
    reply, said = other.read()
    assert reply == [b"v", None] and text(said)["detail"] == "waited" and text(said)["cache"] == "HIT"


@pytest.mark.parametrize("words", [("SORT", "n"), ("VIEW", "public"), ("FOR", "0" * 16), ("NOCACHE", "CACHEONLY"), ("NOCACHE", "NOCACHE"), ("MAXAGE",), ("MAXAGE", "-1"),
                                   ("LIMIT", "0", "1"), ("IDS",), ("bogus",)])
def test_bad_options(client, lease, words):
    assert client.error("PODIUM.LEASE", "page:a", *words).code == "ERR"
    assert lease("page:a", "NOWAIT")[1], "nothing was done"


@pytest.mark.parametrize("key,code", [("page:", "BADKEY"), ("page", "NOENTITY"), ("nosuch:a", "NOENTITY"), (f"items:{item(1)}", "BADKEY"), ("page:" + "k" * 1020, "BADKEY"), ("page:" + "k" * 1019, None)])
def test_keys(client, lease, key, code):
    got = client.attempt("PODIUM.LEASE", key)
    if code is None:
        assert not isinstance(got, ReplyError) and got[1], got
    else:
        assert isinstance(got, ReplyError) and got.code == code, got


def test_the_options_of_records_are_no_options_of_an_answer(client, lease):
    filled(client)
    for words in (("VIEW", "public"), ("VIEW", "*")):
        assert client.error("PODIUM.GET", "page:a", *words).code == "ERR", words


def test_somebody_elses_value(client, lease):
    client.call("SET", "page:a", "mine")
    assert client.error("PODIUM.LEASE", "page:a").code == "WRONGTYPE"
    assert client.error("PODIUM.GET", "page:a").code == "WRONGTYPE"


# FILL -----------------------------------------------------------------------------------------------------------


def test_fill_of_a_token_that_is_over(client, lease):
    for token in ("0" * 16, "f" * 16, "nonsense", ""):
        assert fill(client, "page:a", "v", token) == 0
    _, token = lease()
    assert fill(client, "page:b", "v", token) == 0, "another key's"
    assert fill(client, "page:a", "v", token) == 1
    assert fill(client, "page:a", "v", token) == 0


def test_fill_without_a_token(client, server, lease):
    _, token = lease()
    other = server.client()
    other.send("PODIUM.LEASE", "page:a")
    blocked(server, 1)
    assert client.call("PODIUM.FILL", "page:a", "through") == 1
    assert other.read() == [b"through", None]
    assert fill(client, "page:a", "v", token) == 0, "every lease on the key is over"
    assert lease() == [b"through", None]


def test_fill_with_ttl(client, lease):
    filled(client, "page:a", "v", "TTL", "77")
    assert 70 <= meta(client, "PODIUM.GET", "page:a")["ttl"] <= 77
    for ttl in ("0", "-1", "x"):
        assert client.error("PODIUM.FILL", "page:a", "v", "TTL", ttl).code == "ERR"


@pytest.mark.parametrize("words", [("TOKEN",), ("TTL",), ("TAGS",), ("TAGS", "2", "x"), ("USED", "x"), ("USED", "1"), ("bogus",), ("TTL", "1", "TTL", "1")])
def test_fill_bad_options(client, lease, words):
    assert client.error("PODIUM.FILL", "page:a", "v", *words).code == "ERR"
    assert client.call("PODIUM.GET", "page:a") is None


def test_bad_tags(client, lease):
    for tag in ("", "x" * 1025):
        assert client.error("PODIUM.FILL", "page:a", "v", "TAGS", "1", tag).code == "BADTAG"
        assert client.error("PODIUM.INVALIDATE", f"tag:{tag}").code == "BADTAG"
    filled(client, "page:a", "v", "TAGS", "1", "x" * 1024)
    assert client.call("PODIUM.INVALIDATE", "tag:" + "x" * 1024) == 1


@pytest.mark.parametrize("key,code", [("items", "BADKEY"), ("nosuch:recAAAAAAAAAAAAAA", "NOENTITY"), ("items:nosuch:1", "NOINDEX"), ("items:name", "BADKEY")])
def test_used_keys_that_name_nothing(client, lease, key, code):
    _, token = lease()
    assert client.error("PODIUM.FILL", "page:a", "v", "TOKEN", token, "USED", "1", key).code == code


def test_too_large(client, server):
    resource(client, max_bytes=10)
    _, token = client.call("PODIUM.LEASE", "page:a")
    assert fill(client, "page:a", "x" * 10, token) == 1
    _, token = client.call("PODIUM.LEASE", "page:b")
    other = server.client()
    other.send("PODIUM.LEASE", "page:b")
    blocked(server, 1)
    assert client.error("PODIUM.FILL", "page:b", "x" * 11, "TOKEN", token).code == "TOOBIG"
    assert other.read()[1], "it passes on"


USED = {
    "record": (f"items:{item(1)}", ("PODIUM.UPSERT", f"items:{item(1)}", json.dumps({"id": item(1), "name": "other"}))),
    "absent record": (f"items:{ABSENT}", ("PODIUM.UPSERT", f"items:{ABSENT}", json.dumps({"id": ABSENT, "name": "new"}))),
    "index": ("items:group:g1", ("PODIUM.UPSERT", f"items:{ABSENT}", json.dumps({"id": ABSENT, "name": "new", "group": "g1"}))),
    "empty index": ("items:group:empty", ("PODIUM.UPSERT", f"items:{ABSENT}", json.dumps({"id": ABSENT, "name": "new", "group": "empty"}))),
    "entity": ("items:*", ("PODIUM.UPSERT", f"items:{ABSENT}", json.dumps({"id": ABSENT, "name": "new"}))),
    "answer": ("page:part", ("PODIUM.FILL", "page:part", "other")),
    "absent answer": ("page:none", ("PODIUM.FILL", "page:none", "now it is there")),
}


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "cold"])
@pytest.mark.parametrize("kind", USED)
def test_used(client, lease, world, kind, cached):
    key, change = USED[kind]
    filled(client, "page:part", "part")
    if cached:
        client.attempt("PODIUM.INDEX" if key.startswith("items:") and "rec" not in key else "PODIUM.GET", key)
    _, token = lease()
    assert fill(client, "page:a", "v", token, "USED", "2", key, f"events:{event(1)}") == 1
    assert lease() == [b"v", None]
    client.call("PODIUM.UPSERT", f"users:{user(1)}", json.dumps({"id": user(1), "email": "a@example.com"}))
    assert lease() == [b"v", None], "it does not concern it"
    client.call(*change)
    got = lease()
    assert got[0] is None and got[1], got


def test_more_than_a_thousand_tags_count_as_all(client, lease):
    tags = [f"t{n}" for n in range(1500)]
    _, token = lease()
    assert fill(client, "page:a", "v", token, "TAGS", len(tags), *tags) in (0, 1)
    client.call("PODIUM.INVALIDATE", "tag:t1499")
    assert lease("page:a", "CACHEONLY") == NOTHING


def test_more_than_ten_thousand_used_keys(client, lease, world):
    keys = [f"items:recMany{n:010d}" for n in range(10_500)]
    _, token = lease()
    assert fill(client, "page:a", "v", token, "USED", len(keys), *keys) == 1
    assert lease() == [b"v", None]
    client.call("PODIUM.UPSERT", f"items:{item(3)}", json.dumps({"id": item(3), "name": "other"}))
    assert lease()[0] is None, "it counts as having used the whole entity"


# RELEASE --------------------------------------------------------------------------------------------------------


def test_release(client, lease):
    _, token = lease()
    assert client.call("PODIUM.RELEASE", "page:b", token) == 0
    assert client.call("PODIUM.RELEASE", "page:a", "nonsense") == 0
    assert client.call("PODIUM.RELEASE", "page:a", token) == 1
    assert client.call("PODIUM.RELEASE", "page:a", token) == 0
    assert fill(client, "page:a", "v", token) == 0
    assert lease()[1], "the next is asked"


def test_release_with_an_old_copy(client, server):
    resource(client, ttl=1, stale_if_error=60, early=0, jitter=0)
    value = filled(client)
    eventually(5, "it ends", lambda: client.call("PODIUM.GET", "page:a") is None)
    got, token = client.call("PODIUM.LEASE", "page:a")
    assert got is None and token, "without a failure it is not served"
    other = server.client()
    other.send("PODIUM.LEASE", "page:a", "META")
    blocked(server, 1)
    assert client.call("PODIUM.RELEASE", "page:a", token) == 1
    reply, said = other.read()
    said = text(mapping(said))
    assert reply == [value, None] and (said["cache"], said["detail"]) == ("STALE", "released")
    assert client.call("PODIUM.LEASE", "page:a") == [value, None]
    assert meta(client, "PODIUM.GET", "page:a")["detail"] == "released"
    assert eventually(8, "somebody is asked to try again", lambda: client.call("PODIUM.LEASE", "page:a")[1])
