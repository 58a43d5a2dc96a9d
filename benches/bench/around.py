"""S11: the ratios with I/O threads and with a replica attached. S9: how long anything holds up the others."""

from __future__ import annotations

import re
import subprocess
import sys

from support import ROOT, Server, eventually

from . import model
from .figures import Measure
from .hits import get, mget
from .run import Run, said
from .scene import Scene, pinned

HOLDS = ROOT / "tests" / "load" / "holds.py"


def s11(run: Run):
    # A server of two threads on one core would measure the scheduler.
    with run.scene(config=["io-threads 2"], where=None) as at:
        yield from circumstance(run, at, "io-threads 2")
    with run.scene() as at:
        replica = Server(run.version, {"airtable-url": at.airtable.url, "base": model.EMPTY}, [f"replicaof 127.0.0.1 {at.port}"])
        try:
            pinned(replica, None)
            eventually(30, "the replica follows", lambda: "slave0" in (shown := at.server.info("replication")) and "state=online" in shown["slave0"])
            yield from circumstance(run, at, "a replica")
        finally:
            replica.remove()


def circumstance(run: Run, at: Scene, what: str):
    at.define("p1000")
    at.tell("p1000", range(run.SMALL), 1000)
    native = at.mirror("p1000", range(run.SMALL))
    yield run.pair(at, "S11", f"{what}: GET, pipelined by 16", get(native), get("p1000"), keys=run.SMALL, pipeline=16, target="≥ 0.95")
    yield run.pair(at, "S11", f"{what}: MGET of 100", mget(native, 100), mget("p1000", 100), keys=run.SMALL, target="≥ 0.95")
    json = model.told(0, 1000).replace('"id":"rec000000000000",', "")
    set_, upsert = ["SET", f"{native}:rec__rand_int__", json, "EX", "28800"], ["PODIUM.UPSERT", "p1000:rec__rand_int__", json]
    yield run.pair(at, "S11", f"{what}: UPSERT to SET EX, pipelined by 16", set_, upsert, keys=run.SMALL, pipeline=16, target="≥ 0.50")


def s9(run: Run):
    """The longest holds of the main thread by case, as tests/load/holds.py measures them."""
    what, unit = "longest hold of the main thread", "ms"
    if run.quick:
        yield said(Measure("S9", what, [], "≤ 1.0", unit, failed="takes minutes: --only S9"))
        return
    if not HOLDS.exists():
        yield said(Measure("S9", what, [], "≤ 1.0", unit, failed="tests/load/holds.py is not there"))
        return
    done = subprocess.run([sys.executable, str(HOLDS), "--valkey", run.version], capture_output=True, text=True, timeout=3600)
    cases = holds(done.stdout)
    if done.returncode or not cases:
        raise RuntimeError(f"{HOLDS.name}: {(done.stderr or done.stdout)[-800:]}")
    for name, monitor, command in cases:
        # The monitor counts whole milliseconds, and nothing below one.
        yield said(Measure("S9", f"longest hold: {name}", [max(monitor, command)], "≤ 1.0", unit, "latency monitor or command"))


def holds(printed: str) -> list[tuple[str, float, float]]:
    """Lines of `holds.py`: a case's name, then the monitor's reading (`-`: under a millisecond), the command's (may lack) and PING's."""
    found = []
    for line in printed.splitlines():
        name, *rest = re.split(r"\s{2,}", line.strip())
        numbers = [0.0 if word == "-" else float(word) for word in rest if re.fullmatch(r"-|[0-9.]+", word)]
        if len(numbers) in (2, 3) and len(numbers) == len(rest):
            found.append((name, numbers[0], numbers[1] if len(numbers) == 3 else 0.0))
    return found
