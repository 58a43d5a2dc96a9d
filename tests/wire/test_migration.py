"""docs/promises.md, section 1: a slot's keys move to another node of the cluster, one by one (SETSLOT and MIGRATE), with clients at both ends."""

from __future__ import annotations

import json

import pytest

from asking import get, ids, meta
from cluster import Move, asking, bus, join, node_config, own_id, up
from resp import ReplyError
from support import eventually, mapping, text
from world import SPECS, event, item, project

TAG = "{shop}"
NAMES = ("items", "projects", "events")


def entity(name: str) -> str:
    return TAG + name


def key(name: str, id: str) -> str:
    return f"{TAG}{name}:{id}"


@pytest.fixture
def nodes(spawn):
    source, target = (spawn(settings={"sync-interval": 1}, config=node_config()) for _ in range(2))
    join(source, target)
    return source, target


@pytest.fixture
def move(nodes, world):
    source, target = nodes
    with source.client() as client:
        for name in NAMES:
            assert client.call("PODIUM.SPEC", "SET", entity(name), json.dumps(SPECS[name])) == "OK"
    world.airtable.forget()
    return Move(source, target, TAG)


def fill(client) -> None:
    """A few records, an index set, and a tombstone."""
    for n in (1, 2, 3):
        get(client, key("items", item(n)))
        get(client, key("projects", project(n)))
        get(client, key("events", event(n)))
    assert len(ids(client, entity("items:group:g1"))) == 40
    assert get(client, key("items", "recNowhere0000001")) is None


def value(reply):
    """A record's cells, None, or the error."""
    return json.loads(reply) if isinstance(reply, bytes) else reply


def complete(move) -> None:
    move.rest()
    move.finish()


def works(move, world) -> None:
    """Everything on the target, nothing on the source."""
    move.to.call("PODIUM.GET", key("items", item(2)))
    assert text(move.to.call("PODIUM.SPEC", "LIST")) == sorted(entity(n) for n in NAMES)
    assert text(move.at.call("PODIUM.SPEC", "LIST")) == []
    assert move.keys() == []
    assert move.at.error("PODIUM.GET", key("items", item(2))).code == "MOVED"
    for n, row in ((1, 1), (2, 2), (3, 3)):
        assert get(move.to, key("items", item(n)))["n"] == row
    assert len(ids(move.to, entity("items:group:g1"))) == 40
    assert meta(move.to, "PODIUM.INDEX", entity("items:group:g1"), "IDS")["cache"] == "HIT"
    assert get(move.to, key("items", "recNowhere0000001")) is None
    for name in NAMES:
        held = mapping(move.to.call("HGETALL", f"podium:spec:{entity(name)}"))
        assert held["spec"]


def upsert(number: int, **cells) -> str:
    return json.dumps({"id": item(number), "name": f"Item {number}", "n": number, "group": f"g{number % 10}", **cells})


@pytest.mark.parametrize("first", ["specs", "records"])
def test_a_slot_moves_key_by_key(move, world, first):
    fill(move.at)
    move.begin()
    own = [k for k in move.keys() if k.startswith("podium:")]
    others = [k for k in move.keys() if not k.startswith("podium:")]
    world.airtable.forget()
    for name in own + others if first == "specs" else others + own:
        move.key(name)
        there = asking(move.to, "PODIUM.GET", key("items", item(1)))
        if isinstance(there, ReplyError):
            assert there.code == "TRYAGAIN", there
        else:
            assert json.loads(there)["n"] == 1
        here = move.ask("PODIUM.GET", key("items", item(2)))
        assert here.code == "TRYAGAIN" if isinstance(here, ReplyError) else json.loads(here)["n"] == 2
    move.rest()
    world.airtable.forget()
    for n in (1, 2, 3):
        assert json.loads(asking(move.to, "PODIUM.GET", key("items", item(n))))["n"] == n
        assert json.loads(asking(move.to, "PODIUM.GET", key("projects", project(n))))["id"] == project(n)
    assert world.airtable.calls() == [], "the copies came along"
    move.finish()
    works(move, world)
    # What came before the spec is known too.
    eventually(5, "every key is registered", lambda: int(mapping(move.to.call("PODIUM.SWEEP", entity("items:*"), "DRYRUN"))["cached"]) >= 40)


