"""Podium in an application: records of Airtable as Pydantic models, and cached answers that know what they were computed from.

    from podium import Podium

    cache = Podium.connect("valkey://127.0.0.1:6379")
    events = cache.entity("events", PrivateEvent, views={"public": Event}, default_view="public", indexed=["slug"])
    event = events.get("recK3xT9vQ2mWb7Rd")

`AsyncPodium` is the same with `await`."""

from .cache import AsyncPodium, Podium
from .context import disabled
from .entity import AsyncEntity, Entity
from .errors import PodiumError, Unavailable, UpstreamError

__version__ = "0.1.0"
__all__ = ["AsyncEntity", "AsyncPodium", "Entity", "Podium", "PodiumError", "Unavailable", "UpstreamError", "disabled"]
