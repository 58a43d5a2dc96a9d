"""`@cached` functions that many call at once, in threads, tasks and processes; holders that die, changes in between."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import models
import pytest
from conftest import client_of
from support import eventually
from world import project

import podium


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


def test_a_function_that_calls_itself_for_the_same_key_does_not_wait_for_itself(cache, count):
    depth = []

    @cache.cached("page", key="same")
    def page() -> int:
        count()
        depth.append(1)
        return page() if len(depth) < 3 else 7

    assert page() == 7 and count.n == 3


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
