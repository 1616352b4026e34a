"""The reader: one thread that reads what every call says, for transcripts, usage and times.

It stands beside the recorder, and works whether calls are recorded or not. On the event loop a call
is begun, told of events and packets, and ended; none of it waits for anything. The thread looks at
each call every CYCLE_S, and lets go of the interpreter after each PORTION_S of work, so that the
event loop does not wait for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

import structlog

from relay.core.ids import Direction, LegName
from relay.core.pricing import PriceTable
from relay.core.quality import LegSample, Quality
from relay.core.timeline import Timeline
from relay.core.transcript import Transcript
from relay.core.usage import CallUsage
from relay.taps.facts import CallFacts, EndFacts, PacketTap
from relay.taps.reading import CallReading, Listeners, Reading
from relay.taps.ring import Budget, Ring

CYCLE_S: Final = 0.1
PORTION_S: Final = 0.0005
PAUSE_S: Final = 0.0002

EVENTS_A_TURN: Final = 64
"""Of one call, before the others have theirs."""

SETTLED_S: Final = 0.05
"""Packets are listened to when they are so old: the events before them are there by then."""

log = structlog.get_logger(__name__)

Event = tuple[float, Direction, str | bytes]


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """`max_events` may wait per call, of at most `max_event_bytes`, and of `max_total_event_bytes`
    for all calls. A thread that keeps up has a tenth of a second's."""

    max_events: int = 2048
    max_event_bytes: int = 32 * 1024 * 1024
    max_total_event_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReaderSnapshot:
    """The reader at one moment. `behind_s` is since when the thread is with one call, `lost` and
    `unread` are messages of all calls since the start."""

    calls: int
    waiting: int
    lost: int
    unread: int
    behind_s: float


class ReaderTap:
    """One call's, used on the event loop. What it tells is replaced, never changed.

    `packet` is for the packet path. `quality` belongs to the event loop, which feeds it.
    """

    def __init__(self, reading: Reading, events: Ring[Event]) -> None:
        self.quality = Quality()
        self.finished: Future[CallReading] = Future()
        """Set by the thread. It never fails; who does not want to wait any more leaves it alone."""
        self.finished.set_running_or_notify_cancel()  # cannot be cancelled from here on
        self.reading = reading
        self.events = events
        self.ended_s: float | None = None

    @property
    def packet(self) -> PacketTap:
        """Takes some 0.2 µs and never raises."""
        return self.reading.timeline.packet

    def event(self, direction: Direction, message: str | bytes, at_s: float) -> None:
        """Takes a message of the data channel that passed at `at_s` (`time.monotonic()`)."""
        if self.ended_s is None:
            self.events.put((at_s, direction, message), len(message))

    def setup(self, phases_ms: Mapping[str, float | None]) -> None:
        """Takes how long the phases of the call's beginning took; None: not reached."""
        self.quality.setup_ms = {name: ms for name, ms in phases_ms.items() if ms is not None}

    def sample(self, at_s: float, legs: Mapping[LegName, LegSample]) -> None:
        """Takes the legs as they are at `at_s`; every few seconds, those that there are."""
        at_ms = max(0.0, at_s - self.reading.facts.started_s) * 1000
        for name, sample in legs.items():
            self.quality.legs[name].add(at_ms, sample)

    def end(self, facts: EndFacts) -> Future[CallReading]:
        """The call is over. Again is fine: the first time counts."""
        if self.ended_s is None:
            self.ended_s = facts.ended_s
        return self.finished

    @property
    def transcript(self) -> Transcript:
        return self.reading.transcript.latest

    @property
    def usage(self) -> CallUsage:
        return self.reading.usage.usage

    @property
    def timeline(self) -> Timeline:
        return self.reading.timeline.timeline

    def snapshot(self) -> CallReading:
        """What is known by now; of a call that is over, for good."""
        return self.reading.snapshot(self.events.lost)


class Reader:
    """All calls' of a process. The listeners are called by the thread."""

    def __init__(
        self,
        prices: PriceTable,
        listeners: Listeners | None = None,
        options: ReaderOptions | None = None,
    ) -> None:
        self._prices = prices
        self._listeners = listeners or Listeners()
        self._options = options or ReaderOptions()
        self._shared = Budget(self._options.max_total_event_bytes)
        self._begun: deque[ReaderTap] = deque()
        self._live: list[ReaderTap] = []
        self._lost = 0  # of the calls that are over
        self._unread = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._serving_since: float | None = None
        self._portion_began = 0.0

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Finishes all calls, ends the thread, waits at most so long. Not for the event loop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def begin(self, facts: CallFacts, *, level_extension_id: int | None = None) -> ReaderTap:
        """A call's tap. `level_extension_id` is the audio level's (RFC 6464) of what comes down, if
        one is negotiated."""
        reading = Reading(
            facts, self._prices, self._listeners, level_extension_id=level_extension_id
        )
        own = Budget(self._options.max_event_bytes)
        tap = ReaderTap(reading, Ring(self._options.max_events, own, self._shared))
        self._begun.append(tap)
        return tap

    def snapshot(self) -> ReaderSnapshot:
        """How it goes; quick, and from any thread."""
        taps = [*self._live, *self._begun]
        since = self._serving_since
        return ReaderSnapshot(
            calls=len(taps),
            waiting=sum(len(tap.events) for tap in taps),
            lost=self._lost + sum(tap.events.lost for tap in taps),
            unread=self._unread + sum(tap.reading.unread for tap in taps),
            behind_s=0.0 if since is None else time.monotonic() - since,
        )

    # -- the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            started = self._portion_began = time.monotonic()
            self._take_begun()
            for tap in list(self._live):
                self._serve(tap)
                self._breathe()
            self._stop.wait(max(PAUSE_S, started + CYCLE_S - time.monotonic()))
        self._take_begun()
        for tap in list(self._live):
            self._end(tap)

    def _take_begun(self) -> None:
        while self._begun:
            self._live.append(self._begun.popleft())

    def _serve(self, tap: ReaderTap) -> None:
        """One call's turn."""
        now = self._serving_since = time.monotonic()
        ended_s = tap.ended_s  # read first: what came before it is in the ring
        try:
            heard_until_s = self._read(tap, now - SETTLED_S)
            if ended_s is None or tap.events:
                tap.reading.publish(heard_until_s)
            else:
                self._end(tap)
        except Exception:
            log.exception("reading.broke", session_id=tap.reading.facts.id)
            self._done(tap)
        finally:
            self._serving_since = None

    def _read(self, tap: ReaderTap, settled_s: float) -> float:
        """Reads some of what waits. Returns until when packets may be listened to."""
        at_s = settled_s
        for _ in range(EVENTS_A_TURN):
            for at_s, direction, message in tap.events.take(1, 1):
                tap.reading.event(direction, message, at_s)
            if not tap.events:
                return settled_s
            self._breathe()
        return at_s

    def _end(self, tap: ReaderTap) -> None:
        ended_s = time.monotonic() if tap.ended_s is None else tap.ended_s
        while tap.events:
            self._read(tap, ended_s)
        tap.reading.finish(ended_s)
        self._done(tap)

    def _done(self, tap: ReaderTap) -> None:
        self._live.remove(tap)
        self._lost += tap.events.lost
        self._unread += tap.reading.unread
        tap.finished.set_result(tap.snapshot())

    def _breathe(self) -> None:
        """Lets go of the interpreter, once it was held for a while."""
        if time.monotonic() - self._portion_began > PORTION_S:
            time.sleep(PAUSE_S)
            self._portion_began = time.monotonic()
