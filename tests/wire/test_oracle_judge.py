"""The oracle's judge: histories made by hand that it must accept, and the same with one thing wrong that it must reject."""

from __future__ import annotations

import json

import pytest

from oracle.history import ALWAYS, NEVER, History, Read, Record, Tell, Version
from oracle.judge import Judge
from oracle.model import Ask, matches, shown
from resp import ReplyError

X, Y = "recthg00000000001", "recthg00000000002"


class Story:
    """A history of `things`: record X, and others by id. Times in seconds."""

    def __init__(self, **settings):
        self.history = History(troubled=False, **settings)
        self.history.specs["things"] = [(ALWAYS, ALWAYS, 0)]
        self.versions: dict[int, dict] = {}

    def there(self, id: str, rev: int, **cells) -> "Story":
        """The record as it was at the start."""
        self.history.records["things", id] = Record("things", id, self.value(rev, **cells), rev)
        return self

    def absent(self, id: str) -> "Story":
        self.history.add(Record("things", id))
        return self

    def value(self, rev: int, **cells) -> dict:
        self.versions[rev] = {"name": f"name {rev}", "rev": rev, "group": "g0", "flag": False, "score": None, "note": None, **cells}
        return self.versions[rev]

    def changes(self, id: str, begin: float, end: float, rev: int, gone: bool = False, certain: bool = True, **cells) -> Version:
        record = self.history.record("things", id)
        return record.becomes(Version(rev, None if gone else self.value(rev, **cells), begin, end, certain))

    def tell(self, id: str, sent: float, ack: float, what: str = "INVALIDATE", version: Version | None = None, **more) -> Tell:
        record = self.history.record("things", id)
        record.tells.append(Tell(sent, ack, what, version, **more))
        if version is not None:
            record.knows(version)
        return record.tells[-1]

    def ahead(self, id: str, sent: float, ack: float, rev: int, **cells) -> Version:
        """Told, and not (yet) so in Airtable."""
        version = Version(rev, self.value(rev, **cells))
        self.tell(id, sent, ack, "UPSERT", version)
        return version

    def get(self, id: str, sent: float, done: float, rev: int | None, variant: int = 0, **options) -> "Story":
        ask = Ask("get", [("things", id)], **options)
        return self.read(ask, sent, done, None if rev is None else self.json(id, rev, ask, variant))

    def json(self, id: str, rev: int, ask: Ask, variant: int = 0) -> bytes:
        return json.dumps(shown(id, self.versions[rev], variant, ask.view)).encode()

    def ids(self, sent: float, done: float, *members: str, conditions=(("group", "g0"),), kind="index", **options) -> "Story":
        return self.read(Ask(kind, entity="things", conditions=list(conditions), output="IDS", **options), sent, done, [id.encode() for id in members])

    def count(self, sent: float, done: float, reply, **options) -> "Story":
        return self.read(Ask("index", entity="things", conditions=[("group", "g0")], output="COUNT", **options), sent, done, reply)

    def records(self, sent: float, done: float, *members: tuple[str, int], **options) -> "Story":
        ask = Ask("index", entity="things", conditions=[("group", "g0")], **options)
        return self.read(ask, sent, done, [self.json(id, rev, ask) for id, rev in members])

    def read(self, ask: Ask, sent: float, done: float, reply, **more) -> "Story":
        self.history.reads.append(Read(ask, sent, done, reply, **more))
        return self

    def verdict(self) -> list[str]:
        self.history.settle()
        return [violation.rule for violation in Judge(self.history).run()]


def moved() -> Story:
    """X was in g0 (#1) and moved to g1 (#2) in Airtable between 10 and 11."""
    story = Story().there(X, 1).absent(Y)
    story.changes(X, 10, 11, 2, group="g1")
    return story


# Records ---------------------------------------------------------------------------------------------------------------


def test_what_nobody_told_may_be_unseen():
    assert moved().get(X, 20, 21, 1).verdict() == []
    assert moved().get(X, 20, 21, 2).verdict() == []


