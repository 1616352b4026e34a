"""What is counted between two moments of a load."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .statistics import Percentiles


class Window:
    """The running counts of a measuring window; every call of a load writes into the same one.

    A round trip belongs to the window in which its packet was sent: an echo of an earlier one is
    counted as received and otherwise ignored.
    """

    def __init__(self) -> None:
        self.start_ns = time.monotonic_ns()
        self.packets_sent = 0
        self.packets_received = 0
        self.send_failures = 0
        self.marks_sent = 0
        self.events_sent = 0
        self._round_trips_ns = array("q")
        self._event_round_trips_ns = array("q")

    def echo_received(self, sent_ns: int) -> None:
        if sent_ns >= self.start_ns:
            self._round_trips_ns.append(time.monotonic_ns() - sent_ns)

    def event_received(self, sent_ns: int) -> None:
        if sent_ns >= self.start_ns:
            self._event_round_trips_ns.append(time.monotonic_ns() - sent_ns)

    def result(self, *, lateness_ns: array[int], skipped: int) -> WindowResult:
        return WindowResult(
            seconds=(time.monotonic_ns() - self.start_ns) / 1e9,
            packets_sent=self.packets_sent,
            packets_received=self.packets_received,
            send_failures=self.send_failures,
            marks_sent=self.marks_sent,
            marks_echoed=len(self._round_trips_ns),
            events_sent=self.events_sent,
            events_echoed=len(self._event_round_trips_ns),
            turns_skipped=skipped,
            round_trip_ms=Percentiles.of(self._round_trips_ns, scale=1e-6),
            event_round_trip_ms=Percentiles.of(self._event_round_trips_ns, scale=1e-6),
            sent_late_ms=Percentiles.of(lateness_ns, scale=1e-6),
        )


@dataclass(frozen=True, slots=True)
class WindowResult:
    """A finished window. `sent_late_ms` is the load's own punctuality: what it adds by itself."""

    seconds: float
    packets_sent: int
    packets_received: int
    send_failures: int
    marks_sent: int
    marks_echoed: int
    events_sent: int
    events_echoed: int
    turns_skipped: int
    round_trip_ms: Percentiles | None
    event_round_trip_ms: Percentiles | None
    sent_late_ms: Percentiles | None

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: value.to_json() if isinstance(value, Percentiles) else value
            for name, value in values.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WindowResult:
        fields: dict[str, Any] = {
            name: Percentiles(**value) if isinstance(value, Mapping) else value
            for name, value in values.items()
        }
        return cls(**fields)
