"""Hits that are answered the short way say what the general way says, and remembered rights are no wider than those in force."""

from __future__ import annotations

import itertools
import json

import pytest

from asking import meta
from support import mapping
from world import SPECS, define, event, user

KEYS = [f"users:{user(n)}" for n in (1, 2, 3)] + [f"events:{event(n)}" for n in (1, 2)]
OPTIONS = [(), ("VIEW", "*"), ("view", "public"), ("VIEW", "contact"), ("VIEW", "nope"), ("VIEW",), ("META",), ("META", "VIEW", "*"), ("VIEW", "contact", "meta"),
           ("META", "META"), ("VIEW", "*", "VIEW", "*"), ("IDS",), ("NOPE",), ("CACHEONLY",), ("CACHEONLY", "META", "VIEW", "public")]
SETS = ["users:*", "events:*", f"events:owner:{user(1)}", "events:slug:event-2", "events:slug:no-such-event", "users:is_admin:true", "users:email:user3@example.com", "users:Nope:x", "events:slug"]
INDEX_OPTIONS = [(), ("IDS",), ("COUNT",), ("ids", "count"), ("COUNT", "COUNT"), ("VIEW", "*"), ("VIEW", "contact"), ("VIEW", "public", "IDS"), ("VIEW", "nope", "COUNT"), ("META",), ("LIMIT", "1", "2"),
                 ("CACHEONLY", "COUNT")]


def asked(client, command):
    """The reply, or the error as text; of META what does not change by itself."""
    reply = client.attempt(*command)
    if isinstance(reply, list) and len(reply) == 2 and any(str(word).upper() == "META" for word in command):
        return [reply[0], {key: value for key, value in mapping(reply[1]).items() if key not in ("age", "ttl", "cache-status")}]
    return reply if not isinstance(reply, Exception) else str(reply)


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_ways_say_the_same(server, world, protocol):
    client = server.client(protocol)
    define(client)
    for entity in ("users:*", "events:*"):
        client.call("PODIUM.WARM", entity)
    commands = [("PODIUM.GET", key, *options) for key, options in itertools.product(KEYS, OPTIONS)]
    commands += [("PODIUM.INDEX", key, *options) for key, options in itertools.product(SETS, INDEX_OPTIONS)]
    for command in commands:  # What is asked for once is there.
        asked(client, command)
    short = [asked(client, command) for command in commands]
    # Hits that are logged go the general way.
    client.call("CONFIG", "SET", "podium.log-events", "yes")
    general = [asked(client, command) for command in commands]
    for command, a, b in zip(commands, short, general):
        assert a == b, command
    assert sum(isinstance(a, bytes) for a in short) > 20 and sum(isinstance(a, list) for a in short) > 20


def test_hits_are_counted_once(server, client):
    key = f"users:{user(1)}"
    for command in (("PODIUM.GET", key), ("PODIUM.INDEX", "users:*")):
        client.call(*command)
    before = server.figure("hits")
    for command in (("PODIUM.GET", key, "VIEW", "*"), ("PODIUM.GET", key, "META"), ("PODIUM.GET", key, "VIEW", "contact"), ("PODIUM.INDEX", "users:*"), ("PODIUM.INDEX", "users:*", "COUNT"),
                    ("PODIUM.INDEX", "users:*", "IDS")):
        client.call(*command)
    assert server.figure("hits") - before == 6


@pytest.fixture
def web(server, client):
    client.call("ACL", "SETUSER", "web", "reset", "on", ">pw", "+@all", "~*")
    client.call("ACL", "SETUSER", "guest", "reset", "on", ">pw", "+@all", "%R~users:*")
    return server.client(user="web", password="pw")


READS = [("PODIUM.GET", f"users:{user(1)}", "VIEW", "*"), ("PODIUM.GET", f"users:{user(1)}", "VIEW", "contact"), ("PODIUM.INDEX", "users:*", "VIEW", "*")]


def seen(connection, times=3):
    for _ in range(times):
        for command in READS:
            assert connection.call(*command), command


def refused(connection):
    for command in READS:
        assert connection.error(*command).code == "NOPERM", command


def test_a_right_that_is_taken_away_is_gone_at_once(client, web):
    seen(web)
    client.call("ACL", "SETUSER", "web", "resetkeys", "%R~users:*")
    refused(web)
    client.call("ACL", "SETUSER", "web", "~*")
    seen(web)


def test_another_user_on_the_same_connection_has_its_own_rights(web):
    seen(web)
    web.call("AUTH", "guest", "pw")
    refused(web)
    web.call("AUTH", "web", "pw")
    seen(web)
    web.call("HELLO", "3", "AUTH", "guest", "pw")
    refused(web)


def test_a_right_taken_away_in_a_transaction_is_gone(client, web):
    seen(web)
    client.call("MULTI")
    client.call("ACL", "SETUSER", "web", "resetkeys", "%R~users:*")
    seen(web)  # Queued: not yet.
    client.call("EXEC")
    refused(web)
    client.call("ACL", "SETUSER", "web", "~*")
    # A transaction that asks, takes its own right away, and asks again.
    web.call("MULTI")
    for command in (*READS, ("ACL", "SETUSER", "web", "resetkeys", "%R~users:*"), *READS):
        web.call(*command)
    replies = web.call("EXEC")
    assert all(not isinstance(r, Exception) for r in replies[:3]) and all("NOPERM" in str(r) for r in replies[4:]), replies
    refused(web)


def test_a_script_runs_with_its_callers_rights(server, client, web):
    seen(web)
    guest = server.client(user="guest", password="pw")
    script = "return redis.pcall('PODIUM.GET', KEYS[1], 'VIEW', '*')"
    for _ in range(3):
        assert b"email" in web.call("EVAL", script, 1, f"users:{user(1)}")
        assert guest.error("EVAL", script, 1, f"users:{user(1)}").code == "NOPERM"
    refused(guest)


def test_a_spec_that_draws_the_line_elsewhere_counts_at_once(client, web):
    seen(web)
    client.call("ACL", "SETUSER", "web", "resetkeys", "%R~users:*", "%R~users/contact")
    assert web.call(*READS[1]) and web.error(*READS[0]).code == "NOPERM"
    spec = dict(SPECS["users"])
    spec["default_view"] = "contact"
    client.call("PODIUM.SPEC", "SET", "users", json.dumps(spec))
    assert web.error(*READS[0]).code == "NOPERM"
    assert b"email" in web.call("PODIUM.GET", f"users:{user(1)}")


def test_meta_of_a_hit_reads_the_same_in_a_transaction_and_in_a_script(client):
    key = f"events:{event(1)}"
    client.call("PODIUM.GET", key)
    plain = meta(client, "PODIUM.GET", key)
    client.call("MULTI")
    client.call("PODIUM.GET", key, "META")
    (queued,) = client.call("EXEC")
    scripted = client.call("EVAL", "return redis.call('PODIUM.GET', KEYS[1], 'META')", 1, key)
    for reply in (queued, scripted):
        assert {k: v for k, v in mapping(reply[1]).items()}.keys() == plain.keys()
        assert mapping(reply[1])["cache"] == b"HIT" and reply[0] == client.call("PODIUM.GET", key)
