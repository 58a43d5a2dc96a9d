"""What the reads of a request did, as HTTP headers; what the request's headers ask of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .context import Policy, Trace

WORST = ("MISS", "BYPASS", "STALE", "HIT")
MAX_LISTED = 8
"""Keys, and Cache-Status members, that are named."""
_UNSAFE = re.compile(r"[^\x20-\x7e]")


def headers(trace: Trace, show_keys: bool = True) -> list[tuple[str, str]]:
    """The headers of a response; none where nothing was read.

    Cached answers stand for what was read to compute them; only the calls to Airtable are the sum of all."""
    if not trace.notes:
        return []
    outermost = min(depth for depth, _ in trace.notes)
    seen = [meta for depth, meta in trace.notes if depth == outermost]
    kinds = {meta.get("cache") for meta in seen}
    kind = next((word for word in WORST if word in kinds), "BYPASS")
    found = [
        ("X-Cache", kind),
        ("X-Cache-Status", kind),
        ("X-Airtable-Hits", str(sum(_numbers([meta for _, meta in trace.notes], "airtable-hits")))),
    ]
    if show_keys:
        found.append(("X-Cache-Key", _listed([str(meta["key"]) for meta in seen if "key" in meta], " ")))
    ages, ttls = _numbers(seen, "age"), _numbers(seen, "ttl")
    if ages:
        found.append(("X-Cache-Age", str(max(ages))))
    if ttls:
        found.append(("X-Cache-TTL", str(min(ttls))))
    lines = [str(meta["cache-status"]) for meta in seen if "cache-status" in meta]
    if lines:
        found.append(("Cache-Status", ", ".join(_safe(line) for line in dict.fromkeys(lines[:MAX_LISTED]))))
    return found


def _numbers(metas: Sequence[dict[str, Any]], name: str) -> list[int]:
    return [int(meta[name]) for meta in metas if isinstance(meta.get(name), int | float)]


def _listed(words: list[str], joint: str) -> str:
    words = [_safe(word.replace(" ", "%20")) for word in dict.fromkeys(words)]
    more = len(words) - MAX_LISTED
    return joint.join(words[:MAX_LISTED]) + (f"{joint}(+{more})" if more > 0 else "")


def _safe(text: str) -> str:
    """Text as it may stand in a header: what is no visible ASCII is percent-encoded, so nothing can end the line."""
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "replace")), text)


def policy(cache_control: str, pragma: str = "") -> Policy | None:
    """What a request's Cache-Control asks for: `no-cache`, `no-store`, `max-age`; None for nothing. An unknown or broken directive
    is ignored."""
    found = Policy()
    for directive in cache_control.lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name == "no-cache":
            found.no_cache = True
        elif name == "no-store":
            found.no_store = True
        elif name == "max-age":
            digits = value.strip().strip('"')
            if digits.isascii() and digits.isdigit():
                found.max_age = min(int(digits), 2**31 - 1)
    if not cache_control and "no-cache" in pragma.lower():
        found.no_cache = True
    return found if found != Policy() else None
