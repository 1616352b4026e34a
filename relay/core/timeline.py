"""When each response was asked for, made, played and heard: what a user waits for.

Events and times in, and from outside the moment of the first packet that can be heard: packets come
on another path than events, and whoever looks at them is told by `listening_since_ms` when to. A
wait counts from the end of the user's speech as the relay learns of it (`speech_stopped`, or the
client's own commit), through tool calls, to the first audible packet of the answer. Times are in ms
of the call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from relay.core.eventfields import MAX_PARTS, mapping, objects, word
from relay.core.ids import Direction

MAX_RESPONSES: Final = 1_000
"""So many of the newest are told one by one."""

TAIL_MS: Final = 60.0
"""So long after a playback's end its last packets may still come."""

Trigger = Literal["speech", "request", "server"]
"""What made the upstream respond: the end of speech, the client's `response.create`, itself."""


@dataclass(frozen=True, slots=True)
class ResponseTiming:
    """One response; None: it did not come to that, or nobody told.

    `speech_stopped_ms` is the end of the speech that it answers, `requested_ms` the client's
    `response.create`, `playing_ms` and `played_ms` are `output_audio_buffer`'s, `audible_ms` is the
    first packet with sound. `is_after_tool`: the same speech led to a tool call before.
    """

    id: str
    created_ms: float
    trigger: Trigger
    speech_stopped_ms: float | None = None
    requested_ms: float | None = None
    playing_ms: float | None = None
    audible_ms: float | None = None
    played_ms: float | None = None
    done_ms: float | None = None
    status: str = "in_progress"
    is_after_tool: bool = False

    @property
    def latency_ms(self) -> float | None:
        """From the end of speech to the first sound."""
        if self.speech_stopped_ms is None or self.audible_ms is None:
            return None
        return max(0.0, self.audible_ms - self.speech_stopped_ms)

    def to_json(self) -> dict[str, Any]:
        """Without what is not known."""
        members: dict[str, Any] = {
            "id": self.id,
            "trigger": self.trigger,
            "status": self.status,
            "speech_stopped_ms": _rounded(self.speech_stopped_ms),
            "requested_ms": _rounded(self.requested_ms),
            "created_ms": _rounded(self.created_ms),
            "playing_ms": _rounded(self.playing_ms),
            "audible_ms": _rounded(self.audible_ms),
            "played_ms": _rounded(self.played_ms),
            "done_ms": _rounded(self.done_ms),
            "latency_ms": _rounded(self.latency_ms),
            "after_tool": self.is_after_tool or None,
        }
        return {name: value for name, value in members.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Spread:
    """Some values: how many, and between which they lie; all 0 where there are none."""

    count: int = 0
    p50: float = 0.0
    p95: float = 0.0
    max: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if not values:
            return cls()
        ranked = sorted(values)
        return cls(len(ranked), percentile(ranked, 50), percentile(ranked, 95), ranked[-1])

    def to_json(self) -> dict[str, Any]:
        if not self.count:
            return {"count": 0}
        return {
            "count": self.count,
            "p50": round(self.p50, 1),
            "p95": round(self.p95, 1),
            "max": round(self.max, 1),
        }


def percentile(ranked: Sequence[float], percent: float) -> float:
    """By nearest rank; `ranked` is sorted and not empty, `percent` from 0 to 100."""
    rank = -(-len(ranked) * percent // 100)
    return ranked[max(0, min(len(ranked), int(rank)) - 1)]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A call's responses at one moment; `count` includes those that are not told any more."""

    responses: tuple[ResponseTiming, ...] = ()
    count: int = 0

    @property
    def latency(self) -> Spread:
        """Of the responses told, in ms."""
        found = (response.latency_ms for response in self.responses)
        return Spread.of([latency_ms for latency_ms in found if latency_ms is not None])

    def to_json(self) -> dict[str, Any]:
        """`session.json`'s `responses`."""
        return {
            "count": self.count,
            "latency_ms": self.latency.to_json(),
            "timings": [response.to_json() for response in self.responses],
        }


class Timekeeper:
    """One call's. `handle` takes any event and never raises."""

    def __init__(self) -> None:
        self._timings: OrderedDict[str, ResponseTiming] = OrderedDict()
        self._count = 0
        self._speech_stopped_ms: float | None = None
        self._requested_ms: float | None = None
        self._has_called_tool = False
        self._awaited: str | None = None
        self._playing: str | None = None
        self._quiet_since_ms = 0.0

    @property
    def timeline(self) -> Timeline:
        """As it is now."""
        return Timeline(tuple(self._timings.values()), self._count)

    @property
    def listening_since_ms(self) -> float | None:
        """From when on an audible packet is the awaited response's first; None: none is awaited,
        or another response is still playing."""
        timing = self._timings.get(self._awaited) if self._awaited is not None else None
        if timing is None or self._playing not in (None, timing.id):
            return None
        return max(timing.created_ms, self._quiet_since_ms)

    def audible(self, at_ms: float) -> ResponseTiming | None:
        """A packet with sound came: the awaited response is heard. None where none is awaited."""
        timing = self._timings.get(self._awaited) if self._awaited is not None else None
        if timing is None:
            return None
        self._awaited = self._speech_stopped_ms = None
        self._has_called_tool = False
        return self._keep(replace(timing, audible_ms=max(timing.created_ms, at_ms)))

    def miss(self) -> None:
        """Packets were not looked at: when the awaited response was heard is not known."""
        self._awaited = None

    def handle(self, direction: Direction, event: Mapping[str, Any], at_ms: float) -> None:
        """Takes an event; times never go back."""
        event_type = word(event, "type")
        if direction == "up":
            self._client(event_type, event, at_ms)
            return
        match event_type:
            case "input_audio_buffer.speech_started":
                self._speech_stopped_ms = None
            case "input_audio_buffer.speech_stopped":
                self._speech_ended(at_ms)
            case "response.created":
                self._created(word(mapping(event, "response"), "id"), at_ms)
            case "output_audio_buffer.started":
                self._started(word(event, "response_id"), at_ms)
            case "output_audio_buffer.stopped" | "output_audio_buffer.cleared":
                self._stopped(word(event, "response_id"), at_ms)
            case "response.done":
                self._done(mapping(event, "response"), at_ms)

    def _client(self, event_type: str | None, event: Mapping[str, Any], at_ms: float) -> None:
        match event_type:
            case "response.create":
                self._requested_ms = at_ms
            case "input_audio_buffer.commit" if self._speech_stopped_ms is None:
                self._speech_ended(at_ms)
            case "conversation.item.create" if word(mapping(event, "item"), "type") == "message":
                self._speech_stopped_ms = None  # an answer will be to this

    def _speech_ended(self, at_ms: float) -> None:
        self._speech_stopped_ms = at_ms
        self._has_called_tool = False

    def _created(self, response_id: str | None, at_ms: float) -> None:
        if response_id is None or response_id in self._timings:
            return
        stopped_ms, requested_ms = self._speech_stopped_ms, self._requested_ms
        trigger: Trigger = "server" if stopped_ms is None else "speech"
        timing = ResponseTiming(
            id=response_id,
            created_ms=at_ms,
            trigger=trigger if requested_ms is None else "request",
            speech_stopped_ms=stopped_ms,
            requested_ms=requested_ms,
            is_after_tool=self._has_called_tool and stopped_ms is not None,
        )
        self._count += 1
        self._requested_ms = None
        self._awaited = response_id
        self._keep(timing)
        if len(self._timings) > MAX_RESPONSES:
            self._timings.popitem(last=False)

    def _started(self, response_id: str | None, at_ms: float) -> None:
        timing = self._timings.get(response_id or "")
        if timing is not None and timing.playing_ms is None and timing.played_ms is None:
            self._playing = timing.id
            self._keep(replace(timing, playing_ms=at_ms))

    def _stopped(self, response_id: str | None, at_ms: float) -> None:
        timing = self._timings.get(response_id or "")
        if timing is None or timing.played_ms is not None:
            return
        self._quiet_since_ms = at_ms + TAIL_MS
        if self._playing == timing.id:
            self._playing = None
        if self._awaited == timing.id:
            self._awaited = None
        self._keep(replace(timing, played_ms=at_ms))

    def _done(self, response: Mapping[str, Any], at_ms: float) -> None:
        timing = self._timings.get(word(response, "id") or "")
        if timing is None or timing.done_ms is not None:
            return
        output = [item for _, item in objects(response, "output", MAX_PARTS)]
        if any(word(item, "type") in ("function_call", "mcp_call") for item in output):
            self._has_called_tool = True
        is_silent = timing.playing_ms is None and not any(map(_has_audio, output))
        if is_silent and self._awaited == timing.id:
            self._awaited = None
        status = word(response, "status") or "completed"
        self._keep(replace(timing, done_ms=at_ms, status=status))

    def _keep(self, timing: ResponseTiming) -> ResponseTiming:
        self._timings[timing.id] = timing
        return timing


def _has_audio(item: Mapping[str, Any]) -> bool:
    parts = (word(part, "type") for _, part in objects(item, "content", MAX_PARTS))
    return any(part in ("output_audio", "audio") for part in parts)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
