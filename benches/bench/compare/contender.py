"""What is measured of each, and how."""

from __future__ import annotations

import json
import random
import socket
import time
import urllib.request
from dataclasses import dataclass

from airtable import TOKEN
from pydantic import BaseModel, Field

from .. import model
from ..figures import Measure, grouped
from ..load import CLIENT_CORE, core, process_seconds
from ..run import Run, said

HEAD = ["", "hits/s, one core of the application (Pydantic model)", "hits/s, one core of the server", "20 by an index, /s of the application",
        "calls for 1,000 cold records", "bytes a record", "a change in Airtable is seen"]

COLD = 1_000


class Project(BaseModel):
    """The application's model. Its schema is Podium's spec."""

    id: str
    name: str
    slug: str
    description: str
    points: int = Field(json_schema_extra={"sortable": True})
    event: str = Field(json_schema_extra={"indexed": True})
    repo_url: str
    demo_url: str


@dataclass
class Figures:
    name: str
    application: float = 0.0
    server: float = 0.0
    twenty: float | None = None
    calls: int = 0
    bytes: str = ""
    told: str = ""
    lacks: str = ""

    def cells(self) -> list[str]:
        if self.lacks:
            return [self.name, self.lacks, *[""] * 5]
        twenty = "–" if self.twenty is None else grouped(self.twenty)
        return [self.name, grouped(self.application), grouped(self.server), twenty, grouped(self.calls), self.bytes, self.told]


class Contender:
    """One way of reading records. A subclass reads, fills and counts; the same loops measure all."""

    name = ""
    told = ""

    def __init__(self, run: Run):
        self.run = run
        self.count = 2_000 if run.quick else 20_000
        self.seconds = 0.5 if run.quick else 3.0
        self.airtable = run.airtable(self.count)

    @classmethod
    def lacks(cls) -> str:
        """Why it cannot be measured here; empty if it can."""
        return ""

    def get(self, id: str) -> Project:
        """What the application calls."""
        raise NotImplementedError

    def cold(self, ids: list[str]) -> None:
        """Reads records that nothing holds, as the application would read many."""
        for id in ids:
            self.get(id)

    def twenty(self, event: str) -> list[Project]:
        raise NotImplementedError

    has_index = True

    def raw(self) -> tuple[int, list[bytes]]:
        """The port, and hits as bytes to send, whose replies are of RESP or HTTP."""
        raise NotImplementedError

    def pid(self) -> int:
        """The process that answers hits."""
        raise NotImplementedError

    def bytes_each(self) -> str:
        """What a record takes there, when all are."""
        raise NotImplementedError

    def fill(self) -> None:
        """All records, whatever way is quickest."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    # Measuring ------------------------------------------------------------------------------------------------------

    def figures(self) -> Figures:
        ids = [model.rid(n) for n in range(self.count)]
        found = Figures(self.name, told=self.told)
        self.airtable.forget()
        self.cold(ids[:COLD])
        found.calls = self.airtable.count_records()
        self.fill()
        found.bytes = self.bytes_each()
        dice = random.Random(1)
        asked = [dice.choice(ids) for _ in range(5000)]
        assert self.get(ids[7]) == Project(id=ids[7], **{name: model.cells(7)[name] for name in Project.model_fields if name != "id"})
        self.airtable.forget()
        found.application = self.rate(self.get, asked)
        if self.has_index:
            events = [model.event(int(id[3:])) for id in asked]
            assert len(self.twenty(events[0])) == model.GROUP
            found.twenty = self.rate(self.twenty, events)
        found.server = self.per_core(*self.raw())
        assert self.airtable.count_records() == 0, "hits are not answered from the cache"
        for what, value in (("application", found.application), ("server", found.server)):
            said(Measure("compare", f"{self.name}, {what}", [value], unit="hits/s", digits=0))
        return found

    def rate(self, call, words: list[str]) -> float:
        """Calls a second of one thread of the application, on its core. The first calls warm and are not counted."""
        with core(CLIENT_CORE):
            for word in words[:200]:
                call(word)
            done, begun = 0, time.monotonic()
            while (now := time.monotonic()) < begun + self.seconds:
                for word in words[done % 5000: done % 5000 + 100]:
                    call(word)
                done += 100
        return done / (now - begun)

    def per_core(self, port: int, requests: list[bytes]) -> float:
        """Hits a second of the server's own CPU time, 50 connections, one question on each at a time: what the client does
        meanwhile does not count."""
        links = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(50)]
        with core(CLIENT_CORE):
            hits, end, begun = 0, time.monotonic() + max(1.0, self.seconds), process_seconds(self.pid())
            while time.monotonic() < end:
                for at, link in enumerate(links):
                    link.sendall(requests[(hits + at) % len(requests)])
                for link in links:
                    receive(link)
                hits += len(links)
            spent = process_seconds(self.pid()) - begun
        for link in links:
            link.close()
        return hits / max(spent, 0.01)


def receive(link: socket.socket) -> bytes:
    """One whole reply: a bulk string of RESP, or an answer of HTTP with its length."""
    data = link.recv(65536)
    while (wanted := length(data)) is None or len(data) < wanted:
        more = link.recv(65536)
        if not more:
            raise RuntimeError(f"closed after {data[:200]!r}")
        data += more
    return data


def length(data: bytes) -> int | None:
    """How long the reply that begins so is; None: not to be told yet."""
    if data.startswith(b"$"):
        end = data.find(b"\r\n")
        return None if end < 0 else end + 2 + int(data[1:end]) + 2
    if data.startswith(b"HTTP/1.1 200"):
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        for line in data[:end].split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                return end + 4 + int(line.split(b":")[1])
        raise RuntimeError(f"no length: {data[:end]!r}")
    if data and data[:1] not in b"$H":
        raise RuntimeError(f"not a hit: {data[:200]!r}")
    return None


def fetched(url: str, id: str) -> Project:
    """From Airtable by the record's id: what a cache beside the application does on a miss."""
    request = urllib.request.Request(f"{url}/v0/{model.FULL}/projects/{id}", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return shaped(json.load(answer))


def shaped(record: dict) -> Project:
    return Project.model_validate({**record["fields"], "id": record["id"]})
