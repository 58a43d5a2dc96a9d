"""The decorators: `@cached` and `@invalidates`, on functions and on endpoints, sync and async."""

from __future__ import annotations

import datetime
import functools
import inspect
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from . import arguments, keys, telling
from .answers import Answers, Ask, Tags
from .arguments import Opaque, Signature
from .codec import Codec
from .core import Core
from .run import Runner

if TYPE_CHECKING:
    from .run_async import AsyncRunner

P = ParamSpec("P")
R = TypeVar("R")
Key = str | Callable[..., str]
Span = int | datetime.timedelta
REQUEST = "podium_request"
"""The parameter by which an endpoint's wrapper sees the request."""


class Keys:
    """How the key of one function's call is made."""

    def __init__(
        self,
        signature: Signature,
        resource: str,
        key: Key | None,
        id_param: str | None,
        subresource: str | None,
        with_query: bool,
        version: str | None,
        ignore: Collection[str],
    ) -> None:
        if key is not None and id_param is not None:
            raise TypeError("give key= or resource_id_param=, not both")
        if id_param is not None and id_param not in signature.names and not signature.open:
            raise ValueError(f"resource_id_param={id_param!r} is no argument of {signature.function.__qualname__}{signature.plain}")
        unknown = [name for name in ignore if name not in signature.names and not signature.open]
        if unknown:
            raise ValueError(f"ignore={unknown} names no argument of {signature.function.__qualname__}{signature.plain}")
        if isinstance(key, str):
            arguments.check(key, signature)
        self.signature = signature
        self.resource = resource
        self.key = key
        self.id_param = id_param
        self.subresource = subresource
        self.with_query = with_query
        self.version = version
        self.ignore = frozenset(ignore)

    def ask(self, args: tuple[Any, ...], kwargs: dict[str, Any], request: Any = None) -> Ask:
        """Raises TypeError for arguments that do not fit, Opaque for one that cannot be part of a key."""
        values = self.signature.bind(args, kwargs)
        path = None if request is None else request.path_params
        if self.key is not None:
            # The key is the application's, and so is what counts.
            found = arguments.parameters(self.signature, values, self.signature.names | set(values), True, path)
            rest = arguments.fill_in_parts(self.key, values) if isinstance(self.key, str) else self.key(**values)
            key = keys.fit(":".join([self.resource, rest, *([self.version] if self.version else [])]))
            found.plain = self._is_plain(values)
            return Ask(key, args, kwargs, found)
        found = arguments.parameters(self.signature, values, self.ignore, self.with_query, path)
        params = dict(found.counted)
        id = None
        if self.id_param is not None:
            id = arguments.fill_in_parts("{id}", {"id": values[self.id_param]})
            params.pop(self.id_param, None)
        return Ask(keys.computed(self.resource, id, self.subresource, params, self.version or "v1"), args, kwargs, found)

    def _is_plain(self, values: dict[str, Any]) -> bool:
        try:
            return arguments.parameters(self.signature, values, (), True, None).plain
        except Opaque:
            return False


