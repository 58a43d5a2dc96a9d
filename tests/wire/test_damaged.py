"""docs/promises.md, section 5: one damaged cell never spoils another record. What cannot be read is its own error, and nothing else's."""

from __future__ import annotations

import json

import pytest

from asking import get, ids, index, mget, spec
from between import between
from damage import HOLE, RECORDS, TEXTS, UNREADABLE, arrives, damage, deep
from support import ReplyError, mapping
from test_webhook import hook  # noqa: F401 (a fixture)
from world import item, project, schema

BAD = item(11)
"""The record that is damaged; it is of group g1, as every tenth."""

GROUP = [item(n) for n in range(1, 401) if n % 10 == 1]


def keys(numbers):
    return [f"items:{item(n)}" for n in numbers]


def own_error(reply) -> bool:
    return isinstance(reply, ReplyError) and reply.code == "BADRECORD" and BAD in reply.text


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def either(request, server, client):
    """A client of either protocol."""
    return server.client(request.param)


@pytest.mark.parametrize("raw, mended", TEXTS.values(), ids=TEXTS.keys())
def test_text_that_is_no_unicode_is_mended_wherever_it_comes(client, world, raw, mended):
    damage(world, raw, "items", BAD)
    replies = mget(client, keys(range(1, 61)))
    assert [r["n"] for r in replies] == list(range(1, 61)) and replies[10]["name"] == mended
    client.call("PODIUM.INVALIDATE", "items:*")
    assert {r["id"]: r["name"] for r in index(client, "items:group:g1")}[BAD] == mended
    client.call("PODIUM.INVALIDATE", "items:*")
    assert {r["id"]: r["name"] for r in index(client, "items:*")}[BAD] == mended
    client.call("PODIUM.INVALIDATE", "items:*")
    assert mapping(client.call("PODIUM.WARM", "items:*"))["records"] == 400
    world.airtable.forget()
    assert get(client, f"items:{BAD}")["name"] == mended and ids(client, "items:group:g1") == GROUP
    assert world.airtable.count() == 0
    assert mapping(client.call("PODIUM.SWEEP", "items:*", "FULL"))["removed"] == 0


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_cell_that_cannot_be_read_is_its_records_own_error(either, world, server, raw):
    client = either
    damage(world, raw, "items", BAD)
    replies = mget(client, keys(range(1, 61)))
    assert own_error(replies[10])
    assert [r["n"] for n, r in enumerate(replies) if n != 10] == [n for n in range(1, 61) if n != 11]
    assert client.call("EXISTS", f"tomb:items:{BAD}") == 0
    for name, members in (("items:group:g1", GROUP), ("items:*", [item(n) for n in range(1, 401)])):
        for _ in range(2):
            found = client.call("PODIUM.INDEX", name)
            assert [own_error(r) for r in found] == [id == BAD for id in members], "its place holds its error, and no other's"
            assert [json.loads(r)["id"] for r in found if not isinstance(r, ReplyError)] == [id for id in members if id != BAD]
            assert ids(client, name) == members and client.call("PODIUM.INDEX", name, "COUNT") == len(members)
    both = client.call("PODIUM.INTER", 2, "items:group:g1", "items:group:g1")
    assert len(both) == len(GROUP) and sum(own_error(r) for r in both) == 1
    assert BAD not in ids(client, "items:group:g2"), "by its own cells it is in no other set"
    assert own_error(client.attempt("PODIUM.GET", f"items:{BAD}"))
    world.airtable.clear_faults()
    assert get(client, f"items:{BAD}")["name"] == HOLE, "nothing of it was kept"
    assert len(index(client, "items:group:g1")) == len(GROUP)


@pytest.mark.parametrize("raw", [deep(), "tru"], ids=["deep", "no value"])
def test_warm_and_sweep_go_on_beside_it(client, world, raw):
    damage(world, raw, "items", BAD)
    warmed = mapping(client.call("PODIUM.WARM", "items:*"))
    assert warmed["records"] == 400
    world.airtable.forget()
    assert ids(client, "items:group:g2") == [item(n) for n in range(2, 401, 10)] and get(client, f"items:{item(1)}")["n"] == 1
    assert len(index(client, "items:group:g2")) == 40
    assert world.airtable.count() == 0, "the sets that it is not in are whole"
    assert sum(own_error(r) for r in client.call("PODIUM.INDEX", "items:group:g1")) == 1
    assert mapping(client.call("PODIUM.SWEEP", "items:*", "FULL"))["removed"] == 0
    assert client.call("EXISTS", f"tomb:items:{BAD}") == 0


