"""Which calls share a key, and what an argument may stand for."""

from __future__ import annotations

import datetime
import enum
import threading

import pytest
from world import project


class Colour(enum.Enum):
    RED = "red"


def test_keys(cache):
    @cache.cached("trig", resource_id_param="trig_id", subresource="logs", version="v2")
    def logs(trig_id: int, limit: int | None = None) -> list[int]:
        return []

    assert logs.key(123) == "trig:123:logs:v2"
    assert logs.key(123, limit=5) == logs.key(trig_id=123, limit=5) != logs.key(123)

    @cache.cached("trigs", subresource="list")
    def listed() -> list[int]:
        return []

    assert listed.key() == "trigs:list:v1"

    @cache.cached("page", key="leaderboard:{event}")
    def board(event: str, secret: str = "") -> str:
        return ""

    assert board.key("rec1", "x") == "page:leaderboard:rec1"

    @cache.cached("page", key=lambda event, **_: event.upper())
    def upper(event: str, other: int = 0) -> str:
        return ""

    assert upper.key("rec1") == "page:REC1"
    assert len(board.key("x" * 3000).encode()) <= 1024 and board.key("x" * 3000) != board.key("x" * 2999)
    # What a caller gives ends no part of a key.
    whole = cache.cached("trig", resource_id_param="id")(lambda id: 0)
    assert whole.key("123:logs") == "trig:123%3Alogs:v1" and whole.key("123%3Alogs") == "trig:123%253Alogs:v1"
    pair = cache.cached("page", key="{a}:{b}")(lambda a, b: 0)
    assert pair.key("x:y", "z") != pair.key("x", "y:z") and pair.key("*", "*") == "page:%2A:%2A"
    with pytest.raises(ValueError, match="no argument of"):
        cache.cached("page", key="{nothing}")(lambda event: event)
    with pytest.raises(ValueError, match="no argument of"):
        cache.cached("page", resource_id_param="nothing")(lambda event: event)


def test_the_order_of_arguments_does_not_matter_and_their_values_do(cache):
    @cache.cached("page")
    def page(a: int = 1, b: list[str] | None = None, **more: str) -> int:
        return 0

    same = {page.key(1, ["x"], c="1", d="2"), page.key(d="2", b=["x"], c="1", a=1), page.key(b=["x"], d="2", c="1")}
    assert len(same) == 1
    different = [
        page.key(),
        page.key(2),
        page.key(b=["x"]),
        page.key(b=["x", "y"]),
        page.key(b=["xy"]),
        page.key(c="1"),
        page.key(c="2"),
        page.key(d="1"),
    ]
    assert len(set(different)) == len(different)
    one = cache.cached("one")(lambda a: 0)
    values = [
        "2026-01-01",
        datetime.date(2026, 1, 1),
        1,
        1.5,
        "1",
        True,
        b"1",
        {"a": 1},
        {"a": "1"},
        [["a", 1]],
        ["map", [["a", 1]]],
        {1},
        ["set", [1]],
        Colour.RED,
        "red",
    ]
    assert len({one.key(value) for value in values}) == len(values)


def test_what_a_caller_gives_invalidates_what_he_names_and_no_more(cache, count, caplog, projects):
    @cache.cached("trig", key="{id}:x")
    def page(id: str) -> int:
        return count()

    @cache.invalidates("trig:{id}:*", "projects:{id}")
    def change(id: str) -> None:
        pass

    first = [page("a"), page("*"), page("b:c")]
    projects.get(project(1))
    change("*")
    assert [page("a"), page("b:c")] == [first[0], first[2]] and page("*") != first[1]
    assert "projects:* is more than one argument may stand for" in caplog.text
    change("b:c")
    assert page("a") == first[0] and page("b:c") != first[2]


def test_an_argument_that_cannot_be_told_from_another_is_not_cached(cache, caplog, count):
    class Session:
        __slots__ = ("token",)

        def __init__(self, token):
            self.token = token

    @cache.cached("page")
    def page(session: Session) -> str:
        count()
        return session.token

    assert page(Session("a")) == "a" and page(Session("b")) == "b" and count.n == 2
    assert "argument cannot be part of a key: session (a Session)" in caplog.text

    @cache.cached("other", ignore=["session"])
    def other(session: Session) -> int:
        return count()

    assert other(Session("a")) == other(Session("b"))


def test_objects_count_by_what_they_hold(cache, count):
    class User:
        def __init__(self, name):
            self.name = name

    class Row:
        def __init__(self, id):
            self.id = id
            self.connection = threading.Lock()

    @cache.cached("page")
    def page(who) -> int:
        return count()

    assert page(User("ada")) == page(User("ada")) != page(User("bob"))
    assert page(Row(1)) == page(Row(1)) != page(Row(2))


def test_a_key_that_cannot_be_made_or_sent_is_no_error_of_the_callers(cache, count, caplog):
    def broken(**_):
        raise LookupError("no key")

    one = cache.cached("page", key=broken)(lambda a: count())
    assert (one(1), one(1)) == (1, 2) and "its key cannot be made: LookupError: no key" in caplog.text
    two = cache.cached("page", resource_id_param="a")(lambda a: count())
    assert two("\ud800") and two("\ud800")
    with pytest.raises(TypeError, match="missing 1 required"):
        two()
