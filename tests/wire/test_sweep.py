"""docs/promises.md, section 4: PODIUM.SWEEP finds what was deleted behind the cache's back, and nothing else."""

from __future__ import annotations

import threading

import pytest

from asking import cells, get, ids, mget
from between import between
from support import blocked, eventually, mapping, text
from world import define, event, item, project

FIELDS = {"cached", "checked", "removed", "upstream-calls", "duration-ms"}


def sweep(client, *words) -> dict:
    return mapping(client.call("PODIUM.SWEEP", *words, timeout=30))


@pytest.fixture
def swept(client, world):
    """100 items and all projects cached; five items and a project deleted in Airtable."""
    mget(client, [f"items:{item(n)}" for n in range(1, 101)])
    ids(client, "projects:*")
    world.delete("items", *[item(n) for n in range(1, 6)])
    world.delete("projects", project(7))
    world.airtable.forget()
    return client


def test_deleted_records_are_dropped_and_leave_tombstones(swept, world):
    report = sweep(swept, "items:*")
    assert set(report) == FIELDS
    assert report["removed"] == 5 and report["cached"] == 100 and report["checked"] == 100
    assert report["upstream-calls"] == world.airtable.count() == 1
    world.airtable.forget()
    assert get(swept, f"items:{item(1)}") is None
    assert get(swept, f"items:{item(6)}")["n"] == 6
    assert world.airtable.count() == 0
    assert swept.call("EXISTS", f"tomb:items:{item(1)}") == 1


def test_what_a_short_page_leaves_out_is_not_gone(swept, world):
    world.airtable.control("POST", "switches", {"longest_page": 30})
    report = sweep(swept, "items:*", "FULL")
    assert report["removed"] == 5 and report["upstream-calls"] == world.airtable.count() > 1
    assert get(swept, f"items:{item(100)}", "CACHEONLY")["n"] == 100


def test_they_leave_every_index_set(client, world):
    found = ids(client, "items:group:g1")
    world.delete("items", found[0], found[5])
    assert sweep(client, "items:*")["removed"] == 2
    world.airtable.forget()
    assert ids(client, "items:group:g1") == [id for id in found if id not in (found[0], found[5])]
    assert world.airtable.count() == 0


def test_all_entities(swept):
    reports = {name: mapping(report) for name, report in mapping(swept.call("PODIUM.SWEEP", "*", timeout=30)).items()}
    assert {"items", "projects"} <= set(reports)
    assert reports["items"]["removed"] == 5 and reports["projects"]["removed"] == 1


def test_resp3(server, swept):
    report = server.client(3).call("PODIUM.SWEEP", "items:*")
    assert isinstance(report, dict) and report[b"removed"] == 5


def test_dryrun_reports_and_changes_nothing(swept):
    assert sweep(swept, "items:*", "DRYRUN")["removed"] == 5
    assert get(swept, f"items:{item(1)}", "CACHEONLY") is not None
    assert sweep(swept, "items:*")["removed"] == 5


def test_async_answers_at_once_and_sweeps_behind(server, swept, world):
    world.airtable.latency(300)
    swept.call("PODIUM.SWEEP", "items:*", "ASYNC", timeout=0.25)
    eventually(10, "the sweep ends", lambda: get(swept, f"items:{item(1)}", "CACHEONLY") is None)
    eventually(5, "it is counted", lambda: server.figure("sweep_last_removed") == 5)


def test_what_it_reads_is_refreshed(swept, world):
    world.change("items", item(50), name="refreshed")
    sweep(swept, "items:*", "FULL")
    world.airtable.forget()
    assert get(swept, f"items:{item(50)}")["name"] == "refreshed"
    assert world.airtable.count() == 0


def test_a_second_sweep_removes_nothing(swept):
    sweep(swept, "items:*")
    report = sweep(swept, "items:*")
    assert report["removed"] == 0 and report["cached"] == 95


def test_an_empty_cache_costs_no_call(client, world):
    report = sweep(client, "items:*")
    assert report["cached"] == 0 and report["removed"] == 0 and report["upstream-calls"] == 0
    assert world.airtable.count() == 0


def test_a_stale_parent_proves_nothing(server, client, world):
    """The event was cached before its project was deleted: that it still names the project is no evidence."""
    from asking import spec
    from world import LINKS, SINGLE_LINK, schema
    spec(client, "events", {"schema": schema({"name": {"type": "string"}, "projects": LINKS})})
    spec(client, "projects", {"schema": schema({"name": {"type": "string"}, "event": SINGLE_LINK})})
    assert project(1) in get(client, f"events:{event(2)}")["projects"]
    get(client, f"projects:{project(1)}")
    world.delete("projects", project(1))
    assert sweep(client, "projects:*")["removed"] == 1
    assert get(client, f"projects:{project(1)}") is None


