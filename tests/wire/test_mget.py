"""docs/promises.md, section 2: PODIUM.MGET."""

from __future__ import annotations

import pytest

from asking import get, mget
from support import mapping, text
from world import ABSENT, event, item, project, user


def test_the_order_asked_of_any_entities_null_where_absent(client, world):
    keys = [f"projects:{project(2)}", f"events:{event(1)}", f"events:{ABSENT}", f"projects:{project(1)}", f"users:{user(1)}"]
    found = mget(client, keys)
    assert [record and record["id"] for record in found] == [project(2), event(1), None, project(1), user(1)]
    assert "email" not in found[4], "each in its entity's default view"
    calls = world.airtable.count()
    assert calls == 3, "one call for each of the three tables"
    assert mget(client, keys) == found
    assert world.airtable.count() == calls


def test_the_same_key_twice(client, world):
    key = f"events:{event(1)}"
    first, second = mget(client, [key, key])
    assert first == second and first["id"] == event(1)
    assert world.airtable.count() == 1


def test_hits_and_misses_mixed_fetch_only_what_is_missing(client, world):
    for n in (1, 3):
        get(client, f"items:{item(n)}")
    world.airtable.forget()
    assert [r["n"] for r in mget(client, [f"items:{item(n)}" for n in range(1, 6)])] == [1, 2, 3, 4, 5]
    assert world.airtable.count() == 1


def test_three_hundred_ids_in_one_command_are_three_calls(client, world):
    found = mget(client, [f"items:{item(n)}" for n in range(1, 301)])
    assert [record["n"] for record in found] == list(range(1, 301))
    assert world.airtable.count() == 3


def test_options_apply_to_all(client):
    keys = [f"users:{user(1)}", f"users:{user(2)}"]
    assert mget(client, keys, "CACHEONLY") == [None, None]
    assert [set(r) for r in mget(client, keys, "VIEW", "contact")] == [{"id", "email", "display_name"}] * 2
    assert client.error("PODIUM.MGET", 2, f"users:{user(1)}", f"events:{event(1)}", "VIEW", "contact").code == "NOVIEW"


def test_nowait_marks_what_is_missing(client):
    get(client, f"items:{item(1)}")
    reply = client.attempt("PODIUM.MGET", 2, f"items:{item(1)}", f"items:{item(2)}", "NOWAIT")
    codes = [getattr(value, "code", None) for value in reply] if isinstance(reply, list) else [reply.code]
    assert "WOULDBLOCK" in codes, reply


def test_what_is_refused_names_the_key_that_lacks(client):
    get(client, f"items:{item(1)}")
    assert item(2) in str(client.error("PODIUM.MGET", 3, f"items:{item(1)}", f"items:{item(2)}", f"items:{item(3)}", "NOWAIT"))


def test_meta_pairs_and_calls_counted_once(client):
    get(client, f"items:{item(1)}")
    reply = client.call("PODIUM.MGET", 4, f"items:{item(1)}", f"items:{item(2)}", f"items:{item(3)}", f"items:{ABSENT}", "META")
    metas = [mapping(pair[1]) for pair in reply]
    assert [text(m["cache"]) for m in metas] == ["HIT", "MISS", "MISS", "MISS"]
    assert [m["airtable-hits"] for m in metas] == [0, 1, 0, 0], "a call counts in the first pair it served"
    assert [text(m["key"]) for m in metas] == [f"items:{item(1)}", f"items:{item(2)}", f"items:{item(3)}", f"items:{ABSENT}"]
    assert reply[3][0] is None


@pytest.mark.parametrize("words", [
    (), ("0",), ("1",), ("-1", "K1"), ("2", "K1"), ("x", "K1"), ("01", "K1"), ("+1", "K1"), ("1.0", "K1"), (" 1", "K1"), ("18446744073709551617", "K1"), ("1", "K1", "K2"),
    ("1", "K1", "BOGUS"), ("1001", *["K1"] * 1001),
])
def test_a_bad_count_or_option_is_refused_before_any_call(client, world, words):
    keys = {"K1": f"items:{item(1)}", "K2": f"items:{item(2)}"}
    error = client.error("PODIUM.MGET", *[keys.get(word, word) for word in words])
    assert error.code in ("ERR", "TOOBIG"), error.text
    assert world.airtable.count() == 0


def test_one_bad_key_refuses_the_command_before_any_call(client, world):
    assert client.error("PODIUM.MGET", 2, f"items:{item(1)}", "items:nope").code == "BADKEY"
    assert client.error("PODIUM.MGET", 2, f"items:{item(1)}", f"ghosts:{item(1)}").code == "NOENTITY"
    assert world.airtable.count() == 0


def test_a_thousand_keys(client, world):
    found = mget(client, [f"items:{item(n)}" for n in range(1, 1001)])
    assert sum(record is not None for record in found) == 400
    assert world.airtable.count() == 10
