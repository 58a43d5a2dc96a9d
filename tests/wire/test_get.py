"""docs/promises.md, section 2: PODIUM.GET, and the options of every read."""

from __future__ import annotations

import pytest

from asking import get, meta
from support import ReplyError, eventually, text
from world import ABSENT, event, item, project, user


def test_a_miss_fetches_and_the_next_read_hits(client, world):
    key = f"events:{event(1)}"
    assert get(client, key) == {"id": event(1), "slug": "event-1", "name": "Event 1", "open": True, "owner": [user(1)]}
    assert world.airtable.count() == 1
    assert get(client, key)["slug"] == "event-1"
    assert world.airtable.count() == 1
    assert client.call("EXISTS", key) == 1, "the record is stored under the key's own name"


def test_id_comes_first_and_the_json_is_flat(client):
    assert client.call("PODIUM.GET", f"events:{event(1)}").startswith(b'{"id":"' + event(1).encode() + b'"')


def test_what_does_not_exist_is_null_and_remembered(client, world):
    assert client.call("PODIUM.GET", f"events:{ABSENT}") is None
    calls = world.airtable.count()
    assert client.call("PODIUM.GET", f"events:{ABSENT}") is None
    assert world.airtable.count() == calls
    assert client.call("EXISTS", f"tomb:events:{ABSENT}") == 1
    assert 21500 <= client.call("TTL", f"tomb:events:{ABSENT}") <= 21600


def test_a_record_of_another_table_is_absent(client):
    assert client.call("PODIUM.GET", f"events:{project(1)}") is None


@pytest.mark.parametrize("key", [
    "events", "events:", ":", "", "events:notanid", "events:rec", "events:rec!", f"events:{event(1)}:x", "events:slug:x", "events:*", "*", f"tomb:events:{event(1)}",
    "podium:spec", "events:rec" + "a" * 62, f" events:{event(1)}", "events:rec\x00abc", "events:rec\r\nabc", "events:rec%s%n",
])
def test_a_key_that_names_no_record_is_badkey_before_any_call(client, world, key):
    error = client.error("PODIUM.GET", key)
    assert error.code == "BADKEY", error.text
    assert world.airtable.count() == 0


def test_views_and_the_default_view(client):
    key = f"users:{user(3)}"
    public = {"id": user(3), "display_name": "User 3", "points": 0}
    assert get(client, key) == public
    assert get(client, key, "VIEW", "public") == public
    assert get(client, key, "VIEW", "contact") == {"id": user(3), "email": "user3@example.com", "display_name": "User 3"}
    whole = get(client, key, "VIEW", "*")
    assert whole == {"id": user(3), "email": "user3@example.com", "display_name": "User 3", "is_admin": False, "points": 0, "avatar": []}
    assert client.error("PODIUM.GET", key, "VIEW", "nope").code == "NOVIEW"


def test_nocache_fetches_now_answers_with_that_and_stores_it(client, world):
    key = f"events:{event(1)}"
    get(client, key)
    world.change("events", event(1), name="Renamed")
    assert get(client, key)["name"] == "Event 1"
    assert get(client, key, "NOCACHE")["name"] == "Renamed"
    world.airtable.forget()
    assert get(client, key)["name"] == "Renamed"
    assert world.airtable.count() == 0


def test_nocache_of_a_record_that_is_gone_leaves_a_tombstone(client, world):
    key = f"items:{item(1)}"
    get(client, key)
    world.delete("items", item(1))
    assert get(client, key, "NOCACHE") is None
    world.airtable.forget()
    assert get(client, key) is None and world.airtable.count() == 0


def test_cacheonly_never_goes_upstream(client, world):
    key = f"events:{event(1)}"
    assert get(client, key, "CACHEONLY") is None
    assert world.airtable.count() == 0
    get(client, key)
    assert get(client, key, "CACHEONLY")["slug"] == "event-1"


def test_maxage_refetches_an_older_copy(client, world):
    key = f"events:{event(1)}"
    get(client, key)
    world.airtable.forget()
    get(client, key, "MAXAGE", "60")
    assert world.airtable.count() == 0
    eventually(5, "the copy is a second old", lambda: meta(client, "PODIUM.GET", key)["age"] >= 1)
    world.change("events", event(1), name="Renamed")
    assert get(client, key, "MAXAGE", "0")["name"] == "Renamed"
    assert world.airtable.count() == 1


