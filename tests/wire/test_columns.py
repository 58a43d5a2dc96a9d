"""docs/promises.md, section 2: the question asked upstream finds at least what is meant, whatever the column is that a field is modelled over."""

from __future__ import annotations

import itertools
import json

import pytest

from airtable import TOKEN
from asking import cells, ids, index, spec
from resp import ReplyError, text
from support import eventually
from world import ID_COLUMN, column, link_column, lookup_column, rid, schema, table

THINGS = {rid("thg", n): n for n in range(1, 13)}
PEOPLE = {rid("per", n): {"Name": f"Person {n}", "Born": f"1990-01-{n:02d}", "Score": n / 2, "Seen": f"2026-03-{n:02d}T09:00:00.000Z", "Nice": n % 2 == 0,
                          "Tags": ["x, y", f"t{n}"]} for n in range(1, 7)}
person = lambda n: rid("per", n)

COLUMNS = [
    column("word", "singleLineText"), column("mail", "email"), column("long", "multilineText"), column("stage", "singleSelect", choices=["idea", "a, b", "done"]),
    column("tags", "multipleSelects", choices=["web", "a, b", "12\" disc", "94"]), column("n", "number"), column("price", "currency"), column("share", "percent"),
    column("stars", "rating"), column("took", "duration"), column("done", "checkbox"), column("day", "date"), column("at", "dateTime"), column("made", "createdTime"),
    link_column("who", "People", "things", single=False), link_column("boss", "People", "bossed"), lookup_column("boss_id", "boss", "RID"),
    lookup_column("names", "who", "Name"), lookup_column("born", "who", "Born"), lookup_column("seen", "who", "Seen"), lookup_column("scores", "who", "Score"),
    lookup_column("nice", "who", "Nice"), lookup_column("their_tags", "who", "Tags"), lookup_column("their_things", "boss", "bossed"), lookup_column("ids", "who", "RID"),
    column("twice", "formula", formula="{n}*2"), column("shout", "formula", formula="UPPER({word})"), column("broken", "formula", formula="IF({n}>6,ERROR(),{word})"),
    column("none", "formula", formula="IF({n}>6,0/0,{n})"), column("later", "formula", formula="DATEADD({day},1,'day')"), column("textual", "formula", formula="RECORD_ID()"),
    column("keeper", "singleCollaborator"), column("code", "barcode"),
]


def thing(n: int) -> dict:
    some = [person(1 + n % 6), person(1 + (n + 1) % 6)][: n % 3]
    return {
        "word": ["94", "94.00", "plain", "a, b", "2026-03-04", "true", "it's", "2026-03-04T10:00:00+01:00", "Ärger", "recipe", "\u00a0spaced\t", "9.4e1"][n - 1],
        "mail": f"U{n}@Example.com", "long": f"line\nnumber {n}", "n": [94, 0, 8.5, 1e21, -3, 0.05, 94, 7, 12, 0, 1, 94][n - 1], "price": n, "share": n / 8, "stars": 1 + n % 5, "took": n * 60.5,
        "stage": ["idea", "a, b", "done"][n % 3], "tags": ["web", "a, b", "12\" disc", "94"][: n % 5], **({"done": True} if n % 2 else {}),
        "day": f"2026-03-{1 + n % 4:02d}", "at": f"2026-03-{1 + n % 4:02d}T{['00:00:00.000', '09:00:00.000', '23:59:59.123'][n % 3]}Z",
        "who": some, **({"boss": [person(1 + n % 3)]} if n % 4 else {}), "keeper": {"id": "usrC4v5B6n7M8l9K0", "email": "ada@example.com", "name": "Ada"}, "code": {"text": f"{n}", "type": "ean13"},
    }


