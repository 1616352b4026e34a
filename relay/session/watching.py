"""Who watches a call: recorder, transcript, usage, live inspection. The call does not know them.

A watch is used in the sockets' callbacks: it takes what it is given and returns at once. One that
raises is taken off, and the call goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from relay.core.ids import Direction
from relay.rtc import PacketTap
from relay.taps.facts import CallFacts, EndFacts

log = structlog.get_logger(__name__)


class CallWatch(Protocol):
    """One call's. `packet` is None where it does not listen to packets."""

    @property
    def packet(self) -> PacketTap | None: ...

    def event(self, direction: Direction, message: str | bytes, at_s: float) -> None:
        """A message of the data channel passed at `at_s` (`time.monotonic()`)."""

    def end(self, facts: EndFacts) -> object:
        """The call is over; nothing follows."""


Watcher = Callable[[CallFacts], CallWatch]
"""Begins to watch a call that has been answered."""


class Watches:
    """All that watch one call."""

    def __init__(self) -> None:
        self._watches: list[CallWatch] = []

    def begin(self, watchers: Iterable[Watcher], facts: CallFacts) -> list[PacketTap]:
        """The taps that are to get each packet, in the watchers' order."""
        for watcher in watchers:
            try:
                self._watches.append(watcher(facts))
            except Exception:
                log.exception("watch.not_begun", session_id=facts.id)
        return [watch.packet for watch in self._watches if watch.packet is not None]

    def event(self, direction: Direction, message: str | bytes) -> None:
        now = time.monotonic()
        for watch in tuple(self._watches):
            try:
                watch.event(direction, message, now)
            except Exception:
                self._watches.remove(watch)
                log.exception("watch.removed")

    def end(self, facts: EndFacts) -> None:
        """Twice is fine."""
        watches, self._watches = self._watches, []
        for watch in watches:
            try:
                watch.end(facts)
            except Exception:
                log.exception("watch.not_ended")
