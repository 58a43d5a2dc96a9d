"""README.md against the running module: grammar, commands, settings, figures, the demo's replies and the Python examples are what it says."""

from __future__ import annotations

import json
import re

import pytest
import valkey

from asking import spec
from support import ROOT, mapping, text

README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE_BASE = "appPodiumSample001"
I64_MAX = 2**63 - 1


def section(title: str) -> str:
    """What stands below a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    assert found, f"README has no section '{title}'"
    return found[1]


def block(title: str, language: str) -> str:
    """The first fenced block of a language below a heading."""
    found = re.search(rf"^```{language}\n(.*?)^```", section(title), re.M | re.S)
    assert found, f"no {language} block under '{title}'"
    return found[1]


def rows(title: str, first_column: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading."""
    found, inside = [], False
    for line in section(title).splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and cells[0] == first_column:
            inside = True
        elif not cells:
            inside = False
        elif inside and not set("".join(cells)) <= set("-: "):
            found.append(cells)
    assert found, f"no table '{first_column}' under '{title}'"
    return found


def names(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


# --- Commands --------------------------------------------------------------------------------------------------------


def described(docs: dict) -> str:
    """One argument of COMMAND DOCS as grammar."""
    kind, token = text(docs["type"]), text(docs.get("token", b""))
    flags = set(text(docs.get("flags", [])))
    inner = [described(mapping(one)) for one in docs.get("arguments", [])]
    if kind == "oneof":
        body = " | ".join(inner) if "optional" in flags else f"<{' | '.join(inner)}>"
    elif kind == "block":
        body = " ".join(inner)
    elif kind == "pure-token":
        body = ""
    else:
        body = text(docs["name"])
    if token:
        body = f"{token} {body}".strip()
    if "multiple" in flags:
        body = f"{body} [{body} ...]"
    return f"[{body}]" if "optional" in flags else body


def declared(client) -> dict[str, dict]:
    """Every command that can be called, by its name as it is typed."""
    found = {}
    for name in text(client.call("COMMAND", "LIST", "FILTERBY", "MODULE", "podium")):
        if "|" not in name:
            docs = mapping(mapping(client.call("COMMAND", "DOCS", name))[name])
            inner = mapping(docs.get("subcommands", []))
            found.update({sub: mapping(one) for sub, one in inner.items()} or {name: docs})
    return {name.replace("|", " ").upper(): docs for name, docs in found.items()}


def grammar(name: str, docs: dict) -> str:
    return " ".join([name, *(described(mapping(one)) for one in docs.get("arguments", []))])


def test_grammar_is_what_command_docs_says(client):
    shown = [re.sub(r"\s+", " ", line).strip() for line in re.split(r"\n(?=\S)", block("Commands", "text").strip())]
    assert sorted(shown) == sorted(grammar(name, docs) for name, docs in declared(client).items())


def test_the_table_of_commands_names_each_with_its_category(client):
    told = {names(cells[0])[0]: set(cells[3].split()) for cells in rows("Commands", "Command")}
    is_so = {}
    for name in declared(client):
        categories = set(text(client.call("COMMAND", "INFO", name.lower().replace(" ", "|"))[0][6]))
        is_so[name] = {word for word in ("read", "write", "admin") if f"@{word}" in categories}
        assert "@podium" in categories
    assert told == is_so


def test_options_are_those_of_the_reading_commands(client):
    tokens = lambda line: set(re.findall(r"\b[A-Z]{3,}\b", line))
    docs = declared(client)
    is_so = set().union(*(tokens(grammar(name, docs[name])[len(name):]) for name in ("PODIUM.GET", "PODIUM.MGET", "PODIUM.INDEX", "PODIUM.INTER")))
    told = set().union(*(tokens(one) for cells in rows("Commands", "Option") for one in names(cells[0])))
    assert told == is_so


def test_the_acl_lines_give_what_they_are_meant_to(client):
    lines = re.findall(r"^ {4}(ACL SETUSER .*)$", section("Rights and secrets"), re.M)
    assert [client.call(*line.split()) for line in lines] == ["OK", "OK", "OK"]
    may = lambda user, *words: text(client.attempt("ACL", "DRYRUN", user, *words)) == "OK"
    assert may("web", "PODIUM.GET", "events:recA") and may("web", "PODIUM.INTER", "1", "projects:points:1")
    assert not may("web", "PODIUM.GET", "users:recA") and not may("web", "PODIUM.INVALIDATE", "events:recA") and not may("web", "GET", "events:recA")
    assert may("backend", "PODIUM.INVALIDATE", "users:recA") and may("backend", "PODIUM.SPEC", "SET", "users", "{}") and may("backend", "PODIUM.STATS")
    assert may("endpoint", "PODIUM.WEBHOOK", "{}", "SECRET", "x") and may("endpoint", "PODIUM.SYNC", "PING", "{}", "x")
    assert not may("endpoint", "PODIUM.SYNC", "STOP") and not may("endpoint", "PODIUM.INVALIDATE", "users:recA")
    assert not may("backend", "PODIUM.SPEC", "DEL", "users") and not may("backend", "PODIUM.SWEEP", "users:*") and not may("backend", "PODIUM.GET", "votes:recA")


# --- Settings --------------------------------------------------------------------------------------------------------


def settings() -> dict[str, tuple[str, str]]:
    """Name: default, range."""
    return {names(cells[0])[0]: (*(names(cells[1]) or [""]), cells[2]) for cells in rows("Settings", "Setting")}


def test_settings_and_their_defaults(spawn):
    server = spawn()
    server.stop()
    server.settings = {}
    server.start()
    shown = text(server.client().call("CONFIG", "GET", "podium.*"))
    is_so = {name.removeprefix("podium."): value for name, value in zip(shown[::2], shown[1::2])}
    assert {name: default for name, (default, _) in settings().items()} == is_so


def test_ranges_of_settings(spawn):
    client = spawn().client()
    checked = 0
    for name, (default, allowed) in settings().items():
        if not (ends := re.fullmatch(r"(\d+)–(\d*)", allowed)):
            assert allowed in ("", "yes, no"), f"{name}: {allowed}"
            continue
        low, high = int(ends[1]), int(ends[2] or I64_MAX)
        for value in (low, high):
            assert client.call("CONFIG", "SET", f"podium.{name}", value) == "OK", f"{name} {value}"
        for value in (low - 1, high + 1):
            assert client.error("CONFIG", "SET", f"podium.{name}", value), f"{name} {value}"
        assert client.call("CONFIG", "SET", f"podium.{name}", default) == "OK"
        checked += 1
    assert checked >= 15


def test_valkey_conf_shows_every_setting_with_its_default():
    shown = dict(re.findall(r"^# podium\.([a-z-]+) (\S+)$", (ROOT / "valkey.conf").read_text(encoding="utf-8"), re.M))
    assert {name: value.strip('"') for name, value in shown.items()} == {name: default for name, (default, _) in settings().items()}


# --- Figures and errors ----------------------------------------------------------------------------------------------


def test_figures_are_those_of_info(server, client):
    told = [name for cells in rows("Figures", "Figure") for name in names(cells[0])]
    assert len(told) == len(set(told)), "named twice"
    assert sorted(told) == sorted(server.info())


def test_figures_of_one_entity(client):
    stats = set(mapping(client.call("PODIUM.STATS", "events")))
    told = {name for name in names(section("Figures")) if name.startswith("podium_")}
    assert stats <= told, f"not in README: {stats - told}"


def test_every_error_code_of_the_module_is_explained():
    told = {code for cells in rows("Errors", "Code") for code in names(cells[0])}
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "server").rglob("*.rs"))
    used = set(re.findall(r'"([A-Z]{6,}) [a-z{\'A]', source)) - {"READONLY"}
    assert used >= {"NOENTITY", "BADKEY", "WOULDBLOCK"}, "the pattern finds nothing any more"
    assert used <= told, f"not in README: {used - told}"


