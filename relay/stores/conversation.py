"""What the index knows of a conversation, read out of its folder's files, whatever they hold.

`session.json` says who, when and how it ended, `transcript.json` what was said, `upload.json` what
of it is kept elsewhere. A file that is missing or spoilt leaves its part empty: only a folder that
says nothing at all is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, Literal

from relay.core.pricing import NO_COST, Cost
from relay.core.usage import CallUsage, MalformedUsage

State = Literal["live", "ended", "unfinished"]
"""unfinished: the process went away before it could end the record."""

UploadState = Literal["none", "waiting", "uploaded", "refused", "failed"]
"""waiting: under way, or tried again later; refused: by the target, tried again rarely; failed:
given up, until somebody asks for it again."""

MAX_NAME_CHARS: Final = 256
MAX_TURNS: Final = 20_000
MAX_BODY_BYTES: Final = 400_000
"""UTF-8 of what can be searched of one conversation: PostgreSQL refuses more than 1 MB of words and
their places. An hour of talk has 60,000."""

MAX_DURATION_S: Final = 1e8

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class NoConversation(ValueError):  # named by the situation
    """The folder holds nothing that says what conversation it is of."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that was said or done: by whom, when on the call's clock, and its words."""

    speaker: str
    at_s: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Upload:
    """How far a conversation's upload is. `error` is one line, of the last attempt."""

    state: UploadState = "none"
    attempts: int = 0
    error: str | None = None
    uploaded_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row of a list. Times are aware, UTC; `bytes` are all files', `events` the lines of
    `events.jsonl`, `losses` packets and events that the record lacks, `tokens` all that were used.

    `is_local`: its folder is here; else it is where it was uploaded to.
    """

    id: str
    day: date
    state: State
    started_at: datetime
    ended_at: datetime | None = None
    duration_s: float | None = None
    outcome: str | None = None
    reason: str | None = None
    owner: str | None = None
    key_id: str | None = None
    model: str | None = None
    upstream_call_id: str | None = None
    mode: str | None = None
    audio: tuple[str, ...] = ()
    bytes: int = 0
    events: int = 0
    turns: int = 0
    losses: int = 0
    tokens: int = 0
    cost: Cost = NO_COST
    upload: Upload = Upload()
    is_local: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """What is put into the index: a row, its usage, what was said, and what it was read from."""

    conversation: Conversation
    usage: CallUsage
    turns: tuple[Turn, ...]
    source: str


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """What the files of a conversation say, beside their content: `audio` are their names."""

    id: str
    day: date
    is_live: bool
    audio: tuple[str, ...]
    bytes: int
    source: str
    is_local: bool = True


def entry_of(
    facts: FolderFacts,
    session: Mapping[str, Any],
    transcript: object,
    upload: Mapping[str, Any],
) -> Entry:
    """Reads the files' JSON. Raises NoConversation where `session` is not of this conversation."""
    if session.get("id") != facts.id:
        raise NoConversation(
            "session.json is missing or cannot be read"
            if not session
            else "session.json is of another conversation"
        )
    turns, usage = turns_of(transcript), _usage(session.get("usage"))
    end, recording = _object(session.get("end")), _object(session.get("recording"))
    conversation = Conversation(
        id=facts.id,
        day=facts.day,
        state=_state(session, facts.is_live),
        started_at=_started(session, facts.day),
        ended_at=_time(session.get("ended_at")),
        duration_s=_duration(session.get("duration_s")),
        outcome=name(end.get("outcome")),
        reason=name(end.get("reason")),
        owner=name(session.get("owner")),
        key_id=name(session.get("key_id")),
        model=name(session.get("model")),
        upstream_call_id=name(session.get("upstream_call_id")),
        mode=name(recording.get("mode")),
        audio=facts.audio,
        bytes=facts.bytes,
        events=_count(recording.get("events")),
        turns=len(turns),
        losses=_losses(recording.get("lost")),
        tokens=usage.tokens.total,
        cost=usage.cost,
        upload=upload_of(upload),
        is_local=facts.is_local,
    )
    return Entry(conversation, usage, turns, facts.source)


def turns_of(transcript: object) -> tuple[Turn, ...]:
    """The turns of a `transcript.json` that have words; MAX_TURNS at most."""
    found = _object(transcript).get("turns")
    turns = (_turn(item) for item in found[:MAX_TURNS]) if isinstance(found, list) else ()
    return tuple(turn for turn in turns if turn is not None)


def upload_of(upload: Mapping[str, Any]) -> Upload:
    """What `upload.json` says."""
    match upload.get("state"):
        case "waiting" | "uploaded" | "refused" | "failed" as state:
            return Upload(
                state=state,
                attempts=_count(upload.get("attempts")),
                error=name(upload.get("error")),
                uploaded_at=_time(upload.get("uploaded_at")),
            )
    return Upload()


def name(value: object) -> str | None:
    """A short text that every database takes."""
    if not isinstance(value, str):
        return None
    return one_line(value[: 2 * MAX_NAME_CHARS])[:MAX_NAME_CHARS] or None


def one_line(text: str) -> str:
    """`text` without line feeds, control characters and lone surrogates, spaces made single."""
    whole = text.encode("utf-8", "replace").decode()
    return " ".join(_CONTROL.sub(" ", whole).split())


def _turn(item: object) -> Turn | None:
    found = _object(item)
    tool = _object(found.get("tool"))
    texts = [found.get("text"), *(tool.get(member) for member in ("name", "arguments", "output"))]
    words = one_line(" ".join(text for text in texts if isinstance(text, str)))
    if not words:
        return None
    start_ms = _number(found.get("start_ms"))
    at_s = None if start_ms is None else round(start_ms / 1000, 3)
    return Turn(name(found.get("speaker")) or "", at_s, words)


def _state(session: Mapping[str, Any], is_live: bool) -> State:
    if session.get("state") == "ended":
        return "ended"
    return "live" if is_live else "unfinished"


def _started(session: Mapping[str, Any], day: date) -> datetime:
    """The folder's day where nothing better is known."""
    return _time(session.get("started_at")) or datetime(day.year, day.month, day.day, tzinfo=UTC)


def _time(value: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        return None if at is None or at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _duration(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and number <= MAX_DURATION_S else None


def _losses(value: object) -> int:
    lost = _object(value)
    return _count(lost.get("packets")) + _count(lost.get("events"))


def _usage(value: object) -> CallUsage:
    try:
        return CallUsage.from_json(value)
    except MalformedUsage:
        return CallUsage()


def _count(value: object) -> int:
    number = _number(value)
    return 0 if number is None else int(min(number, 1e15))


def _number(value: object) -> float | None:
    """A number that is one, and not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
