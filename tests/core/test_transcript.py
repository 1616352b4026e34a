"""The JSON of a transcript: what is written is read, and nothing else."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.transcript import (
    Change,
    Heard,
    MalformedTranscript,
    Segment,
    Tool,
    Transcript,
    Turn,
)
from tests.core.talk import STARTED_AT

FULL = Turn(
    id="item_1",
    speaker="assistant",
    kind="speech",
    status="interrupted",
    text="One two three.",
    start_ms=1250,
    end_ms=3000,
    heard=Heard("One two", 1750, is_estimate=True),
    transcription="done",
    reason="turn_detected",
    images=1,
    segments=(Segment("A", 1300, 2000, "One"),),
    tool=Tool("f", "call_1", "docs", "{}", "ok", ("a", "b")),
    response_id="resp_1",
    is_deleted=True,
    is_out_of_band=True,
    revision=7,
)
PLAIN = Turn("item_2", "user", "text", "completed", "Hi", 4000, 4000, revision=8)
TRANSCRIPT = Transcript(STARTED_AT, (FULL, PLAIN), revision=8, is_final=True, omitted=2)


def test_transcript_as_json_is_as_documented() -> None:
    told = json.loads(json.dumps(TRANSCRIPT.to_json()))

    assert told == {
        "version": 1,
        "started_at": "2026-11-23T12:00:00.000Z",
        "final": True,
        "revision": 8,
        "omitted": 2,
        "turns": [
            {
                "id": "item_1",
                "speaker": "assistant",
                "kind": "speech",
                "status": "interrupted",
                "start_ms": 1250,
                "end_ms": 3000,
                "started_at": "2026-11-23T12:00:01.250Z",
                "ended_at": "2026-11-23T12:00:03.000Z",
                "text": "One two three.",
                "heard": {"text": "One two", "ms": 1750, "estimate": True},
                "transcription": "done",
                "reason": "turn_detected",
                "images": 1,
                "segments": [{"speaker": "A", "start_ms": 1300, "end_ms": 2000, "text": "One"}],
                "tool": {
                    "name": "f",
                    "call_id": "call_1",
                    "server": "docs",
                    "arguments": "{}",
                    "output": "ok",
                    "names": ["a", "b"],
                },
                "response_id": "resp_1",
                "deleted": True,
                "out_of_band": True,
            },
            {
                "id": "item_2",
                "speaker": "user",
                "kind": "text",
                "status": "completed",
                "start_ms": 4000,
                "end_ms": 4000,
                "started_at": "2026-11-23T12:00:04.000Z",
                "ended_at": "2026-11-23T12:00:04.000Z",
                "text": "Hi",
            },
        ],
    }
    assert Transcript.from_json(told) == TRANSCRIPT


def test_transcript_of_a_call_in_another_zone_is_told_in_utc() -> None:
    noon = datetime(2026, 11, 23, 13, 0, tzinfo=timezone(timedelta(hours=1)))

    assert Transcript(noon).to_json()["started_at"] == "2026-11-23T12:00:00.000Z"


def test_transcript_since_a_revision_has_the_turns_changed_after_it() -> None:
    assert TRANSCRIPT.since(8) == ()
    assert TRANSCRIPT.since(7) == (Change(PLAIN, "item_1"),)
    assert TRANSCRIPT.since(0) == (Change(FULL, None), Change(PLAIN, "item_1"))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"started_at": "yesterday"},
        {"started_at": None},
        {"turns": None},
        {"turns": [None]},
        {"turns": [{}]},
        {"omitted": "many"},
    ],
)
def test_transcript_from_something_else_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedTranscript):
        Transcript.from_json({**TRANSCRIPT.to_json(), **change})


@pytest.mark.parametrize(
    "change",
    [
        {"speaker": "nobody"},
        {"kind": ["speech"]},
        {"status": None},
        {"transcription": "maybe"},
        {"start_ms": None},
        {"end_ms": float("inf")},
        {"heard": "all"},
        {"heard": {}},
        {"tool": []},
        {"segments": [{}]},
    ],
)
def test_transcript_with_a_broken_turn_is_refused(change: dict[str, Any]) -> None:
    told = TRANSCRIPT.to_json()
    told["turns"][0].update(change)

    with pytest.raises(MalformedTranscript):
        Transcript.from_json(told)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(list(TRANSCRIPT.to_json()["turns"][0])), inner)
    ),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=3) | JSON)
def test_transcript_from_any_turns_is_read_or_refused(turns: Any) -> None:
    try:
        transcript = Transcript.from_json({**TRANSCRIPT.to_json(), "turns": turns})
    except MalformedTranscript:
        return
    assert all(turn.end_ms is None or turn.end_ms >= turn.start_ms for turn in transcript.turns)
