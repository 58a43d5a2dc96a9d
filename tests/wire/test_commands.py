"""Declared commands: arity, flags, key positions, categories, documentation."""

from __future__ import annotations

import pytest

from support import mapping, text
from world import event, item

K1, K2 = f"items:{item(1)}", f"items:{item(2)}"

# name: (least words, flags it has, flags it has not, a call, the keys of that call)
COMMANDS = {
    "podium.get": (2, {"readonly"}, {"write"}, ("PODIUM.GET", K1, "VIEW", "x", "META"), [K1]),
    "podium.mget": (3, {"readonly"}, {"write"}, ("PODIUM.MGET", "2", K1, K2, "MAXAGE", "3"), [K1, K2]),
    "podium.index": (2, {"readonly"}, {"write"}, ("PODIUM.INDEX", "items:group:a", "SORT", "n"), ["items:group:a"]),
    "podium.inter": (3, {"readonly"}, {"write"}, ("PODIUM.INTER", "2", "items:group:a", "items:n:1", "IDS"), ["items:group:a", "items:n:1"]),
    "podium.invalidate": (2, {"write"}, {"readonly", "denyoom"}, ("PODIUM.INVALIDATE", K1, K2), [K1, K2]),
    "podium.tombstone": (2, {"write"}, {"readonly", "denyoom"}, ("PODIUM.TOMBSTONE", K1, K2), [K1, K2]),
    "podium.upsert": (3, {"write"}, {"readonly", "denyoom"}, ("PODIUM.UPSERT", K1, "{}", "AT", "1"), [K1]),
}
ADMIN = ["podium.spec|set", "podium.spec|del", "podium.sweep"]
WRITE = ["podium.invalidate", "podium.tombstone", "podium.upsert"]


def info(client, name) -> dict:
    found = client.call("COMMAND", "INFO", name)[0]
    assert found is not None, f"{name} is not a command"
    return {"name": text(found[0]), "arity": found[1], "flags": set(text(found[2])), "first": found[3], "last": found[4], "categories": set(text(found[6])), "keys": found[8],
            "subcommands": {text(sub[0]): sub for sub in found[9]}}


@pytest.mark.parametrize("name", COMMANDS)
def test_command_info(client, name):
    least, has, has_not, _, _ = COMMANDS[name]
    shown = info(client, name)
    assert shown["arity"] == -least
    assert has <= shown["flags"] and not has_not & shown["flags"], shown["flags"]
    assert "@podium" in shown["categories"] and "@admin" not in shown["categories"]
    assert ("@write" in shown["categories"]) == (name in WRITE)
    assert shown["keys"], "a key spec is declared"
    spec_flags = set(text(mapping(shown["keys"][0])["flags"]))
    assert ("RO" in spec_flags) == (name not in WRITE), spec_flags


@pytest.mark.parametrize("name", COMMANDS)
def test_getkeys(client, name):
    *_, call, keys = COMMANDS[name]
    assert text(client.call("COMMAND", "GETKEYS", *call)) == keys


@pytest.mark.parametrize("call", [("PODIUM.MGET", "x", K1), ("PODIUM.MGET", "3", K1), ("PODIUM.MGET", "-1", K1), ("PODIUM.INTER", "9999999999999", "a")])
def test_getkeys_of_a_count_that_does_not_parse(client, call):
    assert client.error("COMMAND", "GETKEYS", *call)


@pytest.mark.parametrize("name", COMMANDS)
def test_arity(client, name):
    least = COMMANDS[name][0]
    error = client.error(name, *["x"] * (least - 2))
    assert "wrong number of arguments" in error.text


@pytest.mark.parametrize("name", [*COMMANDS, "podium.spec", "podium.sweep", "podium.stats"])
def test_command_docs(client, name):
    docs = mapping(mapping(client.call("COMMAND", "DOCS", name))[name])
    for entry in ("summary", "since", "complexity", "module") if name not in ("podium.spec", "podium.stats") else ("summary", "since", "module"):
        assert docs.get(entry), f"{name} has no {entry}: {sorted(docs)}"
    assert text(docs["module"]) == "podium"
    assert docs.get("arguments") or docs.get("subcommands"), f"{name} describes no argument"


def test_subcommands_of_spec(client):
    docs = mapping(mapping(client.call("COMMAND", "DOCS", "podium.spec"))["podium.spec"])
    names = set(mapping(docs["subcommands"])) if "subcommands" in docs else set(info(client, "podium.spec")["subcommands"])
    assert {"podium.spec|set", "podium.spec|get", "podium.spec|list", "podium.spec|del"} <= names


def test_unknown_subcommands(client):
    assert "unknown subcommand" in client.error("PODIUM.SPEC", "BOGUS").text.lower()
    for words in (("PODIUM.SPEC",), ("PODIUM.SPEC", "SET", "x"), ("PODIUM.SPEC", "GET"), ("PODIUM.SPEC", "SET", "x", "{}", "y")):
        assert client.error(*words).code == "ERR"


@pytest.mark.parametrize("name", ADMIN)
def test_admin_commands(client, name):
    shown = text(client.call("COMMAND", "INFO", name)[0][6])
    assert "@admin" in shown and "@podium" in shown


def test_stats_reset_is_admin(client):
    client.call("ACL", "SETUSER", "web", "on", "nopass", "+@podium", "-@admin", "~*")
    dry = [text(client.attempt("ACL", "DRYRUN", "web", *call)) for call in (("PODIUM.STATS",), ("PODIUM.STATS", "RESET"))]
    assert dry[0] == "OK"
    web = client.attempt("ACL", "DRYRUN", "web", "PODIUM.GET", K1)
    assert web == "OK"


def test_acl_category(server, client):
    assert "podium" in text(client.call("ACL", "CAT"))
    if server.version != "8.0":  # 8.0 lists nothing for a module's category.
        assert set(COMMANDS) <= set(text(client.call("ACL", "CAT", "podium")))


def test_options_are_never_keys(client):
    client.call("ACL", "SETUSER", "web", "on", "nopass", "resetkeys", "+@podium", "%R~items:*")
    for call in (("PODIUM.GET", K1, "VIEW", "secret"), ("PODIUM.MGET", "1", K1, "VIEW", "secret"), ("PODIUM.INDEX", "items:group:a", "SORT", "n")):
        assert text(client.attempt("ACL", "DRYRUN", "web", *call)) == "OK", call
    assert text(client.attempt("ACL", "DRYRUN", "web", "PODIUM.MGET", "2", K1, f"events:{event(1)}")) != "OK"


def test_numkeys_is_no_way_around_the_acl(server, client):
    client.call("ACL", "SETUSER", "web", "on", ">pw", "resetkeys", "+@podium", "%R~items:*")
    web = server.client(user="web", password="pw")
    for count in ("0", "x", "01", "-1", "1.0", "", "18446744073709551617"):
        error = web.error("PODIUM.MGET", count, f"events:{event(1)}")
        assert error.code in ("ERR", "NOPERM"), (count, error.text)
