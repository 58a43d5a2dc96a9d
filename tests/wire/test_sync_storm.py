"""A storm of random writes in Airtable against an oracle: no answer is wrong for longer than docs/promises.md allows, and in the
end cache and base agree exactly. `PODIUM_STORM_SECONDS` makes it longer."""

from __future__ import annotations

import os
import time

import pytest

from storm import Reader, Storm, exact
from support import eventually, mapping
from test_replica import in_step, pair  # noqa: F401 (a fixture)
from test_sync import begin, ids, now, record_calls, status

SECONDS = float(os.environ.get("PODIUM_STORM_SECONDS", "8"))
INTERVAL = 1
BOUND = INTERVAL + 1.0
"""The interval, and a second for the poll itself and the machine."""


def load(client) -> None:
    """Everything is cached, every index value known."""
    ids(client, "items:*")
    ids(client, "projects:*")


def read_on(client, reader: Reader, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reader.read(client)
        assert reader.storm.failure is None, reader.storm.failure


def agree(client, world, server, delay: float = 0) -> int:
    """Cache and base agree; how many calls on records that took after the last write."""
    world.airtable.forget()

    def quiet() -> bool:
        """Two polls in a row brought nothing, and nothing is being fetched."""
        before = status(client)["cursor"]
        listed = time.monotonic() + delay
        eventually(10, "what was written last can be listed", lambda: time.monotonic() > listed)
        now(client)
        return status(client)["cursor"] == before and server.info()["podium_pending"] == "0"

    eventually(30, "the feed is silent", quiet)
    assert exact(client, world, server) == []
    return len(record_calls(world))


def report(reader: Reader, storm: Storm, calls: int, world) -> None:
    print(f"\n{storm.writes} writes, {len(reader.ages)} facts checked, age of wrong answers in s: {reader.histogram()}; {calls} calls to agree; errors {reader.errors}")


@pytest.mark.parametrize("limits, slow", [(False, False), (True, False), (False, True)], ids=["unlimited", "within Airtable's limits", "slow"])
def test_no_answer_is_wrong_for_long(spawn, world, limits, slow):
    server = spawn({"sync-interval": INTERVAL, "rate-limit": 4 if limits else 1000})
    client = begin(server, world)
    load(client)
    if limits:
        world.airtable.control("POST", "limits", {"enabled": True, "per_second": 5})
    bound = BOUND
    if limits:
        # A call waits for its slot.
        bound += 1.0
    if slow:
        # Calls take their time, a change is listed later, and what is computed of it later still.
        world.airtable.latency(100)
        world.airtable.control("POST", "switches", {"payload_delay_ms": 300, "linked_computed_lag_ms": 300})
        bound += 0.1 + 0.3 + 0.3
    with Storm(world, seed=1) as storm:
        reader = Reader(storm, seed=2)
        read_on(client, reader, SECONDS)
    calls = agree(client, world, server, 1.0 if slow else 0)
    report(reader, storm, calls, world)
    assert storm.writes > SECONDS * 10 and len(reader.ages) > 500, (storm.writes, len(reader.ages))
    assert not reader.errors
    assert reader.worst[0] <= bound, reader.worst
    assert server.figure("upstream_429") == 0
    assert status(client)["gaps"] == 0


def test_kill_9_in_the_middle(spawn, world):
    server = spawn({"sync-interval": INTERVAL}, ["appendonly yes", "appendfsync everysec"])
    client = begin(server, world)
    load(client)
    with Storm(world, seed=3) as storm:
        reader = Reader(storm, seed=4)
        for _ in range(2):
            read_on(client, reader, SECONDS / 4)
            server.stop(kill=True)
            server.start()
            client = server.client()
        read_on(client, reader, SECONDS / 4)
    calls = agree(client, world, server)
    report(reader, storm, calls, world)
    assert reader.worst[0] <= BOUND, reader.worst
    assert status(client)["gaps"] == 0


def test_failover_in_the_middle(pair, world):  # noqa: F811
    primary, replica = pair
    client = begin(primary, world)
    load(client)
    in_step(primary, replica)
    with Storm(world, seed=5) as storm:
        reader = Reader(storm, seed=6)
        read_on(client, reader, SECONDS / 4)
        primary.stop(kill=True)
        client = replica.client()
        client.call("CONFIG", "SET", "podium.sync-interval", INTERVAL)
        client.call("REPLICAOF", "NO", "ONE")
        read_on(client, reader, SECONDS / 4)
    calls = agree(client, world, replica)
    report(reader, storm, calls, world)
    assert reader.worst[0] <= BOUND, reader.worst
    assert status(client)["gaps"] == 0


def test_after_loading_ten_thousand_reads_cost_no_call(spawn, world):
    server = spawn({"sync-interval": INTERVAL, "ttl": 1, "empty-ttl": 1})
    client = begin(server, world)
    load(client)
    polled = status(client)["last-poll"]
    eventually(15, "the ttl is over", lambda: client.call("PODIUM.GET", "items:recitm00000000001") and status(client)["last-poll"] > polled + 2_500)
    world.airtable.forget()
    with_nothing_to_do = Storm(world, seed=7)
    reader = Reader(with_nothing_to_do, seed=8)
    for _ in range(10_000):
        reader.read(client)
    assert record_calls(world) == [] and not reader.errors and max(reader.ages) == 0
    sweep = mapping(client.call("PODIUM.SWEEP", "items:*", timeout=30))
    assert sweep["upstream-calls"] == 0 and sweep["removed"] == 0
