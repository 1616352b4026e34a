"""A measured figure, what it must reach, and whether it did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    AIM = "aim"
    MUST = "must"
    MISSED = "missed"
    NO_TARGET = ""
    FAILED = "not measured"


@dataclass(frozen=True, slots=True)
class Target:
    """Upper bounds, in the figure's unit: what must be reached, and what is aimed at."""

    must: float
    aim: float


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` is None when the measurement failed, and `note` then says why."""

    name: str
    unit: str
    value: float | None
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.value is None:
            return Verdict.FAILED
        if self.target is None:
            return Verdict.NO_TARGET
        if self.value <= self.target.aim:
            return Verdict.AIM
        return Verdict.MUST if self.value <= self.target.must else Verdict.MISSED

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict.value}


# What is asked for. "No growth" and "nothing left" are bounds too: a median here is good to
# some tenths of a millisecond, and a jitter buffer grows by 20 ms at a time.
CPU_RATIO = Target(must=4.0, aim=2.5)
ADDED_P50_MS = Target(must=0.4, aim=0.2)
ADDED_P99_MS = Target(must=4.0, aim=1.5)
LOSS_GROWTH_MS = Target(must=1.0, aim=1.0)
SETUP_P95_MS = Target(must=15.0, aim=5.0)
MEMORY_MB = Target(must=0.8, aim=0.4)
RECORDING_CPU_PERCENT = Target(must=25.0, aim=15.0)
RECORDING_P99_MS = Target(must=1.0, aim=0.5)
LEFTOVERS = Target(must=0, aim=0)
GROWTH_MB = Target(must=20.0, aim=5.0)


def table(figures: list[Figure]) -> str:
    """For a terminal; one line a figure, notes below the line they belong to."""
    width = max(len(figure.name) for figure in figures)
    lines = [f"{'':<{width}} {'':>12} {'must':>8} {'aim':>8}  reached"]
    for figure in figures:
        value = "—" if figure.value is None else f"{_number(figure.value)} {figure.unit}".rstrip()
        bounds = (figure.target.must, figure.target.aim) if figure.target else (None, None)
        must, aim = ("" if bound is None else f"≤ {bound:g}" for bound in bounds)
        lines.append(f"{figure.name:<{width}} {value:>12} {must:>8} {aim:>8}  {figure.verdict}")
        if figure.note:
            lines.append(f"  {figure.note}")
    return "\n".join(lines)


def markdown(figures: list[Figure]) -> str:
    """The same for docs/performance.md."""
    lines = ["| figure | measured | must | aim | reached | |", "|---|---|---|---|---|---|"]
    for figure in figures:
        value = "—" if figure.value is None else f"{_number(figure.value)} {figure.unit}".rstrip()
        bounds = (figure.target.must, figure.target.aim) if figure.target else (None, None)
        must, aim = ("" if bound is None else f"≤ {bound:g}" for bound in bounds)
        cells = (figure.name, value, must, aim, figure.verdict.value, figure.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"
