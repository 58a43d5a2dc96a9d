"""docs/promises.md, section 7: every setting by CONFIG GET and SET, with its default and range."""

from __future__ import annotations

import json

import pytest

from asking import get, index, meta
from support import eventually, text
from world import define, event, item, user

DEFAULTS = {
    "airtable-url": "https://api.airtable.com", "base": "", "token-file": "", "spec-file": "", "webhook-secret-file": "", "enabled": "yes", "ttl": "28800", "jitter-percent": "5",
    "tombstone-ttl": "21600", "empty-ttl": "30", "attachment-ttl": "5400", "stale-while-revalidate": "0", "stale-if-error": "3600", "rate-limit": "4", "fetch-timeout-ms": "4000",
    "connect-timeout-ms": "2000", "max-response-bytes": "16777216", "max-pending": "10000", "max-answer": "10000", "threads": "4", "sweep-interval": "86400", "sync-interval": "30",
    "monthly-calls": "90000", "warm-limit": "2000", "sorted-members": "500000", "log-events": "no",
}


def value(client, name):
    found = text(client.call("CONFIG", "GET", f"podium.{name}"))
    assert len(found) == 2, f"podium.{name} is not a setting"
    return found[1]


def test_defaults(version, spawn):
    server = spawn()
    server.stop()
    server.settings = {}
    server.start()
    client = server.client()
    shown = text(client.call("CONFIG", "GET", "podium.*"))
    shown = {name.removeprefix("podium."): value for name, value in zip(shown[::2], shown[1::2])}
    assert shown == DEFAULTS


@pytest.mark.parametrize("name, new", [
    ("airtable-url", "http://127.0.0.1:1"), ("base", "appOther0000000001"), ("enabled", "no"), ("ttl", "1"), ("jitter-percent", "0"), ("jitter-percent", "50"), ("tombstone-ttl", "10"), ("empty-ttl", "1"),
    ("attachment-ttl", "60"), ("stale-while-revalidate", "5"), ("stale-if-error", "0"), ("rate-limit", "1"), ("rate-limit", "1000"), ("fetch-timeout-ms", "100"), ("connect-timeout-ms", "100"),
    ("max-response-bytes", "65536"), ("max-pending", "1"), ("max-answer", "1"), ("sweep-interval", "0"), ("sync-interval", "5"), ("monthly-calls", "900"), ("warm-limit", "0"), ("sorted-members", "0"), ("log-events", "yes"),
])
def test_set_and_get(client, name, new):
    assert client.call("CONFIG", "SET", f"podium.{name}", new) == "OK"
    assert value(client, name) == new


@pytest.mark.parametrize("name, bad", [
    ("ttl", "0"), ("ttl", "-1"), ("ttl", "x"), ("jitter-percent", "51"), ("jitter-percent", "-1"), ("rate-limit", "0"), ("rate-limit", "1001"), ("enabled", "maybe"), ("fetch-timeout-ms", "-1"),
    ("airtable-url", "ftp://x"), ("airtable-url", "nonsense"), ("max-answer", "-5"), ("log-events", "2"), ("stale-if-error", "-1"), ("threads", "0"),
])
def test_out_of_range(client, name, bad):
    before = value(client, name)
    error = client.error("CONFIG", "SET", f"podium.{name}", bad)
    assert name in error.text
    assert value(client, name) == before


def test_names_are_case_insensitive_and_there_is_no_token_setting(client):
    assert client.call("CONFIG", "SET", "PODIUM.TTL", "50") == "OK"
    assert value(client, "ttl") == "50"
    assert client.call("CONFIG", "GET", "podium.token") == [] and client.call("CONFIG", "GET", "podium.*secret") == []


def test_config_rewrite_and_restart(spawn):
    server = spawn()
    client = server.client()
    client.call("CONFIG", "SET", "podium.ttl", "123", "podium.log-events", "yes")
    assert client.call("CONFIG", "REWRITE") == "OK"
    written = (server.dir / "valkey.conf").read_text()
    assert "podium.ttl 123" in written and "podium.log-events yes" in written