def test_nowait_answers_wouldblock_and_fetches_behind(client, world):
    key = f"events:{event(1)}"
    assert client.error("PODIUM.GET", key, "NOWAIT").code == "WOULDBLOCK"
    eventually(5, "the fetch behind lands", lambda: get(client, key, "CACHEONLY"))
    assert get(client, key, "NOWAIT")["slug"] == "event-1"
    assert world.airtable.count() == 1


def test_options_in_any_order_and_any_case(client):
    key = f"users:{user(1)}"
    first = client.call("PODIUM.GET", key, "VIEW", "contact", "MAXAGE", "100", "META")[0]
    assert client.call("podium.get", key, "meta", "maxage", "100", "view", "contact")[0] == first


@pytest.mark.parametrize("options", [
    ("BOGUS",), ("VIEW",), ("MAXAGE",), ("MAXAGE", "-1"), ("MAXAGE", "x"), ("MAXAGE", "1.5"), ("MAXAGE", "99999999999999999999"), ("NOCACHE", "NOCACHE"), ("META", "META"),
    ("VIEW", "public", "VIEW", "public"), ("NOCACHE", "CACHEONLY"), ("NOCACHE", "NOWAIT", "CACHEONLY"), ("SORT", "points"), ("LIMIT", "0", "1"), ("IDS",), ("COUNT",), ("",),
    ("NOCACHE", "MAXAGE", "1", "MAXAGE", "2"),
])
def test_unknown_repeated_or_contradictory_options_are_a_syntax_error(client, world, options):
    error = client.error("PODIUM.GET", f"users:{user(1)}", *options)
    assert error.code == "ERR", error.text
    assert world.airtable.count() == 0


def test_enabled_no_is_a_bypass_that_neither_reads_nor_stores(client, world):
    key = f"events:{event(1)}"
    get(client, key)
    world.change("events", event(1), name="Renamed")
    client.call("CONFIG", "SET", "podium.enabled", "no")
    world.airtable.forget()
    assert get(client, key)["name"] == "Renamed"
    assert meta(client, "PODIUM.GET", key)["cache"] == "BYPASS"
    assert get(client, f"events:{event(2)}")["slug"] == "event-2"
    assert world.airtable.count() == 3
    assert client.call("EXISTS", f"events:{event(2)}") == 0
    client.call("CONFIG", "SET", "podium.enabled", "yes")
    assert get(client, key)["name"] == "Event 1", "the copy from before was not overwritten"


def test_a_foreign_value_under_our_key_is_wrongtype(client):
    key = f"events:{event(1)}"
    for store in (("SET", key, "foreign"), ("HSET", key, "a", "b"), ("LPUSH", key, "x"), ("SET", key, "")):
        client.call("DEL", key)
        client.call(*store)
        assert client.error("PODIUM.GET", key).code == "WRONGTYPE", store
    client.call("DEL", key)
    get(client, f"events:{event(2)}")
    client.call("RENAME", f"events:{event(2)}", key)
    assert client.error("PODIUM.GET", key).code == "WRONGTYPE", "a renamed body is not the record of its new name"


def test_a_user_may_delete_and_expire_our_keys(client, world):
    key = f"events:{event(1)}"
    get(client, key)
    assert client.call("DEL", key) == 1
    world.airtable.forget()
    assert get(client, key)["slug"] == "event-1"
    assert world.airtable.count() == 1
    client.call("PEXPIRE", key, "1")
    eventually(5, "the key is gone", lambda: client.call("EXISTS", key) == 0)
    assert get(client, key)["slug"] == "event-1"
    assert world.airtable.count() == 2


def test_pipelined_reads_are_answered_in_order(client):
    keys = [f"items:{item(n)}" for n in range(1, 60)]
    replies = client.pipeline([("PODIUM.GET", key) for key in keys] + [("PING",)])
    assert not any(isinstance(reply, ReplyError) for reply in replies)
    assert [text(reply)[7:24] for reply in replies[:-1]] == [key.split(":")[1] for key in keys]
    assert replies[-1] == "PONG"
