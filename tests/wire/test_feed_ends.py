"""Contract section 4: what the feed tells of a record's end is older than what was known of the record since."""

from __future__ import annotations

import pytest

from asking import cells, get, ids
from support import eventually
from test_sync import fed, record_calls, settled  # noqa: F401 (a fixture)
from world import item

PER_PAGE = 50
"""Payloads to a page."""


def invalidated(client, key):
    assert client.call("PODIUM.INVALIDATE", key) == 1


def deleted(client, key):
    assert client.call("DEL", key) == 1


def told_and_deleted(client, key):
    assert client.call("PODIUM.UPSERT", key, cells(key.split(":")[1], name="again", n=1, group="g0")) == 1
    deleted(client, key)


def expired(client, key):
    assert client.call("PEXPIRE", key, 1) == 1
    eventually(5, "it has expired", lambda: client.call("EXISTS", key) == 0)


def flushed(client, key):
    assert client.call("FLUSHALL") == "OK"


def everything(client, key):
    client.call("PODIUM.INVALIDATE", "items:*")


def listed(client, key):
    return item(1) in ids(client, "items:group:g0") and item(1) in ids(client, "items:*")


def there(client, key):
    return get(client, key) is not None


@pytest.mark.parametrize("dropped, is_known", [(invalidated, listed), (invalidated, there), (deleted, listed), (deleted, there), (told_and_deleted, listed), (expired, listed), (flushed, there), (everything, there)])
def test_a_record_that_came_back_is_not_taken_for_gone_while_the_feed_is_behind(fed, world, server, dropped, is_known):  # noqa: F811
    """It was deleted and restored, many changes ago; it was seen since, and its copy is gone. The first page tells of its end only."""
    fed.call("CONFIG", "SET", "podium.sync-interval", 3600)
    key = f"items:{item(1)}"
    assert get(fed, key)["name"] == "Item 1"
    world.delete("items", item(1))
    for n in range(PER_PAGE + 5):
        world.change("items", item(2), name=f"two, {n}")
    world.create("items", item(1), name="again", n=1, group="g0")
    fed.call("PODIUM.INVALIDATE", key)
    assert get(fed, key)["name"] == "again"
    assert item(1) in ids(fed, "items:group:g0")
    dropped(fed, key)
    for ms in (0, 2_000):
        world.airtable.fault(kind="slow", ms=ms, times=1, match={"method": "GET", "path_contains": "/payloads"})
    polls = len(payload_calls(world))
    with server.client() as other:
        other.send("PODIUM.SYNC", "NOW")
        eventually(5, "the first page was read, the second is awaited", lambda: len(payload_calls(world)) == polls + 2)
        assert is_known(fed, key)
        assert len(payload_calls(world)) == polls + 2, "the second page had come"
        assert other.read(timeout=10) == "OK"
    assert get(fed, key)["name"] == "again" and listed(fed, key)


def payload_calls(world) -> list:
    return [call for call in world.airtable.calls() if "/payloads" in call["path"]]


def test_an_end_after_everything_that_was_known_needs_no_call(fed, world, server):  # noqa: F811
    """Not cached, and gone: a tombstone, as before."""
    assert item(1) in ids(fed, "items:group:g1")
    assert fed.call("DEL", f"items:{item(1)}") == 1
    world.delete("items", item(1))
    assert fed.call("PODIUM.SYNC", "NOW") == "OK"
    settled(server, world)
    before = len(record_calls(world))
    assert get(fed, f"items:{item(1)}") is None
    assert item(1) not in ids(fed, "items:group:g1")
    assert len(record_calls(world)) == before
