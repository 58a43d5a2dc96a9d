"""CLIENT TRACKING of computed answers: who read one is told when it is no answer any more, and of nothing else."""

from __future__ import annotations

import json

import pytest

from asking import get
from support import blocked, eventually
from test_lease import fill, lease  # noqa: F401 (a fixture)
from test_sync import fed, now, settled  # noqa: F401 (a fixture)
from test_tracking import silent, told, tracker  # noqa: F401 (a fixture)
from world import item

KEY = "page:a"
RECORD = f"items:{item(1)}"


def compute(client, lease, key=KEY, *more):
    _, token = lease(key)
    get(client, RECORD, "FOR", token)
    client.call("PODIUM.INDEX", "items:group:g2", "FOR", token)
    assert fill(client, key, "v", token, "TAGS", 1, "t", *more) == 1


def upsert(client, n=1, group="g1", **cells):
    client.call("PODIUM.UPSERT", f"items:{item(n)}", json.dumps({"id": item(n), "name": "changed", "group": group, **cells}))


ENDS = {
    "a record it used": lambda client: upsert(client),
    "a record that joins a set it used": lambda client: upsert(client, 3, "g2"),
    "a record that is gone": lambda client: client.call("PODIUM.TOMBSTONE", RECORD),
    "its tag": lambda client: client.call("PODIUM.INVALIDATE", "tag:t"),
    "its key": lambda client: client.call("PODIUM.INVALIDATE", KEY),
    "a prefix": lambda client: client.call("PODIUM.INVALIDATE", "page:*"),
    "the entity": lambda client: client.call("PODIUM.INVALIDATE", "items:*"),
    "DEL": lambda client: client.call("DEL", KEY),
    "expiry": lambda client: client.call("PEXPIRE", KEY, 20),
    "filled anew": lambda client: client.call("PODIUM.FILL", KEY, "another"),
    "another spec": lambda client: client.call("PODIUM.SPEC", "SET", "page", '{"computed":true,"ttl":1000}'),
    "no spec": lambda client: client.call("PODIUM.SPEC", "DEL", "page"),
}

READS = {
    "GET": ("PODIUM.GET", KEY), "LEASE": ("PODIUM.LEASE", KEY), "LEASE META": ("PODIUM.LEASE", KEY, "META"),
    "MGET": ("PODIUM.MGET", 1, KEY), "plain GET": ("GET", KEY),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("read", READS)
def test_who_read_it_is_told_of_its_end(client, tracker, lease, world, read, end):
    compute(client, lease)
    tracker.call(*READS[read])
    silent(tracker)
    ENDS[end](client)
    told(tracker, KEY)


def test_flushall_is_told(client, tracker, lease, world):
    compute(client, lease)
    tracker.call("PODIUM.LEASE", KEY)
    client.call("FLUSHALL")
    told(tracker, "(all)")


def test_what_changes_elsewhere_is_not_told(client, tracker, lease, world):
    compute(client, lease)
    tracker.call("PODIUM.LEASE", KEY)
    upsert(client, 5, "g4")
    cells = get(client, RECORD)
    client.call("PODIUM.UPSERT", RECORD, json.dumps(cells))
    get(client, RECORD, "NOCACHE")
    client.call("PODIUM.INVALIDATE", f"items:{item(7)}")
    assert lease() == [b"v", None]
    silent(tracker)


def test_doubt_that_is_settled_is_not_told(client, tracker, lease, world):
    compute(client, lease)
    tracker.call("PODIUM.LEASE", KEY)
    client.call("PODIUM.INVALIDATE", RECORD)
    assert lease() == [b"v", None], "looked at, and the same"
    silent(tracker)
    world.change("items", item(1), name="another")
    client.call("PODIUM.INVALIDATE", RECORD)
    assert lease()[0] is None
    told(tracker, KEY)


@pytest.mark.parametrize("end", ["a record it used", "its tag", "filled anew"])
def test_who_waited_for_it_is_told_of_the_next_change_only(client, server, tracker, lease, world, end):
    _, token = lease()
    get(client, RECORD, "FOR", token)
    tracker.send("PODIUM.LEASE", KEY)
    blocked(server, 1)
    assert fill(client, KEY, "v", token, "TAGS", 1, "t") == 1
    assert tracker.read() == [b"v", None]
    silent(tracker)
    ENDS[end](client)
    told(tracker, KEY)


def test_who_was_told_there_is_none_is_told_when_it_comes(client, tracker, lease, world):
    assert tracker.call("PODIUM.GET", KEY) is None
    compute(client, lease)
    told(tracker, KEY)


@pytest.mark.parametrize("how", ["it fills it itself", "with NOLOOP", "another fills it"])
def test_who_computes(client, server, lease, world, how):
    """Who was given the lease read that there is none; what it fills itself it knows, if it says NOLOOP."""
    holder = server.client(3)
    holder.call("CLIENT", "TRACKING", "ON", *(["NOLOOP"] if how == "with NOLOOP" else []))
    _, token = holder.call("PODIUM.LEASE", KEY)
    assert fill(client if how == "another fills it" else holder, KEY, "v", token) == 1
    if how == "with NOLOOP":
        silent(holder)
    else:
        told(holder, KEY)
    assert holder.call("PODIUM.LEASE", KEY) == [b"v", None]
    client.call("PODIUM.INVALIDATE", KEY)
    told(holder, KEY)


@pytest.mark.parametrize("end", ["a record it used", "its tag", "DEL", "filled anew"])
def test_bcast(client, server, lease, world, end):
    listener = server.client(3)
    listener.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "page:")
    compute(client, lease)
    told(listener, KEY)
    ENDS[end](client)
    told(listener, KEY)


