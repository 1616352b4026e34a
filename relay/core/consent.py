"""Consent freshness (RFC 7675) as a value: no clock, no socket.

The RFC's numbers: a check about every 5 s (randomised 0.8 to 1.2), and no sending 30 s after the
last answer. A check here goes out every 2.5 s, so that a peer that went away is noticed as
`disconnected` after 7 s; late answers count, whatever the round-trip time is.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

_MAX_OUTSTANDING = 16  # 30 s of unanswered checks, with some room


@dataclass(frozen=True, slots=True)
class ConsentTiming:
    """When to ask, and what silence means, in seconds; `expired_after_s` is the RFC's."""

    check_interval_s: float = 2.5
    disconnected_after_s: float = 7.0
    expired_after_s: float = 30.0


DEFAULT_TIMING = ConsentTiming()


class ConsentState(Enum):
    FRESH = "fresh"
    DISCONNECTED = "disconnected"
    EXPIRED = "expired"


class Consent:
    """One pair's consent. All times are seconds of one monotonic clock."""

    __slots__ = ("_last_answer", "_outstanding", "_timing", "round_trip_s")

    def __init__(self, now: float, timing: ConsentTiming) -> None:
        self._timing = timing
        self._last_answer = now
        self._outstanding: OrderedDict[bytes, float] = OrderedDict()
        self.round_trip_s: float | None = None

    def sent(self, transaction_id: bytes, now: float) -> bytes | None:
        """Returns the check that is too old to wait for any more, if there is one."""
        self._outstanding[transaction_id] = now
        if len(self._outstanding) <= _MAX_OUTSTANDING:
            return None
        return self._outstanding.popitem(last=False)[0]

    def answered(self, transaction_id: bytes, now: float) -> bool:
        """True if this authentic answer belongs to one of our checks."""
        sent = self._outstanding.pop(transaction_id, None)
        if sent is None:
            return False
        self.round_trip_s = now - sent
        self._last_answer = now
        return True

    def heard(self, now: float) -> None:
        """An authentic check of the peer: all that an ICE-lite side has to go by."""
        self._last_answer = now

    def state(self, now: float) -> ConsentState:
        silence = now - self._last_answer
        if silence >= self._timing.expired_after_s:
            return ConsentState.EXPIRED
        if silence >= self._timing.disconnected_after_s:
            return ConsentState.DISCONNECTED
        return ConsentState.FRESH