@pytest.mark.parametrize("raw", ["7", "[]", "null", '{"name":"x",7}'], ids=["number", "array", "null", "no member"])
def test_fields_that_are_no_object(client, world, raw):
    """Nothing is known of its cells: it may be in any set, and no set is answered as if it were not."""

    def change(path, ask):
        page = ask()
        if not isinstance(page, dict) or "records" not in page:
            return None
        for r in page["records"]:
            if r["id"] == BAD:
                r["fields"] = HOLE
        return json.dumps(page).replace(f'"{HOLE}"', raw).encode()

    with between(world.airtable.url, change) as url:
        client.call("CONFIG", "SET", "podium.airtable-url", url)
        replies = mget(client, keys(range(1, 31)))
        assert own_error(replies[10]) and sum(isinstance(r, ReplyError) for r in replies) == 1
        found = client.call("PODIUM.INDEX", "items:group:g1")
        assert sum(own_error(r) for r in found) == 1 and len(found) == 40
        assert client.error("PODIUM.INDEX", "items:group:g1", "COUNT").code == "BADRECORD", "whether it belongs is not known"
        assert client.call("PODIUM.INDEX", "items:*", "COUNT") == 400
        assert mapping(client.call("PODIUM.WARM", "items:*"))["records"] == 400
        found = client.call("PODIUM.INDEX", "items:group:g2")
        assert sum(own_error(r) for r in found) == 1 and len(found) == 41, "it may belong there too"


@pytest.mark.parametrize("raw", RECORDS.values(), ids=RECORDS.keys())
def test_what_does_not_say_which_record_it_is(client, world, raw):
    def change(path, ask):
        page = ask()
        if not isinstance(page, dict) or "records" not in page:
            return None
        page["records"] = [HOLE if r["id"] == BAD else r for r in page["records"]]
        return json.dumps(page).replace(f'"{HOLE}"', raw).encode()

    with between(world.airtable.url, change) as url:
        client.call("CONFIG", "SET", "podium.airtable-url", url)
        replies = mget(client, keys(range(1, 31)))
        assert isinstance(replies[10], ReplyError) and sum(isinstance(r, ReplyError) for r in replies) == 1
        assert client.call("KEYS", "tomb:*") == []
        found = client.call("PODIUM.INDEX", "items:group:g1")
        assert [isinstance(r, ReplyError) for r in found] == [False] * 39 + [True]
        assert isinstance(client.attempt("PODIUM.INDEX", "items:group:g1", "COUNT"), ReplyError)
        warmed = client.attempt("PODIUM.WARM", "items:*")
        assert isinstance(warmed, ReplyError) or mapping(warmed)["records"] == 399
        world.airtable.forget()
        assert get(client, f"items:{item(399)}")["n"] == 399 and world.airtable.count() == 0, "the others are stored"
        client.call("PODIUM.UPSERT", f"items:{BAD}", json.dumps({"id": BAD, "name": "x", "n": 11, "group": "g1"}))
        swept = client.attempt("PODIUM.SWEEP", "items:*", "FULL")
        assert isinstance(swept, ReplyError) or mapping(swept)["removed"] == 0
    assert client.call("KEYS", "tomb:*") == []


def test_a_number_beyond_a_float_keeps_its_digits(client, world):
    spec(client, "raw", {"table": "items"})
    damage(world, "1e999", "items", BAD)
    assert [r["id"] for r in mget(client, keys(range(1, 31)))] == [item(n) for n in range(1, 31)]
    assert get(client, f"raw:{BAD}")["name"] == "1e999"
    arrives(world, "9" * 400, "1e999")


def test_a_damaged_name_of_a_cell(client, world):
    spec(client, "raw", {"table": "items"})
    arrives(world, rb'"na\ud83cme"', '"name"')
    assert get(client, f"raw:{BAD}")["na\ufffdme"] == "Item 11"
    assert len(mget(client, [f"raw:{item(n)}" for n in range(1, 61)])) == 60


