"""Some seconds on one server: a base of its own, players at random strengths, then judgement."""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from dataclasses import dataclass

from resp import Client
from . import changes, sabotage
from .history import NEVER, History, Tell
from .judge import Judge, Violation
from .model import BULK, ENTITIES, GROUPS, Ask, spec
from .readers import Reader
from .upstream import Upstream, Weather

_bases = itertools.count(1)
WITHOUT = set(os.environ.get("PODIUM_ORACLE_WITHOUT", "").split())
"""Kinds of changes and of sabotage to leave out, `feed`, and `gone` (nothing is deleted): a known fault would hide others. Nothing by itself."""

AFTERWARDS = 0.1
"""How much of what followed a wrong answer is shown with it, s."""

SETTINGS = {"fetch-timeout-ms": 1500, "connect-timeout-ms": 1000}
"""What the server runs with, so that calls under way end soon."""


@dataclass
class Plan:
    """What one episode is made of, all of it drawn from its seed."""

    seed: int
    records: int
    readers: int
    changers: int
    feed: bool
    ttls: list
    slow: float
    failing: float
    changing: dict
    breaking: dict
    busy: float

    @classmethod
    def drawn(cls, seed: int) -> "Plan":
        pick = random.Random(seed)
        feed = pick.random() < 0.3 and "feed" not in WITHOUT
        short = pick.random() < 0.3 and not feed
        return cls(
            seed=seed, records=pick.choice([5, 12, 30]), readers=pick.choice([3, 6, 10]), changers=pick.choice([1, 3, 5]), feed=feed,
            ttls=[(1, 0), (2, 1), (1, 2)] if short else [(28800, 0), (28800, 3600)], slow=pick.choice([0.2, 0.5, 0.9]), failing=pick.choice([0, 0, 0.02, 0.1]),
            changing=cls.some(pick, changes.KINDS, 0.7), breaking=cls.some(pick, sabotage.KINDS, 0.6), busy=pick.choice([0.05, 0.15, 0.5]))

    @staticmethod
    def some(pick, kinds: dict[str, float], share: float) -> dict[str, float]:
        """Some kinds are left out of every episode: what one of them hides, its absence shows."""
        drawn = {kind: weight * pick.uniform(0.3, 2) for kind, weight in kinds.items() if pick.random() < share}
        return {kind: round(weight, 2) for kind, weight in (drawn or kinds).items() if kind not in WITHOUT} or {"silent" if kinds is changes.KINDS else "expire": 1}


