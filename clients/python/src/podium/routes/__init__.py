"""What Airtable posts to, as a FastAPI router (`podium.routes.fastapi`) and as a Flask blueprint (`podium.routes.flask`).

- `webhook`: an automation's payload (`scripts/airtable-automation.js`), with the secret in `X-Airtable-Secret`
- `ping`: the change feed's notification, with its signature in `X-Airtable-Content-MAC`

Body and header go to the server as they came; it knows the secrets. The answer is `1`, `0` or `OK` as the server's, 403 for a wrong
secret, 400 for what it cannot use, 503 while Valkey is away, 413 for a body of more than `MAX_BODY` bytes."""

from __future__ import annotations

from podium import errors
from podium.steps import Operation

MAX_BODY = 4 * 1024 * 1024
SECRET, MAC = "X-Airtable-Secret", "X-Airtable-Content-MAC"


def webhook(body: bytes, secret: str) -> Operation[tuple[int, str]]:
    return (yield from _told(("PODIUM.WEBHOOK", body, "SECRET", secret)))


def ping(body: bytes, mac: str) -> Operation[tuple[int, str]]:
    return (yield from _told(("PODIUM.SYNC", "PING", body, mac)))


def _told(words: tuple[object, ...]) -> Operation[tuple[int, str]]:
    """Status and text of the answer."""
    try:
        reply = yield words
    except errors.Denied as error:
        return 403, str(error)
    except (errors.Unavailable, errors.UpstreamError) as error:
        return 503, str(error)
    except errors.PodiumError as error:
        return 400, str(error)
    return 200, reply.decode() if isinstance(reply, bytes) else str(reply)