FIELDS = [c["name"] for c in COLUMNS]
MODELS = {
    "text": {"type": ["string", "null"]}, "trimmed": {"type": "string", "normalize": ["trim", "lower"]}, "decimal": {"anyOf": [{"type": "number"}, {"type": "string"}]},
    "number": {"type": ["number", "null"]}, "boolean": {"type": "boolean"}, "date": {"type": ["string", "null"], "format": "date"},
    "datetime": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}, "texts": {"type": "array", "items": {"type": "string"}},
    "times": {"type": "array", "items": {"type": "string", "format": "date-time"}}, "anything": {}, "defaulted": {"type": "string", "default": "plain"},
}
STRICT = {"strict_formulas": True, "arrayjoin_sep": ","}


@pytest.fixture
def things(world):
    """Twelve records with a column of every type."""
    world.airtable.seed({"tokens": [{"token": TOKEN, "scopes": ["data.records:read", "data.records:write", "schema.bases:read"], "bases": [world.base]}], "bases": [{"id": world.base, "name": "Columns", "tables": [
        table("People", "Name", [column("Name", "singleLineText"), column("RID", "formula", formula="RECORD_ID()"), column("Born", "date"), column("Score", "number"), column("Seen", "dateTime"),
                                 column("Nice", "checkbox"), column("Tags", "multipleSelects", choices=["x, y", *(f"t{n}" for n in range(1, 7))])], PEOPLE),
        table("Things", "word", COLUMNS, {id: thing(n) for id, n in THINGS.items()}),
    ]}]})
    return world


def sets_of(client, entity: str) -> dict[str, list[str]]:
    """What a reading of the whole table makes of every index value: nothing is asked by a formula."""
    client.call("PODIUM.WARM", f"{entity}:*")
    found = {}
    for key in client.call("KEYS", f"{entity}:*"):
        suffix = key.decode().split(":", 1)[1]
        if ":" in suffix:
            try:
                found[suffix] = ids(client, key.decode())
            except ReplyError as error:
                # A cell that does not fit its model may hold what is no value of the field.
                assert error.code == "BADKEY"
    return found


