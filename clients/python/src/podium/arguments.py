"""From a function's arguments to its key, so that two calls share a key only if they may share an answer.

Every argument counts. What is no data (a session, a client) is looked into; what cannot be told apart from another of its kind
makes the call `Opaque`: it is not cached, and the log says which argument it was, for the decorator's `ignore=`. So nobody is
ever answered with what was computed for somebody else."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import string
import sys
import types
import typing
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import BaseModel

from . import keys

MAX_DEPTH = 6
SEEN_BY_ENDPOINT = ("authorization", "cookie")
"""Headers that count where a function takes the request itself: it may look at them."""


class Opaque(Exception):
    """An argument that cannot be part of a key."""


class Signature:
    """A function's parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        try:
            self.hints = typing.get_type_hints(function, include_extras=True)
        except Exception:  # A name that only a type checker knows: the annotations stay as they are written.
            self.hints = {}
        plain = inspect.signature(function)
        parameters = [one.replace(annotation=self.hints.get(one.name, one.annotation)) for one in plain.parameters.values()]
        self.plain = plain.replace(parameters=parameters, return_annotation=self.hints.get("return", plain.return_annotation))
        self.names = frozenset(plain.parameters)
        self.open = any(one.kind is one.VAR_KEYWORD for one in parameters)
        self.dependencies = frozenset(one.name for one in parameters if _is_dependency(one))

    @property
    def returns(self) -> Any:
        found = self.plain.return_annotation
        return inspect.Parameter.empty if isinstance(found, str) else found

    def fits(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether the function can be called so."""
        try:
            self.plain.bind(*args, **kwargs)
        except TypeError:
            return False
        return True

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Argument values by name, defaults included. TypeError where they do not fit, as from the call itself."""
        bound = self.plain.bind(*args, **kwargs)
        bound.apply_defaults()
        found = dict(bound.arguments)
        for one in self.plain.parameters.values():
            if one.kind is one.VAR_KEYWORD:
                found.update(found.pop(one.name))
        return found


def _is_dependency(parameter: inspect.Parameter) -> bool:
    marks = [parameter.default, *getattr(parameter.annotation, "__metadata__", ())]
    return any(type(mark).__module__.startswith("fastapi.params") and type(mark).__name__ in ("Depends", "Security") for mark in marks)


class Reduced:
    """Argument values as JSON data. `plain`: nothing among them belongs to one request or one connection."""

    def __init__(self) -> None:
        self.plain = True

    def value(self, value: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise Opaque(f"a {type(value).__name__} that is too deep")
        if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, enum.Enum)):
            return value
        if isinstance(value, enum.Enum):
            return [_name(type(value)), self.value(value.value, depth + 1)]
        if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal | uuid.UUID):
            return [type(value).__name__, str(value)]
        if isinstance(value, bytes | bytearray):
            return ["bytes", bytes(value).hex()]
        if isinstance(value, BaseModel):
            try:
                return [_name(type(value)), value.model_dump(mode="json", warnings=False)]
            except Exception as error:
                raise Opaque(f"a {type(value).__name__} that is not serializable") from error
        if isinstance(value, Mapping):
            pairs = [[self.value(name, depth + 1), self.value(one, depth + 1)] for name, one in value.items()]
            return ["map", sorted(pairs, key=repr)]
        if isinstance(value, list | tuple):
            # Marked as all that is no single value is, so that no list can pass for something else.
            return ["list", [self.value(one, depth + 1) for one in value]]
        if isinstance(value, set | frozenset):
            return ["set", sorted((self.value(one, depth + 1) for one in value), key=repr)]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return [
                _name(type(value)),
                {field.name: self.value(getattr(value, field.name), depth + 1) for field in dataclasses.fields(value)},
            ]
        if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.ModuleType):
            return ["code", getattr(value, "__module__", ""), getattr(value, "__qualname__", getattr(value, "__name__", ""))]
        return self._object(value, depth)

    def _object(self, value: Any, depth: int) -> Any:
        """An object of a class that is no data: by what it holds, else by its id."""
        self.plain = False
        kind = type(value)
        if kind.__module__.startswith("fastapi.params"):
            return ["default"]
        try:
            held = vars(value)
        except TypeError:
            held = None
        if held is not None and not hasattr(kind, "__slots__"):
            try:
                return [_name(kind), {name: self.value(one, depth + 1) for name, one in held.items()}]
            except Opaque:
                pass
        id = getattr(value, "id", None)
        if isinstance(id, str | int | uuid.UUID):
            return [_name(kind), str(id)]
        raise Opaque(f"a {kind.__name__}")


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _kinds(module: str, *names: str) -> tuple[type, ...]:
    found = sys.modules.get(module)
    return tuple(kind for name in names if (kind := getattr(found, name, None)) is not None)


