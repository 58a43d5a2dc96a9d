"""docs/promises.md, sections 1, 3 and 6: what a model says of its fields is taken at its word, by every command."""

from __future__ import annotations

import json
import time

import pytest

from asking import get, ids, index, meta, spec
from support import ReplyError
from world import event, item, rid, schema, user

TEAM = [{"id": "ugpA1b2C3d4E5f6G7", "name": "Design"}]
CHOICE = {"id": "selQ1w2E3r4T5y6U7", "name": "Open", "color": "blueLight2"}
LINKED = [{"id": rid("usr", 1), "name": "Ada"}]
OBJECT = {"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}}, "required": ["id", "name"]}


@pytest.fixture
def told(spawn, world):
    """A server that knows a webhook's secret, and entities whose models want objects."""
    client = spawn(env={"PODIUM_WEBHOOK_SECRET": "s"}).client()
    spec(client, "items", {"schema": schema({
        "name": {"type": "string"}, "team": {"type": "array", "items": OBJECT}, "stage": OBJECT, "who": {"type": "array", "items": OBJECT},
        "label": {"type": "string", "default": ""}})})
    return client


CELLS = {"name": "x", "team": TEAM, "stage": CHOICE, "who": LINKED}


def test_objects_that_the_model_wants_are_kept(told):
    for given in ({**CELLS, "label": CHOICE}, {"fields": {**CELLS, "label": CHOICE}}):
        assert told.call("PODIUM.UPSERT", f"items:{item(1)}", json.dumps(given)) == 1
        assert get(told, f"items:{item(1)}", "CACHEONLY") == {"id": item(1), **CELLS, "label": "Open"}


def test_objects_of_an_automation_are_kept_where_the_model_wants_them(told):
    payload = {"table": "items", "record_id": item(2), "record": {**CELLS, "label": CHOICE}}
    assert told.call("PODIUM.WEBHOOK", json.dumps(payload), "SECRET", "s") == 1
    assert get(told, f"items:{item(2)}", "CACHEONLY") == {"id": item(2), **CELLS, "label": "Open"}


CAT = {"type": "object", "additionalProperties": False, "required": ["id", "name", "group"], "properties": {
    "id": {"type": "string"}, "name": {"type": "string"}, "group": {"const": "g1", "indexed": True}, "lives": {"type": "integer", "default": 9}}}
DOG = {"type": "object", "additionalProperties": False, "required": ["id", "group"], "properties": {
    "id": {"type": "string"}, "group": {"enum": ["g2", "g3"]}, "n": {"type": "integer", "default": 0, "sortable": True}, "good": {"type": "boolean", "default": True}}}
PETS = {"$defs": {"Cat": CAT, "Dog": DOG}, "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}], "discriminator": {"propertyName": "group"}}


def test_a_root_union_fills_in_one_alternative(client, world):
    spec(client, "pets", {"table": "items", "schema": PETS})
    cat = {"id": item(1), "name": "Item 1", "group": "g1", "lives": 9}
    dog = {"id": item(2), "group": "g2", "n": 2, "good": False}
    assert get(client, f"pets:{item(1)}") == cat
    assert get(client, f"pets:{item(2)}") == dog
    before = int(client.call("INFO", "podium").decode().split("podium_schema_violations:")[1].split()[0])
    assert get(client, f"pets:{item(4)}") == {"id": item(4), "name": "Item 4", "group": "g4", "n": 4}, "of none: nothing filled in"
    after = int(client.call("INFO", "podium").decode().split("podium_schema_violations:")[1].split()[0])
    assert after > before
    assert cat in index(client, "pets:group:g1") and dog in index(client, "pets:group:g2")
    assert client.call("PODIUM.UPSERT", f"pets:{item(2)}", json.dumps({"group": "g1", "name": "now a cat"})) == 1
    assert get(client, f"pets:{item(2)}", "CACHEONLY") == {"id": item(2), "name": "now a cat", "group": "g1", "lives": 9}
    assert item(2) in ids(client, "pets:group:g1") and item(2) not in ids(client, "pets:group:g2")
    assert client.call("PODIUM.UPSERT", f"pets:{item(2)}", json.dumps({"group": "eel"})) == 0
    assert get(client, f"pets:{item(2)}") == dog, "what is of none is looked up"


def test_a_view_may_be_a_union_too(client, world):
    spec(client, "items", {"schema": schema({"name": {"type": "string", "default": "?"}, "group": {"type": "string", "indexed": True}, "n": {"type": "integer"},
                                              "lives": {"type": "integer"}, "good": {"type": "boolean"}}), "views": {"public": PETS}})
    assert get(client, f"items:{item(2)}") == {"id": item(2), "group": "g2", "n": 2, "good": False}
    assert get(client, f"items:{item(1)}") == {"id": item(1), "name": "Item 1", "group": "g1", "lives": 9}
    assert index(client, "items:group:g1", "LIMIT", 0, 1)[0].keys() == {"id", "name", "group", "lives"}


def test_an_unchecked_box_reads_false_whatever_its_default(client, world):
    boxes = {"slug": {"type": "string"}, "open": {"type": "boolean", "default": True, "indexed": True}}
    spec(client, "events", {"schema": schema(boxes)})
    closed = [event(2), event(4)]
    assert [get(client, f"events:{e}")["open"] for e in (event(1), *closed)] == [True, False, False]
    assert ids(client, "events:open:false") == closed and ids(client, "events:open:true") == [event(1), event(3)]
    assert json.loads(client.call("PODIUM.UPDATE", f"events:{event(1)}", '{"open":false}'))["open"] is False
    assert get(client, f"events:{event(1)}")["open"] is False
    assert ids(client, "events:open:false") == [event(1), *closed]
    spec(client, "events", {"schema": schema({**boxes, "open": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None}})})
    assert get(client, f"events:{event(2)}")["open"] is None


HOST = "https://v5.airtableusercontent.com/v3/u/1/plan.png"


@pytest.mark.parametrize("cell", [HOST, f"see {HOST}, please", f"[plan]({HOST.upper()})", json.dumps({"url": HOST})])
def test_the_url_of_an_attachment_in_a_text_ends_a_record_s_freshness(client, world, cell):
    spec(client, "items", {"schema": schema({"name": {"type": "string"}, "group": {"type": "string"}})})
    world.change("items", item(1), group=cell)
    world.change("items", item(2), group="https://airtable.com/app1/plan.png")
    client.call("PODIUM.GET", f"items:{item(1)}")
    client.call("PODIUM.GET", f"items:{item(2)}")
    assert meta(client, "PODIUM.GET", f"items:{item(1)}")["ttl"] <= 5400
    assert client.call("TTL", f"items:{item(1)}") <= 7000, "and it is never served after that"
    assert meta(client, "PODIUM.GET", f"items:{item(2)}")["ttl"] > 28000
    assert client.call("PODIUM.UPSERT", f"items:{item(3)}", json.dumps({"name": "told", "group": cell})) == 1
    assert meta(client, "PODIUM.GET", f"items:{item(3)}")["ttl"] <= 5400


def test_a_pattern_that_engines_read_differently_drops_no_default_and_counts_nothing(client, world):
    word = {"type": "string", "pattern": r"^\w+$"}
    spec(client, "items", {"schema": schema({"name": word, "group": {**word, "default": "Zoë"}}, ["name"])})
    world.change("items", item(1), name="José", group=None)
    client.call("PODIUM.STATS", "RESET")
    assert get(client, f"items:{item(1)}") == {"id": item(1), "name": "José", "group": "Zoë"}
    assert b"podium_schema_violations:0" in client.call("INFO", "podium")
    world.change("items", item(2), name="no word")
    get(client, f"items:{item(2)}")
    assert b"podium_schema_violations:1" in client.call("INFO", "podium")


def ladder(keyword: str) -> dict:
    return {f"A{n}": {keyword: [{"$ref": f"#/$defs/A{n + 1}"}] * 3} for n in range(30)} | {"A30": {"type": "string"}}


def test_a_spec_that_stands_for_too_much_holds_nobody_up(client, spawn, world):
    itself = '{"properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"allOf":[{"$ref":"#/$defs/A"},{"$ref":"#/$defs/A"},{"$ref":"#/$defs/A"}]}}}'
    begun = time.monotonic()
    assert client.call("PODIUM.SPEC", "SET", "tangled", itself) == "OK"
    assert client.call("PODIUM.SPEC", "SET", "tangled", f'{{"table":"items","schema":{itself}}}') == "OK"
    assert get(client, f"tangled:{item(1)}") == {"id": item(1)}
    assert client.call("PODIUM.UPSERT", f"tangled:{item(1)}", '{"a":[{"a":1}]}') == 1
    for keyword in ("allOf", "anyOf", "oneOf"):
        whole = {"properties": {"a": {"$ref": "#/$defs/A0"}}, "$defs": ladder(keyword)}
        error = client.error("PODIUM.SPEC", "SET", "tangled", json.dumps(whole))
        assert error.code == "BADSPEC" and "/$defs/A" in error.text, error.text
        assert client.error("PODIUM.SPEC", "SET", "tangled", json.dumps({"views": {"v": whole}})).code == "BADSPEC"
    large = {"properties": {f"p{n}": {"type": "string", "default": "x"} for n in range(20_000)}}
    assert client.call("PODIUM.SPEC", "SET", "tangled", json.dumps(large)) == "OK"
    assert time.monotonic() - begun < 10, "seconds, not minutes, on a busy machine"
    server = spawn(module=False)
    path = server.dir / "specs.json"
    path.write_text(json.dumps({"tangled": {"properties": {"a": {"$ref": "#/$defs/A0"}}, "$defs": ladder("allOf")}}))
    from support import MODULE
    with server.client() as plain:
        begun = time.monotonic()
        assert isinstance(plain.attempt("MODULE", "LOADEX", str(MODULE), "CONFIG", "podium.spec-file", str(path)), ReplyError)
        assert time.monotonic() - begun < 10
    assert "/$defs/A" in server.log()
