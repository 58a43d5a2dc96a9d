"""`@cached` on functions: what is computed when, by whom, and what is thrown away."""

from __future__ import annotations

import asyncio
import datetime
import enum
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import models
import pytest
from conftest import client_of
from support import eventually
from world import event, project, user

import podium


class Colour(enum.Enum):
    RED = "red"


class Counter:
    """How often something ran; threads may count."""

    def __init__(self):
        self.n = 0
        self._lock = threading.Lock()

    def __call__(self):
        with self._lock:
            self.n += 1
            return self.n


@pytest.fixture
def count():
    return Counter()


@pytest.fixture
def projects(cache):
    return models.projects(cache)


def test_a_second_call_is_answered_from_the_cache(cache, count, raw):
    @cache.cached("page", resource_id_param="id")
    def page(id: str, size: int = 10) -> dict[str, int]:
        return {"n": count(), "size": size}

    assert page("a") == page("a") == page(id="a", size=10) == {"n": 1, "size": 10}
    assert page("a", 20) == {"n": 2, "size": 20} and page("b") == {"n": 3, "size": 10}
    key = page.key("a")
    assert key.startswith("page:a:params_") and key.endswith(":v1")
    assert raw.call("PODIUM.GET", key) == b'{"n":1,"size":10}'


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


def test_a_change_during_the_computation_is_not_lost(cache, projects, world, count):
    inside, go_on = threading.Event(), threading.Event()

    @cache.cached("page")
    def page() -> str:
        name = projects.get(project(5)).name
        if count() == 1:
            inside.set()
            assert go_on.wait(10)
        return name

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(page)
        assert inside.wait(10)
        world.change("projects", project(5), name="Changed")
        projects.invalidate(project(5))
        go_on.set()
        assert first.result(10) == "Project 05"
    assert page() == page() == "Changed" and count.n == 2


def test_a_thousand_threads_compute_once(cache, count):
    """As many as the machine takes at a time; all ask before the first has an answer."""
    ready, go_on = threading.Semaphore(0), threading.Event()

    @cache.cached("page")
    def page() -> str:
        count()
        assert go_on.wait(20)
        return "computed"

    answers: list[str] = []

    def ask():
        ready.release()
        answers.append(page())

    threads = [threading.Thread(target=ask) for _ in range(1000)]
    for thread in threads:
        thread.start()
    for _ in threads:
        ready.acquire()
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert answers == ["computed"] * 1000 and count.n == 1


def test_a_thousand_tasks_compute_once(acache, count, raw):
    @acache.cached("page")
    async def page() -> str:
        count()
        await asyncio.sleep(0.05)
        return "computed"

    async def scene():
        answers = await asyncio.gather(*(page() for _ in range(1000)))
        await acache.close()
        return answers

    assert asyncio.run(scene()) == ["computed"] * 1000 and count.n == 1


def test_two_processes_compute_once(server, count):
    """Two caches share nothing but the server, as two processes do."""
    one, two = podium.Podium(client_of("valkey", server.port)), podium.Podium(client_of("redis", server.port))
    inside, go_on = threading.Event(), threading.Event()

    def compute() -> int:
        inside.set()
        assert go_on.wait(10)
        return count()

    pages = [cache.cached("page", key="same")(compute) for cache in (one, two)]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(pages[0])
        assert inside.wait(10)
        second = pool.submit(pages[1])
        eventually(10, "the second waits", lambda: int(server.info("clients")["blocked_clients"]) == 1)
        go_on.set()
        assert first.result(10) == second.result(10) == 1
    one.close(), two.close()


def test_who_comes_after_a_change_gets_none_of_what_was_before(cache, count):
    """A caller who waits for another one of this process gets an answer that was asked for after he came."""
    now = {"value": "old"}
    inside, go_on = threading.Event(), threading.Event()

    @cache.cached("page", tags=["t"])
    def page() -> str:
        value = now["value"]
        if count() == 1:
            inside.set()
            assert go_on.wait(10)
        return value

    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(page)
        assert inside.wait(10)
        now["value"] = "new"
        cache.invalidate(related=["page:*"])
        later = [pool.submit(page) for _ in range(8)]
        time.sleep(0.1)
        go_on.set()
        assert first.result(10) == "old"
        assert {one.result(10) for one in later} == {"new"} and count.n == 2


