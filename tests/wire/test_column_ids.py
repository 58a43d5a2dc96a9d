"""docs/promises.md, section 1: a property's or a lookup's column may be given by its `fld…` id, which outlives a renaming."""

from __future__ import annotations

import json
import urllib.request

import pytest

from airtable import TOKEN
from asking import get, ids, mget, spec
from support import eventually
from world import SINGLE_LINK, event, project, rid, schema, seed, user


def columns(world, table: str) -> dict[str, str]:
    """The ids of a table's columns by their names."""
    request = urllib.request.Request(f"{world.airtable.url}/v0/meta/bases/{world.base}/tables", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=15) as answer:
        tables = json.load(answer)["tables"]
    world.airtable.forget()
    return {field["name"]: field["id"] for t in tables if t["name"] == table for field in t["fields"]}


def model(of: dict[str, str], *by_id: str) -> dict:
    """The projects, those columns by their ids; the properties have other names than the columns."""
    at = lambda name: of[name] if name in by_id else name
    return {"table": "projects", "schema": schema({
        "title": {"type": "string", "airtable": at("name"), "indexed": True, "default": "nobody knows"},
        "score": {"type": "integer", "airtable": at("points"), "indexed": True, "sortable": True, "default": -1},
        "step": {"type": ["string", "null"], "airtable": at("stage"), "indexed": True, "default": "none"},
        "party": {**SINGLE_LINK, "airtable": at("event"), "default": []},
    }), "index_to_airtable": {"party": at("event_id")}}


ALL = ("name", "points", "stage", "event", "event_id")
SOME = ("points", "event")


@pytest.fixture
def columns_of(world):
    return columns(world, "projects")


@pytest.fixture
def ballot_columns(world):
    return columns(world, "votes")


@pytest.fixture(params=["schema", "no schema", "no schema, no ids in formulas"])
def scope(request, world, columns_of, ballot_columns):
    """What the token may, and what formulas understand. The columns keep their ids."""
    if request.param != "schema":
        seeded = seed(world.base)
        seeded["tokens"][0]["scopes"].remove("schema.bases:read")
        world.airtable.seed(seeded)
    if request.param.endswith("formulas"):
        world.airtable.control("POST", "switches", {"formula_field_ids": False})
    return request.param


@pytest.fixture(params=[ALL, SOME, ("stage",)], ids=["all by id", "some by id", "one by id"])
def named(request, client, scope, columns_of):
    """A client, the projects defined."""
    spec(client, "works", model(columns_of, *request.param))
    return client


def expected(n: int) -> dict:
    stages = ["idea", "build", "done"]
    return {"id": project(n), "title": f"Project {n:02d}", "score": n if n % 4 else -1, "step": stages[n % 3] if n % 5 else "none"}


def shown(record: dict) -> dict:
    return {key: value for key, value in record.items() if key != "party"}


def test_reads(named, world):
    party = world.truth("projects")[project(3)]["event"]
    assert get(named, f"works:{project(3)}") == {**expected(3), "party": party}
    assert [shown(r) for r in mget(named, [f"works:{project(n)}" for n in (1, 4, 5)])] == [expected(n) for n in (1, 4, 5)]
    assert get(named, f"works:{rid('non', 1)}") is None
    assert named.call("PODIUM.INDEX", "works:*", "COUNT") == 20
    world.airtable.forget()
    assert shown(get(named, f"works:{project(7)}")) == expected(7) and world.airtable.count() == 0


def test_questions(named, world):
    truth = world.truth("projects")
    assert ids(named, "works:score:7") == [project(7)]
    assert ids(named, "works:step:done") == sorted(i for i, f in truth.items() if f.get("stage") == "done")
    assert ids(named, "works:step:none") == sorted(i for i, f in truth.items() if "stage" not in f)
    assert ids(named, "works:title:Project 02") == [project(2)]
    assert ids(named, f"works:party:{event(2)}") == sorted(i for i, f in truth.items() if f.get("event") == [event(2)])


def test_warmed_and_swept(named, world):
    named.call("PODIUM.WARM", "works:*")
    world.airtable.forget()
    assert shown(get(named, f"works:{project(9)}")) == expected(9)
    assert ids(named, "works:score:9") == [project(9)] and world.airtable.count() == 0
    world.delete("projects", project(9))
    assert b"removed" in named.call("PODIUM.SWEEP", "works:*", "FULL")[::2]
    assert get(named, f"works:{project(9)}") is None


