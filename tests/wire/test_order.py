"""The index invariant where questions are shared: who joins one that was sent before must not miss what was told in between,
whatever became of it since."""

from __future__ import annotations

import json

import pytest

from asking import cells, ids, index, spec
from support import blocked, eventually, text
from world import SPECS, item, rid

X = item(1)
KEY = f"items:{X}"
NEW = "items:group:z"
OTHER_SPEC = {**SPECS["items"], "schema": {**SPECS["items"]["schema"], "properties": {"first": {"type": "string"}, **SPECS["items"]["schema"]["properties"]}}}


def drop(client, how):
    """What was told is lost."""
    if how == "expiry":
        client.call("PEXPIRE", KEY, 1)
        eventually(5, "its key expired", lambda: client.call("EXISTS", KEY) == 0)
    elif how == "unnoticed expiry":
        client.call("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        client.call("PEXPIRE", KEY, 1)
        eventually(5, "its time is over", lambda: client.call("PTTL", KEY) < 0)
    elif how == "eviction":
        client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "1")
        eventually(5, "it is evicted", lambda: client.call("EXISTS", KEY) == 0)
        client.call("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")
    elif how == "1,100 doubts":
        for start in range(0, 1100, 100):
            client.call("PODIUM.INVALIDATE", *(f"items:{rid('dbt', n)}" for n in range(start, start + 100)))
    elif how == "another spec":
        spec(client, "items", OTHER_SPEC)
    elif how == "DEL of its set":
        client.call("DEL", NEW)
    else:
        client.call(*how)


DROPS = [
    ("PODIUM.INVALIDATE", "items:*"), ("PODIUM.INVALIDATE", KEY), ("PODIUM.INVALIDATE", "*"), ("FLUSHALL",), ("FLUSHDB",), ("SWAPDB", 0, 1),
    ("DEL", KEY), ("UNLINK", KEY), "DEL of its set", "expiry", "unnoticed expiry", "eviction", "1,100 doubts", "another spec",
]


@pytest.fixture
def held(server, client, world):
    """`held(command)`: a question whose answer from before is under way; returns its reader."""
    def start(*command):
        reader = server.client()
        world.airtable.forget()
        world.airtable.latency(900)
        reader.send(*command)
        eventually(5, "the emulator has read its data", lambda: any(call["status"] == 200 for call in world.airtable.calls()))
        world.airtable.latency(0)
        return reader
    yield start
    client.call("DEBUG", "SET-ACTIVE-EXPIRE", "1")
    client.call("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")
    client.call("SELECT", 0)


def asking(server, *command):
    """One more reader that waits."""
    waiting = int(server.info("clients")["blocked_clients"])
    reader = server.client()
    reader.send(*command)
    blocked(server, waiting + 1)
    return reader


