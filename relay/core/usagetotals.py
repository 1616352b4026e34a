"""Usage of many calls, added up by day, key and model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from relay.core.pricing import NO_COST, Cost
from relay.core.tokens import NO_TOKENS, TokenUsage
from relay.core.usage import NO_TIME, CallUsage, UsageLine


@dataclass(frozen=True, slots=True)
class CallTotals:
    """What is added up of one call: `day` is the UTC day on which it began."""

    day: date
    key: str | None
    model: str | None
    duration_s: float
    usage: CallUsage


GroupBy = Literal["day", "key", "model"]


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Sums of one group; what it was not grouped by is None.

    By model, `tokens`, `seconds` and `cost` are on the row of the model that was charged for (a
    transcription has its own), `calls` and `duration_s` on that of the call's own model.
    """

    day: date | None
    key: str | None
    model: str | None
    calls: int = 0
    duration_s: float = 0.0
    tokens: TokenUsage = NO_TOKENS
    seconds: Decimal = NO_TIME
    cost: Cost = NO_COST

    def to_json(self) -> dict[str, Any]:
        return {
            "day": None if self.day is None else self.day.isoformat(),
            "key": self.key,
            "model": self.model,
            "calls": self.calls,
            "duration_s": round(self.duration_s, 3),
            "tokens": self.tokens.to_json(),
            "seconds": float(self.seconds),
            **self.cost.to_json(),
        }


def aggregate(calls: Iterable[CallTotals], by: Sequence[GroupBy]) -> list[UsageRow]:
    """Adds calls up, a row for each group; the newest day first, then by key and model."""
    rows: dict[tuple[date | None, str | None, str | None], UsageRow] = {}

    def row(call: CallTotals, model: str | None) -> UsageRow:
        day, key = call.day if "day" in by else None, call.key if "key" in by else None
        group = (day, key, model if "model" in by else None)
        return rows.setdefault(group, UsageRow(*group))

    def keep(changed: UsageRow) -> None:
        rows[changed.day, changed.key, changed.model] = changed

    for call in calls:
        own = row(call, call.model)
        duration_s = own.duration_s + call.duration_s
        keep(replace(own, calls=own.calls + 1, duration_s=duration_s))
        for line in call.usage.lines:
            keep(_with_line(row(call, line.model), line))
    return sorted(rows.values(), key=_row_order)


def _with_line(row: UsageRow, line: UsageLine) -> UsageRow:
    return replace(
        row,
        tokens=row.tokens + line.tokens,
        seconds=row.seconds + line.seconds,
        cost=row.cost + line.cost,
    )


def _row_order(row: UsageRow) -> tuple[int, str, str]:
    day = 0 if row.day is None else -row.day.toordinal()
    return day, row.key or "", row.model or ""
