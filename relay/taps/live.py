"""A running call's events for those who watch: the newest, numbered, in a bounded ring.

A reader has a place in the ring, not a queue of its own: one that is too slow finds that what it
wanted is gone, is told how much, and goes on. Nobody slows the call. All of it on the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from relay.core.ids import Direction
from relay.taps.facts import CallFacts, EndFacts

MAX_EVENTS: Final = 4096
MAX_BYTES: Final = 2 * 1024 * 1024
MAX_MESSAGE_BYTES: Final = 256 * 1024
"""A larger message is told of, and not kept."""


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """`sequence` counts from 0, as `events.jsonl` does. `message` None: too large to be kept."""

    sequence: int
    at: datetime
    direction: Direction
    message: str | bytes | None
    size: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Events from `first` to `last` are not here any more."""

    first: int
    last: int


class LiveEvents:
    """One call's."""

    packet = None

    def __init__(
        self, facts: CallFacts, *, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES
    ) -> None:
        self.readers = 0
        self._facts = facts
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._ring: deque[LiveEvent] = deque()
        self._bytes = 0
        self._next = 0
        self._is_over = False
        self._waiting: set[asyncio.Event] = set()

    @property
    def next_sequence(self) -> int:
        """Of the event that comes next."""
        return self._next

    def event(self, direction: Direction, message: str | bytes, at_s: float) -> None:
        """Takes a message that passed at `at_s` (`time.monotonic()`)."""
        size = len(message)
        kept = message if size <= MAX_MESSAGE_BYTES else None
        event = LiveEvent(self._next, self._facts.utc(at_s), direction, kept, size)
        self._next += 1
        self._ring.append(event)
        self._bytes += _weight(event)
        while len(self._ring) > self._max_events or self._bytes > self._max_bytes:
            self._bytes -= _weight(self._ring.popleft())
        self._wake()

    def end(self, _facts: EndFacts) -> None:
        """The call is over: readers get what is left."""
        self._is_over = True
        self._wake()

    async def read(self, since: int, heartbeat_s: float) -> AsyncIterator[LiveEvent | Gap | None]:
        """Events from number `since` on, until the call is over; None each time that nothing came
        for `heartbeat_s`."""
        place, woken = max(0, min(since, self._next)), asyncio.Event()
        self._waiting.add(woken)
        self.readers += 1
        try:
            while True:
                woken.clear()
                found = self._from(place)
                if found is not None:
                    place = (found.last if isinstance(found, Gap) else found.sequence) + 1
                    yield found
                elif self._is_over:
                    return
                elif not await _is_set(woken, heartbeat_s):
                    yield None
        finally:
            self.readers -= 1
            self._waiting.discard(woken)

    def _from(self, place: int) -> LiveEvent | Gap | None:
        if place >= self._next:
            return None
        first = self._ring[0].sequence if self._ring else self._next
        return Gap(place, first - 1) if place < first else self._ring[place - first]

    def _wake(self) -> None:
        for woken in self._waiting:
            woken.set()


def _weight(event: LiveEvent) -> int:
    return 0 if event.message is None else event.size


async def _is_set(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
