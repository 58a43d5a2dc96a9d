"""docs/promises.md, section 4: PODIUM.WARM loads a table and makes every index value complete."""

from __future__ import annotations

import pytest

from asking import cells, get, ids, spec
from support import eventually, mapping, text
from world import ITEMS, event, item, rid, schema, user

FIELDS = {"records", "upstream-calls", "duration-ms"}


def warm(client, *words) -> dict:
    return mapping(client.call("PODIUM.WARM", *words, timeout=60))


def test_a_warm_table_is_read_without_a_call(client, world):
    report = warm(client, "items:*")
    assert set(report) == FIELDS
    assert report["records"] == ITEMS and report["upstream-calls"] == world.airtable.count() == 4
    world.airtable.forget()
    assert get(client, f"items:{item(7)}")["n"] == 7
    assert ids(client, "items:group:g3") == sorted(item(n) for n in range(1, ITEMS + 1) if n % 10 == 3)
    assert len(ids(client, "items:*")) == ITEMS
    assert world.airtable.count() == 0


def test_unknown_values_are_empty(client, world):
    warm(client, "items:*")
    world.airtable.forget()
    assert ids(client, "items:group:nobody") == []
    assert client.call("PODIUM.INDEX", "items:group:neither", "COUNT") == 0
    assert world.airtable.count() == 0


def test_a_set_that_expired_while_writes_are_paused_is_not_empty(client):
    warm(client, "items:*")
    client.call("PEXPIRE", "items:group:g1", 300)
    client.call("CLIENT", "PAUSE", 20_000, "WRITE")
    eventually(5, "the key expired, which nobody removes now", lambda: client.call("EXISTS", "items:group:g1") == 0)
    assert len(ids(client, "items:group:g1")) == 40
    client.call("CLIENT", "UNPAUSE")


def test_until_an_index_set_is_lost(client, world):
    warm(client, "items:*")
    client.call("DEL", "items:group:g1")
    world.airtable.forget()
    assert len(ids(client, "items:group:g1")) == ITEMS // 10
    assert world.airtable.count() == 1


def test_links_without_a_lookup(client, world):
    spec(client, "votes", {"schema": schema({"voter": {"type": "array", "items": {"type": "string", "pattern": "^rec"}, "maxItems": 1, "default": []}})})
    warm(client, "votes:*")
    world.airtable.forget()
    truth = sorted(id for id, c in world.truth("votes").items() if c["voter"] == [user(3)])
    assert ids(client, f"votes:voter:{user(3)}") == truth
    assert ids(client, f"votes:voter:{rid('usr', 900)}") == []
    assert world.airtable.count() == 0


def test_all_entities(client, world):
    reports = {name: mapping(report) for name, report in mapping(client.call("PODIUM.WARM", "*", timeout=60)).items()}
    assert set(reports) == {"users", "events", "projects", "votes", "items"}
    assert reports["projects"]["records"] == 20 and reports["items"]["upstream-calls"] == 4
    world.airtable.forget()
    assert ids(client, f"projects:event:{event(2)}") and get(client, f"users:{user(1)}") and ids(client, "events:open:true")
    assert world.airtable.count() == 0


def test_resp3(server, client):
    report = server.client(3).call("PODIUM.WARM", "projects:*", timeout=60)
    assert isinstance(report, dict) and report[b"records"] == 20


def test_an_empty_table(client, world):
    world.delete("events", *[event(n) for n in range(1, 5)])
    assert warm(client, "events:*")["records"] == 0
    world.airtable.forget()
    assert ids(client, "events:*") == [] and ids(client, "events:slug:event-1") == []
    assert world.airtable.count() == 0


def test_async_answers_at_once_and_its_progress_shows(server, client, world):
    before = server.figure("warm_done")
    world.airtable.latency(1000)
    assert client.call("PODIUM.WARM", "items:*", "ASYNC", timeout=0.9) == "OK"
    eventually(10, "pages come in", lambda: server.info()["podium_warm_entity"] == "items" and 100 <= server.figure("warm_records") < ITEMS)
    assert server.figure("warm_calls") >= 1
    eventually(10, "it ends", lambda: server.figure("warm_done") == before + 1)
    world.airtable.latency(0)
    world.airtable.forget()
    assert server.info()["podium_warm_entity"] == ""
    assert len(ids(client, "items:group:g3")) == ITEMS // 10
    assert world.airtable.count() == 0
    assert server.figure("upstream_calls_warm") == 4


def test_changes_while_it_runs_are_not_lost(server, client, world):
    world.airtable.latency(250)
    warmer = server.client()
    warmer.send("PODIUM.WARM", "items:*")
    # Counted by calls: the figure may still be that of a run before.
    eventually(10, "the first page", lambda: world.airtable.count() >= 2)
    client.call("PODIUM.UPSERT", f"items:{item(1)}", cells(item(1), name="told", group="new group"))
    client.call("PODIUM.TOMBSTONE", f"items:{item(2)}")
    world.change("items", item(3), name="changed", group="changed group")
    client.call("PODIUM.INVALIDATE", f"items:{item(3)}")
    client.call("DEL", f"items:{item(4)}")
    assert mapping(warmer.read(30))["records"] == ITEMS
    world.airtable.latency(0)
    assert ids(client, "items:group:new group") == [item(1)]
    assert item(1) not in ids(client, "items:group:g1") and item(2) not in ids(client, "items:group:g2")
    assert get(client, f"items:{item(1)}")["name"] == "told" and get(client, f"items:{item(2)}") is None
    assert ids(client, "items:group:changed group") == [item(3)]
    assert item(3) not in ids(client, "items:group:g3")
    assert item(4) in ids(client, "items:group:g4") and item(4) in ids(client, "items:*")


