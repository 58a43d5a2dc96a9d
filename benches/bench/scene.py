"""A server with the module, and natively beside it what the module answers, byte for byte."""

from __future__ import annotations

import json
import tempfile
import time

from airtable import TOKEN, Emulator
from resp import Client
from support import Server, eventually

from . import model
from .load import CLIENT_CORE, SERVER_CORE, batches, core, pour

SETTINGS = {"rate-limit": 1000, "sweep-interval": 0, "monthly-calls": 0, "fetch-timeout-ms": 60000, "empty-ttl": 86400, "warm-limit": 10_000_000}


def pinned(server: Server, where: int | None = SERVER_CORE) -> Server:
    """Started, on a core of its own."""
    with core(where):
        return server.start()


class Scene:
    """One server. Keys: `<entity>:rec…` ours, `n…:rec…` what GET answers, `w…` with VIEW *, `s…` with VIEW short; by size."""

    def __init__(self, version: str, airtable: Emulator, *, settings: dict | None = None, config: list[str] | None = None, where: int | None = SERVER_CORE):
        self.airtable = airtable
        self.server = Server(version, {"airtable-url": airtable.url, "base": model.EMPTY, **SETTINGS, **(settings or {})}, config)
        pinned(self.server, where)
        self.port = self.server.port
        self.client = self.server.client()

    @property
    def pid(self) -> int:
        return self.server.process.pid

    def define(self, entity: str, *, complete: bool = False, **more) -> None:
        """An entity of the empty base. `complete`: every index set is known (and empty) before anything is stored, so that what
        is told enters sets."""
        assert self.client.call("PODIUM.SPEC", "SET", entity, model.spec(**more)) == "OK"
        if complete:
            self.client.call("PODIUM.WARM", f"{entity}:*", timeout=60)

    def tell(self, entity: str, numbers: range, size: int = 470, group: int = model.GROUP) -> float:
        """Stores records; how many seconds it took, making their JSON included."""
        commands = (("PODIUM.UPSERT", f"{entity}:{model.rid(n)}", model.told(n, size, group)) for n in numbers)
        return pour(self.port, batches(commands), len(numbers))

    def answers(self, entity: str, numbers: range, view: str = ""):
        """What Podium answers for these records, as pairs of number and bytes."""
        for begin in range(numbers.start, numbers.stop, 1000):
            some = range(begin, min(begin + 1000, numbers.stop))
            got = self.client.call("PODIUM.MGET", len(some), *(f"{entity}:{model.rid(n)}" for n in some), *(("VIEW", view) if view else ()), timeout=60)
            for number, answer in zip(some, got):
                assert isinstance(answer, bytes), f"{entity}:{model.rid(number)}: {answer!r}"
                yield number, answer

    def mirror(self, entity: str, numbers: range, prefix: str = "n", view: str = "") -> str:
        """Natively the same answers under keys as long; the name that stands before their colon."""
        name = prefix + entity[1:]
        pour(self.port, batches(("SET", f"{name}:{model.rid(n)}", answer) for n, answer in self.answers(entity, numbers, view)), len(numbers))
        probe = model.rid(numbers.stop - 1)
        ours = self.client.call("PODIUM.GET", f"{entity}:{probe}", *(("VIEW", view) if view else ()))
        assert ours == self.client.call("GET", f"{name}:{probe}"), "the two kinds of keys hold different values"
        return name

    def size_of(self, key: str) -> int:
        return len(self.client.call("GET", key))

    def memory(self) -> int:
        """used_memory, in bytes, when nothing changes it any more."""
        read = lambda: int(self.server.info("memory")["used_memory"])  # noqa: E731
        last = read()
        for _ in range(50):
            time.sleep(0.05)
            now = read()
            if abs(now - last) < 4096:
                return now
            last = now
        return last

    def close(self) -> None:
        self.server.remove()

    def __enter__(self) -> "Scene":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def emulator(records: int) -> Emulator:
    """The stand-in for Airtable, without limits, with so many records in its full base."""
    # A file: a hundred thousand records are more than it takes as a request.
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as seed, core(CLIENT_CORE):
        json.dump(model.seed(TOKEN, records), seed)
        seed.flush()
        return Emulator("--seed", seed.name)


def native(version: str) -> tuple[Server, Client]:
    """A server without the module."""
    server = pinned(Server(version, module=False))
    return server, server.client()


def until_indexed(server: Server, entity: str, count: int, deadline: float = 300) -> None:
    """Until what was loaded is known: so many records are counted for the entity."""
    with Client(server.port) as client:
        def known() -> bool:
            figures = client.call("PODIUM.STATS", entity)
            return int(dict(zip(figures[::2], figures[1::2]))[b"podium_records"]) >= count
        eventually(deadline, "all is indexed", known)
