"""What can go wrong, one class for each code that the server answers with.

`str(error)` is the server's own line, code included; `error.code` is its first word, `error.message` the rest. Everything is a
`PodiumError`; what Airtable is the cause of is an `UpstreamError` besides."""

from __future__ import annotations

from typing import ClassVar


class PodiumError(Exception):
    """Any error of this package."""

    code: ClassVar[str] = "ERR"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"{self.code} {self.message}"


class Unavailable(PodiumError):
    """Valkey does not answer, or did not a moment ago: nothing was asked, or no answer came. Not a code of the server's."""

    code = "UNAVAILABLE"


class ServerError(PodiumError):
    """Any other error of the server (`ERR …`, `OOM …`, `READONLY …`): its code stands in `server_code`."""

    def __init__(self, message: str, server_code: str = "ERR") -> None:
        super().__init__(message)
        self.server_code = server_code

    def __str__(self) -> str:
        return f"{self.server_code} {self.message}"


class NoEntity(PodiumError):
    """There is no such entity or resource."""

    code = "NOENTITY"


class BadKey(PodiumError):
    """The key names no record, no index, or no computed answer."""

    code = "BADKEY"


class BadSpec(PodiumError):
    """The spec does not say what the server can use; the message names the place."""

    code = "BADSPEC"


class BadRecord(PodiumError):
    """The record given, or found, cannot be used."""

    code = "BADRECORD"


class NoIndex(PodiumError):
    """The field is not indexed."""

    code = "NOINDEX"


class NoSort(PodiumError):
    """The field is not sortable."""

    code = "NOSORT"


class NoView(PodiumError):
    """The entity has no such view."""

    code = "NOVIEW"


class NoPerm(PodiumError):
    """The connection's user may not do this."""

    code = "NOPERM"


class TooBig(PodiumError):
    """The answer holds more records than `podium.max-answer`."""

    code = "TOOBIG"


class WouldBlock(PodiumError):
    """The answer is not here, and this caller may not wait for it."""

    code = "WOULDBLOCK"


class ReplicaMiss(PodiumError):
    """A replica does not fetch: ask the primary."""

    code = "REPLICAMISS"


class Denied(PodiumError):
    """A secret, or a signature, is wrong."""

    code = "DENIED"


class WrongType(PodiumError):
    """There is a value under the key that is not Podium's."""

    code = "WRONGTYPE"


class BadTag(PodiumError):
    """A tag is empty, or longer than 1,024 bytes."""

    code = "BADTAG"


class UpstreamError(PodiumError):
    """Airtable is the cause."""


class Upstream(UpstreamError):
    """Airtable refused: `status` is its HTTP status, or None where the message names none."""

    code = "UPSTREAM"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        first = message.split(" ", 1)[0]
        self.status: int | None = int(first) if first.isdigit() else None


class UpstreamAuth(UpstreamError):
    """Airtable does not take the token (401, 403): the message names the scope and role that are needed."""

    code = "UPSTREAMAUTH"


class UpstreamTimeout(UpstreamError):
    """Airtable did not answer in time. A write may have been done."""

    code = "UPSTREAMTIMEOUT"


class UpstreamBusy(UpstreamError):
    """The budget is spent, the queue full or the breaker open: the message says for how long."""

    code = "UPSTREAMBUSY"


class UpstreamBad(UpstreamError):
    """What answered is not Airtable's API."""

    code = "UPSTREAMBAD"


BY_CODE: dict[str, type[PodiumError]] = {
    kind.code: kind
    for kind in (
        NoEntity, BadKey, BadSpec, BadRecord, NoIndex, NoSort, NoView, NoPerm, TooBig, WouldBlock, ReplicaMiss, Denied, WrongType, BadTag,
        Upstream, UpstreamAuth, UpstreamTimeout, UpstreamBusy, UpstreamBad,
    )
}  # fmt: skip

_STRIPPED = {
    "NoPermissionError": "NOPERM",
    "BusyLoadingError": "LOADING",
    "ReadOnlyError": "READONLY",
    "OutOfMemoryError": "OOM",
    "MasterDownError": "MASTERDOWN",
    "ClusterDownError": "CLUSTERDOWN",
    "TryAgainError": "TRYAGAIN",
    "NoScriptError": "NOSCRIPT",
    "ExecAbortError": "EXECABORT",
}
"""Client libraries cut the code off where they have a class of their own for it."""

_SERVERS = frozenset(("ERR", "MISCONF", "NOREPLICAS", "BUSY", "MOVED", "ASK", "CROSSSLOT", *_STRIPPED.values()))


def of(error: Exception) -> PodiumError:
    """The error of this package for an error reply as a client library raises it, or returns it within an array."""
    if isinstance(error, PodiumError):
        return error
    message = str(error)
    stripped = next((_STRIPPED[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _STRIPPED), None)
    if stripped is not None:
        code = stripped
        message = message.removeprefix(f"{code} ")
    else:
        first, _, rest = message.partition(" ")
        if first in BY_CODE or first in _SERVERS:
            code, message = first, rest
        else:
            code = "ERR"
    known = BY_CODE.get(code)
    return known(message) if known is not None else ServerError(message, code)
