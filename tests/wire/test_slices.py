"""docs/promises.md, section 3: what is told of much is done bit by bit, and others are served meanwhile."""

from __future__ import annotations

import json

import pytest

from asking import cells, get, ids, spec
from resp import ReplyError
from support import eventually, mapping
from world import LINKS, define, item, rid, schema

MANY = 6_000
GROUP = "items:group:big"


def told(n):
    return rid("tld", n)


def key(n):
    return f"items:{told(n)}"


def fill(client, count=MANY, group="big"):
    """Records that are told, in an index set that is there and complete."""
    assert ids(client, GROUP) == []
    for start in range(0, count, 1000):
        part = range(start, min(count, start + 1000))
        assert client.pipeline([("PODIUM.UPSERT", key(n), cells(told(n), name=f"T{n}", n=n, group=group)) for n in part]) == [1] * len(part)


def pings(server, client, *command):
    """How often somebody else was answered while `command` ran, and its reply."""
    with server.client() as other:
        other.call("PING")
        client.send(*command)
        served = 0
        while not client.answered():
            other.call("PING")
            served += 1
        return served, client.read()


@pytest.fixture
def full(client):
    fill(client)
    return client


LINKED = {"schema": schema({"name": {"type": "string"}, "ends": {**LINKS, "default": []}})}


@pytest.mark.parametrize("command, reply", [
    (("PODIUM.INVALIDATE", GROUP), MANY),
    (("PODIUM.INVALIDATE", *[key(n) for n in range(MANY)]), MANY),
    (("PODIUM.TOMBSTONE", *[key(n) for n in range(MANY)]), MANY),
    (("PODIUM.UPSERT", f"linked:{rid('lnk', 1)}", cells(rid("lnk", 1), name="x", ends=[rid("end", n) for n in range(4 * MANY)])), 1),
], ids=["index", "records", "gone", "links"])
def test_others_are_answered_meanwhile(server, full, command, reply):
    spec(full, "linked", LINKED)
    served, came = pings(server, full, *command)
    assert came == reply
    assert served >= 8, "it was done in one go"


def test_an_index_that_was_invalidated_in_slices_is_as_one_that_was_at_once(server, full, world):
    assert full.call("PODIUM.INVALIDATE", GROUP) == MANY
    assert full.call("DBSIZE") < 100, "no copy is left, and no set"
    world.airtable.forget()
    assert ids(full, GROUP) == []
    assert world.airtable.count() >= 1, "it is asked anew"
    assert get(full, key(5)) is None


@pytest.mark.parametrize("target", ["index", "records"])
def test_in_a_transaction_it_is_done_at_once(full, target):
    names = [GROUP] if target == "index" else [key(n) for n in range(MANY)]
    full.call("MULTI")
    full.call("PODIUM.INVALIDATE", *names)
    full.call("PODIUM.GET", key(3), "CACHEONLY")
    assert full.call("EXEC") == [MANY, None]


def test_a_key_that_is_named_twice_counts_once(full):
    names = [key(n) for n in range(900)] * 3
    assert full.call("PODIUM.INVALIDATE", *names) == 900
    assert full.call("PODIUM.TOMBSTONE", *[key(n) for n in range(900, 1000)] * 5) == 100


def test_records_and_answers_are_dropped_by_one_command(full):
    spec(full, "page", {"computed": True})
    for n in range(3000):
        full.send("PODIUM.FILL", f"page:{n}", "x", "TAGS", 1, "all")
    assert [full.read() for _ in range(3000)] == [1] * 3000
    assert full.call("PODIUM.INVALIDATE", GROUP, "tag:all", key(1)) == MANY + 3000
    assert full.call("PODIUM.GET", "page:1") is None


def test_nothing_is_done_where_a_key_is_none(full):
    reply = full.error("PODIUM.INVALIDATE", GROUP, *[key(n) for n in range(2000)], "nonsense")
    assert reply.code == "BADKEY"
    assert len(ids(full, GROUP)) == MANY


@pytest.mark.parametrize("between", [("FLUSHALL",), ("PODIUM.INVALIDATE", "items:*"), ("PODIUM.SPEC", "DEL", "items"), ("CONFIG", "SET", "podium.enabled", "no")], ids=lambda words: words[-1])
def test_what_comes_in_between_ends_it_well(server, full, between):
    with server.client() as other:
        full.send("PODIUM.INVALIDATE", GROUP)
        other.call(*between)
        dropped = full.read()
    assert isinstance(dropped, int) and 0 <= dropped <= MANY
    assert full.attempt("PODIUM.GET", key(MANY - 1), "CACHEONLY") is None or between[-1] == "items"


