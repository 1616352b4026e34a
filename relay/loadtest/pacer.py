"""Who sends when: every slot once a period, the slots evenly apart."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

from .timer import Ticker

_FINEST_NS = 200_000
"""No wake-up is asked for more often: above 100 slots in 20 ms several are due at once."""

_GIVE_UP_NS = 200_000_000
"""A sender that is later than this skips ahead instead of sending everything it missed."""


class Schedule:
    """The arithmetic of the pacer, without a clock: turn k is due at start + k · period / slots."""

    def __init__(self, slots: int, period_ns: int, start_ns: int) -> None:
        self.slots = slots
        self._period_ns = period_ns
        self._start_ns = start_ns
        self._turn = 0
        self.skipped = 0

    @property
    def step_ns(self) -> int:
        return max(1, self._period_ns // self.slots)

    def due_ns(self) -> int:
        """When the next turn is due. Whole periods are exact, so that nothing drifts."""
        periods, slot = divmod(self._turn, self.slots)
        return self._start_ns + periods * self._period_ns + slot * self._period_ns // self.slots

    def take(self, now_ns: int) -> tuple[int, int] | None:
        """The next turn's slot and its lateness in ns, or None while nothing is due."""
        late_ns = now_ns - self.due_ns()
        if late_ns < 0:
            return None
        if late_ns > _GIVE_UP_NS:
            missed = late_ns // self._period_ns * self.slots
            self._turn += missed
            self.skipped += missed
            late_ns = now_ns - self.due_ns()
        slot = self._turn % self.slots
        self._turn += 1
        return slot, late_ns


class Pacer:
    """Calls `send(slot)` for each slot once every `period_ns` until closed.

    `lateness_ns` has one entry a turn: how long after its due time it was sent. It tells whether
    the load itself kept up; `reset` begins a new sample.
    """

    def __init__(self, slots: int, period_ns: int, send: Callable[[int], None]) -> None:
        self._schedule = Schedule(slots, period_ns, time.monotonic_ns())
        self._send = send
        self.lateness_ns = array("q")
        self._ticker = Ticker(max(self._schedule.step_ns, _FINEST_NS), self._on_wake)

    @property
    def skipped(self) -> int:
        return self._schedule.skipped

    def reset(self) -> None:
        self.lateness_ns = array("q")

    def close(self) -> None:
        self._ticker.close()

    def _on_wake(self) -> None:
        now_ns = time.monotonic_ns()
        while (turn := self._schedule.take(now_ns)) is not None:
            slot, late_ns = turn
            self.lateness_ns.append(late_ns)
            self._send(slot)
