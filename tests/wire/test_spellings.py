"""docs/promises.md, section 2: what may be a number is compared by its number, what is a date-time by its instant, however it is written."""

from __future__ import annotations

import json

import pytest

from asking import cells, ids, spec
from world import item, project, schema

DECIMAL = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$"}]}
AT = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}
ENTITY = {"schema": schema({"name": {"type": "string"}, "n": {**DECIMAL, "indexed": True, "sortable": True}, "at": {**AT, "indexed": True, "sortable": True}})}
A, B, C = item(1), item(2), item(3)


@pytest.fixture
def items(server, world):
    """A connection; items are modelled with a Decimal and a datetime, which the table's column of numbers and no column hold."""
    client = server.client()
    spec(client, "items", ENTITY)
    return client


def told(client, id: str, **fields) -> None:
    assert client.call("PODIUM.UPSERT", f"items:{id}", cells(id, name=id, **fields)) == 1


@pytest.mark.parametrize("asked", ["94", "94.00", "9.4e1", "+94", "094.0", "940e-1"])
def test_a_number_is_found_however_it_is_written(items, world, asked):
    assert ids(items, f"items:n:{asked}") == [item(94)]
    assert ids(items, "items:n:94.000") == [item(94)] and world.airtable.count() == 1, "one set for all of them"


@pytest.mark.parametrize("written", ['"94.00"', "94", "94.0", '"9.40E+1"'])
def test_what_is_told_of_a_number_stays_in_its_set(items, world, written):
    assert ids(items, "items:n:94") == [item(94)]
    told(items, A, n=json.loads(written))
    for asked in ("94", "94.00", "9.4e1"):
        assert ids(items, f"items:n:{asked}") == [A, item(94)]
    told(items, A, n="94.001")
    assert ids(items, "items:n:94") == [item(94)]
    assert world.airtable.count() == 1


def test_numbers_beyond_a_float(items, world):
    told(items, A, n="1000000000000000000000")
    told(items, B, n=1e21)
    told(items, C, n="1000000000000000000001")
    assert ids(items, "items:n:1e+21") == [A, B]
    assert ids(items, "items:n:1000000000000000000001.0") == [C]
    told(items, A, n="0.1000000000000000055")
    assert ids(items, "items:n:0.1") == [] and ids(items, "items:n:1000000000000000055e-19") == [A]


def test_numbers_written_as_texts_are_sorted_as_numbers(items):
    ids(items, "items:*")
    for id, n in ((A, "9.5e2"), (B, "949.99"), (C, "1e3")):
        told(items, id, n=n)
    assert ids(items, "items:*", "SORT", "n", "DESC", "LIMIT", 0, 3) == [C, A, B]


def test_an_instant_is_found_however_it_is_written(items, world):
    items.call("PODIUM.WARM", "items:*")
    world.airtable.forget()
    for id, at in ((A, "2026-03-10T09:00:00.000Z"), (B, "2026-03-10T09:00:00Z"), (C, "2026-03-10T10:00:00+01:00")):
        told(items, id, at=at)
    for asked in ("2026-03-10T09:00:00Z", "2026-03-10T09:00:00.000Z", "2026-03-10T09:00:00+00:00", "2026-03-10t09:00:00.0z", "2026-03-10T04:30:00-04:30", "2026-03-10 09:00:00.000000Z"):
        assert ids(items, f"items:at:{asked}") == [A, B, C]
    assert world.airtable.count() == 0, "one set for all of them"
    told(items, B, at="2026-03-10T09:00:00.001Z")
    assert ids(items, "items:at:2026-03-10T09:00:00Z") == [A, C]


def test_a_model_that_prints_its_times_without_fractions_keeps_its_place(client, world):
    """What Airtable writes `.000Z`, Pydantic prints `Z`."""
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}, "due": {"type": ["string", "null"], "format": "date-time", "indexed": True}})})
    one = project(5)
    assert ids(client, "projects:due:2026-03-05") == [one]
    for due in ("2026-03-05T00:00:00Z", "2026-03-05T00:00:00", "2026-03-05T01:00:00+01:00"):
        client.call("PODIUM.UPSERT", f"projects:{one}", cells(one, name="x", due=due))
        assert ids(client, "projects:due:2026-03-05") == ids(client, "projects:due:2026-03-05T00:00:00.000Z") == [one]
    assert world.airtable.count() == 1


def test_instants_are_sorted_as_instants(items):
    ids(items, "items:*")
    for id, at in ((A, "2026-03-10T10:00:00+02:00"), (B, "2026-03-10T09:00:00Z"), (C, "2026-03-10T09:00:00.5Z")):
        told(items, id, at=at)
    assert ids(items, "items:*", "SORT", "at", "LIMIT", 0, 3) == [A, B, C]


def test_what_no_calendar_holds_is_a_text(client, world):
    spec(client, "events", {"schema": schema({"slug": {"type": "string", "indexed": True}, "name": {"type": "string"}})})
    for slug in ("2016-12-31T23:59:60Z", "2026-02-30T00:00:00Z", "2026-03-10T24:00:00Z", "007"):
        world.change("events", "recevt00000000001", slug=slug)
        assert ids(client, f"events:slug:{slug}") == ["recevt00000000001"]
    assert ids(client, "events:slug:2017-01-01T00:00:00Z") == ids(client, "events:slug:7") == []


def test_the_right_to_the_normal_form_is_asked_for(server, items):
    told(items, A, n="94.00")
    items.call("ACL", "SETUSER", "web", "on", ">x", "+@podium", "%R~items:n:94.00", "%R~items:at:2026-03-10T09:00:00Z")
    web = server.client()
    web.call("AUTH", "web", "x")
    for key in ("items:n:94.00", "items:at:2026-03-10T09:00:00Z"):
        assert web.error("PODIUM.INDEX", key).code == "NOPERM"
        assert web.error("PODIUM.INTER", 1, key).code == "NOPERM"
    items.call("ACL", "SETUSER", "web", "%R~items:n:94", "%R~items:at:2026-03-10T09:00:00.000Z")
    assert ids(web, "items:n:94.00") == [A, item(94)]
