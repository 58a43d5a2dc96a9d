"""Shorthand for the commands the tests send most."""

from __future__ import annotations

import json

from resp import Client, mapping, text


def get(client: Client, key: str, *options) -> dict | None:
    """PODIUM.GET as a dict."""
    reply = client.call("PODIUM.GET", key, *options)
    return None if reply is None else json.loads(reply)


def mget(client: Client, keys, *options) -> list:
    """PODIUM.MGET: dicts, None where absent, errors as they are."""
    reply = client.call("PODIUM.MGET", len(keys), *keys, *options)
    return [json.loads(item) if isinstance(item, bytes) else item for item in reply]


def index(client: Client, key: str, *options) -> list[dict]:
    """PODIUM.INDEX as dicts."""
    return [json.loads(item) for item in client.call("PODIUM.INDEX", key, *options)]


def ids(client: Client, key: str, *options) -> list[str]:
    """PODIUM.INDEX … IDS."""
    return text(client.call("PODIUM.INDEX", key, "IDS", *options))


def meta(client: Client, *command) -> dict:
    """The META map of a command's reply, values as text or numbers."""
    return {key: text(value) for key, value in mapping(client.call(*command, "META")[1]).items()}


def spec(client: Client, entity: str, value) -> None:
    """PODIUM.SPEC SET, which must succeed."""
    assert client.call("PODIUM.SPEC", "SET", entity, value if isinstance(value, (str, bytes)) else json.dumps(value)) == "OK"


def cells(id: str, **fields) -> str:
    """The JSON argument of UPSERT."""
    return json.dumps({"id": id, **fields})
