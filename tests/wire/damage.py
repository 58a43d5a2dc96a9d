"""Cells of the emulator's base that arrive damaged: what is stored is a placeholder, what is answered is any bytes."""

from __future__ import annotations

HOLE = "@@damaged@@"


def damage(world, raw: bytes | str, table: str, id: str, cell: str = "name") -> None:
    """From now on the cell arrives as `raw`, JSON text or not, in every answer, payloads included."""
    world.change(table, id, **{cell: HOLE})
    arrives(world, raw)


def arrives(world, raw: bytes | str, old: str = f'"{HOLE}"') -> None:
    """Whatever an answer holds of `old`, `raw` arrives in its place."""
    raw = raw.encode() if isinstance(raw, str) else raw
    world.airtable.fault("replace", old=old, new_hex=raw.hex())


def deep(levels: int = 10_000) -> str:
    return "[" * levels + "]" * levels


TEXTS = {
    "half an emoji": (r'"\ud83c"', "\ufffd"),
    "the other half": (r'"a\udf89b"', "a\ufffdb"),
    "halves in the wrong order": (r'"\udf89\ud83c"', "\ufffd\ufffd"),
    "a half before a whole": (r'"\ud83c\ud83c\udf89"', "\ufffd🎉"),
    "a half before an escape": (r'"\ud83c\n"', "\ufffd\n"),
    "a half before a letter": (r'"\ud83c\u0041"', "\ufffdA"),
    "no UTF-8": (b'"a\xffb"', "a\ufffdb"),
}
"""Texts that are not well-formed, and as what they are answered."""

UNREADABLE = {
    "10,000 levels": deep(),
    "10,000 objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "no value": "tru",
    "NaN": "NaN",
}
"""Cells of which nothing can be told."""

RECORDS = {
    "no object": "7",
    "null": "null",
    "no value": "tru",
    "without an id": '{"createdTime":"2026-03-04T05:06:07.000Z","fields":{}}',
    "a bad id": '{"id":"../x","fields":{}}',
    "deep": deep(),
}
"""What may stand in a record's place and does not say which one it is."""
