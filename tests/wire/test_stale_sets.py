"""docs/promises.md, section 3, "No stale set": a fetch that was under way never overwrites what came after."""

from __future__ import annotations

import json

import pytest

from asking import cells, get, ids, index, spec
from support import ReplyError, blocked, eventually, text
from world import ITEMS, SPECS, event, item

LATENCY = 400


@pytest.fixture
def under_way(server, client, world):
    """`under_way(command…)`: sends a read whose answer takes a while, from another connection, and returns that connection once the
    emulator holds the question. The emulator reads its data when the question arrives, so the answer is from before."""
    def start(*command):
        reader = server.client()
        world.airtable.forget()
        world.airtable.latency(LATENCY)
        reader.send(*command)
        blocked(server, 1)
        eventually(5, "the emulator has read its data for the answer", lambda: any(call["status"] == 200 for call in world.airtable.calls()))
        world.airtable.latency(0)
        return reader
    return start


KEY = f"items:{item(1)}"


def answered(reply):
    assert not isinstance(reply, ReplyError), reply
    return None if reply is None else json.loads(reply)


def test_upsert_while_a_fetch_is_under_way(under_way, client):
    reader = under_way("PODIUM.GET", KEY)
    client.call("PODIUM.UPSERT", KEY, cells(item(1), name="told", n=99, group="g9"))
    assert get(client, KEY)["name"] == "told"
    assert answered(reader.read())["name"] in ("Item 1", "told")
    assert get(client, KEY)["name"] == "told"


def test_tombstone_while_a_fetch_is_under_way(under_way, client):
    reader = under_way("PODIUM.GET", KEY)
    client.call("PODIUM.TOMBSTONE", KEY)
    reader.read()
    assert get(client, KEY) is None


# The copy is there when the refetch starts: a DEL of nothing is no change.
@pytest.mark.parametrize("change", [
    ("PODIUM.INVALIDATE", KEY), ("PODIUM.INVALIDATE", "items:*"), ("DEL", KEY), ("UNLINK", KEY), ("FLUSHALL",), ("FLUSHDB",), ("FLUSHALL", "ASYNC"),
])
def test_what_was_fetched_before_a_change_is_not_stored_after_it(under_way, client, world, change):
    get(client, KEY)
    reader = under_way("PODIUM.GET", KEY, "NOCACHE")
    world.change("items", item(1), name="after")
    client.call(*change)
    # Asked after the change: a fetch that began after.
    assert get(client, KEY)["name"] == "after"
    assert answered(reader.read())["name"] in ("Item 1", "after"), "those who asked before may get either"
    assert get(client, KEY)["name"] == "after"


@pytest.mark.parametrize("change", [("PODIUM.INVALIDATE", KEY), ("DEL", KEY), ("FLUSHALL",)])
def test_the_old_answer_is_dropped_even_if_nobody_asks_meanwhile(under_way, client, world, server, change):
    get(client, KEY)
    before = server.figure("stale_sets_prevented")
    reader = under_way("PODIUM.GET", KEY, "NOCACHE")
    world.change("items", item(1), name="after")
    client.call(*change)
    reader.read()
    eventually(5, "nothing under way", lambda: server.info()["podium_pending"] == "0")
    cached = get(client, KEY, "CACHEONLY")
    assert cached is None or cached["name"] == "after"
    assert get(client, KEY)["name"] == "after"
    assert server.figure("stale_sets_prevented") > before


def test_del_of_a_key_that_is_not_there_yet_counts_too(under_way, client, world):
    reader = under_way("PODIUM.GET", KEY)
    world.change("items", item(1), name="after")
    client.call("DEL", KEY)
    client.call("PODIUM.INVALIDATE", KEY)
    reader.read()
    assert get(client, KEY)["name"] == "after"


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("question", ["items:group:g1", "items:*"])
@pytest.mark.parametrize("change", [("DEL", KEY), ("UNLINK", KEY), ("PODIUM.INVALIDATE", KEY), ("PODIUM.UPSERT", KEY, '{"n":1}'), ("PODIUM.GET", KEY, "NOCACHE")])
def test_a_member_touched_while_its_question_is_under_way_stays_in_the_answer(under_way, client, change, question, cached):
    expected = [item(n) for n in range(1, ITEMS + 1) if question.endswith("*") or n % 10 == 1]
    if cached:
        get(client, KEY)
    reader = under_way("PODIUM.INDEX", question, "IDS")
    client.call(*change)
    assert text(reader.read()) == expected, "who asked before"
    assert ids(client, question) == expected, "who asks after"
    assert ids(client, question, "CACHEONLY") == expected, "and the set that is kept"


