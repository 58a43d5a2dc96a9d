"""Records as models: the sync half in full, the async half by the same names."""

from __future__ import annotations

import asyncio
import inspect

import models
import pytest
from conftest import client_of
from models import Event, PrivateEvent, Project
from pydantic import computed_field
from world import ABSENT, event, project, user

import podium
from podium import errors


@pytest.fixture
def events(cache):
    return models.events(cache)


@pytest.fixture
def projects(cache):
    return models.projects(cache)


def test_a_record_is_the_model_of_the_view_asked_for(events):
    found = events.get(event(1))
    assert type(found) is Event and found.slug == "event-1"
    whole = events.get(event(1), model=PrivateEvent)
    assert type(whole) is PrivateEvent and whole.open is True and whole.owner == [user(1)]
    assert events.get(ABSENT) is None


def test_another_model_is_refused_before_anything_is_asked(events, raw):
    with pytest.raises(TypeError, match="Project is no model of events; its models are Event, PrivateEvent"):
        events.get(event(1), model=Project)
    assert raw.call("PODIUM.SPEC", "LIST") == []


def test_the_spec_is_sent_once(events, raw):
    for _ in range(3):
        events.get(event(1))
    before = int(_calls(raw))
    events.get(event(2))
    assert int(_calls(raw)) == before


def _calls(raw) -> str:
    for line in raw.call("INFO", "commandstats").decode().lower().splitlines():
        if line.startswith("cmdstat_podium.spec|set:"):
            return line.split("calls=")[1].split(",")[0]
    return "0"


def test_a_spec_that_the_server_lost_is_sent_again(events, raw):
    assert events.get(event(1)) is not None
    raw.call("PODIUM.SPEC", "DEL", "events")
    assert events.get(event(1)) is not None


def test_many_records_are_one_round_trip_in_the_order_asked(projects, world, raw):
    found = projects.get_many([project(3), ABSENT, project(1)])
    assert [one and one.name for one in found] == ["Project 03", None, "Project 01"]
    assert world.airtable.count_records() == 1
    assert projects.get_many([]) == []


def test_a_list_is_one_round_trip(projects, raw):
    projects.count()
    before = _commands(raw)
    projects.get_many([project(n) for n in range(1, 20)])
    projects.by_index(event=event(2), stage="build", sort="points", limit=5)
    assert _commands(raw) - before == 3, "the two, and the question about it"


def _commands(raw) -> int:
    lines = raw.call("INFO", "stats").decode().splitlines()
    return int(next(line for line in lines if line.startswith("total_commands_processed")).split(":")[1])


def test_more_than_a_command_takes(projects, raw):
    ids = [project(1 + n % 20) for n in range(2300)]
    assert [one.id for one in projects.get_many(ids)] == ids


def test_an_index_is_asked_with_fields(projects):
    found = projects.by_index(event=event(2), sort=("points", "desc"), limit=2)
    assert [one.points for one in found] == [19, 13]
    assert [one.points for one in projects.by_index(event=event(2), sort="points", limit=(1, 2), model=Project)] == [0, 1]
    both = projects.by_index(event=event(2), stage="build")
    assert both and all(one.event == [event(2)] and one.stage == "build" for one in both)
    assert projects.ids(event=event(2), stage="build") == [one.id for one in both]
    assert projects.count(event=event(2), stage="build") == len(both)
    assert len(projects.all()) == projects.count() == 20
    assert projects.by_index(points=19)[0].points == 19
    assert projects.by_index(where={"stage": "done"}) == projects.by_index(stage="done")
    with pytest.raises(TypeError, match="by_index needs a field"):
        projects.by_index()
    with pytest.raises(ValueError, match="sideways"):
        projects.by_index(event=event(2), sort=("points", "sideways"))


def test_booleans_and_models_are_values(events, projects):
    assert {one.id for one in events.by_index(open=True, model=PrivateEvent)} == {event(1), event(3)}
    assert projects.count(event=events.get(event(2))) == projects.count(event=event(2))
    with pytest.raises(TypeError, match="an index holds no NoneType"):
        projects.count(event=None)


