"""Random writes of every kind in Airtable, and an oracle that knows what was true when."""

from __future__ import annotations

import json
import random
import threading
import time

from world import event, item, user

GROUPS = [f"g{n}" for n in range(10)]


class History:
    """What something was, and from when: `[(from, value), …]`. A write is true from its begin or its end: either is allowed."""

    def __init__(self, value):
        self.spans = [(0.0, float("inf"), value)]

    def becomes(self, begun: float, ended: float, value) -> None:
        start, _, last = self.spans[-1]
        self.spans[-1] = (start, ended, last)
        self.spans.append((begun, float("inf"), value))

    def held(self, test, since: float, until: float) -> bool:
        """Was it so at some moment between?"""
        return any(start <= until and end >= since and test(value) for start, end, value in self.spans)

    def ended(self, test, before: float) -> float:
        """When it was last so; `before` if it still is."""
        ends = [end for start, end, value in self.spans if start <= before and test(value)]
        return min(max(ends), before) if ends else float("-inf")

    @property
    def value(self):
        return self.spans[-1][2]


class Storm:
    """Writes at a rate; `items` and `projects` by id: a dict of cells, None where there is no record."""

    def __init__(self, world, seed: int, rate: float = 20):
        self.world, self.rate, self.random = world, rate, random.Random(seed)
        self.lock = threading.Lock()
        self.items = {id: History({k: f.get(k) for k in ("name", "n", "group")}) for id, f in world.truth("items").items()}
        self.projects = {id: History(self._project(f)) for id, f in world.truth("projects").items()}
        self.names = {id: f["display_name"] for id, f in world.truth("users").items()}
        self.writes = 0
        self.next = 1000
        self.gate = threading.Event()
        self.over = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    @staticmethod
    def _project(fields: dict) -> dict:
        return {"name": fields.get("name"), "event": fields.get("event", []), "owner": fields.get("owner", []),
                "owner_display_name": (fields.get("owner_display_name") or [None])[0]}

    def __enter__(self):
        self.gate.set()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self) -> None:
        self.gate.set()
        self.over.set()
        self.thread.join(20)

    def _run(self) -> None:
        due = time.monotonic()
        while not self.over.is_set():
            self.gate.wait()
            due = max(due + 1 / self.rate, time.monotonic() - 0.5)
            self.over.wait(max(0.0, due - time.monotonic()))
            try:
                self.write()
            except Exception as error:  # noqa: BLE001 - told to the test's own thread
                self.failure = error
                return

    def write(self) -> None:
        alive = [id for id, h in self.items.items() if h.value is not None]
        kind = self.random.choice(["rename", "move", "move", "create", "delete", "burst", "link", "owner", "person"])
        changes: dict[str, dict] = {}
        if kind == "create":
            self.next += 1
            id = item(self.next) if self.random.random() < 0.8 else next((i for i, h in self.items.items() if h.value is None), item(self.next))
            changes[id] = {"name": f"new {self.writes}", "n": self.writes, "group": self.random.choice(GROUPS)}
            order = {"create": [{"id": id, "fields": changes[id]}]}
        elif kind == "delete":
            changes = {id: None for id in self.random.sample(alive, 2)}
            order = {"delete": list(changes)}
        elif kind in ("rename", "move", "burst"):
            for id in self.random.sample(alive, 15 if kind == "burst" else 1):
                cells = {"group": self.random.choice(GROUPS)} if kind == "move" else {"name": f"name {self.writes}", "n": self.writes}
                changes[id] = cells
            order = {"update": [{"id": id, "fields": cells} for id, cells in changes.items()]}
        else:
            return self.write_links(kind)
        # Whoever judges an answer waits for the write under way to be noted.
        with self.lock:
            begun = time.monotonic()
            self.world.airtable.write(base=self.world.base, table="items", **order)
            ended = time.monotonic()
            for id, cells in changes.items():
                history = self.items.setdefault(id, History(None))
                history.becomes(begun, ended, None if cells is None else {**(history.value or {}), **cells})
        self.writes += 1

    def write_links(self, kind: str) -> None:
        id = self.random.choice(list(self.projects))
        order, touched = None, {}
        if kind == "link":
            target = event(self.random.randint(1, 4))
            table, order = "projects", {"id": id, "fields": {"event": [target]}}
            touched = {id: {"event": [target]}}
        elif kind == "owner":
            owner = user(self.random.randint(1, 12))
            table, order = "projects", {"id": id, "fields": {"owner": [owner]}}
            touched = {id: {"owner": [owner], "owner_display_name": self.names[owner]}}
        else:
            owner, name = user(self.random.randint(1, 12)), f"person {self.writes}"
            table, order = "users", {"id": owner, "fields": {"display_name": name}}
            touched = {p: {"owner_display_name": name} for p, h in self.projects.items() if h.value["owner"] == [owner]}
            self.names[owner] = name
        with self.lock:
            begun = time.monotonic()
            self.world.airtable.write(base=self.world.base, table=table, update=[order])
            ended = time.monotonic()
            for p, cells in touched.items():
                self.projects[p].becomes(begun, ended, {**self.projects[p].value, **cells})
        self.writes += 1


