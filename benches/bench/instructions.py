"""Instructions of a hit, by part: callgrind on a server with the module, whose functions have their names."""

from __future__ import annotations

import re
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import support
from resp import Client

from . import model
from .figures import grouped
from .run import Run
from .scene import Scene
from .table import markdown

HITS = 2_000

OPEN, CLOSE, VALUE, REPLY = r"[RV]M_OpenKey", r"[RV]M_CloseKey", r"[RV]M_(StringDMA|StringPtrLen|KeyType|ModuleType.*)", r"[RV]M_Reply.*"
OURS, SERVER = r"podium::server::commands::read::get", r"[RV]M_.*"

QUESTIONS = (
    ("GET", ["GET"], "n"),
    ("PODIUM.GET", ["PODIUM.GET"], "p"),
    ("GET, VIEW *", ["PODIUM.GET", None, "VIEW", "*"], "p"),
    ("GET, VIEW short", ["PODIUM.GET", None, "VIEW", "short"], "p"),
    ("GET, META", ["PODIUM.GET", None, "META"], "p"),
)


@contextmanager
def under_callgrind(version: str, out: Path):
    """The server's program replaced by one that runs it under callgrind, counting nothing until it is told to."""
    program = out / "valkey-server"
    program.write_text(f'#!/bin/sh\nexec valgrind -q --tool=callgrind --trace-children=yes --instr-atstart=no --callgrind-out-file={out}/count.%p "{support.SERVERS[version]}" "$@"\n')
    program.chmod(0o755)
    before = support.SERVERS[version]
    support.SERVERS[version] = program
    try:
        yield
    finally:
        support.SERVERS[version] = before


def control(pid: int, *words: str) -> None:
    done = subprocess.run(["callgrind_control", *words, str(pid)], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"callgrind_control {' '.join(words)}: {done.stdout[-300:]}{done.stderr[-300:]}")


def counted(scene: Scene, out: Path, command: list, name: str) -> dict[str, float]:
    """Instructions a hit of every function, what it calls included."""
    keys = [f"{name}:{model.rid(n)}" for n in range(100)]
    words = [[command[0], key, *command[2:]] for key in keys]
    with Client(scene.port) as client:
        client.pipeline(words, timeout=120)
        before = set(out.glob("count.*"))
        control(scene.pid, "-i", "on")
        for _ in range(HITS // len(words)):
            for one in words:
                # One by one: a pipeline would be parsed together, and counted with the first.
                client.call(*one, timeout=120)
        control(scene.pid, "-d")
        control(scene.pid, "-i", "off")
    written = sorted(set(out.glob("count.*")) - before)
    if not written:
        raise RuntimeError("callgrind wrote nothing")
    found: dict[str, float] = {}
    for path in written:
        listed = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--auto=no", str(path)], capture_output=True, text=True, timeout=120)
        for function, count in functions(listed.stdout):
            if count > HITS * 1e6:
                # A thread that waits: its count ran below nothing.
                continue
            found[function] = max(found.get(function, 0.0), count / HITS)
        path.unlink()
    return found


def functions(listed: str):
    """Name and instructions of each line of callgrind_annotate."""
    for line in listed.splitlines():
        if match := re.match(r"\s*([\d,]+) (?:\(\s*[\d.]+%\) )?\s*[^\s:]*:(\S.*?)(?:'2)?(?: \[[^\]]*\])?$", line):
            yield match[2], float(match[1].replace(",", ""))


def total(found: dict[str, float], pattern: str) -> float:
    return sum(count for name, count in found.items() if re.fullmatch(pattern, name))


def parts(found: dict[str, float]) -> dict[str, float]:
    """What a hit is made of; what native GET has not is 0. Functions named here do not call each other, but where it says so."""
    ours, calls = total(found, OURS), total(found, SERVER)
    known = sum(total(found, pattern) for pattern in (OPEN, CLOSE, VALUE, REPLY))
    native = total(found, "addReplyBulk") if not ours else 0
    return {
        "reading, parsing and doing it (readQueryFromClient)": total(found, "readQueryFromClient"),
        "dispatch and command (processCommand)": total(found, "processCommand"),
        "the command (getCommand; the module's dispatcher)": total(found, "getCommand|(Redis|Valkey)ModuleCommandDispatcher"),
        "the key opened, its lookup in it": total(found, OPEN) if ours else total(found, "lookupKey"),
        "the lookup (lookupKey)": total(found, "lookupKey"),
        "the key closed": total(found, CLOSE),
        "the value got at, arguments read": total(found, VALUE),
        "the reply": total(found, REPLY) if ours else native,
        "other calls of the server by ours": calls - known if ours else 0,
        "our own: checks and all else": ours - calls if ours else 0,
        "of it, reading the stored form (Entry::read)": total(found, r"podium_core::entry::Entry::read"),
    }


def table_of(run: Run) -> str:
    """A column a question, a line a part."""
    columns: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="podium-bench-") as name:
        out = Path(name)
        with under_callgrind(run.version, out), run.scene() as at:
            at.define("p0500")
            at.tell("p0500", range(100))
            at.mirror("p0500", range(100))
            for _, command, prefix in QUESTIONS:
                columns.append(parts(counted(at, out, command, f"{prefix}0500")))
    if not columns[1]["our own: checks and all else"]:
        raise RuntimeError("the module's functions have no names: it was built without symbols")
    lines = [[what, *(grouped(found[what]) for found in columns)] for what in columns[0]]
    return f"Instructions, all called functions included, records of {len(model.told(7))} bytes of JSON.\n\n" + markdown(["", *(what for what, _, _ in QUESTIONS)], lines)
