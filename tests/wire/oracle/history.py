"""What happened: what was true in Airtable and when, what the cache was told, what was asked and answered.

Times are `time.monotonic()`. A change is an interval: it took effect at some moment between `sent` and its end. Everything is
noted as it happens by many threads (a list's append is atomic) and made searchable by `settle`, once they have ended."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

NEVER = float("inf")
ALWAYS = float("-inf")


@dataclass(eq=False)
class Version:
    """One state of a record; `value` None: it does not exist. It became true in Airtable between `begin` and `end`; both NEVER:
    it was only told. Not `certain`: whoever wrote it does not know whether Airtable did."""

    rev: int
    value: dict | None
    begin: float = NEVER
    end: float = NEVER
    certain: bool = True
    order: int | None = None

    def __str__(self):
        return f"#{self.rev} " + ("gone" if self.value is None else " ".join(f"{k}={v}" for k, v in self.value.items() if k not in ("name", "rev")))


@dataclass(eq=False)
class Tell:
    """Something the cache was told, or saw when it was made to look. `ack` NEVER: nobody said that it arrived.

    `floor`: "time": what is answered afterwards was true at `sent` or later; "version": it is `version` or a later one; None: it
    asks for nothing. `members`: it holds for index answers too. `at`: the moment it speaks of, where that is not `sent`. `idle`: a
    DEL that found nothing: what is under way is outdated, and what is told as of before is not, for nothing was known of it."""

    sent: float
    ack: float
    what: str
    version: Version | None = None
    floor: str | None = "time"
    members: bool = True
    at: float | None = None
    idle: bool = False

    def counts(self, members: bool, told: bool) -> bool:
        """Does it ask anything of an index answer (`members`), of what is told later (`told`)?"""
        return (self.members or not members) and not (told and self.idle)

    @property
    def since(self) -> float:
        return self.sent if self.at is None else min(self.sent, self.at)


class Record:
    """One record's life."""

    def __init__(self, entity: str, id: str, value: dict | None = None, rev: int = 0):
        self.entity, self.id = entity, id
        self.lock = threading.RLock()
        self.upstream: list[Version] = []
        self.tells: list[Tell] = []
        self.by_rev: dict[int, Version] = {}
        self.becomes(Version(rev, value, ALWAYS, ALWAYS))

    @property
    def key(self) -> str:
        return f"{self.entity}:{self.id}"

    @property
    def now(self) -> dict | None:
        """What is there, as far as whoever holds the lock knows."""
        return next(version.value for version in reversed(self.upstream) if version.certain)

    def becomes(self, version: Version) -> Version:
        """A new state in Airtable. Whoever writes holds the record's lock."""
        version.order = len(self.upstream)
        self.upstream.append(version)
        return self.knows(version)

    def knows(self, version: Version) -> Version:
        if version.value is not None:
            self.by_rev[version.rev] = version
        return version

    # Searching, after `settle` ------------------------------------------------------------------------------------------

    def settle(self, wide: list[Tell]) -> None:
        self.until = [NEVER] * len(self.upstream)
        end = NEVER
        for version in reversed(self.upstream):
            self.until[version.order] = end
            if version.certain:
                end = min(end, version.end)
        self.begins = [version.begin for version in self.upstream]
        self.all_tells = sorted(self.tells + wide, key=lambda tell: tell.ack)
        self._floors = {(members, told): self._prefix(members, told) for members in (False, True) for told in (False, True)}
        self._shown: tuple[list[float], list[float]] = ([], [])
        self.told = [tell for tell in self.all_tells if tell.version is not None]
        self.told_ahead = [tell for tell in self.told if tell.version.begin > tell.sent]
        self.ends = self._ends()

    def _prefix(self, members: bool, told: bool):
        acks, floors, highest = [], [], 0
        for tell in self.all_tells:
            if tell.ack < NEVER and tell.counts(members, told):
                highest = max(highest, self.floor_of(tell))
                acks.append(tell.ack)
                floors.append(highest)
        return acks, floors

    def floor_of(self, tell: Tell) -> int:
        if tell.floor == "version":
            return tell.version.order
        return self.since(tell.sent) if tell.floor == "time" else 0

    def since(self, moment: float) -> int:
        """The oldest state that was still true at `moment` or after."""
        return bisect_left(self.until, moment)

    def begun_by(self, moment: float) -> int:
        """How many states had begun by then."""
        return bisect_right(self.begins, moment)

    def floor(self, sent: float, members: bool, told: bool = False) -> int:
        """The oldest state that may answer what is asked at `sent`, after what was told before. `told`: if it was told itself."""
        acks, floors = self._floors[members, told]
        found = bisect_left(acks, sent)
        return floors[found - 1] if found else 0

    def _ends(self) -> dict[tuple[Tell, bool], float]:
        """When something else had certainly been told after a state was."""
        ends = {}
        for members in (False, True):
            later = sorted((tell.since, tell.ack) for tell in self.all_tells if tell.floor and (tell.members or not members))
            for told in self.told:
                ends[told, members] = min((ack for _, ack in later[bisect_right(later, (told.ack, NEVER)) :]), default=NEVER)
        return ends

    def superseded(self, told: Tell, sent: float, members: bool, after=()) -> bool:
        """Was something else certainly told between `told` and a question sent at `sent`?"""
        later = (tell for tell in after_of(after, told) if tell is not told and tell.floor and (tell.members or not members))
        return self.ends[told, members] < sent or any(later)

    def show(self, events: list[tuple[float, float]]) -> None:
        """`events`: (answered, a moment): whoever asks later gets nothing that ended before the moment."""
        moments, highest = [], ALWAYS
        events.sort()
        for _, moment in events:
            highest = max(highest, moment)
            moments.append(highest)
        self._shown = ([done for done, _ in events], moments)

    def shown(self, sent: float) -> float:
        found = bisect_left(self._shown[0], sent)
        return self._shown[1][found - 1] if found else ALWAYS


