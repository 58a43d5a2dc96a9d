"""docs/promises.md, section 3: CREATE, UPDATE and DELETE write to Airtable first, then to the cache."""

from __future__ import annotations

import json
from random import Random
from threading import Event, Thread

import pytest

from asking import get, ids, mget, spec
from between import between, halves
from support import ReplyError, blocked, eventually, mapping, text
from world import ABSENT, LINKS, SINGLE_LINK, SPECS, define, event, item, project, schema, user


def create(client, key, *records, words=(), **more):
    """PODIUM.CREATE: dicts, errors as they are."""
    reply = client.call("PODIUM.CREATE", key, *[json.dumps(r) for r in records], *words, **more)
    return [json.loads(r) if isinstance(r, bytes) else r for r in reply]


def update(client, key, *words, **fields):
    return json.loads(client.call("PODIUM.UPDATE", key, json.dumps(fields), *words))


@pytest.fixture
def linked(server, world):
    """Events that show their projects, projects that show their event."""
    client = server.client()
    spec(client, "events", {"schema": schema({"name": {"type": "string"}, "projects": LINKS})})
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}, "event": SINGLE_LINK})})
    world.airtable.forget()
    return client


# CREATE ------------------------------------------------------------------------------------------------------------


def test_created_records_are_in_airtable_and_in_the_cache(client, world):
    made = create(client, "items:*", {"name": "new", "n": 3, "group": "fresh"}, {"name": "newer"})
    assert [r["name"] for r in made] == ["new", "newer"] and made[0]["n"] == 3
    assert world.airtable.count() == 1
    truth = world.truth("items")
    assert truth[made[0]["id"]]["group"] == "fresh" and truth[made[1]["id"]]["name"] == "newer"
    world.airtable.forget()
    assert get(client, f"items:{made[0]['id']}") == made[0]
    assert world.airtable.count() == 0


def test_ten_records_to_a_call(client, world):
    made = create(client, "items:*", *[{"name": f"r{n}"} for n in range(23)])
    assert [r["name"] for r in made] == [f"r{n}" for n in range(23)]
    assert world.airtable.count() == 3


def test_a_created_record_joins_the_index_sets(client, world):
    before = ids(client, "items:group:g1")
    assert ids(client, "items:group:fresh") == []
    world.airtable.forget()
    a, b = create(client, "items:*", {"name": "x", "group": "g1"}, {"name": "y", "group": "fresh"})
    world.airtable.forget()
    assert ids(client, "items:group:g1") == sorted(before + [a["id"]])
    assert ids(client, "items:group:fresh") == [b["id"]]
    assert world.airtable.count() == 0


def test_the_reply_is_the_default_view(client, world):
    made = create(client, "users:*", {"email": " New@Example.com", "display_name": "N", "points": 2})[0]
    assert set(made) == {"id", "display_name", "points"}
    assert get(client, f"users:{made['id']}", "VIEW", "contact")["email"] == "new@example.com"


def test_the_other_end_of_a_created_link_is_fetched_anew(linked, world):
    assert get(linked, f"events:{event(2)}")["projects"]
    made = create(linked, "projects:*", {"name": "new", "event": event(2)})[0]
    assert made["event"] == [event(2)]
    assert made["id"] in get(linked, f"events:{event(2)}")["projects"]


def test_one_bad_record_fails_in_its_own_place(client, world):
    reply = create(client, "items:*", {"name": "a"}, {"name": "b", "n": "no number"}, {"name": "c"})
    assert [reply[0]["name"], reply[2]["name"]] == ["a", "c"]
    assert reply[1].code == "UPSTREAM" and "422" in reply[1].text
    names = [fields["name"] for fields in world.truth("items").values()]
    assert "a" in names and "c" in names and "b" not in names


def test_typecast(client, world):
    word = {"name": "p", "event": [event(1)], "stage": "brand new"}
    refused = create(client, "projects:*", word)[0]
    assert refused.code == "UPSTREAM" and "INVALID_MULTIPLE_CHOICE_OPTIONS" in refused.text
    assert create(client, "projects:*", word, words=["TYPECAST"])[0]["stage"] == "brand new"