def test_writes(named, world):
    done = json.loads(named.call("PODIUM.UPDATE", f"works:{project(3)}", json.dumps({"score": 33, "step": "done"})))
    assert shown(done) == {"id": project(3), "title": "Project 03", "score": 33, "step": "done"}
    truth = world.truth("projects")[project(3)]
    assert (truth["points"], truth["stage"]) == (33, "done")
    [made] = named.call("PODIUM.CREATE", "works:*", json.dumps({"title": "New", "score": 5, "party": event(1)}))
    made = json.loads(made)
    assert {**made, "id": None} == {"id": None, "title": "New", "score": 5, "step": "none", "party": [event(1)]}
    assert get(named, f"works:{made['id']}", "NOCACHE") == made


def test_told(named, world):
    key = f"works:{project(3)}"
    assert named.call("PODIUM.UPSERT", key, json.dumps({"title": "told", "score": 8, "step": "idea", "party": []})) == 1
    assert shown(get(named, key, "CACHEONLY")) == {"id": project(3), "title": "told", "score": 8, "step": "idea"}
    # By the columns' own names, which only the schema or a copy of it can tell: stored rightly, or looked up.
    stored = named.call("PODIUM.UPSERT", key, json.dumps({"fields": {"name": "again", "points": 9, "stage": "done"}}))
    world.change("projects", project(3), name="again", points=9, stage="done")
    assert stored in (0, 1)
    assert shown(get(named, key)) == {"id": project(3), "title": "again", "score": 9, "step": "done"}


def test_a_renamed_column_stays_the_one_it_is(client, world, scope, columns_of):
    spec(client, "works", model(columns_of, *SOME))
    assert get(client, f"works:{project(3)}")["score"] == 3
    world.airtable.control("POST", "schema", {"base": world.base, "table": "projects", "rename_field": {"field": "points", "name": "score of it"}})
    assert get(client, f"works:{project(3)}", "NOCACHE")["score"] == 3
    assert get(client, f"works:{project(7)}")["score"] == 7
    assert ids(client, "works:score:6") == [project(6)]


def test_an_automations_payload(spawn, world):
    of = columns(world, "projects")
    server = spawn(env={"PODIUM_WEBHOOK_SECRET": "s"})
    client = server.client()
    spec(client, "works", model(of, *SOME))
    payload = {"table": "projects", "record_id": project(3), "record": {"name": "told", "points": 11, "stage": {"id": "selA", "name": "done", "color": "red"}}}
    # Nothing is known of the base yet: what `points` is cannot be said.
    assert client.call("PODIUM.WEBHOOK", json.dumps(payload), "SECRET", "s") == 0
    assert get(client, f"works:{project(3)}")["score"] == 3
    assert client.call("PODIUM.WEBHOOK", json.dumps(payload), "SECRET", "s") == 1
    assert shown(get(client, f"works:{project(3)}", "CACHEONLY")) == {"id": project(3), "title": "told", "score": 11, "step": "done"}


def test_the_feed(spawn, world):
    of = columns(world, "projects")
    server = spawn(settings={"sync-interval": 1})
    client = server.client()
    spec(client, "works", model(of, *ALL))
    client.call("PODIUM.SYNC", "START")
    assert ids(client, "works:score:7") == [project(7)]
    assert ids(client, f"works:party:{event(4)}") == sorted(i for i, f in world.truth("projects").items() if f.get("event") == [event(4)])
    world.change("projects", project(3), points=7, event=[event(4)])
    eventually(10, "the change", lambda: ids(client, "works:score:7") == sorted([project(3), project(7)]))
    assert project(3) in ids(client, f"works:party:{event(4)}")


def test_without_a_schema_of_its_own(client, world, scope, ballot_columns):
    of = ballot_columns
    spec(client, "ballots", {"table": "votes", "indexed": ["voter"], "index_to_airtable": {"voter": of["user_id"]}})
    truth = world.truth("votes")
    assert ids(client, f"ballots:voter:{user(3)}") == sorted(i for i, f in truth.items() if f.get("voter") == [user(3)])
    some = next(iter(truth))
    assert not any(name.startswith("fld") for name in get(client, f"ballots:{some}"))


def test_the_schema_that_is_read_for_names_serves_the_check_as_well(server, client, world, columns_of):
    spec(client, "works", {"table": "projects", "schema": schema({
        "score": {"type": "integer", "airtable": columns_of["points"]}, "title": {"type": "string", "airtable": "name"}, "lost": {"type": "string", "airtable": "no such column"}})})
    assert get(client, f"works:{project(3)}")["score"] == 3
    eventually(10, "what the spec lacks", lambda: server.info()["podium_spec_problems"] == "1")
    assert world.airtable.count("/meta/") == 1
