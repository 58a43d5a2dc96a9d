"""What Airtable posts to: the same answers by FastAPI and by Flask, on either half of the package."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import models
import pytest
from conftest import client_of
from fastapi import FastAPI
from fastapi.testclient import TestClient
from flask import Flask
from support import eventually
from world import project

import podium
from podium.routes import MAX_BODY
from podium.routes.fastapi import router
from podium.routes.flask import blueprint

SECRET = "s3cret"


@pytest.fixture(params=["fastapi", "fastapi on the sync half", "flask", "flask on the async half"])
def post(request, cache, acache, raw, tmp_path):
    """`post(path, body, **headers)` → status, text."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    raw.call("CONFIG", "SET", "podium.webhook-secret-file", str(file))
    half = {"fastapi": acache, "fastapi on the sync half": cache, "flask": cache, "flask on the async half": acache}[request.param]
    if request.param.startswith("fastapi"):
        app = FastAPI()
        app.include_router(router(half), prefix="/airtable")
        with TestClient(app) as http:
            yield poster(http, "content")
    else:
        app = Flask(__name__)
        app.register_blueprint(blueprint(half), url_prefix="/airtable")
        http = app.test_client()
        yield poster(http, "data")
    raw.call("CONFIG", "SET", "podium.webhook-secret-file", "")


def poster(http, body_name: str):
    def post(path: str, body: bytes, **headers: str) -> tuple[int, str]:
        found = http.post("/airtable" + path, headers=headers, **{body_name: body})
        return found.status_code, found.text

    return post


def payload(id: str, record: dict | None) -> bytes:
    action = "update" if record is not None else "delete"
    return json.dumps(
        {"table": "projects", "record": record, "record_id": id, "timestamp": "2099-01-01T00:00:00.000Z", "action": action}
    ).encode()


def test_a_webhook(post, cache):
    projects = models.projects(cache)
    assert projects.get(project(1)).name == "Project 01"
    assert post("/webhook", payload(project(1), {"name": "Told"}), **{"X-Airtable-Secret": SECRET}) == (200, "1")
    assert projects.get(project(1)).name == "Told"
    assert post("/webhook", payload(project(1), None), **{"X-Airtable-Secret": SECRET}) == (200, "1")
    assert projects.get(project(1)) is None
    for headers in ({}, {"X-Airtable-Secret": "wrong"}):
        assert post("/webhook", payload(project(2), None), **headers)[0] == 403
    assert projects.get(project(2)) is not None
    status, text = post("/webhook", b"no JSON", **{"X-Airtable-Secret": SECRET})
    assert status == 400 and text
    assert post("/webhook", b"x" * (MAX_BODY + 1), **{"X-Airtable-Secret": SECRET})[0] == 413


def test_a_ping(post, cache, raw, world):
    projects = models.projects(cache)
    raw.call("CONFIG", "SET", "podium.sync-interval", 3600)
    projects.get(project(1))
    assert raw.call("PODIUM.SYNC", "START", "NOTIFY", "http://127.0.0.1:9/ping") == "OK"
    try:
        secret = eventually(5, "the webhook stands", lambda: raw.call("HGET", f"podium:feed:{world.base}", "secret"))
        world.change("projects", project(1), name="Changed")
        body = json.dumps({"base": {"id": world.base}, "webhook": {"id": _hook(raw)}, "timestamp": "2026-01-01T00:00:00.000Z"}).encode()
        mac = "hmac-sha256=" + hmac.new(base64.b64decode(secret), body, hashlib.sha256).hexdigest()
        assert post("/ping", body, **{"X-Airtable-Content-MAC": mac[:-2] + "xx"})[0] == 403
        assert post("/ping", body)[0] == 403
        assert post("/ping", body, **{"X-Airtable-Content-MAC": mac}) == (200, "OK")
        eventually(5, "the change is seen", lambda: projects.get(project(1)).name == "Changed")
    finally:
        raw.call("PODIUM.SYNC", "STOP")
        raw.call("CONFIG", "SET", "podium.sync-interval", 30)


def _hook(raw) -> str:
    pairs = raw.call("PODIUM.SYNC", "STATUS")
    return dict(zip(pairs[::2], pairs[1::2], strict=True))[b"webhook"].decode()


def test_while_valkey_is_away(own_server):
    cache = podium.Podium(client_of("valkey", own_server.port))
    app = FastAPI()
    app.include_router(router(cache))
    own_server.stop()
    with TestClient(app) as http:
        found = http.post("/webhook", content=b"{}", headers={"X-Airtable-Secret": "x"})
        assert found.status_code == 503 and "UNAVAILABLE" in found.text
