"""docs/promises.md, sections 4 and 5: whatever a page of payloads holds, the feed goes on, and what it may concern is no answer any more."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from asking import cells, get, ids
from between import between
from damage import HOLE, TEXTS, damage, deep
from support import eventually
from test_sync import fed, now, status  # noqa: F401 (a fixture)
from world import event, item, project

ONE = item(1)
KEY = f"items:{ONE}"


@contextmanager
def payloads(client, world, change):
    """`change(payload)` is what arrives in place of each payload: JSON, or text that stands there as it is."""

    def page(path, ask):
        if "/payloads" not in path:
            return None
        body = ask()
        texts = [change(payload) for payload in body["payloads"]]
        texts = [text if isinstance(text, str) else json.dumps(text) for text in texts]
        body["payloads"] = HOLE
        return json.dumps(body).replace(f'"{HOLE}"', f"[{','.join(texts)}]").encode()

    with between(world.airtable.url, page) as url:
        client.call("CONFIG", "SET", "podium.airtable-url", url)
        yield
        client.call("CONFIG", "SET", "podium.airtable-url", world.airtable.url)


@pytest.mark.parametrize("raw, mended", TEXTS.values(), ids=TEXTS.keys())
def test_a_damaged_text_stops_nothing(fed, world, raw, mended):
    found = ids(fed, "items:group:g1")
    get(fed, KEY)
    damage(world, raw, "items", ONE)
    now(fed)
    assert get(fed, KEY)["name"] == mended and ids(fed, "items:group:g1") == found
    told = status(fed)
    assert told["cursor"] == 2 and told["gaps"] == 0 and told["error"] == ""


def renamed(fill):
    """A payload in which the cell is `fill`."""
    return lambda payload: json.dumps(payload).replace('"new"', fill)


ODD = {
    "a number": lambda _: 7,
    "null": lambda _: None,
    "no value": lambda _: "tru",
    "deep": lambda _: deep(),
    "cut short": lambda payload: json.dumps(payload)[:-1] + ",7}",
    "a deep cell": renamed(deep()),
    "an unreadable cell": renamed("nul"),
    "tables as a list": lambda payload: {"changedTablesById": list(payload["changedTablesById"])},
    "another word": lambda payload: {"touchedTablesById": payload["changedTablesById"]},
    "records as a list": lambda payload: {"changedTablesById": {t: {"changedRecordsById": list(c["changedRecordsById"])} for t, c in payload["changedTablesById"].items()}},
    "another word for records": lambda payload: {"changedTablesById": {t: {"touchedRecordsById": c["changedRecordsById"]} for t, c in payload["changedTablesById"].items()}},
    "without cells": lambda payload: {"changedTablesById": {t: {"changedRecordsById": {id: {} for id in c["changedRecordsById"]}} for t, c in payload["changedTablesById"].items()}},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_a_payload_of_a_shape_never_seen_puts_in_doubt_what_it_may_concern(fed, world, odd):
    found = ids(fed, "items:group:g1")
    assert get(fed, KEY)["name"] == "Item 1"
    with payloads(fed, world, odd):
        world.change("items", ONE, name="new", group="g2")
        now(fed)
        assert get(fed, KEY)["name"] == "new"
        assert ids(fed, "items:group:g1") == [id for id in found if id != ONE]
        told = status(fed)
        assert told["cursor"] == 2 and told["error"] == "" and told["state"] == "following"
    world.change("items", ONE, name="newer")
    now(fed)
    assert get(fed, KEY)["name"] == "newer" and status(fed)["cursor"] == 3, "what comes later is followed as ever"


@pytest.mark.parametrize("damaged", [{"cursor": "x"}, {"cursor": None}, {"mightHaveMore": 7}, {"cursor": -1, "mightHaveMore": None}], ids=str)
def test_a_page_without_a_readable_cursor_leads_on(fed, world, damaged):
    assert get(fed, KEY)["name"] == "Item 1"

    def page(path, ask):
        return {**ask(), **damaged} if "/payloads" in path else None

    with between(world.airtable.url, page) as url:
        fed.call("CONFIG", "SET", "podium.airtable-url", url)
        world.change("items", ONE, name="new")
        now(fed)
        assert get(fed, KEY)["name"] == "new" and status(fed)["cursor"] == 2
        fed.call("CONFIG", "SET", "podium.airtable-url", world.airtable.url)


def test_a_record_that_left_a_view_is_not_gone(fed, world):
    """It is there still, in the sets that it is in; only what became of its cells is not said."""
    found = ids(fed, "items:group:g1")
    assert get(fed, KEY)["name"] == "Item 1"

    def left(payload):
        for change in payload["changedTablesById"].values():
            gone = list(change.pop("changedRecordsById"))
            change["changedViewsById"] = {"viwA1b2C3d4E5f6G7": {"destroyedRecordIds": gone}}
        return payload

    with payloads(fed, world, left):
        world.change("items", ONE, name="new", group="g2")
        now(fed)
        assert fed.call("EXISTS", f"tomb:{KEY}") == 0
        assert get(fed, KEY)["name"] == "new"
        assert ids(fed, "items:group:g1") == [id for id in found if id != ONE] and ONE in ids(fed, "items:group:g2")


def test_what_came_back_since_a_page_was_asked_for_is_not_buried_by_it(fed, world, server):
    """The page that says it was destroyed is on its way while the record is made anew and told."""
    ids(fed, "items:*")
    world.delete("items", ONE)
    world.airtable.fault("slow", times=1, match={"path_contains": "/payloads"}, ms=700)
    world.airtable.forget()
    poll = server.client()
    poll.send("PODIUM.SYNC", "NOW")
    eventually(5, "the poll is on its way", lambda: world.airtable.count("/payloads") == 1)
    world.create("items", ONE, name="back", n=1, group="g1")
    assert fed.call("PODIUM.UPSERT", KEY, cells(ONE, name="back", n=1, group="g1")) == 1
    assert poll.read() == "OK"
    assert fed.call("EXISTS", f"tomb:{KEY}") == 0
    assert get(fed, KEY)["name"] == "back" and ONE in ids(fed, "items:group:g1")


def test_a_link_that_changed_unreadably_is_no_answer_at_either_end(fed, world):
    assert get(fed, f"projects:{project(1)}")["event"] == [event(2)]
    with payloads(fed, world, lambda payload: json.dumps(payload).replace(event(3), "\\ud83c")):
        world.change("projects", project(1), event=[event(3)])
        now(fed)
        assert get(fed, f"projects:{project(1)}")["event"] == [event(3)]
        assert project(1) in ids(fed, f"projects:event:{event(3)}")
        assert project(1) not in ids(fed, f"projects:event:{event(2)}")
