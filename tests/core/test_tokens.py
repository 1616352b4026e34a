"""`usage` objects as upstreams write them, and as they should not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.tokens import (
    MODALITIES,
    Tokens,
    TokenUsage,
    count,
    response_usage,
    seconds,
    transcription_usage,
)
from relay.simulator.usage import Meter
from relay.simulator.usage import Tokens as Simulated

FULL = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "image_tokens": 0,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}


def test_usage_of_a_response_is_read_by_modality() -> None:
    usage = response_usage(FULL)

    assert usage == TokenUsage(Tokens(119, 13), Tokens(64), Tokens(30, 91))
    assert usage.total == 253
    assert usage.by_kind() == {
        "input_text": 55,
        "cached_text": 64,
        "input_audio": 13,
        "output_text": 30,
        "output_audio": 91,
    }


def test_usage_of_the_simulator_is_read_without_a_rest() -> None:
    meter = Meter()
    meter.usage(Simulated(200, 900, 85), Simulated(10, 100))

    told = meter.usage(Simulated(300, 1200, 85), Simulated(20, 150))
    usage = response_usage(told)

    assert usage is not None
    assert usage.total == told["total_tokens"]
    assert usage.cached.total == told["input_token_details"]["cached_tokens"] > 0
    assert (usage.unknown, usage.unknown_cached) == (0, 0)


@pytest.mark.parametrize("value", [None, 3, "tokens", [], True])
def test_usage_that_is_no_object_is_none(value: object) -> None:
    assert response_usage(value) is None
    assert transcription_usage(value) is None


def test_usage_without_details_has_tokens_of_unknown_modality() -> None:
    usage = response_usage({"input_tokens": 100, "output_tokens": 20, "total_tokens": 120})

    assert usage == TokenUsage(unknown=120)


def test_usage_with_more_cached_than_given_has_at_most_what_was_given() -> None:
    details = {
        "text_tokens": 10,
        "audio_tokens": 5,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 64, "image_tokens": 64},
    }

    usage = response_usage({"input_tokens": 15, "input_token_details": details})

    assert usage is not None
    assert usage.cached == Tokens(10, 5)


def test_usage_with_cached_tokens_of_the_only_modality_knows_which() -> None:
    usage = response_usage({"input_token_details": {"audio_tokens": 100, "cached_tokens": 64}})

    assert usage == TokenUsage(Tokens(audio=100), Tokens(audio=64))


def test_usage_with_cached_tokens_of_some_modality_does_not_guess() -> None:
    details = {"text_tokens": 50, "audio_tokens": 100, "cached_tokens": 64}

    usage = response_usage({"input_token_details": details})

    assert usage == TokenUsage(Tokens(50, 100), unknown_cached=64)


def test_usage_of_a_transcription_by_tokens_gives_text() -> None:
    told = {
        "type": "tokens",
        "total_tokens": 22,
        "input_tokens": 13,
        "output_tokens": 9,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 13},
    }

    assert transcription_usage(told) == TokenUsage(Tokens(audio=13), output=Tokens(text=9))


def test_usage_of_a_transcription_by_duration_is_seconds() -> None:
    assert transcription_usage({"type": "duration", "seconds": 2.35}) == Decimal("2.35")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7), (7.0, 7), (0, 0), (-1, 0), (True, 0), ("7", 0), (None, 0), ([7], 0),
        (float("nan"), 0), (float("inf"), 0), (10**9, 10**9), (10**9 + 1, 0), (10**400, 0),
    ],
)  # fmt: skip
def test_count_of_anything_is_a_sane_number(value: object, number: int) -> None:
    assert count(value) == number


@pytest.mark.parametrize(
    ("value", "duration"),
    [
        (2, "2"), (2.5, "2.5"), (0.0004, "0"), (1.0006, "1.001"), (-1, "0"), ("2", "0"),
        (True, "0"), (float("nan"), "0"), (float("-inf"), "0"), (10**400, "0"),
    ],
)  # fmt: skip
def test_seconds_of_anything_are_sane_milliseconds(value: object, duration: str) -> None:
    assert seconds(value) == Decimal(duration)


NAMES = st.sampled_from([
    "input_tokens", "output_tokens", "total_tokens", "input_token_details", "output_token_details",
    "text_tokens", "audio_tokens", "image_tokens", "cached_tokens", "cached_tokens_details",
    "type", "seconds",
])  # fmt: skip
JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
WIRE = st.recursive(
    JUNK | st.integers(0, 500),
    lambda inner: st.dictionaries(NAMES, inner, max_size=8),
    max_leaves=30,
)


@given(WIRE)
def test_usage_of_anything_keeps_cached_within_input(value: Any) -> None:
    usage = response_usage(value)
    transcription = transcription_usage(value)

    if usage is not None:
        assert all(0 <= usage.cached.of(m) <= usage.input.of(m) for m in MODALITIES)
        assert usage.unknown >= 0
        assert 0 <= usage.unknown_cached <= usage.input.total - usage.cached.total
        assert sum(usage.by_kind().values()) == usage.total
        assert TokenUsage.from_json(usage.to_json()) == usage
    if isinstance(transcription, Decimal):
        assert transcription >= 0


@given(WIRE)
def test_usage_from_any_json_is_read(value: Any) -> None:
    usage = TokenUsage.from_json(value)

    assert all(0 <= usage.cached.of(m) <= usage.input.of(m) for m in MODALITIES)
