"""One pacer for all calls: each has a slot of its own in every 20 ms, none drifts.

Calls are spread over the slots, so that a hundred of them are no burst of a hundred packets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

PERIOD_MS = 20
SLOT_MS = 2
"""A finer grain would cost more wake-ups than it evens out: uvloop's timers know milliseconds."""

SLOTS = PERIOD_MS // SLOT_MS

MAX_LAG_MS = 200
"""How much is made up for after the loop was late; beyond it the beats are lost, and counted."""

Beat = Callable[[float], None]


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A place in the period, for one `beat`."""

    index: int
    beat: Beat


class Pacer:
    """Calls each slot's `beat` 50 times a second with the loop's time. Owned by one event loop."""

    def __init__(self) -> None:
        self.lost_beats = 0
        self._loop = asyncio.get_running_loop()
        self._slots: list[dict[Slot, None]] = [{} for _ in range(SLOTS)]
        self._origin = self._loop.time()
        self._done = 0
        """Every slot up to this one, counted from the origin, has been beaten."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, beat: Beat) -> Slot:
        """Takes the emptiest slot, the soonest one of those."""
        if self._timer is None:
            self._done = self._passed()
        soonest = ((self._done + ahead) % SLOTS for ahead in range(1, SLOTS + 1))
        slot = Slot(min(soonest, key=lambda index: len(self._slots[index])), beat)
        self._slots[slot.index][slot] = None
        self._arm()
        return slot

    def remove(self, slot: Slot) -> None:
        """Twice is fine."""
        self._slots[slot.index].pop(slot, None)

    def close(self) -> None:
        """Stops everything; nothing beats afterwards."""
        for slot in self._slots:
            slot.clear()
        self._disarm()

    def _passed(self) -> int:
        """How many slots the time since the origin is."""
        return int((self._loop.time() - self._origin) * 1000) // SLOT_MS

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._disarm()
        for due in range(self._done + 1, self._done + 1 + SLOTS):
            if self._slots[due % SLOTS]:
                self._timer = self._loop.call_at(self._origin + due * SLOT_MS / 1000, self._run)
                return

    def _run(self) -> None:
        self._timer = None
        passed = max(self._passed(), self._done)
        self._skip(passed - MAX_LAG_MS // SLOT_MS)
        now = self._loop.time()
        try:
            while self._done < passed:
                self._done += 1
                for slot in list(self._slots[self._done % SLOTS]):
                    slot.beat(now)
        finally:
            self._arm()

    def _skip(self, to: int) -> None:
        while self._done < to:
            self._done += 1
            self.lost_beats += len(self._slots[self._done % SLOTS])
