"""One call read as a whole: transcript, usage and times of the same events."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from relay.core.captions import plain_text
from relay.core.eventline import Recorded
from relay.core.ids import Direction
from relay.core.transcript import Change
from relay.core.usage import CallUsage
from relay.taps.facts import CallFacts
from relay.taps.reading import CallReading, Listeners, Reading, replay
from relay.taps.transcript import TranscriptTap
from relay.taps.usage import load_prices
from tests.taps.call import FACTS
from tests.taps.rehearsal import Rehearsal, everything

PRICES = load_prices()


def read(stage: Rehearsal, listeners: Listeners | None = None) -> CallReading:
    reading = Reading(FACTS, PRICES, listeners)
    for way, event, at_ms in stage.spoken:
        reading.event(way, json.dumps(event), FACTS.started_s + at_ms / 1000)
    reading.finish(FACTS.started_s + stage.at_ms / 1000)
    return reading.snapshot(lost=3)


def test_reading_of_a_whole_call_has_all_of_it() -> None:
    stage = everything()

    found = read(stage)

    assert len(found.transcript.turns) == 12
    assert found.transcript.is_final
    assert found.usage.cost.usd > 0
    assert found.timeline.count == 6
    assert found.model == "gpt-realtime-2.1"
    told = json.loads(json.dumps(found.to_json()))
    assert told["model"] == "gpt-realtime-2.1"
    assert told["reading"] == {"turns": 12, "omitted": 0, "unread": 0, "lost": 3}
    assert CallUsage.from_json(told["usage"]) == found.usage
    assert told["responses"]["count"] == 6


def test_reading_of_messages_that_are_no_events_goes_on() -> None:
    reading = Reading(FACTS, PRICES)

    for message in ("", "{", "[]", b"\xff", '{"type":1}', "[" * 100_000):
        reading.event("down", message, FACTS.started_s)
    reading.finish(FACTS.started_s + 1)

    assert reading.snapshot().unread == 6
    assert reading.snapshot().transcript.turns == ()


def test_reading_before_anything_is_told_of_has_no_model_but_the_one_asked_for() -> None:
    assert Reading(FACTS, PRICES).snapshot().to_json()["model"] == "gpt-realtime-2.1"
    unknown = Reading(replace(FACTS, model=None), PRICES).snapshot()
    assert "model" not in unknown.to_json()


def test_reading_tells_its_listeners_and_outlives_them() -> None:
    told: list[str] = []

    def turns(_facts: CallFacts, _changes: tuple[Change, ...]) -> None:
        told.append("turns")
        raise ValueError("turns")

    def charge(*_charged: object) -> None:
        told.append("charge")
        raise ValueError("charge")

    with capture_logs() as logs:
        found = read(everything(), Listeners(on_turns=turns, on_charge=charge))

    assert (told.count("charge"), told.count("turns")) == (9, 1)
    assert {entry["event"] for entry in logs} == {"reading.callback_failed"}
    assert {entry["session_id"] for entry in logs} == {FACTS.id}
    assert found.usage.cost.usd > 0


def test_reading_of_a_stored_call_is_what_it_was_when_it_ran() -> None:
    stage = everything()
    live = read(stage)
    lines = [
        Recorded(n, FACTS.started_at + timedelta(milliseconds=at_ms), way, json.dumps(event))
        for n, (way, event, at_ms) in enumerate(stage.spoken)
    ]
    own = Recorded(len(lines), FACTS.started_at, None, '{"type":"relay.session.ended"}')
    ended_s = FACTS.started_s + stage.at_ms / 1000

    found = replay(FACTS, [*lines, own], PRICES, ended_s=ended_s)

    assert found.transcript == live.transcript
    assert found.usage == live.usage
    assert found.timeline == live.timeline


def test_reading_of_a_call_that_was_cut_off_ends_with_its_last_event() -> None:
    stage = everything()
    lines = [
        Recorded(n, FACTS.started_at + timedelta(milliseconds=at_ms), way, json.dumps(event))
        for n, (way, event, at_ms) in enumerate(stage.spoken)
        if at_ms <= 9_000  # the second answer is playing
    ]

    found = replay(FACTS, lines, PRICES)

    last = found.transcript.turns[-1]
    assert found.transcript.is_final
    assert (last.speaker, last.status) == ("assistant", "interrupted")
    assert "Hello! I can hear you." in plain_text(found.transcript)


@pytest.mark.parametrize("method", ["handle", "publish", "finish"])
def test_reading_with_a_defect_is_told_of_once_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(TranscriptTap, method, broken)

    with capture_logs() as logs:
        found = read(everything())

    assert [entry["event"] for entry in logs] == ["reading.broke"]
    assert found.usage.cost.usd > 0


JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    JUNK,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "type", "item", "response", "usage", "session", "model", "output"]
            ),
            inner,
        )
    ),
    max_leaves=15,
)
STAGE = everything()
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["up", "down"]),
        st.sampled_from([event for _, event, _ in STAGE.spoken]),
        st.dictionaries(
            st.sampled_from(["item_id", "response_id", "item", "response", "session", "delta"]),
            JSON,
            max_size=2,
        ),
    ),
    max_size=30,
)


@given(EVENTS)
def test_reading_of_a_real_calls_events_in_any_order_and_spoilt_never_breaks(
    events: list[tuple[Direction, dict[str, Any], dict[str, Any]]],
) -> None:
    reading = Reading(FACTS, PRICES)

    for n, (way, event, spoilt) in enumerate(events):
        reading.event(way, json.dumps({**event, **spoilt}), FACTS.started_s + n / 10)
    reading.finish(FACTS.started_s + 100)

    assert not reading.is_broken
    json.dumps(reading.snapshot().to_json())