class Reader:
    """Reads at random and asks the oracle how old each answer is. Ages in s; 0: true while it was read."""

    def __init__(self, storm: Storm, seed: int):
        self.storm, self.random = storm, random.Random(seed)
        self.ages: list[float] = []
        self.errors: dict[str, int] = {}
        self.worst = (0.0, None)

    def read(self, client) -> None:
        """One question."""
        storm, pick = self.storm, self.random
        with storm.lock:
            some = pick.choice(list(storm.items))
        what = pick.choice(["get", "get", "index", "count", "project", "event"])
        if what == "get":
            self.judge(client, ["PODIUM.GET", f"items:{some}"], lambda r: [(storm.items[some], self._is_item(r))])
        elif what == "project":
            id = pick.choice(list(storm.projects))
            self.judge(client, ["PODIUM.GET", f"projects:{id}"], lambda r: self._project_facts(storm.projects[id], r))
        elif what == "event":
            value = event(pick.randint(1, 4))
            self.judge(client, ["PODIUM.INDEX", f"projects:event:{value}", "IDS"], lambda r: self._members(storm.projects, r, lambda v: value in v["event"]))
        else:
            group = pick.choice(GROUPS)
            self.judge(client, ["PODIUM.INDEX", f"items:group:{group}", "IDS"], lambda r: self._members(storm.items, r, lambda v: v["group"] == group))

    @staticmethod
    def _is_item(reply):
        if reply is None:
            return lambda v: v is None
        got = json.loads(reply)
        return lambda v: v is not None and all(got[k] == v[k] for k in ("name", "n", "group"))

    @staticmethod
    def _project_facts(history, reply):
        """Computed cells follow the others a little later, in Airtable itself: they are a fact of their own."""
        got = json.loads(reply)
        return [(history, lambda v: all(got[k] == v[k] for k in ("name", "event", "owner"))),
                (history, lambda v: got["owner_display_name"] == v["owner_display_name"])]

    @staticmethod
    def _members(histories, reply, belongs):
        got = {id.decode() for id in reply}
        inside, outside = (lambda v: v is not None and belongs(v)), (lambda v: v is None or not belongs(v))
        known = [(history, inside if id in got else outside) for id, history in histories.items()]
        return known + [(History(None), lambda v: False) for id in got if id not in histories]

    def judge(self, client, command, facts) -> None:
        begun = time.monotonic()
        reply = client.attempt(*command)
        ended = time.monotonic()
        if isinstance(reply, Exception):
            code = str(reply).split(" ", 1)[0]
            self.errors[code] = self.errors.get(code, 0) + 1
            return
        with self.storm.lock:
            for history, test in facts(reply):
                age = 0.0 if history.held(test, begun, ended) else begun - history.ended(test, begun)
                self.ages.append(age)
                if age > self.worst[0]:
                    self.worst = (age, (command, reply, [s for s in history.spans]))

    def histogram(self) -> dict[str, int]:
        """How many answers were wrong for how long."""
        edges = [0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, float("inf")]
        return {f"<= {edge}": sum(1 for a in self.ages if (edges[i - 1] if i else -1) < a <= edge) for i, edge in enumerate(edges)}


def exact(client, world, server) -> list[str]:
    """Where cache and base differ."""
    wrong = []
    truth = world.truth("items")
    for ids in _portions(list(truth)):
        for id, reply in zip(ids, client.call("PODIUM.MGET", len(ids), *[f"items:{id}" for id in ids])):
            got, fields = json.loads(reply) if reply else None, truth[id]
            if got is None or any(got[k] != fields.get(k, d) for k, d in (("name", None), ("n", 0), ("group", ""))):
                wrong.append(f"items:{id}: {got} is {fields}")
    for group in GROUPS:
        got = [id.decode() for id in client.call("PODIUM.INDEX", f"items:group:{group}", "IDS")]
        is_now = sorted(id for id, f in truth.items() if f.get("group", "") == group)
        if got != is_now:
            wrong.append(f"items:group:{group}: {sorted(set(got) ^ set(is_now))}")
    if [id.decode() for id in client.call("PODIUM.INDEX", "items:*", "IDS")] != sorted(truth):
        wrong.append("items:*")
    projects = world.truth("projects")
    for id, fields in projects.items():
        got = json.loads(client.call("PODIUM.GET", f"projects:{id}"))
        if {k: got[k] for k in ("name", "event", "owner", "owner_display_name")} != Storm._project(fields):
            wrong.append(f"projects:{id}: {got} is {fields}")
    for n in range(1, 5):
        got = [id.decode() for id in client.call("PODIUM.INDEX", f"projects:event:{event(n)}", "IDS")]
        if got != sorted(id for id, f in projects.items() if f.get("event") == [event(n)]):
            wrong.append(f"projects:event:{event(n)}")
    return wrong


def _portions(ids: list, size: int = 200):
    return [ids[i : i + size] for i in range(0, len(ids), size)]


__all__ = ["Reader", "Storm", "exact"]
