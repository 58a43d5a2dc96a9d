"""What happens to a server: keys deleted, expired, evicted, everything flushed, specs set, a reload, paused writes, settings, sweeps."""

from __future__ import annotations

import json
import time

from resp import Client, ReplyError, mapping
from .history import NEVER, History, Read, Tell, Version
from .model import BULK, ENTITIES, GROUPS, MAKERS, VARIANTS, Ask, cell, spec, told, value
from .readers import Reader, bulk_count
from .upstream import Upstream

KINDS = {"delete_record": 6, "delete_set": 3, "expire": 4, "flush": 1, "spec_same": 2, "spec_other": 2, "reload": 0.5, "pause": 1, "evict": 1,
         "settings": 1, "sweep": 1, "warm": 1, "everything": 1, "flood": 0.3, "join": 4, "race": 4}
FLOOD = 2600


class Saboteur:
    """One connection that does to the server what its operators and its users may do."""

    def __init__(self, client: Client, reader: Reader, other: Reader, up: Upstream, history: History, random, weights: dict[str, float], ttls, busy: float):
        self.client, self.reader, self.other, self.up, self.history, self.random = client, reader, other, up, history, random
        self.kinds, self.weights = list(weights), list(weights.values())
        self.ttls, self.busy = ttls, busy
        self.variants = {entity: 0 for entity in ENTITIES}
        self.bulk, self.floods = 0, 0

    def step(self) -> None:
        time.sleep(self.random.uniform(0, self.busy))
        getattr(self, self.random.choices(self.kinds, self.weights)[0])()

    # Own keys ---------------------------------------------------------------------------------------------------------

    def delete_record(self) -> None:
        record = self.random.choice(self.history.of(self.random.choice(ENTITIES)))
        how = self.random.choice(["DEL", "UNLINK", "MULTI"])
        tell = Tell(time.monotonic(), NEVER, f"{how} DEL" if how == "MULTI" else how, members=False)
        record.tells.append(tell)
        self.delete(how, record.key, tell)

    def delete(self, how: str, key: str, tell: Tell) -> None:
        if how == "MULTI":
            self.queue(key)
            # What is queued has not happened yet.
            time.sleep(self.random.choice([0, 0, 0.05]))
            tell.sent = time.monotonic()
            self.deleted(tell, self.client.attempt("EXEC"))
        else:
            self.deleted(tell, self.client.attempt(how, key))

    def queue(self, key: str) -> None:
        self.client.call("MULTI")
        self.client.call(self.random.choice(["DEL", "UNLINK"]), key)

    def delete_set(self) -> None:
        entity, (name, v) = self.random.choice(ENTITIES), self.random_set()
        how = self.random.choice(["DEL", "UNLINK", "MULTI"])
        tell = Tell(time.monotonic(), NEVER, f"{how} of {entity}:{name}:{v}")
        self.history.tell_set(entity, name, v, tell)
        self.delete(how, f"{entity}:{name}:{v}", tell)

    def random_set(self) -> tuple[str, str]:
        return self.random.choice([("group", g) for g in GROUPS] + [("flag", "true"), ("flag", "false")])

    def expire(self) -> None:
        entity = self.random.choice(ENTITIES)
        key = self.random.choice(self.history.of(entity)).key if self.random.random() < 0.6 else "{}:{}:{}".format(entity, *self.random_set())
        self.other_than_told(["PEXPIRE", key, self.random.choice([1, 20, 200])])

    def done(self, tell: Tell, reply) -> None:
        if isinstance(reply, ReplyError):
            tell.what += f" → {reply.text[:60]}"
            self.history.complain("refused", tell.what)
        else:
            tell.ack = time.monotonic()

    def deleted(self, tell: Tell, reply) -> None:
        """A set that was not there tells nothing: its value may be known to be empty, and stays so."""
        tell.idle = not tell.members and reply in (0, [0])
        if reply not in (0, [0]) or not tell.members:
            self.done(tell, reply)

    def other_than_told(self, words, timeout=30.0):
        sent = time.monotonic()
        reply = self.client.attempt(*words, timeout=timeout)
        self.history.note(sent, time.monotonic(), f"{' '.join(map(str, words))[:100]} → {str(reply)[:60]}")
        return reply

    # Everything -------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        words = self.random.choice([["FLUSHALL"], ["FLUSHALL", "ASYNC"], ["FLUSHDB"]])
        self.tell_all(ENTITIES + (BULK,), " ".join(words), words)

    def everything(self) -> None:
        if self.random.random() < 0.3:
            return self.tell_all(ENTITIES + (BULK,), "INVALIDATE *", ["PODIUM.INVALIDATE", "*"])
        entity = self.random.choice(ENTITIES)
        return self.tell_all([entity], f"INVALIDATE {entity}:*", ["PODIUM.INVALIDATE", f"{entity}:*"])

    def tell_all(self, entities, what: str, words) -> None:
        tell = Tell(time.monotonic(), NEVER, what)
        self.history.tell_all(entities, tell)
        self.done(tell, self.client.attempt(*words))

    def spec_same(self) -> None:
        entity = self.random.choice(ENTITIES)
        self.other_than_told(["PODIUM.SPEC", "SET", entity, json.dumps(spec(self.variants[entity]))])

    def spec_other(self) -> None:
        entity = self.random.choice(ENTITIES)
        self.variants[entity] = self.random.choice([v for v in range(VARIANTS) if v != self.variants[entity]])
        sent = time.monotonic()
        at = len(self.history.specs[entity])
        self.history.specs[entity].append((sent, NEVER, self.variants[entity]))
        reply = self.client.attempt("PODIUM.SPEC", "SET", entity, json.dumps(spec(self.variants[entity])))
        if reply != "OK":
            self.history.complain("refused", f"SPEC SET: {reply}")
        self.history.specs[entity][at] = (sent, time.monotonic(), self.variants[entity])
        self.history.note(sent, time.monotonic(), f"SPEC SET {entity} variant {self.variants[entity]}")

    def reload(self) -> None:
        self.other_than_told(["DEBUG", "RELOAD"])

    def pause(self) -> None:
        self.other_than_told(["CLIENT", "PAUSE", self.random.choice([50, 200, 500]), "WRITE"])
        time.sleep(self.random.uniform(0.05, 0.4))
        self.other_than_told(["CLIENT", "UNPAUSE"])

    def evict(self) -> None:
        used = int(self.client.call("INFO", "memory").decode().split("used_memory:")[1].split()[0])
        self.other_than_told(["CONFIG", "SET", "maxmemory-policy", self.random.choice(["allkeys-lru", "volatile-ttl", "allkeys-random"]), "maxmemory", max(1 << 20, used - self.random.randint(0, 200_000))])
        time.sleep(self.random.uniform(0.02, 0.3))
        self.other_than_told(["CONFIG", "SET", "maxmemory", 0])

    def settings(self) -> None:
        ttl, grace = self.random.choice(self.ttls)
        self.other_than_told(["CONFIG", "SET", "podium.ttl", ttl, "podium.empty-ttl", min(ttl, 30), "podium.stale-while-revalidate", self.random.choice([0, grace]),
                              "podium.stale-if-error", self.random.choice([0, grace]), "podium.tombstone-ttl", ttl])

    def sweep(self) -> None:
        entity = self.random.choice(ENTITIES)
        how = self.random.choice([[], ["FULL"], ["FULL"], ["DRYRUN"], ["ASYNC"]])
        reply = self.other_than_told(["PODIUM.SWEEP", f"{entity}:*", *how])
        if not isinstance(reply, ReplyError) and how in ([], ["FULL"]) and not {"cached", "removed"} <= set(mapping(reply)):
            self.history.complain("SWEEP's report", repr(reply))

    def warm(self) -> None:
        entity = self.random.choice(ENTITIES)
        self.other_than_told(["PODIUM.WARM", f"{entity}:*"] + self.random.choice([[], [], ["ASYNC"]]))

    # Many at once -----------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """A question waits for Airtable; it is told of a change; then something makes the cache forget; who asks now joins in?"""
        record = self.random.choice([r for r in self.history.of("things") if r.id.startswith(MAKERS["things"](0)[:6])])
        if not record.lock.acquire(blocking=False):
            return
        try:
            rev = self.history.rev()
            cells = value(self.random, rev)
            name, v = self.random.choice([("group", cells["group"]), ("flag", cell(cells, "flag"))])
            if record.now is not None and self.random.random() < 0.4:
                name, v, cells = "group", record.now["group"], None
            self.up.emulator.control("POST", "faults", {"kind": "slow", "ms": 400, "times": 1, "match": {"method": "GET", "path_contains": "/things", "formula_contains": f"{{{name}}}"}})
            ask = random_index(self.random, "things", name, v)
            ask.fresh = self.random.choice(["", "NOCACHE"])
            sent = time.monotonic()
            self.other.client.send(*ask.words())
            time.sleep(self.random.uniform(0.03, 0.1))
            self.tell_truth(record, cells, rev)
            for _ in range(self.random.choice([0, 1, 1, 2])):
                forgetting = [kind for kind in ("delete_record", "everything", "flush", "expire", "spec_other", "evict") if kind in self.kinds]
                getattr(self, self.random.choice(forgetting or ["expire"]))()
            if self.random.random() < 0.4:
                self.delete(self.random.choice(["DEL", "MULTI"]), record.key, self._del(record))
            self.reader.ask([random_index(self.random, "things", name, v)])
            reply = self.other.client.read(timeout=30)

            self.history.reads.append(Read(ask, sent, time.monotonic(), reply, self.other.client.name))
        finally:
            record.lock.release()

    def race(self) -> None:
        """A call for a record or a set that is not cached is under way; Airtable changes; the key is deleted, in every way that there is."""
        entity = self.random.choice(ENTITIES)
        record = self.random.choice([r for r in self.history.of(entity) if r.id.startswith(MAKERS[entity](0)[:6])])
        if not record.lock.acquire(blocking=False):
            return
        try:
            rev = self.history.rev()
            cells = value(self.random, rev)
            if self.random.random() < 0.6:
                key, formula, ask = record.key, record.id, Ask("get", [(entity, record.id)])
                self.delete("DEL", key, self._del(record))
            else:
                key, formula, ask = f"{entity}:group:{cells['group']}", "{group}", Ask("index", entity=entity, conditions=[("group", cells["group"])], output="IDS")
                self.delete("DEL", key, self._del_set(key))
            how = self.random.choice(["DEL", "UNLINK", "MULTI", "MULTI"])
            if how == "MULTI":
                # Queued before the call begins: it happens when EXEC is sent.
                self.queue(key)
            self.up.emulator.control("POST", "faults", {"kind": "slow", "ms": 250, "times": 1, "match": {"method": "GET", "path_contains": f"/{entity}", "formula_contains": formula}})
            sent = time.monotonic()
            self.other.client.send(*ask.words())
            time.sleep(self.random.uniform(0.03, 0.1))
            self.up.write(record, cells, Version(rev, cells))
            tell = self._del(record) if key == record.key else self._del_set(key)
            self.deleted(tell, self.client.attempt("EXEC") if how == "MULTI" else self.client.attempt(how, key))
            if self.random.random() < 0.5:
                self.reader.ask([ask])
            self.history.reads.append(Read(ask, sent, *self._answer()))
            self.reader.ask([ask])
        finally:
            record.lock.release()

    def _answer(self):
        reply = self.other.client.read(timeout=30)
        return time.monotonic(), reply, self.other.client.name

    def _del_set(self, key: str) -> Tell:
        entity, name, v = key.split(":", 2)
        tell = Tell(time.monotonic(), NEVER, f"DEL of {key}")
        self.history.tell_set(entity, name, v, tell)
        return tell

    def _del(self, record) -> Tell:
        tell = Tell(time.monotonic(), NEVER, "DEL", members=False)
        record.tells.append(tell)
        return tell

    def tell_truth(self, record, cells, rev) -> None:
        version = Version(rev, cells)
        self.up.write(record, cells, version)
        tell = Tell(time.monotonic(), NEVER, f"{'TOMBSTONE' if cells is None else 'UPSERT'} {version}", version)
        record.tells.append(tell)
        words = ["PODIUM.TOMBSTONE", record.key] if cells is None else ["PODIUM.UPSERT", record.key, told(record.id, cells)]
        self.done(tell, self.client.attempt(*words))

    def flood(self) -> None:
        """Thousands are told at once: known to Airtable, while a question is under way, or not known there yet."""
        if self.floods >= 2:
            return
        self.floods += 1
        group = f"flood{self.floods}"
        known = self.random.random() < 0.5
        many = []
        for _ in range(FLOOD):
            self.bulk += 1
            rev = self.history.rev()
            record = self.history.record(BULK, MAKERS[BULK](self.bulk))
            many.append((record, record.knows(Version(rev, {**value(self.random, rev), "group": group}))))
        if known:
            self.up.emulator.control("POST", "faults", {"kind": "slow", "ms": 900, "times": 1, "match": {"method": "GET", "path_contains": f"/{BULK}"}})
            ask = bulk_count(group, "IDS")
            sent = time.monotonic()
            self.other.client.send(*ask.words())
            time.sleep(0.1)
            self.up.create_many(BULK, many)
        self.tell_many(many)
        if known:

            self.history.reads.append(Read(ask, sent, *self._answer()))
        self.reader.ask([bulk_count(group, "COUNT")])
        self.reader.ask([bulk_count(group, "IDS")])
        if not known:

            for start in range(0, FLOOD, 500):
                self.reader.ask([Ask("mget", [(BULK, record.id) for record, _ in many[start : start + 500]], fresh="CACHEONLY")])

    def tell_many(self, many) -> None:
        for start in range(0, len(many), 200):
            part = many[start : start + 200]
            sent = time.monotonic()
            tells = [Tell(sent, NEVER, f"UPSERT {version}", version) for _, version in part]
            for (record, _), tell in zip(part, tells):
                record.tells.append(tell)
            replies = self.client.pipeline([("PODIUM.UPSERT", record.key, told(record.id, version.value)) for record, version in part], timeout=30)
            for tell, reply in zip(tells, replies):
                self.done(tell, reply)


def random_index(random, entity: str, name: str, v: str):

    output = random.choice(["", "IDS", "COUNT"])
    kind = random.choice(["index", "index", "inter", "all"])
    if kind == "all":
        return Ask("index", entity=entity, output=output)
    return Ask(kind, entity=entity, conditions=[(name, v)], output=output)


__all__ = ["KINDS", "Saboteur"]