# What is told ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw, mended", TEXTS.values(), ids=TEXTS.keys())
def test_told_texts_are_mended(client, hook, raw, mended):
    raw = raw.encode() if isinstance(raw, str) else raw
    flat = b'{"id":"%s","n":1,"group":"g1","name":%s}' % (BAD.encode(), raw)
    assert client.call("PODIUM.UPSERT", f"items:{BAD}", flat) == 1
    assert get(client, f"items:{BAD}", "CACHEONLY")["name"] == mended
    payload = b'{"table":"items","record_id":"%s","record":{"name":%s,"n":2,"group":"g1"}}' % (BAD.encode(), raw)
    assert hook.client.call("PODIUM.WEBHOOK", payload, "SECRET", "correct horse battery staple") == 1
    assert get(hook.client, f"items:{BAD}", "CACHEONLY") == {"id": BAD, "name": mended, "n": 2, "group": "g1"}


@pytest.mark.parametrize("record", [deep(), '{"name":%s}' % deep(), "tru", "[]", "7", '{"name":"x",7}'], ids=["deep", "a deep cell", "no value", "array", "number", "no member"])
def test_a_webhook_whose_cells_cannot_be_read_invalidates(hook, world, record):
    get(hook.client, f"items:{BAD}")
    ids(hook.client, "items:group:g1")
    world.change("items", BAD, name="new", group="g2")
    payload = '{"table":"items","record":%s,"record_id":"%s"}' % (record, BAD)
    assert hook.client.call("PODIUM.WEBHOOK", payload, "SECRET", "correct horse battery staple") == 1
    assert BAD not in ids(hook.client, "items:group:g1")
    assert get(hook.client, f"items:{BAD}")["name"] == "new"


def test_told_json_that_cannot_be_read_is_refused(client):
    for json_text in (deep(), '{"name":%s}' % deep(), "[", '{"name":tru}', '{"a":1,2}'):
        assert client.error("PODIUM.UPSERT", f"items:{BAD}", json_text).code == "BADRECORD"
        assert client.error("PODIUM.UPDATE", f"items:{BAD}", json_text).code == "BADRECORD"
    assert client.call("PING") == "PONG"


# Writes ---------------------------------------------------------------------------------------------------------------


def test_a_written_text_is_mended_on_both_ways(client, world):
    [made] = client.call("PODIUM.CREATE", "items:*", rb'{"name":"a\ud83cb","n":1,"group":"g1"}')
    made = json.loads(made)
    assert made["name"] == "a\ufffdb" and world.truth("items")[made["id"]]["name"] == "a\ufffdb"
    arrives(world, rb'"\udf89"', '"written"')
    assert json.loads(client.call("PODIUM.UPDATE", f"items:{BAD}", '{"name":"written"}'))["name"] == "\ufffd"
    assert world.truth("items")[BAD]["name"] == "written"


def test_a_written_record_that_cannot_be_read_is_its_own_error(client, world):
    arrives(world, deep())
    bodies = [json.dumps({"name": HOLE if n == 1 else f"new {n}", "n": n, "group": "gnew"}) for n in range(3)]
    replies = client.call("PODIUM.CREATE", "items:*", *bodies)
    assert [isinstance(r, ReplyError) for r in replies] == [False, True, False]
    assert replies[1].code == "BADRECORD" and "written" in replies[1].text
    assert len([r for r in world.truth("items").values() if r.get("group") == "gnew"]) == 3, "nothing is written twice"
    assert client.call("PODIUM.INDEX", "items:group:gnew", "COUNT") == 3
    get(client, f"items:{BAD}")
    error = client.error("PODIUM.UPDATE", f"items:{BAD}", json.dumps({"name": HOLE, "n": 5}))
    assert error.code == "BADRECORD" and BAD in error.text
    assert own_error(client.attempt("PODIUM.GET", f"items:{BAD}")), "the old copy is no answer any more"
    world.airtable.clear_faults()
    assert get(client, f"items:{BAD}")["n"] == 5


