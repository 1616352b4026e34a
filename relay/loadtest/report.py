"""What a load test says at its end: one object, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .load import Openings
from .model import LoadModel
from .statistics import Percentiles
from .window import WindowResult

_COLUMNS = ("p50", "p90", "p95", "p99", "maximum")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """`lost` counts calls that had come about and were gone before the end.

    `direct` is the same load on the upstream itself, None where it was not asked for: without it
    a round trip can be told, but not which part of it the relay added.
    """

    url: str
    model: LoadModel
    openings: Openings
    window: WindowResult
    lost: int
    direct: WindowResult | None = None

    @property
    def failed(self) -> int:
        """Sessions that did not come about, or did not last."""
        return self.openings.failures.total() + self.lost

    def to_json(self) -> dict[str, Any]:
        added = self._added_ms()
        return {
            "url": self.url,
            "sessions": self.model.calls,
            "failed": self.failed,
            "failures": dict(self.openings.failures) | ({"lost": self.lost} if self.lost else {}),
            "seconds": round(self.window.seconds, 3),
            "packets_sent": self.window.packets_sent,
            "packets_received": self.window.packets_received,
            "events_sent": self.window.events_sent,
            "events_received": self.window.events_echoed,
            "added_latency_ms": added,
            **{key: value and value.to_json() for key, _, value in self._percentiles()},
            "load_model": self.model.to_json() | {"text": str(self.model)},
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _percentiles(self) -> Iterator[tuple[str, str, Percentiles | None]]:
        openings, window = self.openings, self.window
        yield "setup_ms", "POST to answer", Percentiles.of(openings.answer_ms)
        yield "connected_ms", "POST to connected", Percentiles.of(openings.connected_ms)
        yield "round_trip_ms", "packet round trip", window.round_trip_ms
        yield "event_latency_ms", "event round trip", window.event_round_trip_ms
        yield "sent_late_ms", "own lateness", window.sent_late_ms

    def _added_ms(self) -> dict[str, float] | None:
        """Differences of percentiles, which are not percentiles of differences."""
        through = self.window.round_trip_ms
        direct = self.direct.round_trip_ms if self.direct else None
        if through is None or direct is None:
            return None
        names = ("p50", "p90", "p95", "p99")
        return {name: round(getattr(through, name) - getattr(direct, name), 4) for name in names}

    def _lines(self) -> Iterator[str]:
        window = self.window
        yield f"{self.url}: {self.model}"
        yield f"  sessions          {self.model.calls:>9}   failed {self.failed}"
        for reason, count in self.openings.failures.most_common():
            yield f"    {reason:<22}{count:>5}"
        if self.lost:
            yield f"    {'lost':<22}{self.lost:>5}"
        yield f"  packets sent      {window.packets_sent:>9}   received {window.packets_received}"
        yield f"  events sent       {window.events_sent:>9}   received {window.events_echoed}"
        yield f"  {'ms':<18}" + "".join(f"{name:>9}" for name in _COLUMNS)
        for _, name, value in self._percentiles():
            if value is not None:
                cells = (f"{getattr(value, column):>9.2f}" for column in _COLUMNS)
                yield f"  {name:<18}" + "".join(cells)
        added = self._added_ms()
        if added is not None:
            yield f"  {'added latency':<18}" + "".join(f"{value:>9.2f}" for value in added.values())
        if window.marks_sent and window.round_trip_ms is None:
            yield "  No packet was echoed: the upstream is no simulator in --load mode."
