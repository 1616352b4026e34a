from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.loadtest.statistics import Percentiles


def test_percentiles_of_a_hundred_samples_are_their_ranks() -> None:
    shape = Percentiles.of([float(n) for n in range(100, 0, -1)])

    assert shape == Percentiles(count=100, p50=50, p90=90, p95=95, p99=99, maximum=100)


def test_percentiles_of_one_sample_are_that_sample() -> None:
    assert Percentiles.of([7]) == Percentiles(count=1, p50=7, p90=7, p95=7, p99=7, maximum=7)


def test_percentiles_of_nothing_are_none() -> None:
    assert Percentiles.of([]) is None


def test_percentiles_scaled_are_in_the_new_unit() -> None:
    shape = Percentiles.of([2_000_000], scale=1e-6)

    assert shape is not None
    assert shape.p50 == pytest.approx(2.0)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1))
def test_percentiles_of_anything_were_seen_and_are_ordered(samples: list[float]) -> None:
    shape = Percentiles.of(samples)

    assert shape is not None
    values = [shape.p50, shape.p90, shape.p95, shape.p99, shape.maximum]
    assert values == sorted(values)
    assert set(values) <= set(samples)
    assert shape.maximum == max(samples)
