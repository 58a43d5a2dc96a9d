"""How one call of a `@cached` function is answered, as an operation (see `steps`): the same for sync and async functions.

    LEASE ─ value ───────────────────────────── a hit
          ─ value and token ─ (grace, early) ── the value; computed anew behind, where the arguments allow that
          ─ token ─ compute ─ FILL ──────────── what was computed, stored or not
          ─ neither ─ compute ───────────────── what was computed
          ─ no server ─ kept here? ─ compute ── what was computed, kept here for some seconds

Whatever the cache does, the caller gets the function's answer: an error of the server's is logged, never raised."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import arguments, context, errors
from .arguments import Parameters
from .codec import Codec, Undecodable, Unstorable, with_headers, without_headers
from .commands import mapping, note, plain
from .context import Lease, Work
from .core import Core, Resource, log
from .flights import Flight, Flights
from .steps import Behind, Compute, Later, Operation, Wait, Words

LEASE_MS, WAIT_MS = 10_000, 5_000
"""The server's defaults: how long a computation may take, and how long others wait for it."""
Tags = Sequence[str] | Callable[..., Iterable[str]]


class Ask:
    """One call: its key, its arguments."""

    __slots__ = ("args", "headers", "key", "kwargs", "parameters")

    def __init__(self, key: str, args: tuple[Any, ...], kwargs: dict[str, Any], parameters: Parameters) -> None:
        self.key = key
        self.args = args
        self.kwargs = kwargs
        self.parameters = parameters
        response = parameters.response
        self.headers = None if response is None else (list(response.raw_headers), getattr(response, "status_code", None))

    @property
    def behind(self) -> bool:
        """Whether it may be computed after its request is over."""
        return self.parameters.plain


