"""What a conversation wants done: it mutates, its owner drains (no call-backs, no I/O)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from relay.simulator.errors import RejectedError
from relay.simulator.lines import Line

NewId = Callable[[str], str]
"""Makes an id with the given prefix: `new_id("item")` → `item_…`."""


@dataclass(frozen=True, slots=True)
class Send:
    """A server event for everybody who listens (verbatim wire JSON)."""

    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Play:
    """Start this line's audio now."""

    line: Line


@dataclass(frozen=True, slots=True)
class Cut:
    """The audio that is playing ends at this position from its beginning, in ms."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Close:
    """The upstream ends the call."""

    reason: str


Output = Send | Play | Cut | Close


class Outbox:
    """Collects outputs in their order; `new_id` is the only randomness."""

    def __init__(self, new_id: NewId) -> None:
        self.new_id = new_id
        self._outputs: list[Output] = []

    def emit(self, type_: str, /, **fields: Any) -> None:
        """A server event; the fields are copied, since items go on changing."""
        self._outputs.append(
            Send({"type": type_, "event_id": self.new_id("event"), **deepcopy(fields)})
        )

    def error(self, rejected: RejectedError, *, client_event_id: str | None = None) -> None:
        """An `error` event; `client_event_id` names the client event at fault."""
        self.emit("error", error={**rejected.body(), "event_id": client_event_id})

    def put(self, output: Play | Cut | Close) -> None:
        self._outputs.append(output)

    def drain(self) -> list[Output]:
        outputs, self._outputs = self._outputs, []
        return outputs
