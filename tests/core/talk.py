"""Events as OpenAI sends them, for tests: the generator is far ahead of what is heard."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from relay.core.transcriber import Transcriber
from relay.core.transcript import Transcript, Turn

STARTED_AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

ASR = "conversation.item.input_audio_transcription"
SERVER_VAD = {"type": "server_vad", "silence_duration_ms": 500, "prefix_padding_ms": 300}


def message(
    item_id: str, role: str, *parts: dict[str, Any], status: str = "completed"
) -> dict[str, Any]:
    return {
        "id": item_id,
        "type": "message",
        "role": role,
        "status": status,
        "content": list(parts),
    }


class Talk:
    """A call's events into a transcriber; times in ms."""

    def __init__(self) -> None:
        self.transcriber = Transcriber(STARTED_AT)

    @property
    def transcript(self) -> Transcript:
        return self.transcriber.transcript

    def turn(self, item_id: str) -> Turn:
        (found,) = [turn for turn in self.transcript.turns if turn.id == item_id]
        return found

    @property
    def order(self) -> list[str]:
        return [turn.id for turn in self.transcript.turns]

    def down(self, at_ms: float, type_: str, **fields: Any) -> None:
        self.transcriber.handle("down", {"type": type_, "event_id": "event_1", **fields}, at_ms)

    def up(self, at_ms: float, type_: str, **fields: Any) -> None:
        self.transcriber.handle("up", {"type": type_, **fields}, at_ms)

    def configure(self, turn_detection: Any = SERVER_VAD) -> None:
        audio = {"input": {"turn_detection": turn_detection}}
        self.down(0, "session.created", session={"type": "realtime", "audio": audio})

    def add(
        self, at_ms: float, item: dict[str, Any], previous: str | None = None, *, done: bool = True
    ) -> None:
        for event in ("added", "done") if done else ("added",):
            self.down(at_ms, f"conversation.item.{event}", item=item, previous_item_id=previous)

    def say(self, item_id: str, begin_ms: int, end_ms: int, previous: str | None = None) -> None:
        """A user's speech, found by a VAD that takes 100 ms to notice and 500 ms to be sure."""
        self.down(begin_ms + 100, "input_audio_buffer.speech_started",
                  item_id=item_id, audio_start_ms=begin_ms - 300)  # fmt: skip
        self.down(end_ms + 500, "input_audio_buffer.speech_stopped",
                  item_id=item_id, audio_end_ms=end_ms + 500)  # fmt: skip
        self.down(end_ms + 500, "input_audio_buffer.committed",
                  item_id=item_id, previous_item_id=previous)  # fmt: skip
        part = {"type": "input_audio", "transcript": None}
        self.add(end_ms + 500, message(item_id, "user", part), previous)

    def transcribed(self, at_ms: float, item_id: str, text: str) -> None:
        self.down(at_ms, f"{ASR}.completed", item_id=item_id, content_index=0, transcript=text)

    def answer(
        self,
        item_id: str,
        at_ms: int,
        text: str,
        previous: str | None = None,
        *,
        response_id: str = "resp_1",
        in_conversation: bool = True,
    ) -> None:
        """A spoken answer begins to play at `at_ms`; all of its text is there 200 ms later."""
        place = {"response_id": response_id, "item_id": item_id, "content_index": 0}
        item = message(item_id, "assistant", status="in_progress")
        self.down(at_ms - 100, "response.created", response={"id": response_id})
        self.down(at_ms - 50, "response.output_item.added", response_id=response_id, item=item)
        if in_conversation:
            self.add(at_ms - 50, item, previous, done=False)
        self.down(at_ms - 50, "response.content_part.added", **place,
                  part={"type": "audio", "transcript": ""})  # fmt: skip
        self.down(at_ms, "output_audio_buffer.started", response_id=response_id)
        for n in range(0, len(text), 7):
            delta = text[n : n + 7]
            self.down(at_ms + 200 * n / len(text), "response.output_audio_transcript.delta",
                      **place, delta=delta)  # fmt: skip
        self.down(at_ms + 200, "response.output_audio_transcript.done", **place, transcript=text)

    def done(
        self,
        at_ms: int,
        item_id: str,
        text: str,
        *,
        response_id: str = "resp_1",
        status: str = "completed",
        audio_ms: int | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        """The response is generated; its audio is `audio_ms` long, where that is told."""
        part = {"type": "output_audio", "transcript": text}
        ended = "completed" if status == "completed" else "incomplete"
        item = message(item_id, "assistant", part, status=ended)
        usage = None
        if audio_ms is not None:
            usage = {"output_token_details": {"text_tokens": 9, "audio_tokens": audio_ms // 50}}
        self.down(at_ms, "response.output_item.done", response_id=response_id, item=item)
        self.down(at_ms, "conversation.item.done", item=item)
        response = {"id": response_id, "status": status, "status_details": details,
                    "output": [item], "usage": usage}  # fmt: skip
        self.down(at_ms, "response.done", response=response)