def test_reads_before_the_spec_has_come_are_to_be_tried_again(move):
    fill(move.at)
    move.begin()
    move.key(key("items", item(1)))
    for command in (("PODIUM.GET", key("items", item(1))), ("PODIUM.INDEX", entity("items:group:g4")), ("PODIUM.INVALIDATE", key("items", item(1))),
                    ("PODIUM.UPSERT", key("items", item(1)), upsert(1)), ("PODIUM.SPEC", "SET", entity("items"), json.dumps(SPECS["items"])),
                    ("PODIUM.SPEC", "GET", entity("items")), ("PODIUM.MGET", 1, key("items", item(1)))):
        reply = asking(move.to, *command)
        assert isinstance(reply, ReplyError) and reply.code == "TRYAGAIN", (command, reply)
    complete(move)
    assert get(move.to, key("items", item(1)))["n"] == 1


@pytest.mark.parametrize("first", ["specs", "records", "feed"])
def test_a_followed_base_moves(move, world, first):
    assert move.at.call("PODIUM.SYNC", "START", world.base) == "OK"
    fill(move.at)
    move.begin()
    if first == "specs":
        move.specs()
    elif first == "feed":
        [name] = [k for k in move.keys() if k.startswith("podium:feed:")]
        move.key(name)
    else:
        for name in [k for k in move.keys() if not k.startswith("podium:")]:
            move.key(name)
    # Changes on the way, and polls.
    world.change("items", item(1), n=1001)
    world.change("projects", project(2), name="Renamed")
    if first != "specs":
        assert move.at.call("PODIUM.SYNC", "NOW", world.base) == "OK"
    complete(move)
    told = lambda client: {k: text(v) for k, v in mapping(client.call("PODIUM.SYNC", "STATUS", world.base)).items()}  # noqa: E731
    eventually(10, "the target follows", lambda: told(move.to)["state"] == "following")
    assert told(move.at)["state"] == "off"
    assert move.to.call("PODIUM.SYNC", "NOW", world.base) == "OK"
    assert get(move.to, key("items", item(1)))["n"] == 1001
    assert get(move.to, key("projects", project(2)))["name"] == "Renamed"
    assert text(move.to.call("PODIUM.SPEC", "LIST")) == sorted(entity(n) for n in NAMES)
    world.change("items", item(2), n=1002)
    assert move.to.call("PODIUM.SYNC", "NOW", world.base) == "OK"
    assert get(move.to, key("items", item(2)))["n"] == 1002
    assert move.keys() == []


def test_the_source_makes_no_key_anew_that_has_moved(move, world):
    assert move.at.call("PODIUM.SYNC", "START", world.base) == "OK"
    fill(move.at)
    move.begin()
    for name in [k for k in move.keys() if k.startswith("podium:") and not k.startswith("podium:spec:")]:
        move.key(name)
    for n in range(3):
        world.change("items", item(1), n=2000 + n)
        assert move.at.call("PODIUM.SYNC", "NOW", world.base) == "OK"
    move.at.call("PODIUM.INVALIDATE", key("items", item(2)))
    assert [k for k in move.keys() if k.startswith("podium:") and not k.startswith("podium:spec:")] == []
    complete(move)
    assert get(move.to, key("items", item(1)))["n"] == 2002


TELLS = {
    "invalidate": (lambda: ("PODIUM.INVALIDATE", key("items", item(1))), 1),
    "invalidate-all": (lambda: ("PODIUM.INVALIDATE", entity("items:*")), None),
    "invalidate-index": (lambda: ("PODIUM.INVALIDATE", entity("items:group:g1")), None),
    "upsert": (lambda: ("PODIUM.UPSERT", key("items", item(1)), upsert(1, n=77)), 1),
    "tombstone": (lambda: ("PODIUM.TOMBSTONE", key("items", item(1))), 1),
    "update": (lambda: ("PODIUM.UPDATE", key("items", item(1)), json.dumps({"n": 77})), None),
    "delete": (lambda: ("PODIUM.DELETE", key("items", item(1))), 1),
}


def expected(what: str, reply):
    """What the record is after it was told; Airtable holds n=55."""
    if what in ("tombstone", "delete"):
        return reply is None
    return json.loads(reply)["n"] == (77 if what in ("upsert", "update") else 55)


