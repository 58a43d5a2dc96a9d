"""Callers in this process that ask for the same key at the same time ask the server once.

A flight is one question and its outcome. Its outcome is shared with exactly those who joined before it asked, so that nobody gets
what was known before he came. Who comes later gathers for the next flight, which asks when this one has landed: however many come
at once, two questions are asked, and one computation is made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

from . import forks


class Flight:
    __slots__ = ("error", "event", "landed", "members", "meta", "previous", "raw")

    def __init__(self, previous: Flight | None) -> None:
        self.previous = previous
        self.event: Any = None
        """Made when the first one waits."""
        self.landed = False
        self.members = 0
        """Those who wait for the outcome, besides who leads."""
        self.raw: bytes | None = None
        self.error: Exception | None = None
        self.meta: dict[str, Any] | None = None


class Flights:
    """`event`: makes what waiters wait for, an object with `set`."""

    def __init__(self, event: Callable[[], Any]) -> None:
        self._event = event
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[Hashable, list[Flight | None]] = {}
        """By key: the flight that has asked, and the one that gathers."""

    def join(self, key: Hashable) -> tuple[Flight, bool]:
        """The flight to wait for, or True: to lead, once its `previous` has landed."""
        with self._lock:
            pair = self._now.get(key)
            if pair is None:
                flight = Flight(None)
                self._now[key] = [flight, None]
                return flight, True
            gathering = pair[1]
            if gathering is None:
                asked = pair[0]
                assert asked is not None
                if asked.event is None:
                    asked.event = self._event()
                gathering = pair[1] = Flight(asked)
                return gathering, True
            if gathering.event is None:
                gathering.event = self._event()
            gathering.members += 1
            return gathering, False

    def ask(self, key: Hashable, flight: Flight) -> None:
        """From now on nobody joins it."""
        with self._lock:
            flight.previous = None
            pair = self._now.get(key)
            if pair is not None and pair[1] is flight:
                pair[0], pair[1] = flight, None

    def land(self, key: Hashable, flight: Flight) -> None:
        """Its outcome, if there is one, is known. May be said twice."""
        with self._lock:
            if flight.landed:
                return
            flight.landed = True
            if flight.event is not None:
                flight.event.set()
            pair = self._now.get(key)
            if pair is None:
                return
            if pair[1] is flight:
                pair[1] = None
            asked = pair[0]
            if pair[1] is None and (asked is None or asked.landed):
                del self._now[key]
