"""How well a call's paths were: samples of both legs over time, and the relay's own share.

Samples come every few seconds and are kept as points, of which there are never more than
MAX_POINTS: when there are, each two become one, and from then on a point has twice the samples. So
an hour costs no more than ten minutes, and has a coarser view.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from relay.core.ids import LegName
from relay.core.timeline import Spread

MAX_POINTS: Final = 360
MAX_PAIRS: Final = 16
"""Candidate pairs, the first ones."""

LATENCY_BOUNDS_MS: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""The relay's own share of a packet's way; above the last there is one bucket more."""


@dataclass(frozen=True, slots=True)
class LegSample:
    """A leg at one moment; None is not known.

    Counters are those since the leg's beginning, as its statistics have them: `lost` never came to
    the relay, `remote_lost` never came to the peer. `pair` are the candidates in use, in a word.
    """

    round_trip_s: float | None = None
    media_round_trip_s: float | None = None
    jitter_s: float | None = None
    received: int = 0
    lost: int = 0
    sent: int = 0
    remote_lost: int | None = None
    pair: str | None = None


@dataclass(frozen=True, slots=True)
class Mean:
    """Of some values; `count` of none is 0."""

    total: float = 0.0
    count: int = 0
    max: float = 0.0

    @classmethod
    def of(cls, value: float | None) -> Mean:
        return cls() if value is None else cls(value, 1, value)

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count, max(self.max, other.max))

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass(frozen=True, slots=True)
class Point:
    """`samples` of them, the last at `at_ms` of the call: means in ms, and packets since the point
    before."""

    at_ms: int
    samples: int = 1
    round_trip_ms: Mean = Mean()
    media_round_trip_ms: Mean = Mean()
    jitter_ms: Mean = Mean()
    received: int = 0
    lost: int = 0
    sent: int = 0
    remote_lost: int = 0

    def __add__(self, later: Point) -> Point:
        return Point(
            at_ms=later.at_ms,
            samples=self.samples + later.samples,
            round_trip_ms=self.round_trip_ms + later.round_trip_ms,
            media_round_trip_ms=self.media_round_trip_ms + later.media_round_trip_ms,
            jitter_ms=self.jitter_ms + later.jitter_ms,
            received=self.received + later.received,
            lost=self.lost + later.lost,
            sent=self.sent + later.sent,
            remote_lost=self.remote_lost + later.remote_lost,
        )


class _Counter:
    """What a counter that may start anew has counted since the last look."""

    def __init__(self) -> None:
        self._last = 0

    def restart(self) -> None:
        self._last = 0

    def advance(self, value: int | None) -> int:
        """A value below the last one is a loss taken back: it is not counted twice."""
        more = max(0, (value or 0) - self._last)
        self._last += more
        return more


