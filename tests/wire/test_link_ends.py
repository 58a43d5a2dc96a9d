"""docs/promises.md, section 3, "Links have two ends": which record is put in doubt by a link that was gained or lost, and which is not."""

from __future__ import annotations

import json

import pytest

from airtable import TOKEN
from asking import cells, get, ids, meta, spec
from support import eventually
from world import ID_COLUMN, LINKS, SINGLE_LINK, SPECS, World, column, define, event, link_column, lookup_column, project, rid, schema, seed, table, user

USERS = {"schema": schema({"email": {"type": "string", "indexed": True}, "owned_events": {**LINKS, "default": []}})}


def asked(world, table: str) -> list[str]:
    """The calls that asked a table for records."""
    return [call for call in world.airtable.calls() if call["path"].endswith(f"/{table}")]


def tombed(client, key: str) -> bool:
    return client.call("EXISTS", f"tomb:{key}") == 1


def told(n: int, **more) -> str:
    """A project as somebody tells it."""
    return cells(project(n), name=f"Project {n:02d}", **{"stage": "idea", **more})


def no_schemas(world) -> None:
    """The token may not read schemas."""
    world.airtable.status(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "no", match={"path_contains": "/meta/"})


# A link that was lost says nothing of a record that is known to be gone ----------------------------------------------


@pytest.fixture
def owners(client, world):
    """Users whose links to events are known, one event of theirs gone."""
    spec(client, "users", USERS)
    get(client, f"events:{event(1)}")
    assert event(1) in get(client, f"users:{user(1)}")["owned_events"]
    ids(client, "events:slug:event-2")
    client.call("PODIUM.TOMBSTONE", f"events:{event(1)}")
    assert tombed(client, f"events:{event(1)}")
    assert event(1) in get(client, f"users:{user(1)}")["owned_events"], "Airtable says so still"
    client.call("PODIUM.TOMBSTONE", f"events:{event(1)}")
    world.airtable.forget()
    return client


@pytest.mark.parametrize("how", ["told to be gone", "told without it", "webhook"])
def test_a_lost_link_leaves_a_tombstone(owners, world, how):
    key = f"users:{user(1)}"
    without = cells(user(1), email="user1@example.com", owned_events=[])
    if how == "told to be gone":
        owners.call("PODIUM.TOMBSTONE", key)
    elif how == "told without it":
        owners.call("PODIUM.UPSERT", key, without)
    else:
        owners.call("PODIUM.INVALIDATE", key)
        owners.call("PODIUM.UPSERT", key, without)
    assert tombed(owners, f"events:{event(1)}")
    assert get(owners, f"events:{event(1)}") is None and ids(owners, "events:slug:event-2") == [event(2)]
    assert world.airtable.count() == 0


def test_a_fetch_that_shows_a_link_lost_leaves_a_tombstone(owners, world):
    world.change("events", event(1), owner=None)
    world.airtable.forget()
    assert get(owners, f"users:{user(1)}", "NOCACHE")["owned_events"] == []
    assert tombed(owners, f"events:{event(1)}") and len(world.airtable.calls()) == 1


def test_a_write_that_loses_a_link_leaves_a_tombstone(owners, world):
    owners.call("PODIUM.UPDATE", f"users:{user(1)}", json.dumps({"owned_events": []}))
    assert tombed(owners, f"events:{event(1)}")


@pytest.mark.parametrize("sweeps", [("*",), ("*", "FULL"), ("events:*", "FULL")])
def test_a_sweep_keeps_the_tombstones_that_it_left(client, world, sweeps):
    """It finds the event gone first, then the user whose copy still shows the link: the event's own shows none."""
    spec(client, "users", USERS)
    spec(client, "events", {"schema": schema({"name": {"type": "string"}})})
    get(client, f"events:{event(1)}")
    get(client, f"users:{user(1)}")
    world.delete("events", event(1))
    world.delete("users", user(1))
    client.call("PODIUM.SWEEP", *sweeps, timeout=30)
    client.call("PODIUM.SWEEP", "users:*", timeout=30)
    world.airtable.forget()
    assert get(client, f"events:{event(1)}") is None and get(client, f"users:{user(1)}") is None
    assert world.airtable.count() == 0


@pytest.mark.parametrize("known", [True, False])
def test_a_gained_link_ends_a_tombstone(client, world, known):
    if known:
        client.call("PODIUM.SPEC", "CHECK")
    client.call("PODIUM.TOMBSTONE", f"events:{event(1)}")
    client.call("PODIUM.UPSERT", f"projects:{project(1)}", told(1, event=[event(1)]))
    assert not tombed(client, f"events:{event(1)}"), "what is linked to is there"
    assert get(client, f"events:{event(1)}")["name"] == "Event 1"


