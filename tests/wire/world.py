"""The base that the wire tests read, and the entities made of it.

Every test gets a base id of its own: pacing, breaker and doubt are kept per base, so no test inherits another's."""

from __future__ import annotations

import itertools
import json

from airtable import TOKEN, Emulator

_numbers = itertools.count(1)


def rid(kind: str, number: int) -> str:
    """A record id: `rid("prj", 7)` → `recprj00000000007`."""
    return f"rec{kind}{number:0{14 - len(kind)}d}"


def user(n):
    return rid("usr", n)


def event(n):
    return rid("evt", n)


def project(n):
    return rid("prj", n)


def vote(n):
    return rid("vot", n)


def item(n):
    return rid("itm", n)


ITEMS = 400
ABSENT = rid("non", 404)

REC = {"type": "string", "pattern": "^rec"}
SINGLE_LINK = {"type": "array", "items": REC, "maxItems": 1}
LINKS = {"type": "array", "items": REC}


def schema(properties: dict, required=()) -> dict:
    return {"type": "object", "properties": {"id": {"type": "string"}, **properties}, "required": list(required)}


SPECS = {
    "users": {
        "schema": schema({
            "email": {"type": "string", "indexed": True, "normalize": ["trim", "lower"]},
            "display_name": {"type": ["string", "null"]},
            "is_admin": {"type": "boolean", "default": False, "indexed": True},
            "points": {"type": "number", "default": 0, "sortable": True},
            "avatar": {"type": "array", "items": {"type": "object"}, "default": []},
        }, ["id", "email"]),
        "views": {"public": ["id", "display_name", "points"], "contact": ["id", "display_name", "email"]},
    },
    "events": {
        "schema": schema({
            "slug": {"type": "string", "indexed": True},
            "name": {"type": "string"},
            "open": {"type": "boolean", "default": False, "indexed": True},
            "owner": {**SINGLE_LINK, "default": []},
        }, ["slug", "name"]),
    },
    "projects": {
        "schema": schema({
            "name": {"type": "string", "sortable": True},
            "points": {"type": "integer", "default": 0, "sortable": True, "indexed": True},
            "stage": {"type": ["string", "null"], "default": None, "indexed": True},
            "tags": {"type": "array", "items": {"type": "string"}, "default": []},
            "due": {"type": ["string", "null"], "format": "date", "default": None, "sortable": True, "indexed": True},
            "description": {"type": ["string", "null"], "default": None},
            "event": {**SINGLE_LINK, "default": []},
            "owner": {**SINGLE_LINK, "default": []},
            "owner_display_name": {"type": ["string", "null"], "default": None, "readOnly": True},
        }, ["name", "event"]),
    },
    "votes": {
        "schema": schema({
            "voter": {**SINGLE_LINK, "default": []},
            "project": {**SINGLE_LINK, "default": []},
            "event": {**SINGLE_LINK, "default": []},
        }),
        "index_to_airtable": {"voter": "user_id"},
    },
    "items": {
        "schema": schema({
            "name": {"type": "string"},
            "n": {"type": "integer", "default": 0, "sortable": True},
            "group": {"type": "string", "default": "", "indexed": True},
        }, ["name"]),
    },
}


def column(name: str, type: str, **options) -> dict:
    return {"name": name, "type": type, **({"options": options} if options else {})}


def link_column(name: str, table: str, inverse: str, single: bool = True) -> dict:
    return column(name, "multipleRecordLinks", linkedTable=table, prefersSingleRecordLink=single, inverseLinkField=inverse)


def lookup_column(name: str, link: str, of: str) -> dict:
    return column(name, "multipleLookupValues", recordLinkField=link, fieldInLinkedTable=of)


ID_COLUMN = column("id", "formula", formula="RECORD_ID()")


def table(name: str, primary: str, fields: list, records: dict) -> dict:
    return {"name": name, "primary": primary, "fields": fields, "records": [{"id": id, "fields": fields} for id, fields in records.items()]}


