"""How long anything holds up the other clients of the server: a case a row, the longest hold of each.

    python tests/load/holds.py [--valkey 8.0|9.1] [--only NAME,NAME] [--records 40000] [--repeat 3] [--log FILE]

By hand, on loopback, some minutes at most; ends only what it started. Three readings of each case, each the median of its
repetitions: `monitor`, the longest event of the server's own latency monitor (whole ms; `-`: none of a millisecond or more),
`command`, what the server says the command itself took of its main thread, and `ping`, the longest wait of a second client
that asks PING all the time. On a machine with other work the last says least."""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))

from airtable import TOKEN, Emulator  # noqa: E402
from resp import Client  # noqa: E402
from support import Server, eventually  # noqa: E402

BASE = "appHolds000000001"
PAGE = 100
GROUPS = 250

TEXT, LINKS = {"type": "string"}, {"type": "array", "items": {"type": "string", "pattern": "^rec"}, "default": []}
INDEXED = {**TEXT, "indexed": True}
SPECS = {
    "things": {"schema": {"type": "object", "properties": {"name": TEXT, "kind": INDEXED, "group": INDEXED, "n": {"type": "number", "sortable": True}}}},
    "linked": {"schema": {"type": "object", "properties": {"name": TEXT, "others": LINKS, "own": INDEXED}}},
    "loose": {},
}


def rid(number: int) -> str:
    return f"rec{number:014d}"


def fields(number: int) -> dict:
    return {"name": f"Thing {number}", "kind": "all", "group": f"g{number % GROUPS}", "n": number % 1000}


def seed(records: int, linked: list) -> dict:
    def column(name, type="singleLineText", **options):
        return {"name": name, "type": type, **({"options": options} if options else {})}

    things = {"name": "things", "primary": "name", "fields": [column("name"), column("kind"), column("group"), column("n", "number")],
              "records": [{"id": rid(n), "fields": fields(n)} for n in range(records)]}
    others = {"name": "linked", "primary": "name", "fields": [column("name"), column("others", "multilineText"), column("own")], "records": linked}
    loose = {"name": "loose", "primary": "name", "fields": [column("name")], "records": []}
    return {"tokens": [{"token": TOKEN, "scopes": ["data.records:read", "schema.bases:read"], "bases": [BASE]}],
            "bases": [{"id": BASE, "name": "Holds", "tables": [things, others, loose]}]}


def ping(port: int) -> None:
    """The second client, in a process of its own: PING after PING until its input ends, then the longest waits in ms."""
    one = socket.create_connection(("127.0.0.1", port), timeout=60)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    over, waits = threading.Event(), []
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    print("up", flush=True)
    while not over.is_set():
        before = time.perf_counter()
        one.sendall(b"PING\r\n")
        one.recv(64)
        waits.append(time.perf_counter() - before)
    print(json.dumps(sorted((wait * 1000 for wait in waits), reverse=True)[:20]))


