"""The token: read from its file, read again when the file changes, and told to nobody."""

from __future__ import annotations

import base64
import threading
from urllib.parse import quote

import pytest

from asking import get
from support import ReplyError, eventually
from world import define, item, seed

FIRST, SECOND, WRONG = "patFIRSTtoken1.a1b2c3d4e5f6secret", "patSECONDtoken.f6e5d4c3b2a1secret", "patWRONGtoken12.9999secret9999"


@pytest.fixture
def filed(spawn, world, tmp_path):
    """A server that reads its token from a file; the base knows two tokens."""
    both = seed(world.base)
    both["tokens"] = [{"token": token, "scopes": ["data.records:read"], "bases": [world.base]} for token in (FIRST, SECOND)]
    world.airtable.control("POST", "seed", both)
    file = tmp_path / "token"
    file.write_text(FIRST + "\n")
    server = spawn({"token-file": str(file), "log-events": "yes", "fetch-timeout-ms": 1500}, ["loglevel debug", "slowlog-log-slower-than 0", "slowlog-max-len 100000"],
                   env={"AIRTABLE_TOKEN": ""})
    define(server.client())
    return server, file


def test_rotation_needs_no_restart(filed, world):
    server, file = filed
    client = server.client()
    assert get(client, f"items:{item(1)}")["n"] == 1
    file.write_text(WRONG)
    assert eventually(5, "the new token is used", lambda: isinstance(e := client.attempt("PODIUM.GET", f"items:{item(1)}", "NOCACHE"), ReplyError) and e).code == "UPSTREAMAUTH"
    assert get(client, f"items:{item(1)}")["n"] == 1, "hits go on"
    file.write_text(SECOND)
    assert eventually(5, "the next one too", lambda: isinstance(client.attempt("PODIUM.GET", f"items:{item(2)}"), bytes))
    # As deployments do it: another file takes the name.
    aside = file.with_suffix(".new")
    aside.write_text(FIRST)
    aside.rename(file)
    assert eventually(5, "a file renamed over it", lambda: isinstance(client.attempt("PODIUM.GET", f"items:{item(3)}"), bytes))


@pytest.mark.parametrize("content", ["", "  \n", "two words", "t\u00f6ken", "x" * 70_000, None])
def test_a_file_that_holds_no_token(filed, content):
    server, file = filed
    client = server.client()
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    error = eventually(5, "it is read again", lambda: isinstance(e := client.attempt("PODIUM.GET", f"items:{item(1)}", "NOCACHE"), ReplyError) and e)
    assert error.code == "UPSTREAMAUTH" and "token" in error.text, error.text
    assert FIRST not in error.text and (not content or len(content) < 5 or content not in error.text)
    file.write_text(FIRST)
    assert eventually(15, "recovery", lambda: isinstance(client.attempt("PODIUM.GET", f"items:{item(1)}", "NOCACHE"), bytes))


FAULTS = [
    ("status", {"status": 401, "shape": "object", "type": "UNAUTHORIZED", "message": f"Invalid token {FIRST}"}),
    ("status", {"status": 422, "shape": "object", "type": FIRST, "message": f"Bearer {FIRST}"}),
    ("status", {"status": 500, "shape": "plural", "type": "X", "message": f"you sent Authorization: Bearer {FIRST}"}),
    ("status", {"status": 503, "shape": "html"}), ("html", {}), ("empty_body", {}), ("truncated_json", {}), ("truncated_gzip", {}), ("reset_before_headers", {}), ("reset_in_body", {}), ("hang", {}),
    ("deep_json", {}), ("redirect", {"location": f"http://127.0.0.1:1/?token={FIRST}"}), ("huge_body", {"bytes": 3_000_000}),
]


