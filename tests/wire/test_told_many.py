"""However many records are told, none is missing from a set that is asked for later."""

from __future__ import annotations

import json

import pytest

from asking import cells, get, ids, index
from between import between
from support import eventually, text
from world import define, item, rid

MANY = 2600
NEW = "items:group:new"


def told(n):
    return rid("tld", n)


def upsert(client, numbers, **fields):
    """Tells records that Airtable does not list yet."""
    for n in numbers:
        client.send("PODIUM.UPSERT", f"items:{told(n)}", cells(told(n), name=f"T{n}", n=n, **{"group": "new", **fields}))
    assert [client.read() for _ in numbers] == [1] * len(numbers)


def test_more_than_ever_were_told_before(client):
    upsert(client, range(MANY))
    assert client.call("PODIUM.INDEX", NEW, "COUNT") == MANY
    assert client.call("PODIUM.INDEX", "items:*", "COUNT") == MANY + 400
    upsert(client, range(MANY), group="other")
    assert client.call("PODIUM.INDEX", NEW, "COUNT") == 0
    assert client.call("PODIUM.INDEX", "items:group:other", "COUNT") == MANY
    client.call("DEL", "items:group:other", NEW, "items:*")
    upsert(client, range(10), group="third")
    assert client.call("PODIUM.INDEX", "items:group:third", "COUNT") == 10
    assert client.call("PODIUM.INDEX", "items:group:other", "COUNT") == MANY - 10


def test_a_warmed_table_holds_them_all(client):
    upsert(client, range(MANY))
    client.call("PODIUM.WARM", "items:*")
    assert client.call("PODIUM.INDEX", NEW, "COUNT") == MANY
    assert client.call("PODIUM.INDEX", "items:*", "COUNT") == MANY + 400


def test_what_is_gone_or_fetched_is_told_no_more(client, world):
    upsert(client, range(4))
    client.call("PODIUM.TOMBSTONE", f"items:{told(0)}")
    client.call("PODIUM.INVALIDATE", f"items:{told(1)}")
    client.call("DEL", f"items:{told(2)}")
    world.create("items", told(3), name="listed", group="elsewhere")
    assert get(client, f"items:{told(3)}", "NOCACHE")["group"] == "elsewhere"
    assert ids(client, NEW) == []
    upsert(client, [5])
    client.call("FLUSHALL")
    assert ids(client, "items:group:new") == []


def test_after_a_restart(spawn, world):
    server = spawn(save=True)
    client = server.client()
    define(client, "items")
    upsert(client, range(300))
    client.call("DEBUG", "RELOAD")
    assert client.call("PODIUM.INDEX", NEW, "COUNT") == 300
    client.call("DEL", NEW)
    client.call("SAVE")
    server.restart(kill=True)
    client = server.client()
    assert client.call("PODIUM.INDEX", NEW, "COUNT") == 300
    client.call("PODIUM.TOMBSTONE", f"items:{told(0)}")
    client.call("DEL", NEW)
    assert client.call("PODIUM.INDEX", NEW, "COUNT") == 299


def test_on_a_replica_that_is_promoted(spawn, world):
    primary, replica = spawn(), spawn()
    a, b = primary.client(), replica.client()
    define(a, "items")
    b.call("REPLICAOF", "127.0.0.1", primary.port)
    eventually(20, "the replica has caught up", lambda: replica.info("replication")["master_link_status"] == "up" and b.call("PODIUM.SPEC", "LIST") == [b"items"])
    for n in range(10):
        world.create("items", told(n), name="listed", group="old")
        get(a, f"items:{told(n)}")
    upsert(a, range(300))
    a.call("WAIT", 1, 5000)
    b.call("REPLICAOF", "NO", "ONE")
    primary.stop()
    assert b.call("PODIUM.INDEX", NEW, "COUNT") == 300
    assert set(text(b.call("PODIUM.INDEX", "items:*", "IDS"))) >= {item(1)} | {told(n) for n in range(300)}


