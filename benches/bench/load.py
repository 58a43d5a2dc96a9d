"""Asking a server as fast as it answers: valkey-benchmark for single commands, a socket of our own for mixtures."""

from __future__ import annotations

import math
import os
import re
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from resp import Client
from support import SERVERS

BENCHMARK = Path(os.environ.get("VALKEY_BENCHMARK", SERVERS["8.0"].parent / "valkey-benchmark"))
SERVER_CORE, CLIENT_CORE = 0, 1


@contextmanager
def core(number: int | None):
    """What is started meanwhile runs on that core only; None: wherever it likes. With a single core there is no choice."""
    before = os.sched_getaffinity(0)
    if number is not None and number in before and len(before) > 1:
        os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def rate(port: int, command: list[str], *, keys: int, pipeline: int, requests: int, clients: int = 50) -> float:
    """Requests a second of one command, in which __rand_int__ is a number below `keys`."""
    words = [str(BENCHMARK), "-h", "127.0.0.1", "-p", str(port), "-c", str(clients), "-P", str(pipeline), "-n", str(requests), "-r", str(keys), "--csv", *command]
    with core(CLIENT_CORE):
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    # The command stands first in its line, its quotes as they are; seven numbers follow, the first is the rate.
    found = re.search(r'"([\d.]+|inf)"(?:,"[^"]*"){6}\s*\Z', done.stdout)
    if done.returncode or not found:
        raise RuntimeError(f"valkey-benchmark {' '.join(command)[:200]}: {(done.stderr or done.stdout)[-500:]}")
    return float(found[1])


class Pace:
    """How long the runs of one pair take, and how many pairs there are."""

    def __init__(self, pairs: int, seconds: float):
        self.pairs, self.seconds = pairs, seconds

    def requests(self, port: int, command: list[str], keys: int, pipeline: int) -> int:
        """So many fill a run. Finding out warms caches and connections as well, and is not counted."""
        once = 100
        while True:
            found = rate(port, command, keys=keys, pipeline=pipeline, requests=once)
            # A run that is over before the clock ticks has no rate.
            if math.isfinite(found) and once >= found * self.seconds / 8:
                return max(100, int(found * self.seconds))
            once = min(once * 20, int(found * self.seconds / 4) + 1) if math.isfinite(found) else once * 20

    def ratios(self, port: int, native: list[list[str]], ours: list[list[str]], *, keys: int, pipeline: int) -> tuple[list[float], float]:
        """How long the native commands take to how long ours take, once for each pair; and the natives' rate. A side of several
        commands takes as long as all of them. Pairs alternate, so that what drifts meets both."""
        enough = {id(command): self.requests(port, command, keys, pipeline) for command in native + ours}

        def seconds(side: list[list[str]]) -> float:
            return sum(1 / rate(port, command, keys=keys, pipeline=pipeline, requests=enough[id(command)]) for command in side)

        found, rates = [], []
        for at in range(self.pairs):
            first, second = (native, ours) if at % 2 == 0 else (ours, native)
            a, b = seconds(first), seconds(second)
            one, other = (a, b) if at % 2 == 0 else (b, a)
            found.append(one / other)
            rates.append(1 / one)
        return found, sorted(rates)[len(rates) // 2]


def pour(port: int, blobs, replies: int) -> float:
    """Sends commands whose replies are a line each as fast as they are taken; seconds from the first to the last reply."""
    failed: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port), timeout=120) as link:

        def read() -> None:
            left, start = replies, True
            while left > 0:
                data = link.recv(1 << 18)
                if not data or (start and data.startswith(b"-")) or b"\n-" in data:
                    failed.append(data[:300])
                    link.shutdown(socket.SHUT_RDWR)
                    return
                start = data.endswith(b"\n")
                left -= data.count(b"\n")

        reader = threading.Thread(target=read)
        reader.start()
        begun = time.monotonic()
        try:
            for blob in blobs:
                link.sendall(blob)
        except OSError:
            if not failed:
                raise
        finally:
            reader.join()
    if failed:
        raise RuntimeError(f"refused: {failed[0]!r}")
    return time.monotonic() - begun


def batches(commands, size: int = 500):
    """Commands as bytes to send, so many at once."""
    taken: list[bytes] = []
    for command in commands:
        taken.append(Client.encode(*command))
        if len(taken) == size:
            yield b"".join(taken)
            taken.clear()
    if taken:
        yield b"".join(taken)


def ask(link: socket.socket, blob: bytes, mark: bytes) -> int:
    """Sends commands of any replies and waits for the last, told by the mark that is asked for behind them; bytes received."""
    link.sendall(blob + Client.encode("ECHO", mark))
    got, tail, end = 0, b"", mark + b"\r\n"
    while not tail.endswith(end):
        data = link.recv(1 << 20)
        if not data:
            raise RuntimeError("the server closed the connection")
        got += len(data)
        tail = (tail + data)[-len(end):]
    return got


def main_thread_seconds(pid: int) -> float:
    """CPU time of a process's main thread, to the nanosecond."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def process_seconds(pid: int) -> float:
    """CPU time of all threads of a process, those that ended included, to the clock tick."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
