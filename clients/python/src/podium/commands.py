"""Commands and replies of reads: words in, facts out. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import context, errors, keys

Sort = str | tuple[str, str]
"""`"points"`, or `("points", "desc")`."""
Limit = int | tuple[int, int]
"""How many, or (how many to leave out, how many); -1: all."""
Words = tuple[Any, ...]


def concerned() -> bool:
    """Whether anything here and now changes how a read is made."""
    return (
        context.computing.get() is not None or context.trace.get() is not None or context.policy.get() is not None or context.is_disabled()
    )


class Asked:
    """Options of one read, from its arguments and from what it is part of."""

    __slots__ = ("meta", "plain", "trace", "words")

    def __init__(self, no_cache: bool = False, max_age: int | None = None, meta: bool = False) -> None:
        words: list[Any] = []
        policy = context.policy.get()
        if policy is not None:
            no_cache = no_cache or policy.no_cache or policy.no_store
            if policy.max_age is not None:
                max_age = policy.max_age if max_age is None else min(max_age, policy.max_age)
        if no_cache or (max_age is not None and max_age <= 0) or context.is_disabled():
            words.append("NOCACHE")
        elif max_age is not None:
            words += ("MAXAGE", int(max_age))
        work = context.computing.get()
        if work is not None and work.lease is not None:
            words += ("FOR", work.lease.token)
        self.plain = not words
        """Whether what a client keeps by itself may answer."""
        self.trace = context.trace.get()
        self.meta = meta or self.trace is not None
        if self.meta:
            words.append("META")
        self.words = tuple(words)

    @classmethod
    def of(cls, how: Mapping[str, Any]) -> Asked:
        """The options of a read; mostly there are none."""
        if how or concerned():
            return cls(how.get("no_cache", False), how.get("max_age"))
        return NOTHING

    def reply(self, reply: Any) -> Any:
        """A reply without its META, which is noted. Raises the error that it is."""
        if isinstance(reply, Exception):
            raise errors.of(reply)
        if not self.meta:
            return reply
        value, meta = reply
        if self.trace is not None:
            note(self.trace, mapping(meta))
        if isinstance(value, Exception):
            raise errors.of(value)
        return value


NOTHING = Asked()


def note(trace: context.Trace, meta: dict[str, Any]) -> None:
    work, depth = context.computing.get(), 0
    while work is not None:
        work, depth = work.parent, depth + 1
    trace.notes.append((depth, meta))


def mapping(reply: Any) -> dict[str, Any]:
    """A map reply of either protocol, its text decoded."""
    pairs = reply.items() if isinstance(reply, Mapping) else zip(reply[::2], reply[1::2], strict=True)
    return {plain(name): plain(value) for name, value in pairs}


def plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def question(entity: str, where: Mapping[str, Any], tail: Words) -> Words:
    """INDEX for one field, INTER for several, the whole entity for none."""
    named = [keys.index(entity, field, value) for field, value in where.items()]
    if not named:
        return ("PODIUM.INDEX", keys.whole(entity), *tail)
    if len(named) == 1:
        return ("PODIUM.INDEX", named[0], *tail)
    return ("PODIUM.INTER", len(named), *named, *tail)


def order(sort: Sort | None, limit: Limit | None) -> Words:
    words: list[Any] = []
    if sort is not None:
        field, direction = (sort, "asc") if isinstance(sort, str) else sort
        if direction.lower() not in ("asc", "desc"):
            raise ValueError(f"sort by ('{field}', 'asc') or ('{field}', 'desc'), not by {direction!r}")
        words += ("SORT", field, direction.upper())
    if limit is not None:
        offset, count = (0, limit) if isinstance(limit, int) else limit
        words += ("LIMIT", offset, count)
    return tuple(words)


def chunks(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[at : at + size] for at in range(0, len(items), size)]