def test_writes_reach_airtable_and_the_cache(cache, world, projects):
    made = projects.create({"name": "New", "event": [event(1)]})
    assert made.name == "New" and world.truth("projects")[made.id]["name"] == "New"
    changed = projects.update(made.id, {"points": 7})
    assert changed.points == 7 == world.truth("projects")[made.id]["points"]
    assert projects.get(made.id).points == 7
    assert projects.delete(made.id) == 1
    assert made.id not in world.truth("projects") and projects.get(made.id) is None
    many = projects.create_many([{"name": "Good"}, {"name": "Bad", "event": [ABSENT]}])
    assert many[0].name == "Good" and isinstance(many[1], errors.Upstream) and many[1].status == 422
    with pytest.raises(errors.Upstream, match="422 ROW_DOES_NOT_EXIST"):
        projects.create({"name": "Bad", "event": [ABSENT]})
    assert projects.create_many([]) == []


def test_a_model_is_written_as_far_as_it_was_set(world, cache):
    votes = models.votes(cache)
    made = votes.create(models.Vote(voter=[user(1)]))
    assert made.voter == [user(1)] and "project" not in world.truth("votes")[made.id]
    assert votes.update(made.id, models.Vote(project=[project(2)])).voter == [user(1)]


def test_what_a_model_computes_is_not_written(world, cache):
    class Computing(models.BaseModel):
        id: str = ""
        name: str

        @computed_field
        @property
        def loud(self) -> str:
            return self.name.upper()

    projects = cache.entity("projects", Computing)
    made = projects.create(Computing(name="New"))
    assert made.loud == "NEW" and "loud" not in world.truth("projects")[made.id]
    assert projects.upsert(made.id, Computing(name="Told")) and projects.get(made.id).name == "Told"


def test_what_is_told(world, projects):
    projects.get(project(1))
    assert projects.upsert(project(1), Project(id=project(1), name="Told", points=3))
    assert projects.get(project(1)).name == "Told"
    assert projects.upsert(project(1), {"name": "Older"}, at=1000) is False
    world.change("projects", project(1), name="Changed")
    assert projects.get(project(1)).name == "Told"
    assert projects.invalidate(project(1)) == 1
    assert projects.get(project(1)).name == "Changed"
    assert projects.tombstone(project(1)) == 1 and projects.get(project(1)) is None
    assert projects.invalidate_all() >= 0
    assert projects.get(project(1)).name == "Changed"
    assert projects.get(project(1), no_cache=True).name == "Changed"


def test_no_cache_and_max_age_fetch(world, projects):
    projects.get(project(1))
    world.change("projects", project(1), name="Changed")
    assert projects.get(project(1)).name == "Project 01"
    assert projects.get(project(1), max_age=3600).name == "Project 01"
    assert projects.get(project(1), no_cache=True).name == "Changed"
    world.change("projects", project(1), name="Again")
    assert projects.by_index(event=event(2), how={"max_age": 0})[0].name == "Again"


def test_one_thing_that_changed_and_what_goes_with_it(cache, world, projects, raw):
    raw.call("PODIUM.SPEC", "SET", "page", '{"computed":true}')
    projects.get_many([project(1), project(2)])
    raw.call("PODIUM.FILL", "page:a:1", "x")
    raw.call("PODIUM.FILL", "page:b", "x", "TAGS", 1, "site")
    assert cache.invalidate("projects", project(1), related=[("projects", project(2)), "page:a:*", "tag:site"]) == 4
    assert cache.invalidate(related=[]) == 0
    assert cache.invalidate("projects") >= 0


@pytest.mark.parametrize(
    ("kind", "ask"),
    [
        (errors.BadKey, lambda c, p: p.get("nonsense")),
        (errors.NoIndex, lambda c, p: p.by_index(name="Project 01")),
        (errors.NoSort, lambda c, p: p.by_index(event=event(1), sort="stage")),
        (errors.NoEntity, lambda c, p: c.execute("PODIUM.GET", f"nothing:{event(1)}")),
        (errors.BadSpec, lambda c, p: c.execute("PODIUM.SPEC", "SET", "x", "{")),
        (errors.NoView, lambda c, p: c.execute("PODIUM.GET", f"projects:{project(1)}", "VIEW", "none")),
        (errors.Denied, lambda c, p: c.execute("PODIUM.WEBHOOK", "{}", "SECRET", "wrong")),
        (errors.BadTag, lambda c, p: c.execute("PODIUM.INVALIDATE", "tag:")),
        (errors.ServerError, lambda c, p: c.execute("PODIUM.GET", f"projects:{project(1)}", "NONSENSE")),
        (errors.ServerError, lambda c, p: c.execute("NO.SUCH.COMMAND")),
    ],
)  # fmt: skip
def test_each_code_is_a_class_and_the_message_is_kept(cache, projects, raw, kind, ask):
    projects.count()
    with pytest.raises(kind) as caught:
        ask(cache, projects)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(getattr(caught.value, "server_code", kind.code) + " ") and len(caught.value.message) > 10