def test_but_not_seen_before_it_is_so():
    assert moved().get(X, 8, 9, 2).verdict() == ["older than what was told"]


def test_nor_unseen_past_the_window():
    assert moved_with(window=5).get(X, 15, 16, 1).verdict() == []
    assert moved_with(window=5).get(X, 17, 18, 1).verdict() == ["older than what was told"]


def moved_with(**settings) -> Story:
    story = Story(**settings).there(X, 1)
    story.changes(X, 10, 11, 2, group="g1")
    return story


@pytest.mark.parametrize("told", [(12, 13), (11.5, 12)])
def test_what_was_told_before_the_question_is_seen(told):
    story = moved()
    story.tell(X, *told)
    assert story.get(X, 14, 15, 2).verdict() == []
    story.get(X, 14, 15, 1)
    assert story.verdict() == ["older than what was told"]


def test_what_is_told_meanwhile_may_be_seen_or_not():
    story = moved()
    story.tell(X, 12, 14)
    assert story.get(X, 13, 15, 1).get(X, 11.5, 12.5, 1).verdict() == []


def test_told_before_the_change_was_made_says_nothing_of_it():
    story = moved()
    story.tell(X, 8, 9)
    assert story.get(X, 14, 15, 1).verdict() == []


def test_told_while_the_change_was_made_leaves_both():
    story = moved()
    story.tell(X, 10.5, 12)
    assert story.get(X, 14, 15, 1).get(X, 14, 15, 2).verdict() == []


def test_unacknowledged_asks_for_nothing():
    story = moved()
    story.tell(X, 12, NEVER)
    assert story.get(X, 14, 15, 1).verdict() == []


def test_a_late_version_asks_for_itself_or_newer():
    story = moved()
    second = story.history.record("things", X).upstream[1]
    story.changes(X, 12, 13, 3)
    story.tell(X, 20, 21, "WEBHOOK", second, floor="version", at=11.5)
    assert story.get(X, 22, 23, 2).get(X, 22, 23, 3).verdict() == []
    assert story.get(X, 22, 23, 1).verdict() == ["older than what was told"]


def test_what_was_told_ahead_is_seen_until_something_else_is_told():
    story = moved()
    story.ahead(X, 20, 21, 7)
    assert story.get(X, 22, 23, 7).get(X, 22, 23, 2).verdict() == []
    story.tell(X, 24, 25)
    assert story.get(X, 24.5, 24.6, 7).verdict() == []
    assert story.get(X, 26, 27, 7).verdict() == ["older than what was told"]


def test_nor_what_was_told_of_another_record():
    story = moved().there(Y, 5)
    story.tell(Y, 12, 13)
    assert story.get(X, 14, 15, 1).verdict() == []


def test_everything_told_at_once():
    story = moved()
    story.history.tell_all(["things"], Tell(12, 13, "FLUSHALL"))
    assert story.get(X, 14, 15, 1).verdict() == ["older than what was told"]


def test_null_only_where_it_may_be_gone():
    assert moved().get(X, 14, 15, None).verdict() == ["null for what exists"]
    assert moved().get(X, 14, 15, None, fresh="CACHEONLY").verdict() == []
    assert moved().get(Y, 14, 15, None).verdict() == []
    story = moved()
    story.changes(X, 12, 13, 3, gone=True)
    story.get(X, 14, 15, None).get(X, 14, 15, 2)
    assert story.verdict() == []


def test_what_was_deleted_and_told_is_gone():
    story = moved()
    gone = story.changes(X, 12, 13, 3, gone=True)
    story.tell(X, 14, 15, "TOMBSTONE", gone)
    assert story.get(X, 16, 17, None).verdict() == []
    assert story.get(X, 16, 17, 2).verdict() == ["older than what was told"]


def test_nothing_is_invented():
    story = moved()
    story.value(99)
    assert story.get(X, 14, 15, 99).verdict() == ["invented"]


