"""What a response's headers say of its reads, through FastAPI and Flask; what a request may ask for."""

from __future__ import annotations

import models
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from flask import Flask
from models import Event
from world import event, project, user

import podium
from podium.context import Policy, Trace
from podium.headers import headers, policy
from podium.middleware import AsgiMiddleware, WsgiMiddleware

NAMES = ("x-cache", "x-cache-status", "x-airtable-hits", "x-cache-key", "x-cache-age", "x-cache-ttl", "cache-status")


@pytest.fixture
def http(cache):
    """Endpoints that read, under both the honouring and the strict middleware: `http(path, …)` by FastAPI."""
    events, projects, users = models.events(cache), models.projects(cache), cache.entity("users", User, indexed=["email"])
    app = FastAPI()
    app.add_middleware(AsgiMiddleware, honour_request=lambda scope: scope["path"].startswith("/trusted"))

    @app.get("/events/{id}")
    @app.get("/trusted/events/{id}")
    def one(id: str) -> Event | None:
        return events.get(id)

    @app.get("/trusted/page/{id}")
    @app.get("/page/{id}")
    @cache.cached("page", resource_id_param="id")
    def page(id: str) -> list[str]:
        calls.append(1)
        return [found.name for found in projects.get_many([id, project(2)]) if found]

    @app.get("/both")
    async def both() -> list[str]:
        return [projects.get(project(1)).name, events.get(event(1)).name]

    @app.get("/how-many")
    def how_many() -> list:
        return [projects.count(event=event(2)), projects.ids(event=event(2), limit=1)]

    @app.get("/nothing")
    def nothing() -> int:
        return 1

    @app.get("/mail")
    def mail(email: str) -> int:
        return len(users.by_index(email=email))

    calls: list[int] = []
    app.state.calls = calls
    with TestClient(app) as client:
        yield client


class User(models.BaseModel):
    id: str
    email: str


def test_a_miss_then_a_hit(http):
    first, second = http.get(f"/events/{event(1)}"), http.get(f"/events/{event(1)}")
    assert [first.headers[name] for name in NAMES[:4]] == ["MISS", "MISS", "1", f"events:{event(1)}"]
    assert [second.headers[name] for name in NAMES[:4]] == ["HIT", "HIT", "0", f"events:{event(1)}"]
    assert second.headers["x-cache-age"] == "0" and int(second.headers["x-cache-ttl"]) > 28000
    assert second.headers["cache-status"].startswith("podium; hit; ttl=") and first.headers["cache-status"].startswith(
        "podium; fwd=uri-miss"
    )
    assert not [name for name in http.get("/nothing").headers if name in NAMES]


def test_an_answer_stands_for_what_it_read_and_calls_are_summed(http):
    first, second = http.get(f"/page/{project(1)}"), http.get(f"/page/{project(1)}")
    assert (first.headers["x-cache"], first.headers["x-airtable-hits"]) == ("MISS", "1")
    assert first.headers["x-cache-key"] == second.headers["x-cache-key"] == f"page:{project(1)}:v1"
    assert (second.headers["x-cache"], second.headers["x-airtable-hits"]) == ("HIT", "0")
    assert int(second.headers["x-cache-ttl"]) > 20000


def test_several_reads(http):
    http.get(f"/events/{event(1)}")
    found = http.get("/both").headers
    assert (found["x-cache"], found["x-airtable-hits"], found["x-cache-key"]) == ("MISS", "1", f"projects:{project(1)} events:{event(1)}")


def test_counts_and_ids_tell_as_well(http):
    found = http.get("/how-many")
    assert found.json() == [7, [project(1)]] and (found.headers["x-cache"], found.headers["x-airtable-hits"]) == ("MISS", "1")


def test_a_value_in_a_key_ends_no_line(http):
    found = http.get("/mail", params={"email": "a b\r\nSet-Cookie: x=1\u20ac"})
    assert found.status_code == 200 and "set-cookie" not in found.headers
    assert found.headers["x-cache-key"] == "users:email:a%20b%0D%0ASet-Cookie:%20x=1%E2%82%AC"