def test_it_is_told_to_nobody(filed, world):
    """Every fault, with an upstream that echoes the token into its errors; then everything that can be read is searched."""
    server, file = filed
    heard: list[bytes] = []
    watcher = server.client()
    watcher.call("MONITOR")
    stop = threading.Event()

    def listen():
        while not stop.is_set():
            if watcher.answered(0.05):
                heard.append(watcher.socket.recv(1 << 16))

    listener = threading.Thread(target=listen)
    listener.start()
    client = server.client(3)
    client.call("CONFIG", "SET", "podium.max-response-bytes", "1000000")
    said = []
    try:
        for n, (kind, more) in enumerate(FAULTS):
            world.airtable.fault(kind, times=1, **more)
            said.append(client.attempt("PODIUM.GET", f"items:{item(n + 1)}"))
            said.append(client.attempt("PODIUM.INDEX", f"items:group:g{n}", "META"))
            world.airtable.clear_faults()
        file.write_text(WRONG)
        eventually(5, "the wrong token is used", lambda: said.append(e := client.attempt("PODIUM.GET", f"items:{item(77)}", "NOCACHE")) or "AUTH" in str(e) or "BUSY" in str(e))
        for command in (("INFO", "everything"), ("CONFIG", "GET", "*"), ("PODIUM.STATS",), ("PODIUM.STATS", "items"), ("PODIUM.SPEC", "GET", "items"), ("SLOWLOG", "GET", "-1"), ("CLIENT", "LIST"),
                        ("COMMAND", "DOCS", "podium.get"), ("MODULE", "LIST"), ("ACL", "LIST"), ("LATENCY", "LATEST"), ("MEMORY", "STATS"), ("DEBUG", "OBJECT", "podium:budget"),
                        ("HGETALL", "podium:budget"), ("HGETALL", "podium:spec:items")):
            said.append(client.attempt(*command))
        for key in client.call("KEYS", "*"):
            said.append(client.attempt("DUMP", key))
        client.call("CONFIG", "REWRITE")
        said.append((server.dir / "valkey.conf").read_text())
    finally:
        stop.set()
        listener.join()
    everything = "\n".join([repr(said), repr([getattr(one, "text", "") for one in said]), repr(heard), server.log()])
    assert heard and "PODIUM.GET" in repr(heard), "MONITOR heard nothing: the search would prove nothing"
    assert "upstream_error" in server.log(), "events were logged"
    for token in (FIRST, WRONG):
        for part in (token, token.split(".")[1]):
            assert part not in everything, everything[max(0, everything.index(part) - 300):everything.index(part) + 100]


def echoes(token):
    """Spellings in which an upstream may quote what it was sent."""
    yield from (token, token.replace(".", "%2E"), token.replace(".", "%2e"), token.replace(".", "%252E"), token.replace(".", "\\u002e"), token.replace(".", "&#46;"), token.upper())
    yield from ("".join(f"%{byte:02X}" for byte in token.encode()), "".join(f"\\u{byte:04x}" for byte in token.encode()), token.encode().hex())
    yield from (base64.b64encode(token.encode()).decode(), base64.urlsafe_b64encode(f"u:{token}".encode()).decode(), f"https://example.com/?key={quote(token, safe='')}&x=1")


@pytest.mark.parametrize("token", ["patTEST.secret", FIRST], ids=["short", "long"])
def test_no_spelling_of_it_is_quoted(spawn, world, token):
    server = spawn()
    client = server.client()
    define(client, "items")
    if token != "patTEST.secret":
        file = server.dir / "token"
        file.write_text(token)
        client.call("CONFIG", "SET", "podium.token-file", str(file))
    for n, spelled in enumerate(echoes(token)):
        for more in ({"message": f"you sent «{spelled}», which is wrong"}, {"type": spelled}):
            world.airtable.status(422, **{"type": "INVALID", "message": "no", **more}, times=-1)
            error = client.error("PODIUM.GET", f"items:{item(n + 1)}")
            world.airtable.clear_faults()
            assert error.code == "UPSTREAM" and "redacted" in error.text and spelled not in error.text and spelled[-8:] not in error.text.replace("&x=1", ""), (spelled, error.text)
            if "message" in more:
                assert "you sent" in error.text and "which is wrong" in error.text, error.text
    for spelled in echoes(token):
        assert spelled not in server.log()
