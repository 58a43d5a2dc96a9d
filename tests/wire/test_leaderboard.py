"""A leaderboard computed from an index: recomputed after what concerns it, a hit after what does not. No tag was named."""

from __future__ import annotations

import json

import pytest

from asking import get, ids
from support import blocked
from test_lease import fill, lease  # noqa: F401 (a fixture)
from test_sync import fed, now, settled  # noqa: F401 (a fixture)
from world import event, item, project, user, vote

KEY = f"page:leaderboard:{event(2)}"
INDEX = f"projects:event:{event(2)}"


class Board:
    """An application that shows a leaderboard."""

    def __init__(self, client):
        self.client = client
        self.computed = 0

    def shown(self):
        value, token = self.client.call("PODIUM.LEASE", KEY)
        if value is None:
            self.computed += 1
            projects = [json.loads(p) for p in self.client.call("PODIUM.INDEX", INDEX, "SORT", "points", "DESC", "FOR", token)]
            value = json.dumps([[p["name"], p["points"]] for p in projects]).encode()
            assert fill(self.client, KEY, value, token) == 1
        return json.loads(value)

    def recomputed(self):
        """Whether showing it computes it anew."""
        before = self.computed
        self.last = self.shown()
        return self.computed > before


@pytest.fixture
def board(client, lease, world):
    board = Board(client)
    assert board.recomputed() and not board.recomputed()
    assert len(board.last) == 7 and board.last[0] == ["Project 19", 19], board.last
    return board


def told(client, id, **cells):
    before = get(client, f"projects:{id}")
    client.call("PODIUM.UPSERT", f"projects:{id}", json.dumps({**before, **cells}))


def test_upsert(client, board):
    told(client, project(1), points=100)
    assert board.recomputed() and board.last[0] == ["Project 01", 100]
    told(client, project(1), points=100)
    assert not board.recomputed(), "the same content is no change"


def test_update(client, board):
    client.call("PODIUM.UPDATE", f"projects:{project(1)}", '{"points":200}')
    assert board.recomputed() and board.last[0] == ["Project 01", 200]


def test_another_events_project(client, board):
    told(client, project(2), points=500)
    assert not board.recomputed()


def test_a_project_joins(client, board):
    told(client, project(2), event=[event(2)])
    assert board.recomputed() and "Project 02" in [name for name, _ in board.last]


def test_a_project_leaves(client, board):
    told(client, project(1), event=[event(3)])
    assert board.recomputed() and "Project 01" not in [name for name, _ in board.last]


def test_a_project_is_gone(client, board, world):
    world.delete("projects", project(1))
    client.call("PODIUM.TOMBSTONE", f"projects:{project(1)}")
    assert board.recomputed() and len(board.last) == 6


def test_a_project_is_created(client, board):
    client.call("PODIUM.CREATE", "projects:*", json.dumps({"name": "New", "points": 1000, "event": [event(2)]}))
    assert board.recomputed() and board.last[0] == ["New", 1000]


def test_a_vote_that_touches_nothing_it_used(client, board, world):
    client.call("PODIUM.UPSERT", f"votes:{vote(3)}", json.dumps({"id": vote(3), "voter": [user(3)], "project": [project(3)], "event": [event(1)]}))
    client.call("PODIUM.UPSERT", f"users:{user(1)}", json.dumps({"id": user(1), "email": "x@example.com"}))
    assert not board.recomputed()


def test_del_of_a_record_by_a_user(client, board, world):
    client.call("DEL", f"projects:{project(1)}")
    assert not board.recomputed(), "it was looked at, and is the same"
    world.change("projects", project(1), points=300)
    client.call("DEL", f"projects:{project(1)}")
    assert board.recomputed() and board.last[0] == ["Project 01", 300]


def test_invalidate_of_the_set(client, board, world):
    world.change("projects", project(1), points=300)
    client.call("PODIUM.INVALIDATE", INDEX)
    assert board.recomputed() and board.last[0] == ["Project 01", 300]


def test_flushall(client, board):
    client.call("FLUSHALL")
    assert board.recomputed()


def test_another_spec(client, board):
    spec = json.loads(client.call("PODIUM.SPEC", "GET", "projects"))
    client.call("PODIUM.SPEC", "SET", "projects", json.dumps({"schema": {"type": "object", "properties": {
        "name": {"type": "string"}, "points": {"type": "integer", "default": 0, "sortable": True}, "event": {"type": "array", "maxItems": 1, "items": {"type": "string", "pattern": "^rec"}}}}}))
    assert spec and board.recomputed()


