"""docs/promises.md names tests that exist, for every promise, and every section's promises are numbered in turn. Needs no server."""

from __future__ import annotations

import ast
import re

import pytest

from support import ROOT

PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"^\| (\d+\.\d+) \| (.+) \| (.+) \|$", PAGE, re.M)
NAMED = sorted(set(re.findall(r"`([\w/.]+)::(\w+)`", PAGE)))


def held_by(file: str) -> set[str]:
    """The names of the tests that a file holds."""
    path = ROOT / file if "/" in file else ROOT / "tests" / "wire" / file
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return {one.name for one in ast.parse(source).body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")}
    return set(re.findall(r"#\[test\]\s+(?:#\[[^\]]*\]\s+)*fn (\w+)\(", source))


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_test_that_is_named_exists(file):
    named = {test for of, test in NAMED if of == file}
    assert named <= held_by(file), f"not in {file}: {sorted(named - held_by(file))}"


def test_every_promise_names_a_test():
    rows = [line for line in PAGE.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == len(PROMISES) > 100, "a row of another shape"
    for number, _, shown in PROMISES:
        assert re.fullmatch(r"(`[\w/.]+::\w+`(, )?)+", shown), number


def test_promises_are_numbered_in_turn():
    sections = re.split(r"^## (\d+)\. .*\n", PAGE, flags=re.M)[1:]
    assert sections[::2] == [str(n + 1) for n in range(len(sections) // 2)]
    for section, body in zip(sections[::2], sections[1::2]):
        numbers = re.findall(r"^\| (\d+\.\d+) \|", body, re.M)
        assert numbers == [f"{section}.{n + 1}" for n in range(len(numbers))], section
