"""Records kept in the process, and given up when the server says that they changed.

One connection listens (RESP3; its pushes are read by a thread). Records are read over connections of their own that have CLIENT
TRACKING redirected to it. A record is kept if nothing was said of it between the question and the answer, no longer than it is
fresh, and no longer than `ttl`. When the listener's connection is lost, everything is dropped, and nothing is kept until it stands
again: it is looked after once a second, so that a connection that died without a word is found out about within `PATIENCE` s.

Only records are kept, and no answers or sets: a record in doubt puts those in doubt as well, and the server says so only when it has
looked."""

from __future__ import annotations

import importlib
import threading
import time
from typing import Any

from cachetools import LRUCache

from . import forks, link
from .core import log
from .link import Address

HEARTBEAT = 1.0
"""s between looks at a silent connection."""
PATIENCE = 2.0
"""s that an answer of the listening connection may take."""
RETRY = 1.0
"""s between attempts to listen."""


class Mark:
    """A read under way. What is said of the key meanwhile spoils it."""

    __slots__ = ("good", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        self.good = True


class Store:
    """What is kept. No I/O, and no clock: `now` is passed in, seconds."""

    def __init__(self, size: int, ttl: float) -> None:
        self._ttl = ttl
        self._kept: LRUCache[str, dict[Any, tuple[bytes, float]]] = LRUCache(size)
        self._marks: dict[str, list[Mark]] = {}
        self._lock = threading.Lock()
        self.hits = 0

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str, view: Any, now: float) -> tuple[bytes, float] | None:
        """The bytes, and the seconds that they are still good for."""
        with self._lock:
            views = self._kept.get(key)
            found = None if views is None else views.get(view)
            if found is None or now >= found[1]:
                return None
            self.hits += 1
            return found[0], found[1] - now

    def begin(self, key: str) -> Mark:
        mark = Mark(key)
        with self._lock:
            self._marks.setdefault(key, []).append(mark)
        return mark

    def end(self, mark: Mark, view: Any, raw: bytes | None, fresh: float, now: float) -> None:
        """The read is over. `raw`: what it answered, None if that is not to be kept. `fresh`: s that it is."""
        with self._lock:
            marks = self._marks.get(mark.key)
            if marks is not None and mark in marks:
                marks.remove(mark)
                if not marks:
                    del self._marks[mark.key]
            if raw is None or not mark.good or fresh <= 0:
                return
            views = self._kept.get(mark.key)
            if views is None:
                views = self._kept[mark.key] = {}
            views[view] = (raw, now + min(fresh, self._ttl))

    def changed(self, key: str) -> None:
        with self._lock:
            self._kept.pop(key, None)
            for mark in self._marks.pop(key, ()):
                mark.good = False

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            for marks in self._marks.values():
                for mark in marks:
                    mark.good = False
            self._marks.clear()


class Local:
    """A store and the listener that keeps it true."""

    def __init__(self, address: Address, size: int, ttl: float) -> None:
        self.address = address
        self.store = Store(size, ttl)
        self.listener: int | None = None
        """The id of the listening connection; None while there is none."""
        self.off = False
        """The connection's user may not track: it is not tried again."""
        self._tried = -RETRY
        self._closed = False
        self._lock = threading.Lock()
        self._connection: Any = None
        forks.register(self)

    def after_fork(self) -> None:
        """The listener is the parent's: what it is told, nobody hears here."""
        self._lock = threading.Lock()
        self.listener = None
        self._connection = None
        self._tried = -RETRY
        self.store.after_fork()

    def listening(self) -> int | None:
        """The listening connection's id; where there is none, one is tried for, behind."""
        if self.off or self._closed:
            return None
        if self.listener is not None:
            return self.listener
        with self._lock:
            now = time.monotonic()
            if now - self._tried >= RETRY:
                self._tried = now
                threading.Thread(target=self._listen, name="podium-listener", daemon=True).start()
        return None

    def refuse(self, error: Exception) -> None:
        if not self.off:
            log.warning("nothing is kept in the process: the connection may not be told of changes: %s", error)
        self.off = True
        self.store.clear()

    def close(self) -> None:
        self._closed = True
        connection = self._connection
        if connection is not None:
            connection.disconnect()
        self.store.clear()

    # The listening thread ---------------------------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            connection = self._connection = self._connect()
            connection.send_command("CLIENT", "ID")
            id = int(connection.read_response())
            self.store.clear()
            self.listener = id
            while not self._closed:
                if not connection.can_read(HEARTBEAT) and self._closed:
                    break
                # Pushes that are there are handled on the way to the answer.
                connection.send_command("PING")
                connection.read_response()
        except Exception as error:
            if not self._closed:
                log.info("the local cache is empty until it is told of changes again: %s: %s", type(error).__name__, error)
        finally:
            self.listener = None
            self.store.clear()
            if self._connection is not None:
                self._connection.disconnect()

    def _connect(self) -> Any:
        parser = importlib.import_module(f"{self.address.library}._parsers")._RESP3Parser
        options = {**self.address.options, "socket_timeout": PATIENCE}
        connection = link.connection_class(self.address, False)(protocol=3, parser_class=parser, decode_responses=False, **options)
        connection.connect()
        connection._parser.invalidation_push_handler_func = self._told
        return connection

    def _told(self, message: Any) -> None:
        """`[b"invalidate", [keys]]`; no keys: everything, the database was flushed."""
        keys = message[1]
        if keys is None:
            self.store.clear()
            return
        for key in keys:
            self.store.changed(key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key)


class NoTracking(Exception):
    """The connection's user may not do what keeping records takes."""


def tracked(local: Local, listener: int, asynchronous: bool) -> Any:
    """A client whose reads are watched for `listener`."""
    words = ("CLIENT", "TRACKING", "ON", "REDIRECT", listener)
    refused = link.failures(local.address.library).reply

    def prepare(connection: Any) -> None:
        connection.on_connect()
        connection.send_command(*words)
        try:
            connection.read_response()
        except refused as error:
            connection.disconnect()
            raise NoTracking(str(error)) from error

    async def prepare_async(connection: Any) -> None:
        await connection.on_connect()
        await connection.send_command(*words)
        try:
            await connection.read_response()
        except refused as error:
            await connection.disconnect()
            raise NoTracking(str(error)) from error

    hook = {f"{local.address.library}_connect_func": prepare_async if asynchronous else prepare}
    return link.connect(local.address, asynchronous=asynchronous, more=hook)