def test_the_feed(client, fed, board, world, server):
    now(client)
    board.shown()
    world.change("projects", project(1), points=100)
    now(client)
    assert board.recomputed() and board.last[0] == ["Project 01", 100]
    world.change("projects", project(2), event=[event(2)])
    now(client)
    assert board.recomputed() and len(board.last) == 8
    world.delete("projects", project(1))
    now(client)
    assert board.recomputed() and len(board.last) == 7


def test_an_unrelated_edit_in_a_busy_base(client, fed, board, world):
    """Every payload puts records in doubt. They are looked at, and the board is a hit again."""
    now(client)
    board.shown()
    ids(client, "items:group:g1")
    get(client, f"projects:{project(2)}")
    board.computed = 0
    for n in range(10):
        world.change("items", item(1 + n), name=f"edit {n}")
        world.change("projects", project(2), description=f"edit {n}")
        world.change("projects", project(3), points=n)
        now(client)
        assert not board.recomputed(), n
    world.change("projects", project(1), points=77)
    now(client)
    assert board.recomputed() and board.last[0] == ["Project 01", 77]


def test_a_record_and_its_absence(client, lease, world):
    absent = "projects:recAbsent00000001"
    _, token = lease()
    assert get(client, absent, "FOR", token) is None
    assert fill(client, "page:a", "v", token) == 1
    client.call("PODIUM.INVALIDATE", absent)
    assert lease() == [b"v", None], "it is absent still"
    client.call("PODIUM.UPSERT", absent, json.dumps({"name": "New", "event": []}))
    assert lease()[0] is None


def test_an_empty_set(client, lease, world):
    _, token = lease()
    assert ids(client, "items:group:nobody", "FOR", token) == []
    assert fill(client, "page:a", "v", token) == 1
    world.change("items", item(1), group="nobody")
    client.call("PODIUM.INVALIDATE", f"items:{item(1)}")
    assert lease()[0] is None


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "cold"])
@pytest.mark.parametrize("read,other", [
    (("PODIUM.GET", f"items:{item(1)}"), item(3)), (("PODIUM.MGET", 2, f"items:{item(1)}", f"items:{item(2)}"), item(3)),
    (("PODIUM.INDEX", "items:group:g1", "COUNT"), item(3)), (("PODIUM.INDEX", "items:group:g1", "IDS"), item(3)), (("PODIUM.INDEX", "items:group:g1", "SORT", "n", "LIMIT", 0, 5), item(3)),
    (("PODIUM.INTER", 1, "items:group:g1"), item(3)), (("PODIUM.INDEX", "items:*"), None)], ids=lambda v: " ".join(map(str, v[:1] + v[2:])) if isinstance(v, tuple) else "")
def test_for_on_every_read(client, lease, world, read, other, cached):
    if cached:
        client.call(*read)
    _, token = lease()
    client.call(*read, "FOR", token)
    assert fill(client, "page:a", "v", token) == 1
    assert lease() == [b"v", None]
    if other:
        client.call("PODIUM.UPSERT", f"items:{other}", json.dumps({"id": other, "name": "x", "group": "g3"}))
        assert lease() == [b"v", None]
    before = get(client, f"items:{item(1)}")
    client.call("PODIUM.UPSERT", f"items:{item(1)}", json.dumps(before))
    assert lease() == [b"v", None], "the same content"
    client.call("PODIUM.UPSERT", f"items:{item(1)}", json.dumps({**before, "name": "changed", "group": "g2"}))
    assert lease()[0] is None


@pytest.mark.parametrize("when,stored", [("before", 1), ("between", 0)])
def test_a_change_during_the_computation(client, lease, world, when, stored):
    key = f"items:{item(1)}"
    _, token = lease()
    if when == "between":
        get(client, key, "FOR", token)
    client.call("PODIUM.UPSERT", key, json.dumps({"id": item(1), "name": "changed", "group": "g1"}))
    if when == "before":
        get(client, key, "FOR", token)
    assert fill(client, "page:a", "v", token) == stored


def test_a_change_of_what_is_only_named(client, lease, world):
    key = f"items:{item(1)}"
    get(client, key)
    _, token = lease()
    client.call("PODIUM.UPSERT", key, json.dumps({"id": item(1), "name": "changed", "group": "g1"}))
    assert fill(client, "page:a", "v", token, "USED", 1, key) == 0, "what it read before the change is not known"


def test_a_token_that_is_over_changes_nothing_about_a_read(client, lease, world):
    assert get(client, f"items:{item(1)}", "FOR", "0" * 16)["n"] == 1
    assert get(client, f"items:{item(1)}", "FOR", "nonsense")["n"] == 1


