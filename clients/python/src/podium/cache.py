"""`Podium` and `AsyncPodium`: one cache as an application holds it."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from pydantic import BaseModel

from . import cached as decorators
from . import link, telling
from .answers import Tags
from .cached import Key, Span
from .core import Core
from .entity import AsyncEntity, Entity
from .local import Local
from .operations import Fallback, Operations
from .run import Runner
from .spec import View
from .steps import Operation

if TYPE_CHECKING:
    from .run_async import AsyncRunner

M = TypeVar("M", bound=BaseModel)
V = TypeVar("V", bound=BaseModel)
P = ParamSpec("P")
R = TypeVar("R")


class Settings(TypedDict, total=False):
    """How a cache behaves; each has a default."""

    retry_after: float
    """1.0: s between attempts to reach a server that is away."""
    fallback_ttl: float
    """5.0: for how many seconds answers of `@cached` are kept in this process while it is away …"""
    fallback_size: int
    """1024: … and how many."""
    local: int
    """0: how many records are kept in this process always, and given up when the server says that they changed …"""
    local_ttl: float
    """60.0: … and for how many seconds at most."""


class _Cache:
    """What both halves have."""

    def __init__(self, client: Any, settings: Settings) -> None:
        self._core = Core(
            link.address(client),
            link.failures(link.library_of(client)),
            retry_after=settings.get("retry_after", 1.0),
            fallback_ttl=settings.get("fallback_ttl", 5.0),
            fallback_size=settings.get("fallback_size", 1024),
        )
        self._given = client
        self._entities: dict[str, Operations] = {}
        self._shells: dict[bool, Runner | AsyncRunner] = {}
        self._lock = threading.Lock()
        if self._core.address is not None:
            self._core.pay = self._ping
        if settings.get("local"):
            if self._core.address is None:
                raise TypeError("local= needs a client with a plain connection pool")
            self._core.local = Local(self._core.address, settings["local"], settings.get("local_ttl", 60.0))

    def _ping(self) -> None:
        cast(Runner, self._shell(False)).execute(("PING",))

    def _stop(self) -> None:
        self._core.pay = None
        if self._core.local is not None:
            self._core.local.close()

    def _shell(self, asynchronous: bool) -> Runner | AsyncRunner:
        """The connections for sync, or for async, functions; made when the first one asks."""
        found: Runner | AsyncRunner | None = self._shells.get(asynchronous)
        if found is not None:
            return found
        with self._lock:
            found = self._shells.get(asynchronous)
            if found is not None:
                return found
            given = self._given if link.is_async(self._given) is asynchronous else None
            if asynchronous:
                from .run_async import AsyncRunner  # asyncio is only loaded where it is used

                found = AsyncRunner(self._core, given)
            else:
                found = Runner(self._core, given)
            self._shells[asynchronous] = found
        return found

    def cached(
        self,
        resource: str,
        *,
        ttl: Span | None = None,
        key: Key | None = None,
        resource_id_param: str | None = None,
        subresource: str | None = None,
        include_query_params: bool = True,
        version: str | None = None,
        tags: Tags = (),
        grace: Span | None = None,
        ignore: Collection[str] = (),
        stale_if_error: int | None = None,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        max_bytes: int | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Caches what a function, or an endpoint, returns; sync or async, whichever half of the package this is.

        The key is `{resource}:{id}:{subresource}:params_{hash}:{version}`, parts that there are none of left out. `id` is the
        argument `resource_id_param`; all other arguments go into the hash. `version` is `v1` unless it says otherwise. Or
        `key="{event}:top"`, or a function of the arguments: then `{resource}:{key}`, and what counts is the application's choice
        (a `version` given is appended).

        Reads of this cache inside the function are noted by themselves: the answer lives until one of them would give another.
        `tags` (`"user:{user_id}"`, or a function of result and arguments) are for what is not in Airtable. `ttl`, `grace`: s. One
        resource may have several functions: the most generous `grace`, `stale_if_error`, `lease_ms`, `wait_ms` and `max_bytes` are in
        force. Where a computation fails and there is an old copy within `stale_if_error`, that is the answer.

        `ignore`: arguments that do not matter (a database session). `include_query_params=False`: an endpoint's query parameters
        do not count either. `function.key(…)` is the key of a call."""
        members = {"stale_if_error": stale_if_error, "lease_ms": lease_ms, "wait_ms": wait_ms, "max_bytes": max_bytes}
        return decorators.cached(
            self._core,
            self._shell,
            resource,
            ttl=ttl,
            key=key,
            resource_id_param=resource_id_param,
            subresource=subresource,
            include_query_params=include_query_params,
            version=version,
            tags=tags,
            grace=grace,
            ignore=ignore,
            members=members,
        )

    def invalidates(self, *templates: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Invalidates after the function succeeded: `@cache.invalidates("trig:{trig_id}:*", "tag:site", "votes:{result.id}")`.
        An exception, or a response of 400 and above, is no success. Errors are logged; a server that is away is told later."""
        return decorators.invalidates(self._core, self._shell, templates)

    def _operations(
        self, name: str, model: type[BaseModel], views: Mapping[str, View] | None, options: dict[str, Any], fallback: Fallback | None
    ) -> Operations:
        found = Operations(self._core, name, model, views or {}, options, fallback)
        known = self._entities.setdefault(name, found)
        if known.spec != found.spec:
            raise ValueError(
                f"{name} is declared twice, with different specs: declare it once, with its richest model, and the others as views"
            )
        return found


def _client(url: str, asynchronous: bool, options: Mapping[str, Any]) -> Any:
    try:
        library = importlib.import_module("valkey.asyncio" if asynchronous else "valkey")
        return library.Valkey.from_url(url, **options)
    except ImportError:
        library = importlib.import_module("redis.asyncio" if asynchronous else "redis")
        return library.Redis.from_url(url, **options)


class Podium(_Cache):
    """A cache for sync code. Make one when the application starts, and use it from everywhere."""

    def __init__(self, client: Any, **settings: Unpack[Settings]) -> None:
        """`client`: of valkey-py or redis-py, sync or async; connections of our own are made from it."""
        super().__init__(client, settings)
        self._runner = cast(Runner, self._shell(False))

    @classmethod
    def connect(
        cls, url: str = "valkey://127.0.0.1:6379", *, client: Mapping[str, Any] | None = None, **settings: Unpack[Settings]
    ) -> Podium:
        """A cache on the server at `url`; `client`: options of the client library."""
        return cls(_client(url, False, client or {}), **settings)

    @overload
    def entity(self, name: str, model: type[M], *, views: None = ..., fallback: Fallback | None = ..., **options: Any) -> Entity[M]: ...
    @overload
    def entity(
        self, name: str, model: type[M], *, views: Mapping[str, type[V]], default_view: str, fallback: Fallback | None = ..., **options: Any
    ) -> Entity[V]: ...
    @overload
    def entity(
        self,
        name: str,
        model: type[M],
        *,
        views: Mapping[str, View],
        default_view: str | None = ...,
        fallback: Fallback | None = ...,
        **options: Any,
    ) -> Entity[Any]: ...
    def entity(
        self,
        name: str,
        model: type[BaseModel],
        *,
        views: Mapping[str, View] | None = None,
        default_view: str | None = None,
        fallback: Fallback | None = None,
        **options: Any,
    ) -> Entity[Any]:
        """The entity `name`, with the schema of its richest model. The server is told the spec before the first command, once in a
        process.

        `views`: models, or names of fields, that show less. `default_view`: what reads return without `model=` (the view `public`
        if there is one, else the whole record). `fallback`: called with a record's id when Valkey is away. `options`: `indexed`,
        `sortable`, `normalize`, `depends`, `index_to_airtable`, `table`, `base`, `ttl`, `jitter`, `tombstone_ttl`."""
        return Entity(self._runner, self._operations(name, model, views, {"default_view": default_view, **options}, fallback))

    def invalidate(self, entity: str | None = None, id: str | None = None, *, related: Iterable[telling.Related] = ()) -> int:
        """Tells that a record changed, or everything of the entity where no id is given, and what goes with it: keys as the server
        knows them (`projects:event:rec…`, `page:leaderboard:*`, `tag:site`), or pairs of entity and id. One round trip. While
        Valkey is away they are noted, and it is told before it is asked anything else."""
        return self._runner.run(telling.invalidate(self._core, telling.named(entity, id, related)))

    def execute(self, *words: Any) -> Any:
        """Any command, with this package's errors."""
        return self._runner.run(_one(words))

    def close(self) -> None:
        self._stop()
        self._runner.close()


class AsyncPodium(_Cache):
    """A cache for async code. Make one when the application starts, and use it from everywhere."""

    def __init__(self, client: Any, **settings: Unpack[Settings]) -> None:
        """`client`: of valkey-py or redis-py, sync or async; connections of our own are made from it."""
        super().__init__(client, settings)
        self._runner = cast("AsyncRunner", self._shell(True))

    @classmethod
    def connect(
        cls, url: str = "valkey://127.0.0.1:6379", *, client: Mapping[str, Any] | None = None, **settings: Unpack[Settings]
    ) -> AsyncPodium:
        """A cache on the server at `url`; `client`: options of the client library."""
        return cls(_client(url, True, client or {}), **settings)

    @overload
    def entity(
        self, name: str, model: type[M], *, views: None = ..., fallback: Fallback | None = ..., **options: Any
    ) -> AsyncEntity[M]: ...
    @overload
    def entity(
        self, name: str, model: type[M], *, views: Mapping[str, type[V]], default_view: str, fallback: Fallback | None = ..., **options: Any
    ) -> AsyncEntity[V]: ...
    @overload
    def entity(
        self,
        name: str,
        model: type[M],
        *,
        views: Mapping[str, View],
        default_view: str | None = ...,
        fallback: Fallback | None = ...,
        **options: Any,
    ) -> AsyncEntity[Any]: ...
    def entity(
        self,
        name: str,
        model: type[BaseModel],
        *,
        views: Mapping[str, View] | None = None,
        default_view: str | None = None,
        fallback: Fallback | None = None,
        **options: Any,
    ) -> AsyncEntity[Any]:
        """The entity `name`, with the schema of its richest model. The server is told the spec before the first command, once in a
        process.

        `views`: models, or names of fields, that show less. `default_view`: what reads return without `model=` (the view `public`
        if there is one, else the whole record). `fallback`: called with a record's id when Valkey is away. `options`: `indexed`,
        `sortable`, `normalize`, `depends`, `index_to_airtable`, `table`, `base`, `ttl`, `jitter`, `tombstone_ttl`."""
        return AsyncEntity(self._runner, self._operations(name, model, views, {"default_view": default_view, **options}, fallback))

    async def invalidate(self, entity: str | None = None, id: str | None = None, *, related: Iterable[telling.Related] = ()) -> int:
        """Tells that a record changed, or everything of the entity where no id is given, and what goes with it: keys as the server
        knows them (`projects:event:rec…`, `page:leaderboard:*`, `tag:site`), or pairs of entity and id. One round trip. While
        Valkey is away they are noted, and it is told before it is asked anything else."""
        return await self._runner.run(telling.invalidate(self._core, telling.named(entity, id, related)))

    async def execute(self, *words: Any) -> Any:
        """Any command, with this package's errors."""
        return await self._runner.run(_one(words))

    async def close(self) -> None:
        self._stop()
        await self._runner.close()


def _one(words: tuple[Any, ...]) -> Operation[Any]:
    return (yield words)
