"""The models of an application on the base of the wire tests."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

import podium

RecordId = Annotated[str, Field(pattern="^rec")]
SingleLink = Annotated[list[RecordId], Field(max_length=1)]


class Event(BaseModel):
    id: str
    name: str
    slug: str


class PrivateEvent(Event):
    open: bool = False
    owner: SingleLink = []


class Project(BaseModel):
    id: str
    name: str = Field(json_schema_extra={"sortable": True})
    points: int = Field(0, json_schema_extra={"sortable": True})
    stage: str | None = None
    event: SingleLink = []
    owner: SingleLink = []


class Vote(BaseModel):
    id: str = ""
    voter: SingleLink = []
    project: SingleLink = []
    event: SingleLink = []


def events(cache: Any) -> Any:
    return cache.entity("events", PrivateEvent, views={"public": Event}, default_view="public", indexed=["slug", "open"])


def projects(cache: Any, **options: Any) -> Any:
    return cache.entity("projects", Project, indexed=["stage", "points"], **options)


def votes(cache: Any) -> Any:
    return cache.entity("votes", Vote, index_to_airtable={"voter": "user_id"})


__all__ = ["podium"]
