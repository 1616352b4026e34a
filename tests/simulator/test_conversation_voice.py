"""Turns by voice: what is heard, answered, interrupted."""

from __future__ import annotations

from relay.simulator.outbox import Cut, Play
from tests.simulator.stage import HELLO, STORY, Stage

WITH_TRANSCRIPTS = {"audio": {"input": {"transcription": {"model": "gpt-transcribe"}}}}


def test_conversation_at_start_says_session_created_with_the_effective_session() -> None:
    stage = Stage({"instructions": "Be brief."})

    created = stage.only("session.created")

    assert created["session"]["instructions"] == "Be brief."
    assert created["session"]["audio"]["input"]["turn_detection"]["type"] == "server_vad"


def test_turn_spoken_to_its_end_gets_events_in_openais_order() -> None:
    stage = Stage(WITH_TRANSCRIPTS)

    stage.pause(1.0)
    stage.take_turn(1.0)
    stage.wait(3.0)

    kinds = [kind for kind in stage.kinds if not kind.endswith(".delta")]
    assert kinds == [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "rate_limits.updated",
        "conversation.item.input_audio_transcription.completed",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "output_audio_buffer.started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "output_audio_buffer.stopped",
    ]
    assert stage.audio == [Play(HELLO)]


def test_turn_spoken_to_its_end_is_measured_in_audio_time() -> None:
    stage = Stage(WITH_TRANSCRIPTS)

    stage.pause(1.0)
    stage.take_turn(1.0)
    stage.wait(0.3)

    started = stage.only("input_audio_buffer.speech_started")
    stopped = stage.only("input_audio_buffer.speech_stopped")
    assert started["audio_start_ms"] == 1000 - 300  # prefix padding
    assert stopped["audio_end_ms"] == 2500  # the silence window is part of it
    assert started["item_id"] == stopped["item_id"]
    done = stage.only("conversation.item.input_audio_transcription.completed")
    assert done["transcript"] == "(1.8 s of speech)"
    assert done["usage"]["input_tokens"] == 18
    assert done["usage"]["total_tokens"] == 18 + done["usage"]["output_tokens"]


def test_transcript_of_an_answer_is_paced_with_its_audio() -> None:
    stage = Stage(think_s=0.2)
    stage.take_turn(1.0)

    stage.wait(3.0)

    deltas = stage.all("response.output_audio_transcript.delta")
    assert "".join(delta["delta"] for delta in deltas) == HELLO.text
    began, first = stage.at("output_audio_buffer.started"), stage.at(deltas[0]["type"])
    assert round(first - began, 3) == 0.32  # the chime comes first
    assert round(stage.at("response.done") - began, 3) == 1.8
    assert round(stage.at("output_audio_buffer.stopped") - began, 3) == 2.0


def test_usage_grows_with_the_conversation_and_most_of_it_is_cached() -> None:
    stage = Stage({"instructions": ""})

    for _ in range(8):
        stage.take_turn(2.0)
        stage.wait(12.0)

    first, *_, last = [done["response"]["usage"] for done in stage.all("response.done")]
    # 2.5 s of speech (the prefix is clipped at the beginning) at 100 ms a token
    assert first["input_token_details"]["audio_tokens"] == 25
    assert first["output_token_details"]["audio_tokens"] == 40  # 2 s at 50 ms a token
    assert first["input_token_details"]["cached_tokens"] == 0
    assert last["input_tokens"] > 10 * first["input_tokens"]
    details = last["input_token_details"]
    assert details["cached_tokens"] == sum(details["cached_tokens_details"].values())
    assert 0.7 * last["input_tokens"] < details["cached_tokens"] < last["input_tokens"]
    assert last["total_tokens"] == last["input_tokens"] + last["output_tokens"]


