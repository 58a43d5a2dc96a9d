"""Tables for a terminal and for Markdown, and the places in a README that they are written to: pure but for `write`."""

from __future__ import annotations

import re
from pathlib import Path

from .figures import Measure


def markdown(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table whose columns are aligned, so that it reads in a terminal too."""
    cells = [[cell.replace("|", "\\|") for cell in line] for line in [head, *lines]]
    widths = [max(len(line[at]) for line in cells) for at in range(len(head))]
    show = lambda line: "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"  # noqa: E731
    return "\n".join([show(cells[0]), "| " + " | ".join("-" * width for width in widths) + " |", *map(show, cells[1:])])


def measures(found: dict[str, list[Measure]]) -> str:
    """A line for each thing measured, a column for each version of the server, in the order of the first that has it."""
    versions = list(found)
    order: dict[tuple[str, str], Measure] = {}
    for version in versions:
        for one in found[version]:
            order.setdefault((one.row, one.what), one)
    by_place = {version: {(one.row, one.what): one for one in found[version]} for version in versions}
    lines = []
    for (row, what), first in order.items():
        shown, missed = [], False
        for version in versions:
            one = by_place[version].get((row, what))
            shown.append(one.shown() if one else "–")
            missed |= bool(one and one.reached() is False)
        notes = [one.note for version in versions if (one := by_place[version].get((row, what))) and one.note]
        lines.append([row, what, *shown, first.target + (" (missed)" if missed else ""), " · ".join(dict.fromkeys(notes))])
    return markdown(["", "what", *(f"Valkey {version}" for version in versions), "to reach", "native, or of what"], lines)


def firsts(found: dict[str, list[Measure]]) -> dict[str, list[Measure]]:
    """The first measure of each row only: the short version."""
    kept: dict[str, list[Measure]] = {}
    for version, measured in found.items():
        seen: set[str] = set()
        kept[version] = [one for one in measured if one.row not in seen and not seen.add(one.row)]
    return kept


def put(page: str, block: str, content: str) -> str:
    """The page with what stands between the marks of a block replaced."""
    begin, end = f"<!-- bench:{block} -->", f"<!-- /bench:{block} -->"
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.S)
    if not pattern.search(page):
        raise ValueError(f"no place for '{block}'")
    return pattern.sub(lambda _: f"{begin}\n\n{content.strip()}\n\n{end}", page, count=1)


def write(path: Path, block: str, content: str) -> None:
    path.write_text(put(path.read_text(encoding="utf-8"), block, content), encoding="utf-8")
