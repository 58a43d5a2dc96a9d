"""scripts/run as a new user meets it: the tour is the one in README.md, it stays up, and ends all that it started."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from airtable import BINARY
from support import MODULE, ROOT, Client, eventually, free_port, text
from test_readme import SAMPLE_BASE, block

RUN = str(ROOT / "scripts" / "run")


class Run:
    """A started `scripts/run --no-build`, its output, and where it keeps its data."""

    def __init__(self, scratch: Path, port: int, *options: str, **environment: str):
        self.port = port
        self.scratch = scratch / "tmp"
        self.scratch.mkdir()
        self.out, self.err = scratch / "out", scratch / "err"
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRTABLE_", "PODIUM_"))}
        env |= {"PODIUM_MODULE": str(MODULE), "AIRTABLE_EMULATOR": str(BINARY), "TMPDIR": str(self.scratch), **environment}
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen([RUN, "--no-build", "--port", str(port), *options], env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def shown(self) -> str:
        return self.out.read_text(encoding="utf-8")

    def wait_up(self) -> None:
        eventually(60, "the tour ends", lambda: self.process.poll() is not None or "Ctrl-C ends it." in self.shown())
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.err.read_text()}{self.shown()}"

    def children(self) -> list[int]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                after_name = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            # A process that ended and was not waited for is gone.
            if after_name[1] == str(self.process.pid) and after_name[0] != "Z":
                found.append(int(stat.parent.name))
        return found

    def end(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(20)


@pytest.fixture
def run(tmp_path):
    """Starts scripts/run; it is ended with the test."""
    started = []

    def run(*options, port=None, **environment):
        one = Run(tmp_path, port or free_port(), *options, **environment)
        started.append(one)
        return one

    yield run
    for one in started:
        if one.process.poll() is None:
            try:
                one.end()
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait(5)


def alike(line: str) -> str:
    """Without what differs from run to run."""
    line = re.sub(r"\b[0-9a-f]{16}\b", "<token>", line.rstrip())
    return re.sub(r"(ttl|age|duration-ms)=-?\d+", r"\1=…", line)


def test_the_tour_is_the_one_in_readme(run):
    one = run()
    one.wait_up()
    shown = one.shown()
    tour = shown[shown.index("# The entities it knows"):shown.index("=== up ===")]
    assert [alike(line) for line in tour.strip().splitlines()] == [alike(line) for line in block("One minute", "text").strip().splitlines()]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_and_ends_all_that_it_started(run, how):
    one = run("--no-tour")
    one.wait_up()
    with Client(one.port) as client:
        assert text(client.call("PODIUM.SPEC", "LIST")) == ["events", "projects", "referrals", "users", "votes"]
        assert len(client.call("PODIUM.INDEX", "events:*", "IDS")) == 6
    children = one.children()
    assert len(children) == 2, "the server and the stand-in for Airtable"
    assert any(one.scratch.iterdir())
    assert one.end(how) == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}/exe").exists()]
    assert not any(one.scratch.iterdir()), "its data are removed"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", one.port)) != 0


def test_a_port_in_use_is_refused_at_once(run):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        one = run(port=other.getsockname()[1])
        assert one.process.wait(10) == 1
    assert "is in use" in one.err.read_text() and not any(one.scratch.iterdir())


def test_when_the_server_ends_it_says_so_and_ends_too(run):
    one = run("--no-tour")
    one.wait_up()
    with Client(one.port) as client:
        client.send("SHUTDOWN", "NOSAVE")
    assert one.process.wait(20) == 0 and "Valkey was shut down" in one.err.read_text()
    assert not any(one.scratch.iterdir())


def test_when_the_server_dies_it_fails(run):
    one = run("--no-tour")
    one.wait_up()
    with Client(one.port) as client:
        server = int(re.search(rb"process_id:(\d+)", client.call("INFO", "server"))[1])
    children = one.children()
    assert server in children
    os.kill(server, signal.SIGKILL)
    assert one.process.wait(20) == 1 and "Valkey ended" in one.err.read_text()
    assert not [pid for pid in children if Path(f"/proc/{pid}/exe").exists()]


@pytest.mark.parametrize("options, named", [(["--bogus"], "--bogus"), (["--port"], "--port"), (["--spec-file", "/nonexistent.json"], "/nonexistent.json")])
def test_bad_options_are_named(tmp_path, options, named):
    done = subprocess.run([RUN, "--no-build", *options], capture_output=True, text=True, timeout=30, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode != 0 and named in done.stderr
    assert not any(tmp_path.iterdir())


def test_what_is_not_built_is_named(run):
    one = run(PODIUM_MODULE="/nonexistent/libpodium.so")
    assert one.process.wait(10) == 1 and "/nonexistent/libpodium.so" in one.err.read_text()


def test_a_base_of_ones_own(run, world):
    """What a user with a token gets, on the test's base: the entities of a spec file."""
    one = run("--spec-file", str(ROOT / "scripts" / "sample-specs.json"), AIRTABLE_URL=world.airtable.url, AIRTABLE_TOKEN="patTEST.secret", AIRTABLE_BASE=world.base)
    one.wait_up()
    shown = one.shown()
    assert f"the base {world.base}" in shown and "patTEST" not in shown + one.err.read_text()
    assert "cache=MISS" in shown and "cache=HIT" in shown and "PODIUM.INVALIDATE events:" in shown
    assert len(one.children()) == 1, "no stand-in"


def test_a_base_of_ones_own_without_a_spec_file(run, world):
    world.airtable.seed(json.loads((ROOT / "tests" / "fixtures" / "sample-base.json").read_text(encoding="utf-8")))
    one = run(AIRTABLE_URL=world.airtable.url, AIRTABLE_TOKEN="patTEST.secret", AIRTABLE_BASE=SAMPLE_BASE)
    one.wait_up()
    with Client(one.port) as client:
        assert text(client.call("PODIUM.SPEC", "LIST")) == ["events", "projects", "referrals", "users", "votes"], "one for each table"
    assert "cache=HIT" in one.shown()


def test_a_base_that_cannot_be_read_says_why(run):
    one = run(AIRTABLE_URL="http://127.0.0.1:1", AIRTABLE_TOKEN="patTEST.secret", AIRTABLE_BASE=SAMPLE_BASE)
    one.wait_up()
    assert "UPSTREAMBAD" in one.err.read_text() and "None yet" in one.shown()


def test_half_of_a_token_and_base_is_said(run):
    one = run("--no-tour", AIRTABLE_BASE="appPodium00000001")
    one.wait_up()
    assert "AIRTABLE_TOKEN and AIRTABLE_BASE" in one.err.read_text()
