"""A real Podium for an application's tests: a server with the module, started once, emptied between tests.

    # conftest.py
    pytest_plugins = ["podium.testing"]

    def test_a_page(podium_cache):
        events = podium_cache.entity("events", Event)
        events.upsert("rec00000000000001", Event(id="rec00000000000001", name="Lisbon"))
        assert events.get("rec00000000000001").name == "Lisbon"

What it needs is told by the environment: `PODIUM_MODULE` (the path of `libpodium.so`), `VALKEY_SERVER` (a `valkey-server`, 8.0 or
later; else that of the PATH), `PODIUM_AIRTABLE_URL` (a stand-in for Airtable; without one every fetch fails at once, and tests tell the
cache the records they need). It never calls Airtable itself."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podium import AsyncPodium, Podium, errors

MODULES = ("/usr/lib/valkey/libpodium.so", "/usr/local/lib/valkey/libpodium.so")
NOWHERE = "http://127.0.0.1:9"
"""Nothing answers there: a fetch fails at once."""
BASE = "appPodiumTesting0"
STARTS_IN = 20.0
"""s"""


class PodiumServer:
    """A `valkey-server` process with the module, in a directory of its own. `settings` are podium's, without the prefix."""

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        binary = os.environ.get("VALKEY_SERVER") or shutil.which("valkey-server")
        module = os.environ.get("PODIUM_MODULE") or next((path for path in MODULES if Path(path).exists()), None)
        if not binary or not Path(binary).exists():
            raise RuntimeError("there is no valkey-server: install Valkey 8.0 or later, or set VALKEY_SERVER to its path")
        if not module or not Path(module).exists():
            raise RuntimeError("there is no module: set PODIUM_MODULE to the path of libpodium.so")
        self._binary, self._module = binary, module
        url = os.environ.get("PODIUM_AIRTABLE_URL", NOWHERE)
        self.settings = {"airtable-url": url, "base": BASE, "sweep-interval": 0, "monthly-calls": 0, **(settings or {})}
        self._dir = tempfile.TemporaryDirectory(prefix="podium-testing-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        path = Path(self._dir.name) / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> PodiumServer:
        """Returns when it answers. RuntimeError, with its log, if it does not."""
        for _ in range(5):
            self.port = _free_port()
            arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._dir.name, "--save", "", "--logfile", "server.log"]
            arguments += ["--loadmodule", self._module]
            for name, value in self.settings.items():
                arguments += [f"--podium.{name}", str(value)]
            environment = {**os.environ, "AIRTABLE_TOKEN": os.environ.get("AIRTABLE_TOKEN", "patTesting.none")}
            self._process = subprocess.Popen(
                [self._binary, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
            )
            if self._answers():
                return self
            self._end()
            if "Address already in use" not in self.log:
                break
        raise RuntimeError(f"the server did not start:\n{self.log[-4000:]}")

    def _answers(self) -> bool:
        assert self._process is not None
        ends = time.monotonic() + STARTS_IN
        while time.monotonic() < ends and self._process.poll() is None:
            cache = Podium.connect(self.url, retry_after=0.0)
            try:
                cache.execute("PING")
                return True
            except errors.PodiumError:
                time.sleep(0.02)
            finally:
                cache.close()
        return False

    def flush(self) -> None:
        """Forgets all records, answers and specs."""
        cache = Podium.connect(self.url)
        for name in cache.execute("PODIUM.SPEC", "LIST"):
            cache.execute("PODIUM.SPEC", "DEL", name)
        cache.execute("FLUSHALL")
        cache.close()

    def stop(self) -> None:
        self._end()
        self._dir.cleanup()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def podium_server() -> Iterator[PodiumServer]:
    """The server of this test session."""
    server = PodiumServer().start()
    yield server
    server.stop()


@pytest.fixture
def podium_cache(podium_server: PodiumServer) -> Iterator[Podium]:
    """A cache on an empty server."""
    podium_server.flush()
    cache = Podium.connect(podium_server.url)
    yield cache
    cache.close()


@pytest.fixture
def podium_async_cache(podium_server: PodiumServer) -> AsyncPodium:
    """The same for async code. Its connections are closed by the test (`await cache.close()`), or with its event loop."""
    podium_server.flush()
    return AsyncPodium.connect(podium_server.url)


__all__ = ["PodiumServer", "podium_async_cache", "podium_cache", "podium_server"]
