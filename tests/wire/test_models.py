"""From an application's models to a working cache with nothing added: what reads return passes the model asked for."""

from __future__ import annotations

import json
import sys

import pytest

from airtable import TOKEN
from asking import get, ids, mget, spec
from support import ROOT
from world import ID_COLUMN, World, column, link_column, lookup_column, rid, table

sys.path.insert(0, str(ROOT / "tests" / "fixtures" / "models"))
import models  # noqa: E402

SCHEMAS = ROOT / "tests" / "fixtures" / "schemas"
PRINTED = sorted(path.name for path in SCHEMAS.glob("*.json"))

user, event, project, vote, referral = ((lambda n, kind=kind: rid(kind, n)) for kind in ("usr", "evt", "prj", "vot", "ref"))

ENTITIES = {
    "users": (models.User, models.UserPublic, [user(n) for n in range(1, 9)]),
    "events": (models.Event, models.EventPublic, [event(n) for n in range(1, 4)]),
    "projects": (models.Project, models.ProjectPublic, [project(n) for n in range(1, 13)]),
    "votes": (models.Vote, None, [vote(n) for n in range(1, 21)]),
    "referrals": (models.Referral, None, [referral(n) for n in range(1, 4)]),
}


def seed(base: str) -> dict:
    """The models' tables; every other record has its optional cells empty, as Airtable has them: absent."""
    text, number = "singleLineText", "number"
    return {"tokens": [{"token": TOKEN, "scopes": ["data.records:read"], "bases": [base]}], "bases": [{"id": base, "name": "Hackathon", "tables": [
        table("users", "display_name", [
            column("display_name", text), ID_COLUMN, column("email", "email"), column("first_name", text), column("last_name", text), column("phone", "phoneNumber"),
            column("date_of_birth", "date"), column("is_superuser", "checkbox"), column("full_name", "formula", formula="{first_name}&' '&{last_name}"), column("unmodelled", text),
        ], {user(n): {
            "display_name": f"User {n}", "email": f"User{n}@Example.COM", "unmodelled": "x",
            **({"first_name": "Ada", "last_name": "L", "phone": "1", "date_of_birth": "2000-01-02", "is_superuser": True} if n % 2 else {}),
        } for n in range(1, 9)}),
        table("events", "name", [
            column("name", text), ID_COLUMN, column("slug", text), column("description", "multilineText"), column("votable", "checkbox"), column("stage", "singleSelect", choices=["draft", "open", "closed"]),
            link_column("owner", "users", "owned_events"), lookup_column("owner_id", "owner", "id"), column("join_code", text), link_column("attendees", "users", "attending", single=False),
            column("starts_at", "dateTime"), column("max_votes", number),
        ], {event(n): {
            "name": f"Event {n}", "slug": f"event-{n}", "owner": [user(n)],
            **({"description": "d", "votable": True, "stage": "open", "join_code": "j", "attendees": [user(1), user(2)], "starts_at": "2026-03-04T05:06:07.000Z", "max_votes": 5} if n % 2 else {}),
        } for n in range(1, 4)}),
        table("projects", "name", [
            column("name", text), ID_COLUMN, column("readme", "url"), column("points", number), link_column("event", "events", "projects"), lookup_column("event_id", "event", "id"), link_column("owner", "users", "projects"),
            lookup_column("owner_id", "owner", "id"), lookup_column("owner_display_name", "owner", "display_name"), link_column("collaborators", "users", "collaborates", single=False), column("image", "multipleAttachments"),
            column("hours_spent", number), column("tags", "multipleSelects", choices=["web"]),
        ], {project(n): {
            "name": f"Project {n}", "readme": "https://example.com/readme", "event": [event(1 + n % 3)], "owner": [user(1 + n % 8)],
            **({"points": n, "collaborators": [user(3)], "image": [{"url": "https://dl.example.com/i.png", "filename": "i.png"}], "hours_spent": 1.5, "tags": ["web"]} if n % 2 else {}),
        } for n in range(1, 13)}),
        table("votes", "name", [
            column("name", text), ID_COLUMN, link_column("voter", "users", "votes"), lookup_column("voter_id", "voter", "id"), link_column("project", "projects", "votes"), lookup_column("project_id", "project", "id"),
            link_column("event", "events", "votes"), lookup_column("event_id", "event", "id"), column("created", "createdTime"),
        ], {vote(n): {"name": f"v{n}", "voter": [user(1 + n % 8)], "project": [project(1 + n % 12)], **({"event": [event(1 + n % 3)]} if n % 2 else {})} for n in range(1, 21)}),
        table("referrals", "content", [
            column("content", text), ID_COLUMN, link_column("user", "users", "referrals"), lookup_column("user_id", "user", "id"), link_column("event", "events", "referrals"), lookup_column("event_id", "event", "id"),
        ], {referral(n): {"content": f"c{n}", "user": [user(n)], **({"event": [event(n)]} if n % 2 else {})} for n in range(1, 4)}),
    ]}]}


