"""S10: how fast records come in: told, warmed, and loaded from disk."""

from __future__ import annotations

import time

from resp import Client, ReplyError
from support import Server

from . import model
from .figures import Measure, grouped
from .load import SERVER_CORE, batches, core, pour, process_seconds
from .run import Run, said
from .scene import Scene, until_indexed


def s10(run: Run):
    yield from upserts(run, "UPSERT to SET EX, records of 0.5 KB", run.many)
    yield from upserts(run, "UPSERT into complete sets of 20 to SET EX", run.many, complete=True)
    yield from upserts(run, "UPSERT of records with a link to SET EX", run.many, linked=True)
    yield warming(run, run.many)
    yield from restart(run, 20_000 if run.quick else 1_000_000)


def upserts(run: Run, what: str, count: int, complete: bool = False, linked: bool = False):
    """Records that were not there before, as fast as one connection sends them."""
    more = {"owner": ["recOwnerxxxxx0001"]} if linked else {}
    told = [(model.rid(n), model.told(n, **more)) for n in range(count)]
    natives = list(batches(("SET", f"n0500:{id}", json, "EX", 28800) for id, json in told))
    ours = list(batches(("PODIUM.UPSERT", f"p0500:{id}", json) for id, json in told))
    values, rates = [], []
    for pair in range(run.pace.pairs):
        with run.scene() as at:
            at.define("p0500", complete=complete, linked=linked)
            sides = {}
            for name, blobs in (("n", natives), ("p", ours)) if pair % 2 == 0 else (("p", ours), ("n", natives)):
                sides[name] = pour(at.port, blobs, count)
        values.append(sides["n"] / sides["p"])
        rates.append(count / sides["n"])
    yield said(Measure("S10", f"{what}, {grouped(count)}", values, "≥ 0.50", note=f"{grouped(sorted(rates)[len(rates) // 2])}/s", digits=3))


def warming(run: Run, count: int) -> Measure:
    """The server's own time, all threads: the upstream's is not ours."""
    values = []
    airtable = run.airtable(count)
    # More connections to a base than its answers keep busy gain nothing; the time is the process's, wherever it runs.
    for _ in range(1 if run.quick else 3):
        with Scene(run.version, airtable, where=None) as at:
            at.define("p0500", base=model.FULL)
            begun = process_seconds(at.pid)
            at.client.call("PODIUM.WARM", "p0500:*", timeout=600)
            values.append(count / (process_seconds(at.pid) - begun))
            assert at.client.call("PODIUM.INDEX", "p0500:*", "COUNT") == count
    return said(Measure("S10", f"WARM of {grouped(count)}: records a second of CPU, all threads", values, "≥ 50,000", "/s", "beside the upstream", 0))


def restart(run: Run, count: int):
    """From a snapshot on disk: the module's records with the module, raw strings of the same JSON without."""
    first_native, first, indexed = [], [], []
    # Nothing saves by itself: the snapshot is the one that is asked for.
    with run.scene() as at:
        at.define("p0500", complete=True)
        at.tell("p0500", range(count))
        bare = Server(run.version, module=False)
        try:
            with core(SERVER_CORE):
                bare.start()
            copy(at, bare, count)
            for server in (at.server, bare):
                with Client(server.port) as client:
                    client.call("SAVE", timeout=300)
            # The first start of each warms the page cache and is not counted.
            for round in range(2 if run.quick else 4):
                a = until_hit(bare, ["GET", f"n0500:{model.rid(count - 1)}"])
                b = until_hit(at.server, ["PODIUM.GET", f"p0500:{model.rid(count - 1)}"])
                begun = time.monotonic() - b
                until_indexed(at.server, "p0500", count)
                if round:
                    first_native.append(a)
                    first.append(b / a)
                    indexed.append((time.monotonic() - begun) / a)
        finally:
            bare.remove()
    note = f"{sorted(first_native)[len(first_native) // 2]:.2f} s"
    yield said(Measure("S10", f"restart with {grouped(count)} records until the first hit: time, to raw strings", first, "≤ 1.3", note=note))
    yield said(Measure("S10", "… until all is indexed", indexed, "≤ 1.3", note=note))


def copy(at: Scene, bare: Server, count: int) -> None:
    """The whole JSON of every record, as strings with a lifetime."""
    pour(bare.port, batches(("SET", f"n0500:{model.rid(n)}", answer, "EX", 28800) for n, answer in at.answers("p0500", range(count), "*")), count)


def until_hit(server: Server, question: list[str]) -> float:
    """Seconds from the start of the process to the first answer that is a record."""
    server.stop(kill=True)
    with core(SERVER_CORE):
        begun = time.monotonic()
        server._spawn()
    while time.monotonic() < begun + 300:
        try:
            with Client(server.port) as client:
                while isinstance(got := client.attempt(*question), ReplyError) and got.code == "LOADING":
                    time.sleep(0.002)
                assert isinstance(got, bytes), f"{question}: {got!r}"
                return time.monotonic() - begun
        except OSError:
            time.sleep(0.002)
    raise AssertionError(f"no answer after the restart:\n{server.log()[-2000:]}")


