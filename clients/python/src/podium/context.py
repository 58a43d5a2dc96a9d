"""What the code that runs now is part of: a computation, an HTTP request, neither.

Context variables: they follow a request into its tasks and thread pool, and no further. A thread that the application starts by
itself knows nothing of them (`contextvars.copy_context().run` takes them along)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Lease:
    """The right to fill a key, and whether it is still worth anything."""

    token: str
    spoiled: bool = False
    """Something was used that the server cannot watch: what is computed is returned, and not stored."""


@dataclass(slots=True)
class Work:
    """A computation under way. Reads made in it carry `FOR` the lease's token: its own, else that of what it is part of."""

    key: str
    lease: Lease | None
    parent: Work | None = None

    def holds(self, key: str) -> bool:
        """Whether this, or what it is part of, computes that key."""
        return self.key == key or (self.parent is not None and self.parent.holds(key))


@dataclass(slots=True)
class Policy:
    """What the request's Cache-Control asks for."""

    no_cache: bool = False
    no_store: bool = False
    max_age: int | None = None


@dataclass(slots=True)
class Trace:
    """What the reads of one request did. `notes` holds META maps in the order of the reads; `(depth, map)`."""

    notes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


computing: ContextVar[Work | None] = ContextVar("podium_computing", default=None)
policy: ContextVar[Policy | None] = ContextVar("podium_policy", default=None)
trace: ContextVar[Trace | None] = ContextVar("podium_trace", default=None)


def spoil() -> None:
    """What is computed now uses something that the server does not know of."""
    work = computing.get()
    if work is not None and work.lease is not None:
        work.lease.spoiled = True


_switch = threading.Lock()
_off = 0


def is_disabled() -> bool:
    return _off > 0


@contextmanager
def disabled() -> Iterator[None]:
    """Within it nothing is answered from the cache, in the whole process: `@cached` functions are simply called, records are read
    by `fallback=` where there is one and else fetched anew. What changed is still told."""
    global _off
    with _switch:
        _off += 1
    try:
        yield
    finally:
        with _switch:
            _off -= 1