def cached(
    core: Core,
    runner: Callable[[bool], Runner | AsyncRunner],
    resource: str,
    *,
    ttl: Span | None,
    key: Key | None,
    resource_id_param: str | None,
    subresource: str | None,
    include_query_params: bool,
    version: str | None,
    tags: Tags,
    grace: Span | None,
    ignore: Collection[str],
    members: dict[str, Any],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """See `Podium.cached`. `runner(asynchronous)`: of the kind that the function is."""
    shared = core.resource(resource, {"grace": _seconds(grace), **members})
    ttl = _seconds(ttl)
    wait = members.get("wait_ms") or 0
    if core.address is not None and wait >= core.address.options["socket_timeout"] * 1000:
        raise ValueError(f"wait_ms={wait} is longer than the client waits for an answer (socket_timeout)")
    if ttl is not None and ttl < 1:
        raise ValueError("ttl is a number of seconds from 1")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} streams: what it yields cannot be cached")
        signature = Signature(function)
        naming = Keys(signature, resource, key, resource_id_param, subresource, include_query_params, version, ignore)
        if not callable(tags):
            for tag in tags:
                arguments.check(tag, signature)
        answers = Answers(core, function, shared, Codec(signature.returns), ttl, tags)
        asynchronous = inspect.iscoroutinefunction(function)

        def ask(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ask | None:
            request = kwargs.pop(REQUEST, None)
            try:
                return naming.ask(args, kwargs, request)
            except Opaque as error:
                why = "%s is not cached: an argument cannot be part of a key: %s; if it does not matter, name it in ignore="
                core.once(f"opaque {function.__qualname__}", why, function.__qualname__, error)
            except Exception as error:
                if not signature.fits(args, kwargs):
                    return None  # The call itself says what does not fit.
                core.once(
                    f"key {function.__qualname__}",
                    "%s is not cached: its key cannot be made: %s: %s",
                    function.__qualname__,
                    type(error).__name__,
                    error,
                )
            return None

        if asynchronous:

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                found = ask(args, kwargs)
                if found is None:
                    return await function(*args, **kwargs)  # type: ignore[misc]
                shell = cast("AsyncRunner", runner(True))
                return await shell.run(answers.answer(found, shell.flights, shell.place()))

            wrapper: Any = awaited
        else:

            @functools.wraps(function)
            def called(*args: Any, **kwargs: Any) -> Any:
                found = ask(args, kwargs)
                if found is None:
                    return function(*args, **kwargs)
                shell = cast(Runner, runner(False))
                return shell.run(answers.answer(found, shell.flights, shell.place()))

            wrapper = called

        def key_of(*args: Any, **kwargs: Any) -> str:
            """The key under which that call is stored."""
            return naming.ask(args, kwargs).key

        wrapper.key = key_of
        wrapper.__signature__ = _shown(signature, include_query_params)
        return cast(Callable[P, R], wrapper)

    return decorate


def _seconds(span: Span | None) -> int | None:
    return int(span.total_seconds()) if isinstance(span, datetime.timedelta) else span


def _shown(signature: Signature, with_query: bool) -> inspect.Signature:
    """What a framework sees: annotations resolved where they were written, and, where query parameters are to be told from
    others, a parameter more, for the request."""
    kinds = arguments.request_kinds()
    if with_query or not kinds or signature.open:
        return signature.plain
    from starlette.requests import Request

    more = inspect.Parameter(REQUEST, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Request)
    return signature.plain.replace(parameters=[*signature.plain.parameters.values(), more])


def invalidates(
    core: Core, runner: Callable[[bool], Runner | AsyncRunner], templates: tuple[str, ...]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """See `Podium.invalidates`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = Signature(function)
        for template in templates:
            arguments.check(template, signature, "result")

        def names(args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> list[str]:
            values = signature.bind(args, kwargs)
            given = [one for one in values.values() if isinstance(one, arguments.response_kinds())]
            for answer in (result, *given):
                status = getattr(answer, "status_code", None)
                if isinstance(status, int) and status >= 400:
                    return []
            values.setdefault("result", result)
            found = []
            for template in templates:
                try:
                    head = template.partition(":")[0]
                    fill_in = arguments.fill_in_parts if head in core.resources else arguments.fill_in
                    name = fill_in(template, values)
                    if name.endswith(":*") and not template.endswith("*") and head != "tag":
                        raise ValueError(f"{name} is more than one argument may stand for")
                    found.append(name)
                except (LookupError, AttributeError, ValueError, TypeError) as error:
                    core.once(
                        f"template {template}",
                        "%r cannot be made, and nothing is invalidated by it: %s: %s",
                        template,
                        type(error).__name__,
                        error,
                    )
            return found

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                result = await function(*args, **kwargs)
                await cast("AsyncRunner", runner(True)).run(telling.safely(core, names(args, kwargs, result)))
                return result

            wrapper: Any = awaited
        else:

            @functools.wraps(function)
            def called(*args: Any, **kwargs: Any) -> Any:
                result = function(*args, **kwargs)
                cast(Runner, runner(False)).run(telling.safely(core, names(args, kwargs, result)))
                return result

            wrapper = called
        wrapper.__signature__ = signature.plain
        return cast(Callable[P, R], wrapper)

    return decorate
