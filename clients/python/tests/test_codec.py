"""What comes back from the cache is what the function returned: same values, same types."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Annotated, Any, Literal

import pytest
from models import Event, PrivateEvent
from pydantic import BaseModel, Field, computed_field

from podium.codec import Codec, Undecodable, Unstorable


class Colour(enum.Enum):
    RED = "red"


class Aliased(BaseModel):
    first: int = Field(alias="First")
    second: int = Field(validation_alias="in", serialization_alias="out")

    @computed_field
    @property
    def sum(self) -> int:
        return self.first + self.second


@dataclasses.dataclass
class Point:
    x: int
    at: datetime.date


EVENT = Event(id="rec1", name="E", slug="e")
PRIVATE = PrivateEvent(id="rec1", name="E", slug="e", open=True)
NOW = datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.UTC)
VALUES: list[tuple[Any, Any]] = [
    (dict, {"a": 1, "b": [True, None, 1.5, "ü"]}),
    (dict, {"at": NOW, "day": NOW.date()}),
    (dict[int, str], {1: "a"}),
    (dict, {1: "a", "$": 2}),
    (list[Event], [EVENT, EVENT]),
    (list[Event], [EVENT, PRIVATE]),
    (list, [EVENT, PRIVATE]),
    (Event, EVENT),
    (Event, PRIVATE),
    (Event | None, None),
    (Aliased, Aliased(First=1, **{"in": 2})),
    (str, "text"),
    (str, ""),
    (datetime.datetime, NOW),
    (datetime.date, NOW.date()),
    (decimal.Decimal, decimal.Decimal("1.10")),
    (uuid.UUID, uuid.UUID(int=7)),
    (bytes, b"\x00\xff"),
    (tuple[int, str], (1, "a")),
    (set[int], {1, 2}),
    (Colour, Colour.RED),
    (Point, Point(1, NOW.date())),
    (float, float("inf")),
    (datetime.timedelta, datetime.timedelta(days=-1, microseconds=5)),
    (Annotated[int, Field(gt=0)], 5),
    (Literal["a", "b"], "a"),
    (int, 2**70),
    (None, None),
]  # fmt: skip


@pytest.mark.parametrize("annotated", [True, False])
@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=[repr(value)[:30] for _, value in VALUES])
def test_what_comes_back_is_what_went_in(annotation, value, annotated):
    codec = Codec(annotation) if annotated else Codec()
    again = codec.decode(codec.encode(value))
    assert again == value and type(again) is type(value)
    if isinstance(value, list | dict):
        assert again is not codec.decode(codec.encode(value))
        for one, two in zip(again, value, strict=True):
            assert type(one) is type(two)


def test_plain_json_is_stored_as_plain_json():
    assert Codec(Event).encode(EVENT) == b'{"id":"rec1","name":"E","slug":"e"}'


@pytest.mark.parametrize("value", [object(), iter("a"), {"a": object()}, lambda: 1])
def test_what_cannot_come_back_is_not_stored(value):
    with pytest.raises(Unstorable):
        Codec().encode(value)


def test_a_class_of_a_function_needs_an_annotation():
    class Local(BaseModel):
        n: int

    with pytest.raises(Unstorable, match="give the function a return annotation"):
        Codec().encode(Local(n=1))
    assert Codec(Local).decode(Codec(Local).encode(Local(n=1))) == Local(n=1)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"\x01", b"\x01{", b'\x01{"$":"nonsense"}', b'\x01{"$":"model","c":"os:system","v":"{}"}', b'\x01{"$":"dataclass","c":"os:path","v":{}}',
     b'\x01{"$":"model"}', b"\x02{}", b"\x02nonsense\nbody", b'\x01{"$":"dataclass","c":"subprocess:Popen","v":{"args":"true"}}', b"\xff\xfe"],
)  # fmt: skip
def test_foreign_bytes_are_undecodable_and_run_nothing(raw):
    with pytest.raises(Undecodable):
        Codec().decode(raw)
