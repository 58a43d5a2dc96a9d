"""docs/promises.md, section 4: PODIUM.SPEC DISCOVER defines an entity for each table, from the base's schema."""

from __future__ import annotations

import json

import pytest

from airtable import TOKEN
from asking import get, ids, index, spec
from support import text
from world import SPECS, column, event, item, link_column, lookup_column, project, rid, table


def discover(client, *words) -> list[str]:
    return text(client.call("PODIUM.SPEC", "DISCOVER", *words))


def effective(client, entity) -> dict:
    return json.loads(client.call("PODIUM.SPEC", "GET", entity))


@pytest.fixture
def client(server, world):
    """A connection to a server that knows no entity."""
    return server.client()


@pytest.fixture
def shop(world):
    """A base whose tables and columns are called as people call them."""
    people = {rid("per", n): {"Full Name": f"Person {n}"} for n in range(1, 4)}
    orders = {rid("ord", n): {"Title": f"Order {n}", "Buyer": [rid("per", 1 + n % 3)], "State": "open", "Sum": n, "Paid": n % 2 == 0} for n in range(1, 8)}
    seed = {"tokens": [{"token": TOKEN, "scopes": ["data.records:read", "data.records:write", "schema.bases:read"], "bases": [world.base]}],
            "bases": [{"id": world.base, "name": "Shop", "tables": [
                table("Our People!", "Full Name", [column("Full Name", "singleLineText"), column("RID", "formula", formula="RECORD_ID()")], people),
                table("our people?", "x", [column("x", "singleLineText")], {}),
                table("Orders", "Title", [
                    column("Title", "singleLineText"), column("State", "singleSelect", choices=[{"name": "open"}, {"name": "done"}]), column("Sum", "currency"), column("Paid", "checkbox"),
                    link_column("Buyer", "Our People!", "Orders"), lookup_column("Whose", "Buyer", "RID"), lookup_column("Buyer Name", "Buyer", "Full Name"),
                    column("Twice", "formula", formula="{Sum}*2"),
                ], orders),
            ]}]}
    world.airtable.seed(seed)
    return world


def test_an_entity_for_each_table(client, world):
    assert discover(client) == ["events", "items", "projects", "users", "votes"] == text(client.call("PODIUM.SPEC", "LIST"))
    assert world.airtable.count() == 1
    assert get(client, f"items:{item(3)}") == {"id": item(3), "name": "Item 3", "n": 3, "group": "g3"}
    assert get(client, f"projects:{project(1)}")["owner_display_name"] == ["User 2"]


def test_names(client, shop):
    assert discover(client) == ["orders", "our_people_", "our_people__2"]
    assert get(client, f"our_people_:{rid('per', 1)}")["Full Name"] == "Person 1"


def test_a_lookup_that_the_schema_shows_is_believed_at_once(client, shop):
    """Asked the other way, a lookup no record has vouched for yet costs a second call when the answer holds no evidence."""
    discover(client)
    shop.airtable.forget()
    assert ids(client, f"orders:Buyer:{rid('per', 999)}") == []
    assert shop.airtable.count() == 1


def test_a_prefix_and_a_tag(client, world):
    assert discover(client, world.base, "wire_") == ["wire_events", "wire_items", "wire_projects", "wire_users", "wire_votes"]
    assert discover(client, "{wire}")[0] == "{wire}events"
    assert get(client, f"{{wire}}items:{item(3)}")["n"] == 3


def test_the_base_that_is_named(client, world):
    client.call("CONFIG", "SET", "podium.base", "")
    assert "podium.base" in client.error("PODIUM.SPEC", "DISCOVER").text
    assert len(discover(client, world.base)) == 5
    assert effective(client, "items")["base"] == world.base


