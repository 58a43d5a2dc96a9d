"""docs/promises.md, section 4: the change feed. What changes in Airtable is known within an interval, without a call for what did not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
import urllib.request

import pytest

from airtable import TOKEN
from asking import get, ids, meta, mget, spec
from support import MODULE, eventually, free_port, mapping, text
from test_replica import in_step, pair  # noqa: F401 (a fixture)
from world import LINKS, SPECS, define, event, item, project, schema, seed, user

INTERVAL = 1


def status(client, *base) -> dict:
    return {key: text(value) for key, value in mapping(client.call("PODIUM.SYNC", "STATUS", *base)).items()}


def hooks(world) -> list[dict]:
    return [hook for hook in world.airtable.control("GET", "webhooks")["webhooks"] if hook["base"] == world.base]


def record_calls(world) -> list[str]:
    """Calls on records, the feed's own left out."""
    return [call["path"] for call in world.airtable.calls() if "/webhooks" not in call["path"] and "/meta/" not in call["path"]]


def settled(server, world) -> None:
    eventually(10, "nothing under way", lambda: server.info()["podium_pending"] == "0")


@pytest.fixture
def fed(client, server):
    """The feed of the test's base is followed."""
    client.call("CONFIG", "SET", "podium.sync-interval", INTERVAL)
    assert client.call("PODIUM.SYNC", "START") == "OK"
    yield client
    with server.client() as last:
        last.call("PODIUM.SYNC", "STOP")


def now(client) -> None:
    assert client.call("PODIUM.SYNC", "NOW") == "OK"


def test_start_makes_a_webhook_and_status_tells(fed, world, server):
    [hook] = hooks(world)
    assert hook["notificationUrl"] is None
    told = status(fed)
    assert (told["state"], told["webhook"], told["cursor"], told["base"]) == ("following", hook["id"], 1, world.base)
    assert told["lag-ms"] < 5_000 and told["last-poll"] > 0 and told["error"] == ""
    assert fed.call("PODIUM.SYNC", "START", world.base) == "OK", "again changes nothing"
    assert len(hooks(world)) == 1
    assert server.info()["podium_sync_state"] == "following"
    assert server.figure("upstream_calls_sync") >= 3


def test_stop_takes_the_webhook_away(fed, world, server):
    assert fed.call("PODIUM.SYNC", "STOP") == "OK"
    assert hooks(world) == []
    assert status(fed)["state"] == "off" and server.info()["podium_sync_state"] == "off"
    assert fed.error("PODIUM.SYNC", "NOW").code == "ERR"
    assert fed.call("PODIUM.SYNC", "STOP") == "OK"


def test_created_changed_and_deleted_records(fed, world, server):
    everything = ids(fed, "items:*")
    assert get(fed, f"items:{item(1)}")["name"] == "Item 1"
    members = ids(fed, "items:group:g1")
    new = "recitm00000000900"
    world.change("items", item(1), name="changed", group="g2")
    world.create("items", new, name="new", n=900, group="g1")
    world.delete("items", item(11))
    now(fed)
    assert get(fed, f"items:{item(1)}")["name"] == "changed"
    assert get(fed, f"items:{item(11)}") is None
    assert get(fed, f"items:{new}")["n"] == 900
    assert ids(fed, "items:group:g1") == sorted([new] + [id for id in members if id not in (item(1), item(11))])
    assert item(1) in ids(fed, "items:group:g2")
    assert ids(fed, "items:*") == sorted([new] + [id for id in everything if id != item(11)])


def test_it_polls_by_itself_while_the_base_is_read(fed, world):
    assert get(fed, f"items:{item(1)}")["name"] == "Item 1"
    world.change("items", item(1), name="changed")
    eventually(3 * INTERVAL + 2, "the change is seen", lambda: get(fed, f"items:{item(1)}")["name"] == "changed")


def test_changes_are_brought_up_to_date_in_batches(fed, world, server):
    ids(fed, "items:*")
    world.airtable.write(base=world.base, table="items", update=[{"id": item(n), "fields": {"n": n + 1000}} for n in range(1, 251)])
    world.airtable.forget()
    now(fed)
    settled(server, world)
    assert len(record_calls(world)) == 3, "250 records are three pages"
    world.airtable.forget()
    assert [r["n"] for r in mget(fed, [f"items:{item(n)}" for n in range(1, 251)])] == [n + 1000 for n in range(1, 251)]
    assert record_calls(world) == []


def test_what_is_loaded_stays_known_without_a_call(fed, world, server):
    fed.call("CONFIG", "SET", "podium.ttl", 1, "podium.empty-ttl", 1)
    everything = ids(fed, "items:*")
    assert ids(fed, "items:group:nobody") == []
    group = ids(fed, "items:group:g3")
    world.airtable.forget()
    polled = status(fed)["last-poll"]
    eventually(15, "the ttl is over", lambda: get(fed, f"items:{item(3)}") and status(fed)["last-poll"] > polled + 3_000)
    for n in range(1, 200):
        assert get(fed, f"items:{item(n)}")["n"] == n
    assert ids(fed, "items:*") == everything and ids(fed, "items:group:g3") == group
    assert ids(fed, "items:group:nobody") == [] and ids(fed, "items:group:else") == []
    assert record_calls(world) == []
    told = meta(fed, "PODIUM.GET", f"items:{item(3)}")
    assert told["cache"] == "HIT" and told["ttl"] >= 0 and told["age"] >= 3


