"""Clients that read in every way."""

from __future__ import annotations

import time

from resp import Client
from .history import History, Read, Record
from .model import BULK, ENTITIES, GROUPS, VIEWS, Ask


def random_ask(random, history: History, near: Record | None = None) -> Ask:
    """`near`: a record that it should be about, more often than not."""
    entity = near.entity if near is not None and random.random() < 0.8 else random.choice(ENTITIES)
    fresh = random.choices(["", "NOCACHE", "CACHEONLY"], [10, 1, 1])[0]
    ask = Ask("", entity=entity, fresh=fresh, meta=random.random() < 0.2)
    ask.max_age = random.choice([0, 1, 5]) if not fresh and random.random() < 0.05 else None
    ask.nowait = fresh != "CACHEONLY" and random.random() < 0.07
    ask.view = random.choices(VIEWS, [6, 3, 1])[0]
    kind = random.choices(["get", "mget", "index", "inter", "all"], [6, 2, 6, 2, 2])[0]
    if kind in ("get", "mget"):
        some = history.of(entity)
        ask.kind, ask.entity = kind, ""
        ask.keys = [(entity, random.choice(some).id) for _ in range(1 if kind == "get" else random.randint(1, 12))]
        if kind == "mget" and random.random() < 0.3:
            ask.keys += [(e, random.choice(history.of(e)).id) for e in ENTITIES]
        if near is not None:
            ask.keys[0] = (near.entity, near.id)
        return ask
    ask.kind = "inter" if kind == "inter" else "index"
    if kind != "all":
        ask.conditions = [random.choice([("group", random.choice(GROUPS)), ("flag", random.choice(["true", "false"]))])]
    if kind == "inter":
        ask.conditions = [("group", random.choice(GROUPS)), ("flag", random.choice(["true", "false"]))]
        random.shuffle(ask.conditions)
    ask.output = random.choices(["", "IDS", "COUNT"], [3, 4, 2])[0]
    if ask.output != "COUNT" and random.random() < 0.3:
        ask.sort = (random.choice(["rev", "score", "group"]), random.random() < 0.5)
    if ask.output != "COUNT" and random.random() < 0.15:
        ask.limit = (random.choice([0, 0, 1, 5]), random.choice([-1, 1, 3, 100]))
    return ask


class Reader:
    """One connection that asks, mostly one question at a time, sometimes several at once."""

    def __init__(self, client: Client, history: History, random, undisturbed):
        self.client, self.history, self.random, self.undisturbed = client, history, random, undisturbed

    def step(self) -> None:
        pick = self.random
        if pick.random() < 0.6:
            time.sleep(pick.uniform(0, 0.02))
        asks = [random_ask(pick, self.history) for _ in range(pick.choice([1, 1, 1, 1, 4]))]
        self.ask(asks)

    def ask(self, asks: list[Ask]) -> list[Read]:
        sent = time.monotonic()
        self.client.send_raw(b"".join(self.client.encode(*ask.words()) for ask in asks))
        reads = []
        for ask in asks:
            reply = self.client.read(timeout=30)
            done = time.monotonic()
            # A connection's replies stay in order, but the next question is looked at only after this answer.
            reads.append(Read(ask, sent, done, reply, self.client.name, stored=self.undisturbed(sent, done)))
        self.history.reads += reads
        return reads


def bulk_count(group: str, output: str) -> Ask:
    return Ask("index", entity=BULK, conditions=[("group", group)], output=output)


__all__ = ["Reader", "bulk_count", "random_ask"]