def test_fields_follow_from_their_types(client, shop):
    discover(client)
    fields = effective(client, "orders")["fields"]
    kinds = {name: field["kind"] for name, field in fields.items()}
    assert kinds["Title"] == "text" and kinds["Sum"] == "number" and kinds["Paid"] == "boolean" and kinds["Buyer"] == "single link"
    assert {name for name, field in fields.items() if field["readOnly"]} == {"Whose", "Buyer Name", "Twice"}
    assert fields["State"]["indexed"] and fields["Buyer"]["indexed"] and fields["Sum"]["sortable"]
    assert fields["Buyer"]["lookup"] == "Whose", "found by the schema"
    assert fields["Buyer Name"]["depends"] == "our_people_"
    assert effective(client, "our_people_")["fields"]["Orders"]["kind"] == "links"


def test_empty_cells_have_defaults(client, shop):
    discover(client)
    shop.create("Orders", rid("ord", 99))
    record = get(client, f"orders:{rid('ord', 99)}")
    assert record["Title"] is None and record["Sum"] is None and record["Paid"] is False and record["Buyer"] == [] and record["State"] is None


def test_indexes_work_at_once(client, shop):
    discover(client)
    shop.airtable.forget()
    expected = sorted(id for id, cells in shop.truth("Orders").items() if cells["Buyer"] == [rid("per", 2)])
    assert ids(client, f"orders:Buyer:{rid('per', 2)}") == expected
    assert "Whose" in json.dumps(shop.airtable.calls()), "through the lookup"
    assert len(ids(client, "orders:Paid:false")) == 4
    assert [r["Sum"] for r in index(client, "orders:State:open", "SORT", "Sum", "DESC", "LIMIT", "0", "2")] == [7, 6]


def test_again_changes_nothing(server, client, shop):
    discover(client)
    get(client, f"orders:{rid('ord', 1)}")
    shop.airtable.forget()
    assert discover(client) == ["orders", "our_people_", "our_people__2"]
    assert get(client, f"orders:{rid('ord', 1)}")["Sum"] == 1
    assert shop.airtable.count() == 1, "the schema alone: what is cached stays"


def given(client, entity) -> dict:
    return json.loads(client.call("HGET", f"podium:spec:{entity}", "spec"))


def test_again_takes_over_what_changed_and_keeps_what_a_user_set(client, world, shop):
    discover(client)
    own = given(client, "orders")
    own["ttl"] = 60
    own["views"] = {"public": ["Title", "Sum"]}
    own["schema"]["properties"]["Sum"]["indexed"] = True
    own["schema"]["properties"]["Paid"]["default"] = True
    spec(client, "orders", own)
    shop.airtable.control("POST", "schema", {"base": shop.base, "table": "Orders", "add_field": column("Note", "multilineText")})
    shop.airtable.control("POST", "schema", {"base": shop.base, "table": "Orders", "rename_field": {"field": "State", "name": "Stage"}})
    discover(client)
    now = effective(client, "orders")
    assert now["ttl"] == 60 and now["views"]["public"] == ["id", "Title", "Sum"] and now["fields"]["Sum"]["indexed"] and now["fields"]["Paid"]["default"] is True
    assert "Note" in now["fields"] and "Stage" in now["fields"] and "State" not in now["fields"]


def test_a_users_own_spec_is_left_alone(client, world):
    spec(client, "items", SPECS["items"])
    before = effective(client, "items")
    assert "items" in discover(client)
    assert effective(client, "items") == before


def test_an_entity_of_another_base_is_left_alone(client, world):
    spec(client, "items", {"base": "appSomebodyElses1", "table": "items"})
    assert "items_2" in discover(client)
    assert effective(client, "items")["base"] == "appSomebodyElses1"


def test_a_renamed_table_keeps_its_entity(client, shop):
    discover(client)
    shop.airtable.control("POST", "schema", {"base": shop.base, "table": "Orders", "rename_table": "Purchases"})
    assert discover(client) == ["orders", "our_people_", "our_people__2"]
    assert get(client, f"orders:{rid('ord', 1)}")["Sum"] == 1