def test_later_changes_move_records_between_warm_sets(client, world):
    warm(client, "items:*")
    client.call("PODIUM.UPSERT", f"items:{item(1)}", cells(item(1), name="x", group="fresh"))
    world.airtable.forget()
    assert ids(client, "items:group:fresh") == [item(1)]
    assert item(1) not in ids(client, "items:group:g1")
    assert world.airtable.count() == 0


def test_a_dead_offset_begins_it_anew(client, world):
    world.airtable.fault("offset_expired", 1, {})
    report = warm(client, "items:*")
    assert report["records"] == ITEMS and report["upstream-calls"] >= 6
    world.airtable.forget()
    assert len(ids(client, "items:group:g3")) == ITEMS // 10
    assert world.airtable.count() == 0


def test_a_listing_without_an_end_is_an_error(client, world):
    world.airtable.fault("offset_repeats", -1, {})
    assert client.error("PODIUM.WARM", "items:*", timeout=60).code == "UPSTREAMBAD"


def test_a_page_that_fails_is_asked_for_again(client, world):
    world.airtable.status(500, "SERVER_ERROR", "no", times=1)
    assert warm(client, "items:*")["records"] == ITEMS


def test_a_refusal_is_an_error(client, world):
    world.airtable.status(403, "INVALID_PERMISSIONS", "no")
    assert client.error("PODIUM.WARM", "items:*", timeout=60).code == "UPSTREAMAUTH"


def test_it_stops_before_memory_is_full_and_says_so(server, client, world):
    spec(client, "items", {"schema": schema({"name": {"type": "string"}, "n": {"type": "integer"}, "group": {"type": "string", "indexed": True}})})
    world.airtable.write(base=world.base, table="items", update=[{"id": item(n), "fields": {"name": "x" * 20_000}} for n in range(1, ITEMS + 1)])
    used = int(server.info("memory")["used_memory"])
    client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    client.call("CONFIG", "SET", "maxmemory", str(used + 8_000_000))
    evicted = int(server.info("stats")["evicted_keys"])
    report = warm(client, "items:*")
    assert "maxmemory" in text(report["stopped"]) and 0 < report["records"] < ITEMS
    assert int(server.info("stats")["evicted_keys"]) == evicted, "nothing of what was loaded had to go"
    client.call("CONFIG", "SET", "maxmemory", "0")
    world.airtable.forget()
    assert len(ids(client, "items:group:g3")) == ITEMS // 10, "what was not read to the end is not taken for complete"
    assert world.airtable.count() == 1


def test_reads_go_on_while_it_runs(server, client, world):
    world.airtable.latency(300)
    warmer = server.client()
    warmer.send("PODIUM.WARM", "*")
    eventually(5, "it runs", lambda: server.info()["podium_warm_entity"] != "")
    assert get(client, f"items:{item(300)}")["n"] == 300
    assert warmer.read(30)


def test_two_at_once_take_turns(server, client, world):
    world.airtable.latency(50)
    a, b = server.client(), server.client()
    a.send("PODIUM.WARM", "items:*")
    b.send("PODIUM.WARM", "projects:*")
    assert mapping(a.read(30))["records"] == ITEMS and mapping(b.read(30))["records"] == 20


def test_who_asks_while_it_runs_shares_it(server, client, world):
    world.airtable.latency(200)
    warmers = [server.client() for _ in range(5)]
    for warmer in warmers:
        warmer.send("PODIUM.WARM", "items:*")
    reports = [mapping(warmer.read(30)) for warmer in warmers]
    assert [report["records"] for report in reports] == [ITEMS] * 5
    assert sum(report["upstream-calls"] for report in reports) == world.airtable.count() == 4
    world.airtable.latency(0)
    assert mapping(client.call("PODIUM.WARM", "items:*", timeout=30))["upstream-calls"] == 4, "asked after it ended: read anew"


def test_too_many_at_once_are_refused(server, client, world):
    world.airtable.latency(1000)
    told = [client.attempt("PODIUM.WARM", "items:*", "ASYNC") for _ in range(100)]
    refused = [one for one in told if one != "OK"]
    assert refused and all("wait for one to end" in one.text for one in refused) and told[0] == "OK"
    world.airtable.latency(0)


def test_an_entity_redefined_meanwhile(server, client, world):
    world.airtable.latency(300)
    warmer = server.client()
    warmer.send("PODIUM.WARM", "items:*")
    eventually(5, "the first page is in, the second asked for", lambda: world.airtable.count() >= 2)
    spec(client, "items", {"schema": schema({"name": {"type": "string"}})})
    assert "warm it again" in warmer.read(30).text


def test_where_it_may_not_wait(client, world):
    client.call("MULTI")
    client.call("PODIUM.WARM", "items:*")
    assert client.call("EXEC")[0].code == "WOULDBLOCK"
    assert world.airtable.count() == 0


def test_while_the_cache_is_disabled(client, world):
    client.call("CONFIG", "SET", "podium.enabled", "no")
    assert client.error("PODIUM.WARM", "items:*").code == "ERR"
    assert world.airtable.count() == 0


@pytest.mark.parametrize("words, code", [
    ((), "ERR"), (("items",), "BADKEY"), (("items:group:g1",), "BADKEY"), ((f"items:{item(1)}",), "BADKEY"), (("ghosts:*",), "NOENTITY"),
    (("items:*", "BOGUS"), "ERR"), (("items:*", "ASYNC", "ASYNC"), "ERR"),
])
def test_bad_input(client, world, words, code):
    assert client.error("PODIUM.WARM", *words).code == code
    assert world.airtable.count() == 0
