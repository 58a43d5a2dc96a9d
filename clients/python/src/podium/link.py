"""From a client object that the application has, connections of our own.

They differ from the application's in what matters here: replies are bytes; nothing is retried (a CREATE that is sent twice creates
twice); a dead server is found out about in a second. Address, credentials and TLS are the application's. A client that has no
ordinary connection pool (a cluster's, a sentinel's, a test double) is used as it is."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

CONNECT_TIMEOUT = 1.0
"""s, at most, until a connection stands."""
SOCKET_TIMEOUT = 10.0
"""s until an answer is given up, unless the application's client says otherwise. Longer than a miss and a lease's wait may take."""
LEASE_WAIT, LEASE_TIMEOUT = 5.0, 7.0
"""s that the server lets a caller wait for a lease, and s that we then wait for its answer."""
MAX_CONNECTIONS = 10_000

_KEPT = frozenset(
    ("host", "port", "path", "db", "username", "password", "credential_provider", "client_name", "socket_timeout", "socket_connect_timeout",
     "socket_keepalive", "socket_keepalive_options", "socket_type", "health_check_interval")
)  # fmt: skip


@dataclass(frozen=True)
class Failures:
    """The exception classes of a client library, by what they mean."""

    timeout: tuple[type[BaseException], ...]
    away: tuple[type[BaseException], ...]
    reply: type[Exception]
    unsendable: tuple[type[Exception], ...]
    """The words could not be sent, or the reply not be read: the caller's doing, or a bug's."""


@dataclass(frozen=True)
class Address:
    """What a connection is made of, sync or async."""

    library: str
    """`valkey` or `redis`"""
    connection: str
    """The name of the connection class: `Connection`, `SSLConnection`, `UnixDomainSocketConnection`."""
    options: dict[str, Any] = field(hash=False)


def library_of(client: Any) -> str:
    """`valkey` or `redis`: whose client that is. Of neither: whichever is installed."""
    for kind in type(client).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in ("valkey", "redis"):
            return root
    try:
        importlib.import_module("valkey")
    except ImportError:
        return "redis"
    return "valkey"


def failures(library: str) -> Failures:
    errors = importlib.import_module(f"{library}.exceptions")
    return Failures(
        (errors.TimeoutError, TimeoutError),
        (errors.ConnectionError, OSError),
        errors.ResponseError,
        (errors.DataError, errors.InvalidResponse, UnicodeError),
    )


def is_async(client: Any) -> bool:
    return any(kind.__module__.startswith(("valkey.asyncio", "redis.asyncio")) for kind in type(client).__mro__)


def address(client: Any) -> Address | None:
    """The address of a client; None where it is no plain client of one server."""
    pool = getattr(client, "connection_pool", None)
    options = getattr(pool, "connection_kwargs", None)
    kind = getattr(pool, "connection_class", None)
    if pool is None or options is None or kind is None or "sentinel" in type(pool).__module__:
        return None
    if kind.__name__ not in ("Connection", "SSLConnection", "UnixDomainSocketConnection"):
        return None
    kept = {name: value for name, value in options.items() if name in _KEPT or name.startswith("ssl_")}
    kept["socket_connect_timeout"] = min(kept.get("socket_connect_timeout") or CONNECT_TIMEOUT, CONNECT_TIMEOUT)
    timeout = kept.get("socket_timeout") or SOCKET_TIMEOUT
    # redis-py's default is just as long as a lease is waited for: one of the two would be first, by chance.
    kept["socket_timeout"] = LEASE_TIMEOUT if LEASE_WAIT <= timeout < LEASE_TIMEOUT else timeout
    return Address(library_of(client), kind.__name__, kept)


def connection_class(address: Address, asynchronous: bool) -> Any:
    module = importlib.import_module(f"{address.library}.asyncio.connection" if asynchronous else f"{address.library}.connection")
    return getattr(module, address.connection)


def connect(address: Address, *, asynchronous: bool, more: dict[str, Any] | None = None) -> Any:
    """A client of our own at that address. `more`: options of its connections besides."""
    module = importlib.import_module(f"{address.library}.asyncio" if asynchronous else address.library)
    retry = importlib.import_module(f"{module.__name__}.retry").Retry
    backoff = importlib.import_module(f"{address.library}.backoff").NoBackoff
    pool = module.ConnectionPool(
        connection_class=connection_class(address, asynchronous),
        max_connections=MAX_CONNECTIONS,
        retry=retry(backoff(), 0),
        decode_responses=False,
        protocol=2,
        **address.options,
        **(more or {}),
    )
    client = module.Valkey if address.library == "valkey" else module.Redis
    return client(connection_pool=pool)
