"""docs/promises.md, section 3: PODIUM.WEBHOOK takes what an Airtable automation posts, for whoever knows the secret."""

from __future__ import annotations

import json
import time

import pytest

from asking import get, ids, spec
from support import text
from world import LINKS, REC, event, item, project, rid, schema

SECRET = "correct horse battery staple"


@pytest.fixture
def hook(spawn, world):
    """A server that knows the secret, and a function that posts."""
    server = spawn(env={"PODIUM_WEBHOOK_SECRET": SECRET})
    client = server.client()
    from world import define
    define(client)
    world.airtable.forget()

    def post(table, id, record=None, *, at=None, action=None, secret=SECRET, **more):
        payload = {"table": table, "record_id": id, "record": record, "timestamp": now_ms() if at is None else at, **more}
        if action:
            payload["action"] = action
        return client.attempt("PODIUM.WEBHOOK", json.dumps(payload), "SECRET", secret)

    post.server, post.client = server, client
    return post


def now_ms():
    return int(time.time() * 1000)


def test_a_changed_record_is_stored(hook, world):
    before = ids(hook.client, "items:group:g2")
    world.airtable.forget()
    assert hook("items", item(1), {"name": "told", "n": 7, "group": "g2"}, action="update") == 1
    assert get(hook.client, f"items:{item(1)}") == {"id": item(1), "name": "told", "n": 7, "group": "g2"}
    assert ids(hook.client, "items:group:g2") == sorted(before + [item(1)])
    assert world.airtable.count() == 0


def test_without_an_action_and_created(hook):
    assert hook("items", rid("itm", 801), {"name": "a"}) == 1
    assert hook("items", rid("itm", 802), {"name": "b"}, action="create") == 1
    assert get(hook.client, f"items:{rid('itm', 802)}", "CACHEONLY")["name"] == "b"


def test_a_deleted_record_is_gone(hook, world):
    members = ids(hook.client, "items:group:g1")
    world.airtable.forget()
    assert hook("items", members[0], action="delete") == 1
    assert get(hook.client, f"items:{members[0]}") is None
    assert ids(hook.client, "items:group:g1") == members[1:]
    assert world.airtable.count() == 0


@pytest.mark.parametrize("table", ["items", "ITEMS", "Items"])
def test_the_table_whatever_its_case(hook, table):
    assert hook(table, item(1), {"name": "told"}) == 1


@pytest.mark.parametrize("table", ["Things To Do", "things to do", "tblThings00000001", "TBLTHINGS00000001", "todo", "TODO"])
def test_the_table_by_name_and_id(hook, table):
    spec(hook.client, "todo", {"table": "Things To Do" if "ings " in table else "tblThings00000001", "schema": schema({"name": {"type": "string"}})})
    assert hook(table, rid("tdo", 1), {"name": "told"}) == 1
    assert get(hook.client, f"todo:{rid('tdo', 1)}", "CACHEONLY")["name"] == "told"


def test_the_table_by_its_id_where_the_feed_knows_the_schema(hook, world):
    """A spec says the name, the automation the id; or the other way round."""
    table = next(t for t in world.airtable.control("GET", f"records/{world.base}/items").items() if t[0] == "table")[1]
    spec(hook.client, "by_id", {"table": table, "schema": schema({"name": {"type": "string"}})})
    assert hook.client.call("PODIUM.SYNC", "START") == "OK"
    try:
        for n, name in enumerate([table, table.upper(), "items", "ITEMS", "by_id"]):
            assert hook(name, item(1), {"name": f"told {n}"}) == 1
            for entity in ("items", "by_id"):
                assert get(hook.client, f"{entity}:{item(1)}", "CACHEONLY")["name"] == f"told {n}", (name, entity)
    finally:
        hook.client.call("PODIUM.SYNC", "STOP")


def test_every_entity_of_the_table(hook):
    spec(hook.client, "items_admin", {"table": "items", "schema": schema({"name": {"type": "string"}})})
    assert hook("items", item(1), {"name": "told"}) == 1
    for entity in ("items", "items_admin"):
        assert get(hook.client, f"{entity}:{item(1)}", "CACHEONLY")["name"] == "told"


def test_cells_in_the_shapes_that_scripts_see(hook):
    record = {
        "name": "p", "points": 3, "stage": {"id": "selA", "name": "build", "color": "red"}, "tags": [{"id": "selB", "name": "web", "color": "blue"}],
        "event": [{"id": event(2), "name": "Event 2"}], "owner": None, "due": "2026-03-04", "description": "",
    }
    assert hook("projects", project(1), record) == 1
    stored = get(hook.client, f"projects:{project(1)}", "CACHEONLY")
    assert stored["stage"] == "build" and stored["tags"] == ["web"] and stored["event"] == [event(2)] and stored["owner"] == [] and stored["description"] is None


def test_what_a_created_record_links_to_is_in_doubt(hook, world):
    spec(hook.client, "events", {"schema": schema({"name": {"type": "string"}, "projects": LINKS})})
    assert rid("prj", 900) not in get(hook.client, f"events:{event(2)}")["projects"]
    world.create("projects", rid("prj", 900), name="new", event=[event(2)])
    assert hook("projects", rid("prj", 900), {"name": "new", "event": [{"id": event(2), "name": "Event 2"}]}, action="create") == 1
    assert rid("prj", 900) in get(hook.client, f"events:{event(2)}")["projects"]