def test_failure_upstream_removes_nothing(swept, world):
    for status, type in ((403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"), (404, "NOT_FOUND"), (422, "INVALID_REQUEST_UNKNOWN")):
        world.airtable.clear_faults()
        world.airtable.status(status, type, "no")
        swept.attempt("PODIUM.SWEEP", "items:*", timeout=30)
        assert get(swept, f"items:{item(1)}", "CACHEONLY") is not None
        assert get(swept, f"items:{item(50)}", "CACHEONLY") is not None
    world.airtable.clear_faults()


def test_a_record_told_of_while_the_sweep_runs_is_kept(server, swept, world):
    world.airtable.latency(500)
    sweeper = server.client()
    sweeper.send("PODIUM.SWEEP", "items:*")
    eventually(5, "the sweep asks", lambda: world.airtable.count() >= 1)
    swept.call("PODIUM.UPSERT", f"items:{item(1)}", cells(item(1), name="told meanwhile"))
    sweeper.read(30)
    assert get(swept, f"items:{item(1)}", "CACHEONLY")["name"] == "told meanwhile"


def test_reads_go_on_while_a_sweep_runs(server, swept, world):
    world.airtable.latency(500)
    sweeper = server.client()
    sweeper.send("PODIUM.SWEEP", "*")
    assert get(swept, f"items:{item(60)}")["n"] == 60
    assert sweeper.read(30)


def test_what_runs_by_itself_holds_up_no_upkeep(server, swept, world):
    """A sweep takes as long as Airtable does; what was invalidated meanwhile is cleared away all the same."""
    world.airtable.latency(3000)
    swept.call("CONFIG", "SET", "podium.sweep-interval", "1")
    try:
        eventually(10, "a sweep is under way", lambda: int(server.info()["podium_pending"]) > 0)
        swept.call("PODIUM.INVALIDATE", "items:*")
        gone = lambda: not swept.call("EXISTS", *[f"items:{item(n)}" for n in range(1, 101)])
        eventually(2, "the old keys go", gone)
        assert int(server.info()["podium_pending"]) > 0, "the sweep is still under way"
    finally:
        swept.call("CONFIG", "SET", "podium.sweep-interval", "0")
        world.airtable.latency(0)


def test_by_itself_every_interval(client, world):
    get(client, f"items:{item(1)}")
    world.delete("items", item(1))
    client.call("CONFIG", "SET", "podium.sweep-interval", "1")
    eventually(15, "the sweep finds it", lambda: get(client, f"items:{item(1)}", "CACHEONLY") is None)


@pytest.mark.parametrize("words, code", [
    ((), "ERR"), (("items",), "BADKEY"), (("items:group:g1",), "BADKEY"), ((f"items:{item(1)}",), "BADKEY"), (("ghosts:*",), "NOENTITY"), (("items:*", "BOGUS"), "ERR"), (("items:*", "FULL", "FULL"), "ERR"),
])
def test_bad_input(client, world, words, code):
    error = client.error("PODIUM.SWEEP", *words)
    assert error.code == code, text(error.text)
    assert world.airtable.count() == 0


def test_a_wait_that_is_ended_says_so(server, swept, world):
    world.airtable.latency(500)
    one = server.client()
    number = one.call("CLIENT", "ID")
    one.send("PODIUM.SWEEP", "items:*")
    blocked(server, 1)
    assert swept.call("CLIENT", "UNBLOCK", number) == 1
    assert "the sweep goes on" in one.read().text
def test_an_answer_to_another_question_removes_nothing(spawn, world):
    odd = threading.Event()

    def strange(path, ask):
        other = {"id": "recOTHER000000001", "createdTime": "2026-03-04T05:06:07.000Z", "fields": {"name": "x"}}
        return {"records": [other]} if odd.is_set() else None

    with between(world.airtable.url, strange) as url:
        server = spawn({"airtable-url": url, "rate-limit": 1000})
        client = server.client()
        define(client, "items")
        everybody = ids(client, "items:*")
        odd.set()
        assert client.error("PODIUM.SWEEP", "items:*", "FULL").code == "UPSTREAMBAD"
        odd.clear()
        assert ids(client, "items:*") == everybody
