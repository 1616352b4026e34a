"""What was read of a call, written into its folder: when it ends, or later from its `events.jsonl`,
where the process died before it could.

For threads: all of it waits for the disk.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from relay.core.eventline import MalformedLine, Recorded
from relay.core.ids import CallId
from relay.core.pricing import PriceTable
from relay.core.quality import Quality
from relay.stores.events import read_events
from relay.stores.folders import Folder
from relay.stores.locks import RECORDED
from relay.stores.reading import TRANSCRIPT, looks_live
from relay.taps.facts import CallFacts
from relay.taps.reading import CallReading, replay
from relay.taps.transcript import store_transcript
from relay.taps.voices import voices_duration_s

COMPLETED_S: Final = 120.0
"""So long after its last event a call that has ended is surely read, if its process lives."""


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


def restore_dead(folder: Folder, prices: PriceTable) -> None:
    """Completes the folder of a call whose process died: its session is `unfinished` from then on.

    One that is being recorded is left alone. For who is `rendering` it. Raises OSError.
    """
    session = folder.session()
    is_cut_off = session.get("state") == "live"
    if session.get("id") != folder.id or (is_cut_off and looks_live(folder)):
        return
    restore(folder, prices)
    if is_cut_off:
        folder.update_session({"state": "unfinished", **_length(folder)})
        _tidy(folder)


def is_dead(folder: Folder) -> bool:
    """Whether a call's process died before all of the call was written. One that ended just now may
    still be at it."""
    session = folder.session()
    if session.get("id") != folder.id:
        return False
    if session.get("state") == "live":
        return not looks_live(folder)
    return session.get("state") == "ended" and _is_unread(folder)


def _is_unread(folder: Folder) -> bool:
    if (folder.path / TRANSCRIPT).exists():
        return False
    try:
        return time.time() - folder.events.stat().st_mtime > COMPLETED_S
    except OSError:
        return False


def _length(folder: Folder) -> dict[str, Any]:
    """How long the call was, as far as there is a record of it."""
    facts = _facts(folder)
    if facts is None:
        return {}
    ends_s = [(event.at - facts.started_at).total_seconds() for event in _last(_events(folder))]
    return {"duration_s": round(max([voices_duration_s(folder), *ends_s]), 6)}


def _last(events: Iterable[Recorded]) -> Iterable[Recorded]:
    return deque(events, maxlen=1)


def _tidy(folder: Folder) -> None:
    """What its recorder had begun, and its lock."""
    for path in (*folder.path.glob(".*.part"), folder.path / RECORDED):
        with suppress(OSError):
            path.unlink()


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
