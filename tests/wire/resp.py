"""A client that shows replies exactly as they came: error lines, RESP3 types, pushes apart from replies."""

from __future__ import annotations

import select
import socket
import time

DEADLINE = 15.0
"""Seconds any single wait for a reply may take, unless a test says otherwise."""


class ReplyError(Exception):
    """An error reply. `code` is its first word."""

    def __init__(self, text: str):
        super().__init__(text)
        self.text = text
        self.code = text.split(" ", 1)[0]

    def __eq__(self, other):
        return isinstance(other, ReplyError) and other.text == self.text

    def __hash__(self):
        return hash(self.text)


class Simple(str):
    """A simple string (`+OK`), told apart from a bulk string."""


class Push(list):
    """A RESP3 push message."""


class Double(float):
    """A RESP3 double."""


class Closed(Exception):
    """The server closed the connection."""


class Client:
    """One connection. Replies: bulk → bytes, integer → int, null → None, array → list, map → dict, error → ReplyError
    (raised by `call`, returned by `read` and inside arrays)."""

    def __init__(self, port: int, protocol: int = 2, user: str | None = None, password: str | None = None, host: str = "127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.protocol = protocol
        self.pushes: list[Push] = []
        self._buffer = b""
        if user is not None:
            self.call("AUTH", user, password or "")
        if protocol == 3:
            self.call("HELLO", "3")

    # Writing ----------------------------------------------------------------------------------------------------

    @staticmethod
    def encode(*words) -> bytes:
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            if isinstance(word, str):
                word = word.encode()
            elif isinstance(word, (int, float)):
                word = str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        return b"".join(parts)

    def send(self, *words) -> None:
        """Sends a command and does not wait for its reply."""
        self.socket.settimeout(DEADLINE)
        self.socket.sendall(self.encode(*words))

    def send_raw(self, data: bytes) -> None:
        self.socket.settimeout(DEADLINE)
        self.socket.sendall(data)

    # Reading ----------------------------------------------------------------------------------------------------

    def read(self, timeout: float = DEADLINE):
        """The next reply that is not a push. An error reply is returned, not raised."""
        deadline = time.monotonic() + timeout
        while True:
            value = self._value(deadline)
            if isinstance(value, Push):
                self.pushes.append(value)
            else:
                return value

    def call(self, *words, timeout: float = DEADLINE):
        """Sends a command and returns its reply; raises `ReplyError`."""
        self.send(*words)
        value = self.read(timeout)
        if isinstance(value, ReplyError):
            raise value
        return value

    def attempt(self, *words, timeout: float = DEADLINE):
        """Like `call`, but returns an error reply."""
        self.send(*words)
        return self.read(timeout)

    def error(self, *words, timeout: float = DEADLINE) -> ReplyError:
        """The error that the command must answer with."""
        value = self.attempt(*words, timeout=timeout)
        assert isinstance(value, ReplyError), f"{words!r}: expected an error, got {value!r}"
        return value

    def pipeline(self, commands, timeout: float = DEADLINE) -> list:
        """Sends all commands at once; the replies in order, errors among them."""
        self.send_raw(b"".join(self.encode(*command) for command in commands))
        return [self.read(timeout) for _ in commands]

    def answered(self, within: float = 0.0) -> bool:
        """Whether a reply (or the end of the connection) has arrived."""
        return bool(self._buffer) or bool(select.select([self.socket], [], [], within)[0])

    def push(self, timeout: float = DEADLINE) -> Push:
        """The next push message."""
        if self.pushes:
            return self.pushes.pop(0)
        value = self._value(time.monotonic() + timeout)
        assert isinstance(value, Push), f"expected a push, got the reply {value!r}"
        return value

    def poll_pushes(self, within: float = 0.0) -> list[Push]:
        """Every push that has arrived, `within` seconds at most; nobody may be waiting for a reply."""
        deadline = time.monotonic() + within
        while self._buffer or select.select([self.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
            value = self._value(time.monotonic() + DEADLINE)
            assert isinstance(value, Push), f"expected a push, got the reply {value!r}"
            self.pushes.append(value)
        taken, self.pushes = self.pushes, []
        return taken

    def _fill(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no reply in time; received so far: {self._buffer[:200]!r}")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            raise TimeoutError(f"no reply in time; received so far: {self._buffer[:200]!r}") from None
        except ConnectionError as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed("the server closed the connection")
        self._buffer += data

    def _line(self, deadline: float) -> bytes:
        while b"\r\n" not in self._buffer:
            self._fill(deadline)
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _exactly(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count + 2:
            self._fill(deadline)
        data, rest = self._buffer[:count], self._buffer[count:]
        assert rest[:2] == b"\r\n", f"protocol broken: {rest[:20]!r} after {data[-20:]!r}"
        self._buffer = rest[2:]
        return data

    def _value(self, deadline: float):
        line = self._line(deadline)
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return Simple(rest.decode())
        if kind == b"-":
            return ReplyError(rest.decode(errors="backslashreplace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._exactly(int(rest), deadline)
        if kind == b"!":
            return ReplyError(self._exactly(int(rest), deadline).decode(errors="backslashreplace"))
        if kind == b"*":
            return None if rest == b"-1" else [self._value(deadline) for _ in range(int(rest))]
        if kind == b"~":
            return [self._value(deadline) for _ in range(int(rest))]
        if kind == b">":
            return Push(self._value(deadline) for _ in range(int(rest)))
        if kind == b"%":
            return dict((_hashable(self._value(deadline)), self._value(deadline)) for _ in range(int(rest)))
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind == b",":
            return Double(rest)
        if kind == b"(":
            return int(rest)
        if kind == b"=":
            return self._exactly(int(rest), deadline)[4:]
        raise AssertionError(f"protocol broken: {line[:200]!r}")

    # Life -------------------------------------------------------------------------------------------------------

    def id(self) -> int:
        return self.call("CLIENT", "ID")

    def close(self) -> None:
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _hashable(value):
    return tuple(value) if isinstance(value, list) else value


def text(value):
    """Bytes as text, through lists and maps."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, list):
        return [text(item) for item in value]
    if isinstance(value, dict):
        return {text(key): text(item) for key, item in value.items()}
    return value


def mapping(value) -> dict:
    """A map reply of either protocol as a dict with text keys: RESP2 sends it flat."""
    if isinstance(value, dict):
        return {text(key): item for key, item in value.items()}
    assert isinstance(value, list) and len(value) % 2 == 0, f"not a flat map: {value!r}"
    return {text(key): item for key, item in zip(value[::2], value[1::2])}
