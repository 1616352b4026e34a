"""What one call's events tell, read once for everybody who wants to know: transcript, usage, times.

No thread and no clock in here: `taps.reader` brings the events of calls that run, `replay` those of
calls that are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog

from relay.core.eventline import Recorded
from relay.core.ids import Direction
from relay.core.leanjson import read_event
from relay.core.pricing import PriceTable
from relay.core.timeline import Timeline
from relay.core.transcript import Transcript
from relay.core.usage import CallUsage
from relay.taps.facts import CallFacts
from relay.taps.timeline import OnHeard, TimelineTap
from relay.taps.transcript import OnTurns, TranscriptTap
from relay.taps.usage import OnCharge, UsageTap

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told, by the thread that reads. What they raise is logged, and goes no further."""

    on_turns: OnTurns | None = None
    on_charge: OnCharge | None = None
    on_heard: OnHeard | None = None


@dataclass(frozen=True, slots=True)
class CallReading:
    """What was read of a call, at one moment or at its end.

    `model` is the session's as the upstream names it. `unread` messages were no events, or too
    long; `lost` found no room to wait in: with either, the rest may lack something.
    """

    facts: CallFacts
    transcript: Transcript
    usage: CallUsage = field(default_factory=CallUsage)
    timeline: Timeline = field(default_factory=Timeline)
    model: str | None = None
    unread: int = 0
    lost: int = 0

    def to_json(self) -> dict[str, Any]:
        """Members of `session.json`. The transcript is a file of its own."""
        told: dict[str, Any] = {
            "usage": self.usage.to_json(),
            "responses": self.timeline.to_json(),
            "reading": {
                "turns": len(self.transcript.turns),
                "omitted": self.transcript.omitted,
                "unread": self.unread,
                "lost": self.lost,
            },
        }
        return told if self.model is None else {**told, "model": self.model}


class Reading:
    """One call's, by one thread; `snapshot` by any."""

    def __init__(
        self,
        facts: CallFacts,
        prices: PriceTable,
        listeners: Listeners | None = None,
        *,
        level_extension_id: int | None = None,
    ) -> None:
        told = listeners or Listeners()
        self.facts = facts
        self.unread = 0
        self.is_broken = False
        self.transcript = TranscriptTap(facts, _guarded(told.on_turns))
        self.usage = UsageTap(facts, prices, _guarded(told.on_charge))
        self.timeline = TimelineTap(
            facts, _guarded(told.on_heard), level_extension_id=level_extension_id
        )

    def event(self, direction: Direction, message: str | bytes, at_s: float) -> None:
        """Takes a message that passed at `at_s` (`time.monotonic()`). Never raises."""
        event = read_event(message)
        if event is None:
            self.unread += 1
            return
        at_ms = self._ms(at_s)
        try:
            self.timeline.listen(at_s)
            self.timeline.handle(direction, event, at_ms)
            self.usage.handle(direction, event, at_ms)
            self.transcript.handle(direction, event, at_ms)
        except Exception:
            self._broke()

    def publish(self, heard_until_s: float) -> None:
        """Makes what was read known. Packets are listened to until then. Never raises."""
        try:
            self.timeline.listen(heard_until_s)
            self.timeline.publish()
            self.transcript.publish()
        except Exception:
            self._broke()

    def finish(self, ended_s: float) -> None:
        """The call is over. Never raises."""
        try:
            self.usage.finish(self._ms(ended_s))
            self.transcript.finish(self._ms(ended_s))
        except Exception:
            self._broke()
        self.publish(ended_s)

    def snapshot(self, lost: int = 0) -> CallReading:
        """What is known by now."""
        return CallReading(
            facts=self.facts,
            transcript=self.transcript.latest,
            usage=self.usage.usage,
            timeline=self.timeline.timeline,
            model=self.usage.model,
            unread=self.unread,
            lost=lost,
        )

    def _ms(self, at_s: float) -> float:
        return max(0.0, at_s - self.facts.started_s) * 1000

    def _broke(self) -> None:
        """A defect of ours, told once for each call; it goes on with the next event."""
        if not self.is_broken:
            log.exception("reading.broke", session_id=self.facts.id)
        self.is_broken = True


def replay(
    facts: CallFacts,
    events: Iterable[Recorded],
    prices: PriceTable,
    *,
    ended_s: float | None = None,
) -> CallReading:
    """Reads a stored conversation's events again: what its transcript and usage would have been.

    `facts.started_s` may be any, and `ended_s` counts by it; None: the call ended with its last
    event. Without packets nothing is known of what was heard when.
    """
    reading, at_s = Reading(facts, prices), facts.started_s
    for recorded in events:
        at_s = facts.started_s + (recorded.at - facts.started_at).total_seconds()
        if recorded.direction is not None:
            reading.event(recorded.direction, recorded.message, at_s)
    reading.finish(at_s if ended_s is None else ended_s)
    return reading.snapshot()


def _guarded(listener: Callable[..., None] | None) -> Callable[..., None] | None:
    if listener is None:
        return None

    def tell(facts: CallFacts, *told: object) -> None:
        try:
            listener(facts, *told)
        except Exception:
            log.exception("reading.callback_failed", session_id=facts.id)

    return tell
