"""The emulator as the tests see it: a process, its control plane, and what it was asked."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from support import TARGET, eventually

BINARY = Path(os.environ.get("AIRTABLE_EMULATOR", TARGET / "release" / "airtable-emulator"))

TOKEN = "patTEST.secret"


class Emulator:
    """A spawned `airtable-emulator`, with further options of its own. Its limits are off unless a test turns them on."""

    def __init__(self, *options: str):
        self.dir = tempfile.TemporaryDirectory(prefix="podium-emulator-")
        port_file = Path(self.dir.name) / "port"
        self.log = open(Path(self.dir.name) / "log", "wb")
        self.process = subprocess.Popen([str(BINARY), "--port", "0", "--no-limits", "--port-file", str(port_file), *options], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        try:
            written = eventually(15, "the emulator's port file", lambda: self._ended() or (port_file.exists() and port_file.read_text().strip()))
        except AssertionError:
            self.stop()
            raise
        self.port = int(written.rsplit(":", 1)[-1].strip("/ \n"))
        self.url = f"http://127.0.0.1:{self.port}"

    def _ended(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the emulator ended with {self.process.returncode}: {Path(self.log.name).read_text()}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        self.log.close()
        self.dir.cleanup()

    # Control plane ----------------------------------------------------------------------------------------------

    def control(self, method: str, path: str, body=None):
        """A control call; its JSON answer, None when empty."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_emulator/{path}", data=data, method=method, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                raw = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"emulator {method} {path}: {error.code} {error.read()[:500]!r}") from None
        return json.loads(raw) if raw.strip() else None

    def seed(self, seed: dict) -> None:
        """Replaces all data, clears calls, faults, latency and switches."""
        self.control("POST", "reset", {})
        self.control("POST", "seed", seed)
        self.control("POST", "limits", {"enabled": False})
        self.control("DELETE", "calls")

    def calls(self, containing: str = "") -> list[dict]:
        """What was asked since the last `forget`, oldest first. `containing`: only calls whose path or formula holds it."""
        log = self.control("GET", "calls")
        log = log["calls"] if isinstance(log, dict) else log
        return [call for call in log if containing in json.dumps(call)]

    def count(self, containing: str = "") -> int:
        return len(self.calls(containing))

    def count_records(self) -> int:
        """Calls for records: without the one by which specs are compared with the schema, some seconds after a first fetch."""
        return len([call for call in self.calls() if "/meta/" not in call["path"]])

    def forget(self) -> None:
        """Empties the call log."""
        self.control("DELETE", "calls")

    def latency(self, ms: int) -> None:
        """Every answer takes so long from now on."""
        self.control("POST", "latency", {"ms": ms})

    def fault(self, kind: str, times: int = -1, match: dict | None = None, **more) -> None:
        """Queues a fault; `times=-1`: until cleared."""
        self.control("POST", "faults", {"kind": kind, "times": times, "match": match or {}, **more})

    def status(self, status: int, type: str = "SOMETHING", message: str = "no", shape: str = "object", times: int = -1, match: dict | None = None, **more) -> None:
        """Queues an error status."""
        self.fault("status", times, match, status=status, shape=shape, type=type, message=message, **more)

    def clear_faults(self) -> None:
        self.control("DELETE", "faults")

    def write(self, **change):
        """Changes the data as a user of the web client would: no call, no limit, but webhook payloads."""
        return self.control("POST", "write", change)

    def records(self, base: str, table: str) -> dict[str, dict]:
        """The truth: fields by record id."""
        answer = self.control("GET", f"records/{base}/{table}")
        rows = answer["records"] if isinstance(answer, dict) else answer
        return {row["id"]: row["fields"] for row in rows}