def test_attachments_end_by_themselves(fed, world):
    fed.call("CONFIG", "SET", "podium.attachment-ttl", 1)
    get(fed, f"users:{user(1)}")
    world.airtable.forget()
    eventually(10, "it is fetched anew", lambda: get(fed, f"users:{user(1)}") and record_calls(world))


def test_sweep_needs_no_call(fed, world):
    ids(fed, "items:*")
    world.delete("items", *[item(n) for n in range(1, 31)])
    world.airtable.forget()
    report = mapping(fed.call("PODIUM.SWEEP", "items:*", timeout=30))
    assert report["upstream-calls"] == 0 and record_calls(world) == []
    assert get(fed, f"items:{item(1)}") is None and item(2) not in ids(fed, "items:*")
    assert record_calls(world) == []


# What goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"forget": True}, {"error": "INVALID_HOOK"}, {"destroy": True}])
def test_a_gap_puts_everything_in_doubt_once_and_it_goes_on(fed, world, how):
    assert get(fed, f"items:{item(1)}")["name"] == "Item 1"
    group = ids(fed, "items:group:g1")
    world.change("items", item(1), name="unheard", group="g9")
    [hook] = hooks(world)
    world.airtable.control("POST", "webhooks", {"id": hook["id"], **how})
    # What tells of the gap is the next payload, or that there is no webhook.
    world.change("items", item(2), name="heard")
    eventually(10, "it follows again", lambda: fed.attempt("PODIUM.SYNC", "NOW") == "OK" and status(fed)["gaps"] == 1)
    assert get(fed, f"items:{item(1)}")["name"] == "unheard"
    assert ids(fed, "items:group:g1") == [id for id in group if id != item(1)]
    [hook] = hooks(world)
    assert hook["isHookEnabled"]
    world.change("items", item(1), name="heard again")
    now(fed)
    assert get(fed, f"items:{item(1)}")["name"] == "heard again"
    assert status(fed)["gaps"] == 1


def test_polls_that_fail_are_told_and_soon_nothing_is_vouched_for(fed, world):
    fed.call("CONFIG", "SET", "podium.ttl", 1)
    get(fed, f"items:{item(1)}")
    assert meta(fed, "PODIUM.GET", f"items:{item(1)}")["detail"] == ""
    world.airtable.status(500, match={"path_contains": "/webhooks"})
    eventually(20, "detail says so", lambda: meta(fed, "PODIUM.GET", f"items:{item(1)}")["detail"] == "feed-behind")
    assert status(fed)["state"] == "behind" and "500" in status(fed)["error"]
    world.airtable.forget()
    eventually(20, "the ttl rules again", lambda: get(fed, f"items:{item(1)}") and record_calls(world))
    world.change("items", item(1), name="changed")
    world.airtable.clear_faults()
    eventually(20, "it is followed again", lambda: status(fed)["state"] == "following")
    assert get(fed, f"items:{item(1)}")["name"] == "changed" and status(fed)["gaps"] == 0


def test_start_says_what_the_token_lacks(client, world):
    data = seed(world.base)
    data["tokens"] = [{"token": TOKEN, "scopes": ["data.records:read"], "bases": [world.base]}]
    world.airtable.seed(data)
    error = client.error("PODIUM.SYNC", "START")
    assert error.code == "UPSTREAMAUTH" and "webhook:manage" in str(error)
    assert status(client)["state"] == "off"


@pytest.mark.parametrize("words", [("START", "nobase"), ("STATUS", "a", "b"), ("PING", "x"), ("START", "NOTIFY", "ftp://x"), ("NO",)])
def test_what_makes_no_sense_is_refused(client, words):
    client.error("PODIUM.SYNC", *words)


def test_where_it_may_not_wait(fed, client):
    client.call("MULTI")
    client.call("PODIUM.SYNC", "NOW")
    client.call("PODIUM.SYNC", "STATUS")
    told, state = client.call("EXEC")
    assert told.code == "WOULDBLOCK" and mapping(state)["state"] == b"following"


def test_a_renamed_column_is_asked_for_anew(fed, world):
    assert get(fed, f"items:{item(1)}")["group"] == "g1"
    assert ids(fed, "items:group:g1")
    world.airtable.control("POST", "schema", {"base": world.base, "table": "items", "rename_field": {"field": "group", "name": "team"}})
    now(fed)
    assert get(fed, f"items:{item(1)}")["group"] == "", "the column is no more: the default"
    world.change("items", item(1), name="still followed")
    now(fed)
    assert get(fed, f"items:{item(1)}")["name"] == "still followed"


