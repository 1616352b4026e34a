"""Some of a conversation's events, found without reading all of them.

`events.jsonl` of an hour has tens of thousands of lines. Their numbers rise, so the place of one is
found by bisection; what is shown of them is taken out of their lines as it stands there; and a
search that finds little stops after a while and says how far it came. Whether the chain holds is
not asked here: that is `verify`'s.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from relay.core import eventline, hashchain
from relay.core.eventline import Glance, MalformedLine
from relay.core.ids import Direction
from relay.stores.breathing import breathing
from relay.stores.kept import KeptFile

MAX_LIMIT: Final = 500
MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
MAX_EVENT_BYTES: Final = 256 * 1024
"""A larger event is told of by its size alone, as in a live call."""

SEARCH_S: Final = 0.5
_NEAR_BYTES: Final = 1 << 16
"""So near it is read through, not bisected."""

_SEQUENCE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class EventQuery:
    """At most `limit` events behind number `after`, up to `last`. `type` is what their type begins
    with, `text` stands somewhere in them, in whatever case."""

    after: int = -1
    limit: int = MAX_LIMIT
    last: int | None = None
    direction: Direction | None = None
    type: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class EventPage:
    """`events` are JSON objects; `next` is the number to go on after, None where that was all."""

    events: tuple[bytes, ...]
    next: int | None


def event_page(source: KeptFile, query: EventQuery, *, search_s: float = SEARCH_S) -> EventPage:
    """Reads a page. For a thread, and it lets go of the interpreter every half a millisecond, so
    that calls do not wait. Raises OSError, and of a file at the target ArchiveUnavailable."""
    matches = _Matches(query)
    events: list[bytes] = []
    size, sequence, until_s = 0, query.after, time.monotonic() + search_s
    for line in _lines(source, query.after):
        if query.last is not None and line.sequence > query.last:
            break
        is_full = len(events) >= query.limit or size >= MAX_PAGE_BYTES
        if is_full or (sequence > query.after and time.monotonic() > until_s):
            return EventPage(tuple(events), sequence)
        sequence = line.sequence
        if matches(line):
            events.append(_rendered(line))
            size += len(events[-1])
    return EventPage(tuple(events), None)


class _Matches:
    """Whether a line is one of those; a quick look at its bytes rules most of them out."""

    def __init__(self, query: EventQuery) -> None:
        self._direction = query.direction
        self._type = query.type
        text = query.text.lower()
        forms = {text, json.dumps(text)[1:-1]} if text else set()
        self._forms = [form.encode(errors="surrogatepass") for form in forms]

    def __call__(self, line: Glance) -> bool:
        if self._direction not in (None, line.direction):
            return False
        if self._forms:
            lowered = line.value.lower()
            if not any(form in lowered for form in self._forms):
                return False
        return not self._type or _type_of(line, self._type).startswith(self._type)


def _type_of(line: Glance, wanted: str) -> str:
    if not line.is_json or wanted.encode(errors="surrogatepass") not in line.value:
        return ""
    try:
        event = json.loads(line.value)
    except (ValueError, RecursionError):
        return ""
    found = event.get("type") if isinstance(event, dict) else None
    return found if isinstance(found, str) else ""


def _rendered(line: Glance) -> bytes:
    direction = b'"%b"' % line.direction.encode() if line.direction else b"null"
    size = len(line.value) + line.moved_chars
    head = b'{"seq":%d,"at":"%b","direction":%b,"bytes":%d' % (
        line.sequence,
        line.at.encode(),
        direction,
        size,
    )
    if line.moved_chars:
        head += b',"moved":%d' % line.moved_chars
    if len(line.value) > MAX_EVENT_BYTES:
        return head + b"}"
    return b'%b,"%b":%b}' % (head, b"event" if line.is_json else b"text", line.value)


# --- where lines are ---


def _lines(source: KeptFile, after: int) -> Iterator[Glance]:
    """Those behind number `after`, up to one that is cut off or no line."""
    with source.open("rb") as file:
        _seek(file, after)
        for raw in breathing(file):
            members = hashchain.members_of(raw[:-1]) if raw.endswith(b"\n") else None
            if members is None:
                return
            try:
                line = eventline.glance(members)
            except MalformedLine:
                return
            if line.sequence > after:
                yield line


def _seek(file: BinaryIO, after: int) -> None:
    """Goes to the beginning of a line that is not behind `after`, and near it."""
    low, high = 0, file.seek(0, 2)
    while high - low > _NEAR_BYTES and after >= 0:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        begins = file.tell()
        sequence = _sequence_of(file.read(_SEQUENCE_BYTES)) if begins < high else None
        if sequence is not None and sequence <= after:
            low = begins
        else:
            high = middle
    file.seek(low)


def _sequence_of(head: bytes) -> int | None:
    number = head.removeprefix(b'{"seq":').partition(b",")[0]
    return int(number) if number.isdigit() else None
