"""The recorder: one thread that writes what every call's tap has put into its rings.

On the event loop a call is begun, told of packets and events, and ended; none of it waits for
anything. The thread serves the calls one after the other, spread over CYCLE_S: long enough that the
work comes in portions, short enough that little is lost when the process is killed. Between two
portions it sleeps, so that the loop waits for the interpreter no longer than one takes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import structlog

from relay.core.ids import Direction
from relay.stores.folders import Folder, Folders
from relay.taps.facts import CallFacts, EndFacts, PacketTap
from relay.taps.recording import Event, Losses, Mode, Recording, Report
from relay.taps.ring import Budget, PacketRing, Ring

CYCLE_S: Final = 0.5
CALLS_A_PORTION: Final = 6
"""Some 1.5 ms of work, in which each write lets the event loop in. A portion has a price of its
own, the switch to it and back: smaller ones cost more, larger ones are felt at p99."""
MIN_PAUSE_S: Final = 0.0002

STUCK_S: Final = 5.0
"""A write that takes so long is a disk that hangs."""

FINISH_TIMEOUT_S: Final = 30.0
"""So long a disk that fails is waited for at a call's end."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RecorderOptions:
    """`max_packets` and `max_events` may wait per call, events of at most `max_event_bytes`, and of
    `max_total_event_bytes` for all calls. 1,024 packets are ten seconds of a call."""

    directory: Path
    mode: Mode = "audio"
    max_packets: int = 1024
    max_events: int = 2048
    max_event_bytes: int = 32 * 1024 * 1024
    max_total_event_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call whose recording is over. `is_finished`: closed by its end record."""

    facts: CallFacts
    folder: Folder
    report: Report
    is_finished: bool


@dataclass(frozen=True, slots=True)
class RecorderSnapshot:
    """The recorder at one moment.

    `failing` is what the disk last said, None where it takes everything; `behind_s` since when the
    thread is with one call, `lost` is of all calls since the start.
    """

    calls: int
    waiting: int
    failing: str | None
    behind_s: float
    lost: Losses

    @property
    def is_healthy(self) -> bool:
        return self.failing is None and self.behind_s < STUCK_S


class CallTap:
    """One call's, used on the event loop. `packet` is None where no audio is recorded."""

    def __init__(
        self,
        recording: Recording,
        packet: PacketTap | None,
        events: Ring[Event],
    ) -> None:
        self.packet = packet
        self.finished: Future[Recorded] = Future()
        """Set by the thread. It never fails."""
        self.finished.set_running_or_notify_cancel()  # so nobody can cancel it under the thread
        self.recording = recording
        self._events = events
        self.end_facts: EndFacts | None = None
        self.give_up_at = 0.0
        self.is_over = False
        self.told_overflow = False

    @property
    def folder(self) -> Folder:
        return self.recording.folder

    def event(self, direction: Direction, message: str | bytes, at_s: float) -> None:
        """Takes a message of the data channel that passed at `at_s` (`time.monotonic()`)."""
        if self.end_facts is None and not self.is_over:
            self._events.put((at_s, direction, message), len(message))

    def end(self, facts: EndFacts) -> Future[Recorded]:
        """The call is over. Again is fine: the first time counts."""
        if self.end_facts is None:
            self.give_up_at = time.monotonic() + FINISH_TIMEOUT_S
            self.end_facts = facts
        return self.finished

    def report(self) -> Report:
        """What became of the call so far."""
        return self.recording.report()

    def let_go(self) -> None:
        """By the thread: nothing is taken in or kept any more."""
        self.is_over = True
        self.recording.close()
        self._events.clear()