def test_speech_into_an_answer_cancels_clears_and_truncates_it() -> None:
    stage = Stage()
    stage.take_turn(1.0)
    stage.wait(1.2)  # 0.2 s of thinking, 1 s of audio
    stage.forget()

    stage.speak(0.1)

    assert stage.kinds == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "output_audio_buffer.cleared",
        "conversation.item.truncated",
    ]
    response = stage.only("response.done")["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert response["usage"]["output_token_details"]["audio_tokens"] > 0
    truncated = stage.only("conversation.item.truncated")
    assert truncated["audio_end_ms"] == 1060  # the onset took 60 ms
    assert stage.audio == [Cut(1060)]
    item = stage.conversation.history.find(truncated["item_id"])
    assert item is not None
    assert item.wire["content"][0]["transcript"] == HELLO.spoken_by(1060)


def test_speech_after_response_done_clears_what_still_plays() -> None:
    stage = Stage()
    stage.take_turn(1.0)
    stage.wait(0.2 + 1.85)
    stage.forget()

    stage.speak(0.1)

    assert stage.kinds == [
        "input_audio_buffer.speech_started",
        "output_audio_buffer.cleared",
        "conversation.item.truncated",
    ]


def test_speech_into_an_answer_when_interruption_is_off_changes_nothing() -> None:
    stage = Stage({"audio": {"input": {"turn_detection": {"interrupt_response": False}}}})
    stage.take_turn(1.0)
    stage.wait(1.2)
    stage.forget()

    stage.speak(0.1)
    stage.wait(2.0)

    assert "output_audio_buffer.cleared" not in stage.kinds
    assert stage.only("response.done")["response"]["status"] == "completed"


def test_turn_after_an_interruption_gets_the_next_line() -> None:
    stage = Stage()
    stage.take_turn(1.0)
    stage.wait(1.2)

    stage.take_turn(1.0)
    stage.wait(0.5)

    assert [entry for entry in stage.audio if isinstance(entry, Play)] == [Play(HELLO), Play(STORY)]


def test_speech_that_ends_with_the_packets_is_ended_by_the_clock() -> None:
    stage = Stage()
    stage.speak(1.0)

    stage.wait(1.0)  # discontinuous transmission, or a muted microphone

    stopped = stage.only("input_audio_buffer.speech_stopped")
    assert stopped["audio_end_ms"] == 1500


def test_turn_when_create_response_is_off_waits_for_response_create() -> None:
    stage = Stage({"audio": {"input": {"turn_detection": {"create_response": False}}}})
    stage.take_turn(1.0)
    stage.wait(1.0)
    assert "response.created" not in stage.kinds

    stage.send("response.create")
    stage.wait(3.0)

    assert stage.only("response.done")["response"]["status"] == "completed"


def test_turn_detection_null_leaves_commit_and_response_to_the_client() -> None:
    stage = Stage({"audio": {"input": {"turn_detection": None}}})

    stage.speak(1.0)
    stage.pause(2.0)
    assert stage.kinds == ["session.created"]
    stage.send("input_audio_buffer.commit")
    stage.send("response.create")
    stage.wait(3.0)

    item = stage.all("conversation.item.done")[0]["item"]
    assert item["content"] == [{"type": "input_audio", "transcript": None}]
    usage = stage.only("response.done")["response"]["usage"]
    assert usage["input_token_details"]["audio_tokens"] == 30


def test_commit_of_an_empty_buffer_is_refused() -> None:
    stage = Stage({"audio": {"input": {"turn_detection": None}}})
    stage.speak(1.0)
    stage.send("input_audio_buffer.clear")

    stage.send("input_audio_buffer.commit", event_id="mine")

    assert stage.error()["code"] == "input_audio_buffer_commit_empty"
    assert stage.error()["event_id"] == "mine"
    assert stage.only("input_audio_buffer.cleared")


def test_audio_appended_by_events_counts_by_its_length() -> None:
    stage = Stage({"audio": {"input": {"turn_detection": None}}})

    stage.send("input_audio_buffer.append", audio="A" * 64 * 500)
    stage.send("input_audio_buffer.commit")
    stage.send("response.create")
    stage.wait(3.0)

    usage = stage.only("response.done")["response"]["usage"]
    assert usage["input_token_details"]["audio_tokens"] == 5


def test_turn_detection_switched_off_in_a_turn_abandons_it() -> None:
    stage = Stage()
    stage.speak(0.5)

    stage.send(
        "session.update",
        session={"type": "realtime", "audio": {"input": {"turn_detection": None}}},
    )
    stage.pause(2.0)

    assert "input_audio_buffer.speech_stopped" not in stage.kinds


def test_semantic_vad_ends_a_turn_by_its_eagerness() -> None:
    stage = Stage(
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}}
    )
    stage.speak(1.0)

    stage.pause(0.98)
    assert "input_audio_buffer.speech_stopped" not in stage.kinds
    stage.pause(0.02)

    assert stage.only("input_audio_buffer.speech_stopped")


def test_idle_timeout_after_an_answer_makes_an_empty_turn() -> None:
    stage = Stage({"audio": {"input": {"turn_detection": {"idle_timeout_ms": 5000}}}})
    stage.take_turn(1.0)
    stage.pause(2.2)  # the answer is over
    stage.forget()

    stage.pause(5.1)

    triggered = stage.only("input_audio_buffer.timeout_triggered")
    assert triggered["audio_end_ms"] > triggered["audio_start_ms"]
    assert stage.only("response.created")


def test_session_at_its_longest_duration_expires_and_closes() -> None:
    stage = Stage(max_duration_s=60.0)

    stage.wait(59.9)
    assert stage.closed == []
    stage.wait(0.2)

    assert stage.error()["code"] == "session_expired"
    assert stage.error()["message"] == "Your session hit the maximum duration of 1 minutes."
    assert stage.closed == ["session_expired"]
    assert stage.conversation.deadline is None


def test_response_while_the_one_before_still_plays_starts_after_it() -> None:
    stage = Stage()
    stage.take_turn(1.0)
    stage.wait(0.2 + 1.85)  # response.done was sent, 150 ms of audio are left
    stage.forget()

    stage.send("response.create")
    stage.wait(1.0)

    order = [kind for kind in stage.kinds if kind.startswith("output_audio_buffer")]
    assert order == ["output_audio_buffer.stopped", "output_audio_buffer.started"]
