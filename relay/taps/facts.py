"""What taps are told of a call, and what they tell. No tap knows a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from relay.core.ids import CallId, Direction
from relay.core.sdpmedia import Codec

PacketTap = Callable[[Direction, bool, bytes], None]
"""(direction, is_rtcp, the decrypted packet): what `rtc` calls on the packet path."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """A call that begins.

    `started_s` (`time.monotonic()`) and `started_at` (aware, UTC) are one moment: zero of the
    recorded audio and of every time. `codecs`: what a payload type means in that direction. `up` is
    as the upstream's answer has it, `down` as the client's offer has it. `details` are further
    members of `session.json`, JSON.
    """

    id: CallId
    started_s: float
    started_at: datetime
    codecs: Mapping[Direction, Mapping[int, Codec]] = field(default_factory=dict)
    owner: str = ""
    key_id: str | None = None
    model: str | None = None
    upstream_call_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def utc(self, at_s: float) -> datetime:
        """The time of day of a monotonic time, by the call's beginning: a clock that is set later
        moves nothing."""
        return self.started_at.astimezone(UTC) + timedelta(seconds=at_s - self.started_s)


@dataclass(frozen=True, slots=True)
class EndFacts:
    """A call that has ended, at `ended_s` (`time.monotonic()`).

    `outcome` and `reason` are `core.lifecycle`'s words; `details` (legs, …) are further members of
    `session.json`, JSON.
    """

    ended_s: float
    outcome: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
