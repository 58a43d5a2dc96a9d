"""Telling the cache what changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from . import errors, keys
from .core import Core, log
from .steps import Operation

Related = str | tuple[str, str]
"""A key (`projects:event:rec…`, `page:leaderboard:*`, `tag:site`), or (entity, id)."""


def invalidate(core: Core, names: Sequence[str]) -> Operation[int]:
    """How many cached records and answers were dropped. A server that is away is told when it is back; until then 0."""
    if not names:
        return 0
    try:
        return int((yield ("PODIUM.INVALIDATE", *names)))
    except errors.Unavailable:
        core.owe(list(names))
        return 0


def safely(core: Core, names: Sequence[str]) -> Operation[int]:
    """The same where an error must not reach who asked: it is logged. The server refuses a command for one bad key, so that the
    others are told one by one then."""
    try:
        return (yield from invalidate(core, names))
    except errors.PodiumError as error:
        if len(names) == 1:
            log.error("%s could not be invalidated: %s", names[0], error)
            return 0
    dropped = 0
    for name in names:
        dropped += yield from safely(core, [name])
    return dropped


def named(entity: str | None, id: str | None, related: Iterable[Related]) -> list[str]:
    """The keys of `invalidate(entity, id, related=[…])`."""
    found = []
    if entity is not None:
        found.append(keys.whole(entity) if id is None else keys.record(entity, id))
    found += [key if isinstance(key, str) else keys.record(*key) for key in related]
    return found
