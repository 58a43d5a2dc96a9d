"""S5 and S6: what an index answers, against the native structures one would keep by hand."""

from __future__ import annotations

import json
import socket

from resp import Client

from . import model
from .figures import Measure, grouped
from .hits import mget
from .load import ask, batches, main_thread_seconds, pour
from .run import Run, said
from .scene import Scene

EVENT = "p0500:event:event-__rand_int__"


def s5(run: Run):
    """Sets of twenty, complete and cached."""
    count = run.SMALL * model.GROUP if not run.quick else run.large
    sets = count // model.GROUP
    with run.scene() as at:
        at.define("p0500", complete=True)
        at.tell("p0500", range(count))
        native = at.mirror("p0500", range(count))
        by_hand(at, range(count), "n0500")
        assert at.client.call("PODIUM.INDEX", "p0500:event:" + model.event(0), "COUNT") == model.GROUP
        assert at.client.call("PODIUM.INDEX", "p0500:event:" + model.event(0), "IDS") == at.client.call("ZRANGE", "n0500:event:" + model.event(0), 0, -1)
        yield run.pair(at, "S5", f"INDEX of 20 to MGET of 20, {grouped(sets)} sets", mget(native, 20), ["PODIUM.INDEX", EVENT], keys=sets, target="≥ 0.95")
        zrange = ["ZRANGE", "n" + EVENT[1:], "0", "-1"]
        yield run.pair(at, "S5", "IDS of 20 to ZRANGE, pipelined by 16", zrange, ["PODIUM.INDEX", EVENT, "IDS"], keys=sets, pipeline=16, target="≥ 0.90")
        count_of = ["GET", "c" + EVENT[1:]]
        yield run.pair(at, "S5", "COUNT to GET, pipelined by 16", count_of, ["PODIUM.INDEX", EVENT, "COUNT"], keys=sets, pipeline=16, target="≥ 0.90")


def by_hand(at: Scene, numbers: range, name: str, group: int = model.GROUP, scored: bool = False) -> None:
    """The sets that an application would keep: ids of an event's projects (by points, if scored) and their number."""
    commands = [("ZADD", f"{name}:event:{model.event(n, group)}", model.points(n) if scored else 0, model.rid(n)) for n in numbers]
    commands += [("SET", f"c{name[1:]}:event:{model.event(n, group)}", group) for n in numbers[::group]]
    pour(at.port, batches(commands), len(commands))


def s6(run: Run):
    """The ten best of ten thousand: asked again and again, and after each single change."""
    count = 10_000
    with run.scene() as at:
        yield from best(run, at, count, "≤ 2.0")


def best(run: Run, at: Scene, count: int, target: str):
    at.define("p0500", complete=True)
    at.tell("p0500", range(count), group=count)
    native = at.mirror("p0500", range(count))
    by_hand(at, range(count), "n0500", group=count, scored=True)
    board, key = f"n0500:event:{model.event(0, count)}", f"p0500:event:{model.event(0, count)}"
    question = ["PODIUM.INDEX", key, "SORT", "points", "DESC", "LIMIT", "0", "10"]
    top = [f"{native}:{id.decode()}" for id in at.client.call(*question, "IDS")]
    # Ties are broken by id, ascending here and descending there: the scores are what must agree.
    assert points_of(at, top) == points_of(at, [f"{native}:{id.decode()}" for id in at.client.call("ZRANGE", board, 0, 9, "REV")])
    by_hand_is = [["ZRANGE", board, "0", "9", "REV"], ["MGET", *top]]
    yield run.pair(at, "S6", f"INDEX SORT LIMIT 0 10 of {grouped(count)}: cost, to ZRANGE REV + MGET", by_hand_is, question, keys=count, target=target, cost=True)
    yield said(changing(run, at, count, target, question, by_hand_is, board))


def points_of(at: Scene, keys: list[str]) -> list[int]:
    return [json.loads(value)["points"] for value in at.client.call("MGET", *keys)]


def changing(run: Run, at: Scene, count: int, target: str, question: list[str], by_hand_is: list[list[str]], board: str) -> Measure:
    """One record's points before each question. The main thread's CPU time counts: the client's does not disturb."""
    batch, values = 20 if run.quick else 50, []

    def ours(round: int) -> bytes:
        numbers = [(round * batch + n) * 31 % count for n in range(batch)]
        return b"".join(Client.encode("PODIUM.UPSERT", f"p0500:{model.rid(n)}", model.told(n, group=count, points=(n * 13 + round) % 9973)) + Client.encode(*question) for n in numbers)

    def natives(round: int) -> bytes:
        parts = []
        for at_place in range(batch):
            n = (round * batch + at_place) * 31 % count
            score = (n * 13 + round) % 9973
            parts += [("SET", f"n0500:{model.rid(n)}", model.told(n, group=count, points=score), "EX", 28800), ("ZADD", board, score, model.rid(n)), *by_hand_is]
        return b"".join(Client.encode(*words) for words in parts)

    rounds = 2 if run.quick else 20
    with socket.create_connection(("127.0.0.1", at.port), timeout=60) as link:
        spent = lambda: main_thread_seconds(at.pid)  # noqa: E731
        for pair in range(-1, run.pace.pairs):
            sides = {}
            for side in (natives, ours) if pair % 2 == 0 else (ours, natives):
                blobs = [side(pair * rounds + round) for round in range(rounds)]
                begun = spent()
                for blob in blobs:
                    ask(link, blob, b"done-with-it")
                sides[side] = spent() - begun
            if pair >= 0:
                values.append(sides[ours] / sides[natives])
    each = sides[natives] / rounds / batch
    return Measure("S6", f"… after each change of one of {grouped(count)}: CPU, UPSERT + INDEX to SET + ZADD + ZRANGE + MGET", values, target, note=f"{each * 1e6:.0f} µs of CPU")