def test_a_table_that_gets_the_name_of_an_entity_is_followed_from_then_on(fed, world):
    fed.call("CONFIG", "SET", "podium.sync-interval", 60)
    fed.call("PODIUM.SPEC", "SET", "later", json.dumps({**SPECS["items"], "table": "Later"}))
    now(fed), now(fed)
    world.airtable.control("POST", "schema", {"base": world.base, "table": "items", "rename_table": "Later"})
    assert get(fed, f"later:{item(1)}")["name"] == "Item 1"
    world.airtable.write(base=world.base, table="Later", update=[{"id": item(1), "fields": {"name": "changed"}}])
    now(fed)
    assert get(fed, f"later:{item(1)}")["name"] == "changed"
    world.airtable.write(base=world.base, table="Later", update=[{"id": item(1), "fields": {"name": "changed again"}}])
    now(fed)
    assert get(fed, f"later:{item(1)}")["name"] == "changed again"


def test_a_changed_record_reaches_the_lookups_of_others(fed, world):
    about = f"projects:{project(1)}"
    owner = get(fed, about)["owner"][0]
    world.airtable.control("POST", "switches", {"linked_computed_lag_ms": 300})
    world.change("users", owner, display_name="Somebody else")
    eventually(10, "the lookup shows it", lambda: fed.call("PODIUM.SYNC", "NOW") == "OK" and get(fed, about)["owner_display_name"] == "Somebody else")


def test_links_have_two_ends(fed, world, server):
    one, other = f"projects:event:{event(1)}", f"projects:event:{event(2)}"
    before = ids(fed, one)
    moved = before[0]
    ids(fed, other)
    world.change("projects", moved, event=[event(2)])
    now(fed)
    assert ids(fed, one) == before[1:] and moved in ids(fed, other)


@pytest.fixture
def ended(fed, world):
    """Events that show their projects, all cached; payloads that tell of the end that was written and of no other."""
    world.airtable.control("POST", "switches", {"one_ended_payloads": True})
    spec(fed, "events", {"schema": schema({"name": {"type": "string"}, "projects": {**LINKS, "default": []}})})
    yield fed
    world.airtable.control("POST", "switches", {"one_ended_payloads": False})


def both_ends_agree(client, world) -> None:
    truth = world.truth("events")
    now(client)
    for id, cells in truth.items():
        shown = get(client, f"events:{id}")["projects"]
        assert sorted(shown) == sorted(cells.get("projects", [])), id


def adopt_an_old_webhook(client, world) -> None:
    """The webhook of an earlier release, which does not ask for former cells."""
    client.call("PODIUM.SYNC", "STOP")
    body = {"specification": {"options": {"filters": {"dataTypes": ["tableData", "tableFields", "tableMetadata"]}}}}
    request = urllib.request.Request(f"{world.airtable.url}/v0/bases/{world.base}/webhooks", json.dumps(body).encode(), {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        made = json.loads(answer.read())["id"]
    assert client.call("PODIUM.SYNC", "START") == "OK"
    assert status(client)["webhook"] == made


@pytest.mark.parametrize("former", [True, False], ids=["with former cells", "without"])
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "not cached"])
def test_the_other_ends_of_links_are_in_doubt_whatever_payloads_say_of_them(ended, world, cached, former):
    if not former:
        adopt_an_old_webhook(ended, world)
    moved, cleared, gone, new = project(1), project(2), project(3), "recprj00000000900"
    keys = [f"projects:{id}" for id in (moved, cleared, gone)]
    if cached:
        mget(ended, keys)
    both_ends_agree(ended, world)
    world.create("projects", new, name="new", event=[event(1)])
    both_ends_agree(ended, world)
    world.change("projects", moved, event=[event(4)])
    world.change("projects", cleared, event=None)
    both_ends_agree(ended, world)
    if cached:
        mget(ended, keys)
    world.delete("projects", gone)
    both_ends_agree(ended, world)


def test_the_other_end_of_a_link_that_no_entity_shows(ended, world, server):
    """Projects are no entity here; events show nothing of them but what they compute."""
    spec(ended, "events", {"schema": schema({"name": {"type": "string"}})})
    ended.call("PODIUM.SPEC", "DEL", "projects")
    for n in (1, 2, 3, 4):
        get(ended, f"events:{event(n)}")
    settled(server, world)
    world.airtable.forget()
    was = world.truth("projects")[project(1)]["event"][0]
    world.change("projects", project(1), event=[event(4)])
    now(ended)
    settled(server, world)
    asked = json.dumps(world.airtable.calls("/events"))
    assert was in asked and event(4) in asked and (event(1) if was != event(1) else event(2)) not in asked