def test_shape():
    assert moved().get(X, 14, 15, 2, view="*").verdict() == []
    assert moved().get(X, 14, 15, 2, view="*", variant=1).verdict() == ["a record's shape"]
    story = moved()
    story.history.specs["things"].append((13, 16, 1))
    assert story.get(X, 14, 15, 2, view="*", variant=1).get(X, 14, 15, 2, view="*").verdict() == [], "set meanwhile"
    assert story.get(X, 17, 18, 2, view="*", variant=1).verdict() == []
    assert story.get(X, 17, 18, 2, view="*").verdict() == ["a record's shape"]
    story = moved().read(Ask("get", [("things", X)], view="brief"), 14, 15, moved().json(X, 2, Ask("get")))
    assert story.verdict() == ["a record's shape"]
    story = moved().there(Y, 5)
    story.read(Ask("get", [("things", X)]), 14, 15, story.json(Y, 5, Ask("get")))
    assert story.verdict() == ["another record's JSON"]


def test_nocache_and_maxage():
    assert moved().get(X, 14, 15, 1, fresh="NOCACHE").verdict() == ["older than what was told"]
    assert moved().get(X, 10.5, 15, 1, fresh="NOCACHE").verdict() == []
    assert moved().get(X, 14, 15, 1, max_age=5).verdict() == []
    assert moved().get(X, 14, 15, 1, max_age=1).verdict() == ["older than what was told"]


def test_a_write_whose_end_nobody_knows():
    story = moved()
    story.changes(X, 12, NEVER, 3, certain=False)
    assert story.get(X, 14, 15, 3).get(X, 14, 15, 2).verdict() == []
    story.changes(X, 16, 17, 4)
    story.tell(X, 18, 19)
    assert story.get(X, 20, 21, 4).verdict() == []
    assert story.get(X, 20, 21, 3).verdict() == ["older than what was told"]


def test_mget_is_judged_key_by_key():
    story = moved().there(Y, 5)
    ask = Ask("mget", [("things", X), ("things", Y)])
    story.read(ask, 14, 15, [story.json(X, 2, ask), story.json(Y, 5, ask)])
    assert story.verdict() == []
    assert story.read(ask, 14, 15, [story.json(X, 2, ask), None]).verdict() == ["null for what exists"]


def test_errors():
    no = lambda code, **ask: moved().read(Ask("get", [("things", X)], **ask), 14, 15, ReplyError(f"{code} why"))  # noqa: E731
    assert no("WOULDBLOCK", nowait=True).verdict() == []
    for code in ("WOULDBLOCK", "UPSTREAM", "ERR", "NOENTITY", "OOM"):
        assert no(code).verdict() == ["an error without a reason"]
    story = no("UPSTREAM")
    story.history.troubled = True
    assert story.verdict() == []


def test_in_a_transaction_what_it_told_before_counts():
    story = moved()
    tell = story.tell(X, 14, 15)
    ask = Ask("get", [("things", X)])
    story.read(ask, 14, 15, story.json(X, 1, ask), place="exec")
    assert story.verdict() == []
    story.read(ask, 14, 15, story.json(X, 1, ask), place="exec", after=(tell,))
    assert story.verdict() == ["older than what was told"]


def test_del_in_a_transaction_leaves_the_sets_as_they_were_told():
    story = Story().there(X, 1)
    story.ahead(X, 10, 11, 7, group="g1")
    tell = story.tell(X, 14, 15, "DEL", members=False)
    assert read_after(story, tell).verdict() == []
    tell.members = True
    assert story.verdict() == ["left out against what was told"]