@pytest.fixture(params=["validation", "serialization"])
def cache(request, server, world: World):
    """A connection on which the models' schemas, as printed in one mode, are the specs."""
    world.airtable.seed(seed(world.base))
    client = server.client()
    for entity, (model, public, _) in ENTITIES.items():
        given = {"schema": model.model_json_schema(mode=request.param)}
        if public is not None:
            given["views"] = {"public": public.model_json_schema(mode=request.param)}
        spec(client, entity, given)
    return client


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_record_passes_its_model(cache, entity):
    model, public, records = ENTITIES[entity]
    for id in records:
        whole = model.model_validate_json(cache.call("PODIUM.GET", f"{entity}:{id}", "VIEW", "*"))
        assert whole.id == id
        if public is not None:
            raw = cache.call("PODIUM.GET", f"{entity}:{id}")
            assert public.model_validate_json(raw).id == id
            assert set(json.loads(raw)) <= {"id", *public.model_json_schema()["properties"]}, "the default view is the privacy line"


def test_single_links_are_indexed_by_themselves(cache):
    assert ids(cache, f"projects:event:{event(1)}") == [project(n) for n in range(1, 13) if 1 + n % 3 == 1]
    assert ids(cache, f"projects:owner:{user(2)}") == [project(n) for n in range(1, 13) if 1 + n % 8 == 2]
    for field, value, of in (("voter", user(2), lambda n: user(1 + n % 8)), ("project", project(2), lambda n: project(1 + n % 12)), ("event", event(2), lambda n: event(1 + n % 3) if n % 2 else None)):
        assert ids(cache, f"votes:{field}:{value}") == [vote(n) for n in range(1, 21) if of(n) == value], field
    assert ids(cache, f"referrals:event:{event(1)}") == [referral(1)]
    assert cache.error("PODIUM.INDEX", f"projects:collaborators:{user(3)}").code == "NOINDEX", "links of many are not indexed unless marked"


def test_the_marks_of_the_models_are_understood(cache):
    assert ids(cache, "users:email: USER3@example.com ") == [user(3)]
    assert ids(cache, "events:slug:event-2") == [event(2)]
    top = [json.loads(raw)["points"] for raw in cache.call("PODIUM.INDEX", f"projects:event:{event(2)}", "SORT", "points", "DESC", "LIMIT", 0, 2)]
    assert top == sorted((n for n in range(1, 13) if 1 + n % 3 == 2 and n % 2), reverse=True)[:2]


def test_told_records_pass_their_model_too(cache):
    cache.call("PODIUM.UPSERT", f"projects:{project(1)}", json.dumps({"name": "Told", "readme": "https://example.com/", "event": event(2), "owner": {"id": user(1), "name": "User 1"}, "tags": ["web"]}))
    told = models.Project.model_validate_json(cache.call("PODIUM.GET", f"projects:{project(1)}", "VIEW", "*"))
    assert told.event == [event(2)] and told.owner == [user(1)] and told.tags == ["web"]


def test_many_at_once_and_unmodelled_columns(cache):
    found = mget(cache, [f"users:{id}" for id in ENTITIES["users"][2]])
    assert all(models.UserPublic.model_validate(one) for one in found)
    assert "unmodelled" not in get(cache, f"users:{user(1)}", "VIEW", "*")


@pytest.mark.parametrize("name", PRINTED)
def test_what_the_tools_print_is_understood(server, name):
    client = server.client()
    printed = json.loads((SCHEMAS / name).read_text())
    assert len(printed) >= 3
    for model, given in printed.items():
        spec(client, model, given)
        shown = json.loads(client.call("PODIUM.SPEC", "GET", model))
        for link in ("event", "project", "voter", "owner"):
            if "^rec" in json.dumps(given.get("properties", {}).get(link)):
                assert shown["fields"][link]["indexed"] is True, f"{name}: {model}.{link} is a single link: {shown['fields'][link]}"
