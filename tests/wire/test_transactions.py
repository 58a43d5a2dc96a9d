"""A DEL in a transaction takes effect when EXEC runs it: what was fetched from before is not stored after it."""

from __future__ import annotations

import json

import pytest

from asking import get, ids
from support import blocked, eventually, text
from world import item

X = item(1)
KEY = f"items:{X}"
SET = "items:group:g1"


@pytest.fixture
def fetching(server, client, world):
    """`fetching(command)`: a read of what was before is under way; returns its reader."""
    def start(*command):
        reader = server.client()
        world.airtable.forget()
        world.airtable.latency(600)
        reader.send(*command)
        eventually(5, "the emulator has read its data", lambda: any(call["status"] == 200 for call in world.airtable.calls()))
        world.airtable.latency(0)
        return reader
    return start


def landed(server, *readers):
    for reader in readers:
        reader.read()
    eventually(5, "nothing under way", lambda: server.info()["podium_pending"] == "0")


def warm_up(client):
    """The server has fetched lately: deletions are looked at already."""
    get(client, f"items:{item(9)}")


DELETIONS = [("DEL", KEY), ("UNLINK", KEY), ("del", "other", KEY), ("GETDEL", KEY), ("EVAL", "return redis.call('DEL', KEYS[1])", 1, KEY)]


@pytest.mark.parametrize("watched", [False, True], ids=["first fetch", "fetched lately"])
@pytest.mark.parametrize("deletion", DELETIONS, ids=lambda d: d[0])
@pytest.mark.parametrize("queued", ["before", "during"])
def test_a_record_deleted_in_a_transaction(server, spawn, world, fetching, client, deletion, watched, queued):
    if watched:
        warm_up(client)
    if queued == "before":
        client.call("MULTI")
        client.call(*deletion)
    reader = fetching("PODIUM.GET", KEY)
    world.change("items", X, name="after")
    if queued == "during":
        client.call("MULTI")
        client.call(*deletion)
    client.call("EXEC")
    landed(server, reader)
    assert get(client, KEY, "CACHEONLY") is None
    assert get(client, KEY)["name"] == "after"


@pytest.mark.parametrize("deletion", [("DEL", SET), ("UNLINK", SET)], ids=lambda d: d[0])
def test_an_index_set_deleted_in_a_transaction(server, world, fetching, client, deletion):
    client.call("MULTI")
    client.call(*deletion)
    reader = fetching("PODIUM.INDEX", SET, "IDS")
    world.change("items", X, group="elsewhere")
    client.call("EXEC")
    landed(server, reader)
    assert client.call("EXISTS", SET) == 0
    assert X not in ids(client, SET)


def test_set_and_del_in_a_transaction(server, world, fetching, client):
    client.call("MULTI")
    client.call("SET", KEY, "mine")
    client.call("DEL", KEY)
    reader = fetching("PODIUM.GET", KEY)
    world.change("items", X, name="after")
    client.call("EXEC")
    landed(server, reader)
    assert get(client, KEY)["name"] == "after"


def test_who_asks_after_exec_gets_a_fetch_that_began_after(server, world, fetching, client):
    warm_up(client)
    client.call("MULTI")
    client.call("DEL", KEY)
    reader = fetching("PODIUM.GET", KEY)
    world.change("items", X, name="after")
    client.call("EXEC")
    assert get(client, KEY)["name"] == "after"
    landed(server, reader)
    assert get(client, KEY)["name"] == "after"


def test_what_is_only_queued_or_discarded_changes_nothing(server, world, fetching, client):
    warm_up(client)
    other = server.client()
    other.call("MULTI")
    other.call("DEL", KEY)
    reader = fetching("PODIUM.GET", KEY)
    other.call("DISCARD")
    landed(server, reader)
    assert get(client, KEY, "CACHEONLY")["name"] == "Item 1"


def test_a_transaction_of_others_keys_outdates_nothing(server, world, fetching, client):
    warm_up(client)
    reader = fetching("PODIUM.GET", KEY)
    client.call("MULTI")
    client.call("DEL", "elsewhere", f"items:{item(2)}")
    client.call("SET", "elsewhere", "1")
    client.call("EXEC")
    landed(server, reader)
    assert get(client, KEY, "CACHEONLY")["name"] == "Item 1"


