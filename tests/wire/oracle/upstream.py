"""Airtable's side: a base of the oracle's own, changed by its own users, slow, reordering and failing."""

from __future__ import annotations

import time

from .history import History, Record, Version
from .model import BULK, ENTITIES, MAKERS, patch, seed, upstream, value

GET_FAULTS = [
    {"kind": "status", "status": 500}, {"kind": "status", "status": 502, "shape": "html"}, {"kind": "status", "status": 503, "type": "RETRIABLE_ERROR", "retry_after": "0"},
    {"kind": "reset_before_headers"}, {"kind": "reset_in_body"}, {"kind": "truncated_json"}, {"kind": "truncated_gzip"}, {"kind": "empty_body"}, {"kind": "html"},
    {"kind": "offset_expired"}, {"kind": "offset_repeats"}, {"kind": "duplicate_record"}, {"kind": "hang"}, {"kind": "wrong_content_type"},
]
WRITE_FAULTS = [{"kind": "status", "status": 500, "apply": True}, {"kind": "status", "status": 500}, {"kind": "reset_before_headers", "apply": True}, {"kind": "truncated_json"}]


class Upstream:
    def __init__(self, emulator, base: str, history: History, random, size: int):
        self.emulator, self.base, self.history = emulator, base, history
        start = {}
        for entity in ENTITIES:
            for n in range(1, size + 1):
                rev = history.rev()
                cells = value(random, rev) if random.random() < 0.8 else None
                record = history.add(Record(entity, MAKERS[entity](n), cells, rev))
                if cells is not None:
                    start.setdefault(entity, {})[record.id] = cells
        # A record of another table is none of this one, though Airtable would give it by its id.
        for mine, theirs in (ENTITIES, ENTITIES[::-1]):
            history.add(Record(mine, MAKERS[theirs](1)))
        emulator.seed(seed(base, start))

    def write(self, record: Record, cells: dict | None, version: Version | None = None) -> Version:
        """A user changes, creates or deletes the record. Its lock is held. `version`: one that was told before."""
        version = version or Version(self.history.rev(), cells)
        version.begin = time.monotonic()
        if cells is None:
            change = {"delete": [record.id]}
        elif record.now is None:
            change = {"create": [{"id": record.id, "fields": upstream(cells)}]}
        else:
            change = {"update": [{"id": record.id, "fields": patch(cells)}]}
        # Readers may see it before this is answered.
        record.becomes(version)
        version.end = float("inf")
        self.emulator.write(base=self.base, table=record.entity, **change)
        version.end = time.monotonic()
        return version

    def create_many(self, entity: str, records: list[tuple[Record, Version]]) -> None:
        begun = time.monotonic()
        for record, version in records:
            version.begin = begun
            record.becomes(version)
        self.emulator.write(base=self.base, table=entity, create=[{"id": r.id, "fields": upstream(v.value)} for r, v in records])
        ended = time.monotonic()
        for _, version in records:
            version.end = ended

    def holds(self, record: Record) -> dict | None:
        return self.emulator.records(self.base, record.entity).get(record.id)


class Weather:
    """Queues faults for the calls to come: most are slow, on their way there or back, some fail."""

    def __init__(self, up: Upstream, random, slow: float, failing: float):
        self.up, self.random, self.slow, self.failing = up, random, slow, failing
        self.calm_until = 0.0

    def step(self) -> None:
        pick = self.random
        time.sleep(pick.uniform(0.01, 0.06))
        if len(self.up.emulator.control("GET", "faults")["faults"]) > 4:
            return
        table = {"path_contains": f"/{pick.choice((*ENTITIES, BULK))}"}
        if pick.random() < self.failing and time.monotonic() > self.calm_until:
            # A few at once, then none for a while: a breaker that stays open teaches nothing.
            self.calm_until = time.monotonic() + 1
            for _ in range(pick.randint(1, 4)):
                fault = dict(pick.choice(GET_FAULTS), times=1, match={"method": "GET", **table})
                if pick.random() < 0.3:
                    fault = dict(pick.choice(WRITE_FAULTS), times=1, match={"method": pick.choice(["PATCH", "DELETE"]), **table})
                self.up.emulator.control("POST", "faults", fault)
        elif pick.random() < self.slow:
            where = "before_ms" if pick.random() < 0.4 else "ms"
            self.up.emulator.control("POST", "faults", {"kind": "slow", where: int(pick.choice([20, 60, 150, 300, 600])), "times": 1, "match": {"method": "GET", **table}})
