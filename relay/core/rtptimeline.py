"""Where each packet of a stream belongs on the call's clock.

Packets come with the time they arrived at; they leave in the order of their sequence numbers, each
with the gap before it, so that what is written one after the other stays on the call's clock. All
times are in samples of the codec's clock, counted from the call's zero.

Between packets RTP timestamps rule. Where a timestamp lies on the call's clock is told by arrivals:
a packet's *shift* is its arrival minus its timestamp, and the smallest of the last seconds is the
path's without queueing. It moves with the sender's clock (100 ppm are 360 ms an hour). The place
that was written to follows it in the gaps that losses and silences leave; where there are none, by
a concealed 10 ms more or less, when it is 10 ms off. RTCP's sender reports are not asked: they tell
the sender's clock, and what both sides have in common is the relay's.

Out of scope: decoding, files, what a gap sounds like.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Final, NamedTuple

HOLD_S: Final = 0.3
"""How long a packet waits for those before it, and for a first view of the path's delay."""

_WINDOW: Final = 10
"""Of so many seconds in which packets came the smallest shift counts,"""
_WINDOW_AGE_S: Final = 120
"""and of none that are longer ago than that: 12 ms at 100 ppm."""
_STEP_S: Final = 0.25
"""A shift that changes by more is another timestamp's beginning, not queueing."""
_EXACT_S: Final = 0.005
"""A gap as the timestamps have it is kept while it is right by so much."""
_CORRECTION_S: Final = 0.010
"""And its unit: a frame that every mode of Opus has."""
_QUIET_CORRECTION_S: Final = 0.0075
"""In a quiet packet a correction is made earlier."""
_AHEAD_S: Final = 1.0
"""A sender of more audio than time passes is cut off here."""
_PACKETS_PER_TRIM: Final = 5
_MAX_HELD: Final = 1024
_MAX_MISORDER: Final = 256
"""A packet further behind starts its sequence anew, when its successor follows."""
_STALE_S: Final = 0.5
"""So long packets of the stream before may come late."""


class Placed(NamedTuple):
    """What is to be written next: `gap` samples of nothing, then `kept` of the packet's `samples`.

    `kept` is smaller where the sender's clock is too fast: the packet is to be replaced by so much.
    """

    gap: int
    payload: bytes
    samples: int
    kept: int


@dataclass(slots=True)
class Counts:
    """What a timeline did: packets, but `filled`, `stretched` and `trimmed` samples.

    `late` came after their place was written, `filled` is the silence and loss between packets,
    `stretched` and `trimmed` (a part of neither) went to the sender's clock, `restarts` are new
    SSRCs, sequences or timestamps.
    """

    placed: int = 0
    late: int = 0
    duplicates: int = 0
    filled: int = 0
    stretched: int = 0
    trimmed: int = 0
    restarts: int = 0

    def __add__(self, other: Counts) -> Counts:
        names = (field.name for field in fields(self))
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in names})


