"""Contract section 4: the change feed. What changes in Airtable is known within an interval, without a call for what did not."""

from __future__ import annotations

import pytest

from asking import get, ids, meta, mget
from support import eventually, mapping, text
from world import define, event, item, project, user

INTERVAL = 1


def status(client, *base) -> dict:
    return {key: text(value) for key, value in mapping(client.call("PODIUM.SYNC", "STATUS", *base)).items()}


def hooks(world) -> list[dict]:
    return [hook for hook in world.airtable.control("GET", "webhooks")["webhooks"] if hook["base"] == world.base]


def record_calls(world) -> list[str]:
    """Calls on records, the feed's own left out."""
    return [call["path"] for call in world.airtable.calls() if "/webhooks" not in call["path"] and "/meta/" not in call["path"]]


def settled(server, world) -> None:
    eventually(10, "nothing under way", lambda: server.info()["podium_pending"] == "0")


@pytest.fixture
def fed(client, server):
    """The feed of the test's base is followed."""
    client.call("CONFIG", "SET", "podium.sync-interval", INTERVAL)
    assert client.call("PODIUM.SYNC", "START") == "OK"
    yield client
    with server.client() as last:
        last.call("PODIUM.SYNC", "STOP")


def now(client) -> None:
    assert client.call("PODIUM.SYNC", "NOW") == "OK"


def test_start_makes_a_webhook_and_status_tells(fed, world, server):
    [hook] = hooks(world)
    assert hook["notificationUrl"] is None
    told = status(fed)
    assert (told["state"], told["webhook"], told["cursor"], told["base"]) == ("following", hook["id"], 1, world.base)
    assert told["lag-ms"] < 5_000 and told["last-poll"] > 0 and told["error"] == ""
    assert fed.call("PODIUM.SYNC", "START", world.base) == "OK", "again changes nothing"
    assert len(hooks(world)) == 1
    assert server.info()["podium_sync_state"] == "following"
    assert server.figure("upstream_calls_sync") >= 3


def test_stop_takes_the_webhook_away(fed, world, server):
    assert fed.call("PODIUM.SYNC", "STOP") == "OK"
    assert hooks(world) == []
    assert status(fed)["state"] == "off" and server.info()["podium_sync_state"] == "off"
    assert fed.error("PODIUM.SYNC", "NOW").code == "ERR"
    assert fed.call("PODIUM.SYNC", "STOP") == "OK"


def test_created_changed_and_deleted_records(fed, world, server):
    everything = ids(fed, "items:*")
    assert get(fed, f"items:{item(1)}")["name"] == "Item 1"
    members = ids(fed, "items:group:g1")
    new = "recitm00000000900"
    world.change("items", item(1), name="changed", group="g2")
    world.create("items", new, name="new", n=900, group="g1")
    world.delete("items", item(11))
    now(fed)
    assert get(fed, f"items:{item(1)}")["name"] == "changed"
    assert get(fed, f"items:{item(11)}") is None
    assert get(fed, f"items:{new}")["n"] == 900
    assert ids(fed, "items:group:g1") == sorted([new] + [id for id in members if id not in (item(1), item(11))])
    assert item(1) in ids(fed, "items:group:g2")
    assert ids(fed, "items:*") == sorted([new] + [id for id in everything if id != item(11)])


def test_it_polls_by_itself_while_the_base_is_read(fed, world):
    assert get(fed, f"items:{item(1)}")["name"] == "Item 1"
    world.change("items", item(1), name="changed")
    eventually(3 * INTERVAL + 2, "the change is seen", lambda: get(fed, f"items:{item(1)}")["name"] == "changed")


def test_changes_are_brought_up_to_date_in_batches(fed, world, server):
    ids(fed, "items:*")
    world.airtable.write(base=world.base, table="items", update=[{"id": item(n), "fields": {"n": n + 1000}} for n in range(1, 251)])
    world.airtable.forget()
    now(fed)
    settled(server, world)
    assert len(record_calls(world)) == 3, "250 records are three pages"
    world.airtable.forget()
    assert [r["n"] for r in mget(fed, [f"items:{item(n)}" for n in range(1, 251)])] == [n + 1000 for n in range(1, 251)]
    assert record_calls(world) == []


def test_what_is_loaded_stays_known_without_a_call(fed, world, server):
    fed.call("CONFIG", "SET", "podium.ttl", 1, "podium.empty-ttl", 1)
    everything = ids(fed, "items:*")
    assert ids(fed, "items:group:nobody") == []
    group = ids(fed, "items:group:g3")
    world.airtable.forget()
    polled = status(fed)["last-poll"]
    eventually(15, "the ttl is over", lambda: get(fed, f"items:{item(3)}") and status(fed)["last-poll"] > polled + 3_000)
    for n in range(1, 200):
        assert get(fed, f"items:{item(n)}")["n"] == n
    assert ids(fed, "items:*") == everything and ids(fed, "items:group:g3") == group
    assert ids(fed, "items:group:nobody") == [] and ids(fed, "items:group:else") == []
    assert record_calls(world) == []
    told = meta(fed, "PODIUM.GET", f"items:{item(3)}")
    assert told["cache"] == "HIT" and told["ttl"] >= 0 and told["age"] >= 3


def test_attachments_end_by_themselves(fed, world):
    fed.call("CONFIG", "SET", "podium.attachment-ttl", 1)
    get(fed, f"users:{user(1)}")
    world.airtable.forget()
    eventually(10, "it is fetched anew", lambda: get(fed, f"users:{user(1)}") and record_calls(world))


def test_sweep_needs_no_call(fed, world):
    ids(fed, "items:*")
    world.delete("items", *[item(n) for n in range(1, 31)])
    world.airtable.forget()
    report = mapping(fed.call("PODIUM.SWEEP", "items:*", timeout=30))
    assert report["upstream-calls"] == 0 and record_calls(world) == []
    assert get(fed, f"items:{item(1)}") is None and item(2) not in ids(fed, "items:*")
    assert record_calls(world) == []
