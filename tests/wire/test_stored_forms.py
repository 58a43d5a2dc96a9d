"""How records are stored is our own business, and changes: what an earlier module stored is fetched anew, never misread, and nobody's foreign value."""

from __future__ import annotations

import json
import struct
import time

import pytest

from asking import cells, get, ids, mget, spec
from support import text
from world import define, event, item, user


def former(magic: bytes, name: str, generation: int, whole: bytes = b"") -> bytes:
    """The first form: six numbers, four places, the name, the JSON; of a tombstone, without places and JSON. Fresh for an hour."""
    now = int(time.time() * 1000)
    at = 88 + len(name)
    numbers = (generation, now, now + 3_600_000, 2**64 - 1, now * 1000, 0)
    places = (at, len(whole), at, len(whole), at + len(whole), 0, at + len(whole), 0) if whole else (0,) * 8
    return magic + struct.pack("<I6Q8I", len(name), *numbers, *places) + name.encode() + whole


def generation(client, entity: str) -> int:
    value = client.call("HGET", f"podium:spec:{entity}", "generation")
    return int(value)


def record_of_old(client, id: str) -> bytes:
    whole = json.dumps({"id": id, "name": "as it was", "n": -1, "group": "g7"}, separators=(",", ":")).encode()
    return former(b"\x01PR1", f"items:{id}", generation(client, "items"), whole)


def put(client, how: str, key: str, value: bytes) -> None:
    if how == "SET":
        client.call("SET", key, value, "PX", 3_600_000)
    else:
        client.call("SET", "aside", value)
        client.call("RESTORE", key, 3_600_000, client.call("DUMP", "aside"), "REPLACE")


@pytest.mark.parametrize("how", ["SET", "RESTORE"])
def test_a_record_of_an_earlier_form_is_fetched_anew(client, world, how):
    keys = [f"items:{item(n)}" for n in (1, 2, 3)]
    for n in (1, 2, 3):
        put(client, how, f"items:{item(n)}", record_of_old(client, item(n)))
    assert client.call("PODIUM.GET", keys[0], "CACHEONLY") is None
    world.airtable.forget()
    assert get(client, keys[0])["n"] == 1
    assert [record["n"] for record in mget(client, keys)] == [1, 2, 3]
    calls = world.airtable.count()
    assert [get(client, key)["n"] for key in keys] == [1, 2, 3], "it was stored over"
    assert world.airtable.count() == calls
    assert item(1) in ids(client, "items:group:g1") and item(1) not in ids(client, "items:group:g7")


def test_what_is_told_of_one_takes_its_place(client, world):
    for n in (1, 2, 3, 4):
        put(client, "SET", f"items:{item(n)}", record_of_old(client, item(n)))
    assert client.call("PODIUM.UPSERT", f"items:{item(1)}", cells(item(1), name="told", n=1, group="g2")) == 1
    assert get(client, f"items:{item(1)}")["name"] == "told"
    client.call("PODIUM.INVALIDATE", f"items:{item(2)}")
    assert get(client, f"items:{item(2)}")["n"] == 2
    client.call("PODIUM.TOMBSTONE", f"items:{item(3)}")
    assert client.call("PODIUM.GET", f"items:{item(3)}", "CACHEONLY") is None
    world.delete("items", item(3))
    assert get(client, f"items:{item(3)}") is None
    client.call("PODIUM.INVALIDATE", "items:*")
    assert get(client, f"items:{item(4)}")["n"] == 4


def test_a_tombstone_of_an_earlier_form_hides_nothing(client, world):
    name = f"tomb:items:{item(5)}"
    put(client, "SET", name, former(b"\x01PT1", name, generation(client, "items")))
    assert get(client, f"items:{item(5)}")["n"] == 5


def test_a_data_set_of_an_earlier_module(spawn, world):
    server = spawn(save=True)
    client = server.client()
    define(client, "items")
    assert len(ids(client, "items:group:g1")) == 40
    for n in range(1, 41):
        put(client, "SET", f"items:{item(n)}", record_of_old(client, item(n)))
    client.call("SAVE")
    server.restart()
    client = server.client()
    keys = [f"items:{item(n)}" for n in range(1, 41)]
    assert [record["n"] for record in mget(client, keys)] == list(range(1, 41))
    assert item(1) in ids(client, "items:group:g1")
    server.assert_well()


def test_a_body_that_was_moved_is_foreign_whoever_it_belonged_to(client):
    get(client, f"items:{item(1)}"), get(client, f"events:{event(1)}"), get(client, f"users:{user(1)}")
    for source, target in [(f"items:{item(1)}", f"items:{item(2)}"), (f"items:{item(1)}", f"events:{item(1)}"), (f"users:{user(1)}", f"items:{user(1)}")]:
        assert client.call("COPY", source, target) == 1
        assert client.error("PODIUM.GET", target).code == "WRONGTYPE"
        assert client.error("PODIUM.UPSERT", target, "{}").code == "WRONGTYPE"
        assert client.call("DEL", target) == 1
    assert client.call("RENAME", f"items:{item(1)}", f"items:{item(2)}")
    assert client.error("PODIUM.GET", f"items:{item(2)}").code == "WRONGTYPE"


def test_the_default_view_comes_first_and_the_whole_holds_it_once(client, world):
    spec(client, "items", {"schema": {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}, "group": {"type": "string", "indexed": True}}},
                           "views": {"public": ["group", "name"], "count": ["n"]}})
    key = f"items:{item(1)}"
    public = client.call("PODIUM.GET", key)
    whole = client.call("PODIUM.GET", key, "VIEW", "*")
    assert list(json.loads(public)) == ["id", "group", "name"]
    assert whole.startswith(public[:-1]) and json.loads(whole) == {**json.loads(public), "n": 1}
    assert json.loads(client.call("PODIUM.GET", key, "VIEW", "count")) == {"id": item(1), "n": 1}
    assert client.call("PODIUM.GET", key, "VIEW", "public") == public
    stored = client.call("GET", key)
    assert stored.count(b'"name"') == 1 and public in stored
    assert text(client.call("PODIUM.INDEX", "items:group:g1", "VIEW", "*", "LIMIT", 0, 1)) == [whole.decode()]


@pytest.mark.parametrize("cells", [{}, {"name": "x"}], ids=["its id alone", "hardly more"])
def test_the_smallest_records_are_read_again_and_again(client, cells):
    spec(client, "tiny", {"base": "appNobody00000001"})
    keys = [f"tiny:rec{n}" for n in range(300)]
    for key in keys:
        assert client.call("PODIUM.UPSERT", key, json.dumps(cells)) == 1
    for _ in range(3):
        assert mget(client, keys) == [{"id": key.split(":")[1], **cells} for key in keys]
        assert [get(client, key) for key in keys[:20]] == [{"id": key.split(":")[1], **cells} for key in keys[:20]]
    assert client.call("PODIUM.INVALIDATE", "tiny:*") == 300