def test_meta_of_a_write(client, world):
    reply, m = client.call("PODIUM.CREATE", "items:*", '{"name":"a"}', "META")
    assert json.loads(reply[0])["name"] == "a"
    m = {k: text(v) for k, v in mapping(m).items()}
    assert m["cache"] == "BYPASS" and m["airtable-hits"] == 1 and m["key"] == "items:*" and m["ttl"] > 0
    record, m = client.call("PODIUM.UPDATE", f"items:{item(1)}", '{"n":5}', "TYPECAST", "META")
    assert json.loads(record)["n"] == 5 and mapping(m)["airtable-hits"] == 1


# UPDATE ------------------------------------------------------------------------------------------------------------


def test_update_is_a_patch(client, world):
    get(client, f"items:{item(1)}")
    world.airtable.forget()
    now = update(client, f"items:{item(1)}", name="renamed")
    assert now == {"id": item(1), "name": "renamed", "n": 1, "group": "g1"}
    assert world.airtable.count() == 1
    assert get(client, f"items:{item(1)}") == now
    assert world.airtable.count() == 1, "read from the cache"
    assert world.truth("items")[item(1)] == {**world.truth("items")[item(1)], "name": "renamed", "n": 1}


def test_null_clears_a_cell(client, world):
    assert update(client, f"projects:{project(1)}", stage=None, points=None)["stage"] is None
    assert "stage" not in world.truth("projects")[project(1)]


def test_id_and_read_only_fields_are_not_sent(client, world):
    now = update(client, f"projects:{project(1)}", id=project(2), owner_display_name="nobody", name="kept")
    assert now["id"] == project(1) and now["name"] == "kept" and now["owner_display_name"].startswith("User")


def test_update_moves_the_record_between_index_sets(client, world):
    g1, g2 = ids(client, "items:group:g1"), ids(client, "items:group:g2")
    update(client, f"items:{g1[0]}", group="g2")
    world.airtable.forget()
    assert ids(client, "items:group:g1") == g1[1:]
    assert ids(client, "items:group:g2") == sorted(g2 + [g1[0]])
    assert world.airtable.count() == 0


@pytest.mark.parametrize("cached", [True, False])
def test_both_ends_of_a_moved_link_are_in_doubt(linked, world, cached):
    old, new = event(2), event(3)
    assert project(1) in get(linked, f"events:{old}")["projects"] and project(1) not in get(linked, f"events:{new}")["projects"]
    if cached:
        get(linked, f"projects:{project(1)}")
    assert update(linked, f"projects:{project(1)}", event=[new])["event"] == [new]
    assert project(1) not in get(linked, f"events:{old}")["projects"]
    assert project(1) in get(linked, f"events:{new}")["projects"]


def test_what_others_compute_from_the_record_is_fetched_anew(client, world):
    assert get(client, f"projects:{project(1)}")["owner_display_name"] == "User 2"
    update(client, f"users:{user(2)}", display_name="Renamed")
    assert get(client, f"projects:{project(1)}")["owner_display_name"] == "Renamed"


@pytest.mark.parametrize("lag", [0, 1000])
def test_what_is_computed_through_a_link_that_the_model_lacks_is_fetched_anew(client, world, lag):
    model = json.loads(json.dumps(SPECS["projects"]))
    del model["schema"]["properties"]["owner"]
    spec(client, "ownerless", {**model, "table": "projects", "depends": {"owner_display_name": "users"}})
    key = f"ownerless:{project(1)}"
    assert get(client, key)["owner_display_name"] == "User 2"
    get(client, f"items:{item(1)}")
    world.airtable.control("POST", "switches", {"linked_computed_lag_ms": lag})
    update(client, f"users:{user(2)}", display_name="Renamed")
    if not lag:
        assert get(client, key)["owner_display_name"] == "Renamed"
    eventually(8, "it is up to date", lambda: get(client, key)["owner_display_name"] == "Renamed")
    assert get(client, f"items:{item(1)}", "CACHEONLY")