def request_kinds() -> tuple[type, ...]:
    return _kinds("starlette.requests", "HTTPConnection")


def response_kinds() -> tuple[type, ...]:
    return _kinds("starlette.responses", "Response")


def background_kinds() -> tuple[type, ...]:
    return _kinds("starlette.background", "BackgroundTask")


@dataclasses.dataclass(slots=True)
class Parameters:
    """The arguments of one call that tell it from others."""

    values: dict[str, Any]
    counted: dict[str, Any]
    plain: bool
    response: Any
    """The `Response` that FastAPI gave the endpoint, to set headers on."""


def parameters(
    signature: Signature, values: dict[str, Any], ignore: Collection[str], with_query: bool, path: Mapping[str, Any] | None
) -> Parameters:
    """Raises Opaque, naming the argument. `path`: the path parameters of the request, where they are known."""
    reduced = Reduced()
    counted: dict[str, Any] = {}
    response = None
    for name, value in values.items():
        if isinstance(value, response_kinds()):
            response, reduced.plain = value, False
        elif name in ignore or isinstance(value, background_kinds()):
            reduced.plain = False
        elif isinstance(value, request_kinds()):
            reduced.plain = False
            counted[name] = _request(value, with_query)
        else:
            if not with_query and path is not None and name not in path and name not in signature.dependencies and _from_query(value):
                continue
            try:
                found = reduced.value(value)
            except Opaque as error:
                raise Opaque(f"{name} ({error})") from None
            if name in signature.dependencies:
                reduced.plain = False
            if found is not None:
                counted[name] = found
    return Parameters(values, counted, reduced.plain, response)


def _from_query(value: Any) -> bool:
    return not isinstance(value, BaseModel | Mapping) and not dataclasses.is_dataclass(value)


def _request(request: Any, with_query: bool) -> Any:
    """What an endpoint that takes the request may have looked at."""
    seen: dict[str, Any] = {"path": request.url.path, "method": request.scope.get("method", "")}
    if with_query:
        seen["query"] = keys.query(request.query_params.multi_items())
    for header in SEEN_BY_ENDPOINT:
        if header in request.headers:
            seen[header] = keys.digest(request.headers.getlist(header))
    return seen


class _Formatter(string.Formatter):
    """`"{event}"`: values as keys spell them."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec:
            return format(value, format_spec)
        try:
            return keys.text(value)
        except TypeError:
            return str(value)


class _PartFormatter(_Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return keys.part(super().format_field(value, format_spec))


_formatter, _part_formatter = _Formatter(), _PartFormatter()


def fill_in(template: str, values: Mapping[str, Any]) -> str:
    """Values verbatim: for tags, and for the keys of records and indexes."""
    return _formatter.vformat(template, (), values)


def fill_in_parts(template: str, values: Mapping[str, Any]) -> str:
    """Each value a part, whatever stands in it: for the keys of computed answers."""
    return _part_formatter.vformat(template, (), values)


def check(template: str, signature: Signature, *more: str) -> None:
    """Raises ValueError for a template that names no argument of the function."""
    for _, name, _, _ in string.Formatter().parse(template):
        if name is None or signature.open:
            continue
        first = name.partition(".")[0].partition("[")[0]
        if first not in signature.names and first not in more:
            raise ValueError(f"{template!r} names {first!r}, which is no argument of {signature.function.__qualname__}{signature.plain}")