class Answers:
    """One `@cached` function."""

    def __init__(self, core: Core, function: Callable[..., Any], resource: Resource, codec: Codec, ttl: int | None, tags: Tags) -> None:
        self.core = core
        self.function = function
        self.resource = resource
        self.codec = codec
        self.ttl = ttl
        self.tags = tags
        self.unstorable = False
        """It streams, and always will."""

    def _patience(self) -> float:
        """s that a caller waits for another one of this process before he computes for himself."""
        members = self.resource.members
        return (members.get("lease_ms", LEASE_MS) + members.get("wait_ms", WAIT_MS)) / 1000  # type: ignore[no-any-return]

    def answer(self, ask: Ask, flights: Flights, place: int) -> Operation[Any]:
        outer, policy = context.computing.get(), context.policy.get()
        options: Words = ()
        if policy is not None:
            if policy.no_cache or policy.max_age == 0:
                options = ("NOCACHE",)
            elif policy.max_age is not None:
                options = ("MAXAGE", policy.max_age)
        if (
            self.unstorable
            or context.is_disabled()
            or (policy is not None and policy.no_store)
            or (outer is not None and outer.holds(ask.key))
        ):
            self._noted({"cache": "BYPASS", "key": ask.key, "airtable-hits": 0, "cache-status": "podium; fwd=bypass"})
            return (yield self._call(ask, None, outer))
        if options:
            return (yield from self._lead(ask, Flight(None), lambda: None, outer, options))
        where = (place, ask.key)
        while True:
            flight, leads = flights.join(where)
            if not leads:
                if not (yield Wait(flight.event, self._patience())):
                    return (yield self._call(ask, None, outer))
                if flight.error is not None:
                    raise flight.error
                if flight.raw is None:
                    continue
                self._noted(flight.meta and {**flight.meta, "airtable-hits": 0})
                yield from self._used(outer, ask.key, flight.raw)
                return self._decoded(ask, flight.raw)
            try:
                if flight.previous is not None:
                    yield Wait(flight.previous.event, self._patience())
                flights.ask(where, flight)
                return (yield from self._lead(ask, flight, lambda: flights.land(where, flight), outer, ()))  # noqa: B023
            finally:
                flights.land(where, flight)

    # One question -----------------------------------------------------------------------------------------------

    def _lead(self, ask: Ask, flight: Flight, landed: Callable[[], None], outer: Work | None, options: Words) -> Operation[Any]:
        meta: Words = ("META",) if context.trace.get() is not None else ()
        try:
            if outer is not None and outer.lease is not None and not options:
                # A part of another answer: read for that one, so that it knows when this one changes.
                raw = self._told(
                    (yield from self._asked(("PODIUM.GET", ask.key, "FOR", outer.lease.token, *meta))), meta, flight, hits=True
                )
                if raw is not None:
                    try:
                        value = self._decoded(ask, raw)
                        flight.raw = raw
                        return value
                    except Undecodable:
                        pass
            raw, token = self._told((yield from self._asked(("PODIUM.LEASE", ask.key, *options, *meta))), meta, flight)
            if raw is not None:
                try:
                    value = self._decoded(ask, raw)
                except Undecodable as error:
                    self.core.once(
                        f"undecodable {self.resource.name}", "%s is computed anew: what is stored cannot be read: %s", ask.key, error
                    )
                    raw = None
                    if token is None:
                        raw, token = yield from self._asked(("PODIUM.LEASE", ask.key, "NOCACHE"))
                        raw = None
        except errors.Unavailable:
            return (yield from self._away(ask, flight, outer))
        except errors.PodiumError as error:
            self.core.once(f"lease {self.resource.name} {error.code}", "%s is computed and not cached: %s", ask.key, error)
            token, raw = None, None
        if raw is not None:
            flight.raw = raw
            if token is None:
                yield from self._used(outer, ask.key, raw)
                return value
            if ask.behind:
                yield Behind(self._anew(ask, plain(token)))
                yield from self._used(outer, ask.key, raw)
                return value
            # Others need not wait for what this caller computes.
            landed()
        if token is None:
            found = yield self._call(ask, None, outer)
            self._share(flight, ask, found)
            return found
        return (yield from self._compute(ask, Lease(plain(token)), flight, outer))

    def _told(self, reply: Any, meta: Words, flight: Flight, hits: bool = False) -> Any:
        """A reply without its META, which is noted; of a GET only where it hits."""
        if not meta:
            return reply
        reply, facts = reply
        if not hits or reply is not None:
            flight.meta = mapping(facts)
            self._noted(flight.meta)
        return reply

    def _noted(self, meta: dict[str, Any] | None) -> None:
        trace = context.trace.get()
        if trace is not None and meta is not None:
            note(trace, meta)

    def _asked(self, words: Words) -> Operation[Any]:
        """A command; the resource's spec goes first, once, and again if the server has lost it."""
        if not self.resource.ready:
            yield from self._define()
        try:
            reply = yield words
        except errors.NoEntity:
            yield from self._define()
            reply = yield words
        return reply

    def _define(self) -> Operation[None]:
        try:
            yield self.resource.command()
        except errors.NoPerm as error:
            self.core.once(f"spec {self.resource.name}", "the spec of %s is left as it is: %s", self.resource.name, error)
        self.resource.ready = True

    # Computing --------------------------------------------------------------------------------------------------

    def _call(self, ask: Ask, lease: Lease | None, outer: Work | None) -> Compute:
        if lease is None and outer is not None:
            lease = outer.lease
        return Compute(self.function, ask.args, ask.kwargs, Work(ask.key, lease, outer))

    def _compute(self, ask: Ask, lease: Lease, flight: Flight, outer: Work | None) -> Operation[Any]:
        try:
            found = yield self._call(ask, lease, outer)
        except Exception as error:
            yield from self._release(ask, lease)
            old = yield from self._old(ask, error, outer)
            if old is None:
                flight.error = error
                raise
            flight.raw = old
            return self._decoded(ask, old)
        except BaseException:
            yield Later(("PODIUM.RELEASE", ask.key, lease.token))
            raise
        try:
            raw = self._encoded(ask, found)
            tags = self._tags(ask, found)
        except Unstorable as error:
            self._refuse(error)
            yield from self._release(ask, lease)
            if outer is not None and outer.lease is not None:
                outer.lease.spoiled = True
            return found
        stored = False
        if lease.spoiled:
            yield from self._release(ask, lease)
        else:
            stored = yield from self._fill(ask, lease, raw, tags)
        flight.raw = raw
        if outer is not None and outer.lease is not None:
            if stored:
                yield from self._used(outer, ask.key, raw)
            else:
                outer.lease.spoiled = True
        return found

    def _fill(self, ask: Ask, lease: Lease, raw: bytes, tags: list[str]) -> Operation[bool]:
        words: list[Any] = ["PODIUM.FILL", ask.key, raw, "TOKEN", lease.token]
        if self.ttl is not None:
            words += ["TTL", self.ttl]
        if tags:
            words += ["TAGS", len(tags), *tags]
        try:
            return bool((yield tuple(words)))
        except errors.Unavailable:
            return False
        except errors.PodiumError as error:
            self.core.once(f"fill {self.resource.name} {error.code}", "%s is not stored: %s", ask.key, error)
            yield from self._release(ask, lease)
            return False

    def _release(self, ask: Ask, lease: Lease) -> Operation[None]:
        with contextlib.suppress(errors.PodiumError):  # It ends by itself.
            yield ("PODIUM.RELEASE", ask.key, lease.token)

    def _old(self, ask: Ask, failure: Exception, outer: Work | None) -> Operation[bytes | None]:
        """The old copy, where the computation failed and there is one that may still be served. That a client asked for what is not
        there (an HTTP error below 500) is no failure."""
        status = getattr(failure, "status_code", None)
        if isinstance(status, int) and status < 500:
            return None
        try:
            raw, _ = yield ("PODIUM.LEASE", ask.key, "CACHEONLY")
            if raw is None:
                return None
            self._decoded(ask, raw)
        except (errors.PodiumError, Undecodable):
            return None
        self.core.once(f"failed {self.resource.name}", "%s is answered with the old copy: %s: %s", ask.key, type(failure).__name__, failure)
        yield from self._used(outer, ask.key, raw)
        return bytes(raw)

    def _anew(self, ask: Ask, token: str) -> Operation[None]:
        """Behind: nobody waits, so nobody is told of a failure but the log."""
        try:
            yield from self._compute(ask, Lease(token), Flight(None), None)
        except Exception:
            log.exception("%s could not be computed anew", ask.key)

    def _away(self, ask: Ask, flight: Flight, outer: Work | None) -> Operation[Any]:
        """The server does not answer: what is kept here, else computed and kept here."""
        context.spoil()
        self._noted(
            {"cache": "BYPASS", "key": ask.key, "airtable-hits": 0, "detail": "away", "cache-status": "podium; fwd=bypass; detail=away"}
        )
        raw = self.core.kept(ask.key)
        if raw is not None:
            try:
                value = self._decoded(ask, raw)
                flight.raw = raw
                return value
            except Undecodable:
                pass
        era = self.core.era
        try:
            found = yield self._call(ask, None, outer)
        except Exception as error:
            flight.error = error
            raise
        raw = self._share(flight, ask, found)
        if raw is not None:
            self.core.keep(ask.key, raw, era)
        return found

    def _share(self, flight: Flight, ask: Ask, found: Any) -> bytes | None:
        try:
            flight.raw = self._encoded(ask, found)
        except Unstorable as error:
            self._refuse(error)
        return flight.raw

    def _used(self, outer: Work | None, key: str, raw: bytes) -> Operation[None]:
        """Notes that the outer computation used this answer, as it stands in the server; another than that spoils it."""
        if outer is None or outer.lease is None or outer.lease.spoiled:
            return
        try:
            there = yield ("PODIUM.GET", key, "FOR", outer.lease.token)
        except errors.PodiumError:
            there = None
        if there != raw:
            outer.lease.spoiled = True

    # Values -----------------------------------------------------------------------------------------------------

    def _encoded(self, ask: Ask, found: Any) -> bytes:
        try:
            raw = self.codec.encode(found)
        except Unstorable:
            raise
        except Exception as error:
            raise Unstorable(f"{type(error).__name__}: {error}") from error
        response = ask.parameters.response
        if response is None or ask.headers is None:
            return raw
        before, status = ask.headers
        added = [[name.decode("latin-1"), text.decode("latin-1")] for name, text in response.raw_headers if (name, text) not in before]
        now = getattr(response, "status_code", None)
        return with_headers(raw, added, now if now != status else None)

    def _decoded(self, ask: Ask, raw: Any) -> Any:
        value, headers, status = without_headers(raw.encode() if isinstance(raw, str) else raw)
        found = self.codec.decode(value)
        response = ask.parameters.response
        if response is not None:
            for name, text in headers:
                response.headers.append(name, text)
            if status is not None:
                response.status_code = status
        return found

    def _refuse(self, error: Unstorable) -> None:
        name = self.function.__qualname__
        if error.always:
            self.unstorable = True
        self.core.once(f"unstorable {name} {error}", "%s is not cached: %s", name, error)

    def _tags(self, ask: Ask, found: Any) -> list[str]:
        values = ask.parameters.values
        try:
            if callable(self.tags):
                return [str(tag) for tag in self.tags(found, **values)]
            return [arguments.fill_in(tag, values) for tag in self.tags]
        except Exception as error:
            # Without its tags it would outlive what they stand for.
            raise Unstorable(f"its tags cannot be made: {type(error).__name__}: {error}") from error