@pytest.mark.parametrize("idle, verdict", [(True, []), (False, ["older than what was told"])])
def test_a_del_that_found_nothing_is_not_held_against_what_is_told_of_before(idle, verdict):
    """X came to be (#1), which is told late; in between it changed (#2), and its key, not cached, was deleted."""
    story = Story().absent(X)
    first = story.changes(X, 10, 11, 1)
    story.changes(X, 14, 15, 2)
    story.tell(X, 16, 17, "DEL", members=False, idle=idle)
    story.tell(X, 18, 19, "UPSERT AT", first, floor="version", at=12)
    assert story.get(X, 20, 21, 1).verdict() == verdict
    story.history.reads.clear()
    assert story.get(X, 17.2, 17.5, 1).verdict() == ["older than what was told"], "but for what was fetched before it"


def read_after(story: Story, tell: Tell) -> Story:
    ask = Ask("index", entity="things", conditions=[("group", "g0")], output="IDS")
    return story.read(ask, 14, 15, [], place="exec", after=(tell,))


# Sets ------------------------------------------------------------------------------------------------------------------


def test_a_set_without_what_was_told_into_it():
    """B joins a question that was sent before its own was told of X."""
    story = Story().there(X, 1, group="g1")
    second = story.changes(X, 10, 11, 2)
    story.tell(X, 12, 13, "UPSERT", second)
    story.ids(9, 20)
    assert story.verdict() == [], "who asked before"
    assert story.ids(14, 20).verdict() == ["left out against what was told"]


def test_a_set_with_what_was_told_out_of_it():
    story = moved()
    story.tell(X, 12, 13)
    assert story.ids(14, 15).verdict() == []
    assert story.ids(14, 15, X).verdict() == ["held against what was told"]


def test_a_set_within_the_window():
    assert moved().ids(14, 15, X).ids(14, 15).verdict() == []


def test_the_whole_entity():
    story = moved()
    story.changes(X, 12, 13, 3, gone=True)
    story.tell(X, 14, 15)
    assert story.ids(16, 17, conditions=()).verdict() == []
    assert story.ids(16, 17, X, conditions=()).verdict() == ["held against what was told"]
    assert moved().ids(14, 15, conditions=()).verdict() == ["left out against what was told"]


def test_a_del_of_a_record_says_nothing_of_its_sets():
    story = moved()
    story.tell(X, 12, 13, "DEL", members=False)
    assert story.ids(14, 15, X).verdict() == []
    assert story.get(X, 14, 15, 1).verdict() == ["older than what was told"]


def test_a_del_of_a_set_does():
    story = moved()
    story.history.tell_set("things", "group", "g0", Tell(12, 13, "DEL"))
    assert story.ids(14, 15).verdict() == []
    assert story.ids(14, 15, X).verdict() == ["held against what was told"]
    story = moved()
    story.history.tell_set("things", "group", "g2", Tell(12, 13, "DEL"))
    assert story.ids(14, 15, X).verdict() == []


def test_inter_takes_one_state():
    """Of g0 and true first, then of g1 and false: never of g0 and false."""
    story = Story().there(X, 1, flag=True)
    story.changes(X, 10, 11, 2, group="g1")
    both = (("group", "g0"), ("flag", "true"))
    assert story.ids(14, 15, X, conditions=both, kind="inter").ids(14, 15, conditions=both, kind="inter").verdict() == []
    assert story.ids(14, 15, X, conditions=(("group", "g0"), ("flag", "false")), kind="inter").verdict() == ["held against what was told"]
    assert matches(story.versions[1], both) and not matches(story.versions[2], both) and not matches(None, ())


def test_counts():
    story = Story().there(X, 1).there(Y, 5)
    story.changes(Y, 10, 11, 6, group="g1")
    assert story.count(14, 15, 1).count(14, 15, 2).verdict() == []
    assert story.count(14, 15, 0).count(14, 15, 3).count(14, 15, b"1").verdict() == ["a count"] * 3


def test_the_cells_of_members():
    story = Story().there(X, 1)
    story.changes(X, 10, 11, 2, name="other")
    assert story.records(14, 15, (X, 1)).records(14, 15, (X, 2)).verdict() == []
    story.tell(X, 12, 13)
    assert "older than what was told" in story.verdict()
    story = moved().records(14, 15, (X, 2))
    assert story.verdict() == ["a member without the value"]