def test_a_declared_dependency_whose_link_is_known_drops_no_others(client, world):
    spec(client, "projects", {**SPECS["projects"], "depends": {"owner_display_name": "users"}})
    other = next(id for id, cells in sorted(world.truth("projects").items()) if cells["owner"] != [user(2)])
    get(client, f"users:{user(2)}"), get(client, f"projects:{project(1)}"), get(client, f"projects:{other}")
    update(client, f"users:{user(2)}", display_name="Renamed")
    assert get(client, f"projects:{project(1)}")["owner_display_name"] == "Renamed"
    assert get(client, f"projects:{other}", "CACHEONLY")


def test_computed_cells_are_read_again_once(client, world):
    world.airtable.control("POST", "switches", {"linked_computed_lag_ms": 1000})
    now = update(client, f"projects:{project(1)}", owner=[user(3)])
    assert now["owner"] == [user(3)]
    eventually(8, "the computed cell is up to date", lambda: get(client, f"projects:{project(1)}", "CACHEONLY")["owner_display_name"] == "User 3")
    assert len([c for c in world.airtable.calls() if c["method"] == "GET"]) == 1


def test_a_fetch_under_way_does_not_bring_the_old_cells_back(server, client, world):
    world.airtable.fault("slow", 1, {"method": "GET"}, ms=800)
    reader = server.client()
    reader.send("PODIUM.GET", f"items:{item(1)}", "NOCACHE")
    eventually(5, "the fetch is under way", lambda: world.airtable.count() >= 1 or int(server.info("clients")["blocked_clients"]) == 1)
    update(client, f"items:{item(1)}", name="written")
    reader.read(10)
    assert get(client, f"items:{item(1)}")["name"] == "written"


def test_update_of_a_record_that_is_not_there(client, world):
    get(client, f"items:{item(1)}")
    world.delete("items", item(1))
    error = client.error("PODIUM.UPDATE", f"items:{item(1)}", '{"n":1}')
    assert error.code == "UPSTREAM" and "ROW_DOES_NOT_EXIST" in error.text
    assert get(client, f"items:{item(1)}") is None, "the copy was in doubt"


def test_a_refused_update_changes_nothing(client, world):
    before = get(client, f"items:{item(1)}")
    world.airtable.forget()
    error = client.error("PODIUM.UPDATE", f"items:{item(1)}", '{"n":"no number"}')
    assert error.code == "UPSTREAM" and "Field" in error.text
    assert get(client, f"items:{item(1)}") == before
    assert world.airtable.count() == 1


# DELETE ------------------------------------------------------------------------------------------------------------


def test_deleted_records_are_gone_everywhere(client, world):
    members = ids(client, "items:group:g1")
    world.airtable.forget()
    assert client.call("PODIUM.DELETE", *[f"items:{id}" for id in members[:12]]) == 12
    assert world.airtable.count() == 2
    assert not set(members[:12]) & set(world.truth("items"))
    world.airtable.forget()
    assert get(client, f"items:{members[0]}") is None
    assert ids(client, "items:group:g1") == members[12:]
    assert world.airtable.count() == 0
    assert client.call("EXISTS", f"tomb:items:{members[0]}") == 1


def test_what_is_gone_already_counts_for_nothing(client, world):
    world.delete("items", item(2), item(3))
    keys = [f"items:{item(n)}" for n in (1, 2, 3, 4)] + [f"items:{item(1)}"]
    assert client.call("PODIUM.DELETE", *keys) == 2
    assert client.call("PODIUM.DELETE", f"items:{item(1)}") == 0
    world.airtable.forget()
    assert mget(client, keys) == [None] * 5
    assert world.airtable.count() == 0


def test_records_of_several_entities(client, world):
    assert client.call("PODIUM.DELETE", f"items:{item(1)}", f"projects:{project(1)}", f"items:{item(2)}") == 3
    assert project(1) not in world.truth("projects") and item(2) not in world.truth("items")


def test_a_403_alone_is_no_proof(client, world):
    get(client, f"items:{item(1)}")
    world.airtable.status(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "no", match={"method": "DELETE"})
    error = client.error("PODIUM.DELETE", f"items:{item(1)}", f"items:{item(2)}")
    assert error.code == "UPSTREAMAUTH" and "data.records:write" in error.text and f"items:{item(2)}" in error.text
    assert get(client, f"items:{item(1)}", "CACHEONLY") is not None
    assert item(1) in world.truth("items")


