"""Times in text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from relay.core.rfc3339 import rfc3339


def test_time_of_another_zone_is_written_in_utc() -> None:
    at = datetime(2026, 1, 31, 13, 0, 0, 5, timezone(timedelta(hours=1)))

    assert rfc3339(at) == "2026-01-31T12:00:00.000005Z"


@given(st.datetimes(timezones=st.just(UTC)))
def test_time_is_read_back_as_it_was_and_is_always_as_long(at: datetime) -> None:
    text = rfc3339(at)

    assert datetime.fromisoformat(text) == at
    assert len(text) == 27
