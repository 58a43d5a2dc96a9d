"""Clients that change records, in Airtable, in the cache or through it, and tell the truth about it (or tell it ahead)."""

from __future__ import annotations

import json
import time

from resp import Client, ReplyError
from .history import NEVER, History, Read, Record, Tell, Version
from .model import ENTITIES, INDEXED, MAKERS, Ask, cell, patch, shown, told, upstream, value
from .readers import random_ask
from .upstream import Upstream

SECRET = "correct horse battery staple"
KINDS = {"silent": 2, "invalidate": 3, "upsert": 4, "upsert_at": 2, "webhook": 2, "early": 2, "phantom": 1, "update": 2, "create": 1, "delete": 1, "transaction": 3}


class Changer:
    """One connection that changes things. `weights`: how often which kind; `dying`: the share of changes that delete."""

    def __init__(self, client: Client, up: Upstream, history: History, random, weights: dict[str, float], dying: float):
        self.client, self.up, self.history, self.random, self.dying = client, up, history, random, dying
        self.kinds, self.weights = list(weights), list(weights.values())
        self.late: list[tuple[float, callable]] = []

    def step(self) -> None:
        time.sleep(self.random.uniform(0.0, 0.03))
        now = time.monotonic()
        due = [job for job in self.late if job[0] <= now]
        self.late = [job for job in self.late if job[0] > now]
        for _, job in due:
            job()
        kind = self.random.choices(self.kinds, self.weights)[0]
        if kind == "create":
            return self.create()
        record = self.random.choice([r for r in self.history.of(self.random.choice(ENTITIES)) if r.id.startswith(MAKERS[r.entity](0)[:6]) or r.now is not None])
        if not record.lock.acquire(blocking=False):
            return
        try:
            getattr(self, kind)(record)
        finally:
            record.lock.release()

    # How the cache is told --------------------------------------------------------------------------------------------

    def tell(self, what: str, record: Record | None, *words, version: Version | None = None, floor="time", members=True, at=None) -> Tell:
        """Sends one command; the tell is noted before, so that nobody judges an answer without it."""
        tell = Tell(time.monotonic(), NEVER, what, version, floor, members, at)
        if record is not None:
            record.tells.append(tell)
        reply = self.client.attempt(*words)
        self.acknowledge(tell, reply)
        return tell

    def acknowledge(self, tell: Tell, reply) -> bool:
        if isinstance(reply, ReplyError):
            tell.what += f" → {reply.text[:60]}"
            if reply.code not in ("OOM", "LOADING"):
                self.history.complain("a change was refused", f"{tell.what}")
            return False
        tell.what += f" → {reply}"
        tell.idle = not tell.members and reply == 0
        tell.ack = time.monotonic()
        return True

    @staticmethod
    def took_nothing(tell: Tell, reply) -> bool:
        """A set that was not there was DELeted: its value may be known to be empty, and stays so."""
        return tell.floor is None and reply == 0

    def fresh_value(self, record: Record) -> tuple[dict | None, Version]:
        gone = record.now is not None and self.random.random() < self.dying
        rev = self.history.rev()
        cells = None if gone else value(self.random, rev)
        return cells, Version(rev, cells)

    # Kinds ------------------------------------------------------------------------------------------------------------

    def silent(self, record: Record) -> None:
        cells, version = self.fresh_value(record)
        self.up.write(record, cells, version)

    def invalidate(self, record: Record) -> None:
        before = record.now
        cells, version = self.fresh_value(record)
        self.up.write(record, cells, version)
        pick = self.random.random()
        if pick < 0.6:
            self.tell("INVALIDATE", record, "PODIUM.INVALIDATE", record.key)
        elif pick < 0.75:
            self.invalidate_sets(record, before, cells)
        elif pick < 0.9:
            self.invalidate_all([record.entity], f"{record.entity}:*")
        else:
            self.invalidate_all(ENTITIES, "*")

    def invalidate_all(self, entities, key: str) -> None:
        tell = Tell(time.monotonic(), NEVER, f"INVALIDATE {key}")
        self.history.tell_all(entities, tell)
        self.acknowledge(tell, self.client.attempt("PODIUM.INVALIDATE", key))

    def invalidate_sets(self, record: Record, *values) -> None:
        name = self.random.choice(INDEXED)
        wanted = sorted({cell(v, name) for v in values if v is not None})
        if wanted:
            tell = Tell(time.monotonic(), NEVER, f"INVALIDATE {record.entity}:{name}:{wanted}")
            for v in wanted:
                self.history.tell_set(record.entity, name, v, tell)
            self.acknowledge(tell, self.client.attempt("PODIUM.INVALIDATE", *[f"{record.entity}:{name}:{v}" for v in wanted]))

    def upsert(self, record: Record) -> None:
        cells, version = self.fresh_value(record)
        self.up.write(record, cells, version)
        if self.random.random() < 0.3:
            time.sleep(self.random.uniform(0, 0.05))
        self.tell_now(record, version)

    def tell_now(self, record: Record, version: Version, floor="time") -> Tell:
        if version.value is None:
            return self.tell("TOMBSTONE", record, "PODIUM.TOMBSTONE", record.key, version=version, floor=floor)
        return self.tell(f"UPSERT {version}", record, "PODIUM.UPSERT", record.key, told(record.id, version.value), version=version, floor=floor)

    def later(self, job) -> None:
        self.late.append((time.monotonic() + self.random.choice([0, 0, 0.05, 0.2, 0.6]), job))

    @staticmethod
    def moment() -> tuple[int, float]:
        """(unix ms, monotonic): a moment after everything so far, and before everything later: in the same ms it would be neither."""
        ms = int(time.time() * 1000) + 1
        while time.time() * 1000 < ms:
            time.sleep(0.0005)
        at = time.monotonic()
        while time.time() * 1000 < ms + 1:
            time.sleep(0.0005)
        return ms, at

    def upsert_at(self, record: Record) -> None:
        cells, version = self.fresh_value(record)
        if cells is None:
            return self.silent(record)
        self.up.write(record, cells, version)
        ms, at = self.moment()
        self.later(lambda: self.tell(f"UPSERT AT {version}", record, "PODIUM.UPSERT", record.key, told(record.id, cells), "AT", ms, version=version, floor="version", at=at))

    def webhook(self, record: Record) -> None:
        cells, version = self.fresh_value(record)
        self.up.write(record, cells, version)
        ms, at = self.moment()
        payload = {"table": record.entity, "record": None if cells is None else upstream(cells), "record_id": record.id, "timestamp": ms, "action": "delete" if cells is None else "update"}
        self.later(lambda: self.tell(f"WEBHOOK {version}", record, "PODIUM.WEBHOOK", json.dumps(payload), "SECRET", SECRET, version=version, floor="version", at=at))

    def early(self, record: Record) -> None:
        """The cache is told first."""
        rev = self.history.rev()
        cells = value(self.random, rev)
        version = record.knows(Version(rev, cells))
        self.tell_now(record, version)
        time.sleep(self.random.choice([0, 0.02, 0.2]))
        self.up.write(record, cells, version)

    def phantom(self, record: Record) -> None:
        """Told, and never so in Airtable."""
        rev = self.history.rev()
        self.tell_now(record, record.knows(Version(rev, value(self.random, rev))))
        self.later(lambda: self.tell("INVALIDATE", record, "PODIUM.INVALIDATE", record.key))

    # Through the cache ------------------------------------------------------------------------------------------------

    def update(self, record: Record) -> None:
        if record.now is None:
            return self.silent(record)
        rev = self.history.rev()
        version = Version(rev, value(self.random, rev))
        self.through(record, version, "PODIUM.UPDATE", record.key, json.dumps(patch(version.value)))

    def delete(self, record: Record) -> None:
        self.through(record, Version(self.history.rev(), None), "PODIUM.DELETE", record.key)

    def through(self, record: Record, version: Version, *words) -> None:
        version.begin = time.monotonic()
        before = record.now
        record.becomes(version)
        tell = Tell(version.begin, NEVER, f"{words[0]} {version}", version, "version")
        record.tells.append(tell)
        reply = self.client.attempt(*words, timeout=30)
        version.end = NEVER
        if not isinstance(reply, ReplyError):
            version.end = tell.ack = time.monotonic()
            tell.what += " → done"
            if version.value is not None:
                self.same(record, version, reply, tell)
            return
        # Whether Airtable did it, it says itself.
        tell.what += f" → {reply.text[:80]}"
        holds = self.up.holds(record)
        if (holds is None) if version.value is None else (holds is not None and holds.get("rev") == version.rev):
            version.end = time.monotonic()
        else:
            version.certain = False

    def same(self, record: Record, version: Version, reply, tell: Tell) -> None:
        got = json.loads(reply)
        if shown(record.id, version.value, 0, None) != got:
            self.history.complain("a write's reply", f"{tell.what}: {got}")

    def create(self) -> None:
        entity = self.random.choice(ENTITIES)
        if sum(1 for record in self.history.of(entity)) > 60:
            return
        rev = self.history.rev()
        version = Version(rev, value(self.random, rev), time.monotonic())
        self.history.created[rev] = (entity, version)
        reply = self.client.attempt("PODIUM.CREATE", f"{entity}:*", json.dumps(upstream(version.value)), timeout=30)
        ended = time.monotonic()
        first = reply if isinstance(reply, ReplyError) else reply[0]
        if isinstance(first, ReplyError):
            return self.history.note(version.begin, ended, f"CREATE {version} → {first.text[:80]}")
        record = self.history.born(rev, json.loads(first)["id"], ended)
        tell = Tell(version.begin, ended, f"CREATE {version} → {record.id}", version, "version")
        record.tells.append(tell)
        self.same(record, version, first, tell)

    # At once ----------------------------------------------------------------------------------------------------------

    def transaction(self, record: Record) -> None:
        """Changes and reads in MULTI/EXEC or a script: nothing comes between."""
        steps: list[tuple[list, Tell | Ask]] = []
        now = time.monotonic()
        if self.random.random() < 0.5:
            cells, version = self.fresh_value(record)
            self.up.write(record, cells, version)
        current = record.upstream[-1]
        key = record.key
        for _ in range(self.random.randint(1, 3)):
            kind = self.random.choice(["tell", "invalidate", "del", "unlink", "set"])
            if kind == "tell" and current.certain and current.value is not None:
                steps.append((["PODIUM.UPSERT", key, told(record.id, current.value)], Tell(now, NEVER, f"UPSERT {current}", current)))
            elif kind == "tell" and current.certain:
                steps.append((["PODIUM.TOMBSTONE", key], Tell(now, NEVER, f"TOMBSTONE {current}", current)))
            elif kind == "invalidate":
                steps.append((["PODIUM.INVALIDATE", key], Tell(now, NEVER, "INVALIDATE")))
            elif kind == "set" and current.value is not None:
                name = self.random.choice(INDEXED)
                tell = Tell(now, NEVER, f"DEL {record.entity}:{name}", floor=None)
                self.history.tell_set(record.entity, name, cell(current.value, name), tell)
                steps.append((["DEL", f"{record.entity}:{name}:{cell(current.value, name)}"], tell))
            elif kind in ("del", "unlink"):
                steps.append(([kind.upper(), key], Tell(now, NEVER, kind.upper(), members=False)))
        for _ in range(self.random.randint(0, 2)):
            ask = random_ask(self.random, self.history, near=record)
            steps.insert(self.random.randint(0, len(steps)), (ask.words(), ask))
        if steps:
            self.at_once(record, steps, self.random.random() < 0.7)

    def at_once(self, record: Record, steps, exec: bool) -> None:
        how = "EXEC" if exec else "EVAL"
        tells = [step for _, step in steps if isinstance(step, Tell)]
        if exec:
            self.client.attempt("MULTI")
            for words, _ in steps:
                self.client.attempt(*words)
        sent = time.monotonic()
        for tell in tells:
            tell.sent = sent
            tell.what = f"{how}: {tell.what}"
            record.tells.append(tell)
        if exec:
            replies = self.client.attempt("EXEC")
        else:
            replies = self.client.attempt("EVAL", SCRIPT, 1, record.key, *[json.dumps(words) for words, _ in steps])
        done = time.monotonic()
        if isinstance(replies, ReplyError):
            if replies.code not in ("OOM", "LOADING", "EXECABORT"):
                self.history.complain("a transaction was refused", replies.text)
            return
        before: list[Tell] = []
        for (_, step), reply in zip(steps, replies):
            if isinstance(step, Tell):
                if self.acknowledge(step, reply):
                    step.ack = NEVER if self.took_nothing(step, reply) else done
                    before.append(step)
            else:
                self.history.reads.append(Read(step, sent, done, reply, self.client.name, how.lower(), tuple(before)))


SCRIPT = """
local out = {}
for at, command in ipairs(ARGV) do out[at] = redis.pcall(unpack(cjson.decode(command))) end
return out
"""

__all__ = ["KINDS", "SECRET", "Changer"]
