"""Token counts as OpenAI's pricing page defines them (shared/openai.md §7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

USER_MS_PER_TOKEN = 100
ASSISTANT_MS_PER_TOKEN = 50
CHARS_PER_TEXT_TOKEN = 4
IMAGE_TOKENS = 85

CACHE_BLOCK = 64
"""A prefix is cached in blocks: a count that is no multiple is rounded down."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens by modality."""

    text: int = 0
    audio: int = 0
    image: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.text + other.text, self.audio + other.audio, self.image + other.image)

    @property
    def total(self) -> int:
        return self.text + self.audio + self.image

    def cached(self) -> Tokens:
        return Tokens(
            *(n // CACHE_BLOCK * CACHE_BLOCK for n in (self.text, self.audio, self.image))
        )


def text_tokens(text: str) -> int:
    return -(-len(text) // CHARS_PER_TEXT_TOKEN)


def user_audio_tokens(duration_ms: int) -> int:
    return -(-duration_ms // USER_MS_PER_TOKEN)


def assistant_audio_tokens(duration_ms: int) -> int:
    return -(-duration_ms // ASSISTANT_MS_PER_TOKEN)


class Meter:
    """Counts a session's responses: each is billed the whole conversation, most of it cached.

    The cached share is what the previous response already had as its input.
    """

    def __init__(self) -> None:
        self._previous = Tokens()

    def usage(self, given: Tokens, produced: Tokens) -> dict[str, Any]:
        """The `usage` of one response: `given` is all of its input, cached or not."""
        known = self._previous.cached()
        cached = Tokens(
            min(known.text, given.text),
            min(known.audio, given.audio),
            min(known.image, given.image),
        )
        self._previous = given
        return {
            "total_tokens": given.total + produced.total,
            "input_tokens": given.total,
            "output_tokens": produced.total,
            "input_token_details": {
                "text_tokens": given.text,
                "audio_tokens": given.audio,
                "image_tokens": given.image,
                "cached_tokens": cached.total,
                "cached_tokens_details": {
                    "text_tokens": cached.text,
                    "audio_tokens": cached.audio,
                    "image_tokens": cached.image,
                },
            },
            "output_token_details": {"text_tokens": produced.text, "audio_tokens": produced.audio},
        }


REQUESTS_PER_MINUTE = 400
TOKENS_PER_MINUTE = 200_000
_WINDOW_S = 60.0


class RateLimits:
    """What `rate_limits.updated` tells: two buckets that refill evenly within a minute."""

    def __init__(self) -> None:
        self._used_requests = 0.0
        self._used_tokens = 0.0
        self._at: float | None = None

    def reserve(self, tokens: int, now: float) -> list[dict[str, Any]]:
        """Counts one request and its tokens; never refuses."""
        elapsed_s = 0.0 if self._at is None else now - self._at
        self._at = now
        self._used_requests = _drained(self._used_requests, REQUESTS_PER_MINUTE, elapsed_s) + 1
        self._used_tokens = _drained(self._used_tokens, TOKENS_PER_MINUTE, elapsed_s) + tokens
        return [
            _bucket("requests", REQUESTS_PER_MINUTE, self._used_requests),
            _bucket("tokens", TOKENS_PER_MINUTE, self._used_tokens),
        ]


def _drained(used: float, limit: int, elapsed_s: float) -> float:
    return max(0.0, used - limit * elapsed_s / _WINDOW_S)


def _bucket(name: str, limit: int, used: float) -> dict[str, Any]:
    return {
        "name": name,
        "limit": limit,
        "remaining": max(0, int(limit - used)),
        "reset_seconds": round(min(used, limit) * _WINDOW_S / limit, 3),
    }
