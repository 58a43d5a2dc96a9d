"""MODULE UNLOAD while ACL users name Podium's commands: the server would not survive it (8.0) or refuses (9.1); so do we."""

from __future__ import annotations

import pytest

from asking import get
from support import MODULE, ReplyError, eventually
from world import define, event

USERS = {
    "README's reader": ("web", ["on", ">pw", "resetkeys", "+podium.get", "+podium.mget", "+podium.index", "+podium.inter", "%R~events:*"]),
    "denied": ("web", ["on", ">pw", "+@all", "-podium.get"]),
    "subcommand": ("web", ["on", ">pw", "+podium.spec|set"]),
    "denied subcommand": ("web", ["on", ">pw", "+@podium", "-podium.sync|start"]),
    "selector": ("web", ["on", ">pw", "+get", "(+podium.get ~events:*)"]),
    "second selector": ("web", ["on", "nopass", "(+get ~x)", "(%R~events:* -@all +PODIUM.Index)"]),
    "off": ("web", ["off", "+podium.webhook"]),
    "default": ("default", ["-podium.sweep"]),
}
CATEGORY = ["on", ">pw", "+@podium", "-@admin", "~events:*", "(+@podium ~users:*)"]


def unload(client):
    return client.attempt("MODULE", "UNLOAD", "podium")


def load(server, client):
    settings = [word for name, value in server.settings.items() for word in ("CONFIG", f"podium.{name}", str(value))]
    assert client.call("MODULE", "LOADEX", str(MODULE), *settings) == "OK"


@pytest.mark.parametrize("name", USERS)
def test_it_is_refused_until_no_user_names_a_command(spawn, name):
    server = spawn()
    client = server.client()
    define(client, "events")
    user, rules = USERS[name]
    assert client.call("ACL", "SETUSER", user, *rules) == "OK"
    for _ in range(2):
        assert isinstance(unload(client), ReplyError)
    assert get(client, f"events:{event(1)}")["slug"] == "event-1", "it works on"
    if server.version == "8.0":
        # Newer servers say it themselves, before they ask the module.
        said = [line for line in server.log().splitlines() if "not unloaded" in line]
        assert said and f"user {user} has " in said[-1] and "podium." in said[-1].lower() and "ACL SETUSER" in said[-1], said
    if user == "default":
        assert client.call("ACL", "SETUSER", "default", "allcommands") == "OK"
    else:
        assert client.call("ACL", "SETUSER", user, "reset", *CATEGORY) == "OK"
    eventually(10, "it unloads", lambda: unload(client) == "OK")
    assert client.call("PING") == "PONG"
    load(server, client)
    define(client, "events")
    assert get(client, f"events:{event(2)}")["slug"] == "event-2"


def test_rules_on_the_category_are_not_in_the_way(spawn):
    server = spawn()
    client = server.client()
    define(client, "events")
    client.call("ACL", "SETUSER", "web", *CATEGORY)
    client.call("ACL", "SETUSER", "podium.get", "on", ">pw", "+get", "~podium.get", "&+podium.get")
    for _ in range(2):
        eventually(10, "it unloads", lambda: unload(client) == "OK")
        load(server, client)
    define(client, "events")
    web = server.client(user="web", password="pw")
    assert get(web, f"events:{event(1)}")["slug"] == "event-1"
    assert web.error("PODIUM.SWEEP", "events:*").code == "NOPERM"
