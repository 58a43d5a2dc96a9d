#!/usr/bin/env python3
"""pyairtable, unchanged, against the emulator that AIRTABLE_EMULATOR_URL names.

The emulator gets a base of this script's own and its limits are lifted. Prints `N passed, N failed`; exits 1 on failure.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pyairtable
from pyairtable import formulas
from pyairtable.models import WebhookNotification
from requests.exceptions import HTTPError

URL = os.environ.get("AIRTABLE_EMULATOR_URL", "").rstrip("/")
BASE = "appPyairtable0001"
TOKEN = "patPYAIRTABLE.secret"
STORIES = [f"recStoryxxxxx{n:04d}" for n in range(250)]
ADA, BOB = "recPersonxxxx0001", "recPersonxxxx0002"

SEED = {"merge": True, "tokens": [{"token": TOKEN}], "bases": [{"id": BASE, "name": "Pyairtable", "tables": [
    {"name": "People", "primary": "Name", "fields": [
        {"name": "Name", "type": "singleLineText"}, {"name": "id", "type": "formula", "options": {"formula": "RECORD_ID()"}},
    ], "records": [{"id": ADA, "fields": {"Name": "Ada"}}, {"id": BOB, "fields": {"Name": "Bob"}}]},
    {"name": "Stories α/β", "primary": "Title", "fields": [
        {"name": "Title", "type": "singleLineText"}, {"name": "Points", "type": "number"}, {"name": "Done", "type": "checkbox"},
        {"name": "Stage", "type": "singleSelect", "options": {"choices": ["Open", "Closed"]}},
        {"name": "When", "type": "dateTime"}, {"name": "Files", "type": "multipleAttachments"},
        {"name": "Owner", "type": "multipleRecordLinks",
         "options": {"linkedTable": "People", "inverseLinkField": "Stories", "prefersSingleRecordLink": True}},
        {"name": "owner_id", "type": "multipleLookupValues", "options": {"recordLinkField": "Owner", "fieldInLinkedTable": "id"}},
    ], "records": [{"id": key, "fields": {"Title": f"Story {n}", "Points": n, "Done": n % 2 == 0, "Owner": [ADA if n % 3 else BOB]}}
                   for n, key in enumerate(STORIES)]},
]}]}

TESTS = []


def test(function):
    TESTS.append(function)
    return function


def control(method: str, path: str, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{URL}/_emulator/{path}", data=data, method=method)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def calls() -> list[dict]:
    """This script's calls: others may use the same emulator."""
    return [call for call in control("GET", "calls")["calls"] if BASE in call["path"]]


class World:
    def __init__(self):
        control("POST", "seed", SEED)
        self.api = pyairtable.Api(TOKEN, endpoint_url=URL, timeout=(5, 20))
        self.base = self.api.base(BASE)
        self.stories = self.base.table("Stories α/β")
        self.people = self.base.table("People")


def status_of(function) -> tuple[int, str]:
    try:
        function()
    except HTTPError as error:
        return error.response.status_code, error.response.text
    raise AssertionError("nothing was refused")


@test
def lists_every_page(world):
    before = len(calls())
    found = world.stories.all()
    assert [record["id"] for record in found] == STORIES
    assert len(calls()) - before == 3, "250 records cost 3 calls"
    assert "Done" not in found[1]["fields"], "an empty cell is left out"


@test
def pages_of_ten_end_with_the_rest(world):
    pages = [len(page) for page in world.stories.iterate(page_size=10, max_records=25)]
    assert pages == [10, 10, 5], pages


@test
def gets_one_and_knows_what_is_missing(world):
    record = world.stories.get(STORIES[7])
    assert record["fields"]["Points"] == 7 and record["fields"]["owner_id"] == [ADA]
    assert world.people.get(STORIES[7])["id"] == STORIES[7], "Get finds a record of any table"
    status, text = status_of(lambda: world.stories.get("recMissing0000001"))
    assert status == 403 and "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND" in text


@test
def sorts_selects_fields_and_shows_field_ids(world):
    top = world.stories.all(sort=["-Points"], fields=["Title"], max_records=2)
    assert [record["fields"] for record in top] == [{"Title": "Story 249"}, {"Title": "Story 248"}]
    by_id = world.stories.first(use_field_ids=True)
    assert all(key.startswith("fld") for key in by_id["fields"])


