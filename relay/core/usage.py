"""What a call used and what it costs, from the events of its data channel.

Only what the upstream says counts: a client that sends a `response.done` has said nothing. Each
response and each transcription counts once, however often it is told. In scope: responses by their
tokens, transcriptions by tokens or seconds, translation sessions by the time they last. A session
that is replaced by another within a call goes on in the same totals.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

from relay.core.ids import Direction
from relay.core.pricing import NO_COST, Cost, PriceTable, cost_of_seconds, cost_of_tokens
from relay.core.tokens import (
    NO_TOKENS,
    TokenUsage,
    count,
    response_usage,
    seconds,
    transcription_usage,
)

Kind = Literal["response", "transcription", "session"]
KINDS: Final[tuple[Kind, ...]] = ("response", "transcription", "session")

MAX_REMEMBERED: Final = 4096
"""Ids of responses and of transcriptions; an hour has hundreds."""

MAX_LINES: Final = 32
"""Models told apart in one call; the usage of more is on a line without a model."""

MAX_NAME_CHARS: Final = 128

NO_TIME: Final = Decimal(0)


class MalformedUsage(ValueError):  # named by the situation
    """Not what `CallUsage.to_json` wrote."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One response, one transcription, or a session's time: `tokens` or `seconds`, and its cost."""

    kind: Kind
    model: str | None
    tokens: TokenUsage = NO_TOKENS
    seconds: Decimal = NO_TIME
    cost: Cost = NO_COST


@dataclass(frozen=True, slots=True)
class UsageLine:
    """All charges of one kind and model; `count` is how many there were."""

    kind: Kind
    model: str | None
    count: int = 0
    tokens: TokenUsage = NO_TOKENS
    seconds: Decimal = NO_TIME
    cost: Cost = NO_COST

    def __add__(self, other: UsageLine | Charge) -> UsageLine:
        return replace(
            self,
            count=self.count + (other.count if isinstance(other, UsageLine) else 1),
            tokens=self.tokens + other.tokens,
            seconds=self.seconds + other.seconds,
            cost=self.cost + other.cost,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "model": self.model,
            "count": self.count,
            "tokens": self.tokens.to_json(),
            "seconds": float(self.seconds),
            **self.cost.to_json(),
        }

    @classmethod
    def from_json(cls, value: object) -> UsageLine:
        """Raises MalformedUsage; numbers that are missing are 0."""
        if not isinstance(value, Mapping) or value.get("kind") not in KINDS:
            raise MalformedUsage("a line without a kind")
        return cls(
            kind=value["kind"],
            model=_name(value.get("model")),
            count=count(value.get("count")),
            tokens=TokenUsage.from_json(value.get("tokens")),
            seconds=seconds(value.get("seconds")),
            cost=Cost.from_json(value),
        )


@dataclass(frozen=True, slots=True)
class CallUsage:
    """A call's usage at one moment, a line for each kind and model."""

    lines: tuple[UsageLine, ...] = ()

    def plus(self, charge: Charge | UsageLine) -> CallUsage:
        """With one charge, or with all of a line, more."""
        lines = list(self.lines)
        model = charge.model
        at = self._find(charge.kind, model)
        if at is None and len(lines) >= MAX_LINES:
            model, at = None, self._find(charge.kind, None)
        if at is None:
            lines.append(UsageLine(charge.kind, model) + charge)
        else:
            lines[at] += charge
        return CallUsage(tuple(lines))

    def _find(self, kind: Kind, model: str | None) -> int | None:
        for at, line in enumerate(self.lines):
            if (line.kind, line.model) == (kind, model):
                return at
        return None

    @property
    def tokens(self) -> TokenUsage:
        return sum((line.tokens for line in self.lines), NO_TOKENS)

    @property
    def cost(self) -> Cost:
        return sum((line.cost for line in self.lines), NO_COST)

    def to_json(self) -> dict[str, Any]:
        """`session.json`'s `usage`: the totals, and `lines`."""
        return {
            "tokens": self.tokens.to_json(),
            **self.cost.to_json(),
            "lines": [line.to_json() for line in self.lines],
        }

    @classmethod
    def from_json(cls, value: object) -> CallUsage:
        """Reads the lines; the totals are theirs. Raises MalformedUsage."""
        lines = value.get("lines") if isinstance(value, Mapping) else None
        if not isinstance(lines, list):
            raise MalformedUsage("no lines")
        usage = cls()
        for line in lines[: len(KINDS) + MAX_LINES]:
            usage = usage.plus(UsageLine.from_json(line))
        return usage


