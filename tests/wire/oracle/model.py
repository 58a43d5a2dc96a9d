"""What the oracle stores: two entities of one shape, and how each variant of their spec shows a record."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from airtable import TOKEN
from world import column, rid, schema, table

ENTITIES = ("things", "others")
BULK = "bulk"
GROUPS = ["g0", "g1", "g2", ""]
VARIANTS = 3
NOTES = {0: ("note", "none"), 1: ("note", "other"), 2: ("memo", "none")}
"""A variant's name for the column `note`, and its default."""

PUBLIC = {"id", "name", "rev", "group", "flag", "score"}
INDEXED = ("group", "flag")
VIEWS = (None, "*", "brief")


def thing(n: int) -> str:
    return rid("thg", n)


def other(n: int) -> str:
    return rid("oth", n)


MAKERS = {"things": thing, "others": other, BULK: lambda n: rid("blk", n)}


def spec(variant: int) -> dict:
    note, default = NOTES[variant]
    return {
        "schema": schema({
            "name": {"type": "string"},
            "rev": {"type": "integer", "sortable": True},
            "group": {"type": "string", "default": "", "indexed": True, "sortable": True},
            "flag": {"type": "boolean", "default": False, "indexed": True},
            "score": {"type": ["number", "null"], "default": None, "sortable": True},
            note: {"type": "string", "default": default, "airtable": "note"},
        }, ["name", "rev"]),
        "views": {"public": sorted(PUBLIC), "brief": ["id", "rev"]},
    }


def columns() -> list[dict]:
    return [column("name", "singleLineText"), column("rev", "number"), column("group", "singleLineText"), column("flag", "checkbox"),
            column("score", "number"), column("note", "singleLineText")]


def seed(base: str, records: dict[str, dict[str, dict]]) -> dict:
    """`records`: by entity and id."""
    return {
        "tokens": [{"token": TOKEN, "scopes": ["data.records:read", "data.records:write", "schema.bases:read", "webhook:manage"], "bases": [base]}],
        "bases": [{"id": base, "name": "Oracle", "tables": [
            table(name, "name", columns(), {id: upstream(value) for id, value in records.get(name, {}).items()}) for name in (*ENTITIES, BULK)
        ]}],
    }


def value(random, rev: int) -> dict:
    """Cells at random, all of them named: what is empty is what Airtable leaves out."""
    return {"name": f"name {rev}", "rev": rev, "group": random.choice(GROUPS), "flag": random.random() < 0.5,
            "score": random.choice([None, 0, 1, 2.5, 10]), "note": random.choice([None, "noted"])}


def upstream(value: dict) -> dict:
    """As the emulator takes a whole record: empty cells left out."""
    return {k: v for k, v in value.items() if v not in (None, "", False)} | ({"score": 0} if value["score"] == 0 and value["score"] is not None else {})


def patch(value: dict) -> dict:
    """As a PATCH: empty cells are cleared."""
    return {k: None if v == "" or v is False else v for k, v in value.items()}


def told(id: str, value: dict) -> str:
    """The JSON of an UPSERT, Airtable-shaped or flat. Flat only where every variant of the spec has the names in it."""
    cells = upstream(value)
    return json.dumps({"id": id, "fields": cells} if value["rev"] % 2 or "note" in cells else {"id": id, **cells})


def shown(id: str, value: dict, variant: int, view: str | None) -> dict:
    """The record as a read returns it."""
    note, default = NOTES[variant]
    whole = {"id": id, "name": value["name"], "rev": value["rev"], "group": value["group"], "flag": value["flag"], "score": value["score"],
             note: value["note"] if value["note"] is not None else default}
    if view == "*":
        return whole
    return {k: v for k, v in whole.items() if k in (("id", "rev") if view == "brief" else PUBLIC)}


def matches(value: dict | None, conditions) -> bool:
    """Does a record in this state belong to every one of the sets? No conditions: it only has to exist."""
    return value is not None and all(cell(value, field) == wanted for field, wanted in conditions)


def cell(value: dict, field: str) -> str:
    return ("true" if value[field] else "false") if field == "flag" else value[field]


@dataclass(eq=False)
class Ask:
    """A read: `keys` of GET and MGET as (entity, id); INDEX and INTER have an `entity` and conditions, none for `:*`."""

    kind: str
    keys: list[tuple[str, str]] = field(default_factory=list)
    entity: str = ""
    conditions: list[tuple[str, str]] = field(default_factory=list)
    view: str | None = None
    fresh: str = ""
    max_age: int | None = None
    nowait: bool = False
    meta: bool = False
    output: str = ""
    sort: tuple[str, bool] | None = None
    limit: tuple[int, int] | None = None

    def names(self) -> list[str]:
        if self.kind in ("get", "mget"):
            return [f"{entity}:{id}" for entity, id in self.keys]
        return [f"{self.entity}:{f}:{v}" for f, v in self.conditions] or [f"{self.entity}:*"]

    def words(self) -> list[str]:
        names = self.names()
        words = {"get": ["PODIUM.GET"], "mget": ["PODIUM.MGET", str(len(names))], "index": ["PODIUM.INDEX"], "inter": ["PODIUM.INTER", str(len(names))]}[self.kind] + names
        if self.view:
            words += ["VIEW", self.view]
        words += [self.fresh] if self.fresh else []
        words += ["MAXAGE", str(self.max_age)] if self.max_age is not None else []
        words += ["NOWAIT"] if self.nowait else []
        words += ["META"] if self.meta else []
        words += [self.output] if self.output else []
        if self.sort:
            words += ["SORT", self.sort[0], "DESC" if self.sort[1] else "ASC"]
        if self.limit:
            words += ["LIMIT", str(self.limit[0]), str(self.limit[1])]
        return words

    def __str__(self):
        return " ".join(self.words())
