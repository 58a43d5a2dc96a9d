"""Copies are renewed before they end: what is read often never makes a client wait, and calls with room take along what ends next."""

from __future__ import annotations

import json
import threading
import time

from asking import get, ids, meta, mget
from support import eventually
from world import item, rid


def read_for(server, seconds, *command):
    """Reads all the time; the words of META in order of appearance, and the longest wait."""
    words, longest = [], 0.0
    with server.client() as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = time.monotonic()
            reply = client.call(*command, "META")
            longest = max(longest, time.monotonic() - before)
            for pair in reply if command[0] == "PODIUM.MGET" else [reply]:
                flat = dict(zip(pair[1][::2], pair[1][1::2]))
                words.append(flat[b"cache"].decode())
            time.sleep(0.004)
    return words, longest


def test_what_is_read_all_the_time_is_always_a_hit(server, client, world):
    client.call("CONFIG", "SET", "podium.ttl", "6")
    get(client, f"items:{item(1)}")
    mget(client, [f"items:{item(n)}" for n in (2, 3)])
    assert len(ids(client, "items:group:g4")) == 40
    plain = []

    def read_plainly():
        with server.client() as one:
            end = time.monotonic() + 13
            while time.monotonic() < end:
                before = time.monotonic()
                plain.append(json.loads(one.call("PODIUM.GET", f"items:{item(5)}"))["n"])
                if len(plain) > 1:
                    assert time.monotonic() - before < 0.25, "a hit waited"
                time.sleep(0.004)

    world.airtable.latency(300)
    get(client, f"items:{item(5)}")
    world.airtable.forget()
    outcome = {}
    commands = {"get": ("PODIUM.GET", f"items:{item(1)}"), "mget": ("PODIUM.MGET", 2, f"items:{item(2)}", f"items:{item(3)}"), "index": ("PODIUM.INDEX", "items:group:g4")}
    threads = [threading.Thread(target=lambda n=n, c=c: outcome.update({n: read_for(server, 13, *c)})) for n, c in commands.items()]
    threads.append(threading.Thread(target=read_plainly))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in commands:
        words, longest = outcome[name]
        assert set(words) == {"HIT"} and longest < 0.25, f"{name}: {longest:.3f} s, {[w for w in words if w != 'HIT'][:5]}"
    assert len(plain) > 500, "the plain reader stopped"
    assert int(server.figure("upstream_calls_refresh")) > 0
    # Two ends of life of 45 records and a set have passed. When each is renewed is a draw, and at this rate a call leaves
    # with what was drawn within a millisecond: a fraction of one call a record and round is what can be relied on.
    assert world.airtable.count() <= 2 * 46 // 3, world.airtable.calls()


def test_a_record_nobody_reads_is_not_renewed(client, world):
    client.call("CONFIG", "SET", "podium.ttl", "6")
    get(client, f"items:{item(1)}")
    calls = world.airtable.count_records()
    eventually(10, "its end", lambda: client.call("EXISTS", f"items:{item(1)}") == 0)
    assert world.airtable.count_records() == calls


def test_a_call_with_room_takes_along_what_ends_next(server, client, world):
    client.call("CONFIG", "SET", "podium.ttl", "40")
    keys = [f"items:{item(n)}" for n in range(1, 51)]
    client.call("PODIUM.MGET", len(keys), *keys)
    first_end = client.call("PEXPIRETIME", keys[0])
    assert world.airtable.count() == 1
    eventually(45, "an eighth of their life is left", lambda: client.call("PTTL", keys[0]) < 1500)
    assert get(client, f"items:{item(60)}")["n"] == 60
    assert world.airtable.count_records() == 2
    sent = json.dumps(world.airtable.calls()[-1])
    assert sum(item(n) in sent for n in range(1, 51)) == 50, "all fifty ride along"
    assert all(client.call("PEXPIRETIME", key) > first_end + 30_000 for key in keys)
    assert meta(client, "PODIUM.GET", keys[7])["cache"] == "HIT"
    assert world.airtable.count_records() == 2 and server.figure("upstream_calls_get") == 2


def test_what_was_dropped_does_not_come_back_with_another_call(client, world):
    client.call("CONFIG", "SET", "podium.ttl", "40")
    keys = [f"items:{item(n)}" for n in range(1, 11)]
    client.call("PODIUM.MGET", len(keys), *keys)
    eventually(45, "an eighth of their life is left", lambda: client.call("PTTL", keys[0]) < 1500)
    client.call("UNLINK", keys[0])
    client.call("PODIUM.INVALIDATE", keys[1])
    get(client, f"items:{item(60)}")
    assert client.call("EXISTS", keys[0]) == 0 and client.call("EXISTS", keys[1]) == 0
    assert client.call("PTTL", keys[2]) > 20_000


def test_of_many_records_all_are_taken_along_in_turn(client, world):
    many = [rid("mny", n) for n in range(1300)]
    for n, id in enumerate(many):
        world.create("items", id, name=f"M{n}", n=n, group="many")
    for name, value in (("ttl", 80), ("jitter-percent", 0), ("rate-limit", 100)):
        client.call("CONFIG", "SET", f"podium.{name}", value)
    assert client.call("PODIUM.INDEX", "items:group:many", "COUNT") == len(many)
    ends = {id: client.call("PEXPIRETIME", f"items:{id}") for id in many}
    eventually(85, "an eighth of their life is left", lambda: client.call("PTTL", f"items:{many[-1]}") < 8000)
    before = world.airtable.count()
    renewed = lambda: sum(client.call("PEXPIRETIME", f"items:{id}") > end + 60_000 for id, end in ends.items())  # noqa: E731

    def all_renewed():
        assert get(client, f"items:{item(1)}", "NOCACHE")["n"] == 1
        return renewed() == len(many)

    eventually(10, "each of them has come along", all_renewed)
    assert world.airtable.count() - before < 120, "with calls that were made anyway"
