"""What was measured, and on what."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from support import ROOT, SERVERS


def said(*command: str) -> str:
    """The first line a program prints; empty if it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.strip().splitlines() or [""])[0] if done.returncode == 0 else ""


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def module() -> str:
    """Version and commit, with a mark if the tree holds changes that the commit does not."""
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)
    commit = said("git", "rev-parse", "--short=10", "HEAD") or "no commit"
    changed = said("git", "status", "--porcelain", "--untracked-files=no", "src", "Cargo.toml", "Cargo.lock")
    return f"Podium {version[1] if version else '?'} ({commit}{', changed' if changed else ''})"


def server(version: str) -> str:
    found = re.search(r"v=(\S+)", said(str(SERVERS[version]), "--version"))
    return f"Valkey {found[1] if found else version}"


def line(versions: list[str], when: str, more: str = "") -> str:
    """One paragraph: machine, versions, date, and how busy the machine was at the end."""
    where = f"{cpu_model()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB, Linux {platform.release()}"
    what = ", ".join([module(), *map(server, versions), said("rustc", "--version") or "rustc unknown", f"Python {platform.python_version()}"])
    return f"{where}. {what}. {when}; load average at the end {os.getloadavg()[0]:.1f}.{' ' + more if more else ''}"
