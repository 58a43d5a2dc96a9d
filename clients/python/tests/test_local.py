"""Records kept in the process: no round trip for a hit, told of changes, emptied when nobody could tell."""

from __future__ import annotations

import asyncio

import models
import pytest
from conftest import client_of
from models import Event, PrivateEvent
from support import eventually
from world import event, project

import podium
from podium.local import Store


@pytest.fixture(params=["valkey", "redis"])
def cache(request, server):
    cache = podium.Podium(client_of(request.param, server.port), local=100)
    yield cache
    cache.close()


def listening(cache):
    """Waits until changes are told, asking as an application would."""
    local = cache._core.local
    eventually(10, "it listens", lambda: local.listening() is not None)
    return local


def asked(raw) -> int:
    """Reads that the server answered."""
    for line in raw.call("INFO", "commandstats").decode().lower().splitlines():
        if line.startswith("cmdstat_podium.mget:"):
            return int(line.split("calls=")[1].split(",")[0])
    return 0


def test_a_hit_costs_no_round_trip_and_a_change_is_told(cache, world, raw):
    projects = models.projects(cache)
    local = listening(cache)
    assert projects.get(project(1)).name == "Project 01"
    before = asked(raw)
    assert [projects.get(project(1)).name for _ in range(10)] == ["Project 01"] * 10
    assert asked(raw) == before and local.store.hits == 10
    raw.call("PODIUM.UPSERT", f"projects:{project(1)}", '{"name":"Told"}')
    eventually(5, "it is told", lambda: projects.get(project(1)).name == "Told")
    world.change("projects", project(1), name="Changed")
    projects.invalidate(project(1))
    eventually(5, "it is told", lambda: projects.get(project(1)).name == "Changed")
    raw.call("PODIUM.TOMBSTONE", f"projects:{project(1)}")
    eventually(5, "it is told", lambda: projects.get(project(1)) is None)


def test_views_are_kept_apart(cache):
    events = models.events(cache)
    listening(cache)
    for _ in range(2):
        assert type(events.get(event(1))) is Event
        assert events.get(event(1), model=PrivateEvent).open is True


def test_many_are_read_as_far_as_they_lack(cache, raw):
    projects = models.projects(cache)
    local = listening(cache)
    projects.get_many([project(1), project(2)])
    before = asked(raw)
    found = projects.get_many([project(3), project(1), project(3), "recprj00000000099"])
    assert [one and one.name for one in found] == ["Project 03", "Project 01", "Project 03", None]
    assert asked(raw) == before + 1 and local.store.hits == 1
    projects.get_many([project(3), project(1)])
    assert asked(raw) == before + 1


@pytest.mark.parametrize("change", ["INVALIDATE *", "FLUSHALL", "SPEC"])
def test_what_concerns_all_of_them(cache, world, raw, change):
    projects = models.projects(cache)
    listening(cache)
    projects.get(project(1))
    world.change("projects", project(1), name="Changed")
    words = {"INVALIDATE *": ("PODIUM.INVALIDATE", "projects:*"), "FLUSHALL": ("FLUSHALL",), "SPEC": ("PODIUM.SPEC", "DEL", "projects")}
    raw.call(*words[change])
    eventually(5, "it is told", lambda: projects.get(project(1)).name == "Changed")


def test_a_lost_connection_empties_it(cache, world, raw):
    projects = models.projects(cache)
    local = listening(cache)
    projects.get(project(1))
    assert len(local.store) == 1
    raw.call("CLIENT", "KILL", "ID", local.listener)
    eventually(5, "it is empty", lambda: local.listener is None and len(local.store) == 0)
    world.change("projects", project(1), name="Changed")
    projects.invalidate(project(1))
    assert projects.get(project(1)).name == "Changed"
    eventually(10, "it listens again", lambda: local.listening() is not None)
    projects.get(project(1))
    before = asked(raw)
    assert projects.get(project(1)).name == "Changed" and asked(raw) == before
    projects.upsert(project(1), {"name": "Told"})
    eventually(5, "it is told", lambda: projects.get(project(1)).name == "Told")