# The schema -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [r'"\ud83c"', deep(), "tru"], ids=["half an emoji", "deep", "no value"])
def test_discover_reads_the_rest_of_a_damaged_schema(client, world, raw):
    arrives(world, raw, '"singleSelect"')
    names = client.call("PODIUM.SPEC", "DISCOVER", world.base, "found_")
    assert len(names) == 5
    assert len(index(client, "found_items:*", "LIMIT", 0, 5)) == 5
    assert project(1) in ids(client, "found_projects:*")


def test_many_small_values_take_little_memory(server, client, world):
    """14 MB of zeros in the records' place."""
    body = b'{"records":[' + b"0," * 7_000_000 + b"0]}"

    def change(path, ask):
        return body

    def resident():
        with open(f"/proc/{server.process.pid}/status") as status:
            peak = next(line for line in status if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024

    with between(world.airtable.url, change) as url:
        client.call("CONFIG", "SET", "podium.airtable-url", url, "podium.fetch-timeout-ms", "20000")
        before = resident()
        assert isinstance(client.attempt("PODIUM.GET", f"items:{BAD}"), ReplyError)
        assert resident() - before < 6 * len(body)


# Records that are too large for one answer -------------------------------------------------------------------------------


NAME = {"name": {"type": "string", "indexed": True}}


def grown(world, length):
    """Every project's description is so long."""
    update = [{"id": project(n), "fields": {"description": "x" * length}} for n in range(1, 21)]
    world.airtable.write(base=world.base, table="projects", update=update)


def everything_is_read(client, name, count=20):
    found = index(client, f"{name}:*")
    assert len(found) == count
    client.call("PODIUM.INVALIDATE", f"{name}:*")
    assert mapping(client.call("PODIUM.WARM", f"{name}:*"))["records"] == count
    client.call("PODIUM.INVALIDATE", f"{name}:*")
    assert len(mget(client, [f"{name}:{project(n)}" for n in range(1, count + 1)])) == count
    assert mapping(client.call("PODIUM.SWEEP", f"{name}:*", "FULL"))["removed"] == 0
    client.call("PODIUM.INVALIDATE", f"{name}:{project(1)}")
    assert get(client, f"{name}:{project(1)}")["id"] == project(1)
    return found


def test_of_large_records_only_the_columns_are_read_that_are_needed(client, world):
    """Even if none of the records would fit into an answer by itself."""
    grown(world, 90_000)
    client.call("CONFIG", "SET", "podium.max-response-bytes", "50000")
    spec(client, "small", {"table": "projects", "schema": schema({**NAME, "event": {"type": "array", "items": {"type": "string", "pattern": "^rec"}, "maxItems": 1}})})
    world.airtable.forget()
    found = everything_is_read(client, "small")
    assert {r["id"]: r for r in found}[project(1)] == {"id": project(1), "name": "Project 01", "event": ["recevt00000000002"]}
    assert ids(client, "small:event:recevt00000000002") == [project(n) for n in range(1, 21) if n % 3 == 1]
    assert ids(client, "small:name:Project 07") == [project(7)]


def test_a_column_that_the_base_lacks_is_not_asked_for(client, world):
    grown(world, 90_000)
    client.call("CONFIG", "SET", "podium.max-response-bytes", "50000")
    lacking = {f"lacking{n}": {"type": "string", "default": ""} for n in range(3)}
    spec(client, "small", {"table": "projects", "schema": schema({**NAME, **lacking})})
    found = everything_is_read(client, "small")
    assert {r["name"] for r in found} == {f"Project {n:02d}" for n in range(1, 21)}


@pytest.mark.parametrize("columns", [None, 20], ids=["an open spec", "too many columns that the base lacks"])
def test_large_records_are_read_in_smaller_pages(client, world, columns):
    grown(world, 30_000)
    client.call("CONFIG", "SET", "podium.max-response-bytes", "200000", "podium.fetch-timeout-ms", "20000")
    made = {f"lacking{n}": {"type": "string", "default": ""} for n in range(columns or 0)}
    spec(client, "small", {"table": "projects", **({"schema": schema({**NAME, **made})} if columns else {})})
    assert {r["name"] for r in everything_is_read(client, "small")} == {f"Project {n:02d}" for n in range(1, 21)}
    client.call("CONFIG", "SET", "podium.max-response-bytes", "16777216")
    client.call("PODIUM.INVALIDATE", "small:*")
    assert len(index(client, "small:*")) == 20