def test_order_limit_and_doubles():
    story = Story().there(X, 1, score=5).there(Y, 5)
    assert story.ids(14, 15, X, Y).records(14, 15, (X, 1), (Y, 5), sort=("score", True)).records(14, 15, (X, 1), (Y, 5), sort=("score", False)).verdict() == []
    assert story.ids(14, 15, Y, X).verdict() == ["order"]
    story = Story().there(X, 1, score=5).there(Y, 5)
    assert story.records(14, 15, (Y, 5), (X, 1), sort=("score", True)).ids(14, 15, X, X, Y).verdict() == ["order", "a record twice"]
    story = Story().there(X, 1).there(Y, 5)
    assert story.ids(14, 15, Y, limit=(1, 5)).ids(14, 15, limit=(2, -1)).verdict() == []
    assert story.ids(14, 15, limit=(1, 5)).ids(14, 15, X, Y, limit=(0, 1)).verdict() == ["LIMIT", "LIMIT"]


def test_an_unknown_member():
    assert moved().ids(14, 15, "recthg00000000077").verdict() == ["invented"]


def test_null_in_place_of_a_set():
    ask = Ask("index", entity="things", conditions=[("group", "g0")])
    assert moved().read(ask, 14, 15, None).verdict() == ["null in place of a set"]
    ask = Ask("index", entity="things", conditions=[("group", "g0")], fresh="CACHEONLY")
    assert moved().read(ask, 14, 15, None).verdict() == []


# Over answers ----------------------------------------------------------------------------------------------------------


def test_what_was_shown_is_not_unseen():
    story = moved_with(slowest=2.0)
    assert story.get(X, 14, 15, 2).get(X, 14.5, 16, 1).verdict() == [], "asked meanwhile"
    assert story.get(X, 15.5, 16, 1).verdict() == ["older than what was told (shown before)"]
    story = moved_with(slowest=20.0)
    assert story.get(X, 14, 15, 2).get(X, 15.5, 16, 1).verdict() == [], "a call that was under way"


def test_sets_agree_with_records_that_are_cached():
    story = Story().absent(X)
    story.ahead(X, 12, 13, 7)
    assert story.ids(14, 15).get(X, 11, 11.5, None).verdict() == []
    story.get(X, 16, 17, 7)
    assert story.verdict() == ["a set that disagrees with its records (shown before)"]
    story = Story().absent(X)
    story.ahead(X, 12, 13, 7)
    assert story.ids(14, 15, X).get(X, 16, 17, 7).verdict() == []


def test_meta():
    m = {b"cache": b"HIT", b"age": 1, b"ttl": 5, b"key": f"things:{X}".encode(), b"airtable-hits": 0, b"detail": b"", b"cache-status": b""}
    read = lambda **changed: moved().read(ask, 14, 15, [moved().json(X, 2, ask), {**m, **{k.replace("_", "-").encode(): v for k, v in changed.items()}}])  # noqa: E731
    ask = Ask("get", [("things", X)], meta=True)
    assert read().verdict() == []
    assert read(cache=b"WARM").verdict() == ["META's shape"]
    assert read(airtable_hits=1).verdict() == ["META of a hit"]
    assert read(ttl=-1).verdict() == ["META of a hit"]
    assert read(key=b"things:other").verdict() == ["META's key"]


def test_but_for_who_has_its_members_looked_at_anew():
    story = Story().absent(X)
    story.ahead(X, 12, 13, 7)
    assert story.ids(14, 15, max_age=0).get(X, 16, 17, 7).verdict() == []


def test_who_waited_until_what_was_told_was_true_shows_nothing_of_what_the_cache_held():
    story = Story().absent(X)
    version = story.ahead(X, 12, 13, 7)
    story.tell(X, 13.5, 14)
    story.ids(15, 15.5)
    version.begin, version.end = 20, 21
    story.history.record("things", X).becomes(version)
    assert story.get(X, 16, 22, 7).verdict() == []
