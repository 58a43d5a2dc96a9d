"""A randomized test of computed answers: whatever happens, none is served that is outdated, and few are recomputed that are not.

The oracle keeps what was *told* and what Airtable holds, and computes from scratch what an answer made of given keys is worth. An
answer's value is what its reads said, so an outdated one is seen from its bytes.

PODIUM_LEASE_ORACLE_OPS: how many operations (default: as many as 15 s allow). PODIUM_LEASE_ORACLE_SEED: repeats a run."""

from __future__ import annotations

import collections
import json
import os
import random
import time

from support import eventually, text
from test_lease import fill
from world import SPECS, item

OPS = int(os.environ.get("PODIUM_LEASE_ORACLE_OPS", "0"))
SECONDS = 15
RECORDS = [item(n) for n in range(1, 61)]
GROUPS = ["g1", "g2", "g3", "g4", "gone"]
KEYS = [f"{kind}:{n}" for kind in ("page", "part") for n in range(12)]
TAGS = ["a", "b", "c"]


class Answer:
    def __init__(self, key, value, uses, tags):
        self.key, self.value, self.uses, self.tags = key, value, uses, tags


class Oracle:
    """What the base holds, and what is known of each answer. `world` and the cache are changed together, but for what
    `told_late` says: those records were changed in Airtable, and the cache is told by INVALIDATE."""

    def __init__(self, world, client, rng):
        self.world, self.client, self.rng = world, client, rng
        self.truth = {id: {k: v for k, v in fields.items() if k != "id"} for id, fields in world.truth("items").items()}
        for id in list(self.truth):
            if id not in RECORDS:
                self.truth.pop(id)
        world.delete("items", *[id for id in world.truth("items") if id not in RECORDS])
        self.answers: dict[str, Answer] = {}
        self.served = self.recomputed = self.needless = self.filled = self.refused = 0

    # What keys say ----------------------------------------------------------------------------------------------

    def record(self, id):
        fields = self.truth.get(id)
        return None if fields is None else {"id": id, "name": fields.get("name", ""), "n": fields.get("n", 0), "group": fields.get("group", "")}

    def says(self, use):
        kind, what = use
        if kind == "record":
            return self.record(what)
        if kind == "set":
            return [self.record(id) for id in sorted(self.truth) if self.record(id)["group"] == what]
        if kind == "all":
            return [self.record(id) for id in sorted(self.truth)]
        if kind == "first":
            ids = [id for id in sorted(self.truth) if self.record(id)["group"] == what]
            return [self.record(id) for id in ids[:3]], ids
        if kind == "both":
            group, n = what
            of_group = [id for id in sorted(self.truth) if self.record(id)["group"] == group]
            of_n = [id for id in sorted(self.truth) if self.record(id)["n"] == n]
            return [self.record(id) for id in of_group if id in of_n], of_group, of_n
        raise AssertionError(kind)

    def read(self, use, token):
        kind, what = use
        if kind == "record":
            got = self.client.call("PODIUM.GET", f"items:{what}", "FOR", token)
            return None if got is None else json.loads(got)
        if kind in ("set", "all"):
            got = self.client.call("PODIUM.INDEX", f"items:group:{what}" if kind == "set" else "items:*", "FOR", token)
            return [json.loads(one) for one in got]
        if kind == "first":
            got = self.client.call("PODIUM.INDEX", f"items:group:{what}", "LIMIT", 0, 3, "FOR", token)
            return [json.loads(one) for one in got], *self.says(use)[1:]
        if kind == "both":
            keys = [f"items:group:{what[0]}", f"items:n:{what[1]}"]
            self.rng.shuffle(keys)
            got = self.client.call("PODIUM.INTER", 2, *keys, "FOR", token)
            return [json.loads(one) for one in got], *self.says(use)[1:]
        got = self.client.call("PODIUM.GET", what, "FOR", token)
        part = self.answers.get(what)
        if got is None:
            self.needless += self.is_current(part)
            self.answers.pop(what, None)
            return None
        assert part is not None and part.value == got.decode() and self.may_be_served(part), ("an outdated answer was served", what)
        return part

    def is_current(self, answer, strictly=True):
        """Does everything it used say what it said? (An answer that it used may have expired: that is no change.) Not strictly: are
        the replies the same? Of an intersection, and of a part of a set, who else joined or left may be noticed or not."""
        if answer is None:
            return False
        for use, said in answer.uses:
            if use[0] == "answer":
                part = self.answers.get(use[1])
                if part is not None and part is not said or said is not None and not self.is_current(said, strictly):
                    return False
            elif use[0] in ("first", "both") and not strictly:
                if self.says(use)[0] != said[0]:
                    return False
            elif self.says(use) != said:
                return False
        return True

    def may_be_served(self, answer):
        return self.is_current(answer, strictly=False)

    # Operations -------------------------------------------------------------------------------------------------

    def compute(self, key, token):
        uses = []
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            kind = self.rng.choices(["record", "set", "all", "answer", "first", "both"], [6, 5, 0.3, 2 if key.startswith("page") else 0, 1, 1])[0]
            what = {"record": lambda: self.rng.choice(RECORDS), "set": lambda: self.rng.choice(GROUPS), "all": lambda: None,
                    "answer": lambda: self.rng.choice([k for k in KEYS if k.startswith("part")]), "first": lambda: self.rng.choice(GROUPS),
                    "both": lambda: (self.rng.choice(GROUPS), self.rng.randrange(4))}[kind]()
            use = (kind, what)
            if any(known == use for known, _ in uses):
                continue
            said = self.read(use, token)
            if kind != "answer":
                assert said == self.says(use), (use, said, self.says(use))
            uses.append((use, said))
        between = self.rng.random() < 0.05
        if between:
            self.change()
        tags = self.rng.sample(TAGS, self.rng.choice([0, 0, 1, 2]))
        value = f"{key} {self.rng.random()}"
        answer = Answer(key, value, uses, tags)
        stored = fill(self.client, key, value, token, *(["TAGS", len(tags), *tags] if tags else []))
        if stored:
            self.filled += 1
            self.answers[key] = answer
            # (What is in doubt without having been used itself is looked at by who asks next.)
            assert self.may_be_served(answer) or between and self.log[-1][0] == "behind", ("FILL said 1 though something changed", uses)
        else:
            self.refused += 1
            self.answers.pop(key, None)
            if not between:
                self.needless += 1
                self.last_needless = (key, "FILL said 0", [use for use, _ in uses], self.log[-6:])
                self.why["fill", tuple(sorted(use[0] for use, _ in uses))] += 1

    def show(self, key=None):
        key = key or self.rng.choice(KEYS)
        known = self.answers.get(key)
        value, token = self.client.call("PODIUM.LEASE", key)
        current = self.is_current(known)
        if value is not None:
            assert token is None
            assert known is not None and value.decode() == known.value, (key, value, known and known.value)
            assert self.may_be_served(known), ("an outdated answer was served", key, [(use, said, self.says(use)) for use, said in known.uses])
            self.served += 1
            return
        self.recomputed += 1
        if current:
            self.needless += 1
            self.last_needless = (key, [use for use, _ in known.uses], self.log[-6:])
            self.why["shown", self.log[-1][0] if self.log else None] += 1
        self.answers.pop(key, None)
        self.compute(key, token)

    def cells(self, id, **changed):
        before = self.truth.get(id, {"name": f"New {id}", "n": 0, "group": "g1"})
        return {name: value for name, value in {**before, **changed}.items() if name != "id"}

    def upsert(self, id, cells):
        if id in self.truth:
            self.world.change("items", id, **{**dict.fromkeys(self.truth[id]), **cells})
        else:
            self.world.create("items", id, **cells)
        self.truth[id] = cells
        self.client.call("PODIUM.UPSERT", f"items:{id}", json.dumps({"id": id, **cells}))

    def change(self):
        id = self.rng.choice(RECORDS)
        what = self.rng.choices(["same", "cell", "move", "gone", "behind", "spurious", "del", "set", "tag", "key", "prefix", "entity", "expire", "expire answer", "evict set"],
                                [6, 6, 4, 1, 4, 4, 1, 0.5, 0.4, 0.5, 0.2, 0.05, 3, 1, 1])[0]
        self.log.append((what, id))
        call = self.client.call
        if what == "same" and id in self.truth:
            self.upsert(id, self.cells(id))
        elif what in ("same", "cell"):
            self.upsert(id, self.cells(id, name=f"name {self.rng.randrange(1000)}", n=self.rng.randrange(4)))
        elif what == "move":
            self.upsert(id, self.cells(id, group=self.rng.choice(GROUPS[:4])))
        elif what == "gone" and id in self.truth:
            self.world.delete("items", id)
            self.truth.pop(id)
            call("PODIUM.TOMBSTONE", f"items:{id}")
        elif what == "behind" and id in self.truth:
            cells = self.cells(id, name=f"name {self.rng.randrange(1000)}", group=self.rng.choice(GROUPS[:4]))
            self.world.change("items", id, **cells)
            self.truth[id] = cells
            call("PODIUM.INVALIDATE", f"items:{id}")
        elif what == "spurious":
            call("PODIUM.INVALIDATE", f"items:{id}")
        elif what == "del":
            call("DEL", f"items:{id}")
        elif what == "set":
            group = self.rng.choice(GROUPS)
            self.drop(lambda a: any(u in (("set", group), ("first", group)) or u[0] == "both" and u[1][0] == group for u, _ in a.uses))
            call("PODIUM.INVALIDATE", f"items:group:{group}")
        elif what == "tag":
            tag = self.rng.choice(TAGS)
            self.drop(lambda a: tag in a.tags)
            call("PODIUM.INVALIDATE", f"tag:{tag}")
        elif what == "key":
            key = self.rng.choice(KEYS)
            self.drop(lambda a: False, lambda name: name == key)
            call("PODIUM.INVALIDATE", key)
        elif what == "prefix":
            kind = self.rng.choice(["page", "part"])
            prefix = f"{kind}:1"
            self.drop(lambda a: False, lambda name: name.startswith(prefix))
            call("PODIUM.INVALIDATE", f"{prefix}*")
        elif what == "entity":
            self.drop(lambda a: any(u[0] != "answer" for u, _ in a.uses))
            call("PODIUM.INVALIDATE", "items:*")
        elif what == "expire":
            call("PEXPIRE", f"items:{id}", 1)
            eventually(2, "it expired", lambda: not call("EXISTS", f"items:{id}"))
        elif what == "expire answer":
            key = self.rng.choice(KEYS)
            if call("PEXPIRE", key, 1):
                eventually(2, "it expired", lambda: not call("EXISTS", key))
                self.answers.pop(key, None)
        elif what == "evict set":
            group = f"items:group:{self.rng.choice(GROUPS)}"
            if call("PEXPIRE", group, 1):
                eventually(2, "it expired", lambda: not call("EXISTS", group))

    def drop(self, concerned, named=lambda key: False):
        """Answers that are thrown away, and what was made of them, or of those `named`."""
        gone = {key for key, answer in self.answers.items() if concerned(answer) or named(key)}
        while True:
            more = {key for key, answer in self.answers.items() if key not in gone and any(use[0] == "answer" and (use[1] in gone or named(use[1])) for use, said in answer.uses)}
            if not more:
                break
            gone |= more
        for key in gone:
            self.answers.pop(key)