def test_a_request_is_honoured_where_it_is_trusted_only(http, world):
    path = f"/events/{event(1)}"
    http.get(path)
    world.change("events", event(1), name="Changed")
    for asked in ("no-cache", "no-store", "max-age=0"):
        assert http.get(path, headers={"Cache-Control": asked}).headers["x-cache"] == "HIT"
    assert http.get("/trusted" + path, headers={"Cache-Control": "max-age=3600"}).headers["x-cache"] == "HIT"
    found = http.get("/trusted" + path, headers={"Cache-Control": "no-cache"})
    assert (found.headers["x-cache"], found.headers["x-airtable-hits"], found.json()["name"]) == ("BYPASS", "1", "Changed")


def test_what_a_request_asks_of_computed_answers(http):
    path, calls = f"/trusted/page/{project(1)}", http.app.state.calls
    assert [http.get(path).headers["x-cache"] for _ in range(2)] == ["MISS", "HIT"] and len(calls) == 1
    assert http.get(path, headers={"Cache-Control": "no-cache"}).headers["x-cache"] == "BYPASS" and len(calls) == 2
    assert http.get(path, headers={"Cache-Control": "no-store"}).headers["x-cache"] == "BYPASS" and len(calls) == 3
    assert http.get(path, headers={"Pragma": "no-cache"}).headers["x-cache"] == "BYPASS" and len(calls) == 4
    assert http.get(path, headers={"Cache-Control": "max-age=100"}).headers["x-cache"] == "HIT" and len(calls) == 4
    assert http.get(path, headers={"Cache-Control": "nonsense, max-age=x"}).headers["x-cache"] == "HIT" and len(calls) == 4


def test_disabled_is_a_bypass(http):
    http.get(f"/page/{project(1)}")
    with podium.disabled():
        found = http.get(f"/page/{project(1)}")
    assert found.headers["x-cache"] == "BYPASS" and len(http.app.state.calls) == 2


def test_flask(cache, world):
    events = models.events(cache)
    app = Flask(__name__)
    app.wsgi_app = WsgiMiddleware(app.wsgi_app, honour_request=True, show_keys=False)
    calls = []

    @app.get("/events/<id>")
    def one(id):
        return events.get(id).model_dump()

    @app.get("/page/<id>")
    @cache.cached("page", resource_id_param="id")
    def page(id):
        calls.append(1)
        return {"name": events.get(id).name}

    @app.get("/made/<id>")
    @cache.cached("made", resource_id_param="id")
    def made(id):
        calls.append(1)
        return app.response_class(id, status=203, headers={"X-Mine": "1"})

    http = app.test_client()
    first, second = http.get(f"/events/{event(1)}"), http.get(f"/events/{event(1)}")
    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("MISS", "HIT") and "X-Cache-Key" not in first.headers
    assert http.get(f"/events/{event(1)}", headers={"Cache-Control": "no-cache"}).headers["X-Cache"] == "BYPASS"
    assert [http.get(f"/page/{event(1)}").json for _ in range(2)] == [{"name": "Event 1"}] * 2 and len(calls) == 1
    assert http.get(f"/page/{event(1)}").headers["X-Cache"] == "HIT"
    found = [http.get("/made/a") for _ in range(2)]
    assert [(one.status_code, one.text, one.headers["X-Mine"]) for one in found] == [(203, "a", "1")] * 2 and len(calls) == 2
    assert [one.headers["X-Cache"] for one in found] == ["MISS", "HIT"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", None),
        ("no-cache", Policy(no_cache=True)),
        ("No-Store", Policy(no_store=True)),
        ("max-age=10", Policy(max_age=10)),
        ('max-age="10", no-cache', Policy(no_cache=True, max_age=10)),
        ("max-age=-1", None),
        ("max-age=²", None),
        ("max-age=99999999999999999999", Policy(max_age=2**31 - 1)),
        ("private, only-if-cached", None),
    ],
)
def test_the_requests_directives(text, wanted):
    assert policy(text) == wanted


def test_headers_of_many_reads_stay_short():
    trace = Trace(
        [
            (0, {"cache": "HIT", "key": f"a:{n}", "age": n, "ttl": 100 - n, "airtable-hits": 1, "cache-status": f"podium; hit; ttl={n}"})
            for n in range(50)
        ]
    )
    found = dict(headers(trace))
    assert (
        found["X-Cache-Key"].endswith("a:7 (+42)")
        and found["X-Airtable-Hits"] == "50"
        and found["X-Cache-Age"] == "49"
        and found["X-Cache-TTL"] == "51"
    )
    assert found["Cache-Status"].count("podium") == 8 and headers(Trace()) == []


__all__ = ["user"]