class LegQuality:
    """One leg's points."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, str]] = []
        """Candidate pairs in use, each with its beginning in ms of the call."""
        self._points: list[Point] = []
        self._samples_a_point = 1
        self._highest_received = 0
        self._counters = {name: _Counter() for name in _COUNTERS}

    def add(self, at_ms: float, sample: LegSample) -> None:
        """Takes a sample; times never go back."""
        if sample.received < self._highest_received:  # another leg in its place
            for counter in self._counters.values():
                counter.restart()
        self._highest_received = sample.received
        counts = {name: self._counters[name].advance(getattr(sample, name)) for name in _COUNTERS}
        point = Point(
            at_ms=int(at_ms),
            round_trip_ms=_ms(sample.round_trip_s),
            media_round_trip_ms=_ms(sample.media_round_trip_s),
            jitter_ms=_ms(sample.jitter_s),
            **counts,
        )
        self._put(point)
        self._note_pair(int(at_ms), sample.pair)

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(self._points)

    def _put(self, point: Point) -> None:
        points = self._points
        if points and points[-1].samples < self._samples_a_point:
            points[-1] += point
            return
        points.append(point)
        if len(points) > MAX_POINTS:
            merged = [first + second for first, second in zip(points[::2], points[1::2])]  # noqa: B905 the last one may be alone
            self._points = merged + points[len(merged) * 2 :]
            self._samples_a_point *= 2

    def _note_pair(self, at_ms: int, pair: str | None) -> None:
        known = self.pairs[-1][1] if self.pairs else None
        if pair is not None and pair != known and len(self.pairs) < MAX_PAIRS:
            self.pairs.append((at_ms, pair))


_COUNTERS: Final = ("received", "lost", "sent", "remote_lost")


class Histogram:
    """Counts values by buckets; `bounds` are the upper ends, rising."""

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BOUNDS_MS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.max = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Quick enough for each packet."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times
        if value > self.max:
            self.max = value

    def merge(self, other: Histogram) -> None:
        """Adds all values of another with the same bounds."""
        self.counts = [own + more for own, more in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
        self.max = max(self.max, other.max)

    def copy(self) -> Histogram:
        """As it is now."""
        copied = Histogram(self.bounds)
        copied.merge(self)
        return copied

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """Where that share (0 to 1) of the values lies below, as near as the buckets tell; 0 of
        none."""
        wanted, below = share * self.count, 0.0
        for (low, high), count in zip(self._buckets(), self.counts, strict=True):
            if count and below + count >= wanted:
                end, part = min(high, self.max), max(0.0, wanted - below) / count
                return end if part >= 1 else min(end, low + (end - low) * part)
            below += count
        return self.max

    def to_json(self) -> dict[str, Any]:
        buckets = zip((*self.bounds, "inf"), self.counts, strict=True)
        told = self.summary()
        return {**told, "buckets": {str(bound): n for bound, n in buckets}} if self.count else told

    def summary(self) -> dict[str, Any]:
        """`to_json` without the buckets."""
        if not self.count:
            return {"count": 0}
        return {
            "count": self.count,
            "p50": round(self.quantile(0.5), 3),
            "p99": round(self.quantile(0.99), 3),
            "max": round(self.max, 3),
        }

    def _buckets(self) -> Iterable[tuple[float, float]]:
        return pairwise((0.0, *self.bounds, max(self.max, self.bounds[-1])))


@dataclass(slots=True)
class Quality:
    """A call's, fed by one thread. `setup_ms` are the phases of its beginning, by name."""

    setup_ms: Mapping[str, float] = field(default_factory=dict)
    legs: dict[LegName, LegQuality] = field(
        default_factory=lambda: {"client": LegQuality(), "upstream": LegQuality()}
    )
    added_latency_ms: Histogram = field(default_factory=Histogram)
    """What the relay itself adds to a packet's way, as of the last sample."""

    def to_json(self) -> dict[str, Any]:
        """`session.json`'s `quality`."""
        return {
            "setup_ms": {name: round(ms, 1) for name, ms in self.setup_ms.items()},
            "added_latency_ms": self.added_latency_ms.to_json(),
            "legs": {name: _leg_json(leg) for name, leg in self.legs.items()},
        }


def _leg_json(leg: LegQuality) -> dict[str, Any]:
    points = leg.points
    received, lost = _sum(points, "received"), _sum(points, "lost")
    sent, remote_lost = _sum(points, "sent"), _sum(points, "remote_lost")
    return {
        "received": received,
        "lost": lost,
        "loss": round(lost / max(1, received + lost), 5),
        "sent": sent,
        "remote_lost": remote_lost,
        "remote_loss": round(remote_lost / max(1, sent), 5),
        "round_trip_ms": _spread(points, lambda point: point.round_trip_ms),
        "media_round_trip_ms": _spread(points, lambda point: point.media_round_trip_ms),
        "jitter_ms": _spread(points, lambda point: point.jitter_ms),
        "pairs": [{"at_ms": at_ms, "pair": pair} for at_ms, pair in leg.pairs],
        "points": _columns(points),
    }


def _columns(points: tuple[Point, ...]) -> dict[str, list[Any]]:
    """Points as one array a member: what a plot wants, and a third of the size."""
    return {
        "at_ms": [point.at_ms for point in points],
        "round_trip_ms": [_rounded(point.round_trip_ms.value) for point in points],
        "jitter_ms": [_rounded(point.jitter_ms.value) for point in points],
        "received": [point.received for point in points],
        "lost": [point.lost for point in points],
        "remote_lost": [point.remote_lost for point in points],
    }


def _spread(points: tuple[Point, ...], mean: Callable[[Point], Mean]) -> dict[str, Any]:
    """Of the points' means, but for the largest sample there was."""
    values = [value for point in points if (value := mean(point).value) is not None]
    told = Spread.of(values).to_json()
    if values:
        told["max"] = _rounded(max(mean(point).max for point in points))
    return told


def _sum(points: tuple[Point, ...], name: str) -> int:
    return sum(getattr(point, name) for point in points)


def _ms(seconds: float | None) -> Mean:
    return Mean.of(None if seconds is None else seconds * 1000)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
