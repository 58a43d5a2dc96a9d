"""S1–S4 and computed answers: single records, as fast as GET."""

from __future__ import annotations

from . import model
from .figures import grouped
from .run import Run

ONE = "rec__rand_int__"


def get(name: str, *options: str) -> list[str]:
    return ["PODIUM.GET" if name.startswith("p") else "GET", f"{name}:{ONE}", *options]


def mget(name: str, count: int) -> list[str]:
    names = [f"{name}:{ONE}"] * count
    return ["PODIUM.MGET", str(count), *names] if name.startswith("p") else ["MGET", *names]


def kib(size: int) -> str:
    return f"{size / 1024:.1f} KB"


def s1(run: Run):
    """GET, one question at a time on each of 50 connections."""
    for size, entity in model.SIZES.items():
        for count in (run.SMALL, run.large):
            if run.quick and size != 1000 and count != run.SMALL:
                continue
            with run.scene() as at:
                at.define(entity)
                at.tell(entity, range(count), size)
                native = at.mirror(entity, range(count))
                length = kib(at.size_of(f"{native}:{model.rid(0)}"))
                yield run.pair(at, "S1", f"GET, unpipelined, {length}, {grouped(count)} keys", get(native), get(entity), keys=count, target="≥ 0.98")


def s2(run: Run):
    """GET, pipelined."""
    for count in (run.SMALL, run.large):
        with run.scene() as at:
            at.define("p1000")
            at.tell("p1000", range(count), 1000)
            native = at.mirror("p1000", range(count))
            for pipeline in (16, 64):
                yield run.pair(at, "S2", f"GET, pipelined by {pipeline}, {grouped(count)} keys", get(native), get("p1000"), keys=count, pipeline=pipeline, target="≥ 0.95")


def s3(run: Run):
    """GET with a view or META, against GET of the same answer."""
    with run.scene() as at:
        at.define("p0500")
        at.tell("p0500", range(run.SMALL))
        natives = {view: at.mirror("p0500", range(run.SMALL), prefix, view) for view, prefix in (("", "n"), ("*", "w"), ("short", "s"))}
        for what, view, options, target in (("VIEW *", "*", ["VIEW", "*"], "≥ 0.90"), ("another view", "short", ["VIEW", "short"], "≥ 0.80"), ("META", "", ["META"], "≥ 0.80")):
            native = natives[view]
            length = at.size_of(f"{native}:{model.rid(0)}")
            yield run.pair(at, "S3", f"GET with {what}, {length} bytes, pipelined by 16", get(native), get("p0500", *options), keys=run.SMALL, pipeline=16, target=target)


def s4(run: Run):
    """MGET of a hundred."""
    for count in (run.SMALL, run.large):
        with run.scene() as at:
            at.define("p1000")
            at.tell("p1000", range(count), 1000)
            native = at.mirror("p1000", range(count))
            yield run.pair(at, "S4", f"MGET of 100, {grouped(count)} keys", mget(native, 100), mget("p1000", 100), keys=count, target="≥ 0.95")


def computed(run: Run):
    """Computed answers: GET and LEASE of what is there, against GET of the same bytes."""
    with run.scene() as at:
        assert at.client.call("PODIUM.SPEC", "SET", "pages", '{"computed":true}') == "OK"
        for number in range(run.SMALL):
            value = model.told(number, 1000)
            at.client.call("PODIUM.FILL", f"pages:{model.rid(number)}", value)
            at.client.call("SET", f"plain:{model.rid(number)}", value)
        probe = model.rid(7)
        assert at.client.call("PODIUM.LEASE", f"pages:{probe}")[0] == at.client.call("GET", f"plain:{probe}")
        native = ["GET", f"plain:{ONE}"]
        yield run.pair(at, "computed", "GET of a computed answer, pipelined by 16", native, ["PODIUM.GET", f"pages:{ONE}"], keys=run.SMALL, pipeline=16, target="≥ 0.95")
        yield run.pair(at, "computed", "LEASE, a hit, pipelined by 16", native, ["PODIUM.LEASE", f"pages:{ONE}"], keys=run.SMALL, pipeline=16)