def test_the_holder_dies_and_the_next_one_computes(server, count, raw):
    dying = client_of("valkey", server.port)
    raw.call("PODIUM.SPEC", "SET", "page", '{"computed":true}')
    connection = dying.connection_pool.get_connection("LEASE")
    connection.send_command("PODIUM.LEASE", "page:same")
    assert connection.read_response()[1] is not None
    cache = podium.Podium(client_of("valkey", server.port))
    page = cache.cached("page", key="same")(lambda: count())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(page)
        eventually(10, "it waits", lambda: int(server.info("clients")["blocked_clients"]) == 1)
        connection.disconnect()
        assert waiting.result(10) == 1
    assert page() == 1
    cache.close()


def test_a_failure_is_the_callers_and_nobody_is_kept_waiting(cache, count):
    @cache.cached("page")
    def page() -> int:
        if count() == 1:
            raise LookupError("not yet")
        return count.n

    with pytest.raises(LookupError, match="not yet"):
        page()
    assert page() == page() == 2


def test_a_task_that_is_cancelled_lets_the_next_one_compute(server, count):
    """Here, and in another process."""

    async def scene():
        began = asyncio.Event()

        async def compute() -> int:
            if count() == 1:
                began.set()
                await asyncio.sleep(60)
            return count.n

        here, there = (podium.AsyncPodium(client_of("valkey.asyncio", server.port)) for _ in range(2))
        page, other = (cache.cached("page", key="a")(compute) for cache in (here, there))
        first = asyncio.ensure_future(page())
        await began.wait()
        later = [asyncio.ensure_future(page()), asyncio.ensure_future(other())]
        await asyncio.sleep(0.05)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await asyncio.wait_for(asyncio.gather(*later), 4) == [2, 2]
        await here.close()
        await there.close()

    asyncio.run(scene())


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


def test_a_function_that_calls_itself_for_the_same_key_does_not_wait_for_itself(cache, count):
    depth = []

    @cache.cached("page", key="same")
    def page() -> int:
        count()
        depth.append(1)
        return page() if len(depth) < 3 else 7

    assert page() == 7 and count.n == 3


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


def test_a_child_process_begins_anew(server, count):
    """As workers of a server that loaded the application first: threads, locks and connections are the parent's."""
    cache = podium.Podium(client_of("valkey", server.port), local=10)
    projects = models.projects(cache)
    eventually(10, "it listens", lambda: cache._core.local.listening() is not None)
    projects.get(project(1))
    page = cache.cached("page", key="a")(lambda: count())
    holding = threading.Event()
    taken = threading.Event()

    def hold():
        with cache._core._lock, cache._shell(False).flights._lock, cache._core.local.store._lock:
            taken.set()
            holding.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(10)
    child = os.fork()
    if child == 0:
        try:
            assert cache._core.local.listener is None and len(cache._core.local.store) == 0
            assert page() == 1 and projects.get(project(1)).name == "Project 01"
            os._exit(0)
        finally:
            os._exit(1)
    holding.set()
    holder.join()
    assert os.waitpid(child, 0)[1] == 0
    assert page() == 1, "the child's answer"
    cache.close()


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


def test_a_key_that_cannot_be_made_or_sent_is_no_error_of_the_callers(cache, count, caplog):
    def broken(**_):
        raise LookupError("no key")

    one = cache.cached("page", key=broken)(lambda a: count())
    assert (one(1), one(1)) == (1, 2) and "its key cannot be made: LookupError: no key" in caplog.text
    two = cache.cached("page", resource_id_param="a")(lambda a: count())
    assert two("\ud800") and two("\ud800")
    with pytest.raises(TypeError, match="missing 1 required"):
        two()


logging.getLogger("podium").setLevel(logging.INFO)
__all__ = ["user"]