def test_optin(client, server, lease, world):
    reader = server.client(3)
    reader.call("CLIENT", "TRACKING", "ON", "OPTIN")
    compute(client, lease)
    compute(client, lease, "page:b")
    assert reader.call("PODIUM.LEASE", "page:b") == [b"v", None]
    reader.call("CLIENT", "CACHING", "YES")
    assert reader.call("PODIUM.LEASE", KEY) == [b"v", None]
    client.call("PODIUM.INVALIDATE", "page:b")
    eventually(5, "it is gone", lambda: not client.call("EXISTS", "page:b"))
    silent(reader)
    client.call("PODIUM.INVALIDATE", KEY)
    told(reader, KEY)


def test_the_feed_tells(client, tracker, fed, lease, world):
    compute(client, lease)
    tracker.call("PODIUM.LEASE", KEY)
    world.change("items", item(1), name="another")
    now(client)
    told(tracker, KEY)


def test_who_waited_while_others_did_too(client, server, lease, world):
    """Each is told of the next change, and none of the one it waited for; who read in between that there is none is told of it."""
    _, token = lease()
    get(client, RECORD, "FOR", token)
    crowd = [server.client(3) for _ in range(5)]
    for n, one in enumerate(crowd, 1):
        one.call("CLIENT", "TRACKING", "ON")
        one.send("PODIUM.LEASE", KEY)
        blocked(server, n)
    early = server.client(3)
    early.call("CLIENT", "TRACKING", "ON")
    assert early.call("PODIUM.GET", KEY) is None
    assert fill(client, KEY, "v", token) == 1
    assert [one.read() for one in crowd] == [[b"v", None]] * 5
    told(early, KEY)
    assert lease() == [b"v", None]
    upsert(client)
    for one in crowd:
        told(one, KEY)


def test_who_waited_until_a_doubt_was_settled(client, tracker, lease, world):
    compute(client, lease)
    reader = tracker
    reader.call("PODIUM.LEASE", KEY)
    client.call("PODIUM.INVALIDATE", RECORD)
    assert reader.call("PODIUM.LEASE", KEY) == [b"v", None]
    silent(reader)
    upsert(client)
    told(reader, KEY)
