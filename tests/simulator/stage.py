"""A conversation on a stage: its clock, its microphone and its client are the test's."""

from __future__ import annotations

import itertools
import json
from typing import Any

from relay.simulator.conversation import Conversation
from relay.simulator.lines import Line, Script
from relay.simulator.outbox import Close, Cut, Output, Play, Send
from relay.simulator.session_config import new_session

LOUD_DBFS = -25.0
QUIET_DBFS = -70.0
FRAME_MS = 20

HELLO = Line("hello", "Hello! I can hear you.", (b"\xf8",) * 100, 320)  # 2 s
STORY = Line("story", "This one is so long that it is easy to interrupt.", (b"\xf8",) * 500, 320)
TOOL = Line("tool", "The tool has answered.", (b"\xf8",) * 60, 320)
SCRIPT = Script((HELLO, STORY), TOOL)

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "kelvin"]}},
        "required": ["city", "unit"],
    },
}


class Stage:
    """Everything a conversation does, in order: `events` for clients, `audio` for the speaker."""

    def __init__(self, session: dict[str, Any] | None = None, **options: Any) -> None:
        numbers = itertools.count(1)
        self.now = 1000.0
        self.outputs: list[tuple[float, Output]] = []
        self._audio_ms = 0.0
        given = None if session is None else {"type": "realtime", **session}
        self.conversation = Conversation(
            new_session("sess_1", "gpt-realtime-2.1", given),
            SCRIPT,
            lambda prefix: f"{prefix}_{next(numbers)}",
            now=self.now,
            **options,
        )
        self._collect()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [output.event for _, output in self.outputs if isinstance(output, Send)]

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def audio(self) -> list[Play | Cut]:
        return [output for _, output in self.outputs if isinstance(output, Play | Cut)]

    @property
    def closed(self) -> list[str]:
        return [output.reason for _, output in self.outputs if isinstance(output, Close)]

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def only(self, kind: str) -> dict[str, Any]:
        (event,) = self.all(kind)
        return event

    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.only("error")["error"]
        return error

    def at(self, kind: str) -> float:
        """When the first event of that kind was sent, in seconds from the beginning."""
        return next(
            at - 1000.0
            for at, output in self.outputs
            if isinstance(output, Send) and output.event["type"] == kind
        )

    def forget(self) -> None:
        self.outputs.clear()

    def send(self, type_: str, **fields: Any) -> None:
        self.send_raw(json.dumps({"type": type_, **fields}))

    def send_raw(self, message: str | bytes) -> None:
        self.conversation.handle_event(message, self.now)
        self._collect()

    def say(self, text: str) -> None:
        """A text message of the user."""
        item = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
        }
        self.send("conversation.item.create", item=item)

    def wait(self, seconds: float) -> None:
        """Time passes; what is due happens exactly when it is."""
        end = self.now + seconds
        while (due := self.conversation.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self.conversation.handle_timer(self.now)
            self._collect()
        self.now = end

    def hear(self, seconds: float, level_dbfs: float) -> None:
        """The microphone gives frames of one level."""
        for _ in range(round(seconds * 1000 / FRAME_MS)):
            self.wait(FRAME_MS / 1000)
            self.conversation.handle_audio(level_dbfs, FRAME_MS, self._audio_ms, self.now)
            self._audio_ms += FRAME_MS
            self._collect()

    def speak(self, seconds: float) -> None:
        self.hear(seconds, LOUD_DBFS)

    def pause(self, seconds: float) -> None:
        self.hear(seconds, QUIET_DBFS)

    def take_turn(self, seconds: float = 1.0) -> None:
        """Speech, and silence that is just long enough to end the turn."""
        self.speak(seconds)
        self.pause(0.5)

    def _collect(self) -> None:
        self.outputs += [(self.now, output) for output in self.conversation.drain()]
