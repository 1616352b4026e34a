"""What Realtime events carry, read without trust: what is not as it should be is None, or empty."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MAX_ID_CHARS: Final = 256
MAX_PARTS: Final = 64
"""Of an item's content."""

MAX_MS: Final = 10**9
"""Eleven days: what is later or longer is nonsense."""

_MAX_NAMES: Final = 256
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")


def word(event: Mapping[str, Any], name: str) -> str | None:
    """An id, a status or another short string, not empty."""
    value = event.get(name)
    return encodable(value) if isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARS else None


def encodable(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON may have and UTF-8 may not."""
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def mapping(event: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """An object in the event, or one within that; empty where there is none."""
    found: object = event
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def objects(event: Mapping[str, Any], name: str, most: int) -> list[tuple[int, Mapping[str, Any]]]:
    """The first objects of an array, each with its index."""
    value = event.get(name)
    told = value[:most] if isinstance(value, list) else []
    return [(index, item) for index, item in enumerate(told) if isinstance(item, Mapping)]


def milliseconds(event: Mapping[str, Any], name: str, scale: int = 1) -> int | None:
    """A time or a duration; `scale` 1000 for one that is told in seconds."""
    value = event.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value * scale) if 0 <= value <= MAX_MS else None


def content_index(event: Mapping[str, Any]) -> int:
    """The index of a content part; 0 where there is none that can be."""
    value = event.get("content_index")
    return int(value) if isinstance(value, int) and 0 <= value < MAX_PARTS else 0


def tool_names(item: Mapping[str, Any]) -> tuple[str, ...]:
    """What an MCP server offers."""
    names = (word(tool, "name") for _, tool in objects(item, "tools", _MAX_NAMES))
    return tuple(name for name in names if name is not None)


def error_reason(error: object) -> str | None:
    """An error in a line or a word."""
    if not isinstance(error, Mapping):
        return None
    message = error.get("message")
    if isinstance(message, str) and message:
        return encodable(message[:MAX_ID_CHARS])
    return word(error, "code") or word(error, "type")


def audio_tokens(response: Mapping[str, Any]) -> int:
    """Of a response's output."""
    details = mapping(response, "usage", "output_token_details")
    return milliseconds(details, "audio_tokens") or 0
