"""What was thrown away does not come back, whenever the process ends: killed right after the reply, with every write on disk."""

from __future__ import annotations

import json

import pytest

from asking import get
from support import eventually
from test_lease_replies import resource
from world import define, item

RECORD = f"items:{item(1)}"
AOF = ["appendonly yes", "appendfsync always", "auto-aof-rewrite-percentage 0"]


def filled(client, count, *used):
    replies = client.pipeline([("PODIUM.FILL", f"page:{n}", f"v{n}", "TAGS", 1, "t", *used) for n in range(count)])
    assert replies == [1] * count


def served(client, count):
    """Which of the answers are given, by number."""
    replies = client.pipeline([("PODIUM.LEASE", f"page:{n}", "CACHEONLY") for n in range(count)])
    return [n for n, reply in enumerate(replies) if reply[0] is not None]


def told(client, id, **cells):
    client.call("PODIUM.UPSERT", f"items:{id}", json.dumps({"id": id, "name": "changed", **cells}))


USED = {"record": (RECORD,), "set": ("items:group:g2",), "all": ("items:*",), "nothing": ()}

ENDS = {
    "a record it used": ("record", lambda c: told(c, item(1), group="g1")),
    "a record that is gone": ("record", lambda c: c.call("PODIUM.TOMBSTONE", RECORD)),
    "a record that a user takes away": ("record", lambda c: c.call("DEL", RECORD)),
    "a record in doubt": ("record", lambda c: c.call("PODIUM.INVALIDATE", RECORD)),
    "who joins a set": ("set", lambda c: told(c, item(3), group="g2")),
    "who joins a set that is not cached": ("evicted set", lambda c: told(c, item(3), group="g2")),
    "a set": ("set", lambda c: c.call("PODIUM.INVALIDATE", "items:group:g2")),
    "the entity": ("record", lambda c: c.call("PODIUM.INVALIDATE", "items:*")),
    "another spec of the entity": ("record", lambda c: c.call("PODIUM.SPEC", "SET", "items", '{"schema":{"type":"object","properties":{"name":{"type":"string"}}}}')),
    "a record of the entity": ("all", lambda c: told(c, item(399), group="g1")),
    "a tag": ("nothing", lambda c: c.call("PODIUM.INVALIDATE", "tag:t")),
    "a prefix": ("nothing", lambda c: c.call("PODIUM.INVALIDATE", "page:*")),
    "keys": ("nothing", lambda c: c.call("PODIUM.INVALIDATE", *[f"page:{n}" for n in range(3000)])),
    "DEL of the keys": ("nothing", lambda c: c.call("DEL", *[f"page:{n}" for n in range(3000)])),
    "another spec": ("nothing", lambda c: c.call("PODIUM.SPEC", "SET", "page", '{"computed":true,"early":0,"ttl":77}')),
    "flush": ("nothing", lambda c: c.call("FLUSHALL")),
}


@pytest.mark.parametrize("count", [1, 3000])
@pytest.mark.parametrize("end", ENDS)
def test_killed_right_after_the_reply(spawn, world, end, count):
    kind, act = ENDS[end]
    server = spawn(config=AOF)
    client = server.client()
    define(client, "items")
    resource(client)
    get(client, RECORD)
    for key in {"set": USED["set"], "evicted set": USED["set"], "all": USED["all"]}.get(kind, ()):
        client.call("PODIUM.INDEX", key)
    used = USED[kind.removeprefix("evicted ")]
    filled(client, count, *(["USED", len(used), *used] if used else []))
    assert len(served(client, count)) == count
    if kind == "evicted set":
        client.call("PEXPIRE", used[0], 1)
        client.call("PEXPIRE", f"items:{item(3)}", 1)
        eventually(5, "they expired", lambda: not client.call("EXISTS", used[0], f"items:{item(3)}"))
        assert len(served(client, count)) == count
    act(client)
    server.restart(kill=True)
    client = server.client()
    assert served(client, count) == []


def test_what_holds_is_there_after_a_kill(spawn, world):
    server = spawn(config=AOF)
    client = server.client()
    define(client, "items")
    resource(client)
    get(client, RECORD)
    filled(client, 50, "USED", 1, RECORD)
    assert client.call("PODIUM.FILL", "page:other", "v") == 1
    told(client, item(1), group="g1")
    eventually(5, "all are gone", lambda: server.figure("computed") == 1)
    eventually(5, "and that is known", lambda: client.call("HGET", "podium:resource:page", "unsure-before") is None)
    server.restart(kill=True)
    client = server.client()
    assert served(client, 50) == []
    assert client.call("PODIUM.LEASE", "page:other") == [b"v", None]
    assert client.call("PODIUM.FILL", "page:0", "v") == 1
    server.restart(kill=True)
    assert server.client().call("PODIUM.LEASE", "page:0", "CACHEONLY") == [b"v", None]
