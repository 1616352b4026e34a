"""What a user waits for: from the end of speech to the first sound of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.ids import Direction
from relay.core.timeline import (
    MAX_RESPONSES,
    TAIL_MS,
    ResponseTiming,
    Spread,
    Timekeeper,
    percentile,
)
from tests.taps.rehearsal import everything

SPOKEN = [{"type": "message", "content": [{"type": "output_audio", "transcript": "Hi."}]}]
CALLED = [{"type": "function_call", "name": "look"}]
WRITTEN = [{"type": "message", "content": [{"type": "output_text", "text": "Hi."}]}]


class Watch(Timekeeper):
    """Events in a line each."""

    def down(self, at_ms: float, type_: str, **fields: Any) -> None:
        self.handle("down", {"type": type_, **fields}, at_ms)

    def up(self, at_ms: float, type_: str, **fields: Any) -> None:
        self.handle("up", {"type": type_, **fields}, at_ms)

    def stop_speech(self, at_ms: float) -> None:
        self.down(at_ms, "input_audio_buffer.speech_stopped", item_id="item")

    def create(self, at_ms: float, response_id: str = "r1") -> None:
        self.down(at_ms, "response.created", response={"id": response_id})

    def start(self, at_ms: float, response_id: str = "r1") -> None:
        self.down(at_ms, "output_audio_buffer.started", response_id=response_id)

    def end(self, at_ms: float, response_id: str = "r1") -> None:
        self.down(at_ms, "output_audio_buffer.stopped", response_id=response_id)

    def done(self, at_ms: float, output: list[Any], response_id: str = "r1") -> None:
        response = {"id": response_id, "status": "completed", "output": output}
        self.down(at_ms, "response.done", response=response)

    @property
    def only(self) -> ResponseTiming:
        (timing,) = self.timeline.responses
        return timing


def test_response_to_speech_is_timed_from_its_end_to_the_first_sound() -> None:
    watch = Watch()
    watch.down(500, "input_audio_buffer.speech_started", item_id="item")
    watch.stop_speech(2000)
    watch.create(2100)
    assert watch.listening_since_ms == 2100

    watch.audible(2480)
    watch.start(2500)
    watch.done(3000, SPOKEN)
    watch.end(4000)

    assert watch.only == ResponseTiming(
        "r1", 2100, "speech", speech_stopped_ms=2000, playing_ms=2500, audible_ms=2480,
        played_ms=4000, done_ms=3000, status="completed",
    )  # fmt: skip
    assert watch.only.latency_ms == 480
    assert watch.listening_since_ms is None


def test_response_to_a_request_has_no_speech_to_wait_from() -> None:
    watch = Watch()
    watch.stop_speech(1000)
    watch.up(5000, "conversation.item.create", item={"type": "message", "role": "user"})
    watch.up(5000, "response.create")
    watch.create(5100)

    watch.audible(5600)

    assert (watch.only.trigger, watch.only.requested_ms) == ("request", 5000)
    assert watch.only.latency_ms is None


def test_response_that_a_client_asks_for_after_speech_answers_the_speech() -> None:
    watch = Watch()
    watch.stop_speech(1000)
    watch.up(1200, "response.create")
    watch.create(1300)

    watch.audible(1900)

    assert (watch.only.trigger, watch.only.latency_ms) == ("request", 900)


def test_response_to_a_commit_by_hand_waits_from_there() -> None:
    watch = Watch()
    watch.up(1000, "input_audio_buffer.commit")
    watch.up(1000, "response.create")
    watch.create(1100)

    watch.audible(1400)

    assert watch.only.latency_ms == 400


def test_response_that_the_upstream_makes_by_itself_says_so() -> None:
    watch = Watch()

    watch.create(1000)

    assert watch.only.trigger == "server"


def test_wait_goes_on_through_a_tool_call() -> None:
    watch = Watch()
    watch.stop_speech(1000)
    watch.create(1100, "r1")
    watch.done(1500, CALLED, "r1")
    assert watch.listening_since_ms is None
    watch.up(1800, "conversation.item.create", item={"type": "function_call_output"})
    watch.up(1800, "response.create")
    watch.create(1900, "r2")

    watch.audible(2500)
    watch.create(9000, "r3")

    first, second, third = watch.timeline.responses
    assert (first.latency_ms, first.is_after_tool) == (None, False)
    assert (second.latency_ms, second.is_after_tool) == (1500, True)
    assert (third.speech_stopped_ms, third.is_after_tool) == (None, False)


def test_wait_of_a_user_who_goes_on_speaking_begins_anew() -> None:
    watch = Watch()
    watch.stop_speech(1000)
    watch.create(1050, "r1")
    watch.down(1200, "input_audio_buffer.speech_started", item_id="item_2")
    watch.done(1200, [], "r1")
    watch.stop_speech(3000)
    watch.create(3050, "r2")

    watch.audible(3500)

    assert [timing.latency_ms for timing in watch.timeline.responses] == [None, 500]


def test_sound_of_a_response_that_still_plays_is_not_the_next_ones() -> None:
    watch = Watch()
    watch.create(1000, "r1")
    watch.start(1500, "r1")
    watch.audible(1500)
    watch.stop_speech(2000)

    watch.create(2100, "r2")
    assert watch.listening_since_ms is None
    watch.end(3000, "r1")

    assert watch.listening_since_ms == 3000 + TAIL_MS
    watch.start(3200, "r2")
    assert watch.listening_since_ms == 3000 + TAIL_MS
    watch.audible(3190)
    assert watch.timeline.responses[1].latency_ms == 1190


def test_sound_after_an_interruption_is_not_its_last_packets() -> None:
    watch = Watch()
    watch.create(1000, "r1")
    watch.start(1500, "r1")
    watch.down(2000, "output_audio_buffer.cleared", response_id="r1")

    watch.create(2010, "r2")

    assert watch.listening_since_ms == 2000 + TAIL_MS


@pytest.mark.parametrize("output", [[], WRITTEN, CALLED])
def test_response_without_sound_is_not_waited_for(output: list[Any]) -> None:
    watch = Watch()
    watch.stop_speech(1000)
    watch.create(1100)

    watch.done(1500, output)

    assert watch.listening_since_ms is None
    assert watch.audible(1600) is None


def test_response_that_is_generated_before_it_plays_is_waited_for() -> None:
    watch = Watch()
    watch.create(1100)

    watch.done(1150, SPOKEN)

    assert watch.listening_since_ms == 1100


def test_response_whose_sound_nobody_noticed_is_over_with_its_playback() -> None:
    watch = Watch()
    watch.create(1100)
    watch.start(1500)

    watch.end(3000)

    assert watch.listening_since_ms is None
    assert watch.only.audible_ms is None


def test_playback_told_of_after_its_end_hides_no_other() -> None:
    watch = Watch()
    watch.create(1000, "r1")
    watch.end(1500, "r1")

    watch.start(1600, "r1")
    watch.create(2000, "r2")

    assert watch.timeline.responses[0].playing_ms is None
    assert watch.listening_since_ms == 2000


def test_events_of_a_server_that_a_client_sends_are_nothing() -> None:
    watch = Watch()

    watch.up(1000, "response.created", response={"id": "r1"})
    watch.down(1000, "response.create")
    watch.create(1100, "r2")

    assert watch.only.requested_ms is None


def test_timeline_of_a_whole_call_of_the_simulator_has_its_thinking_time() -> None:
    stage, keeper = everything(), Timekeeper()

    for way, event, at_ms in stage.spoken:
        keeper.handle(way, event, at_ms)
        if event["type"] == "output_audio_buffer.started":
            assert keeper.listening_since_ms is not None
            keeper.audible(at_ms + 10)

    timeline = keeper.timeline
    assert [timing.trigger for timing in timeline.responses] == [
        "speech", "speech", "speech", "request", "request", "request",
    ]  # fmt: skip
    # It thinks for 200 ms; the tool's answer was not asked for by voice.
    assert [timing.latency_ms for timing in timeline.responses] == [
        210, 210, 210, None, None, None,
    ]  # fmt: skip
    assert timeline.latency == Spread(3, 210, 210, 210)
    assert [timing.status for timing in timeline.responses] == [
        "completed", "cancelled", "completed", "completed", "completed", "cancelled",
    ]  # fmt: skip
    told = json.loads(json.dumps(timeline.to_json()))
    assert told["count"] == 6
    assert told["timings"][0] == {
        "id": timeline.responses[0].id,
        "trigger": "speech",
        "status": "completed",
        "speech_stopped_ms": 3000.0,
        "created_ms": 3000.0,
        "playing_ms": 3200.0,
        "audible_ms": 3210.0,
        "played_ms": 5200.0,
        "done_ms": 5000.0,
        "latency_ms": 210.0,
    }


def test_timeline_of_endless_responses_tells_the_newest() -> None:
    watch = Watch()

    for n in range(MAX_RESPONSES + 5):
        watch.create(n, f"r{n}")

    assert watch.timeline.count == MAX_RESPONSES + 5
    assert len(watch.timeline.responses) == MAX_RESPONSES
    assert watch.timeline.responses[-1].id == f"r{MAX_RESPONSES + 4}"


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1), (25, 1), (26, 2), (50, 2), (75, 3), (95, 4), (100, 4)]
)
def test_percentile_is_by_nearest_rank(percent: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], percent) == value


def test_spread_of_nothing_is_told_as_nothing() -> None:
    assert Spread.of([]).to_json() == {"count": 0}


IDS = st.sampled_from(["r1", "r2", "r3"]) | st.none() | st.integers()
TYPES = st.sampled_from(
    [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.commit",
        "conversation.item.create",
        "response.create",
        "response.created",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "output_audio_buffer.cleared",
        "response.done",
        "audible",
        "new",
    ]
)
OUTPUTS = st.sampled_from([SPOKEN, CALLED, WRITTEN, [], [None], None, 7])
STEPS = st.lists(
    st.tuples(st.sampled_from(["up", "down", "down"]), TYPES, IDS, OUTPUTS, st.integers(0, 500)),
    max_size=40,
)


@given(STEPS)
def test_timeline_of_any_events_keeps_its_invariants(
    steps: list[tuple[Direction, str, Any, Any, int]],
) -> None:
    keeper, at_ms = Timekeeper(), 0.0

    for way, type_, response_id, output, wait_ms in steps:
        at_ms += wait_ms
        since = keeper.listening_since_ms
        if type_ == "audible":
            if since is not None and since <= at_ms:
                heard = keeper.audible(at_ms)
                assert heard is not None
                assert heard.audible_ms == at_ms
            continue
        response = {"id": response_id, "output": output}
        event = {"type": type_, "response_id": response_id, "response": response, "item": response}
        keeper.handle(way, event, at_ms)

    ids = [timing.id for timing in keeper.timeline.responses]
    assert len(ids) == len(set(ids))
    for timing in keeper.timeline.responses:
        assert timing.latency_ms is None or timing.latency_ms >= 0
        known = (timing.created_ms, timing.playing_ms, timing.played_ms)
        times = [value for value in known if value is not None]
        assert times == sorted(times)
        json.dumps(timing.to_json())
