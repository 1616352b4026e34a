"""The beta's session object in GA words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.beta import ga_model, ga_session

CURRENT = "gpt-realtime-2.1"


def translated(session: dict[str, Any]) -> dict[str, Any]:
    return ga_session(session, current_model=CURRENT)


def test_ga_session_of_the_seed_article_names_voice_and_a_living_model() -> None:
    session = {"model": "gpt-4o-realtime-preview-2024-12-17", "voice": "verse"}

    assert translated(session) == {"model": CURRENT, "audio": {"output": {"voice": "verse"}}}


def test_ga_session_of_a_whole_beta_session_moves_every_field() -> None:
    session = {
        "modalities": ["text", "audio"],
        "instructions": "Be brief.",
        "voice": "sage",
        "speed": 1.2,
        "input_audio_format": "pcm16",
        "output_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "whisper-1"},
        "input_audio_noise_reduction": {"type": "near_field"},
        "turn_detection": {"type": "server_vad", "threshold": 0.5},
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": "auto",
        "temperature": 0.8,
        "max_response_output_tokens": 100,
        "client_secret": {"expires_after": {"seconds": 60}},
    }

    assert translated(session) == {
        "output_modalities": ["audio"],
        "instructions": "Be brief.",
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": "auto",
        "max_output_tokens": 100,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": {"model": "whisper-1"},
                "noise_reduction": {"type": "near_field"},
                "turn_detection": {"type": "server_vad", "threshold": 0.5},
            },
            "output": {"format": {"type": "audio/pcmu"}, "voice": "sage", "speed": 1.2},
        },
    }


def test_ga_session_turn_detection_null_stays_null() -> None:
    assert translated({"turn_detection": None}) == {"audio": {"input": {"turn_detection": None}}}


def test_ga_session_text_modality_stays_text() -> None:
    assert translated({"modalities": ["text"]}) == {"output_modalities": ["text"]}


def test_ga_session_in_ga_shape_is_unchanged() -> None:
    session = {
        "type": "realtime",
        "model": "gpt-realtime",
        "output_modalities": ["audio"],
        "audio": {"output": {"voice": {"id": "voice_1"}}},
        "something_new": {"deep": [1]},
    }

    assert translated(session) == session


def test_ga_session_field_in_both_shapes_keeps_the_ga_one() -> None:
    session = {"voice": "verse", "audio": {"output": {"voice": "marin"}, "input": {}}}

    assert translated(session) == {"audio": {"output": {"voice": "marin"}, "input": {}}}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o-realtime-preview", CURRENT),
        ("gpt-4o-realtime-preview-2024-12-17", CURRENT),
        ("gpt-4o-mini-realtime-preview-2024-12-17", "gpt-realtime-2.1-mini"),
        ("gpt-realtime", "gpt-realtime"),
        ("no-such-model", "no-such-model"),
    ],
)
def test_ga_model_of_a_retired_preview_is_a_current_one(model: str, expected: str) -> None:
    assert ga_model(model, current=CURRENT) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
names = st.sampled_from(
    ["voice", "audio", "modalities", "input_audio_format", "turn_detection", "model", "type", "x"]
)


@given(st.dictionaries(names, json_values))
def test_ga_session_any_json_is_translated_once(session: dict[str, Any]) -> None:
    once = translated(session)

    assert "voice" not in once
    assert "modalities" not in once
    assert translated(once) == once
