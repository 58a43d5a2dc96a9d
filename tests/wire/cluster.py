"""Clusters of real servers, and slots that move between their nodes key by key."""

from __future__ import annotations

from resp import Client, ReplyError, text
from support import Server, eventually, free_port

SLOTS = 16384


def node_config() -> list[str]:
    return ["cluster-enabled yes", f"cluster-port {free_port()}", "cluster-require-full-coverage no", "cluster-node-timeout 2000",
            "cluster-replica-validity-factor 0", "repl-diskless-sync-delay 0"]


def bus(server: Server) -> int:
    return next(int(line.split()[1]) for line in server.config if line.startswith("cluster-port"))


def own_id(client: Client) -> str:
    return text(client.call("CLUSTER", "MYID"))


def up(client: Client) -> bool:
    return b"cluster_state:ok" in client.call("CLUSTER", "INFO")


def join(first: Server, *others: Server) -> None:
    """One cluster; the slots are shared out in order. (A node that loses its last one becomes a replica by itself.)"""
    share = SLOTS // (1 + len(others))
    with first.client() as client:
        client.call("CLUSTER", "ADDSLOTSRANGE", 0, share - 1)
        for n, other in enumerate(others, 1):
            with other.client() as c:
                c.call("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
                c.call("CLUSTER", "ADDSLOTSRANGE", n * share, SLOTS - 1 if n == len(others) else (n + 1) * share - 1)
            client.call("CLUSTER", "MEET", "127.0.0.1", other.port, bus(other))
    for server in (first, *others):
        with server.client() as client:
            eventually(20, "the cluster is up", lambda: up(client) and known(client) == 1 + len(others))


def known(client: Client) -> int:
    """Nodes that this one knows by their ids, its own included."""
    lines = text(client.call("CLUSTER", "NODES")).splitlines()
    return sum(1 for line in lines if "handshake" not in line and line.split()[7] == "connected")


def of_one_mind(*clients: Client) -> bool:
    """Does each node know the epochs of all? (Who takes a slot without knowing the latest loses it again to who gave it.)"""
    epochs = lambda client: sorted((line.split()[0], line.split()[6]) for line in text(client.call("CLUSTER", "NODES")).splitlines())  # noqa: E731
    first, *others = map(epochs, clients)
    return all(other == first for other in others)


def asking(client: Client, *command):
    """The command as a client sends it that was redirected by ASK; the error where it is one."""
    assert client.call("ASKING") == "OK"
    return client.attempt(*command)


class Move:
    """The slot of a tag on its way from one node to another."""

    def __init__(self, source: Server, target: Server, tag: str):
        self.source, self.target, self.tag = source, target, tag
        self.at, self.to = source.client(), target.client()
        self.slot = self.at.call("CLUSTER", "KEYSLOT", tag)

    def begin(self) -> "Move":
        assert self.to.call("CLUSTER", "SETSLOT", self.slot, "IMPORTING", own_id(self.at)) == "OK"
        assert self.at.call("CLUSTER", "SETSLOT", self.slot, "MIGRATING", own_id(self.to)) == "OK"
        return self

    def keys(self) -> list[str]:
        """What is still at the source."""
        with self.source.client() as client:
            return text(client.call("CLUSTER", "GETKEYSINSLOT", self.slot, 100_000))

    def key(self, name: str) -> None:
        with self.source.client() as client:
            # It may be cleared away at this very moment.
            assert client.call("MIGRATE", "127.0.0.1", self.target.port, name, 0, 5000) in ("OK", "NOKEY"), name

    def specs(self) -> None:
        for name in [k for k in self.keys() if k.startswith("podium:spec:")]:
            self.key(name)

    def rest(self) -> None:
        """Every key that is left, and what is made meanwhile."""
        while names := self.keys():
            for name in names:
                self.key(name)

    def finish(self) -> None:
        for client in (self.to, self.at):
            assert client.call("CLUSTER", "SETSLOT", self.slot, "NODE", own_id(self.to)) == "OK"

    def ask(self, *command):
        """A command as a cluster's client sends it: to the source first, where ASK leads after. The reply or the error."""
        reply = self.at.attempt(*command)
        if isinstance(reply, ReplyError) and reply.code == "ASK":
            reply = asking(self.to, *command)
        elif isinstance(reply, ReplyError) and reply.code == "MOVED":
            reply = self.to.attempt(*command)
        return reply
