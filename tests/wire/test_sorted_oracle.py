"""Sorted, limited answers beside sorting everything: the same at every moment, whatever happened to the members, the set and the entity.

Every question is asked three times in one go: as it is, `FOR` a token that is over (which changes nothing about the answer, but no view answers
it), and unsorted, to be sorted here."""

from __future__ import annotations

import functools
import json
import random

import pytest

from asking import spec
from resp import ReplyError
from support import eventually, mapping, text
from test_sync import fed, now, settled  # noqa: F401 (a fixture)
from world import item, schema

SORTED = {"schema": schema({
    "name": {"type": "string", "sortable": True},
    "n": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None, "sortable": True},
    "group": {"type": "string", "default": "", "indexed": True},
}, ["name"]), "views": {"short": ["id", "n"]}}
OVER = "0" * 16
GROUPS = ["g1", "g2"]
MEMBERS = 60


def compare(x, y):
    """Numbers by their number, texts bytewise."""
    x, y = (x.encode(), y.encode()) if isinstance(x, str) else (x, y)
    return (x > y) - (x < y)


def in_order(records, field, descending):
    valued = [r for r in records if r.get(field) is not None]
    sign = -1 if descending else 1
    by_value = functools.cmp_to_key(lambda a, b: sign * compare(a[field], b[field]) or compare(a["id"], b["id"]))
    return sorted(valued, key=by_value) + sorted((r for r in records if r.get(field) is None), key=lambda r: r["id"])


def value(rnd):
    return rnd.choice([None, 0, 0, 1, 2, 10, -3, 2.5, 1e3, rnd.randrange(-50, 50)])


