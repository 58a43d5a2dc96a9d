"""Runs the client matrix: every client program against a server of every version, with the module on the emulator.

Usage: matrix.py [--valkey 8.0,9.1] PROGRAM…   (each PROGRAM is one command line)
Every program finds the server by PODIUM_PORT and prints a closing line `name: N passed, N failed`."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))

from airtable import Emulator  # noqa: E402
from support import SERVERS, Server  # noqa: E402
from world import World  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--valkey", default=",".join(SERVERS))
    parser.add_argument("program", nargs="+")
    arguments = parser.parse_args()
    passed = failed = 0
    emulator = Emulator()
    try:
        for version in arguments.valkey.split(","):
            for program in arguments.program:
                world = World(emulator)
                with Server(version, {"airtable-url": emulator.url, "base": world.base, "rate-limit": 1000}).start() as server:
                    found = run(program, server)
                    server.assert_well()
                print(f"  Valkey {version}  {found[2]}", flush=True)
                passed, failed = passed + found[0], failed + found[1]
    finally:
        emulator.stop()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def run(program: str, server: Server) -> tuple[int, int, str]:
    """Passed, failed, closing line. A program that does not come to its closing line is one failure."""
    environment = {**os.environ, "PODIUM_PORT": str(server.port)}
    try:
        done = subprocess.run(shlex.split(program), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        output, code = str(error.output), -1
    lines = output.strip().splitlines()
    closing = re.fullmatch(r"\S+: (\d+) passed, (\d+) failed", lines[-1]) if lines else None
    if closing is None or (code != 0 and closing[2] == "0"):
        print(output + server.log()[-3000:])
        return 0, 1, f"{program}: ended with {code} before its closing line"
    for line in lines[:-1]:
        print(f"    {line}")
    return int(closing[1]), int(closing[2]), lines[-1]


if __name__ == "__main__":
    sys.exit(main())
