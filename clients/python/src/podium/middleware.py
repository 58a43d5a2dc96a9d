"""Middleware that says in a response's headers what its reads did: `X-Cache`, `X-Cache-Status`, `X-Airtable-Hits`, `X-Cache-Key`,
`X-Cache-Age`, `X-Cache-TTL` and `Cache-Status`.

    app.add_middleware(AsgiMiddleware)                   # FastAPI, Starlette
    app.wsgi_app = WsgiMiddleware(app.wsgi_app)          # Flask

`honour_request`: whether a request's `Cache-Control: no-cache`, `no-store` and `max-age` are honoured; or a function of the scope, or
environ, that says so. It is off, because each of them may cost calls to Airtable: only for those you trust. `show_keys=False` leaves
`X-Cache-Key` out: keys of indexes hold values (`users:email:ada@example.com`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from . import context, headers

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Honour = bool | Callable[[Any], bool]


def _asked(honour: Honour, where: Any, cache_control: str, pragma: str) -> context.Policy | None:
    if not (honour(where) if callable(honour) else honour):
        return None
    return headers.policy(cache_control, pragma)


class AsgiMiddleware:
    def __init__(self, app: Callable[..., Awaitable[None]], *, honour_request: Honour = False, show_keys: bool = True) -> None:
        self.app = app
        self.honour_request = honour_request
        self.show_keys = show_keys

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        trace = context.Trace()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), text.encode("latin-1")) for name, text in headers.headers(trace, self.show_keys)]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        given = scope.get("headers", ())
        mark = context.trace.set(trace)
        wish = context.policy.set(_asked(self.honour_request, scope, _header(given, b"cache-control"), _header(given, b"pragma")))
        try:
            await self.app(scope, receive, told)
        finally:
            context.policy.reset(wish)
            context.trace.reset(mark)


def _header(given: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return ",".join(text.decode("latin-1") for found, text in given if found.lower() == name)


class WsgiMiddleware:
    def __init__(self, app: Callable[..., Iterable[bytes]], *, honour_request: Honour = False, show_keys: bool = True) -> None:
        self.app = app
        self.honour_request = honour_request
        self.show_keys = show_keys

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        trace = context.Trace()

        def told(status: str, given: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*given, *headers.headers(trace, self.show_keys)], *more)

        mark = context.trace.set(trace)
        asked = _asked(self.honour_request, environ, environ.get("HTTP_CACHE_CONTROL", ""), environ.get("HTTP_PRAGMA", ""))
        wish = context.policy.set(asked)
        try:
            return self.app(environ, told)
        finally:
            context.policy.reset(wish)
            context.trace.reset(mark)