@pytest.mark.parametrize("what", TELLS)
@pytest.mark.parametrize("moved", ["the record", "everything", "the spec only"])
def test_what_is_told_on_the_way_outdates_the_copy(move, world, what, moved):
    """At the node to which the key leads: the importing one where it has moved, the migrating one where it has not."""
    fill(move.at)
    world.change("items", item(1), n=55)
    move.begin()
    if moved == "the record":
        move.specs()
        move.key(key("items", item(1)))
    elif moved == "everything":
        move.rest()
    else:
        move.specs()
    command, told = TELLS[what]
    reply = move.ask(*command())
    if isinstance(reply, ReplyError) and what == "invalidate-index":
        # It concerns records that are at the other node: there it is for.
        assert reply.code == "TRYAGAIN"
        reply = move.ask(*command())
    assert not isinstance(reply, ReplyError), reply
    if told is not None and not (what == "upsert" and moved == "the spec only"):
        assert reply == told
    read = ("PODIUM.GET", key("items", item(1)))
    if what == "upsert" and moved == "the spec only":
        # It may not be stored there: Airtable's own is as good.
        assert reply == 0 and json.loads(move.ask(*read))["n"] == 55
    elif what == "tombstone" and moved == "the spec only":
        # On its way with the other keys.
        assert f"tomb:{key('items', item(1))}" in move.keys()
    else:
        assert expected(what, move.ask(*read)), move.ask(*read)
        assert expected(what, asking(move.to, *read))
    group = set(text(move.ask("PODIUM.INDEX", entity("items:group:g1"), "IDS")))
    assert what == "tombstone" or (item(1) in group) is (what != "delete")
    complete(move)
    if not (moved == "the spec only" and what == "upsert"):
        assert expected(what, move.to.call(*read))
        assert what == "tombstone" or (item(1) in ids(move.to, entity("items:group:g1"))) is (what != "delete")
    assert text(move.to.call("PODIUM.SPEC", "LIST")) == sorted(entity(n) for n in NAMES)
    assert text(move.at.call("PODIUM.SPEC", "LIST")) == []


@pytest.mark.parametrize("what", TELLS)
def test_what_is_told_before_the_spec_has_gone(move, world, what):
    """The migrating node decides; the record has not moved, or has."""
    fill(move.at)
    world.change("items", item(1), n=55)
    move.begin()
    move.key(key("items", item(3)))
    command, told = TELLS[what]
    reply = move.ask(*command())
    if isinstance(reply, ReplyError):
        # It has no key at the source: the other node is to be asked, and is not ready.
        assert reply.code == "TRYAGAIN" and what == "invalidate-all"
        complete(move)
        assert not isinstance(move.to.call(*command()), ReplyError)
    else:
        if told is not None:
            assert reply == told
        complete(move)
    assert expected(what, move.to.call("PODIUM.GET", key("items", item(1))))
    # (A question asks Airtable, which has what was only said to be gone.)
    assert what == "tombstone" or (item(1) in ids(move.to, entity("items:group:g1"))) is (what != "delete")


@pytest.mark.parametrize("spec", ["spec first", "spec last"])
@pytest.mark.parametrize("what", ["update", "delete"])
def test_a_write_under_way_while_its_record_moves(move, world, what, spec):
    """It is sent at the source and lands there when the record's copy is at the target already."""
    fill(move.at)
    move.begin()
    world.airtable.latency(1500)
    move.at.send(*TELLS[what][0]())
    eventually(5, "the write is under way", lambda: any(c["method"] in ("PATCH", "DELETE") for c in world.airtable.calls()))
    if spec == "spec first":
        move.specs()
    move.key(key("items", item(1)))
    try:
        reply = move.at.read()
    except ReplyError as error:
        reply = error
    world.airtable.latency(0)
    if isinstance(reply, ReplyError):
        assert reply.code == "TRYAGAIN", reply
        reply = eventually(10, "it is acknowledged", lambda: acknowledged(move.ask(*TELLS[what][0]())))
    there = asking(move.to, "PODIUM.GET", key("items", item(1)))
    assert there.code == "TRYAGAIN" if isinstance(there, ReplyError) else (json.loads(there)["n"] == 77 if what == "update" else there is None)
    complete(move)
    after = move.to.call("PODIUM.GET", key("items", item(1)))
    assert (json.loads(after)["n"] == 77) if what == "update" else (after is None)


def acknowledged(reply):
    return None if isinstance(reply, ReplyError) else [reply]


