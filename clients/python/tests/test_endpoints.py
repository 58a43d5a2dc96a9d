"""`@cached` on endpoints of FastAPI, through HTTP."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import models
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.testclient import TestClient
from models import Event, Project
from world import event, project

import podium


class Session:
    """A database session: an object that has nothing to do with the answer."""

    def __init__(self):
        self.lock = __import__("threading").Lock()


class Who:
    def __init__(self, name):
        self.name = name


def session():
    yield Session()


def who(authorization: Annotated[str, Header()] = "nobody"):
    return Who(authorization)


@pytest.fixture
def app():
    return FastAPI()


@pytest.fixture
def http(app):
    with TestClient(app) as client:
        yield client


@pytest.fixture
def calls():
    return []


def test_an_endpoint_without_tags_is_computed_anew_exactly_when_what_it_read_changed(app, http, cache, world, calls):
    projects = models.projects(cache)

    @app.get("/events/{id}/leaderboard")
    @cache.cached("page", resource_id_param="id", subresource="leaderboard")
    def leaderboard(id: str, limit: int = 3) -> list[Project]:
        calls.append(id)
        return projects.by_index(event=id, sort=("points", "desc"), limit=limit)

    path = f"/events/{event(2)}/leaderboard"
    first = http.get(path).json()
    assert [one["points"] for one in first] == [19, 13, 10] and http.get(path).json() == first and len(calls) == 1
    assert len(http.get(path, params={"limit": 2}).json()) == 2 and http.get(path + "?limit=03").json() == first and len(calls) == 2
    projects.invalidate(project(2))
    assert http.get(path).json() == first and len(calls) == 2
    world.change("projects", project(1), points=50)
    projects.invalidate(project(1))
    assert [one["points"] for one in http.get(path).json()] == [50, 19, 13] and len(calls) == 3


def test_async_endpoints(app, http, acache, world, calls):
    events = models.events(acache)

    @app.get("/events/{id}")
    @acache.cached("page", resource_id_param="id")
    async def one(id: str) -> Event:
        calls.append(id)
        found = await events.get(id)
        if found is None:
            raise HTTPException(404, "no such event")
        return found

    for _ in range(3):
        assert http.get(f"/events/{event(1)}").json() == {"id": event(1), "name": "Event 1", "slug": "event-1"}
    assert len(calls) == 1
    missing = "recevt00000000099"
    assert [http.get(f"/events/{missing}").status_code for _ in range(2)] == [404, 404]
    world.create("events", missing, name="New", slug="new")
    assert http.get(f"/events/{missing}").status_code == 404
    http.portal.call(events.invalidate, missing)
    assert http.get(f"/events/{missing}").json()["name"] == "New"


RETURNS: dict[str, tuple[Any, Any]] = {
    "model": (Event, Event(id="rec1", name="E", slug="e")),
    "dict": (dict, {"a": 1, "at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}),
    "list": (list[Event], [Event(id="rec1", name="E", slug="e")]),
    "str": (str, "text"),
    "datetime": (datetime.datetime, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)),
    "none": (None, None),
    "nothing said": (Any, [Event(id="rec1", name="E", slug="e"), {"at": datetime.date(2026, 1, 1)}]),
}


@pytest.mark.parametrize("kind", RETURNS)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_return_types(app, http, cache, calls, kind, asynchronous):
    annotation, value = RETURNS[kind]
    if asynchronous:

        async def endpoint():
            calls.append(1)
            return value
    else:

        def endpoint():
            calls.append(1)
            return value

    if annotation is not Any:
        endpoint.__annotations__["return"] = annotation
    app.get("/plain")(endpoint)
    app.get("/cached")(cache.cached("page")(endpoint))
    plain, *cached = http.get("/plain"), http.get("/cached"), http.get("/cached")
    assert [answer.content for answer in cached] == [plain.content] * 2 and len(calls) == 2
    assert [answer.headers["content-type"] for answer in cached] == [plain.headers["content-type"]] * 2


def test_a_response_model_still_filters(app, http, cache, calls):
    @app.get("/x", response_model=Event)
    @cache.cached("page")
    def endpoint():
        calls.append(1)
        return {"id": "rec1", "name": "E", "slug": "e", "secret": "s"}

    assert [http.get("/x").json() for _ in range(2)] == [{"id": "rec1", "name": "E", "slug": "e"}] * 2 and len(calls) == 1


def test_responses_are_kept_whole(app, http, cache, calls):
    @app.get("/x")
    @cache.cached("page")
    def endpoint() -> Response:
        calls.append(1)
        return PlainTextResponse("hello", status_code=203, headers={"X-Mine": "1"})

    for _ in range(2):
        found = http.get("/x")
        assert (found.status_code, found.text, found.headers["x-mine"], found.headers["content-type"]) == (
            203,
            "hello",
            "1",
            "text/plain; charset=utf-8",
        )
    assert len(calls) == 1


@pytest.mark.parametrize("kind", ["stream", "cookie", "failure", "background"])
def test_responses_that_are_not_kept(app, http, cache, calls, kind, caplog):
    @app.get("/x")
    @cache.cached("page")
    async def endpoint():
        calls.append(1)
        if kind == "stream":
            return StreamingResponse(iter([b"a", b"b"]))
        if kind == "cookie":
            found = JSONResponse("ab")
            found.set_cookie("session", "1")
            return found
        if kind == "background":
            tasks = BackgroundTasks()
            tasks.add_task(calls.append, 2)
            return JSONResponse("ab", background=tasks)
        return JSONResponse("ab", status_code=503)

    assert [http.get("/x").text.strip('"') for _ in range(3)] == ["ab"] * 3
    assert calls.count(1) == 3 and (calls.count(2) == 3 or kind != "background")
    assert len([record for record in caplog.records if "is not cached" in record.getMessage()]) == 1


def test_what_the_endpoint_does_to_its_response_is_kept(app, http, cache, calls):
    @app.get("/x")
    @cache.cached("page")
    def endpoint(response: Response, n: int = 0) -> dict[str, int]:
        calls.append(1)
        response.headers["X-Mine"] = str(n)
        response.status_code = 202
        return {"n": n}

    for n in (1, 1, 2):
        found = http.get(f"/x?n={n}")
        assert (found.status_code, found.headers["x-mine"], found.json()) == (202, str(n), {"n": n})
    assert len(calls) == 2


def test_an_endpoint_that_takes_the_request_is_told_apart_by_what_it_may_see(app, http, cache, calls):
    @app.get("/x/{id}")
    @cache.cached("page")
    def endpoint(request: Request) -> list[str]:
        calls.append(1)
        return [request.path_params["id"], str(sorted(request.query_params.multi_items())), request.headers.get("authorization", "")]

    assert http.get("/x/1?a=1&b=2").json() == http.get("/x/1?b=2&a=1").json() and len(calls) == 1
    different = [http.get("/x/2"), http.get("/x/2?a="), http.get("/x/2?a=1"), http.get("/x/2", headers={"Authorization": "ada"})]
    assert len({answer.text for answer in different}) == 4


def test_dependencies_that_are_data_count(app, http, cache, calls):
    @app.get("/me")
    @cache.cached("page")
    def endpoint(user: Annotated[Who, Depends(who)]) -> str:
        calls.append(1)
        return user.name

    for name in ("ada", "bob", "ada", "bob"):
        assert http.get("/me", headers={"Authorization": name}).json() == name
    assert len(calls) == 2


def test_dependencies_that_are_none_are_named_or_not_cached(app, http, cache, calls, caplog):
    @app.get("/a")
    @cache.cached("a")
    def a(db: Session = Depends(session)) -> int:
        calls.append(1)
        return 1

    @app.get("/b")
    @cache.cached("b", ignore=["db"])
    def b(db: Session = Depends(session)) -> int:
        calls.append(2)
        return 2

    for _ in range(2):
        assert http.get("/a").json() == 1 and http.get("/b").json() == 2
    assert calls.count(1) == 2 and calls.count(2) == 1
    assert "db (a Session)" in caplog.text


def test_query_parameters_that_do_not_count(app, http, cache, calls):
    @app.get("/x/{id}")
    @cache.cached("page", include_query_params=False)
    def endpoint(id: int, campaign: str = "", user: Who = Depends(who)) -> str:
        calls.append(1)
        return f"{id} {user.name}"

    assert {http.get(f"/x/1?campaign={c}").json() for c in "abc"} == {"1 nobody"} and len(calls) == 1
    assert http.get("/x/2").json() == "2 nobody" and http.get("/x/1", headers={"Authorization": "ada"}).json() == "1 ada"
    assert "podium_request" not in http.get("/openapi.json").text


def test_a_cached_dependency(app, http, cache, calls):
    @cache.cached("part")
    def part(n: int = 1) -> int:
        calls.append(1)
        return n

    @app.get("/x")
    def endpoint(found: int = Depends(part)) -> int:
        return found

    assert [http.get("/x?n=1").json(), http.get("/x?n=1").json(), http.get("/x?n=2").json()] == [1, 1, 2] and len(calls) == 2


def test_invalidates_on_endpoints(app, http, cache, calls):
    @app.get("/trigs/{trig_id}")
    @cache.cached("trig", resource_id_param="trig_id")
    def read(trig_id: int) -> int:
        calls.append(1)
        return len(calls)

    @app.patch("/trigs/{trig_id}")
    @cache.invalidates("trig:{trig_id}:*")
    async def change(trig_id: int, response: Response, how: str = "") -> str:
        if how == "raise":
            raise HTTPException(409)
        if how == "status":
            response.status_code = 409
        return "done"

    assert http.get("/trigs/1").json() == 1
    assert http.patch("/trigs/1?how=raise").status_code == http.patch("/trigs/1?how=status").status_code == 409
    assert http.get("/trigs/1").json() == 1
    assert http.patch("/trigs/1").status_code == 200
    assert http.get("/trigs/1").json() == 2


__all__ = ["podium"]
