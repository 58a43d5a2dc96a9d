"""`@cached` on functions: what is computed when, by whom, and what is thrown away."""

from __future__ import annotations

import asyncio
import time

import pytest
from conftest import Counter, client_of
from support import eventually
from world import event, project

import podium


def test_a_second_call_is_answered_from_the_cache(cache, count, raw):
    @cache.cached("page", resource_id_param="id")
    def page(id: str, size: int = 10) -> dict[str, int]:
        return {"n": count(), "size": size}

    assert page("a") == page("a") == page(id="a", size=10) == {"n": 1, "size": 10}
    assert page("a", 20) == {"n": 2, "size": 20} and page("b") == {"n": 3, "size": 10}
    key = page.key("a")
    assert key.startswith("page:a:params_") and key.endswith(":v1")
    assert raw.call("PODIUM.GET", key) == b'{"n":1,"size":10}'


def test_what_was_read_inside_is_noted_by_itself(cache, projects, world, count, raw):
    @cache.cached("page", resource_id_param="event")
    def board(event: str) -> list[str]:
        count()
        return [one.name for one in projects.by_index(event=event, sort=("points", "desc"), limit=2)]

    first = board(event(2))
    assert first == ["Project 19", "Project 13"] == board(event(2)) and count.n == 1
    # Another event's project, another field's change without effect: still a hit.
    raw.call("PODIUM.INVALIDATE", f"projects:{project(3)}")
    assert board(event(2)) == first and count.n == 1
    # A member changes.
    world.change("projects", project(1), points=99)
    projects.invalidate(project(1))
    assert board(event(2)) == ["Project 01", "Project 19"] and count.n == 2
    # One joins.
    world.change("projects", project(3), event=[event(2)], points=100)
    projects.invalidate(project(3))
    assert board(event(2)) == ["Project 03", "Project 01"] and count.n == 3
    # One is gone.
    projects.tombstone(project(3))
    assert board(event(2)) == ["Project 01", "Project 19"] and count.n == 4


@pytest.mark.parametrize("change", ["record", "absent", "many"])
def test_records_that_were_read_are_watched(cache, projects, world, count, change):
    missing = "recprj00000000077"

    @cache.cached("page")
    def page(kind: str) -> str:
        count()
        if kind == "record":
            return projects.get(project(5)).name
        if kind == "absent":
            found = projects.get(missing)
            return "none" if found is None else found.name
        return ",".join(one.name for one in projects.get_many([project(5), project(6)]))

    before = page(change)
    assert page(change) == before and count.n == 1
    if change == "absent":
        world.create("projects", missing, name="There now")
        projects.invalidate(missing)
        assert page(change) == "There now"
    else:
        world.change("projects", project(5), name="Changed")
        projects.invalidate(project(5))
        assert page(change) != before and "Changed" in page(change)
    assert count.n == 2


def test_a_failure_is_the_callers_and_nobody_is_kept_waiting(cache, count):
    @cache.cached("page")
    def page() -> int:
        if count() == 1:
            raise LookupError("not yet")
        return count.n

    with pytest.raises(LookupError, match="not yet"):
        page()
    assert page() == page() == 2


def test_an_answer_made_of_answers(cache, projects, world, count):
    inner_count = Counter()

    @cache.cached("part")
    def part(id: str) -> str:
        inner_count()
        return projects.get(id).name

    @cache.cached("page")
    def page(id: str) -> str:
        count()
        return f"<{part(id)}>"

    assert page(project(5)) == page(project(5)) == "<Project 05>" and (count.n, inner_count.n) == (1, 1)
    world.change("projects", project(5), name="Changed")
    projects.invalidate(project(5))
    assert page(project(5)) == "<Changed>" and (count.n, inner_count.n) == (2, 2)
    # The part is there already: its hit is noted as well.
    cache.invalidate(related=["page:*"])
    assert page(project(5)) == "<Changed>" and (count.n, inner_count.n) == (3, 2)
    cache.invalidate(related=["part:*"])
    assert page(project(5)) == "<Changed>" and (count.n, inner_count.n) == (4, 3)


def test_a_part_that_is_not_stored_keeps_the_whole_from_being_stored(cache, count):
    @cache.cached("part")
    def part():
        return object()

    @cache.cached("page")
    def page() -> int:
        part()
        return count()

    assert (page(), page()) == (1, 2)


def test_tags_and_patterns(cache, count):
    @cache.cached("page", resource_id_param="id", tags=["user:{user}"])
    def page(id: str, user: int) -> int:
        return count()

    @cache.cached("other", tags=lambda result, id: [f"odd:{result % 2}"])
    def other(id: int) -> int:
        return count()

    assert [page("a", 1), page("a", 2), page("b", 1), other(1)] == [1, 2, 3, 4]
    assert cache.invalidate(related=["tag:user:1"]) == 2
    assert [page("a", 1), page("a", 2), page("b", 1)] == [5, 2, 6]
    assert cache.invalidate(related=["page:a:*"]) == 2
    assert [page("a", 2), page("b", 1)] == [7, 6]
    assert cache.invalidate(related=["tag:odd:0"]) == 1


def test_invalidates_after_success_only(cache, count):
    @cache.cached("trig", resource_id_param="trig_id")
    def page(trig_id: int) -> int:
        return count()

    @cache.cached("site", tags=["site"])
    def site() -> int:
        return count()

    @cache.invalidates("trig:{trig_id}:*", "tag:site")
    def change(trig_id: int, fail: bool = False) -> str:
        if fail:
            raise LookupError("no")
        return "done"

    first = (page(1), page(2), site())
    with pytest.raises(LookupError):
        change(1, fail=True)
    assert (page(1), page(2), site()) == first
    assert change(1) == "done"
    assert page(2) == first[1] and page(1) != first[0] and site() != first[2]
    with pytest.raises(ValueError, match="names 'nothing'"):
        cache.invalidates("trig:{nothing}")(change)