class Recorder:
    """All recordings of a process. `on_recorded` is called by the thread."""

    def __init__(
        self, options: RecorderOptions, on_recorded: Callable[[Recorded], None] | None = None
    ) -> None:
        self._options = options
        self._folders = Folders(options.directory)
        self._on_recorded = on_recorded
        self._shared = Budget(options.max_total_event_bytes)
        self._begun: deque[CallTap] = deque()
        self._live: list[CallTap] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._serving_since: float | None = None
        self._failing: str | None = None
        self._lost = Losses()  # of the calls that are over

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def thread_ident(self) -> int:
        """The writing thread, for who measures it."""
        assert self._thread.ident is not None
        return self._thread.ident

    def close(self, timeout_s: float = 10.0) -> None:
        """Finishes the calls that have ended, closes the files of the others, ends the thread.

        Waits for the disk, at most so long: not for the event loop.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def begin(self, facts: CallFacts) -> CallTap:
        """A call's tap. Raises UnsafeId. Touches no disk: a folder that cannot be made is a
        failure like any other, counted and tried again."""
        folder = self._folders.at(facts.utc(facts.started_s).date(), facts.id)
        packets = PacketRing(self._options.max_packets)
        own = Budget(self._options.max_event_bytes)
        events: Ring[Event] = Ring(self._options.max_events, own, self._shared)
        recording = Recording(folder, facts, self._options.mode, packets, events)
        tap = CallTap(recording, packets.tap() if self._options.mode == "audio" else None, events)
        self._begun.append(tap)
        return tap

    def snapshot(self) -> RecorderSnapshot:
        """How it goes; quick, and from any thread."""
        reports = [tap.report() for tap in [*self._live, *self._begun]]
        since = self._serving_since
        return RecorderSnapshot(
            calls=len(reports),
            waiting=sum(report.waiting for report in reports),
            failing=self._failing,
            behind_s=0.0 if since is None else time.monotonic() - since,
            lost=sum((report.lost for report in reports), self._lost),
        )

    # -- the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            self._cycle()
        self._take_begun()
        for tap in list(self._live):
            self._serve(tap)
            if not tap.is_over:
                self._done(tap, is_finished=False)

    def _cycle(self) -> None:
        self._take_begun()
        started, live, clean = time.monotonic(), list(self._live), True
        for turn, tap in enumerate(live, start=1):
            clean &= self._serve(tap)
            if turn % CALLS_A_PORTION == 0 and not self._stop.is_set():
                time.sleep(_pause_s(started + CYCLE_S * turn / (len(live) + 1)))
        self._stop.wait(_pause_s(started + CYCLE_S))
        if clean and self._failing is not None:
            self._failing = None
            log.warning("recording.resumed", lost=asdict(self.snapshot().lost))

    def _take_begun(self) -> None:
        while self._begun:
            self._live.append(self._begun.popleft())

    def _serve(self, tap: CallTap) -> bool:
        """One call's turn; False where the disk refused something."""
        now = self._serving_since = time.monotonic()
        end = tap.end_facts  # read first: what came before it is in the rings
        try:
            if end is None:
                tap.recording.step(now - tap.recording.facts.started_s)
                self._tell_overflow(tap)
            else:
                tap.recording.finish(end)
                self._done(tap, is_finished=True)
        except OSError as error:
            self._failed(tap, error)
            if end is not None and now > tap.give_up_at:
                self._done(tap, is_finished=False)
            return False
        except Exception:
            log.exception("recording.broke", session_id=tap.recording.facts.id)
            self._done(tap, is_finished=False)
        finally:
            self._serving_since = None
        return True

    def _tell_overflow(self, tap: CallTap) -> None:
        if tap.recording.has_overflowed and not tap.told_overflow:
            tap.told_overflow = True
            lost = asdict(tap.report().lost)
            log.warning("recording.overflowed", session_id=tap.recording.facts.id, lost=lost)

    def _failed(self, tap: CallTap, error: OSError) -> None:
        if self._failing is None:
            session_id = tap.recording.facts.id
            log.error("recording.failed", session_id=session_id, detail=str(error))
        self._failing = str(error)

    def _done(self, tap: CallTap, *, is_finished: bool) -> None:
        tap.let_go()
        report, facts = tap.report(), tap.recording.facts
        self._lost += report.lost
        self._live.remove(tap)
        if report.lost or not is_finished:
            lost = asdict(report.lost)
            log.warning(
                "recording.incomplete", session_id=facts.id, finished=is_finished, lost=lost
            )
        recorded = Recorded(facts, tap.folder, report, is_finished)
        tap.finished.set_result(recorded)
        self._tell(recorded)

    def _tell(self, recorded: Recorded) -> None:
        if self._on_recorded is None:
            return
        try:
            self._on_recorded(recorded)
        except Exception:
            log.exception("recording.callback_failed", session_id=recorded.facts.id)


def _pause_s(until_s: float) -> float:
    return max(MIN_PAUSE_S, until_s - time.monotonic())
