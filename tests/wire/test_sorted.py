"""Sorted views: a set that is asked for in the order of a field is kept in it, and whatever becomes of a member shows in the next answer."""

from __future__ import annotations

import json

import pytest

from asking import get, ids, index, meta, spec
from resp import ReplyError
from support import MODULE, eventually, text
from test_replica import in_step, pair  # noqa: F401 (a fixture)
from test_sync import fed, now  # noqa: F401 (a fixture)
from world import SPECS, define, item

KEY = "items:group:g1"
TOP = (KEY, "SORT", "n", "DESC", "LIMIT", 0, 5)
MEMBERS = [1 + 10 * k for k in range(40)]
"""The numbers of the items of g1; each one's `n` is its number."""


def top(client, *options):
    return [r["n"] for r in index(client, *TOP, *options)]


def kept(server, n=1):
    return eventually(10, f"{n} sorted views", lambda: server.figure("sorted_views") == n)


def by_view(server, ask):
    """What `ask` comes to, and whether it took a view to answer."""
    before = server.figure("sorted_hits")
    return ask(), server.figure("sorted_hits") > before


@pytest.fixture
def sorted_client(client, server):
    """`g1` is kept in the order of `n`."""
    assert top(client) == [391, 381, 371, 361, 351]
    kept(server)
    eventually(10, "answered by the view", lambda: by_view(server, lambda: top(client))[1])
    return client


def told(client, number, **cells):
    client.call("PODIUM.UPSERT", f"items:{item(number)}", json.dumps({"id": item(number), "name": f"Item {number}", "n": number, "group": "g1", **cells}))


def test_the_second_question_sorts_nothing(sorted_client, server, world):
    client = sorted_client
    calls = world.airtable.count()
    assert by_view(server, lambda: top(client)) == ([391, 381, 371, 361, 351], True)
    for options, expected in [((), [1, 11, 21]), (("ASC",), [1, 11, 21]), (("DESC",), [391, 381, 371])]:
        found, viewed = by_view(server, lambda: ids(client, KEY, "SORT", "n", *options, "LIMIT", 0, 3))
        assert (found, viewed) == ([item(n) for n in expected], True)
    assert by_view(server, lambda: client.call("PODIUM.INDEX", KEY, "SORT", "n", "COUNT")) == (40, True)
    assert by_view(server, lambda: index(client, KEY, "SORT", "n", "LIMIT", 38, 10)) == ([get(client, f"items:{item(n)}") for n in (381, 391)], True)
    assert by_view(server, lambda: len(index(client, KEY, "SORT", "n"))) == (40, True)
    assert by_view(server, lambda: client.call("PODIUM.INTER", 1, KEY, "SORT", "n", "LIMIT", 0, 1, "IDS")) == ([item(1).encode()], True)
    assert by_view(server, lambda: meta(client, "PODIUM.INDEX", *TOP)["cache"]) == ("HIT", True)
    assert world.airtable.count() == calls
    assert (server.figure("sorted_members"), server.figure("sorted_views")) == (40, 1) and server.figure("sorted_bytes") > 40 * 60
    stats = dict(zip(*[iter(text(client.call("PODIUM.STATS", "items")))] * 2))
    assert (stats["podium_sorted_views"], stats["podium_sorted_members"]) == (1, 40) and stats["podium_sorted_hits"] > 5


@pytest.mark.parametrize("options", [("NOCACHE",), ("FOR", "0" * 16)], ids=str)
def test_what_no_view_answers(sorted_client, server, options):
    assert by_view(server, lambda: top(sorted_client, *options)) == ([391, 381, 371, 361, 351], False)


def test_a_member_changes(sorted_client, server):
    told(sorted_client, 1, n=1000)
    assert by_view(server, lambda: top(sorted_client)) == ([1000, 391, 381, 371, 361], True)
    told(sorted_client, 1, n=385)
    assert by_view(server, lambda: top(sorted_client)) == ([391, 385, 381, 371, 361], True)
    told(sorted_client, 391, name="the same number")
    found, viewed = by_view(server, lambda: index(sorted_client, *TOP))
    assert viewed and found[0]["name"] == "the same number"
    told(sorted_client, 391, n=None)
    assert by_view(server, lambda: top(sorted_client)) == ([385, 381, 371, 361, 351], True)