class Game:
    def __init__(self, client, server, world, rnd, fed=False):
        self.client, self.server, self.world, self.rnd, self.fed = client, server, world, rnd, fed
        self.dumps, self.moves = {}, []
        for n in range(1, MEMBERS + 1):
            world.change("items", item(n), **self.cells(n))

    def cells(self, n):
        return {"name": self.rnd.choice(["a", "A", "b", "é", "10", "9", "2026-03-04T05:06:07.000Z", f"Item {self.rnd.randrange(30)}"]), "n": value(self.rnd), "group": self.rnd.choice(GROUPS + ["g3"])}

    def any(self):
        return self.rnd.randrange(1, MEMBERS + 1)

    # What happens -----------------------------------------------------------------------------------------------

    def upsert(self):
        n = self.any()
        cells = self.cells(n)
        if item(n) in self.world.truth("items"):
            self.world.change("items", item(n), **cells)
        else:
            self.world.create("items", item(n), **{k: v for k, v in cells.items() if v is not None})
        self.client.call("PODIUM.UPSERT", f"items:{item(n)}", json.dumps({"id": item(n), **cells}))

    def change(self):
        n = self.any()
        if item(n) in self.world.truth("items"):
            self.world.change("items", item(n), **self.cells(n))
        if self.fed and self.rnd.random() < 0.7:
            return now(self.client)
        self.client.call("PODIUM.INVALIDATE", f"items:{item(n)}")

    def tombstone(self):
        n = self.any()
        if item(n) in self.world.truth("items"):
            self.world.delete("items", item(n))
        self.client.call("PODIUM.TOMBSTONE", f"items:{item(n)}")

    def delete(self):
        self.client.call("DEL", f"items:{item(self.any())}")

    def unlink_some(self):
        self.client.call("UNLINK", *(f"items:{item(self.any())}" for _ in range(10)))

    def expire(self):
        key = f"items:{item(self.any())}"
        how = self.rnd.choice([("PEXPIRE", key, 1), ("EXPIRE", key, 1000), ("PERSIST", key), ("GETEX", key, "PX", 1), ("EXPIREAT", key, 1)])
        self.client.call(*how)
        # Until it is over: the answers below are of one moment.
        eventually(5, "its end", lambda: self.client.call("PTTL", key) != 1)

    def foreign(self):
        key = f"items:{item(self.any())}"
        self.client.call("SET", key, "somebody's")
        self.check()
        self.client.call("DEL", key)

    def restore(self):
        key = f"items:{item(self.any())}"
        if (dump := self.client.call("DUMP", key)) is not None:
            self.dumps[key] = dump
        if self.dumps and self.rnd.random() < 0.7:
            key = self.rnd.choice(sorted(self.dumps))
            self.client.attempt("RESTORE", key, 0, self.dumps.pop(key), "REPLACE")
            self.check()
            # (What an old copy holds is no longer the truth.)
            self.client.call("PODIUM.INVALIDATE", key)

    def member(self):
        key = f"items:group:{self.rnd.choice(GROUPS)}"
        if self.client.call("EXISTS", key):
            self.client.call(*self.rnd.choice([("ZADD", key, 0, item(self.any())), ("ZREM", key, item(self.any()))]))
            self.check()
            self.client.call("PODIUM.INVALIDATE", key)

    def renamed(self):
        key = f"items:{item(self.any())}"
        self.client.attempt("RENAME", key, f"items:{item(self.any())}")
        self.client.attempt("COPY", f"items:{item(self.any())}", key, "REPLACE")
        self.check()
        for n in range(1, MEMBERS + 1):
            if isinstance(self.client.attempt("PODIUM.GET", f"items:{item(n)}"), ReplyError):
                self.client.call("DEL", f"items:{item(n)}")

    def set_lost(self):
        self.client.call(self.rnd.choice(["DEL", "PODIUM.INVALIDATE"]), f"items:group:{self.rnd.choice(GROUPS)}")

    def whole(self):
        self.rnd.choice([
            lambda: self.client.call("FLUSHALL"),
            lambda: self.client.call("PODIUM.INVALIDATE", "items:*"),
            lambda: self.client.call("PODIUM.WARM", "items:*"),
            lambda: self.client.call("DEBUG", "RELOAD"),
            lambda: spec(self.client, "items", {**SORTED, "ttl": self.rnd.choice([600, 700])}),
            lambda: spec(self.client, "items", {**SORTED, "normalize": {"name": self.rnd.choice([["lower"], ["upper"]])}}),
        ])()

    def written(self):
        n = self.any()
        if item(n) in self.world.truth("items"):
            self.client.attempt("PODIUM.UPDATE", f"items:{item(n)}", json.dumps({"n": self.rnd.randrange(99), "group": self.rnd.choice(GROUPS)}))

    def created(self):
        self.client.attempt("PODIUM.CREATE", "items:*", json.dumps({"name": "New", "n": self.rnd.randrange(99), "group": self.rnd.choice(GROUPS)}))

    def fetched(self):
        self.client.call("PODIUM.GET", f"items:{item(self.any())}", *self.rnd.choice([[], ["NOCACHE"]]))

    def swept(self):
        self.client.call("PODIUM.SWEEP", "items:*", *self.rnd.choice([[], ["FULL"]]))

    def switched(self):
        self.client.call("CONFIG", "SET", "podium.enabled", "no")
        self.upsert()
        self.client.call("CONFIG", "SET", "podium.enabled", "yes")

    # What is asked ----------------------------------------------------------------------------------------------

    def check(self):
        client, rnd = self.client, self.rnd
        key = rnd.choice([f"items:group:{rnd.choice(GROUPS)}"] * 3 + ["items:*"])
        field, descending = rnd.choice(["n", "n", "name"]), rnd.random() < 0.6
        offset, count = rnd.choice([(0, 10), (0, 10), (0, -1), (rnd.randrange(70), rnd.randrange(30)), (5, 0)])
        more = rnd.choice([[], [], [], ["META"], ["IDS"], ["COUNT"], ["VIEW", "short"], ["VIEW", "*"], ["MAXAGE", "100"], ["MAXAGE", "0"], ["CACHEONLY"], ["CACHEONLY", "META"], ["META", "IDS"], ["IDS"], ["COUNT"], ["META", "COUNT"]])
        question = ["PODIUM.INDEX", key, "SORT", field, *(["DESC"] if descending else rnd.choice([[], ["ASC"]])), "LIMIT", offset, count, *more]
        by_id = {"IDS", "COUNT"} & set(more) and rnd.random() < 0.6
        if by_id:  # A set may be kept in the order of ids, too.
            question = ["PODIUM.INDEX", key, *rnd.choice([[], ["LIMIT", offset, count]]), *more]
            offset, count = (offset, count) if "LIMIT" in question else (0, -1)
        # Settled first: what is asked below is answered from the cache, all of it at one moment.
        if not {"CACHEONLY", "MAXAGE"} & set(more):
            client.attempt(*question)
        elif self.fed:
            # What the feed told of is looked up behind.
            settled(self.server, self.world)
        asked = [question, [*question, "FOR", OVER], ["PODIUM.INDEX", key, *(["CACHEONLY"] if "CACHEONLY" in more else [])]]
        for _ in range(5):
            for words in asked:
                client.send(*words)
            seen, general, unsorted = [client.read() for _ in asked]
            words = [text(mapping(r[1])["cache"]) if "META" in more and isinstance(r, list) else "" for r in (seen, general)]
            if words[0] == words[1]:
                break
            # What an earlier step set off behind came in between: of one moment they say the same.
        shown = (question, self.moves[-8:])
        if "META" in more and isinstance(seen, list):
            ours, theirs = (mapping(reply[1]) for reply in (seen, general))
            for name in ("age", "ttl"):
                assert abs(ours.pop(name) - theirs.pop(name)) <= 1, (name, *shown)
            assert {k: v for k, v in ours.items() if k != "cache-status"} == {k: v for k, v in theirs.items() if k != "cache-status"}, shown
            seen, general = seen[0], general[0]
        assert seen == general, shown
        if isinstance(unsorted, ReplyError) or seen is None or unsorted is None or "MAXAGE" in more:
            return
        records = [json.loads(r) for r in unsorted]
        if "COUNT" in more:
            assert seen == len(records), shown
            return
        expected = (sorted(records, key=lambda r: r["id"]) if by_id else in_order(records, field, descending))[offset:]
        expected = [r["id"] for r in (expected if count < 0 else expected[:count])]
        assert (text(seen) if "IDS" in more else [json.loads(r)["id"] for r in seen]) == expected, shown