def test_an_index_by_the_link_back_counts_what_was_gained(ended, world):
    spec(ended, "events", {"schema": schema({"name": {"type": "string"}, "projects": {**LINKS, "indexed": True}})})
    moved = project(1)
    was = world.truth("projects")[moved]["event"][0]
    assert ids(ended, f"events:projects:{moved}") == [was]
    ended.call("DEL", f"events:{event(4)}")
    world.change("projects", moved, event=[event(4)])
    now(ended)
    assert ids(ended, f"events:projects:{moved}") == [event(4)]


def test_a_dependent_that_is_being_fetched_is_not_kept_as_it_was(fed, world, server):
    about = f"projects:{project(1)}"
    owner = world.truth("projects")[project(1)]["owner"][0]
    get(fed, f"users:{owner}")
    # Airtable tells of the user, and of nothing that it computes from it.
    world.airtable.control("POST", "switches", {"linked_computed_lag_ms": 60_000})
    world.airtable.fault("slow", 1, {"path_contains": "/projects"}, ms=1500)
    reader = server.client()
    reader.send("PODIUM.GET", about)
    eventually(5, "the fetch is under way", lambda: server.info()["podium_pending"] != "0")
    world.change("users", owner, display_name="Somebody else")
    now(fed)
    assert reader.read(10)
    assert fed.call("PODIUM.GET", about, "CACHEONLY") is None


def test_what_is_computed_through_a_link_that_the_model_lacks(fed, world):
    model = json.loads(json.dumps(SPECS["projects"]))
    del model["schema"]["properties"]["owner"]
    spec(fed, "ownerless", {**model, "table": "projects", "depends": {"owner_display_name": "users"}})
    key = f"ownerless:{project(1)}"
    owner = world.truth("projects")[project(1)]["owner"][0]
    get(fed, key), get(fed, f"items:{item(1)}")
    # Airtable tells of the user, and of nothing that it computes from it.
    world.airtable.control("POST", "switches", {"linked_computed_lag_ms": 60_000})
    world.change("users", owner, display_name="Somebody else")
    now(fed)
    assert fed.call("PODIUM.GET", key, "CACHEONLY") is None
    assert fed.call("PODIUM.GET", f"items:{item(1)}", "CACHEONLY")


# Notifications ---------------------------------------------------------------------------------------------------