def test_an_answer_made_of_answers(client, lease, world):
    _, token = lease("page:part")
    get(client, f"items:{item(1)}", "FOR", token)
    assert fill(client, "page:part", "part", token) == 1
    _, token = lease()
    assert client.call("PODIUM.GET", "page:part", "FOR", token) == b"part"
    assert fill(client, "page:a", "whole", token) == 1
    assert lease() == [b"whole", None]
    client.call("PODIUM.UPSERT", f"items:{item(1)}", '{"name":"changed"}')
    assert lease("page:a", "CACHEONLY") == [None, None] and lease("page:part", "CACHEONLY") == [None, None]


def test_a_cycle_is_harmless(client, lease):
    for key, other in (("page:x", "page:y"), ("page:y", "page:x"), ("page:x", "page:y"), ("page:z", "page:z")):
        _, token = lease(key, "NOCACHE")
        assert fill(client, key, key, token, "USED", 1, other) == 1
    assert client.call("PODIUM.INVALIDATE", "page:y") >= 1
    assert lease("page:x", "CACHEONLY") == [None, None] and lease("page:z") == [b"page:z", None]


def test_doubt_during_the_computation(client, lease, world):
    """Whether it is another by then is not known: it is not stored."""
    key = f"items:{item(1)}"
    _, token = lease()
    get(client, key, "FOR", token)
    client.call("PODIUM.INVALIDATE", key)
    assert fill(client, "page:a", "v", token) == 0
    _, token = lease()
    get(client, key, "FOR", token)
    client.call("PODIUM.INVALIDATE", key)
    get(client, key)
    assert fill(client, "page:a", "v", token) == 1, "it was looked at, and is the same"


def test_who_waits_is_not_given_what_is_in_doubt(client, server, lease, world):
    """The set's records come into doubt while it is computed: who waits is answered when that is settled."""
    for what, value in (("same", b"v"), ("other", None)):
        _, token = lease("page:a", "NOCACHE")
        ids(client, "items:group:g1", "FOR", token)
        if what == "other":
            world.change("items", item(2), group="g1")
            client.call("PODIUM.INVALIDATE", "page:a")
            _, token = lease("page:a", "NOCACHE")
            ids(client, "items:group:g1", "FOR", token)
            world.change("items", item(3), group="g1")
        other = server.client()
        if what == "same":
            client.call("PODIUM.INVALIDATE", "page:a")
            _, token = lease()
            ids(client, "items:group:g1", "FOR", token)
        other.send("PODIUM.LEASE", "page:a")
        blocked(server, 1)
        client.call("PODIUM.INVALIDATE", f"items:{item(3)}")
        assert fill(client, "page:a", "v", token) == 1
        got = other.read()
        assert got[0] == value and bool(got[1]) == (value is None), (what, got)


@pytest.mark.parametrize("read", [
    ("PODIUM.INTER", 2, "projects:event:" + event(2), "projects:stage:build"), ("PODIUM.INTER", 2, "projects:stage:build", "projects:event:" + event(2), "COUNT"),
    ("PODIUM.INDEX", INDEX, "LIMIT", 0, 3), ("PODIUM.INDEX", INDEX, "LIMIT", 1, 2, "IDS"), ("PODIUM.INDEX", "projects:*", "LIMIT", 0, 3)], ids=lambda r: " ".join(map(str, r[:1] + r[3:])))
@pytest.mark.parametrize("cached", ["nothing", "one set", "all sets"])
def test_what_it_fetched_itself_is_current(client, lease, world, read, cached):
    """What a read FOR the token waited for is known by then: it refuses no FILL, and a set that comes anew and is the same is no change."""
    sets = [key for key in read if isinstance(key, str) and key.startswith("projects:")]
    for key in {"nothing": [], "one set": sets[:1], "all sets": sets}[cached]:
        client.call("PODIUM.INDEX", key)
    _, token = lease()
    client.call(*read, "FOR", token)
    assert fill(client, "page:a", "v", token) == 1
    if cached == "all sets" or len(sets) == 1:
        # (Of a set that was not known, who is in it is news.)
        for key in sets:
            client.call("PODIUM.INDEX", key, "NOCACHE")
    assert lease() == [b"v", None], "nothing changed"
    inside = client.call(*[word for word in read if word not in ("COUNT", "IDS")], "IDS")[0].decode()
    world.change("projects", inside, event=[event(1)])
    for key in sets:
        client.call("PODIUM.INDEX", key, "NOCACHE")
    assert lease()[0] is None, "a record in it is another"