def test_the_feed_keeps_a_tombstone_too(owners, world):
    owners.call("CONFIG", "SET", "podium.sync-interval", "1")
    assert owners.call("PODIUM.SYNC", "START") == "OK"
    try:
        get(owners, f"users:{user(1)}")
        world.delete("events", event(1))
        owners.call("PODIUM.SYNC", "NOW")
        eventually(10, "the user is read anew", lambda: get(owners, f"users:{user(1)}")["owned_events"] == [])
        assert tombed(owners, f"events:{event(1)}")
        ids(owners, "events:slug:event-2")
        assert not [call for call in asked(world, "events") if event(1) in json.dumps(call)]
    finally:
        owners.call("PODIUM.SYNC", "STOP")


# Where a link leads ------------------------------------------------------------------------------------------------


@pytest.fixture
def idea(client, world):
    """A set of projects is known; no event was ever seen."""
    ids(client, "projects:stage:idea")
    world.airtable.forget()
    return client


def tell(client, how: str) -> None:
    if how == "TOMBSTONE":
        client.call("PODIUM.TOMBSTONE", f"projects:{project(3)}")
    elif how == "UPSERT":
        client.call("PODIUM.UPSERT", f"projects:{project(3)}", told(3, event=[event(4)], owner=[user(9)]))
    else:
        client.call("PODIUM.UPSERT", f"projects:{rid('prj', 77)}", cells(rid("prj", 77), name="new", stage="idea", event=[event(4)]))


