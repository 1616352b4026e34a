"""Transcripts of calls as OpenAI holds them, and of what no upstream should send."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.captions import plain_text, webvtt
from relay.core.dialogue import MAX_CHARS, MAX_TURNS
from relay.core.ids import Direction
from relay.core.transcriber import _HANDLERS, Transcriber
from relay.core.transcript import Heard, Segment, Tool, Transcript
from relay.core.turns import heard_prefix
from tests.core.talk import ASR, STARTED_AT, Talk, message
from tests.taps.rehearsal import everything

LONG = "The ferry leaves at nine, and the crossing takes a little more than two hours."


def test_transcript_of_a_whole_call_of_the_simulator_reads_as_it_went() -> None:
    stage, transcriber = everything(), Transcriber(STARTED_AT)
    for way, event, at_ms in stage.spoken:
        transcriber.handle(way, event, at_ms)
    transcriber.finish(stage.at_ms)

    assert plain_text(transcriber.transcript) == (
        "[00:00:01] User: (1.8 s of speech)\n"
        "[00:00:03] Assistant: Hello! I can hear you.\n"
        "[00:00:06] User: (2.3 s of speech)\n"
        "[00:00:08] Assistant: This — [not heard: one]\n"
        "[00:00:10] User: (2.0 s of speech)\n"
        "[00:00:12] Assistant: Hello! I can hear you.\n"
        "[00:00:14] User: Please get weather for me.\n"
        '[00:00:15] Assistant: calls get_weather({"city": "Paris", "unit": "celsius"})\n'
        '[00:00:17] Tool: answers {"sky": "clear"}\n'
        "[00:00:18] Assistant: The tool has answered.\n"
        "[00:00:20] User: Write it down.\n"
        "[00:00:21] Assistant: This one is so long that it [cancelled: client_cancelled]\n"
    )
    spoken = [(turn.start_ms, turn.end_ms) for turn in transcriber.transcript.turns[:4]]
    # The microphone was loud from 1.5 s to 2.5 s, and from 6.0 s to 7.5 s.
    assert spoken == [(1500, 2500), (3200, 5200), (6000, 7500), (8200, 10260)]


# The user's voice


def test_speech_has_the_times_of_the_voice_not_of_its_events() -> None:
    talk = Talk()
    talk.configure()

    talk.say("item_1", 2000, 3500)

    turn = talk.turn("item_1")
    assert (turn.start_ms, turn.end_ms) == (2000, 3500)
    assert (turn.speaker, turn.kind, turn.status) == ("user", "speech", "completed")


def test_speech_while_it_lasts_is_live() -> None:
    talk = Talk()

    talk.down(2100, "input_audio_buffer.speech_started", item_id="item_1", audio_start_ms=1700)

    turn = talk.turn("item_1")
    assert (turn.status, turn.start_ms, turn.end_ms) == ("live", 2100, None)
    assert turn.transcription == "pending"


def test_speech_with_a_detection_that_tells_no_window_has_the_times_that_were_told() -> None:
    talk = Talk()
    talk.configure({"type": "semantic_vad", "eagerness": "low"})

    talk.say("item_1", 2000, 3500)

    assert (talk.turn("item_1").start_ms, talk.turn("item_1").end_ms) == (1700, 4000)


@pytest.mark.parametrize("audio_end_ms", [None, -1, True, "5", float("nan"), 10**12, 0])
def test_speech_with_an_absurd_length_keeps_the_times_of_its_events(audio_end_ms: Any) -> None:
    talk = Talk()
    talk.down(5000, "input_audio_buffer.speech_started", item_id="item_1", audio_start_ms=100)

    talk.down(6000, "input_audio_buffer.speech_stopped", item_id="item_1",
              audio_end_ms=audio_end_ms)  # fmt: skip

    assert (talk.turn("item_1").start_ms, talk.turn("item_1").end_ms) == (5000, 6000)


def test_speech_far_longer_than_its_events_began_at_most_two_seconds_before() -> None:
    talk = Talk()
    talk.down(5000, "input_audio_buffer.speech_started", item_id="item_1", audio_start_ms=0)

    talk.down(6000, "input_audio_buffer.speech_stopped", item_id="item_1", audio_end_ms=10**6)

    assert talk.turn("item_1").start_ms == 3000


def test_speech_committed_by_hand_began_when_the_answer_before_was_over() -> None:
    talk = Talk()
    talk.down(1000, "input_audio_buffer.committed", item_id="item_1", previous_item_id=None)
    talk.answer("item_2", 1500, "Yes.", "item_1")
    talk.down(2500, "output_audio_buffer.stopped", response_id="resp_1")

    talk.down(6000, "input_audio_buffer.committed", item_id="item_3", previous_item_id="item_2")

    assert (talk.turn("item_1").start_ms, talk.turn("item_1").end_ms) == (0, 1000)
    assert (talk.turn("item_3").start_ms, talk.turn("item_3").end_ms) == (2500, 6000)


def test_speech_committed_by_hand_began_when_the_buffer_was_cleared() -> None:
    talk = Talk()
    talk.down(4000, "input_audio_buffer.cleared")

    talk.down(6000, "input_audio_buffer.committed", item_id="item_1")

    assert talk.turn("item_1").start_ms == 4000


def test_speech_that_is_cleared_before_it_is_committed_is_cancelled() -> None:
    talk = Talk()
    talk.down(1000, "input_audio_buffer.speech_started", item_id="item_1", audio_start_ms=0)

    talk.down(2000, "input_audio_buffer.cleared")

    turn = talk.turn("item_1")
    assert (turn.status, turn.reason, turn.end_ms) == (
        "cancelled", "input_audio_buffer.cleared", 2000,
    )  # fmt: skip


def test_speech_that_a_timeout_makes_is_the_silence_before_it() -> None:
    talk = Talk()

    talk.down(9000, "input_audio_buffer.timeout_triggered", item_id="item_1",
              audio_start_ms=2000, audio_end_ms=8000)  # fmt: skip
    talk.down(9000, "input_audio_buffer.committed", item_id="item_1")

    turn = talk.turn("item_1")
    assert (turn.start_ms, turn.end_ms, turn.text, turn.status) == (3000, 9000, "", "completed")


# Its transcription


def test_transcripts_that_come_late_and_turned_around_stay_with_their_turns() -> None:
    talk = Talk()
    talk.say("item_1", 1000, 2000)
    talk.answer("item_2", 3000, "First answer.", "item_1")
    talk.say("item_3", 6000, 7000, "item_2")

    talk.transcribed(9000, "item_3", "second question")
    talk.transcribed(9500, "item_1", "first question")

    assert [turn.text for turn in talk.transcript.turns] == [
        "first question", "First answer.", "second question",
    ]  # fmt: skip
    assert talk.turn("item_1").transcription == "done"


def test_transcript_by_deltas_is_partial_until_it_is_completed() -> None:
    talk = Talk()
    talk.say("item_1", 1000, 2000)

    talk.down(2600, f"{ASR}.delta", item_id="item_1", content_index=0, delta="helo")
    talk.down(2700, f"{ASR}.delta", item_id="item_1", content_index=0, delta=" there")
    partial = talk.turn("item_1")
    talk.transcribed(2800, "item_1", "Hello there.")
    talk.down(2900, f"{ASR}.delta", item_id="item_1", content_index=0, delta=" again")

    assert (partial.text, partial.transcription) == ("helo there", "partial")
    assert (talk.turn("item_1").text, talk.turn("item_1").transcription) == (
        "Hello there.", "done",
    )  # fmt: skip


def test_transcript_that_failed_leaves_a_turn_that_says_why() -> None:
    talk = Talk()
    talk.say("item_1", 1000, 2000)

    talk.down(2600, f"{ASR}.failed", item_id="item_1", content_index=0,
              error={"type": "server_error", "code": "unclear", "message": "No."})  # fmt: skip

    turn = talk.turn("item_1")
    assert (turn.text, turn.transcription, turn.reason) == ("", "failed", "No.")
    assert turn.status == "completed"


def test_transcript_that_never_comes_is_missing_when_the_call_ends() -> None:
    talk = Talk()
    talk.say("item_1", 1000, 2000)

    talk.transcriber.finish(5000)

    turn = talk.turn("item_1")
    assert (turn.text, turn.transcription, turn.status) == ("", "missing", "completed")


def test_transcript_of_an_item_that_nobody_told_of_is_a_turn() -> None:
    talk = Talk()

    talk.transcribed(2000, "item_1", "hello")

    assert (talk.turn("item_1").text, talk.turn("item_1").kind) == ("hello", "speech")


def test_transcript_by_segments_tells_voices_apart() -> None:
    talk = Talk()
    talk.configure()
    talk.say("item_1", 2000, 5000)

    for n, speaker, start, end, text in (
        ("a", "A", 0.0, 1.2, "Hello."),
        ("b", "B", 1.5, 2.75, "Hi there."),
        ("b", "B", 1.5, 2.75, "Hi there."),  # told twice
    ):
        talk.down(5600, f"{ASR}.segment", item_id="item_1", content_index=0, id=n,
                  speaker=speaker, start=start, end=end, text=text)  # fmt: skip

    turn = talk.turn("item_1")
    assert turn.segments == (
        Segment("A", 2000, 3200, "Hello."),
        Segment("B", 3500, 4750, "Hi there."),
    )
    assert (turn.text, turn.transcription) == ("Hello. Hi there.", "partial")


def test_transcript_in_an_item_that_is_retrieved_counts_where_there_is_no_other() -> None:
    talk = Talk()
    talk.say("item_1", 1000, 2000)
    talk.say("item_2", 3000, 4000)
    talk.transcribed(4600, "item_2", "known")

    for item_id in ("item_1", "item_2", "item_3"):
        part = {"type": "input_audio", "transcript": "found", "audio": "UklGRg=="}
        talk.down(5000, "conversation.item.retrieved", item=message(item_id, "user", part))

    assert [(turn.id, turn.text) for turn in talk.transcript.turns] == [
        ("item_1", "found"), ("item_2", "known"),
    ]  # fmt: skip


# The assistant's voice


def test_answer_that_is_played_to_its_end_has_its_playbacks_times() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)
    talk.done(1300, "item_1", LONG, audio_ms=5000)
    while_playing = talk.turn("item_1")

    talk.down(6050, "output_audio_buffer.stopped", response_id="resp_1")

    turn = talk.turn("item_1")
    assert (while_playing.start_ms, while_playing.end_ms) == (1000, None)
    assert (turn.text, turn.heard, turn.status) == (LONG, None, "completed")
    assert (turn.start_ms, turn.end_ms, turn.response_id) == (1000, 6050, "resp_1")


def test_answer_that_is_interrupted_was_heard_in_the_proportion_of_its_audio() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)
    talk.done(1300, "item_1", LONG, audio_ms=5000)

    talk.down(3000, "output_audio_buffer.cleared", response_id="resp_1")
    talk.down(3000, "conversation.item.truncated", item_id="item_1", content_index=0,
              audio_end_ms=1900)  # fmt: skip

    turn = talk.turn("item_1")
    assert turn.status == "interrupted"
    assert turn.text == LONG
    assert turn.heard == Heard("The ferry leaves at nine, and", 1900, is_estimate=True)
    assert (turn.start_ms, turn.end_ms) == (1000, 2900)


@pytest.mark.parametrize("is_done_first", [True, False])
def test_answer_that_is_interrupted_and_cancelled_is_the_same_in_any_order(
    is_done_first: bool,
) -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)
    steps: list[Callable[[], None]] = [
        lambda: talk.done(3000, "item_1", LONG, status="cancelled", audio_ms=5000,
                          details={"type": "cancelled", "reason": "turn_detected"}),
        lambda: talk.down(3000, "output_audio_buffer.cleared", response_id="resp_1"),
        lambda: talk.down(3000, "conversation.item.truncated", item_id="item_1", content_index=0,
                          audio_end_ms=2000),
    ]  # fmt: skip

    for step in steps if is_done_first else reversed(steps):
        step()

    turn = talk.turn("item_1")
    assert (turn.status, turn.reason) == ("interrupted", "turn_detected")
    assert turn.heard == Heard("The ferry leaves at nine, and", 2000, is_estimate=True)


def test_answer_that_is_cleared_without_a_truncation_was_heard_until_then() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)
    talk.done(1300, "item_1", LONG, audio_ms=5000)

    talk.down(2250, "output_audio_buffer.cleared", response_id="resp_1")

    assert talk.turn("item_1").heard == Heard("The ferry leaves at", 1250, is_estimate=True)


def test_answer_without_usage_is_measured_by_the_pace_of_those_before() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, "x" * 100)
    talk.down(3000, "output_audio_buffer.stopped", response_id="resp_1")  # 50 chars a second

    talk.answer("item_2", 5000, LONG, "item_1", response_id="resp_2")
    talk.down(5500, "output_audio_buffer.cleared", response_id="resp_2")

    heard = talk.turn("item_2").heard
    assert heard == Heard("The ferry leaves at nine,", 500, is_estimate=True)


def test_answer_without_usage_or_others_is_measured_by_an_ordinary_pace() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)

    talk.down(3000, "output_audio_buffer.cleared", response_id="resp_1")

    heard = talk.turn("item_1").heard
    assert heard == Heard(LONG[:29], 2000, is_estimate=True)  # 15 chars a second, whole words


def test_answer_whose_rest_the_upstream_took_away_was_heard_as_it_says() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)
    talk.done(1300, "item_1", LONG, audio_ms=5000)
    talk.down(3000, "conversation.item.truncated", item_id="item_1", content_index=0,
              audio_end_ms=1900)  # fmt: skip

    part = {"type": "output_audio", "transcript": "The ferry leaves at"}
    talk.down(3200, "conversation.item.retrieved", item=message("item_1", "assistant", part))

    turn = talk.turn("item_1")
    assert turn.text == LONG
    assert turn.heard == Heard("The ferry leaves at", 1900, is_estimate=False)


def test_answer_whose_transcript_the_upstream_removed_is_still_what_was_said() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)

    for transcript in ("", None):
        part = {"type": "output_audio", "transcript": transcript}
        talk.down(3200, "conversation.item.retrieved", item=message("item_1", "assistant", part))

    assert talk.turn("item_1").text == LONG


def test_answer_that_is_truncated_beyond_its_end_was_heard_in_full() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)
    talk.done(1300, "item_1", LONG, audio_ms=5000)

    talk.down(9000, "conversation.item.truncated", item_id="item_1", content_index=0,
              audio_end_ms=5000)  # fmt: skip

    assert talk.turn("item_1").heard is None
    assert talk.turn("item_1").status == "completed"


def test_answer_that_plays_when_the_call_ends_was_heard_until_then() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)
    talk.done(1300, "item_1", LONG, audio_ms=5000)

    talk.transcriber.finish(2250)
    talk.transcribed(3000, "item_9", "too late")

    assert talk.transcript.is_final
    assert talk.order == ["item_1"]
    assert talk.turn("item_1").heard == Heard("The ferry leaves at", 1250, is_estimate=True)


def test_answer_that_is_cut_in_its_first_word_was_not_heard() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)

    talk.down(1300, "conversation.item.truncated", item_id="item_1", content_index=0,
              audio_end_ms=40)  # fmt: skip

    assert talk.turn("item_1").heard == Heard("", 40, is_estimate=True)
    assert "not heard: The ferry" in plain_text(talk.transcript)
    assert "ferry" not in webvtt(talk.transcript)


def test_answer_in_progress_when_the_call_ends_is_incomplete() -> None:
    talk = Talk()
    item = message("item_1", "assistant", status="in_progress")
    talk.down(1000, "response.output_item.added", response_id="resp_1", item=item)
    talk.down(1100, "response.output_text.delta", response_id="resp_1", item_id="item_1",
              content_index=0, delta="Half of")  # fmt: skip

    talk.transcriber.finish(1500)

    turn = talk.turn("item_1")
    assert (turn.text, turn.kind, turn.status, turn.end_ms) == (
        "Half of", "text", "incomplete", 1500,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "details", "reason"),
    [
        ("incomplete", {"reason": "max_output_tokens"}, "max_output_tokens"),
        ("incomplete", {"reason": "content_filter"}, "content_filter"),
        ("cancelled", {"reason": "client_cancelled"}, "client_cancelled"),
        ("failed", {"error": {"type": "server_error", "message": "Sorry."}}, "Sorry."),
        ("failed", {"error": {"code": "rate_limit_exceeded"}}, "rate_limit_exceeded"),
        ("failed", None, None),
    ],
)
def test_answer_that_is_not_completed_says_how_and_why(
    status: str, details: Any, reason: str | None
) -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)
    talk.done(1300, "item_1", LONG, status=status, details=details, audio_ms=5000)
    talk.down(6000, "output_audio_buffer.stopped", response_id="resp_1")

    turn = talk.turn("item_1")
    assert (turn.status, turn.reason, turn.heard) == (status, reason, None)


def test_response_that_failed_before_it_said_anything_is_a_turn() -> None:
    talk = Talk()

    response = {"id": "resp_1", "status": "failed", "output": [],
                "status_details": {"error": {"message": "quota"}}}  # fmt: skip
    talk.down(1000, "response.done", response=response)

    turn = talk.turn("resp_1")
    assert (turn.kind, turn.status, turn.reason) == ("response", "failed", "quota")


def test_response_that_was_cancelled_before_it_said_anything_is_none() -> None:
    talk = Talk()

    talk.down(1000, "response.done", response={"id": "resp_1", "status": "cancelled", "output": []})

    assert talk.transcript.turns == ()


def test_response_outside_of_the_conversation_is_marked() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, "Aside.", in_conversation=False)
    talk.answer("item_2", 3000, "Within.", response_id="resp_2")

    assert [(turn.id, turn.is_out_of_band) for turn in talk.transcript.turns] == [
        ("item_1", True), ("item_2", False),
    ]  # fmt: skip


def test_response_told_of_after_its_item_has_its_playbacks_times() -> None:
    talk = Talk()
    talk.add(900, message("item_1", "assistant", status="in_progress"), done=False)

    talk.answer("item_1", 1000, LONG, in_conversation=False)
    talk.down(6000, "output_audio_buffer.stopped", response_id="resp_1")

    turn = talk.turn("item_1")
    assert (turn.start_ms, turn.end_ms, turn.is_out_of_band) == (1000, 6000, False)


def test_answer_in_two_items_is_two_turns_one_after_the_other() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, "x" * 30)
    talk.answer("item_2", 3000, LONG, "item_1")  # of the same response

    talk.down(4000, "output_audio_buffer.cleared", response_id="resp_1")

    first, second = talk.transcript.turns
    # 15 characters a second, as there is nothing to learn from.
    assert (first.start_ms, first.end_ms, first.heard) == (1000, 3000, None)
    assert second.start_ms == 2950
    assert second.heard == Heard("The ferry", 1050, is_estimate=True)


def test_answer_in_two_parts_is_cut_in_the_part_that_was_truncated() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, "First part.")
    place = {"response_id": "resp_1", "item_id": "item_1", "content_index": 1}
    talk.down(1300, "response.output_audio_transcript.done", **place, transcript=LONG)

    talk.down(3000, "conversation.item.truncated", item_id="item_1", content_index=1,
              audio_end_ms=1250)  # fmt: skip

    heard = talk.turn("item_1").heard
    assert talk.turn("item_1").text == f"First part.\n{LONG}"
    assert heard is not None
    assert heard.text.startswith("First part.\nThe ferry")


def test_answer_whose_playback_nobody_tells_of_lasts_as_long_as_its_audio() -> None:
    talk = Talk()
    item = message("item_1", "assistant", status="in_progress")
    place = {"response_id": "resp_1", "item_id": "item_1", "content_index": 0}
    talk.down(1000, "response.output_item.added", response_id="resp_1", item=item)
    talk.down(1100, "response.output_audio_transcript.delta", **place, delta=LONG)
    live = talk.turn("item_1")

    talk.done(1300, "item_1", LONG, audio_ms=5000)

    assert (live.end_ms, live.status) == (None, "live")
    assert (talk.turn("item_1").start_ms, talk.turn("item_1").end_ms) == (1000, 6000)


def test_answer_whose_text_is_corrected_was_not_heard_as_it_was_before() -> None:
    talk = Talk()
    talk.answer("item_1", 1000, LONG)
    talk.down(3000, "conversation.item.truncated", item_id="item_1", content_index=0,
              audio_end_ms=1250)  # fmt: skip
    for transcript in ("The ferry", "Another text, which is about as long as the first one was."):
        part = {"type": "output_audio", "transcript": transcript}
        talk.down(3200, "conversation.item.retrieved", item=message("item_1", "assistant", part))

    assert talk.turn("item_1").heard == Heard("Another text,", 1250, is_estimate=True)


def test_answer_completed_without_an_end_of_its_item_is_completed() -> None:
    talk = Talk()
    item = message("item_1", "assistant", status="in_progress")
    place = {"response_id": "resp_1", "item_id": "item_1", "content_index": 0}
    talk.down(1000, "response.output_item.added", response_id="resp_1", item=item)
    talk.down(1100, "response.output_text.done", **place, text="Hi.")

    talk.down(1200, "response.done", response={"id": "resp_1", "status": "completed"})

    turn = talk.turn("item_1")
    assert (turn.status, turn.text, turn.end_ms) == ("completed", "Hi.", 1200)


# Order


def test_items_are_in_the_order_of_the_conversation() -> None:
    talk = Talk()
    talk.add(100, message("a", "user"))
    talk.add(200, message("b", "user"), "a")
    talk.add(300, message("c", "user"), "b")

    talk.add(400, message("x", "system"), "a")

    assert talk.order == ["a", "x", "b", "c"]


def test_item_that_the_client_wants_first_is_first() -> None:
    talk = Talk()
    talk.add(100, message("a", "user"))
    talk.up(200, "conversation.item.create", previous_item_id="root", item={"id": "x"})
    talk.up(200, "conversation.item.create", previous_item_id="root", item={"type": "message"})

    talk.add(300, message("x", "system"), None)
    talk.add(300, message("item_of_the_upstream", "system"), None)
    talk.add(400, message("b", "user"), None)

    assert talk.order == ["item_of_the_upstream", "x", "a", "b"]


def test_item_that_follows_one_nobody_knows_is_at_the_end() -> None:
    talk = Talk()
    talk.add(100, message("a", "user"), "from_before")

    talk.add(200, message("b", "user"), "from_before")

    assert talk.order == ["a", "b"]


def test_item_that_is_deleted_stays_where_it_was_said() -> None:
    talk = Talk()
    talk.add(100, message("a", "user"))
    talk.add(200, message("b", "user"), "a")

    talk.down(300, "conversation.item.deleted", item_id="b")
    talk.add(400, message("c", "user"), "a")

    assert talk.order == ["a", "b", "c"]
    assert talk.turn("b").is_deleted


def test_items_of_a_client_count_when_the_upstream_has_taken_them() -> None:
    talk = Talk()

    talk.up(100, "conversation.item.create", item=message("a", "user"))
    talk.up(100, "conversation.item.added", item=message("b", "user"))
    talk.up(100, "response.done", response={"id": "r", "output": [message("c", "assistant")]})

    assert talk.transcript.turns == ()


# Texts, images, tools


def test_text_and_images_of_a_message_leave_no_image_behind() -> None:
    talk = Talk()
    url = "data:image/png;base64,iVBORw0KGgo="
    parts = (
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": url},
        {"type": "input_image", "image_url": url},
    )

    talk.add(1000, message("a", "user", *parts))

    turn = talk.turn("a")
    assert (turn.kind, turn.text, turn.images) == ("text", "What is this?", 2)
    assert (turn.start_ms, turn.end_ms) == (1000, 1000)
    assert "base64" not in json.dumps(talk.transcript.to_json())


def test_function_call_grows_by_its_deltas_and_is_joined_with_its_result_by_id() -> None:
    talk = Talk()
    item = {"id": "f", "type": "function_call", "name": "look", "call_id": "call_1",
            "arguments": "", "status": "in_progress"}  # fmt: skip
    place = {"response_id": "resp_1", "item_id": "f", "call_id": "call_1"}
    name = "response.function_call_arguments"
    talk.down(1000, "response.output_item.added", response_id="resp_1", item=item)

    talk.down(1100, f"{name}.delta", **place, delta='{"a"')
    talk.down(1200, f"{name}.delta", **place, delta=": 1}")
    live = talk.turn("f")
    talk.down(1300, f"{name}.done", **place, name="look", arguments='{"a": 1}')
    talk.down(1300, "response.output_item.done", response_id="resp_1",
              item={**item, "status": "completed", "arguments": '{"a": 1}'})  # fmt: skip
    talk.add(2000, {"id": "r", "type": "function_call_output", "call_id": "call_1", "output": "7"})

    assert live.tool == Tool("look", "call_1", arguments='{"a": 1}')
    assert (live.status, live.end_ms) == ("live", None)
    turn = talk.turn("f")
    assert (turn.speaker, turn.kind, turn.status, turn.end_ms) == (
        "assistant", "tool_call", "completed", 1300,
    )  # fmt: skip
    assert turn.tool == live.tool
    assert talk.turn("r").tool == Tool(call_id="call_1", output="7")
    assert (talk.turn("r").speaker, talk.turn("r").kind) == ("tool", "tool_result")


def test_calls_over_mcp_have_their_server_their_output_and_their_error() -> None:
    talk = Talk()
    listed = {"id": "l", "type": "mcp_list_tools", "server_label": "docs",
              "tools": [{"name": "search"}, {"name": "fetch"}, "junk"]}  # fmt: skip
    asked = {"id": "q", "type": "mcp_approval_request", "server_label": "docs", "name": "search",
             "arguments": "{}"}  # fmt: skip
    granted = {"id": "g", "type": "mcp_approval_response", "approval_request_id": "q",
               "approve": True}  # fmt: skip
    call = {"id": "c", "type": "mcp_call", "server_label": "docs", "name": "search",
            "arguments": "", "output": None, "error": None}  # fmt: skip
    place = {"response_id": "resp_1", "item_id": "c"}
    talk.add(100, listed)
    talk.down(150, "mcp_list_tools.completed", item_id="l")
    talk.add(200, asked, "l")
    talk.add(300, granted, "q")
    talk.down(400, "response.output_item.added", response_id="resp_1",
              item={**call, "status": "in_progress"})  # fmt: skip
    talk.down(410, "response.mcp_call_arguments.delta", **place, delta='{"q":')
    talk.down(420, "response.mcp_call_arguments.done", **place, arguments='{"q": 1}')
    talk.down(430, "response.mcp_call.in_progress", item_id="c")
    talk.down(500, "response.mcp_call.completed", item_id="c")
    talk.add(510, {**call, "output": "found", "arguments": '{"q": 1}'}, "g")
    failed = {**call, "id": "d", "error": {"type": "http_error", "code": 500, "message": "down"}}
    talk.add(600, failed, "c")
    talk.down(700, "response.mcp_call.failed", item_id="d")

    assert talk.order == ["l", "q", "g", "c", "d"]
    assert talk.turn("l").tool == Tool(server="docs", names=("search", "fetch"))
    assert talk.turn("q").kind == "approval_request"
    assert talk.turn("g").tool == Tool(call_id="q", output="approved")
    assert talk.turn("c").tool == Tool(
        "search", server="docs", arguments='{"q": 1}', output="found"
    )
    assert talk.turn("c").status == "completed"
    assert (talk.turn("d").status, talk.turn("d").reason) == ("failed", "down")
    assert plain_text(talk.transcript) == (
        "[00:00:00] Tool: offers search, fetch\n"
        "[00:00:00] Assistant: asks to call search({})\n"
        "[00:00:00] User: approved\n"
        '[00:00:00] Assistant: calls search({"q": 1}) → found\n'
        "[00:00:00] Assistant: calls search() [failed: down]\n"
    )


def test_item_of_a_type_to_come_is_a_turn_of_its_own() -> None:
    talk = Talk()

    talk.add(100, {"id": "n", "type": "brand_new", "content": "?"})
    talk.down(200, "brand.new.event", item_id="n")

    assert (talk.turn("n").kind, talk.turn("n").text) == ("other", "")


def test_halves_of_surrogate_pairs_do_not_hinder_the_encoding() -> None:
    talk = Talk()

    talk.add(100, message("a\ud800", "user", {"type": "input_text", "text": "x\udfff\x00<b>"}))

    (turn,) = talk.transcript.turns
    assert turn.text == "x\N{REPLACEMENT CHARACTER}\x00<b>"
    json.dumps(talk.transcript.to_json(), ensure_ascii=False).encode()


# Bounds


def test_turns_beyond_the_limit_are_omitted_and_counted() -> None:
    talk = Talk()

    for n in range(MAX_TURNS + 3):
        talk.add(n, message(f"i{n}", "user"), f"i{n - 1}", done=False)

    assert len(talk.transcript.turns) == MAX_TURNS
    assert talk.transcript.omitted == 3


def test_texts_beyond_the_limit_are_omitted_and_counted() -> None:
    talk = Talk()
    chunk = "x" * (1 << 20)

    for n in range(MAX_CHARS // len(chunk) + 2):
        part = {"type": "input_text", "text": chunk}
        talk.add(n, message(f"i{n}", "user", part))  # told twice, kept once

    texts = [turn.text for turn in talk.transcript.turns]
    assert sum(map(len, texts)) == MAX_CHARS
    assert talk.transcript.omitted == 4


# Live


def test_transcript_while_it_grows_tells_what_is_new() -> None:
    talk = Talk()
    talk.say("item_1", 1000, 2000)
    before = talk.transcript
    assert before.since(before.revision) == ()

    talk.answer("item_2", 3000, "Hi.", "item_1")
    talk.transcribed(3500, "item_1", "hello")

    changes = talk.transcript.since(before.revision)
    assert [(change.turn.id, change.after) for change in changes] == [
        ("item_1", None), ("item_2", "item_1"),
    ]  # fmt: skip
    assert before.turns[0].text == ""  # what was told stays as it was


# Anything

IDS = st.sampled_from(["i1", "i2", "i3", "i4"])
RESPONSES = st.sampled_from(["r1", "r2"])
JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TIMES = st.integers(-10, 10_000) | JUNK
WORDS = st.text(st.sampled_from("ab .,é你好\ud800\x00<>&\n"), max_size=60)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["input_text", "input_audio", "input_image", "output_text",
                              "output_audio", "audio", "text", "new"]) | JUNK},
    optional={"text": WORDS | JUNK, "transcript": WORDS | JUNK},
)  # fmt: skip
ITEM = st.fixed_dictionaries(
    {"id": IDS | JUNK,
     "type": st.sampled_from(["message", "message", "message", "function_call", "mcp_call",
                              "function_call_output", "mcp_list_tools", "new"]) | JUNK},
    optional={
        "role": st.sampled_from(["user", "assistant", "system"]) | JUNK,
        "status": st.sampled_from(["in_progress", "completed", "incomplete"]) | JUNK,
        "content": st.lists(PART | JUNK, max_size=3) | JUNK,
        "name": WORDS | JUNK, "call_id": JUNK, "arguments": WORDS | JUNK, "output": WORDS | JUNK,
        "error": st.dictionaries(st.sampled_from(["message", "code"]), JUNK) | JUNK,
        "tools": st.lists(st.dictionaries(st.just("name"), JUNK) | JUNK, max_size=2) | JUNK,
    },
)  # fmt: skip
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "item_id": IDS | JUNK, "previous_item_id": IDS | st.just("root") | JUNK,
        "response_id": RESPONSES | JUNK, "content_index": st.integers(-1, 2) | JUNK,
        "item": ITEM | JUNK, "part": PART | JUNK, "delta": WORDS | JUNK,
        "transcript": WORDS | JUNK, "text": WORDS | JUNK, "arguments": WORDS | JUNK,
        "audio_start_ms": TIMES, "audio_end_ms": TIMES, "start": TIMES, "end": TIMES,
        "id": IDS | JUNK, "speaker": WORDS | JUNK, "error": JUNK,
        "session": st.fixed_dictionaries({"audio": st.fixed_dictionaries({"input":
            st.fixed_dictionaries({"turn_detection": st.dictionaries(st.sampled_from(
                ["silence_duration_ms", "prefix_padding_ms"]), TIMES) | JUNK})})}) | JUNK,
        "response": st.fixed_dictionaries({"id": RESPONSES | JUNK}, optional={
            "status": st.sampled_from(["completed", "cancelled", "failed", "incomplete"]) | JUNK,
            "status_details": st.dictionaries(st.just("reason"), WORDS | JUNK) | JUNK,
            "output": st.lists(ITEM | JUNK, max_size=2) | JUNK,
            "usage": st.fixed_dictionaries({"output_token_details": st.dictionaries(
                st.just("audio_tokens"), st.integers(-1, 200) | JUNK)}) | JUNK,
        }) | JUNK,
    },
)  # fmt: skip
TYPES = st.sampled_from([*_HANDLERS, "conversation.item.create", "new"]) | JUNK
EVENTS = st.lists(
    st.tuples(st.sampled_from(["down", "down", "down", "up"]), TYPES, FIELDS, st.integers(0, 1000)),
    max_size=40,
)


def check(transcript: Transcript) -> None:
    ids = [turn.id for turn in transcript.turns]
    assert len(ids) == len(set(ids))
    for turn in transcript.turns:
        assert turn.start_ms >= 0
        assert turn.end_ms is None or turn.start_ms <= turn.end_ms
        assert turn.text.startswith(turn.audible_text)
        if turn.heard is not None:
            assert len(turn.heard.text) < len(turn.text)
            assert turn.speaker == "assistant"
        assert turn.revision <= transcript.revision
    if transcript.is_final:
        assert all(turn.status != "live" for turn in transcript.turns)
        assert all(turn.end_ms is not None for turn in transcript.turns)
        assert all(turn.transcription != "pending" for turn in transcript.turns)


def apply(order: list[str], transcript: Transcript, since: int) -> None:
    """What a live page does with the changes."""
    for change in transcript.since(since):
        if change.turn.id in order:
            order.remove(change.turn.id)
        order.insert(order.index(change.after) + 1 if change.after else 0, change.turn.id)


@given(EVENTS)
def test_transcript_of_any_events_keeps_its_invariants(
    events: list[tuple[Direction, Any, dict[str, Any], int]],
) -> None:
    transcriber, order, at_ms, revision = Transcriber(STARTED_AT), list[str](), 0, 0

    for way, event_type, fields, wait_ms in events:
        at_ms += wait_ms
        transcriber.handle(way, {"type": event_type, **fields}, at_ms)
        transcript = transcriber.transcript
        check(transcript)
        apply(order, transcript, revision)
        revision = transcript.revision
        assert order == [turn.id for turn in transcript.turns]
    transcriber.finish(at_ms + 100)

    final = transcriber.transcript
    check(final)
    told = json.dumps(final.to_json(), ensure_ascii=False)
    told.encode()
    assert Transcript.from_json(json.loads(told)) == final
    webvtt(final).encode()
    plain_text(final).encode()


@given(EVENTS)
def test_transcript_is_the_same_whether_it_was_watched_or_not(
    events: list[tuple[Direction, Any, dict[str, Any], int]],
) -> None:
    watched, unwatched, at_ms = Transcriber(STARTED_AT), Transcriber(STARTED_AT), 0

    for way, event_type, fields, wait_ms in events:
        at_ms += wait_ms
        for transcriber in (watched, unwatched):
            transcriber.handle(way, {"type": event_type, **fields}, at_ms)
        assert watched.transcript.turns is not None

    assert watched.transcript == unwatched.transcript


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=30))
def test_items_wherever_they_are_put_are_in_the_conversations_order(
    steps: list[tuple[int, bool]],
) -> None:
    talk, conversation = Talk(), list[str]()

    for n, (where, is_deletion) in enumerate(steps):
        if is_deletion and conversation:
            gone = conversation.pop(where % len(conversation))
            talk.down(n, "conversation.item.deleted", item_id=gone)
        else:
            at = where % (len(conversation) + 1)
            previous = conversation[at - 1] if at else None
            if previous is None:
                talk.up(n, "conversation.item.create", previous_item_id="root",
                        item={"id": f"i{n}"})  # fmt: skip
            conversation.insert(at, f"i{n}")
            talk.add(n, message(f"i{n}", "user"), previous)

    assert [turn.id for turn in talk.transcript.turns if not turn.is_deleted] == conversation


@given(st.text(max_size=200), st.integers(0, 5000), st.integers(1, 5000))
def test_heard_prefix_is_a_beginning_that_grows_with_time(
    text: str, heard_ms: int, duration_ms: int
) -> None:
    heard = heard_prefix(text, heard_ms, duration_ms)
    later = heard_prefix(text, heard_ms + 100, duration_ms)

    assert text.startswith(heard)
    assert later.startswith(heard)
    assert heard_prefix(text, duration_ms, duration_ms) == text


@pytest.mark.parametrize(
    ("text", "heard_ms", "heard"),
    [
        ("one two three", 0, ""),
        ("one two three", 30, "one"),
        ("one two three", 50, "one"),
        ("one two three", 60, "one two"),
        ("one two three", 99, "one two"),
        ("one two three", 100, "one two three"),
        ("你好我能听到你", 50, "你好我"),
        ("x" * 100, 50, "x" * 50),
        ("", 50, ""),
    ],
)
def test_heard_prefix_ends_with_a_word(text: str, heard_ms: int, heard: str) -> None:
    assert heard_prefix(text, heard_ms, 100) == heard
