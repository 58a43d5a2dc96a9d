"""No input, from a client or from upstream, ends or blocks the server."""

from __future__ import annotations

import random

import pytest

from asking import cells, get, ids, index, spec
from support import ReplyError
from world import event, item, schema

NASTY = ["\x00", "a\x00b", "%s%s%s%n", "%1000000d", "\r\n", "$5\r\nhello\r\n", "+OK\r\n", "'; DROP", "\\", "\\'", "{", "}", "*", "[", "é漢🙂", "\x7f\x1b[31m", "\u202e", " ", "\t", "-1", "9" * 400, "x" * 5000]
BYTES = [b"\xff\xfe\x00\x80", b"\xc3\x28", b"\xed\xa0\x80"]


def survive(client, *words):
    """The command is answered with exactly one reply, and the connection stays in step."""
    reply = client.attempt(*words)
    assert client.call("ECHO", "in step") == b"in step", words
    return reply


@pytest.mark.parametrize("command", ["PODIUM.GET", "PODIUM.INDEX", "PODIUM.INVALIDATE", "PODIUM.TOMBSTONE", "PODIUM.SWEEP", "PODIUM.STATS"])
def test_nasty_single_arguments(client, command):
    for raw in [n.encode() for n in NASTY] + BYTES:
        for word in (raw, b"items:" + raw, b"items:group:" + raw, b"events:rec" + raw, raw + b":*"):
            reply = survive(client, command, word)
            if isinstance(reply, ReplyError):
                assert "\r" not in reply.text and "\n" not in reply.text


def test_nasty_options(client):
    for raw in [n.encode() for n in NASTY] + BYTES:
        for words in ((raw,), ("VIEW", raw + b"?"), ("MAXAGE", raw), ("META", raw)):
            assert isinstance(survive(client, "PODIUM.GET", f"events:{event(1)}", *words), ReplyError)
        for words in (("SORT", raw), ("LIMIT", raw, raw), ("LIMIT", "0", raw)):
            if words[2:] == (b"-1",) and words[1] == "0":
                continue  # LIMIT 0 -1 means all.
            assert isinstance(survive(client, "PODIUM.INDEX", "items:group:g1", *words), ReplyError)
        for words in ((raw, "items:rec1"), (raw,)):
            assert isinstance(survive(client, "PODIUM.MGET", *words), ReplyError)
            assert isinstance(survive(client, "PODIUM.INTER", *words), ReplyError)


def test_nasty_specs_and_records(client):
    for raw in [n.encode() for n in NASTY] + BYTES:
        assert isinstance(survive(client, "PODIUM.SPEC", "SET", b"x" + raw if not raw.isalnum() else b"x y", b"{}"), (ReplyError, str))
        assert survive(client, "PODIUM.SPEC", "SET", "x", raw).code == "BADSPEC"
        assert survive(client, "PODIUM.UPSERT", f"items:{item(1)}", raw).code == "BADRECORD"
        survive(client, "PODIUM.SPEC", "GET", raw)
        survive(client, "PODIUM.SPEC", "DEL", raw)


@pytest.mark.parametrize("given", [
    "[" * 200_000, '{"schema":' * 50_000, '{"schema":{"$ref":"#"}}', '{"schema":{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}}',
    '{"schema":{"allOf":[{"$ref":"#/schema"}]}}', '{"schema":{"properties":{"a":{"pattern":"(((((a+)+)+)+)+$","default":"' + "a" * 60 + '!","type":"string"}}}}',
    '{"schema":{"properties":{"' + "n" * 100_000 + '":{"type":"string"}}}}', '{"ttl":1e400}', '{"ttl":-0}', '{"jitter":null}', '{"schema":{"properties":[]}}', '{"views":{"":[]}}', '{"indexed":[1]}',
])
def test_pathological_specs_are_answered(client, given):
    survive(client, "PODIUM.SPEC", "SET", "odd", given)
    survive(client, "PODIUM.GET", f"odd:{item(1)}")


def test_values_come_back_as_they_are(client, world):
    for text in [n for n in NASTY if n.strip()] + ["x" * 200_000]:
        world.change("items", item(1), name=text)
        assert get(client, f"items:{item(1)}", "NOCACHE")["name"] == text
        client.call("PODIUM.UPSERT", f"items:{item(2)}", cells(item(2), name=text))
        assert get(client, f"items:{item(2)}")["name"] == text


def test_index_values_with_nasty_content(server, client, world):
    for text in [n for n in NASTY if n.strip() and len(n) <= 1024]:
        ids(client, f"items:group:{text}")
        client.call("PODIUM.UPSERT", f"items:{item(1)}", cells(item(1), name="x", group=text))
        assert item(1) in ids(client, f"items:group:{text}"), repr(text)


def test_a_field_name_with_special_characters(server, world):
    client = server.client()
    for name in ("a}b", "with space", "quote'", "per%cent", "back\\slash"):
        survive(client, "PODIUM.SPEC", "SET", "items", '{"schema":{"properties":{"f":{"type":"string","indexed":true,"airtable":%s}}}}' % __import__("json").dumps(name))
        survive(client, "PODIUM.INDEX", "items:f:x")


def test_large_numbers_of_arguments(client):
    assert survive(client, "PODIUM.INVALIDATE", *[f"items:{item(n)}" for n in range(1, 20_001)]) == 0
    assert isinstance(survive(client, "PODIUM.MGET", "20000", *[f"items:{item(n)}" for n in range(1, 20_001)]), ReplyError)


def test_random_command_lines(client):
    """A thousand random mixtures of our own words; the seed is fixed, so a failure can be repeated."""
    rng = random.Random(20260304)
    words = ["items:" + item(1), "items:group:g1", "items:*", "*", "events:open:true", "VIEW", "*", "META", "NOCACHE", "CACHEONLY", "NOWAIT", "MAXAGE", "0", "1", "2", "-1", "SORT", "n", "DESC", "LIMIT", "IDS",
             "COUNT", "AT", "FULL", "DRYRUN", "ASYNC", "{}", '{"name":"x"}', "", "\x00", "rec", ":"]
    commands = ["GET", "MGET", "INDEX", "INTER", "INVALIDATE", "TOMBSTONE", "UPSERT", "STATS", "SWEEP"]
    for _ in range(1000):
        survive(client, "PODIUM." + rng.choice(commands), *rng.choices(words, k=rng.randint(0, 6)))


def test_inline_and_broken_protocol(server, client):
    raw = server.client()
    raw.send_raw(f"PODIUM.GET events:{event(1)}\r\n".encode())
    assert b"event-1" in raw.read()
    broken = server.client()
    broken.send_raw(b"*2\r\n$10\r\nPODIUM.GET\r\n$5\r\nab")
    broken.close()
    assert client.call("PING") == "PONG"


def test_a_record_of_a_megabyte(server, world):
    client = server.client()
    spec(client, "items", {"schema": schema({"name": {"type": "string"}})})
    world.change("items", item(1), name="y" * 1_000_000)
    assert len(get(client, f"items:{item(1)}")["name"]) == 1_000_000
    assert index(client, "items:*", "LIMIT", 0, 1)