@pytest.mark.parametrize("before", ["both", "the project's"])
def test_the_other_end_of_a_link_written_on_the_way(move, world, before):
    """The project is written at the target; the copies of its events are on the way, or come later."""
    fill(move.at)
    for n in (1, 2, 3, 4):
        get(move.at, key("events", event(n)))
    world.change("events", event(4), name="Renamed")
    world.change("events", event(2), name="Renamed")
    move.begin()
    for name in ("projects", "events") if before == "both" else ("projects",):
        move.key(f"podium:spec:{entity(name)}")
    move.key(key("projects", project(1)))
    # Project 1 leads to event 2.
    reply = move.ask("PODIUM.UPDATE", key("projects", project(1)), json.dumps({"event": [event(4)]}))
    assert json.loads(reply)["event"] == [event(4)]
    complete(move)
    for n in (2, 4):
        assert get(move.to, key("events", event(n)))["name"] == "Renamed", n


def test_an_invalidation_of_everything_holds_for_what_comes_later(move, world):
    fill(move.at)
    for n in (1, 2, 3):
        world.change("items", item(n), n=100 + n)
    move.begin()
    move.specs()
    assert not isinstance(move.ask("PODIUM.INVALIDATE", entity("items:*")), ReplyError)
    for n in (1, 2, 3):
        assert json.loads(move.ask("PODIUM.GET", key("items", item(n))))["n"] == 100 + n
    complete(move)
    for n in (1, 2, 3):
        assert get(move.to, key("items", item(n)))["n"] == 100 + n


def test_a_move_that_is_given_up(move, world):
    """Keys go and come back; the slot stays."""
    fill(move.at)
    move.begin()
    move.specs()
    move.key(key("items", item(1)))
    world.change("items", item(1), n=66)
    assert move.ask("PODIUM.INVALIDATE", key("items", item(1))) == 1
    assert move.to.call("CLUSTER", "SETSLOT", move.slot, "STABLE") == "OK"
    assert move.at.call("CLUSTER", "SETSLOT", move.slot, "STABLE") == "OK"
    assert eventually(5, "the source answers again", lambda: not isinstance(move.at.attempt("PODIUM.GET", key("items", item(1))), ReplyError))
    assert get(move.at, key("items", item(1)))["n"] == 66
    eventually(5, "its specs are there again", lambda: all(move.at.call("EXISTS", f"podium:spec:{entity(n)}") for n in NAMES))
    assert len(ids(move.at, entity("items:group:g1"))) == 40
    assert text(move.at.call("PODIUM.SPEC", "LIST")) == sorted(entity(n) for n in NAMES)


def test_a_slot_moves_there_and_back(move, world):
    fill(move.at)
    for source, target in ((move.source, move.target), (move.target, move.source)):
        back = Move(source, target, TAG).begin()
        complete(back)
        works(back, world)


@pytest.mark.parametrize("spec", ["spec first", "spec last"])
def test_flushall_at_the_source_loses_no_spec(move, world, spec):
    fill(move.at)
    move.begin()
    if spec == "spec first":
        move.specs()
    assert move.at.call("FLUSHALL") == "OK"
    complete(move)
    works(move, world)


def test_replicas_at_both_ends(nodes, move, spawn, world):
    """A replica of the target takes over after the move, one of the source follows what its primary forgets."""
    source, target = nodes
    replicas = []
    for primary in (source, target):
        replica = spawn(settings={"sync-interval": 1}, config=node_config())
        with primary.client() as client, replica.client() as own:
            own.call("CLUSTER", "MEET", "127.0.0.1", primary.port, bus(primary))
            name = own_id(client)
            eventually(20, "the replica knows its primary", lambda: name.encode() in own.call("CLUSTER", "NODES") and up(own))
            eventually(20, "it replicates", lambda: own.attempt("CLUSTER", "REPLICATE", name) == "OK")
            eventually(20, "the link is up", lambda: b"master_link_status:up" in own.call("INFO", "replication"))
        replicas.append(replica)
    assert move.at.call("PODIUM.SYNC", "START", world.base) == "OK"
    fill(move.at)
    move.begin()
    move.specs()
    assert move.ask("PODIUM.INVALIDATE", key("items", item(1))) == 1
    complete(move)
    works(move, world)
    of_source, of_target = (r.client() for r in replicas)
    eventually(10, "the replica of the source has forgotten", lambda: of_source.call("PODIUM.SPEC", "LIST") == [])
    eventually(10, "the replica of the target knows", lambda: len(of_target.call("PODIUM.SPEC", "LIST")) == len(NAMES))
    eventually(20, "the failover is accepted", lambda: of_target.attempt("CLUSTER", "FAILOVER", "TAKEOVER") == "OK")
    eventually(20, "the replica has the slot", lambda: not isinstance(of_target.attempt("PODIUM.GET", key("items", item(1))), ReplyError))
    for n in (1, 2, 3):
        assert get(of_target, key("items", item(n)))["n"] == n
    world.change("items", item(3), n=1003)
    eventually(15, "it follows the feed", lambda: get(of_target, key("items", item(3)))["n"] == 1003)


