"""Client events as they arrive: text in, a checked event or a refusal out."""

from __future__ import annotations

import json
from typing import Any

from relay.simulator.errors import RejectedError, invalid_type, invalid_value, missing

SUPPORTED = (
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "output_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "conversation.item.truncate",
    "response.create",
    "response.cancel",
)


def parse_event(text: str | bytes) -> dict[str, Any]:
    """One JSON object with a string `type`; raises RejectedError for anything else."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):  # ValueError: JSON, UTF-8 and endless integers
        raise RejectedError("The event is not valid JSON.", code="invalid_json") from None
    if not isinstance(event, dict):
        raise invalid_type("event", "an object")
    return event


def check_envelope(event: dict[str, Any]) -> None:
    """Raises RejectedError for a missing or unknown type."""
    kind = event.get("type")
    if kind is None:
        raise missing("type")
    if kind not in SUPPORTED:
        raise invalid_value("type", str(kind)[:64], SUPPORTED)


def id_of(event: dict[str, Any]) -> str | None:
    """The client's own `event_id`, for the error that refers to it."""
    event_id = event.get("event_id")
    return event_id if isinstance(event_id, str) else None
