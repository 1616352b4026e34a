"""The session object: defaults, merge and refusals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.errors import RejectedError
from relay.simulator.session_config import (
    check_session,
    new_session,
    turn_detection_of,
    updated,
)

SESSION = new_session("sess_1", "gpt-realtime-2.1")

# What @openai/agents-realtime 0.20 sends first, in substance.
SDK_UPDATE: dict[str, Any] = {
    "type": "realtime",
    "model": "gpt-realtime-2.1-mini",
    "instructions": "Answer briefly.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "noise_reduction": None,
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": {"type": "semantic_vad"},
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "ash", "speed": 1},
    },
    "tool_choice": "auto",
    "tools": [],
}


def test_session_updated_as_the_sdk_does_keeps_its_model_and_takes_the_rest() -> None:
    session = updated(SESSION, SDK_UPDATE)

    assert session["model"] == "gpt-realtime-2.1"
    assert session["instructions"] == "Answer briefly."
    assert session["audio"]["output"]["voice"] == "ash"
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }


def test_session_updated_in_part_keeps_what_is_not_named() -> None:
    session = updated(SESSION, SDK_UPDATE)

    again = updated(session, {"type": "realtime", "tracing": "auto"})

    assert again == {**session, "tracing": "auto"}


def test_session_update_never_changes_the_session_before_it() -> None:
    before = new_session("sess_1", "gpt-realtime-2.1")

    updated(before, SDK_UPDATE)

    assert before == SESSION


def test_turn_detection_updated_in_part_merges_and_null_turns_it_off() -> None:
    patch = {"audio": {"input": {"turn_detection": {"silence_duration_ms": 900}}}}
    session = updated(SESSION, {"type": "realtime", **patch})

    settings = turn_detection_of(session)
    off = updated(
        session, {"type": "realtime", "audio": {"input": {"turn_detection": None}, "output": None}}
    )

    assert settings is not None
    assert (settings.silence_duration_ms, settings.threshold) == (900, 0.5)
    assert turn_detection_of(off) is None


def test_voice_changed_after_audio_was_spoken_is_refused() -> None:
    patch = {"type": "realtime", "audio": {"output": {"voice": "marin"}}}
    assert updated(SESSION, patch)["audio"]["output"]["voice"] == "marin"

    with pytest.raises(RejectedError) as refused:
        updated(SESSION, patch, audio_was_spoken=True)

    assert refused.value.code == "cannot_update_voice"


@pytest.mark.parametrize(
    ("patch", "code", "param"),
    [
        ({}, "missing_required_parameter", "session.type"),
        ({"type": "live"}, "invalid_value", "session.type"),
        ({"type": "realtime", "voice": "ash"}, "unknown_parameter", "session.voice"),
        ({"type": "realtime", "modalities": ["text"]}, "unknown_parameter", "session.modalities"),
        (
            {"type": "realtime", "output_modalities": ["audio", "text"]},
            "invalid_value",
            "session.output_modalities",
        ),
        (
            {"type": "realtime", "audio": {"output": {"voice": "nobody"}}},
            "invalid_value",
            "session.audio.output.voice",
        ),
        (
            {"type": "realtime", "audio": {"output": {"speed": 2}}},
            "decimal_above_max_value",
            "session.audio.output.speed",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"threshold": "high"}}}},
            "invalid_type",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"type": "realtime", "max_output_tokens": 0},
            "integer_below_min_value",
            "session.max_output_tokens",
        ),
        (
            {"type": "realtime", "tools": [{}]},
            "missing_required_parameter",
            "session.tools[0].type",
        ),
        (
            {"type": "realtime", "tools": [{"type": "function"}]},
            "missing_required_parameter",
            "session.tools[0].name",
        ),
        (
            {"type": "realtime", "tools": [{"type": "function", "name": "x"}] * 129},
            "array_above_max_length",
            "session.tools",
        ),
        ({"type": "realtime", "tool_choice": "maybe"}, "invalid_value", "session.tool_choice"),
        ({"type": "realtime", "instructions": None}, "invalid_type", "session.instructions"),
    ],
)
def test_session_that_is_wrong_is_refused_with_its_param(
    patch: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(RejectedError) as refused:
        updated(SESSION, patch)

    assert (refused.value.code, refused.value.param) == (code, param)


NAMES = st.sampled_from(
    [
        "type",
        "audio",
        "input",
        "output",
        "turn_detection",
        "transcription",
        "format",
        "voice",
        "speed",
        "tools",
        "tool_choice",
        "max_output_tokens",
        "output_modalities",
        "threshold",
        "idle_timeout_ms",
        "eagerness",
        "name",
        "parameters",
        "x",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["realtime", "server_vad", "semantic_vad", "ash", "function", "low", "inf"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_session_update_of_any_json_is_taken_or_refused(patch: dict[str, Any]) -> None:
    try:
        session = updated(SESSION, {"type": "realtime", **patch})
    except RejectedError:
        return

    check_session(
        {name: session[name] for name in session if name not in ("id", "object", "expires_at")}
    )
    turn_detection_of(session)