# --- Demo and examples -----------------------------------------------------------------------------------------------


@pytest.fixture
def sample(server, client, world):
    """The base and the entities of the demo."""
    world.airtable.seed(json.loads((ROOT / "tests" / "fixtures" / "sample-base.json").read_text(encoding="utf-8")))
    for entity in text(client.call("PODIUM.SPEC", "LIST")):
        client.call("PODIUM.SPEC", "DEL", entity)
    client.call("CONFIG", "SET", "podium.base", SAMPLE_BASE)
    for entity, one in json.loads((ROOT / "scripts" / "sample-specs.json").read_text(encoding="utf-8")).items():
        spec(client, entity, one)
    client.call("FLUSHALL")
    world.airtable.forget()
    return client


def test_the_python_example_runs(server, sample):
    code = block("In an application", "python")
    assert "port=7391" in code
    found: dict = {}
    exec(compile(code.replace("port=7391", f"port={server.port}"), "README.md", "exec", dont_inherit=True), found)
    assert found["project"].id == "recProjectxxx0025"
    points = [project.points for project in found["best"]]
    assert len(points) == 5 and points == sorted(points, reverse=True)


def test_the_computed_endpoint_runs(server, sample):
    """FastAPI's part is played; what it does with Podium is real."""
    code = block("Computed answers", "python")
    found: dict = {}

    class App:
        def get(self, path):
            return lambda handler: found.setdefault(path, handler)

    podium = valkey.Valkey(port=server.port, decode_responses=True)
    exec(compile(code, "README.md", "exec", dont_inherit=True), here := {"app": App(), "podium": podium, "json": json})
    event, key = "recEventxxxxx0000", "page:leaderboard:recEventxxxxx0000"
    page = lambda: found["/events/{event}/leaderboard"](event)
    best = page()
    points = [project["points"] for project in best]
    assert len(points) == 10 and points == sorted(points, reverse=True)
    assert page() == best and server.figure("fills") == server.figure("leases") == 1, "computed once"
    winner = best[0]
    sample.call("PODIUM.UPSERT", f"projects:{winner['id']}", json.dumps({**json.loads(sample.call("PODIUM.GET", f"projects:{winner['id']}", "VIEW", "*")), "points": -1}))
    assert winner["id"] not in [project["id"] for project in page()] and server.figure("fills") == 2
    sample.call("PODIUM.INVALIDATE", key)
    with pytest.raises(ZeroDivisionError):
        here["cached"](key, lambda read: 1 / 0)
    assert sample.call("PODIUM.LEASE", key, "NOWAIT")[1], "it was released"
    podium.close()


