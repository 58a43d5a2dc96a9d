"""What functions return, as bytes, and back again as the same thing.

- plain JSON, by the function's return annotation, where that brings back an equal value
- `0x01` and JSON whose values say their types, where it does not, or where there is no annotation
- `0x02`, a line of JSON and a body: a response of Starlette's or Flask's
- `0x03`, a line of JSON and any of these: what the endpoint did to the `Response` that FastAPI gave it

What cannot be brought back is `Unstorable`; bytes that cannot be read (another version wrote them) are `Undecodable`."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import inspect
import json
import math
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic import BaseModel, PydanticUserError, TypeAdapter

TYPED, RESPONSE, WITH_HEADERS = b"\x01", b"\x02", b"\x03"


class Unstorable(Exception):
    """The value cannot be stored; `always`: nor can any other of the function's."""

    def __init__(self, why: str, always: bool = False) -> None:
        super().__init__(why)
        self.always = always


class Undecodable(Exception):
    """The bytes are none of ours, or of a class that is not there."""


class Codec:
    """Of one function."""

    def __init__(self, annotation: Any = inspect.Parameter.empty) -> None:
        self._adapter: TypeAdapter[Any] | None = None
        if annotation is not inspect.Parameter.empty and annotation is not Any and not is_response_class(annotation):
            try:
                self._adapter = TypeAdapter(annotation)
            except (PydanticUserError, TypeError, NameError):
                self._adapter = None

    def encode(self, value: Any) -> bytes:
        if isinstance(value, Iterator | AsyncIterator):
            raise Unstorable("it streams", always=True)
        response = _response(value)
        if response is not None:
            return response
        if self._adapter is not None:
            try:
                raw = self._adapter.dump_json(value, by_alias=False, round_trip=True, warnings=False)
                again = self._adapter.validate_json(raw, by_alias=False, by_name=True)
                if type(again) is type(value) and again == value:
                    return raw
            except Exception:  # Whatever a model's own functions raise: the value says its types, then.
                pass
        return TYPED + json.dumps(typed(value), separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")

    def decode(self, raw: bytes) -> Any:
        """A value of its own for each caller."""
        try:
            first = raw[:1]
            if first == TYPED:
                return untyped(json.loads(raw[1:].decode("utf-8", "surrogatepass")))
            if first == RESPONSE:
                head, _, body = raw[1:].partition(b"\n")
                return _made(json.loads(head), body)
            if self._adapter is None:
                return json.loads(raw)
            return self._adapter.validate_json(raw, by_alias=False, by_name=True)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise Undecodable(f"{type(error).__name__}: {error}") from error


# Values that say their types ------------------------------------------------------------------------------------------


def typed(value: Any) -> Any:
    """A value as JSON that `untyped` makes the same value of."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$": "float", "v": repr(value)}
    if kind is list:
        return [typed(one) for one in value]
    if kind is dict:
        if all(type(name) is str for name in value) and "$" not in value:
            return {name: typed(one) for name, one in value.items()}
        return {"$": "dict", "v": [[typed(name), typed(one)] for name, one in value.items()]}
    if kind in (tuple, set, frozenset):
        return {"$": kind.__name__, "v": [typed(one) for one in value]}
    if kind is bytes:
        return {"$": "bytes", "v": base64.b64encode(value).decode()}
    if kind in (datetime.datetime, datetime.date, datetime.time):
        return {"$": kind.__name__, "v": value.isoformat()}
    if kind is datetime.timedelta:
        return {"$": "timedelta", "v": [value.days, value.seconds, value.microseconds]}
    if kind in (decimal.Decimal, uuid.UUID):
        return {"$": kind.__name__, "v": str(value)}
    if isinstance(value, enum.Enum):
        return {"$": "enum", "c": _path(kind), "v": typed(value.value)}
    if isinstance(value, BaseModel):
        raw = value.model_dump_json(by_alias=False, round_trip=True, warnings=False)
        try:
            same = kind.model_validate_json(raw, by_alias=False, by_name=True) == value
        except ValueError:
            same = False
        if not same:
            raise Unstorable(f"a {kind.__name__} that does not come back from its own JSON")
        return {"$": "model", "c": _path(kind), "v": raw}
    if dataclasses.is_dataclass(value):
        if any(not field.init for field in dataclasses.fields(value)):
            raise Unstorable(f"a {kind.__name__} with fields that it sets by itself")
        return {
            "$": "dataclass",
            "c": _path(kind),
            "v": {field.name: typed(getattr(value, field.name)) for field in dataclasses.fields(value)},
        }
    raise Unstorable(f"a {kind.__name__}")


_READERS: dict[str, Any] = {
    "float": float,
    "dict": lambda pairs: {untyped(name): untyped(one) for name, one in pairs},
    "tuple": lambda values: tuple(untyped(one) for one in values),
    "set": lambda values: {untyped(one) for one in values},
    "frozenset": lambda values: frozenset(untyped(one) for one in values),
    "bytes": base64.b64decode,
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timedelta": lambda parts: datetime.timedelta(*parts),
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
}


def untyped(value: Any) -> Any:
    if isinstance(value, list):
        return [untyped(one) for one in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("$")
    if kind is None:
        return {name: untyped(one) for name, one in value.items()}
    if kind == "enum":
        return _class(value["c"], enum.Enum)(untyped(value["v"]))
    if kind == "model":
        return _class(value["c"], BaseModel).model_validate_json(value["v"], by_alias=False, by_name=True)
    if kind == "dataclass":
        found = _class(value["c"], object)
        if not hasattr(found, "__dataclass_fields__"):
            raise LookupError(f"{value['c']} is no dataclass")
        return found(**{name: untyped(one) for name, one in value["v"].items()})
    return _READERS[kind](value["v"])


def _path(kind: type) -> str:
    path = f"{kind.__module__}:{kind.__qualname__}"
    if "<locals>" in path or _lookup(path) is not kind:
        raise Unstorable(f"a {kind.__name__}, which is no class of a module: give the function a return annotation")
    return path


def _lookup(path: str) -> Any:
    module, _, name = path.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _class(path: str, base: Any) -> Any:
    """A class of a module that this process has imported. Nothing is imported because stored bytes say so."""
    found = _lookup(path)
    if not isinstance(found, type) or not issubclass(found, base):
        raise LookupError(f"there is no class {path}")
    return found


# Responses ------------------------------------------------------------------------------------------------------------


def _loaded(module: str, name: str) -> Any:
    """A class of a framework, if the application uses that framework."""
    return getattr(sys.modules.get(module), name, None)


def starlette_response() -> Any:
    return _loaded("starlette.responses", "Response")


def werkzeug_response() -> Any:
    return _loaded("werkzeug.wrappers", "Response")


def is_response_class(kind: Any) -> bool:
    return isinstance(kind, type) and any(
        base is not None and issubclass(kind, base) for base in (starlette_response(), werkzeug_response())
    )


def _response(value: Any) -> bytes | None:
    """The bytes of a response; None for any other value."""
    starlette, werkzeug = starlette_response(), werkzeug_response()
    if starlette is not None and isinstance(value, starlette):
        body = getattr(value, "body", None)
        if not isinstance(body, bytes | memoryview):
            raise Unstorable("it streams", always=True)
        if value.background is not None:
            raise Unstorable("a response with a background task")
        headers = [[name.decode("latin-1"), text.decode("latin-1")] for name, text in value.raw_headers]
        return _framed("starlette", value.status_code, headers, bytes(body))
    if werkzeug is not None and isinstance(value, werkzeug):
        if value.is_streamed or value.direct_passthrough:
            raise Unstorable("it streams", always=True)
        return _framed("werkzeug", value.status_code, [[name, text] for name, text in value.headers], value.get_data())
    return None


def _framed(kind: str, status: int, headers: list[list[str]], body: bytes) -> bytes:
    if not 200 <= status < 300:
        raise Unstorable(f"a response with status {status}")
    if any(name.lower() == "set-cookie" for name, _ in headers):
        raise Unstorable("a response that sets a cookie")
    return RESPONSE + json.dumps({"kind": kind, "status": status, "headers": headers}, separators=(",", ":")).encode() + b"\n" + body


def _made(head: Any, body: bytes) -> Any:
    if head["kind"] == "starlette":
        made = starlette_response()(content=body, status_code=head["status"])
        made.raw_headers = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in head["headers"]]
        return made
    return werkzeug_response()(body, status=head["status"], headers=[(name, text) for name, text in head["headers"]])


def with_headers(raw: bytes, headers: list[list[str]], status: int | None) -> bytes:
    """An answer, with what the endpoint did to the response that it was given."""
    if any(name.lower() == "set-cookie" for name, _ in headers):
        raise Unstorable("an endpoint that sets a cookie")
    if not headers and status is None:
        return raw
    return WITH_HEADERS + json.dumps({"headers": headers, "status": status}, separators=(",", ":")).encode() + b"\n" + raw


def without_headers(raw: bytes) -> tuple[bytes, list[list[str]], int | None]:
    if raw[:1] != WITH_HEADERS:
        return raw, [], None
    head, _, rest = raw[1:].partition(b"\n")
    try:
        found = json.loads(head)
        return rest, found["headers"], found["status"]
    except (ValueError, LookupError) as error:
        raise Undecodable(str(error)) from error