class Episode:
    def __init__(self, server, emulator, plan: Plan):
        self.server, self.emulator, self.plan = server, emulator, plan
        self.history = History(troubled=plan.failing > 0)
        self.over = threading.Event()
        self.failures: list[BaseException] = []
        self.late = 0.0

    def client(self, name: str, protocol: int) -> Client:
        client = Client(self.server.port, protocol)
        client.name = name
        return client

    def play(self, seconds: float) -> None:
        plan = self.plan
        pick = lambda: random.Random(self.rng.random())  # noqa: E731
        self.rng = random.Random(plan.seed + 1)
        base = f"appOracle{next(_bases):08d}"
        admin = self.client("admin", 2)
        for entity in admin.call("PODIUM.SPEC", "LIST"):
            admin.call("PODIUM.SPEC", "DEL", entity)
        admin.call("FLUSHALL")
        admin.call("CONFIG", "SET", "podium.base", base, "podium.ttl", plan.ttls[0][0], "podium.tombstone-ttl", plan.ttls[0][0],
                   "podium.empty-ttl", min(plan.ttls[0][0], 30), "podium.stale-while-revalidate", 0, "podium.stale-if-error", 0, "podium.sync-interval", 1)
        up = Upstream(self.emulator, base, self.history, pick(), plan.records)
        for entity in (*ENTITIES, BULK):
            self.history.specs[entity] = [(0.0, 0.0, 0)]
            admin.call("PODIUM.SPEC", "SET", entity, json.dumps(spec(0)))
        self.began = time.monotonic()
        self.offset = self.began - self.emulator.control("GET", "clock")["t_ms"] / 1000
        if plan.feed:
            admin.call("PODIUM.SYNC", "START")
        steps = {"weather": Weather(up, pick(), plan.slow, plan.failing).step, "heart": self.beat}
        for n in range(plan.readers):
            steps[f"reader {n}"] = Reader(self.client(f"r{n}", 2 + n % 2), self.history, pick(), self.undisturbed).step
        self.changers = []
        for n in range(plan.changers):
            self.changers.append(changes.Changer(self.client(f"w{n}", 2 + n % 2), up, self.history, pick(), plan.changing, 0 if "gone" in WITHOUT else 0.2))
            steps[f"changer {n}"] = self.changers[-1].step
        reader, other = (Reader(self.client(name, protocol), self.history, pick(), self.undisturbed) for name, protocol in (("s1", 2), ("s2", 3)))
        steps["saboteur"] = sabotage.Saboteur(self.client("s0", 2), reader, other, up, self.history, pick(), plan.breaking, plan.ttls, plan.busy).step
        threads = [threading.Thread(target=self.run, args=(name, step), name=name, daemon=True) for name, step in steps.items()]
        for thread in threads:
            thread.start()
        self.over.wait(seconds)
        self.over.set()
        for thread in threads:
            thread.join(40)
            if thread.is_alive():
                self.history.complain("a client that is never answered", thread.name)
        self.emulator.clear_faults()
        admin.call("CLIENT", "UNPAUSE")
        admin.call("CONFIG", "SET", "maxmemory", 0)
        last = Reader(admin, self.history, pick(), self.undisturbed)
        self.read_all(last)
        tell = Tell(time.monotonic(), NEVER, "INVALIDATE *")
        self.history.tell_all(ENTITIES, tell)
        admin.call("PODIUM.INVALIDATE", "*")
        tell.ack = time.monotonic()
        self.read_all(last)
        if plan.feed:
            admin.attempt("PODIUM.SYNC", "STOP")
        self.reconcile(up)

    def read_all(self, reader: Reader) -> None:
        """Everything once more, in peace: what went wrong for good shows here."""
        for entity in ENTITIES:
            reader.ask([Ask("mget", [(entity, record.id) for record in self.history.of(entity)], view="*")])
            for conditions in [[], *([("group", group)] for group in GROUPS), [("flag", "true")], [("flag", "false")]]:
                reader.ask([Ask("index", entity=entity, conditions=conditions)])
                reader.ask([Ask("index", entity=entity, conditions=conditions, output="COUNT")])

    def run(self, name: str, step) -> None:
        try:
            while not self.over.is_set():
                step()
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            self.failures.append(error)
            self.history.complain("a player fell", f"{name}: {type(error).__name__}: {error}")
            self.over.set()

    def beat(self) -> None:
        """How late this machine is: what is judged by the clock allows for it."""
        began = time.monotonic()
        time.sleep(0.05)
        self.late = max(self.late, time.monotonic() - began - 0.05)

    def undisturbed(self, sent: float, done: float) -> bool:
        """Was what this read fetched stored? Not while writes are paused, memory is short or everything is thrown away."""
        return not any(word in what for begun, ended, what in self.history.events[-20:] if ended >= sent - 1 for word in ("PAUSE", "maxmemory"))

    def reconcile(self, up: Upstream) -> None:
        """Records created by a write whose answer was lost."""
        seen = time.monotonic()
        for entity in ENTITIES:
            for id, fields in self.emulator.records(up.base, entity).items():
                if fields.get("rev") in self.history.created:
                    self.history.born(fields["rev"], id, seen)

    def judged(self) -> Judge:
        history, plan = self.history, self.plan
        history.slowest = SETTINGS["fetch-timeout-ms"] / 1000 + 1 + 2 * self.late
        if plan.feed:
            # The interval, a poll's own call, and this machine.
            history.window = 1 + 2 + 3 * self.late
        else:
            # Freshness ends, and what is served past it until a refresh has ended.
            history.window = max(sum(ttl) for ttl in plan.ttls) + history.slowest
        history.settle()
        judge = Judge(history)
        judge.run()
        # The earliest answer, of one record, says most.
        judge.found.sort(key=lambda v: (v.record is None, v.read.done if v.read else 0))
        return judge

    # Showing a failure ------------------------------------------------------------------------------------------------

    def story(self, violation: Violation) -> str:
        """What concerns the record (or the set) of a wrong answer, in order, times in ms since the episode began."""
        read, record = violation.read, violation.record
        if read is None:
            return str(violation)
        span = lambda a, b: f"{self.ms(a)}…{self.ms(b)}"  # noqa: E731
        facts = [(sent, f"{span(sent, done)} server: {what}") for sent, done, what in self.history.events if self.matters(what, read, record)]
        if record is not None:
            facts += [(v.begin, f"{span(v.begin, v.end)} Airtable: {v}{'' if v.certain else ' (perhaps)'}") for v in record.upstream]
            facts += [(tell.sent, f"{span(tell.sent, tell.ack)} told: {tell.what}") for tell in record.all_tells]
        for (entity, field, value), tells in self.history.sets.items():
            if entity == (record.entity if record else read.ask.entity):
                facts += [(tell.sent, f"{span(tell.sent, tell.ack)} set {field}:{value}: {tell.what}") for tell in tells]
        reads = [(other.sent, f"{span(other.sent, other.done)} {other.client} {self.asked(other, record)} → {short(other.reply, record and record.id)}")
                 for other in self.history.reads if other is not read and other.sent < read.done + AFTERWARDS and self.concerns(other, read, record)]
        told = [tell.sent for tell in record.all_tells if tell.ack < read.sent] if record is not None else []
        start = min([read.sent - 1] + told[-3:])
        facts = [fact for fact in facts if start <= fact[0] <= read.done + AFTERWARDS][-40:]
        calls = [(at, f"{self.ms(at)} called: {what}") for at, what in self.calls(read, record) if start <= at <= read.done + AFTERWARDS]
        calls = sorted(calls, key=lambda line: abs(line[0] - read.sent))[:20]
        place = f" in {read.place} after {[t.what for t in read.after]}" if read.place else ""
        near = sorted(reads, key=lambda line: abs(line[0] - read.sent))[:20]
        lines = sorted(facts + calls + near)
        return "\n".join([line[:260] for _, line in lines] + [
            f"{span(read.sent, read.done)} {read.client} {read.ask}{place} → {short(read.reply, record and record.id)}   <== {violation}"])

    @staticmethod
    def matters(what: str, read, record) -> bool:
        """Is it about this entity, and about this key where it names one?"""
        entity = read.ask.entity or (record.entity if record else "")
        if what.startswith("PEXPIRE"):
            return any(what.startswith(f"PEXPIRE {name} ") for name in read.ask.names() + ([record.key] if record else []))
        return not any(f" {other}" in what for other in (*ENTITIES, BULK) if other != entity)

    @staticmethod
    def concerns(other, read, record) -> bool:
        """Does it ask for the record, or for the same set?"""
        if other.ask.keys:
            return record is not None and (record.entity, record.id) in other.ask.keys
        return not read.ask.keys and other.ask.entity == read.ask.entity and other.ask.conditions == read.ask.conditions

    @staticmethod
    def asked(read, record) -> str:
        """The question; of many keys, the one that matters."""
        return f"PODIUM.MGET … {record.key} … {' '.join(read.ask.words()[2 + len(read.ask.keys):])}" if read.ask.kind == "mget" and record else str(read.ask)

    def calls(self, read, record) -> list[tuple[float, str]]:
        """Airtable's own log of the table: when a call came, what it asked and how it was answered."""
        table = f"/{read.ask.entity or read.ask.keys[0][0]}"
        shown = []
        for call in self.emulator.calls():
            of_ids = "RECORD_ID" in (call["formula"] or "") or call["method"] != "GET"
            if table in call["path"] and (not of_ids or record is None or record.id in str(call)):
                what = f"{call['method']} {call['path'].rsplit('/', 1)[-1]} {call['formula'] or call['body'] or ''} → {call['status']}, {call['records']} records"
                shown.append((call["real_ms"] / 1000 + self.offset, what + (f", {call['fault']}" if call["fault"] else "")))
        return shown

    def ms(self, moment: float) -> str:
        return "?" if abs(moment) == NEVER else f"{(moment - self.began) * 1000:.0f}"


def short(reply, id: str | None = None) -> str:
    """A reply in a few words; of many records, the one that matters."""
    if isinstance(reply, list) and id is not None:
        flat = [item for part in reply for item in (part if isinstance(part, list) else [part])]
        there = [item for item in flat if isinstance(item, bytes) and (item == id.encode() or item.startswith(b'{"id":"' + id.encode()))]
        return f"{len(reply)}, {there[0].decode() if there else 'without it'}"
    return repr(reply)[:160]


__all__ = ["Episode", "Plan", "SETTINGS"]