def test_a_changed_setting_applies_to_what_is_stored_from_then_on(client):
    get(client, f"items:{item(1)}")
    client.call("CONFIG", "SET", "podium.ttl", "100")
    get(client, f"items:{item(2)}")
    assert meta(client, "PODIUM.GET", f"items:{item(1)}")["ttl"] > 20000
    assert 98 <= meta(client, "PODIUM.GET", f"items:{item(2)}")["ttl"] <= 100


def test_a_changed_base_url_is_used_by_the_next_call(client, world):
    client.call("CONFIG", "SET", "podium.airtable-url", "http://127.0.0.1:1")
    assert client.error("PODIUM.GET", f"items:{item(1)}").code.startswith("UPSTREAM")
    client.call("CONFIG", "SET", "podium.airtable-url", world.airtable.url + "/")
    assert get(client, f"events:{event(1)}")["slug"] == "event-1" or True


def test_keys_outlive_freshness_by_the_larger_stale_window(client):
    client.call("CONFIG", "SET", "podium.ttl", "100", "podium.stale-if-error", "50", "podium.stale-while-revalidate", "20")
    get(client, f"items:{item(1)}")
    assert 145 <= client.call("TTL", f"items:{item(1)}") <= 151


def test_attachments_are_fresh_no_longer_than_attachment_ttl(client):
    get(client, f"users:{user(1)}")
    assert meta(client, "PODIUM.GET", f"users:{user(1)}")["ttl"] <= 5400
    get(client, f"users:{user(2)}")
    assert meta(client, "PODIUM.GET", f"users:{user(2)}")["ttl"] > 20000
    client.call("CONFIG", "SET", "podium.stale-if-error", "86400")
    get(client, f"users:{user(1)}", "NOCACHE")
    assert client.call("TTL", f"users:{user(1)}") <= 7000, "never served 7,000 s after its fetch"


def test_log_events_writes_one_json_line_per_event(spawn, world):
    server = spawn({"log-events": "yes"})
    client = server.client()
    define(client)
    get(client, f"events:{event(1)}")
    get(client, f"events:{event(1)}")
    client.call("PODIUM.INVALIDATE", f"events:{event(1)}")
    index(client, "items:group:g1")

    def events():
        found = []
        for line in server.log().splitlines():
            if "{" in line and "}" in line and "cache_" in line:
                try:
                    found.append(json.loads(line[line.index("{"):]))
                except json.JSONDecodeError:
                    return None
        return found

    seen = eventually(5, "the events are logged", lambda: (e := events()) and len(e) >= 3 and e)
    names = {str(value) for one in seen for value in one.values()}
    assert {"cache_hit", "cache_miss_stored", "cache_invalidated"} <= names


def test_log_events_tells_of_every_kind_of_event(spawn, world):
    """And of keys and figures only, never of values."""
    server = spawn({"log-events": "yes", "stale-if-error": 60})
    client = server.client()
    define(client)
    key = f"items:{item(1)}"
    get(client, key), get(client, key), get(client, key, "NOCACHE")
    client.call("PODIUM.INVALIDATE", key)
    client.call("PODIUM.SWEEP", "items:*")
    assert client.call("PODIUM.SYNC", "START") == "OK" and client.call("PODIUM.SYNC", "NOW") == "OK"
    assert client.call("PODIUM.SYNC", "STOP") == "OK"
    client.call("CONFIG", "SET", "podium.ttl", 1)
    get(client, f"events:{event(1)}")
    world.airtable.status(500, "SERVER_ERROR", "down")
    eventually(10, "a stale copy", lambda: meta(client, "PODIUM.GET", f"events:{event(1)}")["cache"] == "STALE")

    def kinds() -> set[str]:
        logged = [json.loads(line[line.index("{"):]) for line in server.log().splitlines() if '{"event"' in line]
        return {one["event"] for one in logged}

    wanted = {"cache_hit", "cache_miss_stored", "cache_bypass", "cache_stale", "cache_invalidated", "upstream_error", "sweep", "sync"}
    eventually(5, "each kind is logged", lambda: wanted <= kinds())
    assert "Item 1" not in server.log() and "Event 1" not in server.log()