@pytest.fixture
def endpoint():
    """An HTTP endpoint that keeps what is posted to it."""
    posted = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((body, self.headers["X-Airtable-Content-MAC"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/ping", posted
    httpd.shutdown()
    httpd.server_close()
    thread.join(5)


def test_a_ping_polls_at_once(client, world, server, endpoint):
    url, posted = endpoint
    client.call("CONFIG", "SET", "podium.sync-interval", 3600)
    assert client.call("PODIUM.SYNC", "START", "NOTIFY", url) == "OK"
    try:
        assert get(client, f"items:{item(1)}")["name"] == "Item 1"
        world.change("items", item(1), name="changed")
        eventually(10, "Airtable posts", lambda: posted)
        body, mac = posted[0]
        assert get(client, f"items:{item(1)}")["name"] == "Item 1", "an hour is long"
        [hook] = hooks(world)
        assert hook["notificationUrl"] == url and status(client)["notify"] == url
        secret = client.call("HGET", f"podium:feed:{world.base}", "secret")
        assert mac == "hmac-sha256=" + hmac.new(base64.b64decode(secret), body, hashlib.sha256).hexdigest()
        wrong = mac[:-1] + ("0" if mac[-1] != "0" else "1")
        for bad in [(body, wrong), (body + b" ", mac), (body, ""), (b"{}", mac), (b"\xff", mac)]:
            assert client.error("PODIUM.SYNC", "PING", *bad).code == "DENIED", bad
        assert client.call("PODIUM.SYNC", "PING", body, mac) == "OK"
        eventually(5, "the change is seen", lambda: get(client, f"items:{item(1)}")["name"] == "changed")
        assert client.call("PODIUM.SYNC", "START", "NOTIFY", url + "/other") == "OK"
        eventually(5, "one webhook, with the other address", lambda: [h["notificationUrl"] for h in hooks(world)] == [url + "/other"])
        assert client.error("PODIUM.SYNC", "PING", body, mac).code == "DENIED", "that webhook is no more"
        assert secret.decode() not in server.log() and secret not in repr(client.call("PODIUM.SYNC", "STATUS")).encode()
    finally:
        client.call("PODIUM.SYNC", "STOP")


def test_the_webhooks_secret_is_written_unseen(spawn, world):
    """MONITOR and SLOWLOG do not show it, yet it outlives the process and is with the replica."""
    server = spawn({}, ["appendonly yes", "appendfsync always", "slowlog-log-slower-than 0"])
    replica = spawn({}, [f"replicaof 127.0.0.1 {server.port}"])
    in_step(server, replica)
    watcher = server.client()
    assert watcher.call("MONITOR") == "OK"
    client = begin(server, world)
    get(client, f"items:{item(1)}")
    client.call("ECHO", "the end")
    heard = ""
    while "the end" not in heard:
        heard += str(watcher.read(5))
    key = f"podium:feed:{world.base}"
    secret = client.call("HGET", key, "secret").decode()
    assert len(base64.b64decode(secret)) >= 16
    assert "podium:feed" in heard and secret not in heard
    assert secret not in str(client.call("SLOWLOG", "GET", "-1"))
    in_step(server, replica)
    assert replica.client().call("HGET", key, "secret").decode() == secret
    server.stop(kill=True)
    server.start()
    assert server.client().call("HGET", key, "secret").decode() == secret


# More than one ---------------------------------------------------------------------------------------------------


def test_a_base_that_does_not_answer_holds_up_no_other(fed, world, emulator):
    other = world.base + "Two"
    both = seed(world.base)
    second = seed(other)
    both["bases"] += second["bases"]
    both["tokens"][0]["bases"].append(other)
    fed.call("PODIUM.SYNC", "STOP")
    world.airtable.seed(both)
    assert fed.call("PODIUM.SYNC", "START") == "OK"
    fed.call("PODIUM.SPEC", "SET", "theirs", json.dumps({**SPECS["items"], "table": "items", "base": other}))
    assert fed.call("PODIUM.SYNC", "START", other) == "OK"
    try:
        assert status(fed, other)["webhook"] != status(fed, world.base)["webhook"]
        get(fed, f"theirs:{item(1)}"), get(fed, f"items:{item(1)}")
        world.airtable.status(500, match={"path_contains": f"{other}/webhooks"})
        world.change("items", item(1), name="ours changed")
        eventually(10, "the other fails", lambda: get(fed, f"theirs:{item(1)}") and status(fed, other)["state"] == "behind")
        now(fed)
        assert get(fed, f"items:{item(1)}")["name"] == "ours changed"
        assert status(fed, world.base)["state"] == "following"
        world.airtable.write(base=other, table="items", update=[{"id": item(1), "fields": {"name": "theirs changed"}}])
        world.airtable.clear_faults()
        eventually(10, "it is heard again", lambda: get(fed, f"theirs:{item(1)}")["name"] == "theirs changed")
        assert get(fed, f"items:{item(1)}")["name"] == "ours changed"
    finally:
        world.airtable.clear_faults()
        fed.call("PODIUM.SYNC", "STOP", other)


def test_a_base_that_nobody_reads_is_left_alone_and_heard_before_the_next_read(fed, world):
    assert get(fed, f"items:{item(1)}")["name"] == "Item 1"
    polls = lambda: world.airtable.count("/payloads")  # noqa: E731
    last = status(fed)["last-poll"]
    eventually(10, "a poll after the last read", lambda: status(fed)["last-poll"] > last)
    # From here on nobody reads. STATUS is no read.
    last = status(fed)["last-poll"]
    eventually(10, "three intervals pass", lambda: status(fed)["lag-ms"] > 3_000 * INTERVAL)
    assert status(fed)["last-poll"] == last
    world.change("items", item(1), name="changed")
    world.airtable.forget()
    assert get(fed, f"items:{item(1)}")["name"] == "changed", "the first read waits for one poll"
    assert polls() == 1


def test_a_pause_just_longer_than_the_interval_is_longer_than_the_interval(spawn, world):
    interval = 4
    client = begin(spawn(), world, interval)
    get(client, f"items:{item(1)}")
    last = status(client)["last-poll"]
    eventually(2 * interval, "a poll because of the read", lambda: status(client)["last-poll"] > last)
    # From here on nobody reads.
    last = status(client)["last-poll"]
    world.change("items", item(1), name="changed")
    eventually(2 * interval, "the interval is over", lambda: time.time() * 1000 > last + 1_000 * interval + 100)
    assert status(client)["last-poll"] == last
    assert get(client, f"items:{item(1)}")["name"] == "changed"


def test_steady_reads_wait_for_no_poll(spawn, world):
    client = begin(spawn(), world)
    get(client, f"items:{item(1)}")
    world.airtable.fault("slow", match={"path_contains": "/payloads"}, ms=300)
    polls, slowest = set(), 0.0
    end = time.monotonic() + 20
    while len(polls) < 4 and time.monotonic() < end:
        began = time.monotonic()
        get(client, f"items:{item(1)}")
        slowest = max(slowest, time.monotonic() - began)
        polls.add(status(client)["last-poll"])
    assert len(polls) == 4 and slowest < 0.25, (polls, slowest)


# Over the end of a process -----------------------------------------------------------------------------------------


def begin(server, world, interval=INTERVAL):
    client = server.client()
    define(client)
    client.call("CONFIG", "SET", "podium.sync-interval", interval)
    assert client.call("PODIUM.SYNC", "START") == "OK"
    return client


def test_it_goes_on_after_kill_9(spawn, world):
    server = spawn({"sync-interval": 30}, ["appendonly yes", "appendfsync always"])
    client = begin(server, world, 30)
    get(client, f"items:{item(1)}")
    group = ids(client, "items:group:g1")
    world.change("items", item(2), name="before")
    now(client)
    before = status(client)
    server.stop(kill=True)
    world.change("items", item(1), name="meanwhile", group="g2")
    server.start()
    world.airtable.forget()
    client = server.client()
    client.call("CONFIG", "SET", "podium.sync-interval", 30)
    eventually(10, "it follows again", lambda: status(client)["state"] == "following")
    after = status(client)
    assert after["webhook"] == before["webhook"] and after["gaps"] == 0 and after["vouches-since"] == before["vouches-since"]
    assert get(client, f"items:{item(1)}")["name"] == "meanwhile"
    assert ids(client, "items:group:g1") == [id for id in group if id != item(1)]
    assert len(hooks(world)) == 1


def test_the_first_read_after_a_restart_knows_what_changed_meanwhile(spawn, world):
    server = spawn(save=True)
    client = begin(server, world, 30)
    get(client, f"items:{item(1)}")
    client.call("SAVE")
    polled = status(client)["last-poll"]
    server.stop(kill=True)
    world.change("items", item(1), name="meanwhile")
    server.settings["sync-interval"] = 1
    eventually(10, "it was down for longer than the interval", lambda: time.time() * 1000 > polled + 1_600)
    server.start()
    assert get(server.client(), f"items:{item(1)}")["name"] == "meanwhile"


@pytest.mark.parametrize("how", [{"expire": True}, {"destroy": True}])
def test_a_webhook_that_ended_while_it_was_down(spawn, world, how):
    server = spawn({}, ["appendonly yes", "appendfsync always"])
    client = begin(server, world)
    get(client, f"items:{item(1)}")
    [hook] = hooks(world)
    server.stop(kill=True)
    world.airtable.control("POST", "webhooks", {"id": hook["id"], **how})
    world.change("items", item(1), name="unheard")
    server.start()
    client = server.client()
    eventually(10, "it follows a new one", lambda: status(client)["state"] == "following" and status(client)["webhook"] not in ("", hook["id"]))
    assert get(client, f"items:{item(1)}")["name"] == "unheard"
    assert [h["isHookEnabled"] for h in hooks(world)] == [True], "the dead one is cleared away"


def test_a_server_that_lost_its_memory_adopts_the_webhook(spawn, world):
    first = spawn()
    begin(first, world)
    [hook] = hooks(world)
    first.stop(kill=True)
    second = spawn()
    client = begin(second, world)
    assert status(client)["webhook"] == hook["id"] and len(hooks(world)) == 1
    get(client, f"items:{item(1)}")
    world.change("items", item(1), name="changed")
    now(client)
    assert get(client, f"items:{item(1)}")["name"] == "changed"
    assert client.call("PODIUM.SYNC", "STOP") == "OK"
    assert len(hooks(world)) == 1, "what it did not make it does not delete"


def feed_keys(client) -> list[str]:
    return sorted(text(client.call("KEYS", "podium:feed:*")))


def test_it_stays_stopped_though_its_entities_got_another_tag(spawn, world):
    server = spawn({"sync-interval": INTERVAL}, ["appendonly yes", "appendfsync always"])
    client = begin(server, world)
    assert feed_keys(client) == [f"podium:feed:{world.base}"]
    client.call("PODIUM.SPEC", "SET", "{shop}items", json.dumps({**SPECS["items"], "table": "items"}))
    world.change("items", item(1), name="changed")
    now(client)
    assert feed_keys(client) == [f"podium:feed:{{shop}}{world.base}"]
    assert client.call("PODIUM.SYNC", "STOP") == "OK"
    assert feed_keys(client) == []
    server.restart(kill=True)
    assert status(server.client())["state"] == "off" and hooks(world) == []


def test_of_two_places_the_one_further_on_counts(spawn, world):
    server = spawn({"sync-interval": INTERVAL}, ["appendonly yes", "appendfsync always"])
    client = begin(server, world)
    place = client.call("HGETALL", f"podium:feed:{world.base}")
    place = place if isinstance(place, list) else [word for pair in place.items() for word in pair]
    for n in range(3):
        world.change("items", item(1), name=f"changed {n}")
        now(client)
    cursor = status(client)["cursor"]
    # As an earlier release left them behind.
    for tag in ("{a}", "{z}"):
        client.call("HSET", f"podium:feed:{tag}{world.base}", *place)
    server.restart(kill=True)
    client = server.client()
    eventually(10, "it follows", lambda: status(client)["state"] == "following")
    assert (status(client)["cursor"], status(client)["gaps"]) == (cursor, 0)
    eventually(10, "one key is left", lambda: feed_keys(client) == [f"podium:feed:{world.base}"])
    assert client.call("PODIUM.SYNC", "STOP") == "OK"
    assert feed_keys(client) == []


def test_a_replica_keeps_to_it_though_its_entities_got_another_tag(pair, world):  # noqa: F811
    primary, replica = pair
    p = begin(primary, world)
    p.call("PODIUM.SPEC", "SET", "{shop}items", json.dumps({**SPECS["items"], "table": "items"}))
    world.change("items", item(1), name="changed")
    now(p)
    in_step(primary, replica)
    r = replica.client()
    assert feed_keys(r) == [f"podium:feed:{{shop}}{world.base}"]
    assert status(r)["state"] == "replica" and status(r)["cursor"] == status(p)["cursor"]
    p.call("PODIUM.SYNC", "STOP")
    in_step(primary, replica)
    assert status(r)["state"] == "off"


def test_flushall_does_not_end_it(fed, world):
    fed.call("FLUSHALL")
    assert fed.call("EXISTS", f"podium:feed:{world.base}") == 1
    get(fed, f"items:{item(1)}")
    world.change("items", item(1), name="changed")
    now(fed)
    assert get(fed, f"items:{item(1)}")["name"] == "changed"


def test_a_promoted_replica_carries_on(pair, world):  # noqa: F811
    primary, replica = pair
    p = begin(primary, world)
    get(p, f"items:{item(1)}")
    group = ids(p, "items:group:g1")
    now(p)
    in_step(primary, replica)
    r = replica.client()
    assert status(r)["state"] == "replica" and status(r)["webhook"] == status(p)["webhook"]
    assert r.error("PODIUM.SYNC", "NOW").code == "READONLY"
    assert replica.figure("upstream_calls") == 0, "a replica polls nothing"
    primary.stop(kill=True)
    world.change("items", item(1), name="meanwhile", group="g2")
    r.call("REPLICAOF", "NO", "ONE")
    eventually(10, "it follows", lambda: status(r)["state"] == "following")
    assert status(r)["gaps"] == 0
    assert get(r, f"items:{item(1)}")["name"] == "meanwhile"
    assert ids(r, "items:group:g1") == [id for id in group if id != item(1)]
    assert len(hooks(world)) == 1
    world.change("items", item(1), name="later")
    r.call("PODIUM.SYNC", "NOW")
    assert get(r, f"items:{item(1)}")["name"] == "later"


# With the rest ----------------------------------------------------------------------------------------------------


def test_writes_that_are_paused_hold_it_up_and_nothing_is_lost(fed, world, server):
    get(fed, f"items:{item(1)}")
    cursor = status(fed)["cursor"]
    fed.call("CLIENT", "PAUSE", 2_000, "WRITE")
    world.change("items", item(1), name="changed")
    world.airtable.forget()
    reads = server.client()
    eventually(10, "it polls meanwhile", lambda: get(reads, f"items:{item(1)}") and world.airtable.count("/payloads") > 1)
    assert status(reads)["cursor"] == cursor
    reads.call("CLIENT", "UNPAUSE")
    eventually(10, "the change is seen", lambda: get(reads, f"items:{item(1)}")["name"] == "changed")
    assert status(reads)["cursor"] == cursor + 1 and status(reads)["gaps"] == 0


def test_what_a_client_told_is_not_vouched_for(fed, world):
    fed.call("CONFIG", "SET", "podium.ttl", 1)
    assert fed.call("PODIUM.UPSERT", f"items:{item(1)}", json.dumps({"name": "a lie", "n": 1, "group": "g1"})) == 1
    assert get(fed, f"items:{item(1)}")["name"] == "a lie"
    eventually(10, "its ttl ends", lambda: get(fed, f"items:{item(1)}")["name"] == "Item 1")


def test_who_tracks_a_key_is_told(fed, world, server):
    watcher = server.client(3)
    watcher.call("CLIENT", "TRACKING", "ON")
    get(fed, f"items:{item(1)}"), ids(fed, "items:group:g1"), ids(fed, "items:group:g2")
    get(watcher, f"items:{item(1)}"), ids(watcher, "items:group:g1"), ids(watcher, "items:group:g2")
    world.change("items", item(1), group="g2")
    now(fed)
    settled(server, world)
    told: set[str] = set()

    def heard() -> bool:
        for push in watcher.poll_pushes(0.02):
            told.update(text(push[1]))
        return {f"items:{item(1)}", "items:group:g1", "items:group:g2"} <= told

    eventually(5, "every key is told of", heard)


def test_unload_and_load_again(fed, world, server):
    get(fed, f"items:{item(1)}")
    cursor = status(fed)["cursor"]
    eventually(10, "it is unloaded", lambda: fed.attempt("MODULE", "UNLOAD", "podium") == "OK")
    world.change("items", item(1), name="meanwhile")
    settings = {**server.settings, "base": world.base, "sync-interval": INTERVAL}
    fed.call("MODULE", "LOADEX", str(MODULE), *[w for k, v in settings.items() for w in ("CONFIG", f"podium.{k}", str(v))])
    eventually(10, "it follows", lambda: status(fed)["state"] == "following")
    assert get(fed, f"items:{item(1)}")["name"] == "meanwhile"
    assert status(fed)["cursor"] == cursor + 1 and status(fed)["gaps"] == 0


def test_a_warmed_table_stays_warm(fed, world, server):
    fed.call("CONFIG", "SET", "podium.ttl", 1, "podium.empty-ttl", 1)
    fed.call("PODIUM.WARM", "items:*", timeout=30)
    polled = status(fed)["last-poll"]
    eventually(15, "the ttl is over", lambda: get(fed, f"items:{item(3)}") and status(fed)["last-poll"] > polled + 2_500)
    world.airtable.forget()
    assert len(ids(fed, "items:*")) == 400 and len(ids(fed, "items:group:g4")) == 40
    assert ids(fed, "items:group:unknown") == []
    world.create("items", "recitm00000000900", name="new", n=1, group="unknown")
    now(fed)
    settled(server, world)
    world.airtable.forget()
    assert ids(fed, "items:group:unknown") == ["recitm00000000900"] and record_calls(world) == []


def test_writes_through_the_cache_go_with_it(fed, world, server):
    ids(fed, "items:*")
    assert fed.call("PODIUM.UPDATE", f"items:{item(1)}", json.dumps({"name": "ours", "group": "g7"}))
    now(fed)
    settled(server, world)
    assert get(fed, f"items:{item(1)}")["name"] == "ours" and item(1) in ids(fed, "items:group:g7")
    assert fed.call("PODIUM.DELETE", f"items:{item(2)}") == 1
    now(fed)
    assert get(fed, f"items:{item(2)}") is None and item(2) not in ids(fed, "items:*")


def test_in_a_cluster_its_place_is_in_the_slot_of_its_entities(spawn, world):
    server = spawn({"sync-interval": INTERVAL}, ["cluster-enabled yes", f"cluster-port {free_port()}", "appendonly yes", "appendfsync always"])
    client = server.client()
    client.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

    def up() -> bool:
        return b"cluster_state:ok" in server.client().call("CLUSTER", "INFO")

    eventually(10, "the cluster is up", up)
    assert client.error("PODIUM.SYNC", "START").code == "NOENTITY"
    key = f"{{shop}}items:{item(1)}"
    assert client.call("PODIUM.SPEC", "SET", "{shop}items", json.dumps({**SPECS["items"], "table": "items"})) == "OK"
    assert client.call("PODIUM.SYNC", "START") == "OK"
    assert client.call("EXISTS", f"podium:feed:{{shop}}{world.base}") == 1
    get(client, key)
    world.change("items", item(1), name="changed")
    now(client)
    assert get(client, key)["name"] == "changed"
    server.restart(kill=True)
    client = server.client()
    eventually(10, "the cluster is up", up)
    eventually(10, "it follows", lambda: status(client)["state"] == "following")
    world.change("items", item(1), name="changed again")
    now(client)
    assert get(client, key)["name"] == "changed again" and status(client)["gaps"] == 0


def test_keys_do_not_end_while_it_vouches(fed, world, server):
    fed.call("CONFIG", "SET", "podium.ttl", 1, "podium.empty-ttl", 1)
    ids(fed, "items:*"), ids(fed, "items:group:g1"), ids(fed, "items:group:nobody")
    began = status(fed)["last-poll"]
    ends = {key: fed.call("PEXPIRETIME", key) for key in (f"items:{item(9)}", "items:*", "items:group:g1")}
    assert all(began < end < began + 20_000 for end in ends.values()), ends
    world.airtable.forget()
    # One record is read, the others only kept.
    eventually(40, "their first end is past", lambda: get(fed, f"items:{item(1)}") and status(fed)["last-poll"] > max(ends.values()) + 500)
    assert len(ids(fed, "items:*")) == 400 and len(ids(fed, "items:group:g1")) == 40 and ids(fed, "items:group:nobody") == []
    assert all(get(fed, f"items:{item(n)}")["n"] == n for n in range(1, 401))
    assert record_calls(world) == []
    assert all(fed.call("PEXPIRETIME", key) > end for key, end in ends.items())


def test_a_replica_vouches_as_its_primary_told(pair, world):  # noqa: F811
    primary, replica = pair
    p = begin(primary, world)
    p.call("CONFIG", "SET", "podium.ttl", 1)
    replica.client().call("CONFIG", "SET", "podium.ttl", 1, "podium.sync-interval", INTERVAL)
    get(p, f"items:{item(1)}")
    polled = status(p)["last-poll"]
    eventually(10, "the ttl is over", lambda: get(p, f"items:{item(1)}") and status(p)["last-poll"] > polled + 2_000)
    in_step(primary, replica)
    assert get(replica.client(), f"items:{item(1)}")["n"] == 1
    world.change("items", item(1), name="changed")
    now(p)
    in_step(primary, replica)
    eventually(5, "it has the new copy", lambda: replica.client().attempt("PODIUM.GET", f"items:{item(1)}") == p.call("PODIUM.GET", f"items:{item(1)}"))
