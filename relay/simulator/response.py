"""One response: a generator that yields when its next step is due, from created to done.

Sans-I/O: the conversation sends it the time; it writes events to the outbox. Cancelling closes the
generator wherever it stands and finishes what was begun, as OpenAI does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

from relay.simulator.history import History, Item
from relay.simulator.lines import TAIL_MS, Line
from relay.simulator.outbox import Outbox, Play
from relay.simulator.playback import Playback
from relay.simulator.usage import (
    ASSISTANT_MS_PER_TOKEN,
    Tokens,
    assistant_audio_tokens,
    text_tokens,
)

WORDS_PER_S = 20.0
"""How fast a written answer or the arguments of a call arrive."""

Status = Literal["completed", "cancelled", "incomplete"]


@dataclass(frozen=True, slots=True)
class Spoken:
    line: Line


@dataclass(frozen=True, slots=True)
class Written:
    text: str


@dataclass(frozen=True, slots=True)
class Called:
    name: str
    arguments: Mapping[str, Any]


Plan = Spoken | Written | Called


@dataclass(frozen=True, slots=True)
class ResponseSettings:
    """What is true for the whole of a response.

    `in_conversation` is False for `conversation: "none"`: its items are nobody's history.
    `max_output_tokens` None means no limit. `not_before` keeps a line from talking into the one
    before it.
    """

    plan: Plan
    voice: Any
    conversation_id: str
    in_conversation: bool = True
    metadata: Mapping[str, Any] | None = None
    max_output_tokens: int | None = None
    think_s: float = 0.2
    not_before: float = 0.0


@dataclass(slots=True)
class Response:
    """`bill` turns what was produced into `usage`; `play` is told of the line that starts."""

    id: str
    settings: ResponseSettings
    outbox: Outbox
    history: History
    bill: Callable[[Tokens], dict[str, Any]]
    play: Callable[[Playback], None]
    due: float = 0.0
    is_done: bool = False
    _steps: Generator[float, float, None] | None = None
    _item: Item | None = None
    _previous_item_id: str | None = None
    _part_is_open: bool = False
    _said: str = ""
    _playback: Playback | None = None
    _output: list[dict[str, Any]] = field(default_factory=list)

    def start(self, now: float) -> None:
        self.outbox.emit("response.created", response=self._wire("in_progress"))
        self._steps = self._perform(now)
        self.due = next(self._steps)

    def step(self, now: float) -> None:
        """Does what is due."""
        assert self._steps is not None
        try:
            self.due = self._steps.send(now)
        except StopIteration:
            assert self.is_done

    def cancel(self, reason: Literal["turn_detected", "client_cancelled"], now: float) -> None:
        """Ends it where it stands; what was produced so far is billed."""
        assert self._steps is not None
        self._steps.close()
        if self._playback:
            self._playback.stop_generating(now)
        self._finish("cancelled", reason)

    def _perform(self, now: float) -> Generator[float, float, None]:
        plan = self.settings.plan
        now = yield max(now + self.settings.think_s, self.settings.not_before)
        match plan:
            case Spoken(line):
                yield from self._speak(line, now)
            case Written(text):
                yield from self._write(text, now)
            case Called(name, arguments):
                yield from self._call(name, arguments, now)
            case _:
                assert_never(plan)

    def _speak(self, line: Line, now: float) -> Generator[float, float, None]:
        item = self._open_message({"type": "audio", "transcript": ""})
        limit = self.settings.max_output_tokens
        limit_ms = line.duration_ms if limit is None else limit * ASSISTANT_MS_PER_TOKEN
        end_ms = min(line.duration_ms, limit_ms)
        self._playback = Playback(self.id, item, line, now, end_ms)
        self.outbox.put(Play(line))
        self.play(self._playback)
        self.outbox.emit("output_audio_buffer.started", response_id=self.id)
        for due_ms, word in line.words():
            if due_ms >= end_ms:
                break
            yield now + due_ms / 1000
            self._said += word
            self._delta("response.output_audio_transcript.delta", word, content_index=0)
        yield now + max(0, end_ms - TAIL_MS) / 1000
        self._finish_within_limit(end_ms == line.duration_ms)

    def _write(self, text: str, now: float) -> Generator[float, float, None]:
        self._open_message({"type": "text", "text": ""})
        limit = self.settings.max_output_tokens
        for n, word in enumerate(text.split(" ")):
            if limit is not None and text_tokens(self._said) >= limit:
                break
            yield now + n / WORDS_PER_S
            delta = word if n == 0 else f" {word}"
            self._said += delta
            self._delta("response.output_text.delta", delta, content_index=0)
        self._finish_within_limit(self._said == text)

    def _call(
        self, name: str, arguments: Mapping[str, Any], now: float
    ) -> Generator[float, float, None]:
        wire = {
            "id": self.outbox.new_id("item"),
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "name": name,
            "call_id": self.outbox.new_id("call"),
            "arguments": "",
        }
        self._open_item(wire)
        for n, piece in enumerate(_pieces(json.dumps(arguments))):
            yield now + n / WORDS_PER_S
            self._said += piece
            self._delta("response.function_call_arguments.delta", piece, call_id=wire["call_id"])
        self._finish("completed")

    def _open_message(self, part: dict[str, Any]) -> Item:
        wire = {
            "id": self.outbox.new_id("item"),
            "object": "realtime.item",
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        item = self._open_item(wire)
        self.outbox.emit("response.content_part.added", **self._place(content_index=0), part=part)
        self._part_is_open = True
        return item

    def _open_item(self, wire: dict[str, Any]) -> Item:
        self._item = Item(wire)
        self.outbox.emit(
            "response.output_item.added", response_id=self.id, output_index=0, item=wire
        )
        if self.settings.in_conversation:
            self._previous_item_id = self.history.add(self._item)
            self.outbox.emit(
                "conversation.item.added", previous_item_id=self._previous_item_id, item=wire
            )
        return self._item

    def _delta(self, type_: str, delta: str, **more: Any) -> None:
        self.outbox.emit(type_, **self._place(**more), delta=delta)

    def _place(self, **more: Any) -> dict[str, Any]:
        assert self._item is not None
        return {"response_id": self.id, "item_id": self._item.id, "output_index": 0, **more}

    def _finish_within_limit(self, is_whole: bool) -> None:
        if is_whole:
            self._finish("completed")
        else:
            self._finish("incomplete", "max_output_tokens")

    def _finish(self, status: Status, reason: str | None = None) -> None:
        self.is_done = True
        if self._item is not None:
            self._finish_item(self._item, "completed" if status == "completed" else "incomplete")
        self.outbox.emit("response.done", response=self._wire(status, reason))

    def _finish_item(self, item: Item, status: str) -> None:
        if self._part_is_open:
            self._finish_part(item)
        elif item.wire["type"] == "function_call":
            item.wire["arguments"] = self._said
            self.outbox.emit(
                "response.function_call_arguments.done",
                **self._place(call_id=item.wire["call_id"]),
                name=item.wire["name"],
                arguments=self._said,
            )
        item.wire["status"] = status
        self._output.append(item.wire)
        self.outbox.emit(
            "response.output_item.done", response_id=self.id, output_index=0, item=item.wire
        )
        if self.settings.in_conversation:
            self.outbox.emit(
                "conversation.item.done", previous_item_id=self._previous_item_id, item=item.wire
            )

    def _finish_part(self, item: Item) -> None:
        place = self._place(content_index=0)
        if self._playback:
            item.audio_ms = self._playback.end_ms
            item.wire["content"] = [{"type": "output_audio", "transcript": self._said}]
            self.outbox.emit("response.output_audio.done", **place)
            self.outbox.emit(
                "response.output_audio_transcript.done", **place, transcript=self._said
            )
            part = {"type": "audio", "transcript": self._said}
        else:
            item.wire["content"] = [{"type": "output_text", "text": self._said}]
            self.outbox.emit("response.output_text.done", **place, text=self._said)
            part = {"type": "text", "text": self._said}
        self.outbox.emit("response.content_part.done", **place, part=part)

    def _produced(self) -> Tokens:
        name = self._item.wire.get("name", "") if self._item else ""
        audio_ms = self._playback.end_ms if self._playback else 0
        return Tokens(text_tokens(name + self._said), assistant_audio_tokens(audio_ms))

    def _wire(self, status: str, reason: str | None = None) -> dict[str, Any]:
        details: dict[str, Any] | None = {"type": status, "reason": reason} if reason else None
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": self._output,
            "conversation_id": (
                self.settings.conversation_id if self.settings.in_conversation else None
            ),
            "output_modalities": ["text" if isinstance(self.settings.plan, Written) else "audio"],
            "max_output_tokens": self.settings.max_output_tokens or "inf",
            "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000},
                                 "voice": self.settings.voice}},
            "usage": self.bill(self._produced()) if self.is_done else None,
            "metadata": self.settings.metadata,
        }  # fmt: skip


def _pieces(text: str, size: int = 8) -> list[str]:
    return [text[n : n + size] for n in range(0, len(text), size)]
