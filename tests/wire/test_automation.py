"""scripts/airtable-automation.js, run as Airtable runs it: what it posts, and that the module takes it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from asking import get
from support import ROOT
from world import event

SCRIPT = (ROOT / "scripts" / "airtable-automation.js").read_text(encoding="utf-8")
SECRET = "s3cret-of-the-test"
ID = event(1)

# The globals of Airtable's scripting environment, as far as the script uses them.
SCRIPTING = """
const given = JSON.parse(process.env.GIVEN);
globalThis.input = { config: () => given.input };
const row = (id, cells) => ({ id, getCellValue: (f) => cells[f.name ?? f] ?? null, getCellValueAsString: (f) => String(cells[f.name ?? f] ?? "") });
globalThis.base = { getTable: (name) => {
  const cells = given.tables[name];
  if (!cells) throw new Error("no table " + name);
  const rows = Object.entries(cells.records).map(([id, one]) => row(id, one));
  return { name, fields: cells.fields.map((name) => ({ name })),
    selectRecordsAsync: async () => ({ records: rows }), selectRecordAsync: async (id) => rows.find((one) => one.id === id) ?? null };
} };
"""


@pytest.fixture
def endpoint():
    """An HTTP endpoint that keeps what is posted; `answers` are its next statuses, 200 after them."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.posted.append((self.headers["X-Airtable-Secret"], body))
            self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.posted, server.answers = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join(5)
    server.server_close()


def automation(tmp_path, endpoint, table="events", records=None, config=None, **inputs) -> subprocess.CompletedProcess:
    """Runs the script for a table whose records are given."""
    node = shutil.which("node")
    assert node, "Node is needed to run the automation script"
    records = {ID: {"slug": "event-1", "name": "Told", "open": True}} if records is None else records
    if config is None:
        config = {"podium-url": f"http://127.0.0.1:{endpoint.server_port}/airtable", "podium-secret": SECRET}
    given = {"input": inputs, "tables": {
        table: {"fields": ["slug", "name", "open", "owner"], "records": records},
        "Invalidate Config": {"fields": ["Key", "Value"], "records": {f"rec{at}": {"Key": key, "Value": value} for at, (key, value) in enumerate(config.items())}},
    }}
    program = tmp_path / "automation.mjs"
    script, replaced = re.subn(r'^const TABLE_NAME = ".*";$', f'const TABLE_NAME = "{table}";', SCRIPT, flags=re.M)
    assert replaced == 1
    program.write_text(SCRIPTING + script, encoding="utf-8")
    return subprocess.run([node, str(program)], env={"GIVEN": json.dumps(given), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=30)


def test_it_posts_the_record_with_the_secret_in_a_header(tmp_path, endpoint):
    done = automation(tmp_path, endpoint, recordId=ID)
    assert done.returncode == 0, done.stderr
    (secret, body), = endpoint.posted
    assert secret == SECRET and SECRET.encode() not in body
    payload = json.loads(body)
    assert payload.pop("timestamp") > 1_700_000_000_000
    assert payload == {"table": "events", "record_id": ID, "action": "update", "record": {"slug": "event-1", "name": "Told", "open": True}}


@pytest.mark.parametrize("inputs, records", [({"action": "delete"}, None), ({}, {})])
def test_a_deleted_record(tmp_path, endpoint, inputs, records):
    done = automation(tmp_path, endpoint, records=records, recordId=ID, **inputs)
    assert done.returncode == 0, done.stderr
    payload = json.loads(endpoint.posted[0][1])
    assert (payload["action"], payload["record"], payload["record_id"]) == ("delete", None, ID)


def test_it_tries_twice_and_then_fails_without_naming_the_secret(tmp_path, endpoint):
    endpoint.answers = [503]
    assert automation(tmp_path, endpoint, recordId=ID).returncode == 0
    assert len(endpoint.posted) == 2 and endpoint.posted[0] == endpoint.posted[1]
    endpoint.answers = [503, 403]
    failed = automation(tmp_path, endpoint, recordId=ID)
    assert failed.returncode != 0 and "403" in failed.stderr and SECRET not in failed.stderr


@pytest.mark.parametrize("config, inputs, named", [({}, {"recordId": ID}, "podium-secret"), (None, {}, "recordId"), ({"podium-secret": SECRET}, {"recordId": ID}, "podium-url")])
def test_what_is_not_set_is_named(tmp_path, endpoint, config, inputs, named):
    failed = automation(tmp_path, endpoint, config=config, **inputs)
    assert failed.returncode != 0 and named in failed.stderr
    assert not endpoint.posted


def test_the_module_takes_what_it_posts(tmp_path, endpoint, spawn, world):
    from world import define
    secret = tmp_path / "podium-secret"
    secret.write_text(SECRET + "\n")
    client = spawn({"webhook-secret-file": str(secret)}).client()
    define(client)
    assert automation(tmp_path, endpoint, recordId=ID).returncode == 0
    told, body = endpoint.posted[0]
    assert client.call("PODIUM.WEBHOOK", body, "SECRET", told) == 1
    world.airtable.forget()
    assert get(client, f"events:{ID}")["name"] == "Told"
    assert world.airtable.count() == 0, "it was told, not fetched"
    assert client.error("PODIUM.WEBHOOK", body, "SECRET", "another").code == "DENIED"
    assert automation(tmp_path, endpoint, recordId=ID, action="delete").returncode == 0
    assert client.call("PODIUM.WEBHOOK", endpoint.posted[1][1], "SECRET", told) == 1
    assert get(client, f"events:{ID}") is None and world.airtable.count() == 0
