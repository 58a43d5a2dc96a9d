"""How keys are spelled."""

from __future__ import annotations

import datetime
import decimal
import enum
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

MAX_KEY = 1024
"""Bytes of a computed answer's key."""


def record(entity: str, id: str) -> str:
    """`events:recK3xT9vQ2mWb7Rd`"""
    return f"{entity}:{id}"


def whole(entity: str) -> str:
    """`events:*`: every record of the entity."""
    return f"{entity}:*"


def index(entity: str, field: str, value: Any) -> str:
    """`projects:event:recA1b2C3d4E5f6G7`"""
    return f"{entity}:{field}:{text(value)}"


def text(value: Any) -> str:
    """A value as an index knows it: booleans `true` and `false`, numbers their decimal text, dates their JSON text, a model its id.

    Raises TypeError for what no index can hold (None, lists, …)."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, BaseModel) and isinstance(getattr(value, "id", None), str):
        return str(value.id)  # type: ignore[attr-defined]
    raise TypeError(f"an index holds no {type(value).__name__}: {value!r}")


def part(value: str) -> str:
    """A value as a part of a computed answer's key: it can end no part (`:`), and stand for no others (`*`)."""
    return value.replace("%", "%25").replace(":", "%3A").replace("*", "%2A")


def digest(params: Any) -> str:
    """16 hexadecimal digits that stand for some parameters, in whatever order they were given.

    `params`: what JSON can hold; what it cannot is a TypeError."""
    canonical = json.dumps(params, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def query(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Query parameters in normal form: sorted by name, then by value."""
    return sorted([name, value] for name, value in pairs)


def computed(resource: str, id: str | None, subresource: str | None, params: Mapping[str, Any] | None, version: str) -> str:
    """`{resource}:{id}:{subresource}:params_{hash}:{version}`; parts that there are none of are left out."""
    parts = [resource]
    if id is not None:
        parts.append(id)
    if subresource:
        parts.append(subresource)
    if params:
        parts.append(f"params_{digest(params)}")
    if version:
        parts.append(version)
    return fit(":".join(parts))


def fit(key: str) -> str:
    """The key itself, or, where it is longer than the server takes, its beginning and a digest of the whole."""
    raw = key.encode("utf-8", "surrogatepass")
    if len(raw) <= MAX_KEY:
        return key
    return raw[: MAX_KEY - 64].decode("utf-8", "ignore") + ":" + hashlib.sha256(raw).hexdigest()[:32]