def test_restarts_on_the_way(move, nodes, world):
    """Both nodes come back in the middle of a move, from their append-only files."""
    fill(move.at)
    for node in nodes:
        with node.client() as client:
            client.call("CONFIG", "SET", "appendonly", "yes")
        eventually(10, "the AOF is on", lambda: node.info("persistence")["aof_rewrite_in_progress"] == "0" and node.info("persistence")["aof_enabled"] == "1")
        node.config.append("appendonly yes")
    move.begin()
    move.key(f"podium:spec:{entity('items')}")
    move.key(key("items", item(1)))
    world.change("items", item(1), n=66)
    assert move.ask("PODIUM.INVALIDATE", key("items", item(1))) == 1
    ports = [node.port for node in nodes]
    for node, port in zip(nodes, ports):
        node.restart_at(port)
    again = Move(*nodes, TAG)
    for client in (again.at, again.to):
        eventually(20, "the cluster is up", lambda: up(client))
    complete(again)
    assert get(again.to, key("items", item(1)))["n"] == 66
    for n in (2, 3):
        assert get(again.to, key("items", item(n)))["n"] == n
    assert text(again.to.call("PODIUM.SPEC", "LIST")) == sorted(entity(n) for n in NAMES)
    eventually(5, "the source has forgotten", lambda: again.at.call("PODIUM.SPEC", "LIST") == [])


def test_a_move_that_ends_while_writes_are_paused(move, nodes):
    """A tombstone that was told on the way is written when the slot is the new node's; not before the server takes writes again."""
    fill(move.at)
    absent = key("items", item(50))
    with nodes[1].client() as client:
        assert client.call("CONFIG", "SET", "appendonly", "yes") == "OK"
        eventually(10, "the AOF is on", lambda: nodes[1].info("persistence")["aof_rewrite_in_progress"] == "0" and nodes[1].info("persistence")["aof_enabled"] == "1")
    move.begin()
    move.specs()
    assert asking(move.to, "PODIUM.TOMBSTONE", absent) in (0, 1)
    move.rest()
    commands = [("CLUSTER", "SETSLOT", move.slot, "NODE", own_id(move.to)), ("CLIENT", "PAUSE", 2000, "WRITE"), ("PODIUM.SPEC", "LIST"), ("PODIUM.SYNC", "STATUS"), ("CLIENT", "UNPAUSE")]
    assert not [r for r in move.to.pipeline(commands) if isinstance(r, ReplyError)]
    move.finish()
    eventually(5, "the tombstone is there", lambda: move.to.call("EXISTS", f"tomb:{absent}") == 1)
    assert get(move.to, absent) is None


def test_an_atomic_move_keeps_everything(move, world, version):
    if version == "8.0":
        pytest.skip("8.0 has none")
    assert move.at.call("PODIUM.SYNC", "START", world.base) == "OK"
    fill(move.at)
    world.change("items", item(1), n=1001)
    assert move.at.call("PODIUM.SYNC", "NOW", world.base) == "OK"
    assert get(move.at, key("items", item(1)))["n"] == 1001
    move.at.call("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", move.slot, move.slot, "NODE", own_id(move.to))
    eventually(20, "the target has the slot", lambda: not isinstance(move.to.attempt("EXISTS", key("items", item(1))), ReplyError))
    world.airtable.forget()
    for n in (2, 3):
        assert get(move.to, key("items", item(n)))["n"] == n
    assert get(move.to, key("items", "recNowhere0000001")) is None
    assert [c for c in world.airtable.calls() if "/webhooks" not in c["path"] and "/meta/" not in c["path"]] == []
    assert len(ids(move.to, entity("items:group:g1"))) == 40
    assert text(move.to.call("PODIUM.SPEC", "LIST")) == sorted(entity(n) for n in NAMES)
    eventually(10, "the source has forgotten", lambda: move.at.call("PODIUM.SPEC", "LIST") == [])
    told = lambda: text(mapping(move.to.call("PODIUM.SYNC", "STATUS", world.base))["state"])  # noqa: E731
    eventually(10, "the target follows", lambda: told() == "following")
    world.change("items", item(2), n=1002)
    assert move.to.call("PODIUM.SYNC", "NOW", world.base) == "OK"
    assert get(move.to, key("items", item(2)))["n"] == 1002
