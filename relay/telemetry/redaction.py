"""Takes keys, tokens, ICE passwords, SDP and what was said out of what is about to be written."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

MASK: Final = "[removed]"

_SECRET_NAMES: Final = frozenset(
    {
        "answer",
        "api_key",
        "authorization",
        "cookie",
        "credential",
        "ice_pwd",
        "instructions",
        "offer",
        "password",
        "sdp",
        "secret",
        "token",
        "transcript",
        "upstream_credential",
    }
)
"""Fields whose value is never written, whatever it looks like."""

_MAX_DEPTH: Final = 6

_NEW_LINE = r"(?:\r?\n|\\r\\n|\\n)"  # as it is, or as repr() writes it
_PATTERNS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # A description has no end mark: what follows it in the same text goes with it.
    (re.compile(rf"v=0{_NEW_LINE}[a-z]=.*", re.DOTALL), MASK),
    (re.compile(r"(ice[-_]pwd[\"']?\s*[:=]\s*[\"']?)[^\s\"',)]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b((?:Bearer|Basic)\s+)[^\s\"',]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b(sk-|ek_)[A-Za-z0-9_=-]{6,}"), rf"\1{MASK}"),
    (re.compile(r"(://)[^/\s@\"']+@"), rf"\1{MASK}@"),  # user:password@ of a proxy or TURN URL
)


def redact_text(text: str) -> str:
    """`text` without anything that looks like a secret."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact(value: object, depth: int = 0) -> object:
    """`value` with every text in it redacted. Objects show as their repr, deep ones not at all."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if depth >= _MAX_DEPTH:
        return MASK
    if isinstance(value, Mapping):
        return {
            redact_text(str(name)): MASK
            if str(name).lower() in _SECRET_NAMES
            else redact(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth + 1) for item in value]
    return redact_text(repr(value))


def redact_event(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """`redact` as a structlog processor."""
    redacted = redact(event)
    assert isinstance(redacted, dict)
    return redacted