def test_a_record_dropped_unseen_while_a_question_is_under_way_is_looked_at_again(under_way, client, world):
    """Fetched with other cells than the question saw, and gone again: the question's word on it is the older one."""
    reader = under_way("PODIUM.INDEX", "items:group:g2", "IDS")
    world.change("items", item(1), group="g2")
    assert get(client, KEY)["group"] == "g2"
    client.call("DEL", KEY)
    reader.read()
    assert item(1) in ids(client, "items:group:g2")


def test_a_changed_spec_while_a_fetch_is_under_way(under_way, client):
    reader = under_way("PODIUM.GET", KEY)
    spec(client, "items", {"schema": {"type": "object", "properties": {"title": {"type": "string", "airtable": "name"}}}})
    assert get(client, KEY) == {"id": item(1), "title": "Item 1"}
    reader.read()
    assert get(client, KEY) == {"id": item(1), "title": "Item 1"}


def test_a_deleted_spec_while_a_fetch_is_under_way(under_way, client):
    reader = under_way("PODIUM.GET", KEY)
    client.call("PODIUM.SPEC", "DEL", "items")
    reader.read()
    assert client.call("EXISTS", KEY) == 0
    spec(client, "items", SPECS["items"])
    assert get(client, KEY)["name"] == "Item 1"


def test_upsert_while_an_index_fetch_is_under_way(under_way, client):
    reader = under_way("PODIUM.INDEX", "items:group:g1", "IDS")
    client.call("PODIUM.UPSERT", KEY, cells(item(1), name="moved", n=1, group="g2"))
    client.call("PODIUM.UPSERT", f"items:{item(2)}", cells(item(2), name="came", n=2, group="g1"))
    reader.read()
    found = ids(client, "items:group:g1")
    assert item(1) not in found and item(2) in found
    assert get(client, KEY)["name"] == "moved"


def test_tombstone_while_an_index_fetch_is_under_way(under_way, client):
    reader = under_way("PODIUM.INDEX", "items:group:g1", "IDS")
    client.call("PODIUM.TOMBSTONE", KEY)
    reader.read()
    assert item(1) not in ids(client, "items:group:g1")
    assert get(client, KEY) is None


def test_invalidate_while_an_index_fetch_is_under_way(under_way, client, world):
    reader = under_way("PODIUM.INDEX", "items:group:g1", "IDS")
    world.change("items", item(1), group="g2", name="after")
    world.change("items", item(2), group="g1")
    client.call("PODIUM.INVALIDATE", KEY, f"items:{item(2)}")
    assert set(ids(client, "items:group:g1")) & {item(1), item(2)} == {item(2)}
    reader.read()
    assert set(ids(client, "items:group:g1")) & {item(1), item(2)} == {item(2)}
    assert get(client, KEY)["name"] == "after"


@pytest.mark.parametrize("change", [("PODIUM.INVALIDATE", "items:*"), ("FLUSHALL",), ("DEL", "items:group:g1"), ("PODIUM.INVALIDATE", "items:group:g1")])
def test_an_index_fetch_from_before_leaves_no_set_behind(under_way, client, world, change):
    index(client, "items:group:g1")
    reader = under_way("PODIUM.INDEX", "items:group:g1", "IDS", "NOCACHE")
    world.create("items", "recBornLater00001", name="later", group="g1")
    client.call(*change)
    assert "recBornLater00001" in ids(client, "items:group:g1")
    reader.read()
    assert "recBornLater00001" in ids(client, "items:group:g1")


def test_a_batch_carries_a_token_per_record(under_way, client, world):
    keys = [f"items:{item(n)}" for n in range(1, 11)]
    reader = under_way("PODIUM.MGET", 10, *keys)
    world.change("items", item(3), name="after")
    client.call("PODIUM.INVALIDATE", keys[2])
    assert len(reader.read()) == 10
    world.airtable.forget()
    assert get(client, keys[0])["name"] == "Item 1" and world.airtable.count() == 0, "its neighbours were stored"
    assert get(client, keys[2])["name"] == "after" and world.airtable.count() <= 1


def test_those_who_asked_before_are_all_answered(server, client, world):
    world.airtable.latency(300)
    readers = [server.client() for _ in range(20)]
    for reader in readers:
        reader.send("PODIUM.GET", f"events:{event(1)}")
    blocked(server, 20)
    client.call("PODIUM.INVALIDATE", f"events:{event(1)}")
    late = [server.client() for _ in range(20)]
    for reader in late:
        reader.send("PODIUM.GET", f"events:{event(1)}")
    assert all(answered(reader.read())["slug"] == "event-1" for reader in readers + late)
    assert world.airtable.count() == 2


def test_swapdb_counts_as_a_flush(client, world):
    get(client, KEY)
    world.change("items", item(1), name="after")
    client.call("SWAPDB", 0, 1)
    assert get(client, KEY)["name"] == "after"
    client.call("SWAPDB", 0, 1)
    client.call("SELECT", 1)
    client.call("FLUSHDB")
    client.call("SELECT", 0)