def test_what_was_found_survives_a_restart(spawn, world):
    server = spawn(save=True, env={"PODIUM_WEBHOOK_SECRET": "s3cret"})
    client = server.client()
    discover(client)
    own = given(client, "items")
    own["ttl"] = 60
    spec(client, "items", own)
    client.call("FLUSHALL")
    client.call("SAVE")
    server.restart()
    client = server.client()
    assert effective(client, "items")["ttl"] == 60
    world.airtable.control("POST", "schema", {"base": world.base, "table": "items", "add_field": column("note", "singleLineText")})
    discover(client)
    now = effective(client, "items")
    assert now["ttl"] == 60 and "note" in now["fields"], "told apart: what was made, and what was set"


def test_links_are_known_before_a_record_is_seen(client, world):
    """Both ends: the events that a new project names are in doubt, whichever entity was read first."""
    discover(client)
    assert ids(client, "events:name:Event 2") == [event(2)]
    reply = client.call("PODIUM.CREATE", "projects:*", json.dumps({"name": "new", "event": event(2)}))
    made = json.loads(reply[0])["id"]
    assert made in get(client, f"events:{event(2)}")["projects"]


def test_a_link_without_a_lookup_is_asked_by_its_way_back(client, world):
    """No lookup, more records than may be read for want of one: the linked record names them."""
    discover(client)
    world.airtable.control("POST", "schema", {"base": world.base, "table": "projects", "delete_field": "event_id"})
    client.call("CONFIG", "SET", "podium.warm-limit", "5")
    world.airtable.forget()
    expected = sorted(id for id, cells in world.truth("projects").items() if cells.get("event") == [event(2)])
    assert ids(client, f"projects:event:{event(2)}") == expected
    assert world.airtable.count() == 3, "the lookup that is not there, the event, its projects"
    world.airtable.forget()
    assert ids(client, f"projects:event:{event(2)}") == expected and world.airtable.count() == 0
    expected = sorted(id for id, cells in world.truth("projects").items() if cells.get("event") == [event(3)])
    assert ids(client, f"projects:event:{event(3)}") == expected
    assert world.airtable.count() == 2
    assert ids(client, f"projects:event:{rid('evt', 999)}") == []
    assert ids(client, f"projects:event:{event(4)}") == []


def test_the_way_back_is_known_by_its_id(client, world):
    discover(client)
    world.airtable.control("POST", "schema", {"base": world.base, "table": "projects", "delete_field": "event_id"})
    world.airtable.control("POST", "schema", {"base": world.base, "table": "events", "rename_field": {"field": "projects", "name": "what they built"}})
    expected = sorted(id for id, cells in world.truth("projects").items() if cells.get("event") == [event(2)])
    assert ids(client, f"projects:event:{event(2)}") == expected != []


def test_webhooks_find_the_table_by_its_name(server, spawn, shop):
    client = spawn(env={"PODIUM_WEBHOOK_SECRET": "s3cret"}).client()
    discover(client)
    payload = {"table": "our people!", "record_id": rid("per", 1), "record": {"Full Name": "Told"}}
    assert client.call("PODIUM.WEBHOOK", json.dumps(payload), "SECRET", "s3cret") == 1
    assert get(client, f"our_people_:{rid('per', 1)}", "CACHEONLY")["Full Name"] == "Told"


def test_without_the_scope(client, world):
    world.airtable.status(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "no")
    error = client.error("PODIUM.SPEC", "DISCOVER")
    assert error.code == "UPSTREAMAUTH" and "schema.bases:read" in error.text
    assert client.call("PODIUM.SPEC", "LIST") == []


def test_where_it_may_not_wait(client, world):
    client.call("MULTI")
    client.call("PODIUM.SPEC", "DISCOVER")
    assert client.call("EXEC")[0].code == "WOULDBLOCK"
    assert world.airtable.count() == 0


@pytest.mark.parametrize("words", [("a b",), ("{open",), ("notabase", "x"), ("app1", "x", "y"), ("a:b",)])
def test_bad_input_makes_no_call(client, world, words):
    assert client.error("PODIUM.SPEC", "DISCOVER", *words).code in ("ERR", "BADSPEC")
    assert world.airtable.count() == 0