def test_a_page_that_left_some_out_is_no_proof(spawn, world):
    """Which of them is gone is asked after a delete was refused: short pages are read to the end."""
    with between(world.airtable.url, halves) as url:
        client = spawn({"airtable-url": url, "rate-limit": 1000}).client()
        define(client, "items")
        assert client.call("PODIUM.DELETE", *[f"items:{item(n)}" for n in range(1, 9)], f"items:{ABSENT}") == 8
        assert not {item(n) for n in range(1, 9)} & set(world.truth("items"))
        # None is gone, and yet they are not deleted.
        world.airtable.status(403, "INVALID_PERMISSIONS", "not permitted", match={"method": "DELETE"})
        world.airtable.forget()
        error = client.error("PODIUM.DELETE", *[f"items:{item(n)}" for n in range(9, 14)])
        assert error.code == "UPSTREAMAUTH" and "0 of 5" in error.text, error.text
        assert world.airtable.count() <= 5
        assert client.call("EXISTS", *[f"tomb:items:{item(n)}" for n in range(9, 14)]) == 0


def test_an_answer_to_another_question_is_no_proof(spawn, world):
    def strange(path, ask):
        page = ask()
        page["records"] = [r for r in page["records"] if r["id"] != item(2)] + [{"id": "recOTHER000000001", "createdTime": "2026-03-04T05:06:07.000Z", "fields": {}}]
        return page

    with between(world.airtable.url, strange) as url:
        client = spawn({"airtable-url": url, "rate-limit": 1000}).client()
        define(client, "items")
        error = client.error("PODIUM.DELETE", *[f"items:{item(n)}" for n in (1, 2, 3)], f"items:{ABSENT}")
        assert error.code == "UPSTREAMBAD" and "2 of 4" in error.text and f"items:{item(2)}" in error.text, error.text
        assert client.call("EXISTS", f"tomb:items:{item(2)}") == 0
        assert item(2) in world.truth("items") and item(1) not in world.truth("items")


def test_half_a_failure_says_which_were_not_deleted(client, world):
    world.airtable.status(403, "INVALID_PERMISSIONS", "not permitted", match={"method": "DELETE", "path_contains": item(15)})
    error = client.error("PODIUM.DELETE", *[f"items:{item(n)}" for n in range(1, 16)])
    assert "10 of 15" in error.text and f"items:{item(11)}" in error.text and f"items:{item(3)}" not in error.text
    assert item(1) not in world.truth("items") and item(15) in world.truth("items")
    assert get(client, f"items:{item(1)}", "CACHEONLY") is None


def test_who_linked_to_a_deleted_record_is_fetched_anew(client, world):
    voter = next(id for id, cells in sorted(world.truth("votes").items()) if cells.get("project") == [project(2)])
    assert get(client, f"votes:{voter}")["project"] == [project(2)]
    assert client.call("PODIUM.DELETE", f"projects:{project(2)}") == 1
    assert get(client, f"votes:{voter}")["project"] == []


# Failures ----------------------------------------------------------------------------------------------------------


def test_a_timeout_says_that_it_may_have_been_written(client, world):
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "300")
    get(client, f"items:{item(1)}")
    world.airtable.fault("hang", 1, {"method": "PATCH"}, apply=True)
    error = client.error("PODIUM.UPDATE", f"items:{item(1)}", '{"name":"perhaps"}')
    assert error.code == "UPSTREAMTIMEOUT" and "may have been written" in error.text
    assert get(client, f"items:{item(1)}")["name"] == "perhaps", "the old copy is not answered"


def test_a_create_that_timed_out_is_found_by_its_index(client, world):
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "300")
    assert ids(client, "items:group:maybe") == []
    world.airtable.fault("hang", 1, {"method": "POST"}, apply=True)
    reply = create(client, "items:*", {"name": "x", "group": "maybe"})
    assert reply[0].code == "UPSTREAMTIMEOUT" and "may have been written" in reply[0].text
    assert len(ids(client, "items:group:maybe")) == 1


