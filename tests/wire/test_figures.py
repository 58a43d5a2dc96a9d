"""INFO podium and PODIUM.STATS."""

from __future__ import annotations

import pytest

from asking import get, ids, index
from support import mapping, text
from world import ABSENT, event, item

FIGURES = ["hits", "misses", "stale_hits", "negative_hits", "bypasses", "hit_rate_percent", "collapsed", "upstream_calls", "upstream_calls_get", "upstream_calls_index", "upstream_calls_refresh",
           "upstream_calls_sweep", "upstream_calls_sync", "upstream_calls_warm", "upstream_calls_write", "upstream_calls_meta", "upstream_records", "upstream_errors", "upstream_429", "upstream_retries",
           "upstream_ms_p50", "upstream_ms_p99", "breaker", "pending", "blocked_clients", "schema_violations", "stale_sets_prevented", "month_calls", "sync_state", "sync_lag_ms", "sweep_last_removed",
           "entities"]


def test_every_figure_is_there(server, client):
    shown = server.info()
    missing = [name for name in FIGURES if f"podium_{name}" not in shown]
    assert not missing, f"missing: {missing}; shown: {sorted(shown)}"
    assert shown["podium_breaker"] == "closed" and shown["podium_entities"] == "5"


def test_it_is_shown_with_everything(server, client):
    assert "podium_hits" in server.info("everything") and "podium_hits" in server.info("modules")


def test_counts(server, client, world):
    get(client, f"events:{event(1)}")
    get(client, f"events:{event(1)}")
    get(client, f"events:{event(1)}")
    get(client, f"events:{ABSENT}")
    get(client, f"events:{ABSENT}")
    index(client, "items:group:g1")
    client.call("PODIUM.SWEEP", "events:*")
    figures = server.info()
    number = lambda name: int(figures[f"podium_{name}"])
    assert number("misses") == 3 and number("hits") in (2, 3) and number("negative_hits") == 1
    assert number("upstream_calls") == world.airtable.count()
    assert number("upstream_calls_get") == 2 and number("upstream_calls_index") == 1
    assert number("upstream_calls") == sum(number(f"upstream_calls_{cause}") for cause in ("get", "index", "refresh", "sweep", "sync", "warm", "write", "meta"))
    assert number("upstream_records") >= 41 and number("upstream_errors") == 0
    assert 0 <= float(figures["podium_upstream_ms_p50"]) <= float(figures["podium_upstream_ms_p99"])
    assert 39 <= float(figures["podium_hit_rate_percent"]) <= 51


def test_errors_are_counted(server, client, world):
    world.airtable.status(422, "INVALID_REQUEST_UNKNOWN", "bad", times=1)
    client.error("PODIUM.GET", f"events:{event(1)}")
    assert server.figure("upstream_errors") == 1


@pytest.mark.parametrize("protocol", [2, 3])
def test_stats_is_a_map_of_the_same_figures(server, client, protocol):
    reader = server.client(protocol)
    get(client, f"events:{event(1)}")
    stats = reader.call("PODIUM.STATS")
    assert isinstance(stats, dict if protocol == 3 else list)
    names = {name.removeprefix("podium_").replace("-", "_") for name in mapping(stats)}
    assert {"hits", "misses", "upstream_calls"} <= names
    one = mapping(reader.call("PODIUM.STATS", "events"))
    other = mapping(reader.call("PODIUM.STATS", "items"))
    misses = lambda stats: next(value for name, value in stats.items() if name.endswith("misses"))
    assert misses(one) == 1 and misses(other) == 0


def test_stats_reset(server, client):
    get(client, f"events:{event(1)}")
    assert server.figure("misses") == 1
    assert client.call("PODIUM.STATS", "RESET") == "OK"
    assert server.figure("misses") == 0 and server.figure("upstream_calls") == 0
    assert get(client, f"events:{event(1)}", "CACHEONLY") is not None, "figures only"


def test_stats_of_an_unknown_entity(client):
    assert client.error("PODIUM.STATS", "ghosts").code == "NOENTITY"


def test_months_calls_survive_a_reset_of_the_figures(server, client):
    get(client, f"events:{event(1)}")
    before = server.figure("month_calls")
    assert before >= 1
    client.call("PODIUM.STATS", "RESET")
    assert server.figure("month_calls") == before


def test_bypasses(server, client):
    client.call("CONFIG", "SET", "podium.enabled", "no")
    get(client, f"items:{item(1)}")
    assert server.figure("bypasses") == 1


def test_index_hits_count(server, client):
    ids(client, "items:group:g1")
    client.call("PODIUM.STATS", "RESET")
    ids(client, "items:group:g1")
    assert server.figure("hits") == 1 and server.figure("misses") == 0, text(server.info())
