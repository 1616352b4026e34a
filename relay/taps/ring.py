"""Bounded rings between the event loop, which must not wait, and the thread that writes.

One side puts, one takes, each a single thread; nothing is locked, for a deque's ends are safe and
each counter has one writer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from relay.core.ids import Direction
from relay.taps.facts import PacketTap

Arrival: TypeAlias = tuple[float, Direction, bytes]
"""When an RTP packet came (`time.monotonic()`), in which direction, and the packet."""


class PacketRing:
    """RTP packets as they pass; what comes while it is full is counted and let go."""

    def __init__(self, limit: int) -> None:
        self.lost = 0
        self._limit = limit
        self._ring: deque[Arrival] = deque()

    def __len__(self) -> int:
        return len(self._ring)

    def tap(self, clock: Callable[[], float] = time.monotonic) -> PacketTap:
        """What the packet path calls: it takes some 0.2 µs and never raises."""
        ring, limit = self._ring, self._limit
        append = ring.append

        def tap(direction: Direction, is_rtcp: bool, packet: bytes) -> None:
            if is_rtcp:
                return
            if len(ring) < limit:
                append((clock(), direction, packet))
            else:
                self.lost += 1

        return tap

    def take(self, most: int) -> list[Arrival]:
        """The oldest packets, at most so many."""
        pop = self._ring.popleft
        return [pop() for _ in range(min(most, len(self._ring)))]


class Budget:
    """Bytes that may wait at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._put = 0
        self._taken = 0

    @property
    def used(self) -> int:
        return self._put - self._taken

    def has_room(self, size: int) -> bool:
        return self.used + size <= self.limit

    def put(self, size: int) -> None:
        """The event loop's side."""
        self._put += size

    def take(self, size: int) -> None:
        """The thread's side."""
        self._taken += size


T = TypeVar("T")


class Ring(Generic[T]):
    """Things with a size, bounded by their number and by bytes: its own, and all rings'."""

    def __init__(self, limit: int, own: Budget, shared: Budget) -> None:
        self.lost = 0
        self._limit = limit
        self._own = own
        self._shared = shared
        self._ring: deque[tuple[T, int]] = deque()

    def __len__(self) -> int:
        return len(self._ring)

    def put(self, item: T, size: int) -> bool:
        """False where there is no room: counted and let go."""
        room = self._own.has_room(size) and self._shared.has_room(size)
        if not room or len(self._ring) >= self._limit:
            self.lost += 1
            return False
        self._own.put(size)
        self._shared.put(size)
        self._ring.append((item, size))
        return True

    def take(self, most: int, max_bytes: int) -> list[T]:
        """The oldest, at most so many, and no more once they have `max_bytes`."""
        taken: list[T] = []
        total = 0
        while self._ring and len(taken) < most and total < max_bytes:
            item, size = self._ring.popleft()
            taken.append(item)
            total += size
        self._own.take(total)
        self._shared.take(total)
        return taken

    def clear(self) -> None:
        """Forgets what waits."""
        self.take(len(self._ring), self._own.limit + 1)