def test_a_question_in_the_air_is_not_lost_to_transactions_begun_unseen(server, world, fetching, client):
    """Readers are answered by the fetch they wait for, stored or not."""
    others = [server.client() for _ in range(5)]
    for other in others:
        other.call("MULTI")
        other.call("DEL", f"items:{item(3)}")
    reader = fetching("PODIUM.INDEX", SET, "COUNT")
    for other in others:
        other.call("EXEC")
    assert reader.read() == 40
    assert len(text(client.call("PODIUM.INDEX", SET, "IDS"))) == 40


def test_a_key_deleted_while_its_table_is_warmed(server, world, client):
    world.airtable.latency(300)
    warming = server.client()
    warming.send("PODIUM.WARM", "items:*")
    eventually(5, "the first page is read", lambda: any(call["status"] == 200 for call in world.airtable.calls()))
    world.change("items", X, name="after")
    client.call("DEL", KEY)
    world.airtable.latency(0)
    warming.read(30)
    blocked(server, 0)
    assert get(client, KEY)["name"] == "after"


# Other commands of the server's on our keys -------------------------------------------------------------------------


def executed(client, *commands):
    client.call("MULTI")
    for command in commands:
        assert client.call(*command) == "QUEUED"
    return client.call("EXEC")


@pytest.mark.parametrize("what", ["a record", "a foreign value"])
def test_a_record_renamed_in_a_transaction_is_none(server, world, client, what):
    """What lies under its name is not its copy, in the transaction and after it; a fetch under way does not overwrite it."""
    key, other = f"items:{item(1)}", f"items:{item(2)}"
    get(client, other)
    client.call("SET", "aside", "x")
    world.airtable.latency(300)
    reader = server.client()
    reader.send("PODIUM.GET", key)
    eventually(5, "a fetch is under way", lambda: server.info("clients")["blocked_clients"] == "1")
    renamed, read = executed(client, ("RENAME", other if what == "a record" else "aside", key), ("PODIUM.GET", key))
    assert renamed == "OK" and read.code == "WRONGTYPE"
    reader.read()
    world.airtable.latency(0)
    assert client.error("PODIUM.GET", key).code == "WRONGTYPE"
    assert client.call("DEL", key) == 1
    assert get(client, key)["n"] == 1 and get(client, other)["n"] == 2


def test_a_set_renamed_in_a_transaction_is_none(world, client):
    one, two = ids(client, "items:group:g1"), ids(client, "items:group:g2")
    renamed, read = executed(client, ("RENAME", "items:group:g1", "items:group:g2"), ("PODIUM.INDEX", "items:group:g2", "COUNT"))
    assert renamed == "OK" and read.code == "WRONGTYPE", "what lies there says it is another set"
    assert ids(client, "items:group:g1") == one, "asked anew"
    assert client.call("DEL", "items:group:g2") == 1
    assert ids(client, "items:group:g2") == two


CHANGES = {
    "invalidated": lambda c, w: c.call("PODIUM.INVALIDATE", f"items:{item(1)}"),
    "told": lambda c, w: c.call("PODIUM.UPSERT", f"items:{item(1)}", json.dumps({"name": "told", "n": 1, "group": "g2"})),
    "gone": lambda c, w: c.call("PODIUM.TOMBSTONE", f"items:{item(1)}"),
    "written": lambda c, w: c.call("PODIUM.UPDATE", f"items:{item(1)}", json.dumps({"group": "g2"})),
    "fetched": lambda c, w: (w.change("items", item(1), group="g2"), get(c, f"items:{item(1)}", "NOCACHE")),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("watched", [f"items:{item(1)}", "items:group:g1"], ids=["record", "set"])
def test_a_watched_key_that_changed_ends_the_transaction(server, world, client, watched, change):
    ids(client, "items:group:g1")
    client.call("WATCH", watched)
    CHANGES[change](server.client(), world)
    assert executed(client, ("PING",)) is None


@pytest.mark.parametrize("watched", [f"items:{item(1)}", "items:group:g1"], ids=["record", "set"])
def test_a_watched_key_that_was_only_read_does_not(server, world, client, watched):
    ids(client, "items:group:g1")
    client.call("WATCH", watched)
    other = server.client()
    get(other, f"items:{item(1)}"), ids(other, "items:group:g1"), get(other, f"items:{item(2)}")
    other.call("PODIUM.UPSERT", f"items:{item(3)}", json.dumps({"name": "elsewhere", "n": 3, "group": "g3"}))
    assert executed(client, ("PING",)) == ["PONG"]
