"""The promises of docs/promises.md as rules: is every answer explained by what was true and what had been told?

An answer about a record is a *state* of it. States that explain what was asked at `sent` and answered at `done`:

- what was true in Airtable at some moment before `done`, and not ended before
  - anything about the record (its entity, its database) that was told and acknowledged before `sent` was sent: INVALIDATE, UPSERT,
    TOMBSTONE, a write, DEL, FLUSHALL: so what changes while the read is under way may be seen or not, and what was told before may
    not be unseen. DEL of a record says nothing about the sets it is in, nor of its tombstone, and one that found no copy nothing
    against what is told later as of before;
  - `sent` minus the window: how long a change that nobody told may stay unseen (freshness; with the feed, its delay and interval);
  - `sent` minus MAXAGE, or `sent` itself with NOCACHE;
  - for an index answer, what was told of its set (INVALIDATE or DEL of its key, NOCACHE);
- what was told, from when it was sent until something else was told and acknowledged: ahead of Airtable, or of what Airtable may not
  list yet, so that a set keeps it whatever is asked (a GET with NOCACHE does not).

An index answer holds a record only if a state that explains it has all the values asked for, and leaves one out only if one lacks
them: one state, for INTER too. Over answers: what an answer has shown is not unseen later (but for calls that were under way at
once), and a set agrees with a record that the cache holds throughout."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .history import ALWAYS, NEVER, History, Read, Record, Version
from .model import NOTES, Ask, matches, shown
from resp import ReplyError, mapping, text

CODES = {"UPSTREAM", "UPSTREAMTIMEOUT", "UPSTREAMBUSY", "UPSTREAMBAD"}


@dataclass
class Violation:
    rule: str
    detail: str
    read: Read | None = None
    record: Record | None = None

    def __str__(self):
        return f"{self.rule}: {self.detail}"


class Judge:
    """Judges a settled history."""

    def __init__(self, history: History):
        self.history = history
        self.found: list[Violation] = []
        self.facts = 0
        self.errors: dict[str, int] = {}
        self.floors_from_answers = False
        self.matching: dict[tuple, dict[Version, bool]] = {}
        self.shows: dict[Record, list[tuple[float, float]]] = {}

    def run(self) -> list[Violation]:
        for read in self.history.reads:
            self.judge(read)
        # Told first: what an answer shows is held against later ones only if the answer itself was right.
        if not self.found:
            self.floors_from_answers = True
            for record, events in self.shows.items():
                record.show(events)
            for read in self.history.reads:
                self.judge(read)
            self.witnesses()
        self.found += [Violation(rule, detail) for rule, detail in self.history.complaints]
        return self.found

    def wrong(self, rule: str, read: Read, record: Record | None, detail: str) -> None:
        self.found.append(Violation(rule + (" (shown before)" if self.floors_from_answers else ""), detail, read, record))

    # States ---------------------------------------------------------------------------------------------------------------

    def states(self, record: Record, read: Read, members: bool, since: float = ALWAYS, fresh: float = ALWAYS) -> list[Version]:
        """The states that explain an answer. `since`: what is fetched must have been asked for after it; `fresh`: what was told ahead
        of Airtable does not count before it either."""
        told = self._told(read, record) if read.after else ()
        floor, firm = (self._floor(record, read, members, told, once_told) for once_told in (False, True))
        asked = max(floor, record.since(max(since, fresh)))
        found = record.upstream[asked : max(record.begun_by(read.done), asked)]
        # What was told of a state that is true anyway is among them, but for what has to have been asked since.
        for tell in record.told if asked > firm else record.told_ahead:
            version = tell.version
            if version in found or tell.sent > read.done or tell.ack < fresh:
                continue
            if version.begin <= tell.sent and version.order < firm:
                continue
            if not record.superseded(tell, read.sent, members, told):
                found.append(version)
        return found

    def _floor(self, record: Record, read: Read, members: bool, told, once_told: bool) -> int:
        """The oldest state that may be answered; `once_told`: that was told."""
        floor = max(record.floor(read.sent, members, once_told), record.since(read.sent - self.history.window))
        floor = max([floor, *(record.floor_of(tell) for tell in told if tell.counts(members, once_told))])
        if self.floors_from_answers:
            floor = max(floor, record.since(record.shown(read.sent)))
        return floor

    @staticmethod
    def _told(read: Read, record: Record) -> list:
        """What the transaction itself had told of the record before."""
        return [tell for tell in read.after if tell in record.all_tells]

    @staticmethod
    def asked_since(ask: Ask, read: Read) -> float:
        if ask.fresh == "NOCACHE":
            return read.sent
        # A copy's age is in whole seconds.
        return read.sent - ask.max_age - 1 if ask.max_age is not None else ALWAYS

    def show(self, record: Record, read: Read, version: Version) -> None:
        """What the cache held when it answered is replaced only by calls that land later: by what was true a call's length before, or since."""
        if not self.floors_from_answers and read.stored and version.order is not None and version.begin < NEVER:
            self.shows.setdefault(record, []).append((read.done, read.sent - self.history.slowest))

    # Answers --------------------------------------------------------------------------------------------------------------

    def judge(self, read: Read) -> None:
        ask, reply = read.ask, read.reply
        if isinstance(reply, ReplyError):
            return self.error(read, reply)
        if ask.kind == "get":
            return self.single(read, ask.keys[0], self.bare(read, reply))
        if ask.kind == "mget":
            if not isinstance(reply, list) or len(reply) != len(ask.keys):
                return self.wrong("a reply's shape", read, None, repr(reply)[:200])
            for key, part in zip(ask.keys, reply):
                if isinstance(part, ReplyError):
                    self.error(read, part)
                else:
                    self.single(read, key, self.bare(read, part))
            return None
        reply = self.bare(read, reply)
        if reply is None:
            return None if ask.fresh == "CACHEONLY" else self.wrong("null in place of a set", read, None, str(ask))
        return self.count(read, ask, reply) if ask.output == "COUNT" else self.index(read, ask, reply)

    def error(self, read: Read, error: ReplyError) -> None:
        if not self.floors_from_answers:
            self.errors[error.code] = self.errors.get(error.code, 0) + 1
        allowed = error.code == "WOULDBLOCK" and (read.place or read.ask.nowait)
        allowed = allowed or error.code in CODES and self.history.troubled
        allowed = allowed or "change faster than they can be read" in error.text
        allowed = allowed or error.code == "UPSTREAMTIMEOUT" and read.done - read.sent > self.history.timeout * 0.8
        if not allowed:
            self.wrong("an error without a reason", read, None, error.text)

    def bare(self, read: Read, reply):
        """The reply without its META, which is looked at."""
        if not read.ask.meta:
            return reply
        if not isinstance(reply, list) or len(reply) != 2:
            self.wrong("META's shape", read, None, repr(reply)[:200])
            return None
        told = {key: text(value) for key, value in mapping(reply[1]).items()}
        if told.get("cache") not in ("HIT", "MISS", "STALE", "BYPASS"):
            self.wrong("META's shape", read, None, repr(told))
        elif told["cache"] == "HIT" and (told["airtable-hits"] != 0 or told["ttl"] < 0):
            self.wrong("META of a hit", read, None, repr(told))
        elif read.ask.kind != "mget" and told["key"] != " ".join(read.ask.names()):
            self.wrong("META's key", read, None, repr(told))
        return reply[0]

    def single(self, read: Read, key: tuple[str, str], reply) -> None:
        """GET's answer, or one of MGET's."""
        record = self.history.record(*key)
        if not hasattr(record, "until"):
            record.settle(self.history.wide.get(record.entity, []))
        if reply is None and read.ask.fresh == "CACHEONLY":
            return
        states = self.states(record, read, False, fresh=self.asked_since(read.ask, read))
        self.facts += 1
        if reply is not None:
            return self.is_one(read, record, reply, states)
        # A tombstone is a key of its own: DEL of the record's leaves it.
        states = states + self.states(record, read, True, fresh=self.asked_since(read.ask, read))
        gone = [version for version in states if version.value is None]
        if not gone:
            return self.wrong("null for what exists", read, record, f"{record.key} is {list(map(str, states))}")
        self.show(record, read, gone[0])

    def is_one(self, read: Read, record: Record, reply, states, conditions=()) -> None:
        """A record's JSON is one of the states."""
        obj = json.loads(reply)
        if obj.get("id") != record.id:
            return self.wrong("another record's JSON", read, record, str(obj))
        version = record.by_rev.get(obj.get("rev"))
        if version is None:
            return self.wrong("invented", read, record, f"nobody ever wrote {obj}")
        variants = self.history.in_force(record.entity, read.sent, read.done)
        if all(shown(record.id, version.value, variant, read.ask.view) != obj for variant in variants):
            return self.wrong("a record's shape", read, record, f"{obj} is not {version} by {[NOTES[v] for v in variants]}")
        if version not in states:
            return self.wrong("older than what was told", read, record, f"got {version}; what explains the answer: {list(map(str, states))}")
        if conditions and not matches(version.value, conditions):
            return self.wrong("a member without the value", read, record, str(version))
        self.show(record, read, version)

    # Index answers --------------------------------------------------------------------------------------------------------

    def membership(self, read: Read, record: Record) -> tuple[bool, bool]:
        """(may it be in the set, may it be left out)."""
        ask = read.ask
        since = self.asked_since(ask, read)
        if ask.conditions:
            # INTER may be answered from any one of its sets: the records' own cells decide of the others.
            since = max(since, min(self.history.set_floor(ask.entity, *condition, read.sent) for condition in ask.conditions))
        states = self.states(record, read, True, since=since)
        self.facts += 1
        known = self.matching.setdefault(tuple(ask.conditions), {})
        inside = set()
        for version in states:
            if version not in known:
                known[version] = matches(version.value, ask.conditions)
            inside.add(known[version])
        return True in inside, False in inside

    def count(self, read: Read, ask: Ask, reply) -> None:
        could = [self.membership(read, record) for record in self.history.members.get(ask.entity, ())]
        least, most = sum(1 for _, out in could if not out), sum(1 for inside, _ in could if inside)
        if not isinstance(reply, int) or not least <= reply <= most:
            certain = [record.id for record, (_, out) in zip(self.history.members.get(ask.entity, ()), could) if not out]
            possible = [record.id for record, (inside, out) in zip(self.history.members.get(ask.entity, ()), could) if inside and out]
            # What changed last is the likeliest to be miscounted.
            some = [record for record in self.history.members.get(ask.entity, ()) if record.id in certain]
            latest = max(some, key=lambda record: record.upstream[-1].begin, default=None)
            self.wrong("a count", read, latest, f"{reply!r}, must be {least} to {most}: certainly {certain[:20]}, perhaps {possible[:20]}")

    def index(self, read: Read, ask: Ask, reply) -> None:
        if not isinstance(reply, list):
            return self.wrong("a reply's shape", read, None, repr(reply)[:200])
        got = [item.decode() if ask.output == "IDS" else json.loads(item)["id"] for item in reply]
        if len(set(got)) != len(got):
            return self.wrong("a record twice", read, None, str(got))
        records = {record.id: record for record in self.history.members.get(ask.entity, ())}
        unknown = [id for id in got if id not in records]
        if unknown:
            return self.wrong("invented", read, None, f"no record {unknown} was ever there")
        offset, count = ask.limit or (0, -1)
        must = 0
        for id, record in records.items():
            inside, out = self.membership(read, record)
            must += not out
            if id in got and not inside:
                self.wrong("held against what was told", read, record, f"{read.ask} holds {id}")
            elif id not in got and not out and not ask.limit:
                self.wrong("left out against what was told", read, record, f"{read.ask} lacks {id}")
        if ask.limit and (count >= 0 and len(got) > count or len(got) < min(count if count >= 0 else must, max(0, must - offset))):
            self.wrong("LIMIT", read, None, f"{len(got)} of at least {must}")
        if ask.output != "IDS":
            for id, item in zip(got, reply):
                # The cells are those of the record as a GET would return it.
                states = self.states(records[id], read, False, since=self.asked_since(ask, read))
                self.is_one(read, records[id], item, states, ask.conditions)
        self.order(read, ask, got, reply)

    def order(self, read: Read, ask: Ask, got, reply) -> None:
        """By id, or by what the field says; where only ids were asked for, a sorted field's values are not known."""
        if not ask.sort:
            wanted = sorted(got)
        elif ask.output == "IDS" or ask.view == "brief":
            return
        else:
            name, down = ask.sort
            rows = [json.loads(item) for item in reply]
            valued = sorted((row for row in rows if row[name] is not None), key=lambda row: row["id"])
            valued.sort(key=lambda row: row[name], reverse=down)
            wanted = [row["id"] for row in valued] + sorted(row["id"] for row in rows if row[name] is None)
        if got != wanted:
            self.wrong("order", read, None, f"{got} is not {wanted}")

    # What the cache holds throughout --------------------------------------------------------------------------------------

    def witnesses(self) -> None:
        """A state that was only ever told is in the cache from then until the last answer that shows it: sets agree with it."""
        held: list[tuple[Record, Version, float, float]] = []
        shown_in: dict[tuple[Record, int], list[Read]] = {}
        for read in self.history.reads:
            if read.ask.kind in ("get", "mget") and not isinstance(read.reply, ReplyError) and read.reply is not None:
                parts = [read.reply] if read.ask.kind == "get" else read.reply
                for key, part in zip(read.ask.keys, parts):
                    part = part[0] if read.ask.meta and isinstance(part, list) else part
                    if isinstance(part, bytes):
                        shown_in.setdefault((self.history.record(*key), json.loads(part)["rev"]), []).append(read)
        for (record, rev), reads in shown_in.items():
            for tell in record.told_ahead:
                if tell.version.rev == rev:
                    # Whoever was answered after it had become true may have it from Airtable.
                    until = max((read.sent for read in reads if read.done < tell.version.begin), default=ALWAYS)
                    if tell.ack < until:
                        held.append((record, tell.version, tell.ack, until))
        if not held:
            return
        for read in self.history.reads:
            if read.ask.kind not in ("index", "inter") or read.ask.limit or isinstance(read.reply, ReplyError):
                continue
            if read.ask.fresh or read.ask.max_age is not None:
                # It looks at its members anew, and what it finds need not be stored: something else may be told meanwhile.
                continue
            reply = self.bare(read, read.reply)
            there = [r for r, v, since, until in held
                     if r.entity == read.ask.entity and since < read.sent and read.done < until and matches(v.value, read.ask.conditions)]
            if isinstance(reply, int) and reply < len(there):
                self.wrong("a set that disagrees with its records", read, None, f"{reply}, and the cache holds {len(there)} that match")
            elif isinstance(reply, list):
                got = {item.decode() if read.ask.output == "IDS" else json.loads(item)["id"] for item in reply}
                for record in there:
                    if record.id not in got:
                        self.wrong("a set that disagrees with its records", read, record, f"{read.ask} lacks {record.id}")


__all__ = ["Judge", "Violation"]
