"""Whole conversations with the simulator's core: every event of both directions, and its time."""

from __future__ import annotations

import json
from typing import Any

from relay.core.ids import Direction
from relay.simulator.outbox import Send
from tests.simulator.stage import WEATHER, Stage

TRANSCRIBED: dict[str, Any] = {"audio": {"input": {"transcription": {"model": "gpt-transcribe"}}}}

Spoken = tuple[Direction, dict[str, Any], float]
"""Direction, event, ms since the beginning of the call."""


class Rehearsal(Stage):
    """A stage that writes down what is said. `begins_ms` is how old the call is by then."""

    def __init__(
        self, session: dict[str, Any] | None = None, *, begins_ms: float = 500.0, **options: Any
    ) -> None:
        self.spoken: list[Spoken] = []
        self._begins_ms = begins_ms
        self._noted = 0
        super().__init__(TRANSCRIBED if session is None else session, **options)

    @property
    def at_ms(self) -> float:
        return self._ms(self.now)

    def send_raw(self, message: str | bytes) -> None:
        try:
            event = json.loads(message)
        except ValueError:
            event = None
        if isinstance(event, dict):
            self.spoken.append(("up", event, self.at_ms))
        super().send_raw(message)

    def forget(self) -> None:
        super().forget()
        self._noted = 0

    def _ms(self, at: float) -> float:
        return round((at - 1000.0) * 1000 + self._begins_ms, 3)

    def _collect(self) -> None:
        super()._collect()
        for at, output in self.outputs[self._noted :]:
            if isinstance(output, Send):
                self.spoken.append(("down", output.event, self._ms(at)))
        self._noted = len(self.outputs)


def everything() -> Rehearsal:
    """A call with a spoken answer, an interrupted one, a tool, a text, a cancelled response."""
    stage = Rehearsal({**TRANSCRIBED, "instructions": "Be brief."})
    stage.pause(1.0)
    stage.take_turn(1.0)  # answered aloud
    stage.wait(3.0)
    stage.take_turn(1.5)  # answered by the story,
    stage.wait(2.2)
    stage.take_turn(1.2)  # which is interrupted after 2 s
    stage.wait(3.0)
    stage.send("session.update", session={"type": "realtime", "tools": [WEATHER]})
    stage.say("Please get weather for me.")
    stage.send("response.create")
    stage.wait(3.0)
    stage.send("conversation.item.create", item=_output(stage))
    stage.send("response.create")
    stage.wait(3.0)
    stage.send("session.update", session={"type": "realtime", "tools": []})
    stage.say("Write it down.")
    stage.send("response.create", response={"output_modalities": ["text"]})
    stage.wait(0.5)
    stage.send("response.cancel")
    stage.wait(1.0)
    return stage


def _output(stage: Stage) -> dict[str, Any]:
    call_id = stage.only("response.function_call_arguments.done")["call_id"]
    return {"type": "function_call_output", "call_id": call_id, "output": '{"sky": "clear"}'}