@pytest.mark.parametrize("switches", [{}, STRICT], ids=["lenient", "strict"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("known", [False, True], ids=["unknown", "discovered"])
def test_a_question_finds_what_the_whole_table_shows(server, things, model, switches, known):
    client = server.client()
    if known:
        assert "things" in text(client.call("PODIUM.SPEC", "DISCOVER"))
    given = {"table": "Things", "schema": schema({name: {**MODELS[model], "indexed": True} for name in FIELDS})}
    spec(client, "things", given)
    things.airtable.control("POST", "switches", switches)
    expected = sets_of(client, "things")
    assert len(expected) > 10
    wrong = {}
    for suffix, members in expected.items():
        client.call("PODIUM.INVALIDATE", "things:*")
        try:
            found = ids(client, f"things:{suffix}")
        except ReplyError as error:
            found = str(error)
        if found != members:
            wrong[suffix] = (found, members, [call["formula"] for call in things.airtable.calls()][-3:])
        things.airtable.forget()
    assert not wrong, f"{len(wrong)} of {len(expected)}: {json.dumps(dict(itertools.islice(wrong.items(), 3)), default=str)[:3000]}"


def test_a_link_that_the_model_calls_a_text(client, world):
    """Its column has no lookup: formulas see names there."""
    spec(client, "projects", {"schema": schema({"event": {"type": ["string", "null"], "indexed": True}}), "index_to_airtable": {"event": "no_such_lookup"}})
    expected = sorted(id for id, fields in world.truth("projects").items() if fields["event"] == [rid("evt", 2)])
    assert ids(client, f"projects:event:{rid('evt', 2)}") == expected and len(expected) == 7
    spec(client, "projects", {"schema": schema({"event": {"type": ["string", "null"], "indexed": True}})})
    world.airtable.forget()
    assert ids(client, f"projects:event:{rid('evt', 2)}") == expected
    assert world.airtable.count() == 1 and world.airtable.count("event_id") == 1, "through the lookup of the convention, in one call"


def test_a_lookup_of_several_ids_that_the_model_calls_a_text(server, things):
    client = server.client()
    spec(client, "things", {"table": "Things", "schema": schema({"ids": {"type": ["string", "null"], "indexed": True}, "textual": {"type": "string", "indexed": True}})})
    expected = sorted(id for id, n in THINGS.items() if person(3) in thing(n)["who"])
    assert ids(client, f"things:ids:{person(3)}") == expected and len(expected) > 1
    things.airtable.forget()
    assert ids(client, f"things:ids:{person(4)}"), "what it holds is known by now"
    assert things.airtable.count() == 1
    own = rid("thg", 5)
    assert ids(client, f"things:textual:{own}") == [own]


def test_where_an_id_can_not_be_asked_for_the_error_says_what_to_do(server, things):
    client = server.client()
    given = {"table": "Things", "schema": schema({"who": {"type": ["string", "null"], "indexed": True}, "their_things": {"type": ["string", "null"], "indexed": True}})}
    spec(client, "small", given)
    expected = sorted(id for id, n in THINGS.items() if person(3) in thing(n)["who"])
    assert ids(client, f"small:who:{person(3)}") == expected
    spec(client, "things", given)
    client.call("CONFIG", "SET", "podium.warm-limit", "5")
    for key in (f"things:who:{person(4)}", f"things:their_things:{rid('thg', 1)}"):
        error = client.error("PODIUM.INDEX", key)
        assert error.code == "NOINDEX" and "index_to_airtable" in error.text and "warm-limit" in error.text
        assert client.error("PODIUM.INDEX", key).code == "NOINDEX", "not [] the second time"


def test_the_way_back_answers_for_a_link_that_the_model_calls_a_text(server, things):
    client = server.client()
    client.call("PODIUM.SPEC", "DISCOVER")
    spec(client, "things", {"table": "Things", "schema": schema({"who": {"type": ["string", "null"], "indexed": True}})})
    client.call("CONFIG", "SET", "podium.warm-limit", "5")
    expected = sorted(id for id, n in THINGS.items() if person(3) in thing(n)["who"])
    assert ids(client, f"things:who:{person(3)}") == expected


def test_a_date_that_the_model_calls_a_text(client, world):
    spec(client, "projects", {"schema": schema({"due": {"type": ["string", "null"], "indexed": True}, "name": {"type": "string"}})})
    assert [record["due"] for record in index(client, "projects:due:2026-03-05")] == ["2026-03-05"]
    assert world.airtable.count() == 1


def test_several_ids_in_one_cell_without_a_schema(server, things):
    client = server.client()
    spec(client, "things", {"table": "Things", "indexed": ["who", "boss_id", "word", "n", "day", "done"]})
    everybody = sorted(id for id, n in THINGS.items() if person(3) in thing(n)["who"])
    assert ids(client, f"things:who:{person(3)}") == everybody
    bossed = sorted(id for id, n in THINGS.items() if thing(n).get("boss") == [person(2)])
    assert ids(client, f"things:boss_id:{person(2)}") == bossed
    assert len(ids(client, "things:n:94.0")) == 3 and len(ids(client, "things:word:94")) == 3 and len(ids(client, "things:day:2026-03-02")) == 3 and len(ids(client, "things:done:true")) == 6
    assert ids(client, "things:word:recipe") == [rid("thg", 10)]


def test_what_is_told_later_joins_the_set(client, world):
    spec(client, "projects", {"schema": schema({"event": {"type": ["string", "null"], "indexed": True}})})
    event = rid("evt", 2)
    before = ids(client, f"projects:event:{event}")
    new = rid("prj", 2)
    assert new not in before
    client.call("PODIUM.UPSERT", f"projects:{new}", cells(new, event=event))
    eventually(5, "the set holds it", lambda: ids(client, f"projects:event:{event}") == sorted([*before, new]))