def test_who_is_told_in_between_is_told(server, full):
    """Either order of the two is right, and all reads agree on which it was."""
    with server.client() as other:
        full.send("PODIUM.TOMBSTONE", *[key(n) for n in range(MANY)])
        again = [other.call("PODIUM.UPSERT", key(n), cells(told(n), name="again", group="big")) for n in (0, MANY // 2, MANY - 1)]
        assert full.read() <= MANY
        assert again == [1] * 3
    there = [told(n) for n in (0, MANY // 2, MANY - 1) if get(full, key(n))]
    assert ids(full, GROUP) == sorted(there)


def test_it_waits_while_writes_are_paused(server, full):
    with server.client() as other:
        full.send("PODIUM.INVALIDATE", GROUP)
        other.call("CLIENT", "PAUSE", 60_000, "WRITE")
        paused_early = not full.answered(0.3)
        other.call("CLIENT", "UNPAUSE")
        assert full.read() == MANY
    if paused_early:
        assert full.call("DBSIZE") < 100


def test_who_goes_away_has_it_done_all_the_same(server, full):
    with server.client() as other:
        other.send("PODIUM.INVALIDATE", GROUP)
        eventually(5, "it began", lambda: full.call("DBSIZE") < MANY)
    eventually(10, "all is dropped", lambda: full.call("DBSIZE") < 100)
    assert full.call("PODIUM.GET", key(0), "CACHEONLY") is None
    eventually(5, "nobody waits", lambda: server.info("clients")["blocked_clients"] == "0")


def test_who_is_unblocked_is_told_so(server, full):
    with server.client() as other:
        number = other.id()
        other.send("PODIUM.INVALIDATE", GROUP, *[key(n) for n in range(MANY)])
        if full.call("CLIENT", "UNBLOCK", number):
            assert other.read().code == "ERR"
    eventually(10, "all is dropped", lambda: full.call("DBSIZE") < 100)


def test_nothing_of_it_is_back_after_a_restart(spawn):
    server = spawn(config=["appendonly yes", "appendfsync always"])
    client = server.client()
    define(client, "items")
    fill(client, 3000)
    assert client.call("PODIUM.INVALIDATE", GROUP) == 3000
    server.restart(kill=True)
    client = server.client()
    assert client.call("PODIUM.GET", key(7), "CACHEONLY") is None
    assert client.call("PODIUM.INDEX", GROUP, "IDS", "CACHEONLY") is None


LARGE = [
    ("text", {"name": "x" * 300_000}),
    ("links", {"ends": [rid("end", n) for n in range(3000)]}),
    ("values", {"name": "x", "list": list(range(40_000))}),
]


@pytest.mark.parametrize("fields", [fields for _, fields in LARGE], ids=[name for name, _ in LARGE])
@pytest.mark.parametrize("entity", ["linked", "loose"])
@pytest.mark.parametrize("how", ["plain", "multi", "twice"])
def test_a_large_record_is_stored_as_a_small_one_is(client, fields, entity, how):
    spec(client, "linked", LINKED)
    spec(client, "loose", {})
    id, name = rid("lrg", 1), f"{entity}:{rid('lrg', 1)}"
    if how == "multi":
        client.call("MULTI")
        client.call("PODIUM.UPSERT", name, cells(id, **fields))
        client.call("PODIUM.GET", name)
        stored, record = client.call("EXEC")
        assert stored == 1
    else:
        replies = client.pipeline([("PODIUM.UPSERT", name, cells(id, **{**fields, "name": "first"}))] * (how == "twice")
                                  + [("PODIUM.UPSERT", name, cells(id, **fields)), ("PODIUM.GET", name)])
        record = replies.pop()
        assert replies == [1] * len(replies)
    known = {field: value for field, value in fields.items() if entity == "loose" or field != "list"}
    assert known.items() <= json.loads(record).items()


def test_the_other_ends_of_a_large_record_are_in_doubt(client, world):
    spec(client, "linked", LINKED)
    spec(client, "other", {"schema": schema({"name": {"type": "string"}, "back": {**LINKS, "default": []}})})
    holder = rid("lnk", 1)
    client.call("PODIUM.UPSERT", f"linked:{rid('lnk', 2)}", cells(rid("lnk", 2), name="x", ends=[rid("end", 1)]))
    ends = [rid("end", n) for n in range(200)]
    for end in ends:
        client.call("PODIUM.UPSERT", f"other:{end}", cells(end, name="e"))
    assert client.call("PODIUM.UPSERT", f"linked:{holder}", cells(holder, name="x", ends=ends)) == 1
    assert [client.call("PODIUM.GET", f"other:{end}", "CACHEONLY") for end in ends] == [None] * 200
    for end in ends:
        client.call("PODIUM.UPSERT", f"other:{end}", cells(end, name="e", back=[holder]))
    # The same links once more are no change.
    assert client.call("PODIUM.UPSERT", f"linked:{holder}", cells(holder, name="y", ends=ends)) == 1
    assert all(client.call("PODIUM.GET", f"other:{end}", "CACHEONLY") for end in ends)
    assert client.call("PODIUM.UPSERT", f"linked:{holder}", cells(holder, name="y", ends=ends[:10])) == 1
    left = [n for n, end in enumerate(ends) if client.call("PODIUM.GET", f"other:{end}", "CACHEONLY")]
    assert left == list(range(10))


def test_what_a_large_record_lacks_is_said(client):
    spec(client, "linked", LINKED)
    name = f"linked:{rid('lnk', 1)}"
    text = "x" * 200_000
    assert client.error("PODIUM.UPSERT", name, json.dumps({"name": text})[:-1]).code == "BADRECORD"
    assert client.error("PODIUM.UPSERT", name, json.dumps({"id": rid("lnk", 2), "name": text})).code == "BADRECORD"
    assert client.error("PODIUM.UPSERT", f"nobody:{rid('lnk', 1)}", json.dumps({"name": text})).code == "NOENTITY"
    assert client.error("PODIUM.UPSERT", "linked:name:x", json.dumps({"name": text})).code == "BADKEY"
    client.call("SET", name, "foreign")
    assert client.error("PODIUM.UPSERT", name, json.dumps({"name": text})).code == "WRONGTYPE"
    assert client.call("GET", name) == b"foreign"
    client.call("DEL", name)
    assert client.call("PODIUM.UPSERT", name, cells(rid("lnk", 1), name="new"), "AT", 2_000_000_000_000) in (0, 1)


def test_a_large_record_of_earlier_is_not_applied(client):
    spec(client, "linked", LINKED)
    id, name = rid("lnk", 1), f"linked:{rid('lnk', 1)}"
    now = int(client.call("TIME")[0]) * 1000
    assert client.call("PODIUM.UPSERT", name, cells(id, name="new"), "AT", now) == 1
    assert client.call("PODIUM.UPSERT", name, cells(id, name="x" * 200_000), "AT", now - 500_000) == 0
    assert get(client, name)["name"] == "new"


def test_others_are_answered_while_a_large_record_is_read(server, client):
    spec(client, "loose", {})
    id = rid("lrg", 1)
    served, reply = pings(server, client, "PODIUM.UPSERT", f"loose:{id}", json.dumps({"list": [1] * 1_000_000}))
    assert reply == 1
    assert served >= 5, "it was read in one go"


def test_the_last_of_two_is_what_is_kept(server, client):
    """A small record that is told while a large one is read: either may be the later, and what is in the sets agrees."""
    id = item(1)
    assert ids(client, "items:group:large") == ids(client, "items:group:small") == []
    with server.client() as other:
        client.send("PODIUM.UPSERT", f"items:{id}", cells(id, name="x" * 2_000_000, group="large"))
        assert other.call("PODIUM.UPSERT", f"items:{id}", cells(id, name="s", group="small")) == 1
        assert client.read() == 1
    group = get(client, f"items:{id}")["group"]
    assert {g: ids(client, f"items:group:{g}") for g in ("large", "small")} == {"large": [id] if group == "large" else [], "small": [id] if group == "small" else []}


def test_a_replica_has_what_was_done_in_slices(spawn):
    primary = spawn(config=["repl-diskless-sync-delay 0"])
    client = primary.client()
    define(client, "items")
    replica = spawn(config=[f"replicaof 127.0.0.1 {primary.port}"])
    copy = replica.client()
    fill(client, 3000)
    count = lambda: copy.attempt("PODIUM.INDEX", GROUP, "COUNT")  # noqa: E731
    eventually(10, "it has the set", lambda: count() == 3000)
    assert client.call("PODIUM.INVALIDATE", GROUP) == 3000
    assert client.call("WAIT", 1, 5000) == 1
    assert isinstance(count(), ReplyError)
    assert isinstance(copy.attempt("PODIUM.GET", key(5)), ReplyError)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("options", [["IDS"], [], ["IDS", "META"], ["META"], ["LIMIT", "10", "3000", "META"], ["COUNT", "META"]], ids=lambda words: " ".join(words) or "plain")
def test_a_long_reply_is_what_a_transaction_gets(server, full, protocol, options):
    """It is written by a worker where the client may wait, and by the main thread where it may not."""
    with server.client(protocol) as other:
        one, after = other.pipeline([("PODIUM.INDEX", GROUP, *options), ("PING",)])
        assert after == "PONG"
        other.call("MULTI")
        other.call("PODIUM.INDEX", GROUP, *options)
        [at_once] = other.call("EXEC")
        if "META" in options:
            assert type(one[1]) is type(at_once[1]) and mapping(one[1]).keys() == mapping(at_once[1]).keys()
            one, at_once = one[0], at_once[0]
        assert one == at_once
        assert one == MANY if "COUNT" in options else len(one) == (3000 if "LIMIT" in options else MANY)


def test_who_goes_away_before_a_long_reply_takes_nobody_with_it(server, full):
    for n in range(30):
        with server.client() as other:
            other.send("PODIUM.INDEX", GROUP, *["IDS"] * (n % 2))
            if n % 3:
                full.call("PING")
    assert len(ids(full, GROUP)) == MANY
    eventually(5, "nobody waits", lambda: server.info("clients")["blocked_clients"] == "0")
