"""A FastAPI router for what Airtable posts.

app.include_router(router(cache), prefix="/airtable")     # POST /airtable/webhook, /airtable/ping
"""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from podium import routes
from podium.cache import AsyncPodium, Podium
from podium.run_async import AsyncRunner


def router(cache: Podium | AsyncPodium, *, webhook: str = "/webhook", ping: str = "/ping") -> APIRouter:
    """`webhook`, `ping`: the paths."""
    found = APIRouter(tags=["airtable"])

    async def answer(request: Request, operation: Any, header: str) -> PlainTextResponse:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > routes.MAX_BODY:
                return PlainTextResponse("the body is too large", 413)
        shell = cast(AsyncRunner, cache._shell(True))
        status, text = await shell.run(operation(bytes(body), request.headers.get(header, "")))
        return PlainTextResponse(text, status)

    @found.post(webhook, response_class=PlainTextResponse)
    async def airtable_webhook(request: Request) -> PlainTextResponse:
        return await answer(request, routes.webhook, routes.SECRET)

    @found.post(ping, response_class=PlainTextResponse)
    async def airtable_ping(request: Request) -> PlainTextResponse:
        return await answer(request, routes.ping, routes.MAC)

    return found