@pytest.mark.parametrize("status, type", [(500, "SERVER_ERROR"), (502, "BAD_GATEWAY"), (503, "SERVICE_UNAVAILABLE")])
def test_what_airtable_does_not_call_safe_is_not_repeated(client, world, status, type):
    world.airtable.status(status, type, "no", times=1, match={"method": "POST"})
    reply = create(client, "items:*", {"name": "x"})
    assert reply[0].code == "UPSTREAM" and "may have been written" in reply[0].text
    assert world.airtable.count() == 1


def test_what_airtable_calls_safe_is_repeated(client, world):
    world.airtable.status(503, "RETRIABLE_ERROR", "again", times=1, match={"method": "POST"})
    assert create(client, "items:*", {"name": "once"})[0]["name"] == "once"
    assert world.airtable.count() == 2
    assert [c["name"] for c in world.truth("items").values()].count("once") == 1


def test_a_silent_base_is_an_answer(client, world):
    world.airtable.status(429, "RATE_LIMIT_REACHED", "slow down", shape="plural", times=1)
    reply = create(client, "items:*", {"name": "x"})
    assert reply[0].code == "UPSTREAMBUSY"
    error = client.error("PODIUM.UPDATE", f"items:{item(1)}", '{"n":1}')
    assert error.code == "UPSTREAMBUSY" and "nothing was written" in error.text
    assert world.airtable.count() == 1


def test_what_is_told_as_refused_is_not_carried_out(spawn, world):
    """A 429 that asks for no silence at all: other workers would take the call at once."""
    server = spawn({"threads": 8, "rate-limit": 1000})
    client = server.client()
    define(client, "items", "votes")
    over = Event()

    def read(one, key):
        while not over.is_set():
            one.attempt("PODIUM.GET", key, "NOCACHE")

    readers = [Thread(target=read, args=(server.client(), f"items:{item(n)}")) for n in range(1, 9)]
    for reader in readers:
        reader.start()
    before = len(world.truth("votes"))
    written = 0
    try:
        for _ in range(1500):
            world.airtable.status(429, "RATE_LIMIT_REACHED", "slow down", shape="plural", times=1, match={"method": "POST"}, retry_after="0")
            written += sum(not isinstance(r, ReplyError) for r in create(client, "votes:*", {"event": [event(1)]}))
            world.airtable.clear_faults()
    finally:
        over.set()
        for reader in readers:
            reader.join()
    eventually(3, "nothing is under way", lambda: server.figure("pending") == 0)
    assert len(world.truth("votes")) - before == written


def test_without_the_scope(client, world):
    world.airtable.status(403, "INVALID_PERMISSIONS", "You are not permitted", match={"method": "POST"})
    reply = create(client, "items:*", {"name": "x"}, {"name": "y"})
    assert [r.code for r in reply] == ["UPSTREAMAUTH"] * 2 and "data.records:write" in reply[0].text


# Where and how -----------------------------------------------------------------------------------------------------


def test_where_it_may_not_wait_nothing_is_done(client, world):
    for command in (["PODIUM.CREATE", "items:*", '{"name":"x"}'], ["PODIUM.UPDATE", f"items:{item(1)}", '{"n":9}'], ["PODIUM.DELETE", f"items:{item(1)}"]):
        client.call("MULTI")
        client.call(*command)
        assert client.call("EXEC")[0].code == "WOULDBLOCK"
    assert world.airtable.count() == 0


def test_while_the_cache_is_disabled_it_writes(client, world):
    get(client, f"items:{item(1)}")
    client.call("CONFIG", "SET", "podium.enabled", "no")
    update(client, f"items:{item(1)}", name="written")
    client.call("CONFIG", "SET", "podium.enabled", "yes")
    world.airtable.forget()
    assert get(client, f"items:{item(1)}")["name"] == "written"
    assert world.airtable.count() == 0


def test_other_clients_are_not_held_up(server, client, world):
    world.airtable.latency(600)
    writer = server.client()
    writer.send("PODIUM.UPDATE", f"items:{item(1)}", '{"n":9}')
    blocked(server, 1)
    client.call("SET", "x", "1", timeout=0.3)
    assert json.loads(writer.read(10))["n"] == 9


