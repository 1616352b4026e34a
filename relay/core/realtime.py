"""The envelope of Realtime events, as far as the relay looks into it.

Events travel verbatim whatever they are: nothing here decides whether one may pass. New types and
fields appear upstream without notice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Unparsable:
    """A message that is no event; `reason` says why without repeating it."""

    reason: str


@dataclass(frozen=True, slots=True)
class EventEnvelope:
    """One event. `event` is the verbatim wire JSON, all of it; `event_id` None where absent."""

    type: str
    event_id: str | None
    event: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, text: str | bytes) -> EventEnvelope | Unparsable:
        """Reads a message of the data channel. Never raises."""
        try:
            event = json.loads(text if isinstance(text, str) else text.decode())
        except (ValueError, RecursionError):  # also: bytes that are not UTF-8, endless numbers
            return Unparsable("not JSON")
        if not isinstance(event, dict):
            return Unparsable("not an object")
        event_type, event_id = event.get("type"), event.get("event_id")
        if not isinstance(event_type, str):
            return Unparsable("no type")
        return cls(event_type, event_id if isinstance(event_id, str) else None, event)


def error_event(
    *,
    event_id: str,
    error_type: str,
    code: str,
    message: str,
    param: str | None = None,
    cause_id: str | None = None,
) -> str:
    """The relay's own `error` event, shaped as the upstream's.

    `error_type` is a class of error ("invalid_request_error", "server_error"), `cause_id` the
    `event_id` of the client event at fault.
    """
    error = {
        "type": error_type,
        "code": code,
        "message": message,
        "param": param,
        "event_id": cause_id,
    }
    return json.dumps({"type": "error", "event_id": event_id, "error": error})