class Pinger:
    def __init__(self, port: int):
        self.process = subprocess.Popen([sys.executable, __file__, "--ping", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def longest(self) -> float:
        out, _ = self.process.communicate("", timeout=60)
        return max(json.loads(out), default=0.0)


class Holds:
    def __init__(self, version: str, records: int, log: str | None):
        self.version, self.records, self.log_to = version, records, log
        self.airtable = Emulator()
        self.server: Server | None = None
        self.rows: list[tuple[str, str, str, str]] = []
        self.linked: list = []
        self.airtable.seed(seed(records, self.linked))

    def fresh(self, module: bool = True, **settings) -> Client:
        self.end_server()
        settings = {"airtable-url": self.airtable.url, "base": BASE, "sweep-interval": 0, "monthly-calls": 0, "rate-limit": 1000, "fetch-timeout-ms": 60000, "max-answer": 1000000, **{k.replace("_", "-"): v for k, v in settings.items()}}
        config = ["latency-monitor-threshold 1", "maxclients 12000", "client-query-buffer-limit 1gb", "proto-max-bulk-len 512mb"]
        self.server = Server(self.version, settings, config, module=module).start()
        client = self.server.client()
        if module:
            for name, spec in SPECS.items():
                client.call("PODIUM.SPEC", "SET", name, json.dumps(spec))
        return client

    def end_server(self) -> None:
        if self.server is not None:
            if self.log_to:
                with open(self.log_to, "a") as out:
                    out.write(self.server.log())
            self.server.remove()
            self.server = None

    def end(self) -> None:
        self.end_server()
        self.airtable.stop()

    def warm(self, client: Client, entity: str = "things") -> None:
        client.call("PODIUM.WARM", f"{entity}:*", timeout=120)

    def measure(self, client: Client, act, command: str | None = None) -> tuple[float, float, float]:
        """The longest event of the monitor, what `command` took of the main thread, the longest wait of PING, in ms."""
        time.sleep(0.15)
        client.call("CONFIG", "RESETSTAT")
        pinger = Pinger(self.server.port)
        client.call("LATENCY", "RESET")
        if self.log_to:
            with open(self.server.dir / "stdio.log", "a") as out:
                out.write(f"--- {self.name}\n")
        act(client)
        events = {event[0].decode(): event[3] for event in client.call("LATENCY", "LATEST")}
        waited = pinger.longest()
        took = 0.0
        if command:
            for line in client.call("INFO", "commandstats").decode().splitlines():
                if line.lower().startswith(f"cmdstat_{command.lower()}:"):
                    parts = dict(part.split("=") for part in line.split(":", 1)[1].split(","))
                    took = int(parts["usec"]) / max(1, int(parts["calls"])) / 1000
        return float(max(events.values(), default=0)), took, waited

    def case(self, name: str, repeat: int, prepare, act, command: str | None = None) -> None:
        self.name, seen = name, []
        for _ in range(repeat):
            client = prepare()
            seen.append(self.measure(client, act, command))
        monitor, took, waited = (statistics.median(column) for column in zip(*seen))
        row = (name, f"{monitor:.0f}" if monitor else "-", f"{took:.2f}" if command else "", f"{waited:.1f}")
        self.rows.append(row)
        print("  ".join((f"{row[0]:58}", f"{row[1]:>6}", f"{row[2]:>9}", f"{row[3]:>8}")), flush=True)


def cases(h: Holds, repeat: int) -> dict:
    """By name: what runs it."""
    n = h.records
    every = [f"things:{rid(i)}" for i in range(n)]
    answers: dict = {}

    def warmed(**settings):
        client = h.fresh(**settings)
        h.warm(client)
        return client

    def shared(**settings):
        """One warmed server for cases that change nothing."""
        if answers.get("shared") is None or h.server is None or answers["shared"] is not h.server:
            client = warmed(**settings)
            answers["shared"] = h.server
            return client
        return h.server.client()

    def told(count: int):
        """Records of `loose` and `things` told, no index set."""
        client = h.fresh()
        client.pipeline([("PODIUM.UPSERT", f"things:{rid(i)}", json.dumps(fields(i))) for i in range(count)], timeout=60)
        return client

    def sets(client, count: int):
        for i in range(count):
            client.call("PODIUM.INDEX", f"things:group:g{i}", "IDS", timeout=60)
        return client

    def call(*words, timeout=120):
        return lambda client: client.call(*words, timeout=timeout)

    def evicted(client):
        used = int(h.server.info("memory")["used_memory"])
        client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", str(used - 4_000_000))
        before = client.call("DBSIZE")
        eventually(30, "some are evicted", lambda: client.call("DBSIZE") < before - 5000)

    def in_multi(*words):
        def act(client):
            client.call("MULTI")
            client.call(*words)
            client.call("EXEC", timeout=60)
        return act

    def native(set_up):
        def prepare():
            client = h.fresh(module=False)
            set_up(client)
            return client
        return prepare

    def zset(client):
        for at in range(0, n, 1000):
            client.call("ZADD", "z", *[w for i in range(at, min(n, at + 1000)) for w in ("0", rid(i))])

    def strings(client):
        client.pipeline([("SET", f"k:{rid(i)}", "x" * 300, "EX", "9999") for i in range(20000)], timeout=60)

    text8 = json.dumps({"name": "x" * 8_000_000})
    array4 = json.dumps({"name": "x", "list": [1] * 4_000_000}, separators=(",", ":"))
    other = rid(7_000_000)

    def big_cell():
        client = h.fresh()
        client.call("PODIUM.UPSERT", f"loose:{rid(1)}", text8)
        client.call("PODIUM.GET", f"loose:{rid(1)}")
        return client

    def many_links(count: int):
        return json.dumps({"name": "a", "own": "x", "others": [rid(100_000 + i) for i in range(count)]})

    def index_of_linked(client):
        client.call("PODIUM.INDEX", "linked:own:x", "IDS")
        return client

    def waiters(count: int):
        def act(client):
            h.airtable.latency(1500)
            many = []
            for _ in range(count):
                one = socket.create_connection(("127.0.0.1", h.server.port), timeout=30)
                one.sendall(Client.encode("PODIUM.GET", f"things:{rid(5)}"))
                many.append(one)
            for one in many:
                one.recv(64)
            for one in many:
                one.close()
            h.airtable.latency(0)
        return act

    def deadline(count: int):
        """Many clients wait for a stale set that Airtable does not confirm in time."""
        def prepare():
            client = h.fresh(ttl=1, jitter_percent=0, fetch_timeout_ms=1500, stale_if_error=3600)
            sets(client, 1)
            time.sleep(1.3)
            return client

        def act(client):
            h.airtable.latency(4000)
            many = []
            for _ in range(count):
                one = socket.create_connection(("127.0.0.1", h.server.port), timeout=30)
                one.sendall(Client.encode("PODIUM.INDEX", "things:group:g0"))
                many.append(one)
            for one in many:
                one.recv(64)
            for one in many:
                one.close()
            h.airtable.latency(0)
        return prepare, act

    def hostile(count: int, links: int):
        """A page of records with many links each, where other links were cached."""
        def prepare():
            h.airtable.seed(seed(0, [{"id": rid(i), "fields": {"name": "a", "own": "x", "others": " "}} for i in range(count)]))
            client = index_of_linked(h.fresh())
            client.pipeline([("PODIUM.UPSERT", f"linked:{rid(i)}", json.dumps({"name": "a", "own": "x", "others": [rid(1000 + i)]})) for i in range(count)])
            return client

        def act(client):
            h.airtable.seed(seed(h.records, []))
            client.pipeline([("PODIUM.UPSERT", f"linked:{rid(i)}", json.dumps({"name": "a", "own": "x", "others": [rid(200_000 + i * links + j) for j in range(links)]})) for i in range(count)], timeout=120)
        return prepare, act

    stale_prepare, stale_act = deadline(1000)
    hostile_prepare, hostile_act = hostile(100, 1000)
    keys900 = [f"things:{rid(i)}" for i in range(900)] * 10
    run = {
        "invalidate-index": (f"INVALIDATE of an index of {n:,}", warmed, call("PODIUM.INVALIDATE", "things:kind:all"), "podium.invalidate"),
        "invalidate-index-multi": ("… in MULTI", warmed, in_multi("PODIUM.INVALIDATE", "things:kind:all"), "podium.invalidate"),
        "invalidate-all": (f"INVALIDATE * of {n:,}", warmed, lambda c: (c.call("PODIUM.INVALIDATE", "*"), eventually(60, "all gone", lambda: c.call("DBSIZE") < 50)), "podium.invalidate"),
        "tombstone-cached": ("TOMBSTONE of 10,000 cached keys, 250 sets", warmed, call("PODIUM.TOMBSTONE", *every[:10_000]), "podium.tombstone"),
        "tombstone-uncached": ("TOMBSTONE of 10,000 uncached keys, 250 sets", lambda: sets(h.fresh(), GROUPS), call("PODIUM.TOMBSTONE", *[f"things:{rid(9_000_000 + i)}" for i in range(10_000)]), "podium.tombstone"),
        "900-ten-times": ("INVALIDATE of the same 900 keys ten times, 250 sets", lambda: sets(h.fresh(), GROUPS), call("PODIUM.INVALIDATE", *keys900), "podium.invalidate"),
        "invalidate-10000": ("INVALIDATE of 10,000 cached keys", warmed, call("PODIUM.INVALIDATE", *every[:10_000]), "podium.invalidate"),
        "delete-many": ("INVALIDATE of 10,000 uncached keys, 250 sets", lambda: sets(h.fresh(), GROUPS), call("PODIUM.INVALIDATE", *[f"things:{rid(9_000_000 + i)}" for i in range(10_000)]), "podium.invalidate"),
        "upsert-links": ("UPSERT with 5,000 links", lambda: index_of_linked(h.fresh()), call("PODIUM.UPSERT", f"linked:{other}", many_links(5000)), "podium.upsert"),
        "upsert-links-again": ("… replaced by 5,000 others", lambda: (lambda c: (c.call("PODIUM.UPSERT", f"linked:{other}", many_links(5000)), c)[1])(index_of_linked(h.fresh())), call("PODIUM.UPSERT", f"linked:{other}", json.dumps({"name": "a", "own": "x", "others": [rid(300_000 + i) for i in range(5000)]})), "podium.upsert"),
        "upsert-text": ("UPSERT of an 8 MB text", h.fresh, call("PODIUM.UPSERT", f"loose:{rid(1)}", text8), "podium.upsert"),
        "upsert-array": ("UPSERT of a 4,000,000-element array", h.fresh, call("PODIUM.UPSERT", f"loose:{rid(1)}", array4), "podium.upsert"),
        "set-8mb": ("(native SET of 8 MB)", native(lambda c: None), call("SET", "k", "x" * 8_000_000), "set"),
        "get-8mb": ("GET of a record with an 8 MB cell", big_cell, call("PODIUM.GET", f"loose:{rid(1)}"), "podium.get"),
        "native-get-8mb": ("(native GET of 8 MB)", native(lambda c: (c.call("SET", "k", "x" * 8_000_000), c.call("GET", "k"))), call("GET", "k"), "get"),
        "warm": (f"WARM of {n:,}", h.fresh, call("PODIUM.WARM", "things:*"), "podium.warm"),
        "warm-again": ("… a second time", warmed, call("PODIUM.WARM", "things:*"), "podium.warm"),
        "ids": (f"INDEX :* IDS of {n:,}", shared, call("PODIUM.INDEX", "things:*", "IDS"), "podium.index"),
        "ids-group": ("INDEX of one value, IDS", shared, call("PODIUM.INDEX", "things:kind:all", "IDS"), "podium.index"),
        "count": ("… COUNT", shared, call("PODIUM.INDEX", "things:*", "COUNT"), "podium.index"),
        "ids-multi": ("… IDS in MULTI", shared, in_multi("PODIUM.INDEX", "things:*", "IDS"), "podium.index"),
        "zrange": (f"(native ZRANGE of {n:,})", native(zset), call("ZRANGE", "z", "0", "-1"), "zrange"),
        "records": (f"INDEX of {n:,} records", shared, call("PODIUM.INDEX", "things:kind:all"), "podium.index"),
        "inter": ("INTER of two sets", shared, call("PODIUM.INTER", "2", "things:kind:all", "things:group:g1", "IDS"), "podium.inter"),
        "limit": ("INDEX LIMIT 0 10", shared, call("PODIUM.INDEX", "things:*", "LIMIT", "0", "10"), "podium.index"),
        "index-fetch": (f"INDEX of one value fetched, {n:,} members", h.fresh, call("PODIUM.INDEX", "things:kind:all", "IDS"), "podium.index"),
        "mget": ("MGET of 1,000 that miss", h.fresh, call("PODIUM.MGET", "1000", *every[:1000]), "podium.mget"),
        "sweep": ("SWEEP FULL", warmed, call("PODIUM.SWEEP", "things:*", "FULL"), "podium.sweep"),
        "reload": ("DEBUG RELOAD of 20,000", lambda: told(20_000), call("DEBUG", "RELOAD"), "debug"),
        "native-reload": ("(without the module)", native(strings), call("DEBUG", "RELOAD"), "debug"),
        "evict": ("evicting 20,000", lambda: told(20_000), evicted, "config|set"),
        "flush": (f"FLUSHALL of {n:,}", warmed, call("FLUSHALL", "ASYNC"), "flushall"),
        "spec": (f"SPEC SET over {n:,}", warmed, call("PODIUM.SPEC", "SET", "things", json.dumps({"schema": {"type": "object", "properties": {"name": TEXT, "kind": INDEXED}}})), "podium.spec|set"),
        "waiters": ("waking 3,000 waiters", h.fresh, waiters(3000), "podium.get"),
        "deadline": ("the deadline of 1,000 clients on a stale set", stale_prepare, stale_act, "podium.index"),
        "hostile": ("100 UPSERTs with 1,000 links each", hostile_prepare, hostile_act, "podium.upsert"),
    }
    return run


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--valkey", default="9.1")
    parser.add_argument("--only", default="")
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--log", help="where the server's log of each case goes")
    parser.add_argument("--ping", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ping:
        ping(args.ping)
        return 0
    h = Holds(args.valkey, args.records, args.log)
    started = time.monotonic()
    try:
        print(f"{'longest hold, ms':58}  {'monitor':>6}  {'command':>9}  {'ping':>8}")
        all_cases = cases(h, args.repeat)
        for name in args.only.split(",") if args.only else all_cases:
            what, prepare, act, command = all_cases[name]
            h.case(what, args.repeat, prepare, act, command)
    finally:
        h.end()
    print(f"Valkey {args.valkey}, {args.records:,} records, median of {args.repeat}, {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