HOWS = ["TOMBSTONE", "UPSERT", "UPSERT of one never seen"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("key", ["projects:stage:idea", f"projects:event:{event(4)}", "projects:*", f"projects:owner:{user(9)}"])
def test_a_record_of_another_table_is_not_asked_for_here(client, world, key, how):
    """Nothing is known of where the links lead: even were it here, its cells could not match for that."""
    ids(client, key)
    world.airtable.forget()
    tell(client, how)
    expected = ids(client, key)
    tell(client, how)
    assert ids(client, key) == expected
    assert world.airtable.count() == 0


@pytest.mark.parametrize("how", HOWS)
def test_nor_once_the_schema_is_known(idea, world, how):
    idea.call("PODIUM.SPEC", "CHECK")
    world.airtable.forget()
    tell(idea, how)
    ids(idea, "projects:stage:idea")
    assert world.airtable.count() == 0
    assert idea.call("EXISTS", "podium:doubt:projects") == 0


def test_what_was_doubted_before_the_schema_was_known_is_settled_by_it(idea, world):
    tell(idea, "TOMBSTONE")
    assert idea.call("EXISTS", "podium:doubt:projects") == 1
    idea.call("PODIUM.SPEC", "CHECK")
    assert idea.call("EXISTS", "podium:doubt:projects") == 0


def test_what_was_seen_is_known_for_good(spawn, world):
    """Without any schema: an event that a project links to was cached once."""
    no_schemas(world)
    server = spawn(save=True)
    client = server.client()
    define(client)
    mates = get(client, f"projects:{project(3)}")
    get(client, f"events:{mates['event'][0]}")
    get(client, f"users:{mates['owner'][0]}")
    assert get(client, f"projects:{project(9)}")["owner"] == mates["owner"]
    client.call("FLUSHALL")
    client.call("SAVE")
    server.restart()
    client = server.client()
    ids(client, "projects:stage:idea")
    world.airtable.forget()
    tell(client, "UPSERT")
    tell(client, "TOMBSTONE")
    ids(client, "projects:stage:idea")
    assert asked(world, "projects") == []


def test_what_the_schema_said_is_known_for_good(spawn, world):
    server = spawn(save=True)
    client = server.client()
    define(client)
    client.call("PODIUM.SPEC", "CHECK")
    client.call("SAVE")
    server.restart(kill=True)
    client = server.client()
    ids(client, "projects:stage:idea")
    world.airtable.forget()
    tell(client, "TOMBSTONE")
    ids(client, "projects:stage:idea")
    assert world.airtable.count() == 0


@pytest.mark.parametrize("known", [True, False])
def test_two_entities_of_one_table(client, world, known):
    """Both are made of the table that the link leads to."""
    spec(client, "gatherings", {**SPECS["events"], "table": "events"})
    if known:
        client.call("PODIUM.SPEC", "CHECK")
    for entity in ("events", "gatherings"):
        get(client, f"{entity}:{event(4)}")
    get(client, f"projects:{project(3)}")
    client.call("PODIUM.UPSERT", f"projects:{project(3)}", told(3, event=[event(4)]))
    for entity in ("events", "gatherings"):
        assert get(client, f"{entity}:{event(4)}", "CACHEONLY") is None, entity


def test_an_entity_that_is_defined_later(client, world):
    client.call("PODIUM.SPEC", "DEL", "events")
    client.call("PODIUM.SPEC", "CHECK")
    ids(client, "projects:stage:idea")
    world.airtable.forget()
    tell(client, "UPSERT")
    ids(client, "projects:stage:idea")
    assert world.airtable.count() == 0, "a table without an entity"
    define(client, "events")
    get(client, f"events:{event(4)}")
    client.call("PODIUM.UPSERT", f"projects:{project(6)}", told(6, event=[event(4)]))
    assert get(client, f"events:{event(4)}", "CACHEONLY") is None


@pytest.fixture
def tree(server, emulator, world):
    """A table whose links lead to itself."""
    tasks = table("tasks", "name", [
        column("name", "singleLineText"), ID_COLUMN, column("stage", "singleLineText"), link_column("parent", "tasks", "children"), lookup_column("parent_id", "parent", "id"),
        lookup_column("children_id", "children", "id"),
    ], {rid("tsk", n): {"name": f"Task {n}", "stage": "a"} for n in range(1, 6)})
    data = seed(world.base)
    data["bases"][0]["tables"].append(tasks)
    world.airtable.seed(data)
    client = server.client()
    define(client)
    spec(client, "tasks", {"schema": schema({
        "name": {"type": "string"}, "stage": {"type": ["string", "null"], "indexed": True}, "parent": {**SINGLE_LINK, "default": []},
        "children": {**LINKS, "default": [], "indexed": True}})})
    world.airtable.forget()
    return client


@pytest.mark.parametrize("known", ["the schema", "nothing", "not to be known"])
def test_a_link_to_its_own_table(tree, world, known):
    """The other end is in doubt in this very entity: it may match by now."""
    one, two = rid("tsk", 1), rid("tsk", 2)
    if known == "the schema":
        tree.call("PODIUM.SPEC", "CHECK")
    if known == "not to be known":
        no_schemas(world)
    assert ids(tree, f"tasks:children:{one}") == []
    world.change("tasks", one, parent=[two])
    tree.call("PODIUM.UPSERT", f"tasks:{one}", cells(one, name="Task 1", stage="a", parent=[two], children=[]))
    assert ids(tree, f"tasks:children:{one}") == [two]


@pytest.fixture
def computed(tree):
    """An index by what is computed of other records: whose, nothing here tells."""
    spec(tree, "projects", {"schema": schema({
        "name": {"type": "string"}, "owner_display_name": {"type": ["string", "null"], "readOnly": True, "indexed": True}, "event": {**SINGLE_LINK, "default": []}})})
    return tree


KEY = "projects:owner_display_name:User 2"


def move(client, world) -> list[str]:
    expected = ids(client, KEY)
    world.airtable.forget()
    client.call("PODIUM.UPSERT", f"projects:{rid('prj', 77)}", cells(rid("prj", 77), name="new", event=[event(4)]))
    return expected


def test_where_it_could_matter_the_schema_is_asked_first(computed, world):
    expected = move(computed, world)
    assert ids(computed, KEY) == expected
    assert asked(world, "projects") == [] and world.airtable.count() == 1, "the schema: it is an event"
    assert meta(computed, "PODIUM.INDEX", KEY)["cache"] == "HIT" and world.airtable.count() == 1


def test_the_schema_is_no_call_of_the_reader(computed, world):
    move(computed, world)
    assert meta(computed, "PODIUM.INDEX", KEY)["airtable-hits"] == 0


def test_a_token_that_may_not_read_schemas_asks_the_records(computed, world):
    expected = move(computed, world)
    no_schemas(world)
    assert ids(computed, KEY) == expected
    assert len(asked(world, "projects")) == 1, "nobody else can say that it is none of them"
    computed.call("PODIUM.UPSERT", f"projects:{rid('prj', 78)}", cells(rid("prj", 78), name="new", event=[event(3)]))
    assert ids(computed, KEY) == expected
    assert len([call for call in world.airtable.calls() if "/meta/" in call["path"]]) == 1, "not tried again"


def test_a_schema_that_does_not_come_holds_up_no_read(computed, world):
    expected = move(computed, world)
    world.airtable.fault("slow", ms=3_500, times=1, match={"path_contains": "/meta/"})
    assert ids(computed, KEY) == expected
    assert len(asked(world, "projects")) == 1


@pytest.mark.parametrize("words", [("NOWAIT",), ("CACHEONLY",)])
def test_reads_that_do_not_wait(computed, world, words):
    move(computed, world)
    reply = computed.attempt("PODIUM.INDEX", KEY, "IDS", *words)
    assert reply is None or reply.code == "WOULDBLOCK"
    if words == ("NOWAIT",):
        eventually(10, "the schema came", lambda: isinstance(computed.attempt("PODIUM.INDEX", KEY, "IDS", "CACHEONLY"), list))
        assert asked(world, "projects") == []


def test_in_a_transaction(computed, world):
    move(computed, world)
    for _ in range(2):
        computed.call("MULTI")
        computed.call("PODIUM.INDEX", KEY, "IDS")
        reply = computed.call("EXEC")[0]
        eventually(10, "the schema came", lambda: world.airtable.count() == 1)
        eventually(10, "it is known", lambda: computed.call("EXISTS", "podium:doubt:projects") == 0)
    assert isinstance(reply, list)
