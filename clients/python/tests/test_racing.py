"""No answer is older than what was told before it was asked for: changes and callers at the same time, by threads and tasks, in two
caches that share the server, answers made of answers among them."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import models
from conftest import client_of
from world import project

import podium

SECONDS = 2.0


def test_no_answer_is_older_than_what_was_told(server, world):
    told = {"value": 1}
    stop = threading.Event()
    late: list[tuple[str, int, int]] = []
    answers, computed = [0], [0]
    caches = [podium.Podium(client_of("valkey", server.port)) for _ in range(2)]
    other = podium.AsyncPodium(client_of("valkey.asyncio", server.port))
    world.change("projects", project(1), points=1)

    def ask_of(cache, name):
        projects = models.projects(cache)

        @cache.cached("part", key="a")
        def part() -> int:
            computed[0] += 1
            return projects.get(project(1)).points

        @cache.cached("whole", key="a")
        def whole() -> list[int]:
            return [part()]

        def go():
            while not stop.is_set():
                for kind, ask in (("part", part), ("whole", lambda: whole()[0])):
                    before = told["value"]
                    found = ask()
                    answers[0] += 1
                    if found < before:
                        late.append((f"{name} {kind}", before, found))

        return go

    async def ask_async():
        projects = models.projects(other)

        @other.cached("part", key="a")
        async def part() -> int:
            return (await projects.get(project(1))).points

        async def go():
            while not stop.is_set():
                before = told["value"]
                found = await part()
                answers[0] += 1
                if found < before:
                    late.append(("async", before, found))

        await asyncio.gather(*(go() for _ in range(10)))
        await other.close()

    def change():
        projects = models.projects(caches[0])
        while not stop.is_set():
            value = told["value"] + 1
            world.change("projects", project(1), points=value)
            projects.invalidate(project(1))
            told["value"] = value
            time.sleep(0.005)

    with ThreadPoolExecutor(20) as pool:
        running = [pool.submit(ask_of(cache, f"cache {n}")) for n, cache in enumerate(caches) for _ in range(4)]
        running += [pool.submit(asyncio.run, ask_async()), pool.submit(change)]
        time.sleep(SECONDS)
        stop.set()
        for one in running:
            one.result(20)
    assert not late and told["value"] > 5 and answers[0] > told["value"]
    for cache in caches:
        cache.close()
