"""The records: projects of a hackathon platform, in three sizes, as the application tells them and as Airtable has them."""

from __future__ import annotations

import json

EMPTY, FULL = "appBenchEmpty0001", "appBenchFull00001"
"""Two bases with the same columns: one without records, whose sets are complete before anything is stored, one to fetch from."""

SIZES = {470: "p0500", 1000: "p1000", 2000: "p2000"}
"""Bytes of a record's JSON, about, and the entity of such records. Key names of all kinds have the same length."""

GROUP = 20
"""So many records share an event."""

WORDS = "a leaderboard for pairs who built something over a weekend, with tests and a demo that ran twice on stage; ".encode()

TEXT = {"type": "string"}
SCHEMA = {"type": "object", "properties": {
    "name": TEXT, "slug": TEXT, "description": TEXT,
    "points": {"type": "integer", "default": 0, "sortable": True},
    "event": {"type": "string", "indexed": True},
    "repo_url": TEXT, "demo_url": TEXT,
    "judging_notes": TEXT, "join_code": TEXT, "hours_spent": {"type": "number"},
}}
PUBLIC = ["id", "name", "slug", "description", "points", "event", "repo_url", "demo_url"]
SHORT = ["id", "name", "points"]


def spec(base: str = EMPTY, default_view: bool = True, linked: bool = False, indexed: bool = True, **more) -> str:
    """The spec of any of the entities. `linked`: with a link to somebody, whose record hears of every change; `indexed`: by event."""
    schema = json.loads(json.dumps(SCHEMA))
    schema["properties"]["event"]["indexed"] = indexed
    if linked:
        schema["properties"]["owner"] = {"type": "array", "maxItems": 1, "items": {"type": "string", "pattern": "^rec"}}
    views = {"public": PUBLIC, "short": SHORT} if default_view else {}
    return json.dumps({"base": base, "table": "projects", "schema": schema, "views": views, **more})


def rid(number: int) -> str:
    """What valkey-benchmark makes of rec__rand_int__: twelve digits."""
    return f"rec{number:012d}"


def points(number: int) -> int:
    """Scattered, and the same in every run."""
    return number * 7919 % 9973


def event(number: int, group: int = GROUP) -> str:
    return f"event-{number // group:012d}"


def cells(number: int, size: int = 470, group: int = GROUP) -> dict:
    """Every cell of a record, in the schema's order; its JSON has about `size` bytes."""
    text = (WORDS * (1 + size // len(WORDS)))[: max(20, size - 325)].decode()
    return {
        "name": f"Project {number:08d}", "slug": f"project-{number:08d}", "description": text, "points": points(number),
        "event": event(number, group), "repo_url": f"https://git.example.com/p/{number:08d}", "demo_url": f"https://demo.example.com/{number:08d}",
        "judging_notes": f"seen by jury {number % 40}, to be asked again", "join_code": f"J{number:08d}", "hours_spent": number % 48 + 0.5,
    }


def told(number: int, size: int = 470, group: int = GROUP, **changed) -> str:
    """The record as UPSERT takes it."""
    return json.dumps({"id": rid(number), **cells(number, size, group), **changed}, separators=(",", ":"))


def seed(token: str, records: int) -> dict:
    """What the stand-in for Airtable starts with: FULL holds the records of `cells`."""

    def column(name, type="singleLineText", **options):
        return {"name": name, "type": type, **({"options": options} if options else {})}

    columns = [column("name"), column("slug"), column("description", "multilineText"), column("points", "number", precision=0), column("event"), column("repo_url"),
               column("demo_url"), column("judging_notes", "multilineText"), column("join_code"), column("hours_spent", "number", precision=1)]

    def base(name: str, count: int) -> dict:
        rows = [{"id": rid(n), "fields": cells(n)} for n in range(count)]
        return {"id": name, "name": name, "tables": [{"name": "projects", "primary": "name", "fields": columns, "records": rows}]}

    return {"tokens": [{"token": token, "scopes": ["data.records:read", "schema.bases:read"], "bases": [EMPTY, FULL]}], "bases": [base(EMPTY, 0), base(FULL, records)]}
