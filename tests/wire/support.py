"""Waiting, processes and files for the wire tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

from resp import Client, Closed, ReplyError, mapping, text

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
MODULE = Path(os.environ.get("PODIUM_MODULE", TARGET / "release" / "libpodium.so"))
SERVERS = {
    "8.0": Path(os.environ.get("VALKEY_80", ROOT / ".cache" / "valkey-8.0" / "bin" / "valkey-server")),
    "9.1": Path(os.environ.get("VALKEY_91", ROOT / ".cache" / "valkey-9.1" / "bin" / "valkey-server")),
}

TROUBLE = ("ASSERTION", "crashed by signal", "panicked")
"""What a server log must never hold."""


def eventually(deadline: float, what: str, check):
    """Calls `check` until it returns something true, and returns that. After `deadline` seconds fails with the last value."""
    end = time.monotonic() + deadline
    pause = 0.002
    while True:
        last = check()
        if last:
            return last
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline} s still not: {what}; last value: {last!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def free_port() -> int:
    """A port that the system says is free. Another process may take it first: who starts a server tries again."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One valkey-server process in a directory of its own.

    `settings` are podium's (without the prefix), `config` the server's own lines. With `module=False` nothing is loaded."""

    def __init__(self, version: str, settings: dict | None = None, config: list[str] | None = None, *, module: bool = True,
                 env: dict | None = None, loadex: bool = False, save: bool = False, dir: Path | None = None):
        self.version = version
        self.settings = dict(settings or {})
        self.config = list(config or [])
        self.module = module
        self.env = dict(env or {})
        self.loadex = loadex
        self.save = save
        self.owns_dir = dir is None
        self.dir = Path(dir or tempfile.mkdtemp(prefix="podium-wire-"))
        self.log_path = self.dir / "server.log"
        self.log_seen = 0
        self.process: subprocess.Popen | None = None
        self.port = 0
        self.clients: list[Client] = []

    def start(self, expect_failure: bool = False) -> "Server":
        """Starts and waits for the first PING. A port taken in between is replaced."""
        for attempt in range(5):
            self.port = free_port()
            self._spawn()
            if self._wait_up(expect_failure):
                return self
            if "Address already in use" not in self.log() or attempt == 4:
                break
        if expect_failure:
            return self
        raise AssertionError(f"valkey-server {self.version} did not come up:\n{self.log()[-4000:]}")

    def _spawn(self) -> None:
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.dir}", "daemonize no", f"logfile {self.log_path}", "enable-module-command yes",
                 "enable-debug-command yes", "protected-mode no", "maxclients 4000"]
        if not self.save:
            lines.append('save ""')
        lines += self.config
        if self.module and not self.loadex:
            lines.append(f"loadmodule {MODULE}")
            lines += [f"podium.{name} {quoted(value)}" for name, value in self.settings.items()]
        conf = self.dir / "valkey.conf"
        conf.write_text("\n".join(lines) + "\n")
        self.log_seen = self.log_path.stat().st_size if self.log_path.exists() else 0
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("AIRTABLE_", "PODIUM_"))}
        environment.update({"AIRTABLE_TOKEN": "patTEST.secret"})
        environment.update(self.env)
        with open(self.dir / "stdio.log", "ab") as stdio:
            self.process = subprocess.Popen([str(SERVERS[self.version]), str(conf)], stdin=subprocess.DEVNULL, stdout=stdio, stderr=stdio, env=environment)

    def _wait_up(self, expect_failure: bool) -> bool:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            try:
                with Client(self.port) as client:
                    client.call("PING")
                    if self.module and self.loadex:
                        args = [word for name, value in self.settings.items() for word in ("CONFIG", f"podium.{name}", str(value))]
                        client.call("MODULE", "LOADEX", str(MODULE), *args)
                    return True
            except (ConnectionError, Closed, OSError):
                time.sleep(0.01)
            except ReplyError as error:
                if error.code not in ("LOADING", "MASTERDOWN"):
                    if expect_failure:
                        return False
                    raise
                if error.code == "MASTERDOWN":
                    return True
                time.sleep(0.01)
        return False

    def client(self, protocol: int = 2, **kwargs) -> Client:
        """A connection that is closed when the test ends."""
        client = Client(self.port, protocol, **kwargs)
        self.clients.append(client)
        return client

    def close_clients(self) -> None:
        for client in self.clients:
            client.close()
        self.clients.clear()

    def log(self) -> str:
        """The server's log of this run, with what it printed besides."""
        parts = []
        for path in (self.log_path, self.dir / "stdio.log"):
            if path.exists():
                parts.append(path.read_text(errors="backslashreplace"))
        return "\n".join(parts)

    def assert_well(self) -> None:
        """It answers, and its log holds no crash, assertion or panic."""
        lines = self.log().splitlines()
        trouble = next((n for n, line in enumerate(lines) if any(word in line for word in TROUBLE)), None)
        # (What was asserted, and where, stands in the lines that follow.)
        assert trouble is None, "the server log holds: " + "\n".join(lines[trouble : trouble + 120])
        if self.process is not None and self.process.poll() is None:
            with Client(self.port) as client:
                reply = client.attempt("PING")
                assert reply == "PONG" or (isinstance(reply, ReplyError) and reply.code in ("NOAUTH", "MASTERDOWN")), f"PING: {reply!r}"
        else:
            assert self.process is None, f"the server ended by itself with {self.process.returncode}:\n{self.log()[-4000:]}"

    def info(self, section: str = "podium") -> dict[str, str]:
        with Client(self.port) as client:
            lines = client.call("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))

    def figure(self, name: str) -> int:
        """One integer figure of INFO podium."""
        return int(self.info()[f"podium_{name}"])

    def stop(self, kill: bool = False) -> None:
        """Ends the process by its handle: SIGTERM, then SIGKILL after five seconds."""
        self.close_clients()
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.kill() if kill else process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    def restart(self, kill: bool = False) -> None:
        self.stop(kill)
        self.start()

    def restart_at(self, port: int, kill: bool = False) -> None:
        """The same on a port that others know it by."""
        self.stop(kill)
        self.port = port
        self._spawn()
        assert self._wait_up(False), self.log()[-4000:]

    def remove(self) -> None:
        self.stop()
        if self.owns_dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


def quoted(value) -> str:
    """A value of valkey.conf."""
    value = str(value)
    return '""' if value == "" else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def blocked(server: Server, count: int, deadline: float = 10) -> None:
    """Waits until `count` clients wait inside the server."""
    eventually(deadline, f"{count} blocked clients", lambda: int(server.info("clients")["blocked_clients"]) == count)


__all__ = ["Client", "Closed", "MODULE", "ROOT", "ReplyError", "SERVERS", "Server", "TARGET", "blocked", "eventually", "free_port", "mapping", "quoted", "text"]
