"""docs/promises.md, section 2, CLIENT TRACKING: readers are told of every later change, and never of their own fetch."""

from __future__ import annotations

import pytest

from asking import cells, get, ids
from support import blocked, eventually, text
from world import define, event, item, user

KEY = f"events:{event(1)}"


@pytest.fixture
def tracker(server, client):
    tracker = server.client(3)
    tracker.call("CLIENT", "TRACKING", "ON")
    return tracker


def told(tracker, key, within=5):
    """Waits for the message that names the key."""
    names = []

    def look():
        for push in tracker.poll_pushes(0.02):
            names.extend(text(push[1]) if push[1] is not None else ["(all)"])
        return key in names

    eventually(within, f"a message for {key} (so far {names})", look)


def silent(tracker):
    tracker.call("PING")
    pushes = tracker.poll_pushes(0.1)
    assert not pushes, f"unasked for: {pushes}"


CHANGES = {
    "upsert": lambda client, world: client.call("PODIUM.UPSERT", KEY, cells(event(1), slug="event-1", name="told")),
    "invalidate": lambda client, world: client.call("PODIUM.INVALIDATE", KEY),
    "tombstone": lambda client, world: client.call("PODIUM.TOMBSTONE", KEY),
    "a refetch that differs": lambda client, world: (world.change("events", event(1), name="Renamed"), get(client, KEY, "NOCACHE")),
    "del": lambda client, world: client.call("DEL", KEY),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_hit(client, tracker, world, change):
    get(client, KEY)
    get(tracker, KEY)
    silent(tracker)
    CHANGES[change](client, world)
    told(tracker, KEY)


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_wait(client, tracker, world, change):
    world.airtable.latency(100)
    get(tracker, KEY)
    silent(tracker)
    world.airtable.latency(0)
    CHANGES[change](client, world)
    told(tracker, KEY)


def test_no_message_for_ones_own_fetch(client, tracker):
    get(tracker, KEY)
    ids(tracker, "items:group:g1")
    tracker.call("PODIUM.MGET", 2, f"items:{item(2)}", f"items:{item(3)}")
    silent(tracker)


def test_a_refetch_with_equal_content_tells_nobody(client, tracker):
    get(client, KEY)
    get(tracker, KEY)
    get(client, KEY, "NOCACHE")
    silent(tracker)


@pytest.mark.parametrize("cold", [True, False])
def test_a_change_to_a_member_of_an_index_set(client, tracker, cold):
    if not cold:
        ids(client, "items:group:g1")
    ids(tracker, "items:group:g1")
    silent(tracker)
    client.call("PODIUM.UPSERT", f"items:{item(1)}", cells(item(1), name="other", n=1, group="g1"))
    told(tracker, "items:group:g1")


@pytest.mark.parametrize("change", [
    lambda client: client.call("PODIUM.UPSERT", f"items:{item(2)}", cells(item(2), name="came", group="g1")),
    lambda client: client.call("PODIUM.UPSERT", f"items:{item(1)}", cells(item(1), name="went", group="g2")),
    lambda client: client.call("PODIUM.TOMBSTONE", f"items:{item(1)}"),
    lambda client: client.call("PODIUM.INVALIDATE", f"items:{item(1)}"),
    lambda client: client.call("PODIUM.INVALIDATE", "items:group:g1"),
], ids=["a record that comes", "a record that goes", "a tombstone", "an invalidated member", "the set invalidated"])
def test_a_change_of_membership(client, tracker, change):
    ids(tracker, "items:group:g1")
    silent(tracker)
    change(client)
    told(tracker, "items:group:g1")


def test_a_change_elsewhere_tells_nobody(client, tracker):
    ids(tracker, "items:group:g1")
    get(tracker, KEY)
    client.call("PODIUM.UPSERT", f"items:{item(2)}", cells(item(2), name="x", group="g2"))
    client.call("PODIUM.UPSERT", f"events:{event(2)}", cells(event(2), slug="event-2", name="x"))
    silent(tracker)


def test_invalidating_an_entity_tells_who_read_it(client, tracker):
    get(tracker, KEY)
    silent(tracker)
    client.call("PODIUM.INVALIDATE", "events:*")
    told(tracker, KEY)


def test_who_read_null_is_told_when_the_record_comes(client, tracker):
    key = f"items:{'rec' + 'z' * 14}"
    assert get(tracker, key) is None
    silent(tracker)
    client.call("PODIUM.UPSERT", key, cells("rec" + "z" * 14, name="born"))
    told(tracker, key)


def upsert(client, n, **fields):
    client.call("PODIUM.UPSERT", f"items:{item(n)}", cells(item(n), name="told", **fields))


ITEM, GROUP = f"items:{item(1)}", "items:group:g1"


def cached(client, world):
    get(client, ITEM)
    world.change("items", item(1), name="Renamed")


def past_its_freshness(client, world):
    client.call("CONFIG", "SET", "podium.ttl", 1, "podium.stale-if-error", 60)
    cached(client, world)
    eventually(5, "past its freshness", lambda: get(client, ITEM, "CACHEONLY") is None)


def gone_from_airtable(client, world):
    get(client, ITEM)
    world.delete("items", item(1))


def set_cached(client, world):
    ids(client, GROUP)
    world.change("items", item(2), group="g1")


def stranger_in_doubt(client, world):
    set_cached(client, world)
    client.call("PODIUM.INVALIDATE", f"items:{item(2)}")


def member_in_doubt(client, world):
    ids(client, GROUP)
    world.change("items", item(1), name="Renamed")
    client.call("PODIUM.INVALIDATE", ITEM)


def members_cached_and_no_set(client, world):
    for n in (1, 11, 21):
        get(client, f"items:{item(n)}")
        world.change("items", item(n), name="Renamed")


FETCHES = {
    "get past its freshness": (past_its_freshness, ("PODIUM.GET", ITEM)),
    "get nocache": (cached, ("PODIUM.GET", ITEM, "NOCACHE")),
    "get maxage": (cached, ("PODIUM.GET", ITEM, "MAXAGE", 0)),
    "mget maxage": (cached, ("PODIUM.MGET", 1, ITEM, "MAXAGE", 0)),
    "get over a tombstone": (lambda client, world: client.call("PODIUM.TOMBSTONE", ITEM), ("PODIUM.GET", ITEM, "NOCACHE")),
    "get finds it gone": (gone_from_airtable, ("PODIUM.GET", ITEM, "NOCACHE")),
    "index nocache": (set_cached, ("PODIUM.INDEX", GROUP, "NOCACHE")),
    "index maxage": (set_cached, ("PODIUM.INDEX", GROUP, "MAXAGE", 0)),
    "index, a stranger joins": (stranger_in_doubt, ("PODIUM.INDEX", GROUP)),
    "index, a member changed": (member_in_doubt, ("PODIUM.INDEX", GROUP)),
    "index of members that changed": (members_cached_and_no_set, ("PODIUM.INDEX", GROUP)),
    "inter nocache": (set_cached, ("PODIUM.INTER", 1, GROUP, "NOCACHE")),
    "all maxage": (lambda client, world: (ids(client, "items:*"), world.change("items", item(1), name="Renamed")), ("PODIUM.INDEX", "items:*", "MAXAGE", 0)),
}


@pytest.mark.parametrize("fetch", FETCHES)
def test_a_fetch_that_differs_is_no_news_to_who_waited_and_the_next_change_is(client, tracker, world, fetch):
    before, read = FETCHES[fetch]
    before(client, world)
    tracker.call(*read)
    silent(tracker)
    upsert(client, 1, group="g1")
    told(tracker, next(word for word in read if str(word).startswith("items:")))


@pytest.mark.parametrize("read", [("PODIUM.GET", ITEM, "NOCACHE"), ("PODIUM.INDEX", GROUP, "NOCACHE")], ids=["record", "index"])
def test_who_read_the_old_copy_before_anothers_fetch_is_told(server, client, tracker, world, read):
    earlier = server.client(3)
    earlier.call("CLIENT", "TRACKING", "ON")
    (get if read[1] == ITEM else ids)(earlier, read[1])
    world.change("items", item(1), name="Renamed")
    tracker.call(*read)
    told(earlier, read[1])
    silent(tracker)


@pytest.mark.parametrize("read", [("PODIUM.GET", ITEM), ("PODIUM.INDEX", GROUP)], ids=["record", "index"])
def test_who_reads_the_old_copy_during_anothers_fetch_is_told(server, client, tracker, world, read):
    client.call(*read)
    world.change("items", item(1), name="Renamed")
    world.airtable.latency(300)
    tracker.send(*read, "NOCACHE")
    blocked(server, 1)
    between = server.client(3)
    between.call("CLIENT", "TRACKING", "ON")
    between.call(*read)
    tracker.read()
    told(between, read[1])
    # It is told as well then, but only once it has its answer: dropping that costs a read, and nothing is missed.
    between.call(*read)
    tracker.call(*read)
    upsert(client, 1, group="g1")
    told(tracker, read[1])
    told(between, read[1])


def test_a_refresh_behind_an_answer_that_differs_is_told(client, tracker, world):
    client.call("CONFIG", "SET", "podium.ttl", 1, "podium.stale-while-revalidate", 60)
    cached(client, world)
    eventually(5, "past its freshness", lambda: client.call("PODIUM.GET", ITEM, "CACHEONLY", "META")[1][1] == b"STALE")
    get(tracker, ITEM)
    told(tracker, ITEM)


def test_noloop_is_told_by_others_only(server, client, world):
    reader = server.client(3)
    reader.call("CLIENT", "TRACKING", "ON", "NOLOOP")
    get(reader, ITEM)
    world.change("items", item(1), name="Renamed")
    assert get(reader, ITEM, "NOCACHE")["name"] == "Renamed"
    silent(reader)
    upsert(client, 1, group="g1")
    told(reader, ITEM)


def test_who_gave_up_waiting_leaves_no_trace(server, client, tracker, world):
    """A client that goes away while it waits is no reason not to tell others."""
    get(client, ITEM)
    world.change("items", item(1), name="Renamed")
    world.airtable.latency(300)
    tracker.send("PODIUM.GET", ITEM, "NOCACHE")
    blocked(server, 1)
    reader = server.client(3)
    reader.call("CLIENT", "TRACKING", "ON")
    get(reader, ITEM)
    tracker.close()
    told(reader, ITEM)
    world.airtable.latency(0)
    get(reader, ITEM)
    world.change("items", item(1), name="Again")
    get(client, ITEM, "NOCACHE")
    told(reader, ITEM)


def test_a_record_that_joins_again_is_told(client, tracker, world):
    ids(client, GROUP)
    world.change("items", item(1), group="g2")
    client.call("PODIUM.INVALIDATE", ITEM)
    assert item(1) not in ids(tracker, GROUP)
    silent(tracker)
    upsert(client, 1, group="g1")
    told(tracker, GROUP)


def test_a_member_without_a_copy_that_is_told_anew(client, tracker):
    ids(tracker, GROUP)
    client.call("DEL", ITEM)
    silent(tracker)
    upsert(client, 1, group="g1")
    told(tracker, GROUP)


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("change", [
    lambda client: client.call("PODIUM.UPSERT", f"users:{user(1)}", cells(user(1), email="user1@example.com", display_name="told")),
    lambda client: client.call("PODIUM.INVALIDATE", "users:email:user1@example.com"),
    lambda client: client.call("DEL", "users:email:user1@example.com"),
    lambda client: client.call("PEXPIRE", "users:email:user1@example.com", 20),
    lambda client: client.call("PODIUM.INVALIDATE", "users:*"),
    lambda client: client.call("FLUSHALL"),
], ids=["a member", "the set", "del", "expiry", "the entity", "flushall"])
def test_a_value_not_in_normal_form_is_told_by_the_name_it_was_read_by(client, tracker, change, cold):
    normal, asked = "users:email:user1@example.com", "users:email: USER1@Example.com"
    if not cold:
        ids(client, normal)
    found = ids(tracker, asked)
    assert len(found) == 1 and found == ids(client, normal)
    silent(tracker)
    change(client)
    names = []
    eventually(5, f"a message for {asked!r} (so far {names})",
               lambda: names.extend(text(push[1]) if push[1] else ["(all)"] for push in tracker.poll_pushes(0.02)) or any(asked in n or "(all)" in n for n in names))


def test_names_that_are_forgotten_are_told_first(client, tracker):
    client.call("PODIUM.WARM", "users:*")
    for n in range(1001):
        tracker.call("PODIUM.INDEX", f"users:email:NOBODY{n}@example.com", "COUNT")
    told(tracker, "users:email:NOBODY0@example.com")
    silent(tracker)


def test_a_changed_spec_tells_who_read_the_old_shape(client, tracker):
    get(tracker, KEY)
    client.call("PODIUM.SPEC", "SET", "events", '{"schema":{"type":"object","properties":{"slug":{"type":"string"}}}}')
    told(tracker, KEY)


def test_mget_tracks_every_key_and_no_option(client, tracker):
    keys = [f"items:{item(n)}" for n in (1, 2)]
    tracker.call("PODIUM.MGET", 2, *keys, "MAXAGE", 100)
    client.call("SET", "MAXAGE", "x")
    client.call("SET", "100", "x")
    silent(tracker)
    client.call("PODIUM.INVALIDATE", keys[1])
    told(tracker, keys[1])


def test_inter_tracks_its_sets(client, tracker):
    tracker.call("PODIUM.INTER", 2, "projects:stage:build", "projects:points:1", "IDS")
    client.call("PODIUM.INVALIDATE", "projects:points:1")
    told(tracker, "projects:points:1")


def test_expiry_is_told(client, tracker):
    get(tracker, KEY)
    client.call("PEXPIRE", KEY, 20)
    told(tracker, KEY)


def test_bcast_sees_fills_of_its_prefix(server, client):
    listener = server.client(3)
    listener.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "events:")
    get(client, KEY)
    client.call("PODIUM.INVALIDATE", KEY)
    told(listener, KEY)


def test_resp2_by_redirect(server, client):
    listener = server.client()
    number = listener.id()
    listener.call("SUBSCRIBE", "__redis__:invalidate")
    reader = server.client()
    reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", number)
    get(reader, KEY)
    client.call("PODIUM.INVALIDATE", KEY)
    message = listener.read()
    assert message[0] == b"message" and message[2] == [KEY.encode()]


def test_define_needs_no_tracking(tracker):
    define(tracker, "events")
    silent(tracker)
