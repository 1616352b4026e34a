"""Rates and room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import Overloaded, RateLimited
from relay.core.ids import KeyId
from relay.policy.admission import Admission, Limits, RateLimiter

SHOP = KeyId("shop")


def admission(
    *, sessions: int = 10, by_key: int = 0, by_address: int = 0, live: int = 0
) -> Admission:
    return Admission(Limits(sessions, by_key, by_address), lambda: live)


def test_rate_limiter_takes_a_minutes_worth_at_once_and_then_says_how_long_to_wait() -> None:
    limiter = RateLimiter(3)

    assert [limiter.take("a", 0.0) for _ in range(3)] == [0, 0, 0]
    assert limiter.take("a", 0.0) == pytest.approx(20)
    assert limiter.take("a", 15.0) == pytest.approx(5)
    assert limiter.take("a", 20.0) == 0


def test_rate_limiter_callers_do_not_share() -> None:
    limiter = RateLimiter(1)

    assert limiter.take("a", 0.0) == 0
    assert limiter.take("b", 0.0) == 0
    assert limiter.take("a", 0.0) > 0


def test_rate_limiter_of_zero_has_no_limit_and_no_memory() -> None:
    limiter = RateLimiter(0)

    assert {limiter.take(str(caller), 0.0) for caller in range(100)} == {0}
    assert not limiter._buckets


def test_rate_limiter_forgets_the_least_recently_used() -> None:
    limiter = RateLimiter(1, max_buckets=2)

    limiter.take("a", 0.0)
    limiter.take("b", 0.0)
    assert limiter.take("a", 1.0) > 0  # used again: b is the oldest now
    limiter.take("c", 1.0)

    assert limiter.take("a", 1.0) > 0
    assert len(limiter._buckets) == 2


@given(
    per_minute=st.integers(1, 100),
    steps=st.lists(st.floats(-1, 30), max_size=50),
)
def test_rate_limiter_never_admits_more_than_a_minutes_worth_beyond_the_rate(
    per_minute: int, steps: list[float]
) -> None:
    limiter = RateLimiter(per_minute)
    now, admitted, elapsed = 0.0, 0, 0.0

    for step in steps:  # a clock that steps back gives nothing
        now += step
        elapsed += max(0.0, step)
        wait = limiter.take("a", now)
        assert wait >= 0
        admitted += wait == 0

    assert admitted <= per_minute + elapsed * per_minute / 60 + 1e-6


def test_admission_over_the_rate_of_an_address_is_limited_with_a_time() -> None:
    door = admission(by_address=1)
    door.admit("198.51.100.1", None, 0.0)

    with pytest.raises(RateLimited) as caught:
        door.admit("198.51.100.1", None, 0.0)

    assert caught.value.retry_after_s == pytest.approx(60)
    door.admit("198.51.100.2", None, 0.0)


def test_admission_over_the_rate_of_a_key_is_limited_from_any_address() -> None:
    door = admission(by_key=1)
    door.admit("198.51.100.1", SHOP, 0.0)

    with pytest.raises(RateLimited):
        door.admit("198.51.100.2", SHOP, 0.0)

    door.admit("198.51.100.2", KeyId("lab"), 0.0)
    door.admit("198.51.100.2", None, 0.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:198.51.100.1", "198.51.100.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("198.51.100.1", "198.51.100.2", False),
    ],
)
def test_admission_counts_an_ipv6_network_as_one_caller(one: str, other: str, same: bool) -> None:
    door = admission(by_address=1)
    door.admit(one, None, 0.0)

    if same:
        with pytest.raises(RateLimited):
            door.admit(other, None, 0.0)
    else:
        door.admit(other, None, 0.0)


def test_admission_full_server_is_overloaded() -> None:
    with pytest.raises(Overloaded) as caught:
        admission(sessions=2, live=2).admit("198.51.100.1", None, 0.0)

    assert caught.value.retry_after_s > 0
    admission(sessions=2, live=1).admit("198.51.100.1", None, 0.0)


def test_admission_draining_server_is_overloaded() -> None:
    door = admission()
    door.drain()

    with pytest.raises(Overloaded):
        door.admit("198.51.100.1", None, 0.0)
