"""What is measured, by name."""

from __future__ import annotations

from . import around, hits, loading, memory, sets

ROWS = {
    "S1": ("GET, unpipelined, of 0.5, 1 and 2 KB and of few and many keys", hits.s1),
    "S2": ("GET, pipelined by 16 and 64", hits.s2),
    "S3": ("GET with VIEW *, with another view, with META", hits.s3),
    "S4": ("MGET of 100", hits.s4),
    "S5": ("INDEX of 20 members, IDS, COUNT", sets.s5),
    "S6": ("the ten best of 10,000 members, asked again and after each change", sets.s6),
    "S7": ("bytes a record over a raw string", memory.s7),
    "S8": ("bytes of a value and an id in an index", memory.s8),
    "S9": ("longest hold of the main thread, by case (tests/load/holds.py)", around.s9),
    "S10": ("loading: UPSERT, WARM, restart", loading.s10),
    "S11": ("the ratios with io-threads and with a replica", around.s11),
    "computed": ("computed answers: GET and LEASE", hits.computed),
}


def wanted(names: str) -> list[str]:
    """The rows that `--only` names, in the table's order; raises `ValueError` for a name that is none."""
    asked = {name.strip().lower(): name.strip() for name in names.split(",") if name.strip()}
    known = {name.lower() for name in ROWS}
    if unknown := [name for lower, name in asked.items() if lower not in known]:
        raise ValueError(f"no row '{unknown[0]}': {', '.join(ROWS)}")
    return [name for name in ROWS if not asked or name.lower() in asked]
