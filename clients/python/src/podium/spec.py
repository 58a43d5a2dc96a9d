"""Specs as the server takes them, made of models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

View = type[BaseModel] | Sequence[str]
"""A model, or the names of the fields."""


def entity(
    model: type[BaseModel],
    views: Mapping[str, View],
    *,
    default_view: str | None = None,
    indexed: Sequence[str] = (),
    sortable: Sequence[str] = (),
    normalize: Mapping[str, Sequence[str]] | None = None,
    depends: Mapping[str, str] | None = None,
    index_to_airtable: Mapping[str, str] | None = None,
    table: str | None = None,
    base: str | None = None,
    ttl: int | None = None,
    jitter: float | None = None,
    tombstone_ttl: int | None = None,
) -> str:
    """The JSON of an entity's spec. Members that were not given are left to the server's settings."""
    members: dict[str, Any] = {
        "table": table,
        "base": base,
        "schema": model.model_json_schema(),
        "views": {name: view.model_json_schema() if isinstance(view, type) else list(view) for name, view in views.items()} or None,
        "default_view": default_view,
        "index_to_airtable": dict(index_to_airtable) if index_to_airtable else None,
        "indexed": list(indexed) or None,
        "sortable": list(sortable) or None,
        "normalize": {field: list(steps) for field, steps in normalize.items()} if normalize else None,
        "depends": dict(depends) if depends else None,
        "ttl": ttl,
        "jitter": jitter,
        "tombstone_ttl": tombstone_ttl,
    }
    return _json(members)


def resource(members: Mapping[str, Any]) -> str:
    """The JSON of a resource's spec."""
    return _json({"computed": True, **members})


def _json(members: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in members.items() if value is not None}, separators=(",", ":"), sort_keys=True)
