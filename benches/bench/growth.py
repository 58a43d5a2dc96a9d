"""How the main rows grow: the same at ten thousand, a hundred thousand and a million records. Names of lines do not hold the number."""

from __future__ import annotations

import traceback

from . import model
from .figures import Measure, grouped
from .hits import get, mget
from .loading import restart, upserts
from .memory import records
from .run import Run
from .sets import best, by_hand
from .table import markdown

COUNTS = (10_000, 100_000, 1_000_000)


def reads(run: Run, count: int):
    """Single records, and sets of twenty."""
    with run.scene() as at:
        at.define("p0500", complete=True)
        at.tell("p0500", range(count))
        native = at.mirror("p0500", range(count))
        sets = count // model.GROUP
        yield "GET, unpipelined", run.pair(at, "S1", "GET", get(native), get("p0500"), keys=count)
        yield "GET, pipelined by 16", run.pair(at, "S2", "GET by 16", get(native), get("p0500"), keys=count, pipeline=16)
        yield "MGET of 100", run.pair(at, "S4", "MGET", mget(native, 100), mget("p0500", 100), keys=count)
        by_hand(at, range(count), "n0500")
        yield "INDEX of 20 to MGET of 20", run.pair(at, "S5", "INDEX", mget(native, 20), ["PODIUM.INDEX", "p0500:event:event-__rand_int__"], keys=sets)
        count_of, everything = ["GET", "c0500:event:event-000000000000"], ["PODIUM.INDEX", "p0500:*", "COUNT"]
        yield "COUNT of all to GET", run.pair(at, "S5", "COUNT of all", count_of, everything, keys=sets, pipeline=16)


def board(run: Run, count: int):
    """The ten best of all."""
    with run.scene() as at:
        names = ("INDEX SORT LIMIT 0 10 of one set of all: cost, to ZRANGE REV + MGET", "… after each change: CPU, to SET + ZADD + ZRANGE + MGET")
        yield from zip(names, best(run, at, count, ""))


def stored(run: Run, count: int):
    """What records take, and how they come in."""
    for name, one in zip(("bytes a record over a raw string, default view", "… without views"), records(run, count)):
        yield name, one
    for one in upserts(run, "UPSERT to SET EX", count):
        yield "UPSERT to SET EX", one
    for one in upserts(run, "UPSERT into complete sets to SET EX", count, complete=True):
        yield "UPSERT into complete sets of 20 and of all to SET EX", one
    for name, one in zip(("restart until the first hit: time, to raw strings", "… until all is indexed"), restart(run, count)):
        yield name, one


def million(run: Run, counts=COUNTS) -> str:
    """The table: a line a row, a column a number of records."""
    found: dict[str, dict[int, Measure]] = {}
    for count in counts:
        for part in (reads, board, stored):
            try:
                for name, one in part(run, count):
                    found.setdefault(name, {})[count] = one
            except Exception:  # noqa: BLE001
                # What fails at one number leaves its places empty; the others are measured all the same.
                traceback.print_exc()
    lines = [[name, *((by[count].shown() if count in by else "–") for count in counts)] for name, by in found.items()]
    return f"Valkey {run.version}\n\n" + markdown(["what", *(grouped(count) for count in counts)], lines)


