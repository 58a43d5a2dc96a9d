"""The wall clock jumps under a running server: nothing hangs, nothing bursts, no month is lost.

The jump comes from a shim between the server and the C library, which shifts the wall clock by what a file says."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from asking import get, ids
from support import ReplyError, eventually
from world import define, item

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Seconds to add to the wall clock. Read anew each time: the file is tiny, and the test is short. */
static long shift(void) {
    const char *path = getenv("CLOCK_SHIFT_FILE");
    char text[32] = {0};
    int fd = path ? open(path, O_RDONLY) : -1;
    if (fd < 0) return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    return got > 0 ? atol(text) : 0;
}
int clock_gettime(clockid_t clock, struct timespec *out) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, out);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) out->tv_sec += shift();
    return result;
}
int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    static int (*real)(struct timeval *restrict, void *restrict);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(out, zone);
    if (result == 0 && out) out->tv_sec += shift();
    return result;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""

HOUR, MONTH = 3600, 40 * 86400


@pytest.fixture
def jumper(version, spawn, tmp_path):
    """A server and a function that makes its wall clock jump."""
    if version != "8.0":
        pytest.skip("later servers load modules with RTLD_DEEPBIND: the shim would move the server's clock and not the module's")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the shim")
    source, shim, shift = tmp_path / "shim.c", tmp_path / "shim.so", tmp_path / "shift"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(shim), str(source), "-ldl"], check=True)
    shift.write_text("0")
    server = spawn({"rate-limit": 4, "fetch-timeout-ms": 3000}, env={"LD_PRELOAD": str(shim), "CLOCK_SHIFT_FILE": str(shift)})
    client = server.client()
    define(client)

    def jump(seconds):
        wanted = int(time.time()) + seconds
        aside = shift.with_suffix(".new")
        aside.write_text(str(seconds))
        aside.rename(shift)  # never read half-written
        # Its clock is read once per pass of its loop.
        eventually(5, "the server's clock jumped", lambda: abs(int(client.call("TIME")[0]) - wanted) <= 5)

    return server, client, jump


@pytest.mark.parametrize("jumps", [(HOUR,), (-HOUR,), (MONTH,), (-MONTH,), (HOUR, -HOUR, HOUR), (MONTH, 0)])
def test_reads_go_on(jumper, world, jumps):
    server, client, jump = jumper
    world.airtable.control("POST", "limits", {"enabled": True, "per_second": 5, "window": "sliding", "clear": True})
    number = 0
    for at in (0, *jumps):
        jump(at)
        for _ in range(3):
            number += 1
            started = time.monotonic()
            assert get(client, f"items:{item(number)}")["n"] == number
            assert time.monotonic() - started < 2.5
        assert len(ids(client, f"items:group:g{number % 10}")) == 40
    assert {call["status"] for call in world.airtable.calls()} == {200}, "no jump makes calls burst"
    assert isinstance(client.attempt("PODIUM.GET", f"items:{item(1)}", "NOCACHE"), bytes)
    assert 0 < server.figure("month_calls") <= world.airtable.count()


def test_a_jump_while_a_client_waits(jumper, world):
    server, client, jump = jumper
    world.airtable.latency(800)
    for seconds in (HOUR, -HOUR):
        reader = server.client()
        reader.send("PODIUM.GET", f"items:{item(100 + seconds % 7)}", "NOCACHE")
        eventually(5, "it waits", lambda: server.figure("blocked_clients") == 1)
        jump(seconds)
        # The server itself ends waits by the wall clock: a jump ahead is a deadline that passed.
        reply = reader.read(8)
        assert isinstance(reply, bytes) or (seconds > 0 and reply.code == "UPSTREAMTIMEOUT"), reply
        eventually(5, "nobody waits", lambda: server.figure("blocked_clients") == 0)


def test_a_lock_out_is_not_shortened_by_the_wall_clock(jumper, world):
    server, client, jump = jumper
    world.airtable.status(429, "RATE_LIMIT_REACHED", "Rate limit exceeded. Please try again later", "plural", times=1)
    assert client.error("PODIUM.GET", f"items:{item(1)}").code == "UPSTREAMBUSY"
    calls = world.airtable.count()
    for seconds in (HOUR, -HOUR):
        jump(seconds)
        assert client.error("PODIUM.GET", f"items:{item(2)}").code == "UPSTREAMBUSY"
    assert world.airtable.count() == calls


def test_the_month_turns_with_the_wall_clock_and_turns_back(jumper):
    server, client, jump = jumper
    get(client, f"items:{item(1)}")
    get(client, f"items:{item(2)}")
    jump(MONTH)
    eventually(5, "another month", lambda: server.figure("month_calls") == 0)
    jump(0)
    eventually(5, "the month before, its count known", lambda: server.figure("month_calls") == 2)
