"""docs/promises.md, section 2: where a command may not wait."""

from __future__ import annotations

import json

import pytest

from asking import get
from support import ReplyError, eventually
from world import event, item

KEY = f"events:{event(1)}"


def in_multi(client, *commands):
    client.call("MULTI")
    for command in commands:
        assert client.call(*command) == "QUEUED"
    return client.call("EXEC")


def lands(client, key):
    eventually(5, f"{key} is fetched behind", lambda: get(client, key, "CACHEONLY"))


def test_multi_answers_a_hit_and_starts_the_fetch_of_a_miss(client, world):
    miss, pong = in_multi(client, ("PODIUM.GET", KEY), ("PING",))
    assert isinstance(miss, ReplyError) and miss.code == "WOULDBLOCK" and pong == "PONG"
    lands(client, KEY)
    hit, = in_multi(client, ("PODIUM.GET", KEY))
    assert json.loads(hit)["slug"] == "event-1"
    assert world.airtable.count() == 1


def test_multi_with_mget_index_and_inter(client):
    commands = [("PODIUM.MGET", 2, f"items:{item(1)}", f"items:{item(2)}"), ("PODIUM.INDEX", "items:group:g1", "COUNT"), ("PODIUM.INTER", 1, "items:group:g2", "COUNT")]
    first = in_multi(client, *commands)
    codes = [reply.code if isinstance(reply, ReplyError) else [getattr(item, "code", None) for item in reply] for reply in first]
    assert codes[1:] == ["WOULDBLOCK", "WOULDBLOCK"] and ("WOULDBLOCK" == codes[0] or "WOULDBLOCK" in codes[0]), first
    eventually(5, "the fetches land", lambda: not any(isinstance(reply, ReplyError) for reply in in_multi(client, *commands)))
    again = in_multi(client, *commands)
    assert len(again[0]) == 2 and again[1] == 40 and again[2] == 40


def test_what_is_told_works_in_multi(client, world):
    get(client, f"items:{item(2)}")
    replies = in_multi(client, ("PODIUM.UPSERT", f"items:{item(1)}", '{"name":"told"}'), ("PODIUM.GET", f"items:{item(1)}"), ("PODIUM.INVALIDATE", f"items:{item(2)}"),
                       ("PODIUM.TOMBSTONE", f"items:{item(3)}"), ("PODIUM.GET", f"items:{item(3)}"))
    assert replies[0] == 1 and json.loads(replies[1])["name"] == "told" and replies[2:] == [1, 0, None]


def test_other_commands_that_would_go_upstream_do_nothing(client, world):
    get(client, f"items:{item(1)}")
    world.delete("items", item(1))
    world.airtable.forget()
    reply, = in_multi(client, ("PODIUM.SWEEP", "items:*"))
    assert reply.code == "WOULDBLOCK"
    assert world.airtable.count() == 0
    assert get(client, f"items:{item(1)}", "CACHEONLY") is not None


def test_nocache_and_maxage_in_multi(client, world):
    get(client, KEY)
    reply, cached = in_multi(client, ("PODIUM.GET", KEY, "NOCACHE"), ("PODIUM.GET", KEY, "MAXAGE", "100"))
    assert reply.code == "WOULDBLOCK" and json.loads(cached)["slug"] == "event-1"


@pytest.mark.parametrize("call", ["redis.call", "redis.pcall", "server.call"])
def test_lua(client, call):
    script = f"return {call}('PODIUM.GET', KEYS[1])"
    assert "WOULDBLOCK" in client.error("EVAL", script, 1, KEY).text
    lands(client, KEY)
    assert json.loads(client.call("EVAL", script, 1, KEY))["slug"] == "event-1"


def test_functions(client):
    client.call("FUNCTION", "LOAD", "REPLACE", "#!lua name=wire\nserver.register_function{function_name='podium_get', callback=function(keys) "
                                              "return server.pcall('PODIUM.GET', keys[1]) end, flags={'no-writes'}}")
    assert "WOULDBLOCK" in client.error("FCALL", "podium_get", 1, KEY).text
    lands(client, KEY)
    assert json.loads(client.call("FCALL", "podium_get", 1, KEY))["slug"] == "event-1"


def test_meta_in_lua_and_multi(client):
    get(client, KEY)
    reply, = in_multi(client, ("PODIUM.GET", KEY, "META"))
    assert json.loads(reply[0])["slug"] == "event-1"
    assert len(client.call("EVAL", "return redis.call('PODIUM.GET', KEYS[1], 'META')", 1, KEY)) == 2


def test_exec_after_watch_of_a_filled_key(server, client):
    """A fill of a key that a client watches is no surprise to it unless something was there that differs."""
    get(client, KEY)
    client.call("WATCH", KEY)
    other = server.client()
    other.call("PODIUM.INVALIDATE", KEY)
    assert in_multi(client, ("PING",)) is None, "a watched record was invalidated"


def test_an_error_before_any_call_stays_what_it_is(client):
    reply, = in_multi(client, ("PODIUM.GET", "events:nope"))
    assert reply.code == "BADKEY"