def test_an_oracle_agrees(spawn, world):
    seed = int(os.environ.get("PODIUM_LEASE_ORACLE_SEED", random.randrange(10**9)))
    print("PODIUM_LEASE_ORACLE_SEED", seed)
    rng = random.Random(seed)
    server = spawn(config=["appendonly yes", "appendfsync no"])
    client = server.client()
    assert client.call("PODIUM.SPEC", "SET", "items", json.dumps({**SPECS["items"], "indexed": ["n"]})) == "OK"
    for kind in ("page", "part"):
        client.call("PODIUM.SPEC", "SET", kind, '{"computed":true,"early":0}')
    oracle = Oracle(world, client, rng)
    oracle.log, oracle.why = [], collections.Counter()
    started, ops = time.monotonic(), 0
    try:
        while ops < OPS if OPS else time.monotonic() - started < SECONDS:
            ops += 1
            draw = rng.random()
            if draw < 0.001:
                oracle.log.append(("restart", None))
                # Killed at any time: what was answered is in the log of writes by then.
                server.restart(kill=rng.random() < 0.7)
                oracle.client = client = server.client()
            elif draw < 0.7:
                oracle.show()
            else:
                oracle.change()
    finally:
        print(f"{ops} operations in {time.monotonic() - started:.0f} s: {oracle.served} served, {oracle.recomputed} recomputed, {oracle.needless} of them needlessly, "
              f"{oracle.filled} filled, {oracle.refused} refused; the last of the needless: {getattr(oracle, 'last_needless', None)}")
        print("last:", oracle.log[-10:], oracle.why.most_common(12))
    assert oracle.needless <= 0.02 * (oracle.served + oracle.needless), oracle.needless
