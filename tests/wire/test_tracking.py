"""Contract section 2, CLIENT TRACKING: readers are told of every later change, and never of their own fetch."""

from __future__ import annotations

import pytest

from asking import cells, get, ids
from support import eventually, text
from world import define, event, item

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