@pytest.mark.parametrize("title, path, header, words", [
    ("Telling the cache: webhooks", "/airtable", "X-Airtable-Secret", ("PODIUM.WEBHOOK", b'{"as": "it came"}', "SECRET", "shown")),
    ("The change feed", "/airtable/ping", "X-Airtable-Content-MAC", ("PODIUM.SYNC", "PING", b'{"as": "it came"}', "shown")),
])
def test_endpoints_of_three_lines_hand_the_body_on(title, path, header, words):
    code = block(title, "python")
    assert len(code.strip().splitlines()) == 3
    sent, found = [], {}

    class App:
        def post(self, path):
            return lambda handler: found.setdefault(path, handler)

    class Request:
        headers = {header: "shown"}
        get_data = staticmethod(lambda: b'{"as": "it came"}')

    class Podium:
        execute_command = staticmethod(lambda *words: sent.append(words) or 1)

    exec(compile(code, "README.md", "exec", dont_inherit=True), {"app": App(), "request": Request, "podium": Podium})
    assert found[path]() == "1"
    assert sent == [words]


def test_the_members_of_a_resource_are_those_of_the_table(client):
    told = dict(zip((name for cells in rows("Computed answers", "Member") for name in names(cells[0])), range(99)))
    assert client.call("PODIUM.SPEC", "SET", "page", '{"computed":true}') == "OK"
    shown = json.loads(client.call("PODIUM.SPEC", "GET", "page"))
    assert set(told) == set(shown) - {"computed"}


def test_the_members_of_explain_are_those_of_the_table(client):
    told = [names(cells[0])[0] for cells in rows("Why?", "Member")]
    assert told == text(client.call("PODIUM.EXPLAIN", "items:recAAAAAAAAAAAAAA")[::2])


def test_the_spec_example_is_a_spec(client):
    assert client.call("PODIUM.SPEC", "SET", "example", block("In an application", "json")) == "OK"
    members = {"table", "base", "schema", "views", "default_view", "index_to_airtable", "indexed", "sortable", "normalize", "depends", "ttl", "jitter", "tombstone_ttl"}
    assert set(json.loads(block("In an application", "json"))) == members


def test_links_within_the_page_lead_somewhere():
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", README, re.M)}
    for target in re.findall(r"\]\(#([^)]+)\)", README):
        assert target in anchors, target
    for target in re.findall(r"\]\(([^#)][^)]*)\)", README):
        assert (ROOT / target).exists(), target
