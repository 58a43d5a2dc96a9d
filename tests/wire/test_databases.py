"""Everything lives in database 0; in another one the commands say so."""

from __future__ import annotations

import pytest

from asking import get
from world import event, item


@pytest.mark.parametrize("command", [
    ("PODIUM.GET", f"events:{event(1)}"), ("PODIUM.MGET", "1", f"events:{event(1)}"), ("PODIUM.INDEX", "items:group:g1"), ("PODIUM.INTER", "1", "items:group:g1"),
    ("PODIUM.INVALIDATE", f"events:{event(1)}"), ("PODIUM.TOMBSTONE", f"events:{event(1)}"), ("PODIUM.UPSERT", f"items:{item(1)}", '{"name":"x"}'), ("PODIUM.SWEEP", "items:*"),
    ("PODIUM.SPEC", "SET", "x", "{}"),
])
def test_another_database_is_an_error(server, client, world, command):
    get(client, f"events:{event(1)}")
    world.airtable.forget()
    other = server.client()
    other.call("SELECT", 3)
    error = other.error(*command)
    assert error.code == "ERR" and "database" in error.text.lower() or "db" in error.text.lower(), error.text
    assert world.airtable.count() == 0
    assert other.call("DBSIZE") == 0
    assert get(client, f"events:{event(1)}", "CACHEONLY") is not None


def test_keys_of_other_databases_are_nobodys_business(server, client, world):
    get(client, f"events:{event(1)}")
    world.airtable.forget()
    other = server.client()
    other.call("SELECT", 2)
    other.call("SET", f"events:{event(1)}", "foreign")
    other.call("DEL", f"events:{event(1)}")
    other.call("SET", f"events:{event(1)}", "foreign")
    other.call("FLUSHDB")
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"
    assert world.airtable.count() == 0


def test_select_while_waiting_for_another_clients_answer(server, client, world):
    world.airtable.latency(200)
    client.send("PODIUM.GET", f"events:{event(1)}")
    other = server.client()
    other.call("SELECT", 5)
    other.call("SET", "x", "y")
    assert b"event-1" in client.read()
    assert other.call("DBSIZE") == 1, "the fill went to database 0"
    other.call("FLUSHDB")
