"""S7 and S8: bytes, as used_memory counts them."""

from __future__ import annotations

from . import model
from .figures import Measure, grouped
from .load import batches, pour
from .run import Run, said
from .scene import native

COUNT = 20_000


def s7(run: Run):
    """What a record takes beyond a string with a lifetime that holds the same JSON."""
    yield from records(run, COUNT)


def records(run: Run, count: int):
    raw = raw_string(run, count)
    for default_view in (True, False):
        with run.scene() as at:
            at.define("p0500", default_view=default_view)
            before = at.memory()
            at.tell("p0500", range(count))
            ours = (at.memory() - before) / count
        what = "with a default view" if default_view else "without views"
        yield said(Measure("S7", f"bytes a record over a raw string, {what}, {grouped(count)} records", [ours - raw], "≤ 32", "B", f"{raw:,.0f} B", 0))


def raw_string(run: Run, count: int) -> float:
    """Bytes of a record's JSON (VIEW *) as a string with a lifetime, its name and the tables included."""
    with run.scene() as at:
        at.define("p0500", default_view=False)
        at.tell("p0500", range(count))
        answers = list(at.answers("p0500", range(count), "*"))
    server, client = native(run.version)
    try:
        used = lambda: int(server.info("memory")["used_memory"])  # noqa: E731
        before = used()
        pour(server.port, batches(("SET", f"n0500:{model.rid(n)}", answer, "EX", 28800) for n, answer in answers), count)
        return (used() - before) / count
    finally:
        server.remove()


def s8(run: Run):
    """What a member of an index set takes: the same records with the field indexed, and not."""
    bare = with_sets(run, COUNT, COUNT, indexed=False)
    for group in (20, 200, COUNT):
        taken = (with_sets(run, COUNT, group, indexed=True) - bare) / COUNT
        yield said(Measure("S8", f"bytes of a value and an id, sets of {grouped(group)}", [taken], "≤ 24", "B", f"{grouped(COUNT)} records", 1))


def with_sets(run: Run, count: int, group: int, indexed: bool) -> int:
    """Bytes that so many records take: in the set of all, and each in one by its event or in none."""
    with run.scene() as at:
        at.define("p0500", complete=True, indexed=indexed)
        before = at.memory()
        at.tell("p0500", range(count), group=group)
        if indexed:
            assert at.client.call("PODIUM.INDEX", "p0500:event:" + model.event(0, group), "COUNT") == group
        return at.memory() - before