def after_of(after, told: Tell):
    """Of what one transaction did in order, what followed `told`; all of it when `told` came before."""
    after = list(after)
    return after[after.index(told) + 1 :] if told in after else after


@dataclass(eq=False)
class Read:
    """A question and its answer. `after`: what the same transaction had told before. `place`: "" | "exec" | "lua"."""

    ask: object
    sent: float
    done: float
    reply: object
    client: str = ""
    place: str = ""
    after: tuple = ()
    stored: bool = True


@dataclass
class History:
    """Everything of one episode. `window`: how long a change that nobody told may stay unseen, s."""

    window: float = NEVER
    slowest: float = 4.0
    timeout: float = 1.5
    troubled: bool = True
    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    wide: dict[str, list[Tell]] = field(default_factory=dict)
    sets: dict[tuple[str, str, str], list[Tell]] = field(default_factory=dict)
    specs: dict[str, list[tuple[float, float, int]]] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)
    events: list[tuple[float, float, str]] = field(default_factory=list)
    complaints: list[tuple[str, str]] = field(default_factory=list)
    created: dict[int, tuple[str, Version]] = field(default_factory=dict)

    def __post_init__(self):
        self._lock = threading.Lock()
        self._rev = 0

    def rev(self) -> int:
        """A number that no other version has."""
        with self._lock:
            self._rev += 1
            return self._rev

    def record(self, entity: str, id: str) -> Record:
        with self._lock:
            return self.records.setdefault((entity, id), Record(entity, id))

    def add(self, record: Record) -> Record:
        with self._lock:
            return self.records.setdefault((record.entity, record.id), record)

    def born(self, rev: int, id: str, seen: float) -> Record:
        """A record that was created through the cache has this id."""
        entity, version = self.created.pop(rev)
        version.end = seen
        record = Record(entity, id)
        record.becomes(version)
        return self.add(record)

    def of(self, entity: str) -> list[Record]:
        with self._lock:
            return [record for (name, _), record in self.records.items() if name == entity]

    def tell_all(self, entities, tell: Tell) -> None:
        for entity in entities:
            self.wide.setdefault(entity, []).append(tell)

    def tell_set(self, entity: str, field: str, value: str, tell: Tell) -> None:
        self.sets.setdefault((entity, field, value), []).append(tell)

    def note(self, sent: float, done: float, what: str) -> None:
        """Something that asks for nothing and is good to know when a failure is read."""
        self.events.append((sent, done, what))

    def complain(self, rule: str, detail: str) -> None:
        """What a player itself saw to be wrong."""
        self.complaints.append((rule, detail))

    def settle(self) -> None:
        for record in self.records.values():
            record.settle(self.wide.get(record.entity, []))
        self.members: dict[str, list[Record]] = {}
        for record in self.records.values():
            self.members.setdefault(record.entity, []).append(record)

    def set_floor(self, entity: str, field: str, value: str, sent: float) -> float:
        """The moment from which an answer about this value must be."""
        told = self.sets.get((entity, field, value), ())
        return max((t.sent for t in told if t.ack < sent), default=ALWAYS)

    def in_force(self, entity: str, sent: float, done: float) -> set[int]:
        """The variants of the spec that an answer may be shaped by."""
        known = self.specs[entity]
        return {variant for at, (begun, _, variant) in enumerate(known) if begun <= done and not any(ack < sent for _, ack, _ in known[at + 1 :])}


__all__ = ["ALWAYS", "NEVER", "History", "Read", "Record", "Tell", "Version"]