def test_a_restored_record_is_a_told_one(client):
    upsert(client, [1])
    key = f"items:{told(1)}"
    dump = client.call("DUMP", key)
    client.call("DEL", key)
    client.call("RESTORE", key, 60000, dump)
    assert json.loads(client.call("PODIUM.GET", key, "CACHEONLY"))["name"] == "T1"
    assert ids(client, NEW) == [told(1)]


def test_values_that_are_not_ours_under_our_names(client):
    """Short and long, alone and in a transaction: nothing is looked at before its command is over."""
    for value in ("1", "x", "x" * 60, "x" * 200, ""):
        client.call("SET", f"items:{told(1)}", value)
        assert client.call("GET", f"items:{told(1)}").decode() == value
        client.call("DEL", f"items:{told(1)}")
        client.call("EVAL", "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('APPEND', KEYS[1], 'y')", 1, f"items:{told(2)}", value)
        client.call("DEL", f"items:{told(2)}")
    assert ids(client, NEW) == []


@pytest.mark.parametrize("how", ["paused", "out of memory"])
@pytest.mark.parametrize("known", [False, True])
def test_what_was_told_is_in_an_answer_that_cannot_be_stored(client, how, known):
    if known:
        ids(client, "items:group:g1")
    upsert(client, [1], group="g1")
    client.call("CLIENT", "PAUSE", 5000, "WRITE") if how == "paused" else client.call("CONFIG", "SET", "maxmemory", 1)
    try:
        assert told(1) in ids(client, "items:group:g1", "NOCACHE")
        assert told(1) in ids(client, "items:group:g1")
        assert told(1) in ids(client, "items:*")
    finally:
        client.call("CLIENT", "UNPAUSE")
        client.call("CONFIG", "SET", "maxmemory", 0)


@pytest.mark.parametrize("how", ["paused", "out of memory"])
def test_what_the_question_itself_saw_is_not_put_back_to_what_was_told_before(client, world, how):
    upsert(client, [1], group="g1")
    world.create("items", told(1), name="later", n=1, group="g1")
    client.call("CLIENT", "PAUSE", 5000, "WRITE") if how == "paused" else client.call("CONFIG", "SET", "maxmemory", 1)
    try:
        [there] = [r for r in index(client, "items:group:g1", "NOCACHE") if r["id"] == told(1)]
        assert there["name"] == "later"
    finally:
        client.call("CLIENT", "UNPAUSE")
        client.call("CONFIG", "SET", "maxmemory", 0)


@pytest.fixture
def lagging(spawn, world):
    """A client whose Airtable lists records of before: what was written since is in no list yet."""
    before = world.truth("items")

    def answer(path, ask):
        if "/items?" not in path:
            return None
        page = ask()
        page["records"] = [r for r in page["records"] if r["id"] in before and r["fields"].get("group") == before[r["id"]].get("group")]
        return page
    with between(world.airtable.url, answer) as url:
        client = spawn({"airtable-url": url, "rate-limit": 1000}).client()
        define(client, "items")
        yield client


@pytest.mark.parametrize("read", ["INDEX", "INDEX NOCACHE", "WARM"])
def test_what_was_written_is_in_its_sets_though_lists_lag(lagging, read):
    new = json.loads(lagging.call("PODIUM.CREATE", "items:*", json.dumps({"name": "new", "group": "new"}))[0])["id"]
    lagging.call("PODIUM.UPDATE", f"items:{item(1)}", json.dumps({"group": "new"}))
    if read == "WARM":
        lagging.call("PODIUM.WARM", "items:*")
    options = ("NOCACHE",) if "NOCACHE" in read else ()
    assert ids(lagging, "items:group:new", *options) == sorted([new, item(1)])
    assert ids(lagging, "items:group:new") == sorted([new, item(1)])
    assert new in ids(lagging, "items:*", *options)
