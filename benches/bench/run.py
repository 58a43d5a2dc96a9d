"""One run: what was asked for, and the measures as they come."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

from airtable import Emulator

from . import scene
from .figures import Measure, grouped
from .load import Pace


@dataclass
class Run:
    """A version of the server, and how thoroughly it is measured."""

    version: str
    pace: Pace
    quick: bool
    _airtables: dict[int, Emulator] = field(default_factory=dict)

    SMALL = 1_000
    """Records that a CPU's caches hold."""

    @property
    def large(self) -> int:
        """Records that no cache holds."""
        return 20_000 if self.quick else 200_000

    @property
    def many(self) -> int:
        """Records of what is measured once."""
        return 20_000 if self.quick else 100_000

    def airtable(self, records: int = 0) -> Emulator:
        """The stand-in with so many records in its full base; one for each number, ended with the run."""
        if records not in self._airtables:
            self._airtables[records] = scene.emulator(records)
        return self._airtables[records]

    def scene(self, **more) -> scene.Scene:
        return scene.Scene(self.version, self.airtable(), **more)

    def pair(self, at: scene.Scene, row: str, what: str, native, ours, *, keys: int, pipeline: int = 1, target: str = "", cost: bool = False) -> Measure:
        """Ours beside native: its rate as a share of theirs, or with `cost` its time as a multiple. Either side is a command, or
        commands one after the other."""
        sides = [side if isinstance(side[0], list) else [side] for side in (native, ours)]
        ratios, rate = self.pace.ratios(at.port, *sides, keys=keys, pipeline=pipeline)
        return said(Measure(row, what, [1 / ratio for ratio in ratios] if cost else ratios, target, digits=2 if cost else 3, note=f"{grouped(rate)}/s"))

    def close(self) -> None:
        for one in self._airtables.values():
            one.stop()


BEGUN = time.monotonic()


def said(one: Measure) -> Measure:
    """Tells the terminal what came out, as it comes."""
    print(f"  {time.monotonic() - BEGUN:5.0f} s  {one.row:8} {one.what}: {one.shown()}", file=sys.stderr, flush=True)
    return one