class UsageMeter:
    """Counts one call. `model` is what the call was asked for, until the upstream names its own."""

    def __init__(self, prices: PriceTable, model: str | None) -> None:
        self.usage = CallUsage()
        self._prices = prices
        self._model = _name(model)
        self._transcription_model: str | None = None
        self._translating_since_ms: float | None = None
        self._seen: OrderedDict[tuple[str, str, int], None] = OrderedDict()

    @property
    def model(self) -> str | None:
        """The session's, as far as is known."""
        return self._model

    def handle(
        self, direction: Direction, event: Mapping[str, Any], at_ms: float, day: date
    ) -> Charge | None:
        """Takes an event, whatever it is, at `at_ms` of the call, on a UTC day. Never raises."""
        if direction != "down":
            return None
        match event.get("type"):
            case "response.done":
                return self._response(event, day)
            case "conversation.item.input_audio_transcription.completed":
                return self._transcription(event, day)
            case "session.created" | "session.updated":
                self._configure(event.get("session"), at_ms)
        return None

    def finish(self, at_ms: float, day: date) -> Charge | None:
        """The call has ended: the time that a translation has lasted is charged. Once."""
        since, self._translating_since_ms = self._translating_since_ms, None
        if since is None:
            return None
        lasted = seconds(max(0.0, at_ms - since) / 1000)
        cost = cost_of_seconds(self._prices.find(self._model, day), lasted)
        return self._charged(Charge("session", self._model, seconds=lasted, cost=cost))

    def _configure(self, session: object, at_ms: float) -> None:
        if not isinstance(session, Mapping):
            return
        self._model = _name(session.get("model")) or self._model
        if "audio" in session:
            self._transcription_model = _transcription_model(session)
        if session.get("type") == "translation" and self._translating_since_ms is None:
            self._translating_since_ms = at_ms

    def _response(self, event: Mapping[str, Any], day: date) -> Charge | None:
        response = event.get("response")
        if not isinstance(response, Mapping) or self._is_known("response", response.get("id")):
            return None
        tokens = response_usage(response.get("usage")) or NO_TOKENS
        cost = cost_of_tokens(self._prices.find(self._model, day), tokens)
        return self._charged(Charge("response", self._model, tokens, cost=cost))

    def _transcription(self, event: Mapping[str, Any], day: date) -> Charge | None:
        part = count(event.get("content_index"))
        if self._is_known("transcription", event.get("item_id"), part):
            return None
        used, model = transcription_usage(event.get("usage")), self._transcription_model
        price = self._prices.find(model, day)
        if isinstance(used, Decimal):
            cost = cost_of_seconds(price, used)
            return self._charged(Charge("transcription", model, seconds=used, cost=cost))
        tokens = used or NO_TOKENS
        cost = cost_of_tokens(price, tokens)
        return self._charged(Charge("transcription", model, tokens, cost=cost))

    def _charged(self, charge: Charge) -> Charge:
        self.usage = self.usage.plus(charge)
        return charge

    def _is_known(self, kind: str, told_id: object, part: int = 0) -> bool:
        """Whether it was counted already; what has no id cannot be known."""
        if not isinstance(told_id, str):
            return False
        key = (kind, told_id[:MAX_NAME_CHARS], part)
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return False


def _transcription_model(session: Mapping[str, Any]) -> str | None:
    """GA's `audio.input.transcription.model`."""
    found: object = session
    for member in ("audio", "input", "transcription", "model"):
        found = found.get(member) if isinstance(found, Mapping) else None
    return _name(found)


def _name(value: object) -> str | None:
    return value[:MAX_NAME_CHARS] if isinstance(value, str) and value else None
