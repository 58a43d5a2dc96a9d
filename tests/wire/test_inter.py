"""docs/promises.md, section 2: PODIUM.INTER."""

from __future__ import annotations

import pytest

from asking import ids
from support import mapping, text
from world import event, project, user


def inter(client, *words):
    return text(client.call("PODIUM.INTER", *words))


def where(world, keep):
    return sorted(id for id, cells in world.truth("projects").items() if keep(cells))


def test_the_records_that_are_in_all_of_them(client, world):
    a, b = f"projects:event:{event(2)}", "projects:stage:build"
    expected = where(world, lambda c: c["event"] == [event(2)] and c.get("stage") == "build")
    assert inter(client, 2, a, b, "IDS") == expected and expected
    calls = world.airtable.count()
    assert calls == 1, "cold: one complete set, the rest checked on its members"
    assert inter(client, 2, a, b, "IDS") == expected
    assert world.airtable.count() == calls


def test_warm_sets_cost_no_call(client, world):
    a, b, c = f"projects:event:{event(2)}", "projects:stage:build", f"projects:owner:{user(2)}"
    sets = [set(ids(client, key)) for key in (a, b, c)]
    world.airtable.forget()
    assert inter(client, 3, a, b, c, "IDS") == sorted(set.intersection(*sets))
    assert world.airtable.count() == 0


def test_one_set_is_index(client):
    key = f"projects:event:{event(2)}"
    assert client.call("PODIUM.INTER", 1, key) == client.call("PODIUM.INDEX", key)


def test_sort_limit_count_and_views(client, world):
    a, b = f"projects:event:{event(2)}", "projects:stage:build"
    rows = world.truth("projects")
    members = where(world, lambda c: c["event"] == [event(2)] and c.get("stage") == "build")
    by_points = sorted(members, key=lambda id: (-rows[id].get("points", 0), id))
    assert inter(client, 2, a, b, "SORT", "points", "DESC", "IDS") == by_points
    assert inter(client, 2, a, b, "SORT", "points", "DESC", "LIMIT", 1, 1, "IDS") == by_points[1:2]
    assert client.call("PODIUM.INTER", 2, a, b, "COUNT") == len(members)


def test_disjoint_sets(client):
    assert client.call("PODIUM.INTER", 2, "projects:stage:build", "projects:stage:done") == []


def test_the_same_set_twice(client, world):
    assert inter(client, 2, "projects:stage:done", "projects:stage:done", "IDS") == where(world, lambda c: c.get("stage") == "done")


def test_meta_joins_the_keys(client):
    a, b = f"projects:event:{event(2)}", "projects:stage:build"
    m = mapping(client.call("PODIUM.INTER", 2, a, b, "META")[1])
    assert text(m["key"]) == f"{a} {b}" and text(m["cache"]) == "MISS"
    assert text(mapping(client.call("PODIUM.INTER", 2, a, b, "META")[1])["cache"]) == "HIT"


@pytest.mark.parametrize("words, code", [
    ((), "ERR"), (("0",), "ERR"), (("2", "projects:stage:build"), "ERR"), (("1", "projects:stage:build", "projects:stage:done"), "ERR"), (("01", "projects:stage:build"), "ERR"),
    (("2", "projects:stage:build", "events:slug:x"), "ERR|BADKEY"), (("2", "projects:stage:build", f"projects:{project(1)}"), "BADKEY"),
    (("2", "projects:stage:build", "projects:name:x"), "NOINDEX"), (("1", "projects:stage:build", "SORT", "tags"), "NOSORT"),
])
def test_bad_input_is_refused_before_any_call(client, world, words, code):
    assert client.error("PODIUM.INTER", *words).code in code.split("|")
    assert world.airtable.count() == 0


def test_too_big(client):
    client.call("CONFIG", "SET", "podium.max-answer", "2")
    assert client.error("PODIUM.INTER", 1, "projects:stage:build").code == "TOOBIG"
