"""Whether the server is there: keeps a dead one from adding its timeout to each request.

Closed: everything passes. A refused or broken connection opens it at once, and so do three timeouts in a row (one may be
Airtable's slowness). Open: nothing passes, except one caller every `retry_after` seconds, who finds out."""

from __future__ import annotations

import threading

TIMEOUTS = 3


class Circuit:
    """Time is passed in: seconds of a clock that does not go back."""

    def __init__(self, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        self.troubled = False
        """False: nothing failed since the last answer. Read without the lock."""
        self.opened_at: float | None = None
        self._probe_at = 0.0
        self._timeouts = 0
        self._lock = threading.Lock()

    @property
    def open(self) -> bool:
        return self.opened_at is not None

    def allows(self, now: float) -> bool:
        """Whether a call may be made now."""
        if self.opened_at is None:
            return True
        with self._lock:
            if self.opened_at is None:
                return True
            if now < self._probe_at:
                return False
            self._probe_at = now + self.retry_after
            return True

    def failed(self, now: float, timeout: bool = False) -> bool:
        """A call brought no answer. True: an outage begins with it."""
        with self._lock:
            self.troubled = True
            self._probe_at = now + self.retry_after
            if timeout:
                self._timeouts += 1
                if self._timeouts < TIMEOUTS and self.opened_at is None:
                    return False
            if self.opened_at is not None:
                return False
            self.opened_at = now
            return True

    def answered(self, now: float) -> float | None:
        """A call brought an answer. The seconds of the outage that ends with it, None if there was none."""
        with self._lock:
            opened, self.opened_at = self.opened_at, None
            self.troubled = False
            self._timeouts = 0
            return None if opened is None else now - opened
