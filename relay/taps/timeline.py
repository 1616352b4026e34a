"""When a call's responses were heard: its events, and the packets that come down."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from relay.core.ids import Direction
from relay.core.timeline import ResponseTiming, Timekeeper, Timeline
from relay.taps.ear import Ear
from relay.taps.facts import CallFacts, PacketTap

MAX_PACKETS: Final = 256
"""The newest that are kept: five seconds."""

OnHeard = Callable[[CallFacts, ResponseTiming], None]
"""A response's first sound came."""


class TimelineTap:
    """One call's. `packet` is for the packet path; all else by one thread, but `timeline`, which
    may be read by any: it is replaced, never changed.

    Packets are always kept for a while, for a response is known of later than it is heard.
    """

    def __init__(
        self,
        facts: CallFacts,
        on_heard: OnHeard | None = None,
        *,
        level_extension_id: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeline = Timeline()
        self._facts = facts
        self._on_heard = on_heard
        self._keeper = Timekeeper()
        self._ear = Ear(facts.codecs.get("down", {}), level_extension_id)
        self._packets: deque[tuple[float, bytes]] = deque(maxlen=MAX_PACKETS)
        self._next: tuple[float, bytes] | None = None
        self.packet = self._packet_tap(clock)

    def handle(self, direction: Direction, event: Mapping[str, Any], at_ms: float) -> None:
        """Takes an event; the packets before it are to be listened to first."""
        self._keeper.handle(direction, event, at_ms)

    def listen(self, until_s: float) -> None:
        """Looks at the packets that came until then (`time.monotonic()`), where a response is
        awaited."""
        if self._keeper.listening_since_ms is None:
            self._ear.rest()
            return
        self._check_missed()
        while (since_ms := self._keeper.listening_since_ms) is not None:
            arrival = self._take(until_s)
            if arrival is None:
                return
            at_ms = (arrival[0] - self._facts.started_s) * 1000
            if at_ms >= since_ms and self._ear.hears(arrival[1]):
                self._heard(at_ms)

    def publish(self) -> None:
        """To be called after a few events: makes `timeline` of them."""
        self.timeline = self._keeper.timeline

    def _heard(self, at_ms: float) -> None:
        timing = self._keeper.audible(at_ms)
        if timing is not None and self._on_heard is not None:
            self._on_heard(self._facts, timing)

    def _take(self, until_s: float) -> tuple[float, bytes] | None:
        arrival = self._next or (self._packets.popleft() if self._packets else None)
        if arrival is not None and arrival[0] >= until_s:
            self._next, arrival = arrival, None
        else:
            self._next = None
        return arrival

    def _check_missed(self) -> None:
        """Where the thread was away for too long, the oldest packets are gone."""
        since_ms = self._keeper.listening_since_ms
        if len(self._packets) < MAX_PACKETS or since_ms is None:
            return
        oldest_ms = (self._packets[0][0] - self._facts.started_s) * 1000
        if oldest_ms > since_ms and self._next is None:
            self._keeper.miss()

    def _packet_tap(self, clock: Callable[[], float]) -> PacketTap:
        append = self._packets.append

        def tap(direction: Direction, is_rtcp: bool, packet: bytes) -> None:
            if direction == "down" and not is_rtcp:
                append((clock(), packet))

        return tap
