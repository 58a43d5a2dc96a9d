"""Arithmetic of the measurements: pure."""

from __future__ import annotations

from dataclasses import dataclass


def median(values) -> float:
    """The middle one; of an even number, halfway between the two."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def grouped(number: float) -> str:
    """1234567.8 as 1,234,568."""
    return f"{number:,.0f}"


@dataclass
class Measure:
    """One line of the table. `value` is the median of `values`, in `unit`: a ratio has none."""

    row: str
    what: str
    values: list[float]
    target: str = ""
    """E.g. `≥ 0.95` or `≤ 64`; empty: nothing is to be reached."""
    unit: str = ""
    note: str = ""
    digits: int = 2
    failed: str = ""
    """Why there is no value, if there is none."""

    @property
    def value(self) -> float:
        return median(self.values)

    def reached(self) -> bool | None:
        """Whether the target is met; None if there is none or nothing was measured."""
        if not self.values or not self.target:
            return None
        sign, number = self.target.split()[:2]
        bound = float(number.replace(",", ""))
        shown = round(self.value, self.digits)
        return shown >= bound if sign == "≥" else shown <= bound

    def number(self, value: float) -> str:
        return f"{value:,.{self.digits}f}{' ' + self.unit if self.unit else ''}"

    def shown(self) -> str:
        """The median, with what stands beside it: the range of the pairs."""
        if not self.values:
            return self.failed or "–"
        if len(self.values) == 1:
            return self.number(self.value)
        return f"{self.number(self.value)} ({min(self.values):,.{self.digits}f}–{max(self.values):,.{self.digits}f})"
