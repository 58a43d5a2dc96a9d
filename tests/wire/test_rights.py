"""docs/promises.md, section 6: rights are Valkey's ACL, on commands and keys; the default view is the privacy line."""

from __future__ import annotations

import json

import pytest

from world import SPECS, event, project, user


@pytest.fixture
def as_user(server, client):
    """`as_user(rule, …)`: a connection of a user with just those rules."""
    def make(*rules):
        client.call("ACL", "SETUSER", "web", "reset", "on", ">pw", *rules)
        return server.client(user="web", password="pw")
    return make


def test_read_permission_by_key_pattern(as_user):
    web = as_user("+podium.get", "+podium.index", "+podium.mget", "%R~events:*")
    assert web.call("PODIUM.GET", f"events:{event(1)}")
    assert web.call("PODIUM.INDEX", "events:slug:event-1")
    assert web.call("PODIUM.MGET", 1, f"events:{event(1)}")
    assert web.error("PODIUM.GET", f"projects:{project(1)}").code == "NOPERM"
    assert web.error("PODIUM.MGET", 2, f"events:{event(1)}", f"projects:{project(1)}").code == "NOPERM"
    assert web.error("PODIUM.UPSERT", f"events:{event(1)}", "{}").code == "NOPERM"


def test_reading_needs_no_write_permission_and_telling_does(as_user):
    web = as_user("+@podium", "%R~events:*")
    assert web.call("PODIUM.GET", f"events:{event(1)}")
    for command in (("PODIUM.INVALIDATE", f"events:{event(1)}"), ("PODIUM.TOMBSTONE", f"events:{event(1)}"), ("PODIUM.UPSERT", f"events:{event(1)}", '{"slug":"a","name":"b"}')):
        assert web.error(*command).code == "NOPERM", command
    web = as_user("+@podium", "~events:*")
    assert web.call("PODIUM.INVALIDATE", f"events:{event(1)}") == 1


def test_the_default_view_is_the_privacy_line(as_user):
    web = as_user("+@podium", "%R~users:*")
    key = f"users:{user(1)}"
    assert b"email" not in web.call("PODIUM.GET", key)
    assert web.call("PODIUM.GET", key, "VIEW", "public")
    assert web.error("PODIUM.GET", key, "VIEW", "contact").code == "NOPERM"
    assert web.error("PODIUM.GET", key, "VIEW", "*").code == "NOPERM"
    assert web.error("PODIUM.MGET", 1, key, "VIEW", "contact").code == "NOPERM"
    assert web.error("PODIUM.INDEX", "users:*", "VIEW", "*").code == "NOPERM"


def test_a_view_is_granted_by_its_pattern(as_user):
    key = f"users:{user(1)}"
    web = as_user("+@podium", "%R~users:*", "%R~users/contact")
    assert b"email" in web.call("PODIUM.GET", key, "VIEW", "contact")
    assert web.error("PODIUM.GET", key, "VIEW", "*").code == "NOPERM"
    web = as_user("+@podium", "%R~users:*", "%R~users/*")
    assert b"is_admin" in web.call("PODIUM.GET", key, "VIEW", "*")
    assert b"email" in web.call("PODIUM.GET", key, "VIEW", "contact")


def test_a_question_on_a_field_outside_the_default_view_needs_a_view_that_holds_it(as_user):
    web = as_user("+@podium", "%R~users:*")
    assert web.error("PODIUM.INDEX", "users:email:user3@example.com").code == "NOPERM"
    assert web.error("PODIUM.INTER", 1, "users:email:user3@example.com").code == "NOPERM"
    assert web.call("PODIUM.INDEX", "users:*", "SORT", "points", "IDS")
    web = as_user("+@podium", "%R~users:*", "%R~users/contact")
    assert web.call("PODIUM.INDEX", "users:email:user3@example.com")
    assert web.error("PODIUM.INDEX", "users:is_admin:true").code == "NOPERM", "no view but the whole record holds is_admin"
    web = as_user("+@podium", "%R~users:*", "%R~users/*")
    assert web.call("PODIUM.INDEX", "users:is_admin:true", "COUNT") == 2


def test_without_a_default_view_the_whole_record_needs_no_more(as_user):
    web = as_user("+@podium", "%R~events:*")
    assert web.call("PODIUM.GET", f"events:{event(1)}", "VIEW", "*")


def test_the_normal_form_of_a_value_is_checked_as_well(as_user):
    web = as_user("+@podium", "%R~users:email:USER3@EXAMPLE.COM", "%R~users/contact")
    assert web.error("PODIUM.INDEX", "users:email:USER3@EXAMPLE.COM").code == "NOPERM"
    web = as_user("+@podium", "%R~users:email:*@*", "%R~users/contact")
    assert web.call("PODIUM.INDEX", "users:email:USER3@EXAMPLE.COM", "COUNT") == 1


