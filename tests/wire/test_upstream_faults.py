"""Airtable misbehaves: the right error word within the deadline, no tombstone, no other read disturbed, recovery without help."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from asking import get, ids, meta, mget
from between import MADE_UP, between, halves
from support import ReplyError, eventually, mapping
from world import define, event, item

KEY = f"items:{item(1)}"


def recovered(client, world):
    """Without help: the same read succeeds once Airtable is well again (a breaker probes every 5 s)."""
    world.airtable.clear_faults()

    def well():
        reply = client.attempt("PODIUM.GET", KEY)
        return reply if isinstance(reply, bytes) else None

    assert eventually(45, "recovery", well)


STATUSES = [
    (401, "UNAUTHORIZED", "UPSTREAMAUTH"), (401, "AUTHENTICATION_REQUIRED", "UPSTREAMAUTH"), (403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "UPSTREAMAUTH"), (403, "INVALID_PERMISSIONS", "UPSTREAMAUTH"),
    (400, "BAD_REQUEST", "UPSTREAM"), (404, "NOT_FOUND", "UPSTREAM"), (413, "REQUEST_TOO_LARGE", "UPSTREAM"), (422, "INVALID_REQUEST_UNKNOWN", "UPSTREAM"),
    (500, "SERVER_ERROR", "UPSTREAM"), (502, "BAD_GATEWAY", "UPSTREAM"), (503, "RETRIABLE_ERROR", "UPSTREAM"),
]


@pytest.mark.parametrize("shape", ["object", "string", "plural", "html", "empty"])
@pytest.mark.parametrize("status, type, code", STATUSES)
def test_statuses_in_every_shape(client, world, status, type, code, shape):
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "3000")
    get(client, f"events:{event(1)}")
    world.airtable.status(status, type, "what went wrong", shape)
    started = time.monotonic()
    error = client.error("PODIUM.GET", KEY)
    took = time.monotonic() - started
    expected = {code} if status < 500 else {"UPSTREAM", "UPSTREAMBAD", "UPSTREAMBUSY", "UPSTREAMTIMEOUT"}
    assert error.code in expected, error.text
    assert took < 4
    if status < 500 and shape == "object":
        assert str(status) in error.text and type in error.text or code == "UPSTREAMAUTH", error.text
    assert client.call("EXISTS", f"tomb:{KEY}") == 0 and client.call("EXISTS", KEY) == 0
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"


def test_auth_errors_name_scope_and_role(client, world):
    world.airtable.status(403, "INVALID_PERMISSIONS", "You are not permitted to perform this operation")
    assert "data.records:read" in client.error("PODIUM.GET", KEY).text


@pytest.mark.parametrize("kind, more, codes", [
    ("html", {}, {"UPSTREAMBAD"}), ("empty_body", {}, {"UPSTREAMBAD"}), ("truncated_json", {}, {"UPSTREAMBAD"}), ("wrong_content_type", {}, {"UPSTREAMBAD", None}), ("truncated_gzip", {}, {"UPSTREAMBAD"}),
    ("deep_json", {}, {"UPSTREAMBAD"}), ("redirect", {"location": "http://127.0.0.1:1/steal"}, {"UPSTREAM", "UPSTREAMBAD"}), ("reset_before_headers", {}, {"UPSTREAM", "UPSTREAMBAD", "UPSTREAMBUSY", "UPSTREAMTIMEOUT"}),
    ("reset_in_body", {}, {"UPSTREAM", "UPSTREAMBAD", "UPSTREAMBUSY", "UPSTREAMTIMEOUT"}), ("hang", {}, {"UPSTREAMTIMEOUT", "UPSTREAMBUSY"}), ("drip", {}, {"UPSTREAMTIMEOUT", "UPSTREAMBUSY"}),
    ("huge_body", {"bytes": 3_000_000}, {"UPSTREAMBAD"}), ("gzip_bomb", {"bytes": 50_000_000}, {"UPSTREAMBAD"}),
])
def test_broken_answers(client, world, kind, more, codes):
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "1500", "podium.max-response-bytes", "1000000")
    get(client, f"events:{event(1)}")
    world.airtable.fault(kind, **more)
    started = time.monotonic()
    reply = client.attempt("PODIUM.GET", KEY)
    assert getattr(reply, "code", None) in codes, reply
    assert time.monotonic() - started < 3
    assert client.call("EXISTS", f"tomb:{KEY}") == 0
    assert get(client, f"events:{event(1)}")["slug"] == "event-1"
    recovered(client, world)


@pytest.mark.parametrize("command", [("PODIUM.GET", KEY), ("PODIUM.INDEX", "items:group:g1", "COUNT")])
@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_one_call_that_hangs_does_not_take_the_next_reader_along(client, world, kind, command):
    client.call("CONFIG", "SET", "podium.fetch-timeout-ms", "1000")
    world.airtable.fault(kind, times=1)
    assert client.error(*command).code == "UPSTREAMTIMEOUT"
    assert not isinstance(client.attempt(*command), ReplyError), "the call is in the air still, and asked anew beside it"
    assert not isinstance(client.attempt(*command), ReplyError)


def test_nobody_there(client, world):
    client.call("CONFIG", "SET", "podium.airtable-url", "http://127.0.0.1:9", "podium.fetch-timeout-ms", "2000")
    started = time.monotonic()
    error = client.error("PODIUM.GET", KEY)
    assert error.code.startswith("UPSTREAM") and time.monotonic() - started < 3, error.text


def test_a_name_that_does_not_resolve(client):
    client.call("CONFIG", "SET", "podium.airtable-url", "http://no-such-host.invalid", "podium.fetch-timeout-ms", "3000")
    started = time.monotonic()
    error = client.error("PODIUM.GET", KEY)
    assert error.code.startswith("UPSTREAM") and time.monotonic() - started < 4, error.text


def test_an_error_of_a_batch_reaches_each_and_no_tombstone(client, world):
    world.airtable.status(422, "INVALID_REQUEST_UNKNOWN", "bad")
    reply = client.attempt("PODIUM.MGET", 3, *[f"items:{item(n)}" for n in (1, 2, 3)])
    codes = {reply.code} if isinstance(reply, ReplyError) else {getattr(one, "code", None) for one in reply}
    assert codes == {"UPSTREAM"}, reply
    assert client.call("KEYS", "tomb:*") == []
    recovered(client, world)
    assert [r["n"] for r in mget(client, [f"items:{item(n)}" for n in (1, 2, 3)])] == [1, 2, 3]


def test_an_index_question_that_fails_leaves_no_set(client, world):
    world.airtable.status(422, "INVALID_FILTER_BY_FORMULA", "The formula is invalid")
    assert client.error("PODIUM.INDEX", "items:group:g1").code == "UPSTREAM"
    world.airtable.clear_faults()
    assert len(ids(client, "items:group:g1")) == 40


def test_a_failure_while_paging_leaves_no_partial_set(client, world):
    world.airtable.status(422, "INVALID_REQUEST_UNKNOWN", "bad", match={"path_contains": "offset"})
    reply = client.attempt("PODIUM.INDEX", "items:*", "COUNT")
    if not isinstance(reply, ReplyError):
        assert reply == 400, "the fault did not match a page: then the answer is whole"
    world.airtable.clear_faults()
    eventually(40, "the whole answer", lambda: client.attempt("PODIUM.INDEX", "items:*", "COUNT") == 400)


@pytest.mark.parametrize("kind", ["offset_expired", "offset_repeats", "duplicate_record"])
def test_paging_gone_wrong(client, world, kind):
    world.airtable.fault(kind, times=1)
    reply = client.attempt("PODIUM.INDEX", "items:*", "COUNT")
    assert reply == 400 or isinstance(reply, ReplyError), reply
    world.airtable.clear_faults()
    eventually(40, "the whole answer", lambda: client.attempt("PODIUM.INDEX", "items:*", "COUNT") == 400)


def test_a_record_of_another_table_is_not_taken(client, world):
    world.airtable.fault("foreign_record", times=1)
    reply = client.attempt("PODIUM.MGET", 3, *[f"items:{item(n)}" for n in (1, 2, 3)])
    assert isinstance(reply, (list, ReplyError))
    world.airtable.clear_faults()
    assert get(client, KEY, "NOCACHE")["n"] == 1


def test_rate_limited_says_for_how_long(client, world):
    world.airtable.status(429, "RATE_LIMIT_REACHED", "Rate limit exceeded. Please try again later", "plural", times=1)
    first = client.attempt("PODIUM.GET", KEY)
    assert isinstance(first, ReplyError) and first.code == "UPSTREAMBUSY" and any(c.isdigit() for c in first.text), first
    calls = world.airtable.count()
    assert client.error("PODIUM.GET", f"items:{item(2)}").code == "UPSTREAMBUSY"
    assert world.airtable.count() == calls, "30 s of silence for that base"


def test_the_month_is_spent(client, world):
    world.airtable.fault("billing_limit")
    error = client.attempt("PODIUM.GET", KEY)
    assert isinstance(error, ReplyError) and error.code == "UPSTREAMBUSY", error


def test_a_retriable_error_is_retried_within_the_deadline(client, world):
    world.airtable.status(503, "RETRIABLE_ERROR", "it is safe to retry the request", times=1)
    reply = client.attempt("PODIUM.GET", KEY)
    assert isinstance(reply, bytes) or reply.code in ("UPSTREAM", "UPSTREAMBUSY"), reply
    recovered(client, world)


def test_a_hit_needs_no_airtable(client, world):
    get(client, KEY)
    found = ids(client, "items:group:g1")
    world.airtable.fault("hang")
    started = time.monotonic()
    assert get(client, KEY)["n"] == 1 and ids(client, "items:group:g1") == found
    assert time.monotonic() - started < 0.5


def test_upstream_text_in_errors_is_cut_and_cleaned(client, world):
    world.airtable.status(422, "INVALID\r\nREQUEST", "bad\r\n+OK\r\n\x00%s%n" + "x" * 5000)
    error = client.error("PODIUM.GET", KEY)
    assert len(error.text) < 1500 and "\n" not in error.text
    assert client.call("ECHO", "in step") == b"in step"


def test_a_403_of_one_record_is_not_an_absence(client, world):
    world.airtable.status(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "Invalid permissions, or the requested model was not found.", times=3)
    error = client.attempt("PODIUM.GET", KEY)
    assert isinstance(error, ReplyError)
    assert client.call("EXISTS", f"tomb:{KEY}") == 0
    recovered(client, world)


def test_legacy_404s(client, world):
    world.airtable.control("POST", "switches", {"legacy_404": True})
    assert get(client, "items:recDoesNotExist01") is None
    assert get(client, KEY)["n"] == 1


# Pages that are no answer to the question which ids there are ---------------------------------------------------------


OTHER = {"id": "recOTHER000000001", "createdTime": "2026-03-04T05:06:07.000Z", "fields": {"name": "x"}}


@pytest.mark.parametrize("offset", [{}, {"offset": MADE_UP}], ids=["whole", "promises more"])
def test_a_page_with_a_record_that_was_not_asked_for_proves_nothing(spawn, world, offset):
    """The filter was not honoured: what was found is used, what was not is unknown."""

    def strange(path, ask):
        return {"records": [r for r in ask(without=MADE_UP)["records"] if r["id"] != item(2)] + [OTHER], **offset} if "RECORD_ID" in path else None

    with between(world.airtable.url, strange) as url:
        server = spawn({"airtable-url": url, "rate-limit": 1000})
        client = server.client()
        define(client, "items")
        reply = client.call("PODIUM.MGET", 3, *[f"items:{item(n)}" for n in (1, 2, 3)])
        assert [isinstance(r, bytes) for r in reply] == [True, False, True]
        assert reply[1].code == "UPSTREAMBAD", reply[1]
        assert client.call("EXISTS", f"tomb:items:{item(2)}") == 0
        assert server.figure("pending") == 0 and world.airtable.count() <= 2


def test_a_page_that_promises_more_is_not_asked_for_without_end(spawn, world):
    def strange(path, ask):
        return {"records": [OTHER], "offset": MADE_UP} if odd.is_set() else None

    odd = threading.Event()
    with between(world.airtable.url, strange) as url:
        server = spawn({"airtable-url": url, "rate-limit": 1000, "ttl": 1, "stale-while-revalidate": 600})
        client = server.client()
        define(client, "items")
        get(client, KEY)
        odd.set()
        eventually(5, "a refresh is ordered", lambda: meta(client, "PODIUM.GET", KEY)["detail"] == "revalidating")
        eventually(2, "it is over", lambda: server.figure("upstream_calls_refresh") == 1 and server.figure("pending") == 0)
        assert server.figure("upstream_calls") == 2


def test_short_pages_are_read_to_the_end(spawn, world):
    with between(world.airtable.url, halves) as url:
        server = spawn({"airtable-url": url, "rate-limit": 1000})
        client = server.client()
        define(client, "items")
        assert [r["n"] for r in mget(client, [f"items:{item(n)}" for n in range(1, 41)])] == list(range(1, 41))


def test_empty_pages_do_not_end_a_listing(spawn, world):
    """Their records were deleted since it began. It ends with the page that has no offset."""

    def emptied(path, ask):
        page = ask()
        if "offset" in page and "offset=" in path:
            page["records"] = []
        return page

    with between(world.airtable.url, emptied) as url:
        server = spawn({"airtable-url": url, "rate-limit": 1000})
        client = server.client()
        define(client, "items")
        assert client.call("PODIUM.INDEX", "items:*", "COUNT") == 200
        client.call("PODIUM.INVALIDATE", "items:*")
        assert mapping(client.call("PODIUM.WARM", "items:*"))["records"] == 200


def test_a_listing_of_empty_pages_ends_at_last(spawn, world):
    made = itertools.count()

    def endless(path, ask):
        return {"records": [], "offset": f"itrMADEUPMADEUPMA/{next(made)}"}

    with between(world.airtable.url, endless) as url:
        server = spawn({"airtable-url": url, "rate-limit": 1000})
        client = server.client()
        define(client, "items")
        for command in (("PODIUM.INDEX", "items:*"), ("PODIUM.WARM", "items:*")):
            error = client.error(*command)
            assert error.code == "UPSTREAMBAD" and "in a row" in error.text, error.text
