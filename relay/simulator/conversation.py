"""The conversation: OpenAI's Realtime session as a sans-I/O state machine.

Client events, audio levels and time go in; server events and audio commands come out by `drain`.
All times `now` are seconds of one monotonic clock; `deadline` says when time alone changes
something. In scope: one response at a time, turns by server_vad, semantic_vad (treated alike, a
longer or shorter silence) or by hand, text, functions, interruption, usage, the longest duration.
Out of scope: understanding anything, speech recognition, MCP, parallel responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from relay.simulator import client_events
from relay.simulator.checks import number, object_, text
from relay.simulator.errors import RejectedError, missing
from relay.simulator.history import History, Item, item_from_client
from relay.simulator.input import InputBuffer
from relay.simulator.lines import Script
from relay.simulator.outbox import Close, Cut, NewId, Outbox, Output
from relay.simulator.playback import Playback
from relay.simulator.response import Called, Plan, Response, ResponseSettings, Spoken, Written
from relay.simulator.session_config import check_response, turn_detection_of, updated
from relay.simulator.tools import example_arguments, tool_to_call
from relay.simulator.usage import Meter, RateLimits, Tokens, text_tokens
from relay.simulator.vad import SpeechStarted, SpeechStopped

EVENT_OVERHEAD_BYTES = 4096
_PCM_BYTES_PER_MS = 48  # audio/pcm: 24 kHz mono, 16 bits


class Conversation:
    """`session` is the effective session object; `max_message_bytes` what the client takes in one
    message (0: anything)."""

    def __init__(
        self,
        session: dict[str, Any],
        script: Script,
        new_id: NewId,
        *,
        now: float,
        think_s: float = 0.2,
        max_duration_s: float = 3600.0,
        max_message_bytes: int = 0,
    ) -> None:
        self.session = session
        self.history = History()
        self._outbox = Outbox(new_id)
        self._id = new_id("conv")
        self._script = script
        self._think_s = think_s
        self._max_message_bytes = max_message_bytes
        self._max_duration_s = max_duration_s
        self._expires_at = now + max_duration_s
        self._input = InputBuffer(self._outbox, self.history)
        self._configure_input()
        self._response: Response | None = None
        self._playback: Playback | None = None
        self._meter = Meter()
        self._limits = RateLimits()
        self._answers = 0
        self._audio_was_spoken = False
        self._idle_at: float | None = None
        self._ended = False
        self._outbox.emit("session.created", session=self.session)

    # Inputs

    def handle_event(self, message: str | bytes, now: float) -> None:
        """Takes one client event as it came; whatever it is, the answer is an event."""
        event_id = None
        try:
            event = client_events.parse_event(message)
            event_id = client_events.id_of(event)
            client_events.check_envelope(event)
            _HANDLERS[event["type"]](self, event, now)
        except RejectedError as error:
            self._outbox.error(error, client_event_id=event_id)

    def handle_audio(self, level_dbfs: float, duration_ms: float, at_ms: float, now: float) -> None:
        """Takes one frame of input audio that begins `at_ms` after the first one."""
        for event in self._input.hear(level_dbfs, duration_ms, at_ms, now):
            self._turn(event, now)

    def handle_timer(self, now: float) -> None:
        """Does everything that is due; call it at `deadline`, sooner or later is fine."""
        while not self._ended and (due := self.deadline) is not None and due <= now:
            self._do_next(due, now)

    @property
    def deadline(self) -> float | None:
        """When time alone changes something; None: never."""
        if self._ended:
            return None
        return min(due for due in self._deadlines() if due is not None)

    def drain(self) -> list[Output]:
        return self._outbox.drain()

    # Time

    def _deadlines(self) -> tuple[float | None, ...]:
        return (
            self._response.due if self._response else None,
            self._playback.ends_at if self._playback else None,
            self._input.deadline,
            self._idle_at,
            self._expires_at,
        )

    def _do_next(self, due: float, now: float) -> None:
        if self._response and self._response.due == due:
            self._step_response(self._response, now)
        elif self._playback and self._playback.ends_at == due:
            self._end_playback(now)
        elif self._input.deadline == due:
            for event in self._input.handle_timer(now):
                self._turn(event, now)
        elif self._idle_at == due:
            self._time_out_idle(now)
        else:
            self._expire()

    def _step_response(self, response: Response, now: float) -> None:
        response.step(now)
        if response.is_done:
            self._response = None
            self._wait_for_idle(now)

    def _end_playback(self, now: float) -> None:
        assert self._playback is not None
        self._outbox.emit("output_audio_buffer.stopped", response_id=self._playback.response_id)
        self._playback = None
        self._wait_for_idle(now)

    def _wait_for_idle(self, now: float) -> None:
        settings = turn_detection_of(self.session)
        if settings and settings.idle_timeout_ms and not (self._response or self._playback):
            self._idle_at = now + settings.idle_timeout_ms / 1000

    def _time_out_idle(self, now: float) -> None:
        self._idle_at = None
        self._input.time_out(now)
        self._respond({}, now)

    def _expire(self) -> None:
        self._ended = True
        minutes = self._max_duration_s / 60
        self._outbox.error(
            RejectedError(
                f"Your session hit the maximum duration of {minutes:g} minutes.",
                code="session_expired",
            )
        )
        self._outbox.put(Close("session_expired"))

    # Turns

    def _turn(self, event: SpeechStarted | SpeechStopped, now: float) -> None:
        settings = turn_detection_of(self.session)
        assert settings is not None
        self._idle_at = None
        if isinstance(event, SpeechStarted):
            if settings.interrupt_response:
                self._interrupt(now)
        elif settings.create_response and self._response is None:
            self._respond({}, now)

    def _interrupt(self, now: float) -> None:
        if self._response:
            self._response.cancel("turn_detected", now)
            self._response = None
        self._clear_playback(now)

    def _clear_playback(self, now: float) -> None:
        playback, self._playback = self._playback, None
        if playback is None:
            return
        heard_ms = playback.played_ms(now)
        self._outbox.put(Cut(heard_ms))
        self._outbox.emit("output_audio_buffer.cleared", response_id=playback.response_id)
        playback.truncate_item(heard_ms)
        if self.history.find(playback.item.id):
            self._emit_truncated(playback.item.id, heard_ms)

    def _emit_truncated(self, item_id: str, audio_end_ms: int) -> None:
        self._outbox.emit(
            "conversation.item.truncated",
            item_id=item_id,
            content_index=0,
            audio_end_ms=audio_end_ms,
        )

    # Responses

    def _respond(self, asked: Mapping[str, Any], now: float) -> None:
        """Starts a response; `asked` is `response.create`'s `response`, checked."""
        settings = self._response_settings({**self.session, **asked}, asked)
        given = self._given()
        self._idle_at = None
        self._response = Response(
            id=self._outbox.new_id("resp"),
            settings=settings,
            outbox=self._outbox,
            history=self.history,
            bill=partial(self._meter.usage, given),
            play=self._play,
        )
        self._response.start(now)
        reserved = settings.max_output_tokens or 4096
        self._outbox.emit(
            "rate_limits.updated",
            rate_limits=self._limits.reserve(given.total + reserved, now),
        )

    def _response_settings(
        self, effective: Mapping[str, Any], asked: Mapping[str, Any]
    ) -> ResponseSettings:
        limit = effective["max_output_tokens"]
        return ResponseSettings(
            plan=self._plan(effective),
            voice=self.session["audio"]["output"]["voice"],
            conversation_id=self._id,
            in_conversation=asked.get("conversation") != "none",
            metadata=asked.get("metadata"),
            max_output_tokens=None if limit in ("inf", None) else limit,
            think_s=self._think_s,
            not_before=self._playback.ends_at if self._playback else 0.0,
        )

    def _plan(self, effective: Mapping[str, Any]) -> Plan:
        tool = tool_to_call(
            effective["tools"], effective["tool_choice"], self.history, self._input.turns
        )
        if tool is not None:
            return Called(tool["name"], example_arguments(tool.get("parameters")))
        last = self.history.last
        if last is not None and last.wire["type"] == "function_call_output":
            line = self._script.tool
        else:
            line = self._script.answer(self._answers)
            self._answers += 1
        return Written(line.text) if effective["output_modalities"] == ["text"] else Spoken(line)

    def _play(self, playback: Playback) -> None:
        self._playback = playback
        self._audio_was_spoken = True

    def _given(self) -> Tokens:
        """What a response is given: the instructions, the tools and everything that was said."""
        fixed = self.session["instructions"] + "".join(map(str, self.session["tools"]))
        return Tokens(text_tokens(fixed)) + self.history.tokens

    # Client events

    def _update_session(self, event: Mapping[str, Any], _now: float) -> None:
        if "session" not in event:
            raise missing("session")
        self.session = updated(
            self.session, event["session"], audio_was_spoken=self._audio_was_spoken
        )
        self._configure_input()
        self._outbox.emit("session.updated", session=self.session)

    def _configure_input(self) -> None:
        transcription = self.session["audio"]["input"]["transcription"]
        self._input.configure(turn_detection_of(self.session), transcription)

    def _append(self, event: Mapping[str, Any], _now: float) -> None:
        self._input.append(event.get("audio"))

    def _commit(self, _event: Mapping[str, Any], now: float) -> None:
        self._input.commit_by_hand(now)

    def _clear_input(self, _event: Mapping[str, Any], _now: float) -> None:
        self._input.clear()

    def _clear_output(self, _event: Mapping[str, Any], now: float) -> None:
        if self._response:
            self._response.cancel("client_cancelled", now)
            self._response = None
        self._clear_playback(now)

    def _create_item(self, event: Mapping[str, Any], _now: float) -> None:
        if "item" not in event:
            raise missing("item")
        item = item_from_client(event["item"], self._outbox.new_id("item"))
        previous = self.history.add(item, after=event.get("previous_item_id"))
        for type_ in ("conversation.item.added", "conversation.item.done"):
            self._outbox.emit(type_, previous_item_id=previous, item=item.wire)

    def _delete_item(self, event: Mapping[str, Any], _now: float) -> None:
        item = self.history.get(event.get("item_id"), "delete")
        self.history.remove(item)
        self._outbox.emit("conversation.item.deleted", item_id=item.id)

    def _retrieve_item(self, event: Mapping[str, Any], _now: float) -> None:
        item = self.history.get(event.get("item_id"), "retrieve")
        self._outbox.emit("conversation.item.retrieved", item=self._with_audio(item))

    def _with_audio(self, item: Item) -> dict[str, Any]:
        """The item with its audio in full, as OpenAI returns it: silence of the right length, and
        none at all where the client could not take the message."""
        encoded_bytes = item.audio_ms * _PCM_BYTES_PER_MS // 3 * 4
        limit = self._max_message_bytes
        if not item.audio_ms or (limit and encoded_bytes + EVENT_OVERHEAD_BYTES > limit):
            return item.wire
        content = [{**part, "audio": "A" * encoded_bytes} for part in item.wire["content"]]
        return {**item.wire, "content": content}

    def _truncate_item(self, event: Mapping[str, Any], _now: float) -> None:
        item = self.history.get(event.get("item_id"), "truncate")
        if not item.is_assistant or not item.audio_ms:
            raise RejectedError(
                "Only model output audio messages can be truncated.",
                code="invalid_value",
                param="item_id",
            )
        if "audio_end_ms" not in event:
            raise missing("audio_end_ms")
        audio_end_ms = event["audio_end_ms"]
        number(0, 2**31, whole=True)(audio_end_ms, "audio_end_ms")
        if audio_end_ms > item.audio_ms:
            raise RejectedError(
                f"Audio content of {item.audio_ms}ms is already shorter than {audio_end_ms}ms",
                code="invalid_value",
                param="audio_end_ms",
            )
        item.audio_ms = audio_end_ms
        self._emit_truncated(item.id, audio_end_ms)

    def _create_response(self, event: Mapping[str, Any], now: float) -> None:
        asked = event.get("response")
        if asked is not None:
            object_(asked, "response")
            check_response(asked)
        if self._response:
            raise RejectedError(
                "Conversation already has an active response in progress: "
                f"{self._response.id}. Wait until the response is finished before creating a "
                "new one.",
                code="conversation_already_has_active_response",
            )
        self._respond(asked or {}, now)

    def _cancel_response(self, event: Mapping[str, Any], now: float) -> None:
        wanted = event.get("response_id")
        if wanted is not None:
            text(wanted, "response_id")
        if self._response is None or wanted not in (None, self._response.id):
            raise RejectedError(
                "Cancellation failed: no active response found", code="response_cancel_not_active"
            )
        self._response.cancel("client_cancelled", now)
        if self._playback:
            self._outbox.put(Cut(self._playback.end_ms))
        self._response = None


_HANDLERS = {
    "session.update": Conversation._update_session,
    "input_audio_buffer.append": Conversation._append,
    "input_audio_buffer.commit": Conversation._commit,
    "input_audio_buffer.clear": Conversation._clear_input,
    "output_audio_buffer.clear": Conversation._clear_output,
    "conversation.item.create": Conversation._create_item,
    "conversation.item.delete": Conversation._delete_item,
    "conversation.item.retrieve": Conversation._retrieve_item,
    "conversation.item.truncate": Conversation._truncate_item,
    "response.create": Conversation._create_response,
    "response.cancel": Conversation._cancel_response,
}
