"""What can be done with an entity, as operations (see `steps`): the same for both shells."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from pydantic import BaseModel
from pydantic_core import to_json

from . import commands, errors, keys, spec
from .commands import Asked, Limit, Sort
from .context import is_disabled, spoil
from .core import Core
from .local import Local
from .steps import Batch, Call, Operation, Tracked, Words

Fallback = Callable[..., Any]
Fields = Mapping[str, Any] | BaseModel
MGET_KEYS = 1000


class How(TypedDict, total=False):
    """How a read is made."""

    no_cache: bool
    """Fetched from Airtable now."""
    max_age: int | None
    """No older than so many seconds."""
    fallback: Fallback | None
    """Called without arguments when Valkey is away: what it returns is the answer."""


class Ordered(How, total=False):
    sort: Sort | None
    limit: Limit | None


class Operations:
    """One entity: its models, its views, its commands."""

    def __init__(
        self,
        core: Core,
        name: str,
        model: type[BaseModel],
        views: Mapping[str, spec.View],
        options: Mapping[str, Any],
        fallback: Fallback | None,
    ) -> None:
        self.core = core
        self.name = name
        self.fallback = fallback
        self.spec = spec.entity(model, views, **options)
        self._ready = False
        default: str | None = options.get("default_view") or ("public" if "public" in views else None)
        if default is not None and default not in views:
            raise ValueError(f"default_view={default!r} is none of the views {sorted(views)}")
        self._views: dict[type[BaseModel], Words] = {view: ("VIEW", name) for name, view in views.items() if isinstance(view, type)}
        self._views[model] = () if default is None else ("VIEW", "*")
        shown = model if default is None else views[default]
        self.default: type[BaseModel] = shown if isinstance(shown, type) else model
        if isinstance(shown, type):
            self._views[shown] = ()
        self._shown: tuple[type[BaseModel], Words] = (self.default, self._views[self.default])

    # The spec ---------------------------------------------------------------------------------------------------

    def define(self) -> Operation[None]:
        """Tells the server the spec. A user who may not set specs relies on those that are there."""
        try:
            yield ("PODIUM.SPEC", "SET", self.name, self.spec)
        except errors.NoPerm as error:
            self.core.once(f"spec {self.name}", "the spec of %s is left as it is: %s", self.name, error)
        self._ready = True

    def _ask(self, step: Any) -> Operation[Any]:
        """A command, or a batch; the spec goes first, once, and again if the server has lost it."""
        if not self._ready:
            yield from self.define()
        try:
            reply = yield step
        except errors.NoEntity:
            yield from self.define()
            reply = yield step
        return reply

    def _view(self, model: type[BaseModel] | None) -> tuple[type[BaseModel], Words]:
        if model is None:
            return self._shown
        words = self._views.get(model)
        if words is None:
            known = ", ".join(sorted(kind.__name__ for kind in self._views))
            raise TypeError(f"{model.__name__} is no model of {self.name}; its models are {known}")
        return model, words

    def _enabled(self, fallback: Fallback | None) -> None:
        """Where nothing is to be answered from the cache, a fallback answers."""
        if fallback is not None and is_disabled():
            raise errors.Unavailable("the cache is disabled")

    # Reads ------------------------------------------------------------------------------------------------------

    def quick(self, id: str, model: type[BaseModel] | None) -> tuple[type[BaseModel], Words] | None:
        """The command of a read that nothing is to be known about: no computation, no request, no fallback, no copy kept here. None
        where it is not so simple, and `get` has to see to it. What a hit costs is decided here."""
        if not self._ready or self.fallback is not None or self.core.local is not None or commands.concerned():
            return None
        kind, view = self._view(model)
        return kind, ("PODIUM.GET", f"{self.name}:{id}", *view)

    def get(self, id: str, model: type[BaseModel] | None, how: How) -> Operation[Any]:
        model, view = self._view(model)
        fallback = how.get("fallback") if how else None
        try:
            asked = Asked.of(how)
            if asked is not commands.NOTHING:
                self._enabled(fallback or self.fallback)
            key = f"{self.name}:{id}"
            if self.core.local is not None and asked.plain:
                [raw] = yield from self._watched(self.core.local, [key], view, asked)
            else:
                raw = asked.reply((yield from self._ask(("PODIUM.GET", key, *view, *asked.words))))
        except errors.Unavailable:
            if fallback is not None:
                return accept((yield Call(fallback)), model)
            if self.fallback is not None:
                return accept((yield Call(self.fallback, id)), model)
            raise
        return None if raw is None else model.model_validate_json(raw)

    def get_many(self, ids: Sequence[str], model: type[BaseModel] | None, how: How) -> Operation[list[Any]]:
        model, view = self._view(model)
        fallback = how.get("fallback")
        if not ids:
            return []
        try:
            self._enabled(fallback or self.fallback)
            asked = Asked.of(how)
            named = [keys.record(self.name, id) for id in ids]
            if self.core.local is not None and asked.plain and len(named) <= MGET_KEYS:
                raws = yield from self._watched(self.core.local, named, view, asked)
            else:
                raws = [asked.reply(reply) for reply in (yield from self._many(named, view, asked.words))]
        except errors.Unavailable:
            if fallback is not None:
                return [accept(found, model) for found in (yield Call(fallback))]
            if self.fallback is None:
                raise
            records = []
            for id in ids:
                records.append(accept((yield Call(self.fallback, id)), model))
            return records
        validate = model.model_validate_json
        return [None if raw is None else validate(raw) for raw in raws]

    def _many(self, named: Sequence[str], view: Words, tail: Words) -> Operation[list[Any]]:
        asks = [("PODIUM.MGET", len(part), *part, *view, *tail) for part in commands.chunks(named, MGET_KEYS)]
        if len(asks) == 1:
            return list((yield from self._ask(asks[0])))
        answers = yield from self._ask(Batch(asks))
        return [reply for answer in answers for reply in _array(answer)]

    def _watched(self, local: Local, named: Sequence[str], view: Words, asked: Asked) -> Operation[list[Any]]:
        """Records from this process, and the others over a connection that is told when they change."""
        now = time.monotonic()
        found: dict[str, Any] = {}
        for key in named:
            kept = local.store.get(key, view, now)
            if kept is not None:
                found[key] = kept[0]
                if asked.trace is not None:
                    commands.note(asked.trace, _kept(key, int(kept[1])))
        lacking = list(dict.fromkeys(key for key in named if key not in found))
        if lacking:
            if not self._ready:
                yield from self.define()
            listener = local.listening()
            marks = [local.store.begin(key) for key in lacking] if listener is not None else []
            kept_here: list[tuple[bytes | None, float]] = [(None, 0)] * len(lacking)
            try:
                replies = None
                if listener is not None:
                    with contextlib.suppress(errors.NoEntity):
                        replies = yield Tracked(("PODIUM.MGET", len(lacking), *lacking, *view, "META"), listener)
                if replies is None:
                    answered = yield from self._many(lacking, view, asked.words)
                    found.update((key, asked.reply(reply)) for key, reply in zip(lacking, answered, strict=True))
                else:
                    for at, (key, reply) in enumerate(zip(lacking, replies, strict=True)):
                        if isinstance(reply, Exception):
                            raise errors.of(reply)
                        raw, meta = reply[0], commands.mapping(reply[1])
                        if asked.trace is not None:
                            commands.note(asked.trace, meta)
                        found[key] = raw
                        if local.listener == listener and meta["cache"] != "STALE":
                            kept_here[at] = (raw, meta["ttl"])
            finally:
                for mark, (raw, fresh) in zip(marks, kept_here, strict=False):
                    local.store.end(mark, view, raw, fresh, time.monotonic())
        return [found[key] for key in named]

    def by_index(self, where: Mapping[str, Any], model: type[BaseModel] | None, how: Ordered) -> Operation[list[Any]]:
        model, view = self._view(model)
        fallback = how.get("fallback")
        try:
            self._enabled(fallback)
            asked = Asked.of(how)
            order = commands.order(how.get("sort"), how.get("limit"))
            raws = asked.reply((yield from self._ask(commands.question(self.name, where, (*view, *asked.words, *order)))))
        except errors.Unavailable:
            if fallback is None:
                raise
            return [accept(found, model) for found in (yield Call(fallback))]
        validate = model.model_validate_json
        return [validate(raw) for raw in raws]

    def ids(self, where: Mapping[str, Any], sort: Sort | None, limit: Limit | None) -> Operation[list[str]]:
        asked = Asked.of({})
        words = commands.question(self.name, where, (*asked.words, *commands.order(sort, limit), "IDS"))
        return [commands.plain(id) for id in asked.reply((yield from self._ask(words)))]

    def count(self, where: Mapping[str, Any]) -> Operation[int]:
        asked = Asked.of({})
        return int(asked.reply((yield from self._ask(commands.question(self.name, where, (*asked.words, "COUNT"))))))

    # Writes -----------------------------------------------------------------------------------------------------

    def create(self, fields: Sequence[Fields], typecast: bool) -> Operation[list[Any]]:
        words = ("PODIUM.CREATE", keys.whole(self.name), *map(cells, fields), *(("TYPECAST",) if typecast else ()))
        reply = yield from self._ask(words)
        validate = self.default.model_validate_json
        return [errors.of(raw) if isinstance(raw, Exception) else validate(raw) for raw in reply]

    def update(self, id: str, fields: Fields, typecast: bool) -> Operation[Any]:
        raw = yield from self._ask(("PODIUM.UPDATE", keys.record(self.name, id), cells(fields), *(("TYPECAST",) if typecast else ())))
        return self.default.model_validate_json(raw)

    def upsert(self, id: str, record: Fields, at: datetime.datetime | int | None) -> Operation[bool]:
        text = record.model_dump_json(by_alias=True, round_trip=True, exclude={"id"}) if isinstance(record, BaseModel) else _json(record)
        moment = int(at.timestamp() * 1000) if isinstance(at, datetime.datetime) else at
        words = ("PODIUM.UPSERT", keys.record(self.name, id), text, *(("AT", moment) if moment is not None else ()))
        return bool((yield from self._ask(words)))

    def on_ids(self, command: str, ids: Sequence[str]) -> Operation[int]:
        """DELETE and TOMBSTONE."""
        if not ids:
            return 0
        return int((yield from self._ask((command, *(keys.record(self.name, id) for id in ids)))))

    def warm(self) -> Operation[dict[str, Any]]:
        return commands.mapping((yield from self._ask(("PODIUM.WARM", keys.whole(self.name)))))


def accept(found: Any, model: type[BaseModel]) -> Any:
    """What a fallback gave, as the model that was asked for. No answer that it goes into is stored."""
    spoil()
    if found is None or isinstance(found, model):
        return found
    if isinstance(found, str | bytes):
        return model.model_validate_json(found)
    return model.model_validate(found.model_dump() if isinstance(found, BaseModel) else found)


def cells(fields: Fields) -> str:
    """Cells to write: of a model those that were set, without its id and what it computes."""
    if isinstance(fields, BaseModel):
        return fields.model_dump_json(by_alias=True, round_trip=True, exclude_unset=True, exclude={"id"})
    return _json(fields)


def _json(fields: Mapping[str, Any]) -> str:
    return to_json(dict(fields)).decode()


def _kept(key: str, ttl: int) -> dict[str, Any]:
    return {
        "cache": "HIT",
        "ttl": ttl,
        "key": key,
        "airtable-hits": 0,
        "detail": "local",
        "cache-status": f"podium; hit; ttl={ttl}; detail=local",
    }


def _array(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise errors.of(answer)
    return answer
