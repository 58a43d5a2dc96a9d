"""Records by key: Podium, and a cache that the application keeps beside Airtable."""

from __future__ import annotations

import json

import redis
from resp import Client
from support import Server

from .. import model
from ..figures import grouped
from ..scene import SETTINGS, pinned
from .contender import Contender, Project, fetched


class Keyed(Contender):
    """A Valkey, and redis-py, whose replies are parsed in C."""

    def start(self, module: bool, command: str, entity: str) -> None:
        settings = {"airtable-url": self.airtable.url, "base": model.FULL, **SETTINGS} if module else {}
        self.server = pinned(Server(self.run.version, settings, module=module))
        self.redis = redis.Redis(port=self.server.port, protocol=2)
        self.command, self.entity = command, entity
        self.before = 0

    def key(self, id: str) -> str:
        return f"{self.entity}:{id}"

    def used(self) -> int:
        return int(self.server.info("memory")["used_memory"])

    def raw(self):
        return self.server.port, [Client.encode(self.command, self.key(model.rid(n))) for n in range(self.count)]

    def pid(self) -> int:
        return self.server.process.pid

    def bytes_each(self) -> str:
        return grouped((self.used() - self.before) / self.count)

    def close(self) -> None:
        self.redis.close()
        self.server.remove()


class Podium(Keyed):
    name = "Podium, redis-py"
    told = "by feed, webhook, write"

    def __init__(self, run):
        super().__init__(run)
        self.start(True, "PODIUM.GET", "projects")
        self.redis.execute_command("PODIUM.SPEC", "SET", "projects", json.dumps({"schema": Project.model_json_schema()}))
        self.before = self.used()

    def get(self, id: str) -> Project:
        return Project.model_validate_json(self.redis.execute_command("PODIUM.GET", self.key(id)))

    def cold(self, ids: list[str]) -> None:
        for begin in range(0, len(ids), 100):
            some = ids[begin:begin + 100]
            assert None not in self.redis.execute_command("PODIUM.MGET", len(some), *map(self.key, some))

    def twenty(self, event: str) -> list[Project]:
        return [Project.model_validate_json(one) for one in self.redis.execute_command("PODIUM.INDEX", f"projects:event:{event}")]

    def bytes_each(self) -> str:
        return f"{super().bytes_each()}, its index included"

    def fill(self) -> None:
        with Client(self.server.port) as client:
            client.call("PODIUM.WARM", "projects:*", timeout=120)


class CacheAside(Keyed):
    name = "Valkey, redis-py: cache-aside by key"
    told = "when its lifetime ends"
    has_index = False

    def __init__(self, run):
        super().__init__(run)
        self.start(False, "GET", "projects")
        self.before = self.used()

    def get(self, id: str) -> Project:
        if stored := self.redis.get(self.key(id)):
            return Project.model_validate_json(stored)
        found = fetched(self.airtable.url, id)
        self.redis.set(self.key(id), found.model_dump_json(), ex=28800)
        return found

    def fill(self) -> None:
        with self.redis.pipeline(transaction=False) as pipe:
            for n in range(self.count):
                record = Project(id=model.rid(n), **{name: value for name, value in model.cells(n).items() if name in Project.model_fields})
                pipe.set(self.key(model.rid(n)), record.model_dump_json(), ex=28800)
            pipe.execute()