def seed(base: str) -> dict:
    """The base as the emulator takes it. 12 users, 4 events, 20 projects, 30 votes, 400 items."""
    stages = ["idea", "build", "done"]
    return {
        "tokens": [{"token": TOKEN, "scopes": ["data.records:read", "data.records:write", "schema.bases:read", "webhook:manage"], "bases": [base]}],
        "bases": [{"id": base, "name": "Wire tests", "tables": [
            table("users", "display_name", [
                column("display_name", "singleLineText"), ID_COLUMN, column("email", "email"), column("is_admin", "checkbox"), column("points", "number"),
                column("avatar", "multipleAttachments"),
            ], {user(n): {
                "display_name": f"User {n}", "email": f"User{n}@Example.com" if n % 2 else f"user{n}@example.com", **({"is_admin": True} if n % 5 == 0 else {}),
                **({"points": n * 10} if n % 3 else {}),
                **({"avatar": [{"id": f"attAvatar{n:08d}", "url": "https://dl.example.com/a.png", "filename": "a.png", "size": 10, "type": "image/png"}]} if n == 1 else {}),
            } for n in range(1, 13)}),
            table("events", "name", [
                column("name", "singleLineText"), ID_COLUMN, column("slug", "singleLineText"), column("open", "checkbox"), link_column("owner", "users", "owned_events"),
                lookup_column("owner_id", "owner", "id"),
            ], {event(n): {"name": f"Event {n}", "slug": f"event-{n}", **({"open": True} if n % 2 else {}), "owner": [user(n)]} for n in range(1, 5)}),
            table("projects", "name", [
                column("name", "singleLineText"), ID_COLUMN, column("points", "number"), column("stage", "singleSelect", choices=[{"name": s} for s in stages]),
                column("tags", "multipleSelects", choices=[{"name": t} for t in ("web", "ai", "data")]), column("due", "date"), column("description", "multilineText"),
                link_column("event", "events", "projects"), lookup_column("event_id", "event", "id"), link_column("owner", "users", "projects"), lookup_column("owner_id", "owner", "id"),
                lookup_column("owner_display_name", "owner", "display_name"),
            ], {project(n): {
                "name": f"Project {n:02d}", **({"points": n} if n % 4 else {}), **({"stage": stages[n % 3]} if n % 5 else {}),
                **({"tags": ["web", "ai"][: n % 3]} if n % 3 else {}), **({"due": f"2026-03-{n:02d}"} if n % 2 else {}),
                "event": [event(1 + n % 3)], "owner": [user(1 + n % 6)],
            } for n in range(1, 21)}),
            table("votes", "name", [
                column("name", "singleLineText"), ID_COLUMN, link_column("voter", "users", "votes"), lookup_column("user_id", "voter", "id"), link_column("project", "projects", "votes"),
                lookup_column("project_id", "project", "id"), link_column("event", "events", "votes"), lookup_column("event_id", "event", "id"),
            ], {vote(n): {"name": f"Vote {n}", "voter": [user(1 + n % 12)], "project": [project(1 + n % 20)], "event": [event(1 + n % 3)]} for n in range(1, 31)}),
            table("items", "name", [
                column("name", "singleLineText"), ID_COLUMN, column("n", "number"), column("group", "singleLineText"),
            ], {item(n): {"name": f"Item {n}", "n": n, "group": f"g{n % 10}"} for n in range(1, ITEMS + 1)}),
        ]}],
    }


class World:
    """The base of one test."""

    def __init__(self, emulator: Emulator):
        self.airtable = emulator
        self.base = f"appWire{next(_numbers):010d}"
        emulator.seed(seed(self.base))

    def change(self, table: str, id: str, **fields) -> None:
        """A user of the web client edits cells; None clears one."""
        self.airtable.write(base=self.base, table=table, update=[{"id": id, "fields": fields}])

    def create(self, table: str, id: str, **fields) -> None:
        self.airtable.write(base=self.base, table=table, create=[{"id": id, "fields": fields}])

    def delete(self, table: str, *ids: str) -> None:
        self.airtable.write(base=self.base, table=table, delete=list(ids))

    def truth(self, table: str) -> dict[str, dict]:
        return self.airtable.records(self.base, table)


def define(client, *entities: str) -> None:
    """Defines the named entities, all when none is named."""
    for entity in entities or SPECS:
        assert client.call("PODIUM.SPEC", "SET", entity, json.dumps(SPECS[entity])) == "OK"
