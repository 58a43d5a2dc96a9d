"""What the READMEs show runs, against a real server."""

from __future__ import annotations

import re
import sys
import textwrap
import types
from pathlib import Path

from fastapi.testclient import TestClient
from world import event

PACKAGE = Path(__file__).resolve().parents[1]


def blocks(path: Path, title: str) -> list[str]:
    """The Python under a heading."""
    section = re.split(r"^## ", path.read_text(), flags=re.M)
    [found] = [part for part in section if part.startswith(title + "\n")]
    return [textwrap.dedent(code) for code in re.findall(r"^ *```python\n(.*?)^ *```", found, flags=re.M | re.S)]


def run(code: str, port: int) -> dict:
    module = sys.modules["application"] = types.ModuleType("application")
    program = compile(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", code), "README.md", "exec", dont_inherit=True)
    exec(program, vars(module))
    return vars(module)


def test_the_afternoon(server, world):
    found = blocks(PACKAGE / "README.md", "An afternoon")
    assert len(found) == 4
    names = run("\n".join(found), server.port)
    assert names["event"].name == "Event 1" and names["whole"].owner and names["best"][0].points >= names["best"][-1].points > -1
    with TestClient(names["app"]) as http:
        first = http.get(f"/events/{event(2)}/leaderboard").json()
        world.airtable.forget()
        assert http.get(f"/events/{event(2)}/leaderboard").json() == first and [one["points"] for one in first[:2]] == [19, 13]
        assert world.airtable.count_records() == 0
    names["cache"].close()


def test_the_repositorys_readme(server):
    [code] = blocks(PACKAGE.parents[1] / "README.md", "From Python")
    names = run(code, server.port)
    board = names["leaderboard"](event(2), limit=2)
    assert [one.points for one in board] == [19, 13] and names["leaderboard"](event(2), limit=2) == board
    names["cache"].close()


def test_every_header_and_setting_that_is_named_is_there():
    from podium.cache import Settings

    text = (PACKAGE / "README.md").read_text()
    for name in ("X-Cache", "X-Cache-Status", "X-Airtable-Hits", "X-Cache-Key", "X-Cache-Age", "X-Cache-TTL", "Cache-Status"):
        assert f"`{name}`" in text
    for setting in ("retry_after", "fallback_ttl", "fallback_size", "local"):
        assert setting in text and setting in Settings.__annotations__