def test_a_computation_asks_the_server(cache, world):
    """What is kept here is noted for no lease: inside a computation it is read there."""
    projects = models.projects(cache)
    listening(cache)
    projects.get(project(1))
    calls = []

    @cache.cached("page")
    def page() -> str:
        calls.append(1)
        return projects.get(project(1)).name

    assert page() == page() == "Project 01" and len(calls) == 1
    world.change("projects", project(1), name="Changed")
    projects.invalidate(project(1))
    assert page() == "Changed"


def test_what_asks_for_more_than_a_copy_gets_it(cache, world):
    projects = models.projects(cache)
    listening(cache)
    projects.get(project(1))
    world.change("projects", project(1), name="Changed")
    assert projects.get(project(1)).name == "Project 01"
    assert projects.get(project(1), no_cache=True).name == "Changed"


def test_without_the_right_to_track_it_is_as_if_there_were_none(server, raw, caplog):
    raw.call(
        "ACL",
        "SETUSER",
        "web",
        "on",
        ">pw",
        "resetkeys",
        "+podium.mget",
        "+podium.get",
        "+podium.spec|set",
        "+ping",
        "+client|id",
        "+hello",
        "~projects:*",
    )
    try:
        cache = podium.Podium(client_of("valkey", server.port, username="web", password="pw"), local=10)
        projects = models.projects(cache)
        listening(cache)
        assert [projects.get(project(1)).name for _ in range(3)] == ["Project 01"] * 3
        assert cache._core.local.store.hits == 0 and "nothing is kept in the process" in caplog.text
        cache.close()
    finally:
        raw.call("ACL", "DELUSER", "web")


@pytest.mark.parametrize("library", ["valkey.asyncio", "redis.asyncio"])
def test_the_same_with_await(server, world, raw, library):
    async def scene():
        cache = podium.AsyncPodium(client_of(library, server.port), local=10)
        projects = models.projects(cache)
        while cache._core.local.listening() is None:
            await asyncio.sleep(0.01)
        assert (await projects.get(project(1))).name == "Project 01"
        before = asked(raw)
        assert (await projects.get(project(1))).name == "Project 01" and asked(raw) == before
        await projects.upsert(project(1), {"name": "Told"})
        for _ in range(200):
            if (await projects.get(project(1))).name == "Told":
                break
            await asyncio.sleep(0.01)
        assert (await projects.get(project(1))).name == "Told"
        await cache.close()

    asyncio.run(scene())


def test_what_is_said_between_question_and_answer_is_not_lost():
    store = Store(10, 60)
    mark = store.begin("a:1")
    store.changed("a:1")
    store.end(mark, (), b"old", 100, 0)
    assert store.get("a:1", (), 0) is None
    one, two = store.begin("a:1"), store.begin("a:1")
    store.end(one, (), b"x", 100, 0)
    store.changed("a:1")
    store.end(two, (), b"x", 100, 0)
    assert store.get("a:1", (), 0) is None
    mark = store.begin("a:1")
    store.clear()
    store.end(mark, (), b"old", 100, 0)
    assert store.get("a:1", (), 0) is None and not store._marks


def test_nothing_is_kept_longer_than_it_is_fresh():
    store = Store(10, 60)
    for fresh, until in ((100, 60), (5, 5)):
        store.end(store.begin("a:1"), (), b"x", fresh, 0)
        assert store.get("a:1", (), until - 0.1) == (b"x", pytest.approx(0.1)) and store.get("a:1", (), until) is None
        store.changed("a:1")
    store.end(store.begin("a:1"), (), b"x", -3, 0)
    assert store.get("a:1", (), 0) is None
    for n in range(20):
        store.end(store.begin(f"a:{n}"), (), b"x", 9, 0)
    assert len(store) == 10