def test_a_client_that_goes_away_leaves_the_write_be(server, client, world):
    world.airtable.latency(300)
    writer = server.client()
    writer.send("PODIUM.UPDATE", f"items:{item(1)}", '{"n":9}')
    blocked(server, 1)
    writer.close()
    eventually(5, "written", lambda: world.truth("items")[item(1)]["n"] == 9)
    eventually(5, "in the cache", lambda: (get(client, f"items:{item(1)}", "CACHEONLY") or {}).get("n") == 9)


def test_while_writes_are_paused_nothing_is_acknowledged(server, client, world):
    get(client, f"items:{item(1)}")
    world.airtable.latency(300)
    writer, other = server.client(), server.client()
    writer.send("PODIUM.UPDATE", f"items:{item(1)}", '{"name":"written"}')
    blocked(server, 1)
    other.call("CLIENT", "PAUSE", "1500", "WRITE")
    eventually(5, "Airtable has it", lambda: world.truth("items")[item(1)]["name"] == "written")
    assert not writer.answered(0.5)
    assert get(other, f"items:{item(1)}")["name"] == "Item 1", "reads go on"
    other.call("CLIENT", "UNPAUSE")
    assert json.loads(writer.read(5))["name"] == "written"
    assert get(client, f"items:{item(1)}")["name"] == "written"


def test_replicas_and_the_append_only_file_have_it(spawn, world):
    primary = spawn(config=["appendonly yes"])
    client = primary.client()
    define(client)
    replica = spawn(config=[f"replicaof 127.0.0.1 {primary.port}"])
    reader = replica.client()
    eventually(15, "in step", lambda: "master_link_status:up" in reader.call("INFO", "replication").decode())
    made = create(client, "items:*", {"name": "new"})[0]
    client.call("PODIUM.DELETE", f"items:{item(2)}")
    eventually(5, "the replica has it", lambda: isinstance(reader.attempt("PODIUM.GET", f"items:{made['id']}"), bytes))
    eventually(5, "and what is gone", lambda: reader.call("EXISTS", f"tomb:items:{item(2)}") == 1)
    assert reader.error("PODIUM.CREATE", "items:*", '{"name":"x"}').code == "READONLY"
    primary.restart(kill=True)
    world.airtable.forget()
    assert get(primary.client(), f"items:{made['id']}")["name"] == "new"
    assert world.airtable.count() == 0


def test_who_tracks_the_record_is_told(server, client, world):
    tracker = server.client(3)
    tracker.call("CLIENT", "TRACKING", "ON")
    tracker.call("PODIUM.GET", f"items:{item(1)}")
    update(client, f"items:{item(1)}", n=77)
    eventually(5, "told", lambda: tracker.call("PING") and any(f"items:{item(1)}".encode() in (p[1] or []) for p in tracker.pushes))


def test_calls_are_counted_as_writes(server, client, world):
    create(client, "items:*", {"name": "x"})
    client.call("PODIUM.DELETE", f"items:{item(1)}")
    assert server.figure("upstream_calls_write") == 2


def test_a_link_that_comes_back_is_doubted_though_it_was_there_before(linked, world):
    """The last copy of the project had the link, the event was read while it had not."""
    update(linked, f"projects:{project(3)}", event=[event(4)])
    linked.call("PODIUM.INVALIDATE", f"projects:{project(3)}")
    world.change("projects", project(3), event=[event(2)])
    linked.call("PODIUM.INVALIDATE", f"events:{event(4)}")
    assert project(3) not in get(linked, f"events:{event(4)}").get("projects", [])
    update(linked, f"projects:{project(3)}", event=[event(4)])
    assert project(3) in get(linked, f"events:{event(4)}").get("projects", [])


