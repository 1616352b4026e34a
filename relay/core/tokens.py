"""What a `usage` object of the wire says: tokens by modality, or seconds of audio.

Cached tokens are a part of the input's. What an upstream counts and does not tell the modality of
is kept apart, for nobody can price it. Absurd numbers are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

Modality = Literal["text", "audio", "image"]
MODALITIES: Final[tuple[Modality, ...]] = ("text", "audio", "image")

MAX_COUNT: Final = 1_000_000_000
"""No response has so many tokens, nor a call so many seconds."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Counts by modality, none negative."""

    text: int = 0
    audio: int = 0
    image: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.text + other.text, self.audio + other.audio, self.image + other.image)

    def of(self, modality: Modality) -> int:
        count: int = getattr(self, modality)
        return count

    @property
    def total(self) -> int:
        return self.text + self.audio + self.image

    def to_json(self) -> dict[str, int]:
        return {"text": self.text, "audio": self.audio, "image": self.image}

    @classmethod
    def from_json(cls, value: object) -> Tokens:
        """Reads what `to_json` wrote; what is missing is 0."""
        found = _mapping(value)
        return cls(*(count(found.get(name)) for name in MODALITIES))

    @classmethod
    def _from_wire(cls, details: Mapping[str, Any]) -> Tokens:
        return cls(*(count(details.get(f"{name}_tokens")) for name in MODALITIES))

    def _at_most(self, limit: Tokens) -> Tokens:
        return Tokens(*(min(self.of(name), limit.of(name)) for name in MODALITIES))


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What one or many responses took and gave.

    `cached` is a part of `input`. `unknown` tokens have no modality; of `unknown_cached` tokens it
    is known that they are a part of `input`, not of which modality.
    """

    input: Tokens = Tokens()
    cached: Tokens = Tokens()
    output: Tokens = Tokens()
    unknown: int = 0
    unknown_cached: int = 0

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.input + other.input,
            self.cached + other.cached,
            self.output + other.output,
            self.unknown + other.unknown,
            self.unknown_cached + other.unknown_cached,
        )

    @property
    def total(self) -> int:
        return self.input.total + self.output.total + self.unknown

    def by_kind(self) -> dict[str, int]:
        """Counts that add up to `total`, by `input_text`, `cached_text`, `output_text`, …, for a
        metric's label; those that are 0 are left out."""
        kinds = {"unknown": self.unknown}
        for name in MODALITIES:
            cached = self.cached.of(name)
            kinds[f"input_{name}"] = self.input.of(name) - cached
            kinds[f"cached_{name}"] = cached
            kinds[f"output_{name}"] = self.output.of(name)
        return {kind: number for kind, number in kinds.items() if number}

    def to_json(self) -> dict[str, Any]:
        return {
            "input": self.input.to_json(),
            "cached": self.cached.to_json(),
            "output": self.output.to_json(),
            "unknown": self.unknown,
            "unknown_cached": self.unknown_cached,
        }

    @classmethod
    def from_json(cls, value: object) -> TokenUsage:
        """Reads what `to_json` wrote; what is missing is 0."""
        found = _mapping(value)
        given = Tokens.from_json(found.get("input"))
        return cls(
            input=given,
            cached=Tokens.from_json(found.get("cached"))._at_most(given),
            output=Tokens.from_json(found.get("output")),
            unknown=count(found.get("unknown")),
            unknown_cached=count(found.get("unknown_cached")),
        )


NO_TOKENS: Final = TokenUsage()


def response_usage(value: object) -> TokenUsage | None:
    """Reads `response.done`'s `response.usage`; None where there is none."""
    if not isinstance(value, Mapping):
        return None
    details = _mapping(value.get("input_token_details"))
    given = Tokens._from_wire(details)
    produced = Tokens._from_wire(_mapping(value.get("output_token_details")))
    cached, unknown_cached = _cached(details, given)
    missing_input = max(0, count(value.get("input_tokens")) - given.total)
    missing_output = max(0, count(value.get("output_tokens")) - produced.total)
    return TokenUsage(given, cached, produced, missing_input + missing_output, unknown_cached)


def transcription_usage(value: object) -> TokenUsage | Decimal | None:
    """Reads `…input_audio_transcription.completed`'s `usage`: tokens, or seconds of audio."""
    if not isinstance(value, Mapping):
        return None
    if value.get("type") == "duration":
        return seconds(value.get("seconds"))
    given = Tokens._from_wire(_mapping(value.get("input_token_details")))
    missing = max(0, count(value.get("input_tokens")) - given.total)
    # A transcript is text, and no details say so.
    return TokenUsage(given, output=Tokens(text=count(value.get("output_tokens"))), unknown=missing)


def count(value: object) -> int:
    """A number of tokens; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value <= MAX_COUNT else 0


def seconds(value: object) -> Decimal:
    """A duration, to the ms; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Decimal(0)
    return Decimal(str(round(value, 3))) if 0 <= value <= MAX_COUNT else Decimal(0)


def _cached(details: Mapping[str, Any], given: Tokens) -> tuple[Tokens, int]:
    told = details.get("cached_tokens_details")
    cached = Tokens._from_wire(_mapping(told))._at_most(given)
    missing = min(count(details.get("cached_tokens")), given.total) - cached.total
    if missing <= 0:
        return cached, 0
    only = [name for name in MODALITIES if given.of(name)]
    if len(only) == 1:  # there is no other that they could be of
        return Tokens(**{only[0]: cached.total + missing}), 0
    return cached, missing


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
