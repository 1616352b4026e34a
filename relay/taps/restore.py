"""What was read of a call, written into its folder: when it ends, or later from its `events.jsonl`,
where the process died before it could.

For threads: all of it waits for the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from relay.core.eventline import MalformedLine, Recorded
from relay.core.ids import CallId
from relay.core.pricing import PriceTable
from relay.core.quality import Quality
from relay.stores.events import read_events
from relay.stores.folders import Folder
from relay.taps.facts import CallFacts
from relay.taps.reading import CallReading, replay
from relay.taps.transcript import store_transcript


def keep(folder: Folder, reading: CallReading, quality: Quality | None = None) -> None:
    """Writes `transcript.json`, and the rest into `session.json`. Raises OSError."""
    store_transcript(folder, reading.transcript)
    told = reading.to_json()
    folder.update_session(told if quality is None else {**told, "quality": quality.to_json()})


def restore(folder: Folder, prices: PriceTable) -> CallReading | None:
    """Reads a call's events again, and keeps what they tell.

    Nobody else may write the folder meanwhile. None, and nothing is written, where it does not say
    when the call began, or has no events. Raises OSError.
    """
    facts = _facts(folder)
    if facts is None or not folder.events.is_file():
        return None
    found = replay(facts, _events(folder), prices)
    keep(folder, found)
    return found


def _events(folder: Folder) -> Iterator[Recorded]:
    """Up to the first that cannot be read."""
    with suppress(MalformedLine, FileNotFoundError):
        yield from read_events(folder)


def _facts(folder: Folder) -> CallFacts | None:
    session = folder.session()
    try:
        started_at = datetime.fromisoformat(session["started_at"])
    except (KeyError, TypeError, ValueError):
        return None
    if started_at.tzinfo is None:
        return None
    return CallFacts(
        id=CallId(folder.id),
        started_s=0.0,
        started_at=started_at,
        key_id=_text(session.get("key_id")),
        model=_text(session.get("model")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
