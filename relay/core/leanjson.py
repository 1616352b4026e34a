"""A message of the data channel, read for its words: audio and images are left out.

A message may have 16 MB, nearly all of it base64. Parsing that would hold up whoever shares the
interpreter, for nothing: so long base64 is cut out first, by a few searches that take milliseconds,
and a message that is still long is not read at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from relay.core.realtime import EventEnvelope

MAX_CHARS: Final = 512 * 1024
"""Of what is parsed."""

MIN_LEAN_CHARS: Final = 16 * 1024
"""Shorter messages are parsed as they are."""

_MIN_BASE64_CHARS: Final = 4096
_MAX_STRINGS: Final = 20_000
_PROBE_CHARS: Final = 1024
_BASE64: Final = re.compile(r"(?:data:[^,]{0,200};base64,)?[A-Za-z0-9+/=_\-]*")


def read_event(message: str | bytes) -> Mapping[str, Any] | None:
    """The event, or None for what is none, or too long. Never raises."""
    if len(message) > MIN_LEAN_CHARS:
        lean = _lean(message)
        if lean is None or len(lean) > MAX_CHARS:
            return None
        message = lean
    envelope = EventEnvelope.parse(message)
    return envelope.event if isinstance(envelope, EventEnvelope) else None


def _lean(message: str | bytes) -> str | None:
    try:
        text = message if isinstance(message, str) else message.decode()
    except ValueError:
        return None
    if text.count('"') > 2 * _MAX_STRINGS:
        return None
    kept, done = [], 0
    end = text.find('"')
    while end >= 0:
        start, end = end + 1, text.find('"', end + 1)
        if end - start < _MIN_BASE64_CHARS or not _is_base64(text, start, end):
            continue
        kept.append(text[done:start])
        done = end
    return "".join([*kept, text[done:]])


def _is_base64(text: str, start: int, end: int) -> bool:
    """By its beginning and its end: there is no text in a language that looks like that."""
    head, tail = text[start : start + _PROBE_CHARS], text[end - _PROBE_CHARS : end]
    return bool(_BASE64.fullmatch(head) and _BASE64.fullmatch(tail))
