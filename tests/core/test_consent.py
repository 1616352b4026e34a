"""Consent freshness (RFC 7675) as a value."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.core.consent import DEFAULT_TIMING, Consent, ConsentState, ConsentTiming

TIMING = ConsentTiming(check_interval_s=2.5, disconnected_after_s=7.0, expired_after_s=30.0)


def transaction(number: int) -> bytes:
    return number.to_bytes(12, "big")


def test_default_timing_is_the_rfcs() -> None:
    """RFC 7675 §5.1: no sending 30 s after the last answer; a check at least each 4 to 6 s."""
    assert DEFAULT_TIMING.expired_after_s == 30.0
    assert DEFAULT_TIMING.check_interval_s * 1.2 <= 6.0
    assert (
        DEFAULT_TIMING.check_interval_s
        < DEFAULT_TIMING.disconnected_after_s
        < DEFAULT_TIMING.expired_after_s
    )


def test_state_follows_the_silence() -> None:
    consent = Consent(100.0, TIMING)

    assert consent.state(106.9) is ConsentState.FRESH
    assert consent.state(107.0) is ConsentState.DISCONNECTED
    assert consent.state(129.9) is ConsentState.DISCONNECTED
    assert consent.state(130.0) is ConsentState.EXPIRED


def test_answer_renews_and_measures_the_round_trip() -> None:
    consent = Consent(0.0, TIMING)
    assert consent.round_trip_s is None

    consent.sent(transaction(1), 8.0)

    assert consent.answered(transaction(1), 8.25)
    assert consent.round_trip_s == 0.25
    assert consent.state(15.0) is ConsentState.FRESH


def test_late_answer_counts_however_long_it_took() -> None:
    """aioice waits half a second for each, and gives up a call with a longer round trip (F4)."""
    consent = Consent(0.0, TIMING)
    for number in range(4):
        consent.sent(transaction(number), number * 2.5)

    assert consent.answered(transaction(0), 8.0)
    assert consent.round_trip_s == 8.0
    assert consent.state(14.9) is ConsentState.FRESH


def test_answer_counts_once_and_only_to_a_check() -> None:
    consent = Consent(0.0, TIMING)
    consent.sent(transaction(1), 1.0)

    assert not consent.answered(transaction(2), 1.1)
    assert consent.answered(transaction(1), 1.1)
    assert not consent.answered(transaction(1), 20.0)
    assert consent.state(20.0) is ConsentState.DISCONNECTED


def test_check_of_the_peer_renews_a_lite_side() -> None:
    consent = Consent(0.0, TIMING)

    consent.heard(29.0)

    assert consent.state(35.0) is ConsentState.FRESH
    assert consent.round_trip_s is None


def test_unanswered_checks_are_forgotten_the_oldest_first() -> None:
    consent = Consent(0.0, TIMING)

    given_up = [consent.sent(transaction(number), 0.1 * number) for number in range(40)]

    assert given_up == [None] * 16 + [transaction(number) for number in range(24)]
    assert not consent.answered(transaction(23), 5.0)
    assert consent.answered(transaction(24), 5.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 5.0)), max_size=60))
def test_consent_expires_exactly_by_the_last_answer(steps: list[tuple[bool, float]]) -> None:
    consent = Consent(0.0, TIMING)
    now = last_answer = 0.0

    for number, (is_answered, elapsed_s) in enumerate(steps):
        consent.sent(transaction(number), now)
        now += elapsed_s
        if is_answered:
            assert consent.answered(transaction(number), now)
            last_answer = now
        silence_s = now - last_answer
        expected = (
            ConsentState.EXPIRED
            if silence_s >= 30.0
            else ConsentState.DISCONNECTED
            if silence_s >= 7.0
            else ConsentState.FRESH
        )
        assert consent.state(now) is expected