def test_a_storm_of_writes_leaves_cache_and_base_equal(server, linked, world):
    """Everybody writes through the cache and reads it: nothing else tells it anything, and it ends exact."""
    spec(linked, "items", SPECS["items"])
    world.airtable.latency(3)
    pool = [item(n) for n in range(1, 13)]
    failures = []

    def work(seed):
        random = Random(seed)
        with server.client() as client:
            for _ in range(60):
                kind, id = random.random(), random.choice(pool)
                group = f"s{random.randrange(4)}"
                if kind < 0.45:
                    answer = client.attempt("PODIUM.UPDATE", f"items:{id}", json.dumps({"group": group, "n": random.randrange(100)}))
                elif kind < 0.55:
                    answer = client.attempt("PODIUM.UPDATE", f"projects:{project(1 + random.randrange(6))}", json.dumps({"event": [event(1 + random.randrange(4))]}))
                elif kind < 0.6:
                    answer = client.attempt("PODIUM.CREATE", "items:*", json.dumps({"name": "storm", "group": group}))
                elif kind < 0.63:
                    answer = client.attempt("PODIUM.DELETE", f"items:{id}")
                elif kind < 0.8:
                    answer = client.attempt("PODIUM.INDEX", f"items:group:{group}", "IDS")
                elif kind < 0.9:
                    answer = client.attempt("PODIUM.GET", f"events:{event(1 + random.randrange(4))}")
                else:
                    answer = client.attempt("PODIUM.GET", f"items:{id}")
                if isinstance(answer, ReplyError) and "ROW_DOES_NOT_EXIST" not in answer.text:
                    failures.append(answer)

    threads = [Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    world.airtable.latency(0)
    truth = world.truth("items")
    for group in range(4):
        expected = sorted(id for id, c in truth.items() if c.get("group") == f"s{group}")
        assert ids(linked, f"items:group:s{group}") == expected
    for id in pool:
        now = get(linked, f"items:{id}")
        assert (now is None) == (id not in truth)
        assert now is None or (now["group"], now["n"]) == (truth[id]["group"], truth[id].get("n", 0))
    for n in range(1, 5):
        assert sorted(get(linked, f"events:{event(n)}").get("projects", [])) == sorted(world.truth("events")[event(n)].get("projects", []))
    for n in range(1, 7):
        assert get(linked, f"projects:{project(n)}")["event"] == world.truth("projects")[project(n)].get("event", [])


@pytest.mark.parametrize("command, code", [
    (("PODIUM.CREATE", "items:*"), "ERR"),
    (("PODIUM.CREATE", f"items:{item(1)}", "{}"), "BADKEY"),
    (("PODIUM.CREATE", "items:group:g1", "{}"), "BADKEY"),
    (("PODIUM.CREATE", "ghosts:*", "{}"), "NOENTITY"),
    (("PODIUM.CREATE", "items:*", "{"), "BADRECORD"),
    (("PODIUM.CREATE", "items:*", "[]"), "BADRECORD"),
    (("PODIUM.CREATE", "items:*", "{}", '{"bogus":1}'), "BADRECORD"),
    (("PODIUM.CREATE", "items:*", "{}", "BOGUS"), "ERR"),
    (("PODIUM.CREATE", "items:*", "{}", "META", "META"), "ERR"),
    (("PODIUM.UPDATE", "items:*", "{}"), "BADKEY"),
    (("PODIUM.UPDATE", f"items:{item(1)}"), "ERR"),
    (("PODIUM.UPDATE", f"items:{item(1)}", "null"), "BADRECORD"),
    (("PODIUM.UPDATE", f"items:{item(1)}", "{}", "{}"), "ERR"),
    (("PODIUM.UPDATE", f"items:{item(1)}", "\xff"), "BADRECORD"),
    (("PODIUM.DELETE",), "ERR"),
    (("PODIUM.DELETE", f"items:{item(1)}", "items:group:g1"), "BADKEY"),
    (("PODIUM.DELETE", f"items:{item(1)}", f"ghosts:{ABSENT}"), "NOENTITY"),
])
def test_bad_input_makes_no_call(client, world, command, code):
    error = client.error(*command)
    assert error.code == code, error.text
    assert world.airtable.count() == 0


def test_keys_are_declared(client):
    for command, expected in [
        (("PODIUM.CREATE", "items:*", "{}"), ["items:*"]),
        (("PODIUM.UPDATE", f"items:{item(1)}", "{}"), [f"items:{item(1)}"]),
        (("PODIUM.DELETE", f"items:{item(1)}", f"items:{item(2)}"), [f"items:{item(1)}", f"items:{item(2)}"]),
    ]:
        assert text(client.call("COMMAND", "GETKEYS", *command)) == expected
