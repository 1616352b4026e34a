"""Samples of the paths, kept small however long a call is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.quality import (
    MAX_PAIRS,
    MAX_POINTS,
    Histogram,
    LegQuality,
    LegSample,
    Mean,
    Quality,
)


def test_samples_are_points_in_milliseconds_with_what_happened_in_between() -> None:
    leg = LegQuality()

    leg.add(5000, LegSample(0.040, 0.050, 0.002, received=250, lost=0, sent=240, remote_lost=1))
    leg.add(10_000, LegSample(0.060, None, 0.004, received=490, lost=10, sent=490, remote_lost=3))

    first, second = leg.points
    assert (first.at_ms, first.received, first.lost, first.remote_lost) == (5000, 250, 0, 1)
    assert (second.received, second.lost, second.sent, second.remote_lost) == (240, 10, 250, 2)
    assert second.round_trip_ms.value == 60
    assert second.media_round_trip_ms == Mean()


def test_loss_that_is_taken_back_is_not_counted_twice() -> None:
    leg = LegQuality()

    for n, lost in enumerate((5, 3, 5, 6)):
        leg.add(n, LegSample(received=100 * (n + 1), lost=lost))

    assert [point.lost for point in leg.points] == [5, 0, 0, 1]


def test_counters_of_another_leg_in_its_place_begin_anew() -> None:
    leg = LegQuality()
    leg.add(1000, LegSample(received=500, lost=20, sent=400, remote_lost=9))

    leg.add(2000, LegSample(received=30, lost=2, sent=50, remote_lost=None))

    last = leg.points[-1]
    assert (last.received, last.lost, last.sent, last.remote_lost) == (30, 2, 50, 0)


def test_pairs_are_noted_when_they_change() -> None:
    leg = LegQuality()

    for at_ms, pair in ((0, None), (1, "host/prflx udp"), (2, "host/prflx udp"), (3, "relay/host")):
        leg.add(at_ms, LegSample(pair=pair))

    assert leg.pairs == [(1, "host/prflx udp"), (3, "relay/host")]
    for n in range(100):
        leg.add(n, LegSample(pair=f"pair {n}"))
    assert len(leg.pairs) == MAX_PAIRS


def test_points_of_an_hour_are_as_few_as_those_of_ten_minutes() -> None:
    leg = LegQuality()

    for second in range(3600):
        leg.add(second * 1000, LegSample(0.040, received=second * 50, lost=second))

    points = leg.points
    assert MAX_POINTS // 2 <= len(points) <= MAX_POINTS
    assert sum(point.samples for point in points) == 3600
    assert points[-1].at_ms == 3_599_000
    assert sum(point.received for point in points) == 3599 * 50
    assert sum(point.lost for point in points) == 3599
    assert [point.round_trip_ms.value for point in points] == [pytest.approx(40)] * len(points)


@given(
    st.lists(
        st.builds(
            LegSample,
            st.none() | st.floats(0, 10),
            st.none() | st.floats(0, 10),
            st.none() | st.floats(0, 10),
            st.integers(0, 1000),
            st.integers(0, 1000),
            st.integers(0, 1000),
            st.none() | st.integers(0, 1000),
            st.none() | st.sampled_from(["a", "b"]),
        ),
        max_size=50,
    ),
    st.integers(1, 40),
)
def test_points_of_any_samples_are_bounded_and_lose_none(
    samples: list[LegSample], times: int
) -> None:
    leg, quality = LegQuality(), Quality()
    quality.legs["client"] = leg

    for at_ms, sample in enumerate(samples * times):
        leg.add(at_ms, sample)

    points = leg.points
    assert len(points) <= MAX_POINTS
    assert sum(point.samples for point in points) == len(samples) * times
    assert all(
        min(point.received, point.lost, point.sent, point.remote_lost) >= 0 for point in points
    )
    assert [point.at_ms for point in points] == sorted(point.at_ms for point in points)
    json.dumps(quality.to_json(), allow_nan=False)


def test_histogram_tells_where_its_values_are() -> None:
    histogram = Histogram((1.0, 2.0, 5.0))
    for value in (0.5, 1.0, 1.5, 1.6, 4.0, 9.0):
        histogram.add(value)
    histogram.add(0.1, times=94)

    assert histogram.counts == [96, 2, 1, 1]
    assert (histogram.count, histogram.max) == (100, 9.0)
    assert histogram.quantile(0.48) == 0.5
    assert 1.0 < histogram.quantile(0.97) <= 2.0
    assert histogram.quantile(1.0) == 9.0
    assert histogram.to_json()["buckets"] == {"1.0": 96, "2.0": 2, "5.0": 1, "inf": 1}


def test_histogram_of_nothing_is_told_as_nothing() -> None:
    assert Histogram().quantile(0.5) == 0.0
    assert Histogram().to_json() == {"count": 0}


@given(st.lists(st.floats(0, 1000), min_size=1), st.floats(0, 1))
def test_histogram_of_any_values_has_quantiles_within_them(
    values: list[float], share: float
) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)

    assert 0 <= histogram.quantile(share) <= max(values)
    assert histogram.quantile(share) <= histogram.quantile(1.0) == max(values)


def test_quality_as_json_has_summaries_and_columns() -> None:
    quality = Quality(setup_ms={"gather": 3.14159, "answered": 210.0})
    quality.legs["upstream"].add(
        5000, LegSample(0.040, 0.045, 0.003, 90, 10, 100, 5, "host/host udp")
    )
    quality.legs["upstream"].add(6000, LegSample(0.080, None, None, 180, 20, 200, 5))
    quality.added_latency_ms.add(0.12)

    told = json.loads(json.dumps(quality.to_json()))

    assert told["setup_ms"] == {"gather": 3.1, "answered": 210.0}
    assert told["added_latency_ms"]["count"] == 1
    upstream = told["legs"]["upstream"]
    assert (upstream["loss"], upstream["remote_loss"]) == (0.1, 0.025)
    assert upstream["round_trip_ms"] == {"count": 2, "p50": 40.0, "p95": 80.0, "max": 80.0}
    assert upstream["jitter_ms"]["count"] == 1
    assert upstream["pairs"] == [{"at_ms": 5000, "pair": "host/host udp"}]
    assert upstream["points"] == {
        "at_ms": [5000, 6000],
        "round_trip_ms": [40.0, 80.0],
        "jitter_ms": [3.0, None],
        "received": [90, 90],
        "lost": [10, 10],
        "remote_lost": [5, 0],
    }
    assert told["legs"]["client"]["round_trip_ms"] == {"count": 0}


def test_histogram_of_two_has_the_values_of_both_and_a_copy_stays_as_it_was() -> None:
    one, other = Histogram((1.0, 2.0)), Histogram((1.0, 2.0))
    one.add(0.5)
    other.add(1.5, times=2)
    other.add(7.0)

    before = one.copy()
    one.merge(other)

    assert (one.counts, one.total, one.max) == ([1, 2, 1], 10.5, 7.0)
    assert (before.counts, before.total, before.max) == ([1, 0, 0], 0.5, 0.5)
    assert one.summary() == {key: one.to_json()[key] for key in ("count", "p50", "p99", "max")}