class _Clock:
    """The smallest shift of the last seconds."""

    __slots__ = ("_buckets", "_rate", "latest", "second_ends", "shift")

    def __init__(self, rate: int, arrival: int, shift: int) -> None:
        self._rate = rate
        self._buckets: deque[tuple[int, int]] = deque()
        self.shift = self.latest = shift
        self.second_ends = (arrival // rate + 1) * rate

    def update(self, arrival: int, shift: int) -> None:
        if arrival < self.second_ends:
            self.latest = min(self.latest, shift)
            self.shift = min(self.shift, shift)
            return
        self._buckets.append((self.second_ends, self.latest))
        self.latest = shift
        self.second_ends = (arrival // self._rate + 1) * self._rate
        oldest = self.second_ends - _WINDOW_AGE_S * self._rate
        while self._buckets and (len(self._buckets) >= _WINDOW or self._buckets[0][0] < oldest):
            self._buckets.popleft()
        self.shift = min(shift, min((value for _, value in self._buckets), default=shift))


class _Held(NamedTuple):
    """A packet that waits; `sequence` and `timestamp` do not wrap."""

    sequence: int
    timestamp: int
    arrival: int
    samples: int
    payload: bytes
    clock: _Clock


# Both tuples are made for each packet: `tuple.__new__` spares them a call of their own `__new__`.

_sequence_of = attrgetter("sequence")


class Timeline:
    """One direction and codec of a call. `position` is where the next sample will be written."""

    def __init__(self, rate: int) -> None:
        """`rate` in Hz, a multiple of 400."""
        self.position = 0
        self.counts = Counts()
        self._rate = rate
        self._grain = rate // 400
        self._hold = int(rate * HOLD_S)
        self._step = int(rate * _STEP_S)
        self._exact = int(rate * _EXACT_S)
        self._correction = int(rate * _CORRECTION_S)
        self._quiet_correction = int(rate * _QUIET_CORRECTION_S)
        self._held: list[_Held] = []
        self._ssrc = -1
        self._stale_ssrc = -1
        self._switched_at = 0
        self._highest = 0  # sequence number, unwrapped
        self._timestamp = 0  # the last packet's, unwrapped
        self._released = -1
        self._restart_at = -1
        self._clock: _Clock | None = None
        self._placed_by: _Clock | None = None  # None: nothing before the next packet counts
        self._expected = 0
        self._mean_bytes = 0.0
        self._since_trim = 0

    def push(
        self,
        arrival: int,
        ssrc: int,
        sequence: int,
        timestamp: int,
        samples: int,
        payload: bytes,
    ) -> None:
        """Takes a packet. `sequence` (16 bits), `timestamp` (32 bits) as on the wire; arrivals
        never decrease; `samples` is its duration, positive."""
        ahead = sequence - self._highest & 0xFFFF
        if ssrc != self._ssrc or not 0 < ahead < 0x8000:  # late, doubled, or of another stream
            number = self._number_of_other(arrival, ssrc, sequence, timestamp)
            if number is None:
                return
            if self._held and number <= self._held[-1].sequence:
                self._insert(number, timestamp, arrival, samples, payload)
                return
        else:
            number = self._highest + ahead
        clock = self._clock
        assert clock is not None
        self._highest = number
        # Unwrapped to what is nearest to the packet before.
        last = self._timestamp
        self._timestamp = timestamp = (
            last + (timestamp - last + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        )
        shift = arrival - timestamp
        if shift < clock.shift - self._step:
            self.counts.restarts += 1
            clock = self._clock = _Clock(self._rate, arrival, shift)
        elif shift < clock.latest or arrival >= clock.second_ends:
            clock.update(arrival, shift)
        self._held.append(
            tuple.__new__(_Held, (number, timestamp, arrival, samples, payload, clock))
        )

    def pop(self, now: int) -> list[Placed]:
        """What may be written at `now`: all that waited long enough, and what precedes it."""
        held, limit = self._held, now - self._hold
        count = len(held)
        while count and held[count - 1].arrival > limit:
            count -= 1
        return self._release(max(count, len(held) - _MAX_HELD))

    def flush(self) -> list[Placed]:
        """All that waits."""
        return self._release(len(self._held))

    def gap_until(self, end: int) -> int:
        """Whole grains between the position and `end`; 0 where it is past that."""
        return max(0, end - self.position) // self._grain * self._grain

    def fill(self, gap: int) -> None:
        """Notes a gap that was written without a packet."""
        self.position += gap
        self.counts.filled += gap

    def rewind(self, position: int) -> None:
        """What was placed behind `position` is lost: it will be a gap."""
        self.position = position
        self._placed_by = None

    # -- arriving

    def _number_of_other(
        self, arrival: int, ssrc: int, sequence: int, timestamp: int
    ) -> int | None:
        """The sequence number, unwrapped, of what is not its stream's newest; None where it came
        too late."""
        if ssrc != self._ssrc or self._clock is None:
            if ssrc == self._stale_ssrc and arrival - self._switched_at < self._rate * _STALE_S:
                self.counts.late += 1
                return None
            self._switch(arrival, ssrc, sequence, timestamp)
        number = self._highest + (sequence - self._highest + 0x8000 & 0xFFFF) - 0x8000
        if number <= self._released:
            if not self._is_restart(number, sequence):
                return None
            self._switch(arrival, ssrc, sequence, timestamp)
            number = self._highest
        return number

    def _switch(self, arrival: int, ssrc: int, sequence: int, timestamp: int) -> None:
        """A new stream: nothing of its numbers follows from those before."""
        if self._clock is not None:
            self.counts.restarts += 1
        # Numbers go on upwards, so that one list holds both streams in their order.
        behind = self._highest + _MAX_HELD
        self._stale_ssrc, self._ssrc = (self._ssrc, ssrc) if ssrc != self._ssrc else (-1, ssrc)
        self._switched_at = arrival
        self._released = max(self._released, self._highest)
        self._highest = behind + (sequence - behind) % 0x10000
        self._timestamp = timestamp
        self._restart_at = -1
        self._clock = _Clock(self._rate, arrival, arrival - timestamp)

    def _is_restart(self, number: int, sequence: int) -> bool:
        if self._released - number < _MAX_MISORDER:
            self.counts.late += 1
            return False
        if sequence == self._restart_at:
            return True
        self._restart_at = (sequence + 1) & 0xFFFF
        self.counts.late += 1
        return False

    def _insert(
        self, number: int, timestamp: int, arrival: int, samples: int, payload: bytes
    ) -> None:
        """A packet that comes after its successors."""
        held = self._held
        at = bisect_left(held, number, key=_sequence_of)
        if held[at].sequence == number:
            self.counts.duplicates += 1
            return
        ahead = (timestamp - self._timestamp + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        clock = held[at - 1].clock if at else held[0].clock
        held.insert(at, _Held(number, self._timestamp + ahead, arrival, samples, payload, clock))

    # -- leaving

    def _release(self, count: int) -> list[Placed]:
        if count <= 0:
            return []
        held = self._held
        self._late_step(held, count)
        due = held[:count]
        placed = self._place(due)
        mean = sum([len(packet.payload) for packet in due]) / count
        self._mean_bytes += (mean - self._mean_bytes) / 8 if self._mean_bytes else mean
        self._released = max(self._released, held[count - 1].sequence)
        del held[:count]
        self.counts.placed += count
        return placed

    def _late_step(self, held: list[_Held], count: int) -> None:
        """Timestamps that stood still while time passed: no later packet comes without delay.

        A burst after a stall is told from that by its end, which is on time.
        """
        last = held[count - 1]
        limit = last.clock.shift + self._step
        if last.arrival - last.timestamp <= limit:  # nearly always
            return
        if min(packet.arrival - packet.timestamp for packet in held[count:] or [last]) <= limit:
            return
        first = count - 1
        while first and held[first - 1].arrival - held[first - 1].timestamp > limit:
            first -= 1
        self._restart_from(first, last.clock)

    def _restart_from(self, first: int, old: _Clock) -> None:
        held = self._held
        moved = [at for at in range(first, len(held)) if held[at].clock is old]
        shift = min(held[at].arrival - held[at].timestamp for at in moved)
        clock = _Clock(self._rate, held[-1].arrival, shift)
        for at in moved:
            held[at] = held[at]._replace(clock=clock)
        if self._clock is old:
            self._clock = clock
        self.counts.restarts += 1

    def _place(self, due: list[_Held]) -> list[Placed]:
        position, expected, placed_by = self.position, self._expected, self._placed_by
        late_by, early_by = self._correction, -self._quiet_correction
        placed: list[Placed] = []
        for _, timestamp, arrival, samples, payload, clock in due:
            # No place is later than the arrival, whatever a timestamp says.
            place = timestamp + clock.shift
            error = (place if place < arrival else arrival) - position  # noqa: FURB136 quicker
            gap, kept = 0, samples
            if clock is not placed_by:
                gap = _nearest(error, self._grain)
                self.counts.filled += gap
                placed_by = clock
            elif timestamp > expected:
                gap = self._missing(timestamp - expected, error)
            elif error >= late_by:
                gap = _nearest(error, self._correction)
                self.counts.stretched += gap
            if error <= early_by and not gap:
                kept = self._trimmed(len(payload), samples, error)
            expected = timestamp + samples
            self._since_trim += 1
            position += gap + kept
            placed.append(tuple.__new__(Placed, (gap, payload, samples, kept)))
        self.position, self._expected, self._placed_by = position, expected, placed_by
        return placed

    def _missing(self, gap: int, error: int) -> int:
        """The gap for one that the timestamps have."""
        if abs(error - gap) <= self._exact:
            gap = gap // self._grain * self._grain
        else:
            gap = _nearest(error, self._correction)
        self.counts.filled += gap
        return gap

    def _trimmed(self, size: int, samples: int, error: int) -> int:
        """How much to keep of a packet that would come too late."""
        is_quiet = size < 0.6 * self._mean_bytes
        if error > -self._correction and not is_quiet:
            return samples
        if error > -self._rate * _AHEAD_S:
            if self._since_trim < _PACKETS_PER_TRIM:
                return samples
            self._since_trim = 0
        kept = max(0, samples - _nearest(-error, self._correction))
        self.counts.trimmed += samples - kept
        return kept


def _nearest(samples: int, unit: int) -> int:
    """The nearest multiple; at least 0."""
    return max(0, (samples + unit // 2) // unit * unit)
