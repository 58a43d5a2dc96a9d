"""Contract sections 2 and 3: a DEL that finds no copy while a question is under way takes nothing from what the question brings,
whatever older the cache holds of the record."""

from __future__ import annotations

import pytest

from asking import get, ids
from support import text
from test_stale_sets import under_way  # noqa: F401 (a fixture)
from world import item

NEW = item(901)


def plainly(client, key):
    assert client.call("DEL", key) == 0


def in_exec(client, key):
    client.call("MULTI")
    client.call("UNLINK", key)
    assert client.call("EXEC") == [0]


def in_another_database(client, key):
    client.call("SELECT", 1)
    assert client.call("DEL", key) == 0
    client.call("SELECT", 0)


@pytest.mark.parametrize("dels", [plainly, in_exec, in_another_database])
@pytest.mark.parametrize("question, options", [("items:group:new", ()), ("items:group:new", ("NOCACHE",)), ("items:*", ())])
def test_a_record_that_was_gone_before_is_in_the_answer(under_way, client, world, dels, question, options):  # noqa: F811
    """Its tombstone is of before the question."""
    assert get(client, f"items:{NEW}") is None
    world.create("items", NEW, name="new", n=901, group="new")
    reader = under_way("PODIUM.INDEX", question, "IDS", *options)
    dels(client, f"items:{NEW}")
    assert NEW in text(reader.read()), "who asked before"
    assert NEW in ids(client, question), "who asks after"
    assert NEW in ids(client, question, "CACHEONLY"), "and the set that is kept"
    assert NEW in ids(client, "items:group:new")


@pytest.mark.parametrize("question", ["items:group:g1", "items:*"])
def test_a_record_that_left_a_set_is_not_put_back_by_its_older_copy(under_way, client, world, question):  # noqa: F811
    key = f"items:{item(1)}"
    assert get(client, key)["group"] == "g1"
    world.change("items", item(1), group="new")
    reader = under_way("PODIUM.INDEX", question, "IDS", "NOCACHE")
    in_another_database(client, key)
    reader.read()
    assert item(1) not in ids(client, "items:group:g1")
    assert item(1) in ids(client, "items:group:new")
