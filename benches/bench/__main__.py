"""The command line of the measurements; scripts/bench builds what they need and hands its options on."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from datetime import datetime, timezone

from airtable import BINARY
from support import MODULE, ROOT, SERVERS

from . import machine, table
from .figures import Measure
from .load import Pace
from .rows import ROWS, wanted
from .run import BEGUN, Run

PAGE = ROOT / "benches" / "README.md"


def positive(word: str, kind=int):
    number = kind(word)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"'{word}' is not above 0")
    return number


def options() -> argparse.Namespace:
    rows = "\n".join(f"  {name:9} {what}" for name, (what, _) in ROWS.items())
    parser = argparse.ArgumentParser(prog="scripts/bench", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=f"rows:\n{rows}\n\n"
                                     "A run of all rows writes its table into benches/README.md too; one of some rows (--only) does not, unless --write is given.",
                                     description="What Podium costs, as ratios to the native commands that its own stand for, taken within one run.")
    parser.add_argument("--valkey", help="8.0, 9.1 or all (both; --quick: 9.1; for --million, --instructions and --compare one, 9.1)")
    parser.add_argument("--only", default="", metavar="ROW[,ROW]", help="only these rows")
    parser.add_argument("--pairs", type=positive, default=None, help="alternating pairs of runs whose median counts (7; --quick 3)")
    parser.add_argument("--seconds", type=lambda word: positive(word, float), default=None, help="length of one run of a pair (1.0; --quick 0.15)")
    parser.add_argument("--quick", action="store_true", help="in about a minute: fewer records, shorter runs")
    parser.add_argument("--million", action="store_true", help="how the main rows grow up to a million records")
    parser.add_argument("--instructions", action="store_true", help="instructions of a hit, by part (valgrind)")
    parser.add_argument("--compare", action="store_true", help="beside what people use today: Python cache-aside, redis-om, nginx")
    parser.add_argument("--write", action="store_true", help="write the table whatever was left out")
    parser.add_argument("--no-write", action="store_true", help="leave benches/README.md alone")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--no-build", action="store_true", help="measure what was built before")
    found = parser.parse_args()
    try:
        found.rows = wanted(found.only)
    except ValueError as error:
        parser.error(str(error))
    special = found.million or found.instructions or found.compare
    if found.valkey is None:
        found.valkey = "9.1" if found.quick or special else "all"
    found.versions = list(SERVERS) if found.valkey == "all" else found.valkey.split(",")
    if special and len(found.versions) > 1:
        parser.error(f"--million, --instructions and --compare take one version, not '{found.valkey}'")
    if unknown := [version for version in found.versions if version not in SERVERS]:
        parser.error(f"--valkey takes {', '.join(SERVERS)} or all, not '{unknown[0]}'")
    return found


def row(name: str, run: Run) -> list[Measure]:
    """A row's measures. What fails is said in its place, and the others are measured all the same."""
    found: list[Measure] = []
    try:
        found.extend(ROWS[name][1](run))
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        found.append(Measure(name, ROWS[name][0], [], failed=f"failed: {type(error).__name__}"))
    return found


def main() -> int:
    asked = options()
    if asked.check:
        return 0
    if missing := [path for path in (MODULE, BINARY) if not path.exists()]:
        print(f"{missing[0]} is not there: run scripts/bench without --no-build", file=sys.stderr)
        return 2
    # What was started is ended, however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    pace = Pace(asked.pairs or (3 if asked.quick else 7), asked.seconds or (0.15 if asked.quick else 1.0))
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    failed = False
    blocks: dict[str, str] = {}
    short: dict[str, str] = {}
    if asked.million or asked.instructions or asked.compare:
        run = Run(asked.versions[0], pace, asked.quick)
        try:
            if asked.million:
                from . import growth
                blocks["growth"] = growth.million(run, growth.COUNTS[:1] if asked.quick else growth.COUNTS)
            if asked.instructions:
                from . import instructions
                blocks["instructions"] = instructions.table_of(run)
            if asked.compare:
                from .compare import beside
                short["compare"] = blocks["compare"] = beside(run)
                failed = "failed: " in blocks["compare"]
        finally:
            run.close()
    else:
        found: dict[str, list[Measure]] = {}
        for version in asked.versions:
            print(f"=== Valkey {version} ===", file=sys.stderr)
            run = Run(version, pace, asked.quick)
            try:
                found[version] = [one for name in asked.rows for one in row(name, run)]
            finally:
                run.close()
        failed = any(one.failed.startswith("failed") for measures in found.values() for one in measures)
        blocks["quick" if asked.quick else "rows"] = table.measures(found)
        short["rows"] = table.measures(table.firsts(found))
    about = f"Medians of {pace.pairs} pairs of {pace.seconds:g} s, with the range of the pairs."
    for block, content in blocks.items():
        place = machine.line(asked.versions, when, "" if block in ("instructions", "compare") else about)
        shown = f"{content}\n\n{place}"
        print(f"\n{shown}")
        whole = not asked.only and not failed and not (asked.quick and block != "quick")
        if (whole or asked.write) and not asked.no_write:
            table.write(PAGE, block, shown)
            if block in short:
                table.write(ROOT / "README.md", block, f"{short[block]}\n\n{place}")
    print(f"\n{time.monotonic() - BEGUN:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