def test_members_come_and_go(sorted_client, server, world):
    told(sorted_client, 2, n=1000)
    assert by_view(server, lambda: top(sorted_client)) == ([1000, 391, 381, 371, 361], True)
    told(sorted_client, 391, group="g2")
    assert by_view(server, lambda: top(sorted_client)) == ([1000, 381, 371, 361, 351], True)
    world.delete("items", item(381))
    sorted_client.call("PODIUM.TOMBSTONE", f"items:{item(381)}")
    assert by_view(server, lambda: top(sorted_client)) == ([1000, 371, 361, 351, 341], True)
    world.create("items", item(500), name="new", n=900, group="g1")
    sorted_client.call("PODIUM.INVALIDATE", f"items:{item(500)}")
    assert top(sorted_client) == [1000, 900, 371, 361, 351]
    created = sorted_client.call("PODIUM.CREATE", "items:*", json.dumps({"name": "New", "n": 950, "group": "g1"}))
    assert by_view(server, lambda: top(sorted_client)) == ([1000, 950, 900, 371, 361], True)
    assert sorted_client.call("PODIUM.DELETE", f"items:{json.loads(created[0])['id']}") == 1
    assert by_view(server, lambda: top(sorted_client)) == ([1000, 900, 371, 361, 351], True)


def test_a_member_outside_the_answer_that_is_not_known_now(sorted_client, server, world):
    """It may be anywhere in the order: it is looked up first."""
    client = sorted_client
    for lose in [lambda key: client.call("PODIUM.INVALIDATE", key), lambda key: client.call("DEL", key), lambda key: client.call("RENAME", key, "elsewhere")]:
        world.change("items", item(11), n=2000)
        lose(f"items:{item(11)}")
        assert by_view(server, lambda: top(client)) == ([2000, 391, 381, 371, 361], False)
        world.change("items", item(11), n=11)
        client.call("PODIUM.INVALIDATE", f"items:{item(11)}")
        assert top(client)[0] == 391
        assert by_view(server, lambda: top(client)[0]) == (391, True)