def test_grace_answers_with_the_copy_and_computes_behind(cache, count, raw):
    @cache.cached("page", ttl=1, grace=60)
    def page() -> int:
        return count()

    assert page() == 1
    eventually(5, "it is past its freshness", lambda: _stale(raw, page.key()))
    assert page() == 1
    eventually(5, "computed behind", lambda: count.n == 2 and page() == 2)


def _stale(raw, key):
    pairs = raw.call("PODIUM.EXPLAIN", key)
    return dict(zip(pairs[::2], pairs[1::2], strict=True)).get(b"state") == b"stale"


def test_where_a_computation_fails_the_old_copy_answers(cache, raw, caplog):
    now = {"fail": None}

    @cache.cached("page", key="a", ttl=1, stale_if_error=60)
    def page() -> str:
        if now["fail"] is not None:
            raise now["fail"]
        return "computed"

    class NotThere(Exception):
        status_code = 404

    assert page() == "computed"
    eventually(5, "it is past its freshness", lambda: _stale(raw, "page:a"))
    now["fail"] = NotThere()
    with pytest.raises(NotThere):
        page()
    now["fail"] = OSError("the disk is full")
    eventually(
        10,
        "somebody is asked to try again",
        lambda: page() == "computed" and "page:a is answered with the old copy: OSError" in caplog.text,
    )
    # What was invalidated is no copy to go back to.
    cache.invalidate(related=["page:*"])
    with pytest.raises(OSError, match="the disk is full"):
        page()


def test_a_value_whose_own_functions_fail_is_returned_and_not_stored(cache, count, caplog):
    class Odd(dict):
        def __eq__(self, other):
            raise RuntimeError("cannot be compared")

        __hash__ = None

    @cache.cached("page")
    def page() -> dict:
        count()
        return Odd(a=1)

    assert [type(page()), type(page())] == [Odd, Odd] and count.n == 2
    assert "is not cached" in caplog.text


def test_disabled_calls_the_function_and_still_tells(cache, projects, world, count):
    @cache.cached("page")
    def page() -> int:
        return count()

    assert page() == 1
    projects.get(project(5))
    world.change("projects", project(5), name="Changed")
    with podium.disabled():
        assert (page(), page()) == (2, 3)
        assert projects.get(project(5)).name == "Changed"
        assert projects.get(project(5), fallback=lambda: {"id": project(5), "name": "Mine"}).name == "Mine"
        cache.invalidate(related=["page:*"])
    assert page() == page() == 4


def test_what_streams_is_skipped_and_said_so(cache, caplog, count):
    @cache.cached("page")
    def page():
        count()
        return iter("abc")

    assert ["".join(page()) for _ in range(3)] == ["abc"] * 3 and count.n == 3
    assert [record.getMessage() for record in caplog.records if "streams" in record.getMessage()] == [
        f"{page.__qualname__} is not cached: it streams"
    ]
    with pytest.raises(TypeError, match="streams"):

        @cache.cached("page")
        def letters():
            yield "a"


def test_both_kinds_of_function_on_either_half(cache, acache, count):
    @cache.cached("one")
    async def awaited() -> int:
        return count()

    @acache.cached("two")
    def called() -> int:
        return count()

    assert called() == called() == 1

    async def scene():
        assert await awaited() == await awaited() == 2
        await acache.close()

    asyncio.run(scene())


def test_a_token_that_is_over_changes_nothing(cache, projects, count):
    """A computation that takes longer than its lease is answered, and not stored."""

    @cache.cached("page", lease_ms=100)
    def page() -> int:
        time.sleep(0.3)
        assert projects.get(project(1)) is not None
        return count()

    assert page() == 1 and page() == 2


def test_an_error_of_the_servers_is_logged_and_not_raised(cache, count, caplog, raw):
    raw.call("SET", "page:wrong", "not ours")
    page = cache.cached("page", key="wrong")(lambda: count())
    assert (page(), page()) == (1, 2)
    assert "is computed and not cached: WRONGTYPE" in caplog.text
    raw.call("PODIUM.SPEC", "SET", "name", "{}")
    page = cache.cached("name", key="taken")(lambda: count())
    assert (page(), page()) == (3, 4)


def test_rights_to_compute_only(server, raw, count, caplog):
    raw.call("PODIUM.SPEC", "SET", "page", '{"computed":true}')
    raw.call("ACL", "SETUSER", "web", "on", ">pw", "resetkeys", "+podium.lease", "+podium.fill", "+podium.release", "~page:*")
    try:
        cache = podium.Podium(client_of("valkey", server.port, username="web", password="pw"))
        page = cache.cached("page", key="a")(lambda: count())
        other = cache.cached("secret", key="a")(lambda: count())
        assert (page(), page()) == (1, 1)
        assert (other(), other()) == (2, 3)
        cache.close()
    finally:
        raw.call("ACL", "DELUSER", "web")


def test_a_stored_answer_of_another_version_is_computed_anew(cache, count, raw):
    @cache.cached("page", key="a")
    def page() -> dict[str, int]:
        return {"n": count()}

    page()
    raw.call("PODIUM.FILL", "page:a", "no JSON at all")
    assert page() == page() == {"n": 2}
    raw.call("PODIUM.FILL", "page:a", b'\x01{"$":"model","c":"os:system","v":"{}"}')
    assert page() == page() == {"n": 3}
