"""The input audio buffer: turns found in it, commits by hand, and the transcripts of both."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from relay.simulator.checks import text
from relay.simulator.errors import RejectedError, missing
from relay.simulator.history import History, Item
from relay.simulator.outbox import Outbox
from relay.simulator.session_config import TurnDetection
from relay.simulator.usage import text_tokens, user_audio_tokens
from relay.simulator.vad import SpeechStarted, SpeechStopped, VoiceActivity

MIN_COMMIT_MS = 100
TRANSCRIPTION_S = 0.15
"""How long the transcript takes: it arrives while the answer is under way, as it does upstream."""

_PCM_BASE64_PER_MS = 64  # 24 kHz mono, 16 bits, four characters for three bytes
_MAX_APPEND_CHARS = 15 * 1024 * 1024 * 4 // 3
_LATENESS_S = 0.1
_PRICED_BY_DURATION = ("whisper-1", "gpt-realtime-whisper")


class InputBuffer:
    """What the user said. `turns` counts the committed ones.

    Audio that is appended by events counts by its length alone; only the track is listened to.
    """

    def __init__(self, outbox: Outbox, history: History) -> None:
        self.turns = 0
        self._settings: TurnDetection | None = None
        self._transcription: Mapping[str, Any] | None = None
        self._outbox = outbox
        self._history = history
        self._vad = VoiceActivity(None)
        self._heard_at: float | None = None
        self._committed_ms = 0
        self._appended_ms = 0
        self._item_id: str | None = None
        self._transcripts: deque[tuple[float, Item]] = deque(maxlen=100)

    def configure(
        self, settings: TurnDetection | None, transcription: Mapping[str, Any] | None
    ) -> None:
        self._settings = settings
        self._transcription = transcription
        self._vad.configure(settings)

    @property
    def deadline(self) -> float | None:
        """When a transcript is due, or when silence on the wire must end the turn."""
        silence = None
        if self._vad.is_speaking and self._settings and self._heard_at is not None:
            silence = self._heard_at + self._settings.silence_duration_ms / 1000 + _LATENESS_S
        due = [self._transcripts[0][0]] if self._transcripts else []
        return min([*due, silence] if silence is not None else due, default=None)

    def hear(
        self, level_dbfs: float, duration_ms: float, at_ms: float, now: float
    ) -> list[SpeechStarted | SpeechStopped]:
        """Takes one frame; what the events of it say has been emitted already."""
        self._heard_at = now
        return self._emitted(self._vad.hear(level_dbfs, duration_ms, at_ms), now)

    def handle_timer(self, now: float) -> list[SpeechStarted | SpeechStopped]:
        if self._transcripts and self._transcripts[0][0] <= now:
            self._emit_transcript(self._transcripts.popleft()[1])
            return []
        assert self._heard_at is not None
        silent_ms = (now - self._heard_at) * 1000
        self._heard_at = now
        return self._emitted(self._vad.silence_until(self._vad.position_ms + silent_ms), now)

    def append(self, audio: Any) -> None:
        """`input_audio_buffer.append`. Raises RejectedError."""
        if audio is None:
            raise missing("audio")
        text(audio, "audio")
        if len(audio) > _MAX_APPEND_CHARS:
            raise RejectedError(
                "Invalid 'audio': string too long.", code="string_above_max_length", param="audio"
            )
        self._appended_ms += len(audio) // _PCM_BASE64_PER_MS

    def commit_by_hand(self, now: float) -> None:
        """`input_audio_buffer.commit`. Raises RejectedError when there is too little audio."""
        audio_ms = self._uncommitted_ms
        if audio_ms < MIN_COMMIT_MS:
            raise RejectedError(
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{MIN_COMMIT_MS}ms of audio, but buffer only has {audio_ms:.2f}ms of audio.",
                code="input_audio_buffer_commit_empty",
            )
        self._commit(self._item_id or self._outbox.new_id("item"), audio_ms, now)
        self._vad.abandon()

    def clear(self) -> None:
        """`input_audio_buffer.clear`."""
        self._forget()
        self._vad.abandon()
        self._outbox.emit("input_audio_buffer.cleared")

    def time_out(self, now: float) -> None:
        """The user said nothing for `idle_timeout_ms`: what was heard becomes an empty turn."""
        item_id = self._outbox.new_id("item")
        self._outbox.emit(
            "input_audio_buffer.timeout_triggered",
            audio_start_ms=self._committed_ms,
            audio_end_ms=self._vad.position_ms,
            item_id=item_id,
        )
        self._commit(item_id, self._uncommitted_ms, now)

    @property
    def _uncommitted_ms(self) -> int:
        return self._vad.position_ms - self._committed_ms + self._appended_ms

    def _forget(self) -> None:
        self._committed_ms = self._vad.position_ms
        self._appended_ms = 0
        self._item_id = None

    def _emitted(
        self, events: list[SpeechStarted | SpeechStopped], now: float
    ) -> list[SpeechStarted | SpeechStopped]:
        for event in events:
            if isinstance(event, SpeechStarted):
                self._item_id = self._outbox.new_id("item")
                self._outbox.emit(
                    "input_audio_buffer.speech_started",
                    audio_start_ms=event.audio_start_ms,
                    item_id=self._item_id,
                )
            else:
                self._end_turn(event, now)
        return events

    def _end_turn(self, event: SpeechStopped, now: float) -> None:
        assert self._item_id is not None
        self._outbox.emit(
            "input_audio_buffer.speech_stopped",
            audio_end_ms=event.audio_end_ms,
            item_id=self._item_id,
        )
        self._commit(self._item_id, event.audio_end_ms - event.audio_start_ms, now)

    def _commit(self, item_id: str, audio_ms: int, now: float) -> None:
        self.turns += 1
        self._forget()
        wire = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        item = Item(wire, audio_ms)
        previous = self._history.add(item)
        self._outbox.emit(
            "input_audio_buffer.committed", previous_item_id=previous, item_id=item_id
        )
        for type_ in ("conversation.item.added", "conversation.item.done"):
            self._outbox.emit(type_, previous_item_id=previous, item=wire)
        if self._transcription is not None:
            self._transcripts.append((now + TRANSCRIPTION_S, item))

    def _emit_transcript(self, item: Item) -> None:
        """Nobody listens to words here, so the transcript says what is known: the length."""
        transcript = f"({item.audio_ms / 1000:.1f} s of speech)"
        item.wire["content"] = [{"type": "input_audio", "transcript": transcript}]
        name = "conversation.item.input_audio_transcription"
        place = {"item_id": item.id, "content_index": 0}
        self._outbox.emit(f"{name}.delta", **place, delta=transcript)
        usage = self._transcription_usage(item, transcript)
        self._outbox.emit(f"{name}.completed", **place, transcript=transcript, usage=usage)

    def _transcription_usage(self, item: Item, transcript: str) -> dict[str, Any]:
        model = (self._transcription or {}).get("model")
        if model in _PRICED_BY_DURATION:
            return {"type": "duration", "seconds": -(-item.audio_ms // 1000)}
        heard, written = user_audio_tokens(item.audio_ms), text_tokens(transcript)
        return {
            "type": "tokens",
            "total_tokens": heard + written,
            "input_tokens": heard,
            "output_tokens": written,
            "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        }
