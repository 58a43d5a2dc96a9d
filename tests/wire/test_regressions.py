"""Faults that were found by review: each test shows one."""

from __future__ import annotations

import json
import time

import pytest

from asking import cells, get, ids, index, meta, spec
from support import ReplyError, blocked, eventually, mapping, text
from world import ABSENT, SPECS, define, event, item, project, rid, user, vote


@pytest.fixture
def tracker(server, client):
    tracker = server.client(3)
    tracker.call("CLIENT", "TRACKING", "ON")
    return tracker


def names(tracker, within=0.3):
    tracker.call("PING")
    return [name for push in tracker.poll_pushes(within) for name in (text(push[1]) or ["(all)"])]


def asked(world, count=1):
    """Waits until so many calls have reached Airtable."""
    eventually(5, f"{count} calls", lambda: world.airtable.count() >= count)


# What is told ---------------------------------------------------------------------------------------------------


def test_a_set_that_expired_while_it_was_asked_anew_is_kept_up(server, client, world):
    """The old set's key ran out during the refetch: the new one must still follow what is told."""
    client.call("CONFIG", "SET", "podium.empty-ttl", "1")
    client.call("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    try:
        assert ids(client, "events:slug:soon") == []
        client.call("CONFIG", "SET", "podium.empty-ttl", "30")
        world.airtable.latency(1500)
        assert ids(client, "events:slug:soon", "NOCACHE") == []
        world.airtable.latency(0)
        client.call("PODIUM.UPSERT", f"events:{event(1)}", cells(event(1), slug="soon", name="now"))
        assert ids(client, "events:slug:soon") == [event(1)]
    finally:
        client.call("DEBUG", "SET-ACTIVE-EXPIRE", "1")


def test_more_doubt_than_is_kept_outdates_the_questions_under_way(server, client, world):
    world.airtable.latency(1500)
    asking = server.client()
    asking.send("PODIUM.INDEX", "items:group:g1", "COUNT")
    asked(world)
    for start in range(0, 1100, 100):
        client.call("PODIUM.INVALIDATE", *(f"items:{rid('itm', n)}" for n in range(1 + start, 101 + start)))
    assert asking.read() == 40
    world.airtable.latency(0)
    assert client.call("PODIUM.INDEX", "items:group:g1", "COUNT") == 40


def test_a_record_that_comes_back_to_its_value_comes_back_to_its_set(client, world):
    get(client, f"items:{item(1)}")
    world.change("items", item(1), group="elsewhere")
    assert item(1) not in ids(client, "items:group:g1")
    world.change("items", item(1), group="g1")
    assert get(client, f"items:{item(1)}", "NOCACHE")["group"] == "g1"
    assert item(1) in ids(client, "items:group:g1")


def test_inter_holds_no_record_that_one_of_its_sets_excludes(client, world):
    assert event(1) in ids(client, "events:open:true")
    world.change("events", event(1), slug="renamed")
    assert ids(client, "events:slug:event-1") == []
    assert text(client.call("PODIUM.INTER", 2, "events:slug:event-1", "events:open:true", "IDS")) == []
    world.change("events", event(3), open=None)
    assert event(3) not in ids(client, "events:open:true", "NOCACHE")


def test_inter_follows_the_newer_of_two_sets(client, world):
    """items g1 and n are cached; a set asked later says that a record left: the intersection says so too."""
    spec(client, "items", {**SPECS["items"], "indexed": ["n"]})
    ids(client, "items:n:1")
    ids(client, "items:group:g1")
    world.change("items", item(1), group="elsewhere")
    assert item(1) not in ids(client, "items:group:g1", "NOCACHE")
    assert text(client.call("PODIUM.INTER", 2, "items:group:g1", "items:n:1", "IDS")) == []


def test_a_self_link_that_is_taken_away_does_not_drop_the_record_it_was_told_of(server, world):
    client = server.client()
    spec(client, "nodes", {"schema": {"type": "object", "properties": {"id": {"type": "string"}, "next": {"type": "array", "items": {"type": "string", "pattern": "^rec"}, "default": []}}}})
    a = rid("nod", 1)
    client.call("PODIUM.UPSERT", f"nodes:{a}", cells(a, next=[a]))
    assert client.call("PODIUM.UPSERT", f"nodes:{a}", cells(a, next=[])) == 1
    assert get(client, f"nodes:{a}", "CACHEONLY") == {"id": a, "next": []}


def test_the_answer_of_a_question_holds_what_was_told_while_it_was_asked_even_if_unstored(server, client, world):
    world.airtable.latency(800)
    first = server.client()
    first.send("PODIUM.INDEX", "items:group:g1", "IDS")
    asked(world)
    client.call("PODIUM.UPSERT", f"items:{item(2)}", cells(item(2), name="x", n=2, group="g1"))
    second = server.client()
    second.send("PODIUM.INDEX", "items:group:g1", "IDS")
    blocked(server, 2)
    client.call("DEL", "items:group:g1")
    world.airtable.latency(0)
    first.read()
    assert item(2) in text(second.read())


def test_del_in_a_transaction_counts_when_it_is_executed(server, client, world):
    key = f"items:{item(1)}"
    client.call("MULTI")
    client.call("DEL", key)
    world.airtable.latency(600)
    waiting = server.client()
    waiting.send("PODIUM.GET", key)
    asked(world)
    client.call("EXEC")
    waiting.read()
    assert client.call("PODIUM.GET", key, "CACHEONLY") is None


# Specs --------------------------------------------------------------------------------------------------------


def test_a_spec_set_while_a_fetch_is_queued_is_in_force_for_the_next_read(spawn, world):
    """The first read's call has not been sent yet: who asks after SPEC SET must not travel with it."""
    server = spawn({"rate-limit": 1})
    client = server.client()
    define(client, "users")
    open_spec = {"schema": SPECS["users"]["schema"]}
    spec(client, "users", open_spec)
    for n in (3, 4, 5):
        client.attempt("PODIUM.INDEX", f"users:email:nobody{n}@example.com", "NOWAIT")
    early = server.client()
    early.send("PODIUM.GET", f"users:{user(1)}")
    blocked(server, 1)
    spec(client, "users", SPECS["users"])
    late = server.client()
    late.send("PODIUM.GET", f"users:{user(1)}")
    answer = late.read(30)
    early.read(30)
    assert not isinstance(answer, ReplyError), answer
    assert "email" not in json.loads(answer), "the default view is the privacy line"


def test_an_index_asked_before_a_spec_changed_is_not_answered_by_another_field(server, client, world):
    """Fields are numbered anew by the changed spec."""
    world.airtable.latency(500)
    asking = server.client()
    asking.send("PODIUM.INDEX", "projects:stage:idea", "IDS")
    asked(world)
    properties = dict(reversed(SPECS["projects"]["schema"]["properties"].items()))
    spec(client, "projects", {**SPECS["projects"], "schema": {**SPECS["projects"]["schema"], "properties": properties}, "indexed": ["name"]})
    answer = asking.read()
    world.airtable.latency(0)
    if not isinstance(answer, ReplyError):
        truth = sorted(id for id, fields in world.truth("projects").items() if fields.get("stage") == "idea")
        assert text(answer) == truth


def test_more_fields_than_can_be_numbered_are_refused_or_kept_apart(client):
    properties = {"first": {"type": "string", "indexed": True}} | {f"f{n}": {} for n in range(70_000)} | {"last": {"type": "string", "indexed": True}}
    reply = client.attempt("PODIUM.SPEC", "SET", "wide", json.dumps({"schema": {"type": "object", "properties": properties}}))
    if isinstance(reply, ReplyError):
        assert reply.code == "BADSPEC"
        return
    client.call("PODIUM.UPSERT", f"wide:{item(1)}", cells(item(1), first="a", last="b", f0="zero", f65536="far"))
    assert get(client, f"wide:{item(1)}") .items() >= {"first": "a", "last": "b", "f0": "zero", "f65536": "far"}.items()
    client.call("PODIUM.SPEC", "DEL", "wide")


# Tracking -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["TOMBSTONE", "INVALIDATE"])
def test_who_read_an_index_is_told_of_a_member_whose_copy_is_gone(client, tracker, command):
    assert event(1) in ids(tracker, "events:open:true")
    client.call("DEL", f"events:{event(1)}")
    names(tracker)
    client.call(f"PODIUM.{command}", f"events:{event(1)}")
    assert "events:open:true" in names(tracker)


def test_who_read_a_tombstone_is_told_when_another_fetch_finds_the_record(server, client, tracker, world):
    key = f"events:{event(1)}"
    client.call("PODIUM.TOMBSTONE", key)
    world.airtable.latency(500)
    other = server.client()
    other.send("PODIUM.GET", key, "NOCACHE")
    asked(world)
    assert get(tracker, key) is None
    other.read()
    assert key in names(tracker)


# Lifetimes ------------------------------------------------------------------------------------------------------


def test_a_set_that_became_empty_lives_no_longer_than_an_empty_set(client, world):
    client.call("CONFIG", "SET", "podium.empty-ttl", "1")
    assert ids(client, "events:slug:event-1") == [event(1)]
    world.delete("events", event(1))
    client.call("PODIUM.TOMBSTONE", f"events:{event(1)}")
    assert ids(client, "events:slug:event-1") == []
    world.create("events", event(77), name="Successor", slug="event-1")
    eventually(5, "the successor", lambda: ids(client, "events:slug:event-1") == [event(77)])


def test_a_stale_member_of_a_fresh_set_is_served_while_airtable_fails(client, world):
    client.call("CONFIG", "SET", "podium.stale-if-error", "3600", "podium.attachment-ttl", "1")
    everybody = [r["id"] for r in index(client, "users:*")]
    eventually(5, "stale", lambda: meta(client, "PODIUM.GET", f"users:{user(1)}", "CACHEONLY")["cache"] == "MISS")
    world.airtable.status(503)
    assert meta(client, "PODIUM.GET", f"users:{user(1)}")["cache"] == "STALE"
    answer = client.call("PODIUM.INDEX", "users:*", "META")
    assert [json.loads(r)["id"] for r in answer[0]] == everybody
    told = mapping(answer[1])
    assert (told["cache"], told["detail"]) == (b"STALE", b"stale-if-error")


def test_the_tombstone_ttl_of_the_spec_shows_in_meta(client, world):
    spec(client, "items", {**SPECS["items"], "tombstone_ttl": 100})
    assert meta(client, "PODIUM.GET", f"items:{ABSENT}")["ttl"] in (99, 100)
    assert meta(client, "PODIUM.GET", f"items:{ABSENT}")["ttl"] in (99, 100)


def test_a_failed_call_counts_in_a_stale_answer(client, world):
    client.call("CONFIG", "SET", "podium.stale-if-error", "3600", "podium.ttl", "1")
    get(client, f"items:{item(1)}")
    eventually(5, "stale", lambda: meta(client, "PODIUM.GET", f"items:{item(1)}", "CACHEONLY")["cache"] == "MISS")
    world.airtable.status(503)
    before = world.airtable.count()
    told = meta(client, "PODIUM.GET", f"items:{item(1)}")
    assert told["cache"] == "STALE"
    assert told["airtable-hits"] >= 1, f"{world.airtable.count() - before} calls were made"


# What is not ours -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("put", [("ZADD", "events:slug:mine", "1", "x"), ("SET", "events:slug:mine", "x"), ("HSET", "events:slug:mine", "a", "b")], ids=lambda p: p[0])
def test_a_key_that_somebody_else_put_there_is_wrongtype_and_stays(client, put):
    client.call(*put)
    assert client.error("PODIUM.INDEX", "events:slug:mine").code == "WRONGTYPE"
    assert client.call("EXISTS", "events:slug:mine") == 1


# Speed --------------------------------------------------------------------------------------------------------


def test_a_large_cached_answer_does_not_wait_for_airtable(spawn, world):
    server = spawn({"threads": 1})
    client = server.client()
    define(client, "items")
    world.airtable.write(base=world.base, table="items", create=[{"id": rid("big", n), "fields": {"name": f"b{n}", "group": "big"}} for n in range(1500)])
    assert client.call("PODIUM.INDEX", "items:group:big", "COUNT") == 1500
    world.airtable.latency(3000)
    world.airtable.forget()
    waiting = server.client()
    waiting.send("PODIUM.GET", f"items:{item(1)}")
    asked(world)
    begun = time.monotonic()
    assert len(client.call("PODIUM.INDEX", "items:group:big")) == 1500
    assert time.monotonic() - begun < 1.5
    waiting.read()


# Databases ----------------------------------------------------------------------------------------------------


def test_what_is_swapped_back_is_not_older_than_what_was_told(client, world):
    key = f"items:{item(1)}"
    get(client, key)
    assert item(1) in ids(client, "items:group:g1")
    client.call("SWAPDB", "0", "1")
    client.call("PODIUM.INVALIDATE", key)
    world.change("items", item(1), name="Renamed", group="g2")
    client.call("SWAPDB", "0", "1")
    assert get(client, key)["name"] == "Renamed"
    assert item(1) not in ids(client, "items:group:g1")