MOVES = {"upsert": 30, "change": 10, "tombstone": 5, "delete": 5, "unlink_some": 2, "expire": 6, "foreign": 2, "restore": 3, "member": 3, "renamed": 2, "set_lost": 2, "whole": 2, "written": 3,
         "created": 2, "fetched": 4, "swept": 1, "switched": 1}


def play(game, server, steps):
    for step in range(steps):
        move = game.rnd.choices(list(MOVES), list(MOVES.values()))[0]
        game.moves.append(move)
        getattr(game, move)()
        for _ in range(game.rnd.randrange(1, 4)):
            game.check()
        if step % 10 == 0:
            # Views are built behind: now and then there is one for sure.
            eventually(10, "a view", lambda: game.check() or server.figure("sorted_views") > 0)
    assert server.figure("sorted_hits") > steps / 4


@pytest.mark.parametrize("seed", range(4))
def test_a_sorted_answer_is_what_sorting_everything_would_be(server, world, seed):
    client = server.client(protocol=2 + seed % 2)
    spec(client, "items", SORTED)
    client.call("DEBUG", "SET-ACTIVE-EXPIRE", "0" if seed < 2 else "1")
    play(Game(client, server, world, random.Random(seed)), server, 150)
    client.call("DEBUG", "SET-ACTIVE-EXPIRE", "1")


@pytest.mark.parametrize("seed", range(2))
def test_with_the_feed_too(server, world, seed, request):
    client = server.client()
    spec(client, "items", SORTED)
    request.getfixturevalue("client")
    spec(client, "items", SORTED)
    request.getfixturevalue("fed")
    play(Game(client, server, world, random.Random(100 + seed), fed=True), server, 100)