@test
def evaluates_the_formulas_that_it_builds(world):
    def ids(formula):
        return [record["id"] for record in world.stories.all(formula=formula)]

    assert ids(formulas.match({"Title": "Story 3"})) == [STORIES[3]]
    assert ids(formulas.AND(formulas.GTE(formulas.Field("Points"), 248), formulas.Field("Done"))) == [STORIES[248]]
    assert ids("{Owner}='Bob'")[:2] == [STORIES[0], STORIES[3]], "a formula sees a link as primary text"
    assert ids(f"{{Owner}}='{BOB}'") == []
    assert len(ids(f"FIND('{BOB}', ARRAYJOIN({{owner_id}}))")) == 84
    assert ids(formulas.match({"Title": "it's \"quoted\" \\ here"})) == []
    status, text = status_of(lambda: ids("{Nope}=1"))
    assert status == 422 and "Unknown field names: nope" in text


@test
def asks_for_499_ids_in_one_formula_by_post(world):
    wanted = STORIES + [f"recElsewhere{n:05d}" for n in range(249)]
    before = len(calls())
    found = world.stories.all(formula=formulas.OR(*(formulas.EQ(formulas.RECORD_ID(), key) for key in wanted)))
    assert {record["id"] for record in found} == set(STORIES)
    made = calls()[before:]
    assert [call["method"] for call in made] == ["POST"] * 3 and made[0]["path"].endswith("/listRecords")


@test
def creates_updates_and_deletes(world):
    made = world.stories.create({"Title": "New", "Points": 5, "Owner": [ADA]})
    assert made["fields"]["owner_id"] == [ADA]
    assert made["id"] in world.people.get(ADA)["fields"]["Stories"], "the other end of the link"
    changed = world.stories.update(made["id"], {"Points": 6, "Owner": [BOB]})
    assert changed["fields"]["Points"] == 6 and changed["fields"]["Title"] == "New"
    assert made["id"] not in world.people.get(ADA)["fields"]["Stories"]
    replaced = world.stories.update(made["id"], {"Title": "Only"}, replace=True)
    assert replaced["fields"] == {"Title": "Only"}, replaced
    assert world.stories.delete(made["id"]) == {"id": made["id"], "deleted": True}
    assert status_of(lambda: world.stories.get(made["id"]))[0] == 403


@test
def batches_by_ten(world):
    before = len(calls())
    made = world.stories.batch_create([{"Title": f"Batch {n}"} for n in range(25)])
    assert len(made) == 25 and len(calls()) - before == 3
    changed = world.stories.batch_update([{"id": record["id"], "fields": {"Points": 1}} for record in made[:12]])
    assert all(record["fields"]["Points"] == 1 for record in changed)
    gone = world.stories.batch_delete([record["id"] for record in made])
    assert len(gone) == 25 and all(entry["deleted"] for entry in gone)


@test
def upserts(world):
    result = world.stories.batch_upsert(
        [{"fields": {"Title": "Story 1", "Points": 1001}}, {"fields": {"Title": "Upserted", "Points": 2}}], key_fields=["Title"])
    assert result["updatedRecords"] == [STORIES[1]] and len(result["createdRecords"]) == 1
    world.stories.batch_delete(result["createdRecords"])


@test
def casts_types_only_when_asked(world):
    status, text = status_of(lambda: world.stories.create({"Title": "Cast", "Stage": "Later"}))
    assert status == 422 and "INVALID_MULTIPLE_CHOICE_OPTIONS" in text
    made = world.stories.create({"Title": "Cast", "Stage": "Later", "Points": "12", "Owner": ["Cy"]}, typecast=True)
    assert made["fields"]["Stage"] == "Later" and made["fields"]["Points"] == 12
    assert world.people.get(made["fields"]["Owner"][0])["fields"]["Name"] == "Cy"
    status, text = status_of(lambda: world.stories.update(made["id"], {"owner_id": ["x"]}))
    assert status == 422 and "computed" in text
    world.stories.delete(made["id"])


@test
def attachment_urls_differ_on_every_read(world):
    made = world.stories.create({"Title": "File", "Files": [{"url": "https://example.com/a.png", "filename": "a.png"}]})
    first, second = (world.stories.get(made["id"])["fields"]["Files"][0] for _ in range(2))
    assert first["id"] == second["id"] and first["url"] != second["url"]
    world.stories.delete(made["id"])


