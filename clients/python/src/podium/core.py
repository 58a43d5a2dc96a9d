"""What the sync and the async half of one cache share: the circuit, what could not be told yet, what was declared."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cachetools import TTLCache

from . import errors, forks, spec
from .circuit import Circuit
from .link import Address, Failures

if TYPE_CHECKING:
    from .local import Local

log = logging.getLogger("podium")

MAX_PENDING = 10_000
"""Invalidations kept for a server that is away; beyond it everything is invalidated when it is back."""
REMIND = 60.0
"""s until the same trouble is logged again."""


class Core:
    """State of one cache in this process. Everything in it may be used from any thread."""

    def __init__(self, address: Address | None, failures: Failures, *, retry_after: float, fallback_ttl: float, fallback_size: int) -> None:
        self.address = address
        self.failures = failures
        self.circuit = Circuit(retry_after)
        self.local: Local | None = None
        """Records kept in this process."""
        self.pending: list[str] = []
        self.resources: dict[str, Resource] = {}
        self.era = 0
        """Counts what ends the use of answers that are kept here."""
        self._kept: TTLCache[str, bytes] = TTLCache(fallback_size, fallback_ttl)
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        self.pay: Callable[[], Any] | None = None
        """Asks the server anything, which tells it first what is owed; None where only the application's calls can."""
        self._paying = False
        forks.register(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self.circuit = Circuit(self.circuit.retry_after)
        self.pending.clear()  # The parent's, who tells.
        self._paying = False

    # The server's absence ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises Unavailable while the server is known to be away."""
        if not self.circuit.allows(time.monotonic()):
            raise errors.Unavailable("Valkey is away, as a moment ago: nothing was asked")

    def failed(self, error: BaseException) -> errors.Unavailable:
        """Notes that a call brought no answer. One log line an outage."""
        timeout = isinstance(error, self.failures.timeout)
        if self.circuit.failed(time.monotonic(), timeout):
            log.warning("Valkey is away: %s: %s", type(error).__name__, error)
        return errors.Unavailable(f"Valkey did not answer: {type(error).__name__}: {error}")

    def answered(self) -> None:
        """Notes that a call brought an answer, after one that did not."""
        outage = self.circuit.answered(time.monotonic())
        if outage is not None:
            with self._lock:
                self._forget()
            log.warning("Valkey is back after %.1f s", outage)

    def refused(self, error: Exception) -> errors.PodiumError:
        """The error of an error reply. A server that loads its data is as good as none."""
        found = errors.of(error)
        if isinstance(found, errors.ServerError) and found.server_code in ("LOADING", "MASTERDOWN"):
            return self.failed(error)
        if self.circuit.troubled:
            self.answered()
        return found

    def once(self, what: str, text: str, *values: Any) -> None:
        """A warning that is not repeated within a minute for the same `what`."""
        now = time.monotonic()
        with self._lock:
            if now - self._said.get(what, -REMIND) < REMIND:
                return
            self._said[what] = now
        log.warning(text, *values)

    # What could not be told -------------------------------------------------------------------------------------

    def owe(self, keys: list[str]) -> None:
        """Keys that the server has to be told about before it is asked anything else. What was kept here in its place goes."""
        with self._lock:
            self._forget()
            self.pending.extend(key for key in keys if key not in self.pending)
            if len(self.pending) > MAX_PENDING:
                self.pending[:] = ["*", *(f"{name}:*" for name in self.resources)]
            if self._paying or self.pay is None:
                return
            self._paying = True
        threading.Thread(target=self._pay, name="podium-owing", daemon=True).start()

    def _pay(self) -> None:
        """Until the server has been told, though the application should ask for nothing more: others read what it keeps."""
        while True:
            time.sleep(max(self.circuit.retry_after, 0.1))
            with self._lock:
                pay = self.pay
                if not self.pending or pay is None:
                    self._paying = False
                    return
            with contextlib.suppress(errors.PodiumError):
                pay()

    def owed(self) -> list[str]:
        with self._lock:
            return list(self.pending)

    def paid(self, key: str) -> None:
        with self._lock:
            if key in self.pending:
                self.pending.remove(key)

    # What is kept here while it is away -------------------------------------------------------------------------

    def kept(self, key: str) -> bytes | None:
        with self._lock:
            return self._kept.get(key)

    def keep(self, key: str, value: bytes, era: int) -> None:
        """`era`: that in which the computation began. What changed since is not to be kept."""
        with self._lock:
            if era == self.era and self.circuit.troubled:
                self._kept[key] = value

    def _forget(self) -> None:
        self.era += 1
        self._kept.clear()

    # Resources --------------------------------------------------------------------------------------------------

    def resource(self, name: str, members: Mapping[str, Any]) -> Resource:
        """The resource of that name; several functions may share one, and the most generous settings are in force."""
        with self._lock:
            found = self.resources.get(name)
            if found is None:
                found = self.resources[name] = Resource(name)
        found.add(members)
        return found


class Resource:
    """A named kind of computed answer, as this process declares it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, Any] = {}
        self.ready = False
        """Whether the server has been told."""

    def add(self, members: Mapping[str, Any]) -> None:
        for name, value in members.items():
            if value is not None and value > self.members.get(name, -1):
                self.members[name] = value
                self.ready = False

    def command(self) -> tuple[Any, ...]:
        return ("PODIUM.SPEC", "SET", self.name, spec.resource(self.members))