def test_a_cell_that_does_not_fit_only_invalidates(hook, world):
    get(hook.client, f"items:{item(1)}")
    world.change("items", item(1), name="true now")
    assert hook("items", item(1), {"name": "x", "n": "not a number"}) == 0
    assert get(hook.client, f"items:{item(1)}")["name"] == "true now"


def test_a_payload_without_the_record_only_invalidates(hook, world):
    get(hook.client, f"items:{item(1)}")
    world.change("items", item(1), name="true now")
    assert hook("items", item(1)) == 0
    assert get(hook.client, f"items:{item(1)}")["name"] == "true now"


def test_the_timestamp_decides_what_is_older(hook):
    at = now_ms()
    assert hook("items", item(1), {"name": "second"}, at=at) == 1
    assert hook("items", item(1), {"name": "first"}, at=at - 5000) == 0
    iso = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at / 1000 - 60))
    assert hook("items", item(1), {"name": "zeroth"}, at=iso) == 0
    assert hook("items", item(1), action="delete", at=at - 5000) == 0
    assert get(hook.client, f"items:{item(1)}", "CACHEONLY")["name"] == "second"
    assert hook("items", item(1), action="delete", at=at + 5000) == 1
    assert hook("items", item(1), {"name": "ghost"}, at=at + 1000) == 0
    assert get(hook.client, f"items:{item(1)}") is None


@pytest.mark.parametrize("secret", ["", "wrong", SECRET + "x", SECRET[:-1], SECRET.upper(), SECRET + "\0"])
def test_a_wrong_secret_is_denied_and_nothing_happens(hook, secret):
    error = hook("items", item(1), {"name": "told"}, secret=secret)
    assert error.code == "DENIED" and SECRET not in error.text
    assert get(hook.client, f"items:{item(1)}", "CACHEONLY") is None


def test_before_anything_else_the_secret(hook):
    for payload in ("{", "[]", '{"table":"ghosts","record_id":"recA"}'):
        assert hook.client.error("PODIUM.WEBHOOK", payload, "SECRET", "wrong").code == "DENIED"


def test_without_a_secret_set_everybody_is_denied(client):
    for secret in ("", "x"):
        assert client.error("PODIUM.WEBHOOK", json.dumps({"table": "items", "record_id": item(1), "action": "delete"}), "SECRET", secret).code == "DENIED"
    assert client.call("EXISTS", f"tomb:items:{item(1)}") == 0


def test_the_secret_from_a_file(server, client, tmp_path):
    file = tmp_path / "secret"
    file.write_text("from the file\n")
    client.call("CONFIG", "SET", "podium.webhook-secret-file", str(file))
    payload = json.dumps({"table": "items", "record_id": item(1), "record": {"name": "told"}})
    assert client.call("PODIUM.WEBHOOK", payload, "secret", "from the file") == 1
    assert client.error("PODIUM.WEBHOOK", payload, "SECRET", "from the file\n").code == "DENIED"


@pytest.mark.parametrize("payload, code", [
    ("{", "BADRECORD"), ("[]", "BADRECORD"), ("\xff", "BADRECORD"), ('{"record_id":"recA"}', "BADRECORD"), ('{"table":"items"}', "BADRECORD"),
    ('{"table":"items","record_id":"nope"}', "BADRECORD"), ('{"table":"items","record_id":"recA","action":"explode"}', "BADRECORD"),
    ('{"table":"items","record_id":"recA","timestamp":"soon"}', "BADRECORD"), ('{"table":"ghosts","record_id":"recA"}', "NOENTITY"),
])
def test_bad_payloads(hook, payload, code):
    assert hook.client.error("PODIUM.WEBHOOK", payload, "SECRET", SECRET).code == code


@pytest.mark.parametrize("words", [(), ("{}",), ("{}", "SECRET"), ("{}", "BOGUS", SECRET), ("{}", "SECRET", SECRET, "more")])
def test_bad_syntax(hook, words):
    assert hook.client.error("PODIUM.WEBHOOK", *words).code == "ERR"


def test_the_secret_is_shown_to_nobody(hook):
    client = hook.client
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
    client.call("SLOWLOG", "RESET")
    watcher = hook.server.client()
    assert watcher.call("MONITOR") == "OK"
    hook("items", item(1), {"name": "told"})
    hook("items", item(1), {"name": "told"}, secret="wrong secret")
    client.call("MULTI")
    client.call("PODIUM.WEBHOOK", "{}", "SECRET", SECRET)
    client.call("EXEC")
    client.call("ECHO", "the end")
    seen = b""
    while b"the end" not in seen:
        seen += str(watcher.read(5)).encode()
    assert SECRET.encode() not in seen and b"wrong secret" not in seen
    slow = str(client.call("SLOWLOG", "GET", "100"))
    assert "podium.webhook" in slow.lower() and SECRET not in slow and "wrong secret" not in slow
    assert SECRET not in hook.server.log()