FORMS = {
    "INDEX": (("PODIUM.INDEX", NEW), lambda r: [json.loads(row)["id"] for row in r]),
    "IDS": (("PODIUM.INDEX", NEW, "IDS"), text),
    "COUNT": (("PODIUM.INDEX", NEW, "COUNT"), lambda n: [X] * n),
    "INTER": (("PODIUM.INTER", 1, NEW, "IDS"), text),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", DROPS, ids=str)
def test_what_was_told_before_it_asked_is_in_the_answer(server, client, world, held, how, form):
    command, read = FORMS[form]
    first = held(*command)
    world.change("items", X, group="z")
    assert client.call("PODIUM.UPSERT", KEY, cells(X, name="told", n=1, group="z")) == 1
    second = asking(server, *command)
    drop(client, how)
    assert read(second.read()) == [X]
    assert read(first.read()) in ([], [X])
    client.call("SELECT", 0)
    assert ids(client, NEW) == [X]


@pytest.mark.parametrize("how", [how for how in DROPS if how not in (("DEL", KEY), ("UNLINK", KEY), "expiry", "unnoticed expiry", "eviction")], ids=str)
def test_what_was_known_to_be_gone_is_not(server, client, world, held, how):
    command = ("PODIUM.INDEX", "items:group:g1", "IDS")
    first = held(*command)
    world.delete("items", X)
    client.call("PODIUM.TOMBSTONE", KEY)
    second = asking(server, *command)
    drop(client, how)
    assert X not in text(second.read())
    first.read()
    client.call("SELECT", 0)
    assert X not in ids(client, "items:group:g1")


@pytest.mark.parametrize("how", [("DEL", f"tomb:{KEY}"), ("PODIUM.INVALIDATE", KEY)], ids=str)
def test_a_tombstone_that_is_taken_away_is_not_forgotten(server, client, world, held, how):
    command = ("PODIUM.INDEX", "items:*", "IDS")
    first = held(*command)
    world.delete("items", X)
    client.call("PODIUM.TOMBSTONE", KEY)
    second = asking(server, *command)
    drop(client, how)
    assert X not in text(second.read())
    first.read()
    assert X not in ids(client, "items:*")


@pytest.mark.parametrize("how", ["1,100 doubts", ("PODIUM.INVALIDATE", "items:*"), ("PODIUM.INVALIDATE", KEY), ("FLUSHALL",)], ids=str)
def test_what_was_in_doubt_before_it_asked_is_looked_at(server, client, world, held, how):
    command = ("PODIUM.INDEX", NEW, "IDS")
    first = held(*command)
    world.change("items", X, group="z")
    client.call("PODIUM.INVALIDATE", KEY)
    second = asking(server, *command)
    drop(client, how)
    assert text(second.read()) == [X]
    first.read()
    assert ids(client, NEW) == [X]


def test_a_record_fetched_meanwhile_and_lost_is_looked_at(server, client, world, held):
    """What a fetch brought was told too."""
    command = ("PODIUM.INDEX", NEW, "IDS")
    first = held(*command)
    world.change("items", X, group="z")
    client.call("PODIUM.GET", KEY)
    second = asking(server, *command)
    client.call("DEL", KEY)
    assert text(second.read()) == [X]
    first.read()


def test_the_whole_table_too(server, client, world, held):
    fresh = rid("new", 1)
    first = held("PODIUM.INDEX", "items:*", "COUNT")
    world.create("items", fresh, name="fresh")
    client.call("PODIUM.UPSERT", f"items:{fresh}", cells(fresh, name="fresh"))
    second = asking(server, "PODIUM.INDEX", "items:*", "COUNT")
    client.call("PODIUM.INVALIDATE", "items:*")
    assert second.read() == 401
    first.read()


def test_readers_share_a_question_while_all_that_is_told_is_known(server, client, world):
    """1,000 readers of one cold set make one call, with records told all along."""
    world.airtable.latency(1500)
    readers = [server.client() for _ in range(100)]
    for n, reader in enumerate(readers):
        reader.send("PODIUM.INDEX", NEW, "IDS")
        client.call("PODIUM.UPSERT", f"items:{rid('tld', n)}", cells(rid("tld", n), name="told", n=n, group="z"))
    blocked(server, 100)
    world.airtable.latency(0)
    for n, reader in enumerate(readers):
        assert set(text(reader.read())) >= {rid("tld", m) for m in range(n)}
    assert world.airtable.count() == 1


def test_who_asks_after_a_loss_shares_one_new_question(server, client, world, held):
    first = held("PODIUM.INDEX", NEW, "IDS")
    world.change("items", X, group="z")
    client.call("PODIUM.UPSERT", KEY, cells(X, name="told", n=1, group="z"))
    before = [asking(server, "PODIUM.INDEX", NEW, "IDS") for _ in range(5)]
    client.call("PODIUM.INVALIDATE", "items:*")
    after = [server.client() for _ in range(5)]
    for reader in after:
        reader.send("PODIUM.INDEX", NEW, "IDS")
    assert all(text(reader.read()) == [X] for reader in before + after)
    first.read()
    assert world.airtable.count() <= 2
