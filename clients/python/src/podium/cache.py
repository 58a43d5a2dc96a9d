"""`Podium` and `AsyncPodium`: one cache as an application holds it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from . import link, telling
from .core import Core
from .entity import AsyncEntity, Entity
from .operations import Fallback, Operations
from .run import AsyncRunner, Operation, Runner
from .spec import View

M = TypeVar("M", bound=BaseModel)
V = TypeVar("V", bound=BaseModel)


class _Cache:
    """What both halves have."""

    def __init__(self, client: Any, *, retry_after: float = 1.0, fallback_ttl: float = 5.0, fallback_size: int = 1024) -> None:
        """`client`: of valkey-py or redis-py, sync or async; connections of our own are made from it.

        `retry_after`: s between attempts to reach a server that is away. `fallback_ttl`, `fallback_size`: for how many seconds,
        and how many, answers of `@cached` are kept in this process while it is."""
        self._core = Core(
            link.address(client),
            link.failures(link.library_of(client)),
            retry_after=retry_after,
            fallback_ttl=fallback_ttl,
            fallback_size=fallback_size,
        )
        self._given = client
        self._entities: dict[str, Operations] = {}

    def _operations(
        self, name: str, model: type[BaseModel], views: Mapping[str, View] | None, options: dict[str, Any], fallback: Fallback | None
    ) -> Operations:
        found = self._entities[name] = Operations(self._core, name, model, views or {}, options, fallback)
        return found


def _client(url: str, asynchronous: bool, options: dict[str, Any]) -> Any:
    try:
        library = importlib.import_module("valkey.asyncio" if asynchronous else "valkey")
        return library.Valkey.from_url(url, **options)
    except ImportError:
        library = importlib.import_module("redis.asyncio" if asynchronous else "redis")
        return library.Redis.from_url(url, **options)


class Podium(_Cache):
    """A cache for sync code. Make one when the application starts, and use it from everywhere."""

    def __init__(self, client: Any, *, retry_after: float = 1.0, fallback_ttl: float = 5.0, fallback_size: int = 1024) -> None:
        super().__init__(client, retry_after=retry_after, fallback_ttl=fallback_ttl, fallback_size=fallback_size)
        self._runner = Runner(self._core, client if not link.is_async(client) else None)

    @classmethod
    def connect(cls, url: str = "valkey://127.0.0.1:6379", **options: Any) -> Podium:
        """A cache on the server at `url`; `options` are the client library's."""
        return cls(_client(url, False, options))

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
        self._runner.close()


class AsyncPodium(_Cache):
    """A cache for async code. Make one when the application starts, and use it from everywhere."""

    def __init__(self, client: Any, *, retry_after: float = 1.0, fallback_ttl: float = 5.0, fallback_size: int = 1024) -> None:
        super().__init__(client, retry_after=retry_after, fallback_ttl=fallback_ttl, fallback_size=fallback_size)
        self._runner = AsyncRunner(self._core, client if link.is_async(client) else None)

    @classmethod
    def connect(cls, url: str = "valkey://127.0.0.1:6379", **options: Any) -> AsyncPodium:
        """A cache on the server at `url`; `options` are the client library's."""
        return cls(_client(url, True, options))

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
        await self._runner.close()


def _one(words: tuple[Any, ...]) -> Operation[Any]:
    return (yield words)
