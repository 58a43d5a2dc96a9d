"""What the matrix asks of redis-py and valkey-py, whose interfaces are alike. PODIUM_PORT names the server."""

from __future__ import annotations

import json
import os
import sys

SPEC = {"schema": {"type": "object", "properties": {
    "id": {"type": "string"}, "name": {"type": "string"}, "n": {"type": "integer", "default": 0, "sortable": True}, "group": {"type": "string", "default": "", "indexed": True}}}}


def text(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [text(item) for item in value]
    if isinstance(value, dict):
        return {text(key): text(item) for key, item in value.items()}
    return value


def mapping(value) -> dict:
    """A map on RESP3, flat on RESP2."""
    return text(value) if isinstance(value, dict) else dict(zip(text(value)[::2], text(value)[1::2]))


class Checks:
    def __init__(self, label: str):
        self.label, self.passed, self.failed = label, 0, 0

    def check(self, what: str, holds, seen=None) -> None:
        if holds:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {self.label}: {what}; got {seen!r}")


def record(number: int) -> str:
    return f"items:recitm{number:011d}"


def run(library, name: str) -> None:
    """Every check on RESP2 and RESP3; ends the process."""
    port, totals = int(os.environ["PODIUM_PORT"]), [0, 0]
    for protocol in (2, 3):
        checks = Checks(f"{name} on RESP{protocol}")
        client = library(port=port, protocol=protocol, socket_timeout=15)
        try:
            conversation(client, checks, protocol)
        except Exception as error:  # A broken conversation is one failure, told with its kind.
            checks.check("the conversation ends", False, error)
        finally:
            client.close()
        totals[0] += checks.passed
        totals[1] += checks.failed
    print(f"{name}: {totals[0]} passed, {totals[1]} failed")
    sys.exit(1 if totals[1] or not totals[0] else 0)


def conversation(client, checks: Checks, protocol: int) -> None:
    do, check = client.execute_command, checks.check
    do("FLUSHALL")
    check("SPEC SET", text(do("PODIUM.SPEC", "SET", "items", json.dumps(SPEC))) in ("OK", True))
    check("SPEC LIST", (seen := text(do("PODIUM.SPEC", "LIST"))) == ["items"], seen)
    check("SPEC GET", (seen := json.loads(do("PODIUM.SPEC", "GET", "items")))["fields"]["group"]["indexed"] is True, seen)

    reply = do("PODIUM.GET", record(1), "META")
    check("GET … META is a pair", isinstance(reply, list) and len(reply) == 2, reply)
    check("the record", json.loads(reply[0])["n"] == 1, reply)
    check("META's shape", isinstance(reply[1], dict) == (protocol == 3), reply[1])
    check("a miss", mapping(reply[1])["cache"] == "MISS" and mapping(reply[1])["airtable-hits"] == 1, reply[1])
    seen = mapping(do("PODIUM.GET", record(1), "META")[1])
    check("a hit", seen["cache"] == "HIT" and seen["cache-status"].startswith("podium; hit"), seen)
    check("null", (seen := do("PODIUM.GET", "items:recDoesNotExist01")) is None, seen)

    seen = do("PODIUM.MGET", 3, record(1), "items:recDoesNotExist01", record(2))
    check("MGET", [one and json.loads(one)["n"] for one in seen] == [1, None, 2], seen)
    seen = text(do("PODIUM.INDEX", "items:group:g1", "SORT", "n", "DESC", "LIMIT", 0, 2))
    check("INDEX", [json.loads(one)["n"] for one in seen] == [391, 381], seen)
    check("INDEX COUNT", (seen := do("PODIUM.INDEX", "items:group:g1", "COUNT")) == 40, seen)
    check("INTER IDS", (seen := len(do("PODIUM.INTER", 1, "items:group:g1", "IDS"))) == 40, seen)
    seen = mapping(do("PODIUM.INDEX", "items:group:g1", "IDS", "META")[1])
    check("INDEX META", seen["cache"] == "HIT" and seen["key"] == "items:group:g1", seen)

    pipe = client.pipeline(transaction=False)
    for number in range(10, 60):
        pipe.execute_command("PODIUM.GET", record(number))
    check("a pipeline", [json.loads(one)["n"] for one in pipe.execute()] == list(range(10, 60)))

    pipe = client.pipeline(transaction=True)
    pipe.execute_command("PODIUM.GET", record(10))
    pipe.execute_command("PODIUM.GET", record(300))
    pipe.execute_command("PODIUM.UPSERT", record(11), json.dumps({"name": "told"}))
    seen = pipe.execute(raise_on_error=False)
    check("MULTI: a hit", json.loads(seen[0])["n"] == 10, seen)
    check("MULTI: a miss", isinstance(seen[1], Exception) and "WOULDBLOCK" in str(seen[1]), seen)
    check("MULTI: UPSERT", seen[2] == 1, seen)
    check("read what MULTI started to fetch", json.loads(do("PODIUM.GET", record(300)))["n"] == 300)
    check("read what was told", json.loads(do("PODIUM.GET", record(11)))["name"] == "told")

    try:
        do("PODIUM.GET", "items:nonsense")
        check("BADKEY", False)
    except Exception as error:
        check("BADKEY", str(error).startswith("BADKEY"), error)
    check("INVALIDATE", (seen := do("PODIUM.INVALIDATE", record(10), record(11))) == 2, seen)
    check("STATS", "podium_hits" in (seen := mapping(do("PODIUM.STATS"))) or "hits" in seen, seen)
