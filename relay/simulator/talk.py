"""A call in which the simulator listens and speaks: a conversation with ears and a mouth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import assert_never

from relay.simulator.conversation import Conversation
from relay.simulator.lines import Line
from relay.simulator.listener import Listener
from relay.simulator.outbox import Close, Cut, Output, Play, Send
from relay.simulator.speaker import Speaker


class Talk:
    """Gives a conversation what arrives and does what it wants, until `close`.

    `speaker` is None where the client takes no audio, `frames` gives a line's packets in the
    negotiated codec.
    """

    def __init__(
        self,
        conversation: Conversation,
        listener: Listener,
        speaker: Speaker | None,
        frames: Callable[[Line], Sequence[bytes]],
        *,
        send_event: Callable[[str], None],
        end: Callable[[str], None],
    ) -> None:
        self._conversation = conversation
        self._listener = listener
        self._speaker = speaker
        self._frames = frames
        self._send_event = send_event
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def connected(self) -> None:
        self._settle(self._loop.time())

    def receive_rtp(self, packet: bytes, now: float) -> None:
        heard = self._listener.hear(packet)
        if heard is not None:
            self._conversation.handle_audio(heard.level_dbfs, heard.duration_ms, heard.at_ms, now)
            self._settle(now)

    def receive_message(self, message: str | bytes) -> None:
        now = self._loop.time()
        self._conversation.handle_event(message, now)
        self._settle(now)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._speaker is not None:
            self._speaker.stop()

    def _settle(self, now: float) -> None:
        for output in self._conversation.drain():
            self._do(output, now)
        self._arm()

    def _do(self, output: Output, now: float) -> None:
        match output:
            case Send(event):
                self._send_event(json.dumps(event, separators=(",", ":")))
            case Play(line):
                if self._speaker is not None:
                    self._speaker.play(self._frames(line), now)
            case Cut(at_ms):
                if self._speaker is not None:
                    self._speaker.cut(at_ms)
            case Close(reason):
                self._end(reason)
            case _:
                assert_never(output)

    def _arm(self) -> None:
        """A timer that stands for later is left alone when it would fire sooner than needed."""
        due = self._conversation.deadline
        if due is None or (self._timer is not None and self._due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        # uvloop's handle of what is due already has no when().
        self._timer, self._due = self._loop.call_at(due, self._fire), due

    def _fire(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._conversation.handle_timer(now)
        self._settle(now)