def test_errors_of_airtable(projects, world):
    world.airtable.status(422, "INVALID", "not like that")
    with pytest.raises(errors.Upstream, match="UPSTREAM 422 INVALID: not like that") as caught:
        projects.get(project(1))
    assert caught.value.status == 422 and isinstance(caught.value, podium.UpstreamError)
    world.airtable.clear_faults()
    world.airtable.status(401, "AUTHENTICATION_REQUIRED", "who are you")
    with pytest.raises(errors.UpstreamAuth):
        projects.get(project(2))
    world.airtable.clear_faults()


def test_every_code_of_the_contract_has_a_class():
    contract = ("NOENTITY BADKEY BADSPEC BADRECORD NOINDEX NOSORT NOVIEW NOPERM TOOBIG WOULDBLOCK REPLICAMISS DENIED WRONGTYPE BADTAG "
                "UPSTREAM UPSTREAMAUTH UPSTREAMTIMEOUT UPSTREAMBUSY UPSTREAMBAD")  # fmt: skip
    assert set(errors.BY_CODE) == set(contract.split())
    for code, kind in errors.BY_CODE.items():
        found = errors.of(RuntimeError(f"{code} what was wrong"))
        assert type(found) is kind and str(found) == f"{code} what was wrong"


def test_an_entity_is_declared_once(cache):
    first = models.events(cache)
    assert models.events(cache).name == first.name
    with pytest.raises(ValueError, match="events is declared twice, with different specs"):
        cache.entity("events", Event)
    with pytest.raises(TypeError, match="index"):
        cache.entity("others", Event, index=["slug"])


def test_rights_are_the_servers(server, raw, projects):
    projects.get(project(1))
    raw.call("ACL", "SETUSER", "web", "on", ">pw", "resetkeys", "+podium.get", "%R~projects:*")
    try:
        web = podium.Podium(client_of("valkey", server.port, username="web", password="pw"))
        theirs = models.projects(web)
        # It may not set specs: those that are there are in force.
        assert theirs.get(project(1)).name == "Project 01"
        with pytest.raises(errors.NoPerm) as caught:
            models.events(web).get(event(1))
        assert caught.value.code == "NOPERM"
        web.close()
    finally:
        raw.call("ACL", "DELUSER", "web")


@pytest.mark.parametrize("library", ["valkey", "redis"])
@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}, {"socket_timeout": 2}])
def test_any_client_object_will_do(server, library, options):
    cache = podium.Podium(client_of(library, server.port, **options))
    projects = models.projects(cache)
    assert projects.get(project(1)).name == "Project 01"
    assert len(projects.by_index(event=event(2))) == projects.count(event=event(2))
    with pytest.raises(errors.NoIndex):
        projects.count(name="x")
    cache.close()


@pytest.mark.parametrize("library", ["valkey.asyncio", "redis.asyncio"])
def test_the_same_with_await(server, world, library):
    async def scene():
        cache = podium.AsyncPodium(client_of(library, server.port))
        events, projects = models.events(cache), models.projects(cache)
        assert type(await events.get(event(1))) is Event
        assert type(await events.get(event(1), model=PrivateEvent)) is PrivateEvent
        assert [one.id for one in await projects.get_many([project(2), project(1)])] == [project(2), project(1)]
        assert [one.points for one in await projects.by_index(event=event(2), sort=("points", "desc"), limit=2)] == [19, 13]
        assert len(await projects.all()) == await projects.count() == 20
        made = await projects.create({"name": "New"})
        assert (await projects.update(made.id, {"points": 2})).points == 2
        assert await projects.delete(made.id) == 1
        assert await projects.upsert(project(1), {"name": "Told"}) and await projects.invalidate(project(1)) == 1
        assert await projects.tombstone(project(1)) == 0
        with pytest.raises(errors.NoIndex):
            await projects.count(name="x")
        assert await cache.invalidate("projects", project(2)) == 1
        await cache.close()

    asyncio.run(scene())


def test_both_halves_have_the_same_names():
    for sync, other in ((podium.Podium, podium.AsyncPodium), (podium.Entity, podium.AsyncEntity)):
        names = {name for name in vars(sync) if not name.startswith("_")}
        assert names == {name for name in vars(other) if not name.startswith("_")}
        for name in names:
            one, two = getattr(sync, name), getattr(other, name)
            if callable(one) and not isinstance(vars(sync)[name], property):
                assert list(inspect.signature(one).parameters) == list(inspect.signature(two).parameters), name