@pytest.mark.parametrize("end", [("PEXPIRE", 1), ("EXPIREAT", 1), ("GETEX", "PX", 1)], ids=str)
def test_an_end_that_a_user_set_holds_though_nobody_says_so(sorted_client, server, world, end):
    client = sorted_client
    client.call("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    world.change("items", item(11), n=2000)
    client.call(end[0], f"items:{item(11)}", *end[1:])
    eventually(5, "its end", lambda: top(client) == [2000, 391, 381, 371, 361])
    client.call("DEBUG", "SET-ACTIVE-EXPIRE", "1")


def test_a_foreign_value_in_a_members_place(sorted_client):
    sorted_client.call("SET", f"items:{item(11)}", "somebody's")
    assert sorted_client.error("PODIUM.INDEX", *TOP).code == "WRONGTYPE"
    sorted_client.call("DEL", f"items:{item(11)}")
    sorted_client.call("HSET", f"items:{item(11)}", "a", "b")
    assert sorted_client.error("PODIUM.INDEX", *TOP).code == "WRONGTYPE"


def test_a_member_or_a_set_of_before_is_restored(sorted_client, server):
    client = sorted_client
    record, members = client.call("DUMP", f"items:{item(391)}"), client.call("DUMP", KEY)
    told(client, 391, n=3)
    assert top(client)[0] == 381
    client.call("RESTORE", f"items:{item(391)}", 0, record, "REPLACE")
    assert by_view(server, lambda: top(client)[0]) == (391, True)
    told(client, 2, n=500)
    assert top(client)[0] == 500
    client.call("RESTORE", KEY, 0, members, "REPLACE")
    assert top(client) == [r["n"] for r in index(client, *TOP, "FOR", "0" * 16)]


def test_somebody_writes_into_the_set(sorted_client):
    client = sorted_client
    for write in [("ZREM", KEY, item(391)), ("ZADD", KEY, 0, item(2)), ("ZREMRANGEBYRANK", KEY, -3, -1), ("ZPOPMAX", KEY), ("DEL", KEY)]:
        client.call(*write)
        assert top(client) == [r["n"] for r in index(client, *TOP, "FOR", "0" * 16)], write
        told(client, 391)


def test_the_set_and_the_entity_are_lost(sorted_client, server, world):
    client = sorted_client
    for lose in [("PODIUM.INVALIDATE", KEY), ("DEL", KEY), ("PODIUM.INVALIDATE", "items:*"), ("FLUSHALL",), ("DEBUG", "RELOAD")]:
        world.change("items", item(1), n=(at := top(client)[0] + 1))
        client.call("PODIUM.INVALIDATE", f"items:{item(1)}")
        client.call(*lose)
        assert top(client)[0] == at, lose
        eventually(10, "kept again", lambda: by_view(server, lambda: top(client)) == ([at, 391, 381, 371, 361], True))


def test_another_spec(sorted_client, server):
    client = sorted_client
    properties = dict(SPECS["items"]["schema"]["properties"])
    spec(client, "items", {"schema": {"type": "object", "properties": {**properties, "n": {"type": "integer", "default": 0}}}})
    assert client.error("PODIUM.INDEX", *TOP).code == "NOSORT"
    spec(client, "items", {"schema": {"type": "object", "properties": {"extra": {"type": "string", "default": "x"}, **properties}}})
    assert index(client, *TOP)[0] == {"id": item(391), "extra": "x", "name": "Item 391", "n": 391, "group": "g1"}
    eventually(10, "kept again", lambda: by_view(server, lambda: index(client, *TOP)[0]["extra"]) == ("x", True))
    client.call("PODIUM.SPEC", "DEL", "items")
    assert server.figure("sorted_views") == 0


def test_freshness_that_ends(server, world):
    client = server.client()
    spec(client, "items", {**SPECS["items"], "ttl": 1})
    assert top(client)[0] == 391
    kept(server)
    world.change("items", item(1), n=1000)
    eventually(5, "the end of it", lambda: top(client)[0] == 1000)


@pytest.mark.parametrize("age, viewed", [(1000, True), (0, False)])
def test_maxage(sorted_client, server, age, viewed):
    if not viewed:
        told(sorted_client, 1, n=500)
        eventually(5, "a moment later", lambda: meta(sorted_client, "PODIUM.INDEX", *TOP)["age"] >= 1)
    assert by_view(server, lambda: top(sorted_client, "MAXAGE", age)[0])[1] is viewed


def test_the_feed_moves_a_member(client, fed, server, world):
    now(client)
    assert top(client)[0] == 391
    kept(server)
    world.change("items", item(1), n=1000)
    now(client)
    assert top(client) == [1000, 391, 381, 371, 361]
    world.change("items", item(2), n=2000, group="g1")
    world.delete("items", item(391))
    now(client)
    assert top(client) == [2000, 1000, 381, 371, 361]
    eventually(10, "by the view", lambda: by_view(server, lambda: top(client)) == ([2000, 1000, 381, 371, 361], True))


def test_vouched_for_by_the_feed_it_answers_past_its_own_end(client, fed, server, world):
    spec(client, "items", {**SPECS["items"], "ttl": 1})
    now(client)
    assert top(client)[0] == 391
    kept(server)
    age = lambda: meta(client, "PODIUM.INDEX", *TOP)
    eventually(5, "past its own end", lambda: age()["age"] >= 2)
    found, viewed = by_view(server, age)
    assert viewed and found["cache"] == "HIT" and found["ttl"] >= 0
    assert found == meta(client, "PODIUM.INDEX", *TOP, "FOR", "0" * 16) | {k: found[k] for k in ("age", "ttl", "cache-status")}


def test_in_a_transaction_and_a_script(sorted_client, server):
    client = sorted_client
    client.call("MULTI")
    client.call("PODIUM.UPSERT", f"items:{item(1)}", json.dumps({"id": item(1), "name": "x", "n": 700, "group": "g1"}))
    client.call("PODIUM.INDEX", *TOP, "IDS")
    client.call("DEL", f"items:{item(1)}")
    client.call("PODIUM.INDEX", *TOP, "IDS")
    _, first, _, second = client.call("EXEC")
    assert first[0] == item(1).encode() and isinstance(second, ReplyError) and second.code == "WOULDBLOCK"
    script = "return redis.call('PODIUM.INDEX', KEYS[1], 'SORT', 'n', 'DESC', 'LIMIT', 0, 1, 'IDS')"
    assert top(client)[0] == 391
    assert by_view(server, lambda: client.call("EVAL", script, 1, KEY)) == ([item(391).encode()], True)


def test_who_tracks_is_told(sorted_client, server):
    reader = server.client(protocol=3)
    reader.call("CLIENT", "TRACKING", "ON")
    assert by_view(server, lambda: top(reader)[0]) == (391, True)
    told(sorted_client, 1, n=500)
    reader.call("PING")
    assert [text(push) for push in reader.pushes] == [["invalidate", [KEY]]]


def test_much_changes_at_once(sorted_client, server):
    """More than is looked at before an answer: the answer is sorted, and the view is brought up to date behind."""
    client = sorted_client
    for n in range(1000, 1600):
        client.send("PODIUM.UPSERT", f"items:{item(n)}", json.dumps({"id": item(n), "name": "x", "n": n, "group": "g1"}))
    for n in range(1000, 1600):
        client.read()
    assert by_view(server, lambda: top(client)) == ([1599, 1598, 1597, 1596, 1595], False)
    eventually(10, "by the view", lambda: by_view(server, lambda: top(client)) == ([1599, 1598, 1597, 1596, 1595], True))
    # And a set that is large enough to be sorted in slices.
    for n in range(1600, 2600):
        client.send("PODIUM.UPSERT", f"items:{item(n)}", json.dumps({"id": item(n), "name": "x", "n": n % 7, "group": "g1"}))
    for n in range(1600, 2600):
        client.read()
    eventually(10, "by the view", lambda: by_view(server, lambda: top(client)) == ([1599, 1598, 1597, 1596, 1595], True))
    found, viewed = by_view(server, lambda: ids(client, KEY, "SORT", "n", "LIMIT", 700, 900))
    assert viewed and found == ids(client, KEY, "SORT", "n", "FOR", "0" * 16)[700:1600]
    for n in range(1000, 6200):
        client.send("PODIUM.UPSERT", f"items:{item(n)}", json.dumps({"id": item(n), "name": "x", "n": n + 1, "group": "g1"}))
    for n in range(1000, 6200):
        client.read()
    assert top(client) == [6200, 6199, 6198, 6197, 6196], "given up, and built anew"
    eventually(10, "by the view", lambda: by_view(server, lambda: top(client)[0]) == (6200, True))


def test_room_is_bounded(client, server):
    client.call("CONFIG", "SET", "podium.sorted-members", 0)
    for _ in range(3):
        assert by_view(server, lambda: top(client)[0]) == (391, False)
    client.call("CONFIG", "SET", "podium.sorted-members", 100)
    for n in (1, 2, 3):
        index(client, f"items:group:g{n}", "SORT", "n", "LIMIT", 0, 1)
        kept(server, min(n, 2))
    assert server.figure("sorted_members") == 80, "there is no room for a third, and the others were asked for just now"
    client.call("CONFIG", "SET", "podium.sorted-members", 50)
    kept(server, 1)
    client.call("CONFIG", "SET", "podium.sorted-members", 10)
    kept(server, 0)


def test_out_of_memory_there_are_none(sorted_client, server):
    sorted_client.call("CONFIG", "SET", "maxmemory", "1")
    kept(server, 0)
    assert top(sorted_client)[0] == 391
    sorted_client.call("CONFIG", "SET", "maxmemory", "0")


def test_a_few_members_are_sorted(client, server, world):
    assert [r["points"] for r in index(client, "projects:*", "SORT", "points", "DESC", "LIMIT", 0, 2)] == [19, 18]
    assert server.figure("sorted_views") == 0


def test_replica_and_promotion(pair, world):
    primary, replica = pair
    p, r = primary.client(), replica.client()
    define(p)
    assert top(p)[0] == 391
    kept(primary)
    in_step(primary, replica)
    for n in (500, 600):
        told(p, 1, n=n)
        in_step(primary, replica)
        assert by_view(primary, lambda: top(p)[0]) == (n, True)
        assert by_view(replica, lambda: top(r)[0]) == (n, False)
    r.call("REPLICAOF", "NO", "ONE")
    assert top(r)[0] == 600
    eventually(10, "by the view", lambda: by_view(replica, lambda: top(r)) == ([600, 391, 381, 371, 361], True))
    told(r, 1, n=700)
    assert by_view(replica, lambda: top(r)[0]) == (700, True)


def test_unloaded_and_loaded_again(spawn, world):
    server = spawn(loadex=True)
    client = server.client()
    for _ in range(2):
        define(client)
        assert top(client)[0] == 391
        kept(server)
        client.call("SET", f"items:{item(11)}", "somebody's")
        assert client.error("PODIUM.INDEX", *TOP).code == "WRONGTYPE"
        client.call("DEL", f"items:{item(11)}")
        eventually(10, "nothing under way", lambda: client.attempt("MODULE", "UNLOAD", "podium") == "OK")
        settings = [word for name, value in server.settings.items() for word in ("CONFIG", f"podium.{name}", str(value))]
        client.call("MODULE", "LOADEX", str(MODULE), *settings)
