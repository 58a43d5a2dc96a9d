"""Entities: records of one Airtable table as the models of the application. `Entity` and `AsyncEntity` differ in `await` alone."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, overload

from pydantic import BaseModel

from .commands import Limit, Sort
from .errors import NoEntity, PodiumError
from .operations import Fields, How, Operations, Ordered
from .run import Runner
from .telling import invalidate

if TYPE_CHECKING:
    from .run_async import AsyncRunner

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T", bound=BaseModel)


def _ordered(sort: Sort | None, limit: Limit | None) -> Ordered:
    how = Ordered()
    if sort is not None:
        how["sort"] = sort
    if limit is not None:
        how["limit"] = limit
    return how


class Entity(Generic[M]):
    """The records of one entity; `M` is the model that reads return unless `model=` names another.

    Every method raises the errors of `podium.errors`: `Unavailable` at once while Valkey is away."""

    def __init__(self, runner: Runner, operations: Operations) -> None:
        self._runner = runner
        self._run = runner.run
        self._operations = operations

    @property
    def name(self) -> str:
        return self._operations.name

    # Reads ------------------------------------------------------------------------------------------------------

    @overload
    def get(self, id: str, *, model: type[T], **how: Unpack[How]) -> T | None: ...
    @overload
    def get(self, id: str, *, model: None = ..., **how: Unpack[How]) -> M | None: ...
    def get(self, id: str, *, model: type[BaseModel] | None = None, **how: Unpack[How]) -> Any:
        """The record, or None when it does not exist.

        `no_cache`: fetched from Airtable now. `max_age`: no older than so many seconds. `fallback`: called without arguments when
        Valkey is away; what it returns (a model, a dict, JSON, None) is the answer."""
        quick = None if how else self._operations.quick(id, model)
        if quick is not None:
            kind, words = quick
            try:
                raw = self._runner.execute(words)
                return None if raw is None else kind.model_validate_json(raw)
            except NoEntity:
                pass  # The server has lost the spec: it is sent again.
        return self._run(self._operations.get(id, model, how))

    @overload
    def get_many(self, ids: Sequence[str], *, model: type[T], **how: Unpack[How]) -> list[T | None]: ...
    @overload
    def get_many(self, ids: Sequence[str], *, model: None = ..., **how: Unpack[How]) -> list[M | None]: ...
    def get_many(self, ids: Sequence[str], *, model: type[BaseModel] | None = None, **how: Unpack[How]) -> list[Any]:
        """The records in the order asked, None where one does not exist. One round trip, however many."""
        return self._run(self._operations.get_many(ids, model, how))

    @overload
    def by_index(
        self,
        *,
        model: type[T],
        how: Ordered | None = ...,
        sort: Sort | None = ...,
        limit: Limit | None = ...,
        where: dict[str, Any] | None = ...,
        **fields: Any,
    ) -> list[T]: ...
    @overload
    def by_index(
        self,
        *,
        model: None = ...,
        how: Ordered | None = ...,
        sort: Sort | None = ...,
        limit: Limit | None = ...,
        where: dict[str, Any] | None = ...,
        **fields: Any,
    ) -> list[M]: ...
    def by_index(
        self,
        *,
        model: type[BaseModel] | None = None,
        how: Ordered | None = None,
        sort: Sort | None = None,
        limit: Limit | None = None,
        where: dict[str, Any] | None = None,
        **fields: Any,
    ) -> list[Any]:
        """Every record whose fields have the values: `by_index(event=id, sort=("points", "desc"), limit=10)`. Several fields: the
        records that have all of them. `where`: for fields whose names are arguments here (`sort`, `limit`, …). `how`: what `all` takes.

        `limit`: how many, or `(how many to leave out, how many)`. Without `sort` the order is by id. One round trip."""
        wanted = {**(where or {}), **fields}
        if not wanted:
            raise TypeError("by_index needs a field: by_index(slug='…'); every record is all()")
        return self._run(self._operations.by_index(wanted, model, {**(how or {}), **_ordered(sort, limit)}))

    @overload
    def all(self, *, model: type[T], **how: Unpack[Ordered]) -> list[T]: ...
    @overload
    def all(self, *, model: None = ..., **how: Unpack[Ordered]) -> list[M]: ...
    def all(self, *, model: type[BaseModel] | None = None, **how: Unpack[Ordered]) -> list[Any]:
        """Every record of the entity. More than `podium.max-answer` without a `limit` is `TooBig`."""
        return self._run(self._operations.by_index({}, model, how))

    def ids(self, *, sort: Sort | None = None, limit: Limit | None = None, where: dict[str, Any] | None = None, **fields: Any) -> list[str]:
        """The ids of the records that `by_index`, or `all`, would return."""
        return self._run(self._operations.ids({**(where or {}), **fields}, sort, limit))

    def count(self, *, where: dict[str, Any] | None = None, **fields: Any) -> int:
        """How many records have the values; without any, how many there are."""
        return self._run(self._operations.count({**(where or {}), **fields}))

    # Writes -----------------------------------------------------------------------------------------------------

    def create(self, fields: Fields, *, typecast: bool = False) -> M:
        """Creates a record in Airtable, and returns it in the default view."""
        found = self._run(self._operations.create([fields], typecast))
        if isinstance(found[0], PodiumError):
            raise found[0]
        return found[0]  # type: ignore[no-any-return]

    def create_many(self, fields: Sequence[Fields], *, typecast: bool = False) -> list[M | PodiumError]:
        """Creates records, 10 to a call. The place of one that could not be written holds its error."""
        return self._run(self._operations.create(fields, typecast)) if fields else []

    def update(self, id: str, fields: Fields, *, typecast: bool = False) -> M:
        """Changes cells in Airtable, and returns the record as it is now. None clears a cell; of a model the fields that were set
        are written."""
        return self._run(self._operations.update(id, fields, typecast))  # type: ignore[no-any-return]

    def upsert(self, id: str, record: Fields, *, at: datetime.datetime | int | None = None) -> bool:
        """Tells the cache the whole record as it is in Airtable; nothing is written there. `at`: when it was so (unix ms, or a
        datetime that knows its zone). False: older than what is known, or incomplete."""
        return self._run(self._operations.upsert(id, record, at))

    def delete(self, *ids: str) -> int:
        """Deletes in Airtable. How many were there."""
        return self._run(self._operations.on_ids("PODIUM.DELETE", ids))

    def tombstone(self, *ids: str) -> int:
        """Tells the cache that the records are gone from Airtable. How many were cached."""
        return self._run(self._operations.on_ids("PODIUM.TOMBSTONE", ids))

    def invalidate(self, *ids: str) -> int:
        """Tells the cache that the records changed: the next read fetches them. How many were cached. While Valkey is away they
        are noted, and it is told before it is asked anything else."""
        return self._run(invalidate(self._operations.core, [f"{self.name}:{id}" for id in ids]))

    def invalidate_all(self) -> int:
        """Everything of the entity, in constant time."""
        return self._run(invalidate(self._operations.core, [f"{self.name}:*"]))

    def warm(self) -> dict[str, Any]:
        """Loads the whole table (100 records a call): `records`, `upstream-calls`, `duration-ms`."""
        return self._run(self._operations.warm())


class AsyncEntity(Generic[M]):
    """The records of one entity; `M` is the model that reads return unless `model=` names another.

    Every method raises the errors of `podium.errors`: `Unavailable` at once while Valkey is away."""

    def __init__(self, runner: AsyncRunner, operations: Operations) -> None:
        self._runner = runner
        self._run = runner.run
        self._operations = operations

    @property
    def name(self) -> str:
        return self._operations.name

    # Reads ------------------------------------------------------------------------------------------------------

    @overload
    async def get(self, id: str, *, model: type[T], **how: Unpack[How]) -> T | None: ...
    @overload
    async def get(self, id: str, *, model: None = ..., **how: Unpack[How]) -> M | None: ...
    async def get(self, id: str, *, model: type[BaseModel] | None = None, **how: Unpack[How]) -> Any:
        """The record, or None when it does not exist.

        `no_cache`: fetched from Airtable now. `max_age`: no older than so many seconds. `fallback`: called without arguments when
        Valkey is away; what it returns (a model, a dict, JSON, None) is the answer."""
        quick = None if how else self._operations.quick(id, model)
        if quick is not None:
            kind, words = quick
            try:
                raw = await self._runner.execute(words)
                return None if raw is None else kind.model_validate_json(raw)
            except NoEntity:
                pass  # The server has lost the spec: it is sent again.
        return await self._run(self._operations.get(id, model, how))

    @overload
    async def get_many(self, ids: Sequence[str], *, model: type[T], **how: Unpack[How]) -> list[T | None]: ...
    @overload
    async def get_many(self, ids: Sequence[str], *, model: None = ..., **how: Unpack[How]) -> list[M | None]: ...
    async def get_many(self, ids: Sequence[str], *, model: type[BaseModel] | None = None, **how: Unpack[How]) -> list[Any]:
        """The records in the order asked, None where one does not exist. One round trip, however many."""
        return await self._run(self._operations.get_many(ids, model, how))

    @overload
    async def by_index(
        self,
        *,
        model: type[T],
        how: Ordered | None = ...,
        sort: Sort | None = ...,
        limit: Limit | None = ...,
        where: dict[str, Any] | None = ...,
        **fields: Any,
    ) -> list[T]: ...
    @overload
    async def by_index(
        self,
        *,
        model: None = ...,
        how: Ordered | None = ...,
        sort: Sort | None = ...,
        limit: Limit | None = ...,
        where: dict[str, Any] | None = ...,
        **fields: Any,
    ) -> list[M]: ...
    async def by_index(
        self,
        *,
        model: type[BaseModel] | None = None,
        how: Ordered | None = None,
        sort: Sort | None = None,
        limit: Limit | None = None,
        where: dict[str, Any] | None = None,
        **fields: Any,
    ) -> list[Any]:
        """Every record whose fields have the values: `by_index(event=id, sort=("points", "desc"), limit=10)`. Several fields: the
        records that have all of them. `where`: for fields whose names are arguments here (`sort`, `limit`, …). `how`: what `all` takes.

        `limit`: how many, or `(how many to leave out, how many)`. Without `sort` the order is by id. One round trip."""
        wanted = {**(where or {}), **fields}
        if not wanted:
            raise TypeError("by_index needs a field: by_index(slug='…'); every record is all()")
        return await self._run(self._operations.by_index(wanted, model, {**(how or {}), **_ordered(sort, limit)}))

    @overload
    async def all(self, *, model: type[T], **how: Unpack[Ordered]) -> list[T]: ...
    @overload
    async def all(self, *, model: None = ..., **how: Unpack[Ordered]) -> list[M]: ...
    async def all(self, *, model: type[BaseModel] | None = None, **how: Unpack[Ordered]) -> list[Any]:
        """Every record of the entity. More than `podium.max-answer` without a `limit` is `TooBig`."""
        return await self._run(self._operations.by_index({}, model, how))

    async def ids(
        self, *, sort: Sort | None = None, limit: Limit | None = None, where: dict[str, Any] | None = None, **fields: Any
    ) -> list[str]:
        """The ids of the records that `by_index`, or `all`, would return."""
        return await self._run(self._operations.ids({**(where or {}), **fields}, sort, limit))

    async def count(self, *, where: dict[str, Any] | None = None, **fields: Any) -> int:
        """How many records have the values; without any, how many there are."""
        return await self._run(self._operations.count({**(where or {}), **fields}))

    # Writes -----------------------------------------------------------------------------------------------------

    async def create(self, fields: Fields, *, typecast: bool = False) -> M:
        """Creates a record in Airtable, and returns it in the default view."""
        found = await self._run(self._operations.create([fields], typecast))
        if isinstance(found[0], PodiumError):
            raise found[0]
        return found[0]  # type: ignore[no-any-return]

    async def create_many(self, fields: Sequence[Fields], *, typecast: bool = False) -> list[M | PodiumError]:
        """Creates records, 10 to a call. The place of one that could not be written holds its error."""
        return await self._run(self._operations.create(fields, typecast)) if fields else []

    async def update(self, id: str, fields: Fields, *, typecast: bool = False) -> M:
        """Changes cells in Airtable, and returns the record as it is now. None clears a cell; of a model the fields that were set
        are written."""
        return await self._run(self._operations.update(id, fields, typecast))

    async def upsert(self, id: str, record: Fields, *, at: datetime.datetime | int | None = None) -> bool:
        """Tells the cache the whole record as it is in Airtable; nothing is written there. `at`: when it was so (unix ms, or a
        datetime that knows its zone). False: older than what is known, or incomplete."""
        return await self._run(self._operations.upsert(id, record, at))

    async def delete(self, *ids: str) -> int:
        """Deletes in Airtable. How many were there."""
        return await self._run(self._operations.on_ids("PODIUM.DELETE", ids))

    async def tombstone(self, *ids: str) -> int:
        """Tells the cache that the records are gone from Airtable. How many were cached."""
        return await self._run(self._operations.on_ids("PODIUM.TOMBSTONE", ids))

    async def invalidate(self, *ids: str) -> int:
        """Tells the cache that the records changed: the next read fetches them. How many were cached. While Valkey is away they
        are noted, and it is told before it is asked anything else."""
        return await self._run(invalidate(self._operations.core, [f"{self.name}:{id}" for id in ids]))

    async def invalidate_all(self) -> int:
        """Everything of the entity, in constant time."""
        return await self._run(invalidate(self._operations.core, [f"{self.name}:*"]))

    async def warm(self) -> dict[str, Any]:
        """Loads the whole table (100 records a call): `records`, `upstream-calls`, `duration-ms`."""
        return await self._run(self._operations.warm())