@test
def reads_the_schema(world):
    table = world.base.schema().table("Stories α/β")
    assert table.field("Points").type == "number"
    link = table.field("Owner")
    assert link.options.prefers_single_record_link and link.options.linked_table_id == world.base.schema().table("People").id
    assert table.field("owner_id").options.record_link_field_id == link.id
    assert world.base.schema().table("People").field("id").options.formula == "RECORD_ID()"
    assert table.views[0].visible_field_ids
    assert any(base.id == BASE for base in world.api.bases(force=True))
    assert world.api.whoami()["id"].startswith("usr")


@test
def the_token_must_be_known(world):
    control("POST", "seed", {"merge": True, "tokens": [{"token": "patREADER.x", "scopes": ["data.records:read"], "bases": [BASE]}]})
    stranger = pyairtable.Api("patSTRANGER.x", endpoint_url=URL).table(BASE, "People")
    assert status_of(stranger.all)[0] == 401
    reader = pyairtable.Api("patREADER.x", endpoint_url=URL).table(BASE, "People")
    assert reader.first()["id"] == ADA
    assert status_of(lambda: reader.create({"Name": "No"}))[0] == 403


class Receiver:
    """One HTTP endpoint on the loopback interface that keeps the pings it gets."""

    def __init__(self):
        self.arrived = threading.Event()
        self.pings = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.pings.append((body.decode(), self.headers["X-Airtable-Content-MAC"]))
                self.send_response(204)
                self.end_headers()
                receiver.arrived.set()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/ping"


@test
def webhooks_tell_what_changed(world):
    receiver = Receiver()
    made = world.base.add_webhook(receiver.url, {"options": {
        "filters": {"dataTypes": ["tableData"]}, "includes": {"includePreviousCellValues": True}}})
    hook = world.base.webhook(made.id)
    assert hook.cursor_for_next_payload == 1 and hook.are_notifications_enabled and hook.is_hook_enabled
    created = world.stories.create({"Title": "Hooked", "Stage": "Open", "Owner": [ADA]})["id"]
    world.people.update(ADA, {"Name": "Ada L"})
    world.stories.delete(created)

    payloads = list(hook.payloads())
    stories, people = world.stories.schema().id, world.people.schema().id
    seen = [payload.changed_tables_by_id.get(stories) for payload in payloads]
    births = [table.created_records_by_id[created] for table in seen if table and created in table.created_records_by_id]
    stage = births[0].cell_values_by_field_id[world.stories.schema().field("Stage").id]
    assert stage["name"] == "Open" and stage["id"].startswith("sel"), "payload cells are richer than those of reads"
    assert any(table and created in table.destroyed_record_ids for table in seen)
    name = world.people.schema().field("Name").id
    renamed = [p.changed_tables_by_id[people].changed_records_by_id.get(ADA) for p in payloads if people in p.changed_tables_by_id]
    change = next(c for c in renamed if c and name in c.current.cell_values_by_field_id)
    assert change.previous.cell_values_by_field_id[name] == "Ada"
    assert payloads[-1].cursor == hook.cursor_for_next_payload + len(payloads) - 1
    assert not list(hook.payloads(cursor=payloads[-1].cursor + 1)), "nothing after the last"

    assert receiver.arrived.wait(10), "a ping within ten seconds"
    body, mac = receiver.pings[0]
    notification = WebhookNotification.from_request(body, mac, made.mac_secret_base64)
    assert notification.webhook.id == made.id and notification.base.id == BASE
    hook.disable_notifications()
    assert not world.base.webhook(made.id).are_notifications_enabled
    hook.enable_notifications()
    hook.extend_expiration()
    hook.delete()
    assert made.id not in [entry.id for entry in world.base.webhooks()]


@test
def two_429s_have_their_shapes(world):
    control("POST", "faults", {"kind": "billing_limit", "match": {"path_contains": BASE}})
    bare = pyairtable.Api(TOKEN, endpoint_url=URL, retry_strategy=None)
    status, text = status_of(bare.table(BASE, "People").all)
    assert status == 429 and json.loads(text)["errors"][0]["error"] == "PUBLIC_API_BILLING_LIMIT_EXCEEDED"


def main() -> None:
    if not URL:
        sys.exit("AIRTABLE_EMULATOR_URL is not set")
    control("POST", "limits", {"enabled": False, "clear": True})
    passed = failed = 0
    for function in TESTS:
        try:
            function(World())
            passed += 1
        except Exception:  # Whatever went wrong is one failure, told with its place.
            failed += 1
            print(f"FAILED {function.__name__}\n{traceback.format_exc()}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
