"""scripts/bench: what it says of itself, and the arithmetic and tables of its measurements. Nothing is measured here."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support import ROOT

sys.path.insert(0, str(ROOT / "benches"))

from bench import around, figures, load, model, rows, table  # noqa: E402


def bench(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(ROOT / "scripts" / "bench"), *words], capture_output=True, text=True, timeout=60)


def test_help_names_every_row_and_option():
    done = bench("--help")
    assert done.returncode == 0, done.stderr
    shown = done.stdout
    assert all(f"  {name} " in shown for name in rows.ROWS) and set(rows.ROWS) >= {f"S{n}" for n in range(1, 12)}
    for option in ("--quick", "--only", "--valkey", "--pairs", "--million", "--instructions", "--compare", "--no-build"):
        assert option in shown
        assert option in (ROOT / "README.md").read_text() + (ROOT / "benches" / "README.md").read_text() + shown


@pytest.mark.parametrize("words", [["--only", "S99"], ["--valkey", "7.2"], ["--no-such-option"], ["--pairs", "many"], ["--pairs", "0"]])
def test_what_is_no_option_is_refused_before_anything_is_built(words):
    done = bench(*words)
    assert done.returncode == 2 and words[-1] in done.stderr


def test_medians():
    assert figures.median([3.0, 1.0, 2.0]) == 2.0
    assert figures.median([4.0, 1.0, 2.0, 3.0]) == 2.5
    with pytest.raises(ValueError):
        figures.median([])


@pytest.mark.parametrize("values, target, reached", [
    ([0.98], "≥ 0.98", True), ([0.9796], "≥ 0.98", True), ([0.97], "≥ 0.98", False), ([1.3], "≤ 1.3", True), ([1.32], "≤ 1.3", False),
    ([50_001.0], "≥ 50,000", True), ([], "≥ 1", None), ([1.0], "", None), ([0.5, 0.99, 1.0], "≥ 0.98", True),
])
def test_targets(values, target, reached):
    assert figures.Measure("S1", "x", values, target).reached() is reached


def test_a_table_has_a_column_for_each_version_and_says_what_is_missed():
    found = {
        "8.0": [figures.Measure("S1", "GET | 1 KB", [0.91, 0.99, 0.97], "≥ 0.98"), figures.Measure("S9", "hold", [], failed="not there")],
        "9.1": [figures.Measure("S1", "GET | 1 KB", [1.0], "≥ 0.98"), figures.Measure("S7", "bytes", [30.4], "≤ 32", "B", digits=0)],
    }
    head, rule, *lines = table.measures(found).splitlines()
    assert "Valkey 8.0" in head and "Valkey 9.1" in head and set(rule) <= set("|- ")
    assert len({len(line) for line in (head, rule, *lines)}) == 1, "aligned"
    assert "GET \\| 1 KB" in lines[0] and "0.97 (0.91–0.99)" in lines[0] and "(missed)" in lines[0]
    assert "not there" in lines[1] and "30 B" in lines[2] and "(missed)" not in lines[2]
    assert [one.row for one in table.firsts({"8.0": found["8.0"] * 2})["8.0"]] == ["S1", "S9"]


def test_a_block_is_replaced_and_nothing_else():
    page = "a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n<!-- bench:y -->\n<!-- /bench:y -->\n"
    once = table.put(page, "x", "new \\1 text")
    assert once == "a\n<!-- bench:x -->\n\nnew \\1 text\n\n<!-- /bench:x -->\nb\n<!-- bench:y -->\n<!-- /bench:y -->\n"
    assert table.put(once, "x", "new \\1 text") == once
    with pytest.raises(ValueError):
        table.put(page, "z", "")


def test_the_pages_have_a_place_for_every_table():
    for page, blocks in (("benches/README.md", ("rows", "quick", "growth", "instructions", "compare")), ("README.md", ("rows", "compare"))):
        for block in blocks:
            table.put((ROOT / page).read_text(encoding="utf-8"), block, "x")


def test_lines_of_holds():
    printed = "longest hold, ms                                            monitor    command      ping\n" \
              "INVALIDATE of a set of 40,000                                    2       1.93       4.1\n" \
              "waking 10,000 waiters                                            -                  0.8\n" \
              "Valkey 9.1, 40,000 records, median of 3, 100 s\n"
    assert around.holds(printed) == [("INVALIDATE of a set of 40,000", 2.0, 1.93), ("waking 10,000 waiters", 0.0, 0.0)]


def test_records_have_the_size_they_are_named_by():
    for size in model.SIZES:
        assert abs(len(model.told(123_456, size)) - size) < size // 20
    assert model.told(7) == model.told(7) and model.event(39) == model.event(20) != model.event(40)


def test_commands_are_sent_in_batches():
    blobs = list(load.batches((("GET", n) for n in range(5)), 2))
    assert len(blobs) == 3 and b"".join(blobs).count(b"*2\r\n") == 5