@pytest.mark.parametrize("command", [
    ("PODIUM.SPEC", "SET", "x", "{}"), ("PODIUM.SPEC", "DEL", "x"), ("PODIUM.SWEEP", "events:*"), ("PODIUM.STATS", "RESET"),
])
def test_admin_commands_are_admin(as_user, command):
    web = as_user("+@all", "-@admin", "~*")
    assert web.error(*command).code == "NOPERM"
    assert web.call("PODIUM.SPEC", "LIST")
    assert web.call("PODIUM.STATS")


def test_granting_read_does_not_grant_podium_commands_by_accident(as_user):
    web = as_user("+@podium", "-@write", "~*", "resetchannels")
    assert web.call("PODIUM.GET", f"events:{event(1)}")
    assert web.error("PODIUM.INVALIDATE", f"events:{event(1)}").code == "NOPERM"


def test_a_waiting_readers_rights_are_its_own(as_user, world):
    world.airtable.latency(200)
    web = as_user("+@podium", "%R~users:*")
    assert b"email" not in web.call("PODIUM.GET", f"users:{user(2)}")


def test_every_command_that_takes_an_index_key_needs_the_right_to_its_field(as_user, client):
    """How many records INVALIDATE drops tells whether a record has the value, as a read does."""
    hidden = ["users:email:user3@example.com", "users:email:USER4@example.com", "users:email:nobody@example.com", "users:is_admin:true"]
    for key in hidden:
        client.call("PODIUM.INDEX", key, "VIEW", "*")
    client.call("PODIUM.GET", f"users:{user(3)}")
    web = as_user("+@podium", "~users:*")
    for key in hidden:
        for command in (("PODIUM.INVALIDATE", key), ("PODIUM.INVALIDATE", f"users:{user(3)}", key), ("PODIUM.INDEX", key), ("PODIUM.INDEX", key, "COUNT"),
                        ("PODIUM.INTER", 1, key)):
            assert web.error(*command).code == "NOPERM", command
    assert client.call("PODIUM.GET", f"users:{user(3)}", "CACHEONLY") is not None, "nothing was dropped"
    assert web.call("PODIUM.INVALIDATE", "users:*") >= 1, "what names no value tells of none"
    web = as_user("+@podium", "~users:*", "%R~users/contact")
    client.call("PODIUM.INDEX", hidden[0], "VIEW", "*")
    assert web.call("PODIUM.INVALIDATE", hidden[0]) == 1
    assert web.error("PODIUM.INVALIDATE", "users:is_admin:true").code == "NOPERM", "no view but the whole record holds it"
    web = as_user("+@podium", "~users:*", "%R~users/*")
    assert web.call("PODIUM.INVALIDATE", "users:is_admin:true") >= 0


def test_an_entity_without_a_default_view_hides_no_index(as_user, client):
    client.call("PODIUM.INDEX", "events:slug:event-1")
    assert as_user("+@podium", "~events:*").call("PODIUM.INVALIDATE", "events:slug:event-1") == 1


@pytest.mark.parametrize("line", [("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "users:email:"), ("SCAN", "0"), ("KEYS", "*"), ("MONITOR",), ("PSUBSCRIBE", "*")])
def test_what_shows_key_names_is_not_among_the_rights_that_readme_grants(as_user, line):
    """Values stand in the names of index sets: README says to deny what lists or broadcasts names."""
    for rules in (("resetkeys", "+podium.get", "+podium.mget", "+podium.index", "+podium.inter", "%R~events:*"),
                  ("resetkeys", "+@podium", "-@admin", "+podium.spec|set", "~events:*", "~users:*"),
                  ("resetkeys", "+podium.webhook", "+podium.sync|ping")):
        assert as_user(*rules).error(*line).code == "NOPERM"


def test_sorting_by_a_field_outside_the_default_view_needs_a_view_that_holds_it(as_user, client):
    """The order tells of the values."""
    client.call("PODIUM.SPEC", "SET", "users", json.dumps({**SPECS["users"], "sortable": ["email"]}))
    web = as_user("+@podium", "%R~users:*")
    for command in (("PODIUM.INDEX", "users:*"), ("PODIUM.INTER", 1, "users:*")):
        assert web.error(*command, "SORT", "email", "IDS").code in ("NOPERM", "BADKEY"), command
    assert web.error("PODIUM.INDEX", "users:*", "SORT", "email", "IDS").code == "NOPERM"
    web = as_user("+@podium", "%R~users:*", "%R~users/contact")
    assert len(web.call("PODIUM.INDEX", "users:*", "SORT", "email", "IDS")) == 12
