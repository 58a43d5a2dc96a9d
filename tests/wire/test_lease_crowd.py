"""Many who wait for one computed answer, and many answers that one change concerns."""

from __future__ import annotations

import os
import select
import statistics
import time

from support import blocked
from test_lease import fill, lease  # noqa: F401 (a fixture)
from test_lease_life import KEY, waiters

CROWD = 1_000
ROUNDS = int(os.environ.get("PODIUM_LEASE_ROUNDS", "3"))
"""How often a holder dies."""


def readable(clients, within):
    """Those of the clients that were sent something."""
    poll = select.poll()
    by_number = {one.socket.fileno(): one for one in clients}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(within * 1000)]


def test_of_a_thousand_who_wait_one_is_given_the_lease_of_a_holder_that_dies(client, server, lease):
    client.call("PODIUM.SPEC", "SET", "page", '{"computed":true,"lease_ms":60000,"wait_ms":60000}')
    holder = server.client()
    assert holder.call("PODIUM.LEASE", KEY)[1]
    crowd = waiters(server, CROWD)
    first_in_line, times = list(crowd), []
    for _ in range(ROUNDS):
        started = time.monotonic()
        holder.close()
        found = readable(crowd, 10)
        times.append((time.monotonic() - started) * 1000)
        assert found == [first_in_line.pop(0)], "exactly one: the one who has waited longest"
        [holder] = found
        crowd.remove(holder)
        value, token = holder.read()
        assert value is None and token
        blocked(server, len(crowd))
        assert not readable(crowd, 0.02), "the others wait until it is filled"
    print(f"from the close to the token, ms: median {statistics.median(times):.2f}, most {max(times):.2f}, of {len(times)}")
    assert int(server.figure("leases")) == 1 + ROUNDS
    assert fill(holder, KEY, "v", token) == 1
    assert [one.read() for one in crowd] == [[b"v", None]] * len(crowd)
    assert max(times) < 500
