"""A Flask blueprint for what Airtable posts.

app.register_blueprint(blueprint(cache), url_prefix="/airtable")     # POST /airtable/webhook, /airtable/ping
"""

from __future__ import annotations

from typing import Any, cast

from flask import Blueprint, Response, request

from podium import routes
from podium.cache import AsyncPodium, Podium
from podium.run import Runner


def blueprint(cache: Podium | AsyncPodium, *, webhook: str = "/webhook", ping: str = "/ping", name: str = "podium") -> Blueprint:
    """`webhook`, `ping`: the paths."""
    found = Blueprint(name, __name__)

    def answer(operation: Any, header: str) -> Response:
        if (request.content_length or 0) > routes.MAX_BODY:
            return Response("the body is too large", 413, content_type="text/plain")
        body = request.stream.read(routes.MAX_BODY + 1)
        if len(body) > routes.MAX_BODY:
            return Response("the body is too large", 413, content_type="text/plain")
        shell = cast(Runner, cache._shell(False))
        status, text = shell.run(operation(body, request.headers.get(header, "")))
        return Response(text, status, content_type="text/plain")

    @found.post(webhook)
    def airtable_webhook() -> Response:
        return answer(routes.webhook, routes.SECRET)

    @found.post(ping)
    def airtable_ping() -> Response:
        return answer(routes.ping, routes.MAC)

    return found
