"""How many calls may be opened: at a time, and a minute, by address and by key."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from relay.core.errors import Overloaded, RateLimited
from relay.core.ids import KeyId

MAX_BUCKETS: Final = 10_000
FULL_RETRY_AFTER_S: Final = 5.0
DRAINING_RETRY_AFTER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """`per_minute` of 0 means no limit."""

    max_sessions: int
    calls_per_minute: int
    calls_per_minute_per_address: int


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimiter:
    """Token buckets, one for each caller: `per_minute` at once, and as many again in each minute.

    It holds at most `max_buckets` of them and forgets the least recently used: a flood of
    addresses costs no memory, and at worst somebody's bucket is full again.
    """

    def __init__(self, per_minute: int, *, max_buckets: int = MAX_BUCKETS) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str, now: float) -> float:
        """Takes one; returns 0, or the seconds after which there will be one to take."""
        if self._capacity == 0:
            return 0.0
        bucket = self._buckets.setdefault(caller, _Bucket(self._capacity, now))
        self._buckets.move_to_end(caller)
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)
        gained = max(0.0, now - bucket.at) * self._per_second
        bucket.tokens, bucket.at = min(self._capacity, bucket.tokens + gained), now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._per_second
        bucket.tokens -= 1
        return 0.0


class Admission:
    """Says whether one more call may be opened, before anything is read of it.

    `live_count` tells how many there are; `session.Calls` has the last word on that.
    """

    def __init__(self, limits: Limits, live_count: Callable[[], int]) -> None:
        self._limits = limits
        self._live_count = live_count
        self._by_key = RateLimiter(limits.calls_per_minute)
        self._by_address = RateLimiter(limits.calls_per_minute_per_address)
        self._ice_servers_by_address = RateLimiter(limits.calls_per_minute_per_address)
        self.draining = False

    def drain(self) -> None:
        """From now on no call may begin."""
        self.draining = True

    def admit(self, address: str, key_id: KeyId | None, now: float) -> None:
        """Counts one attempt to open a call; raises RateLimited or Overloaded.

        `now` is in seconds of a monotonic clock.
        """
        wait_s = self._by_address.take(_network(address), now)
        if wait_s == 0 and key_id is not None:
            wait_s = self._by_key.take(key_id, now)
        if wait_s > 0:
            raise RateLimited("Too many calls in a short time.", retry_after_s=wait_s)
        if self.draining:
            raise Overloaded("The server is shutting down.", retry_after_s=DRAINING_RETRY_AFTER_S)
        if self._live_count() >= self._limits.max_sessions:
            raise Overloaded(
                "The server has as many calls as it takes.", retry_after_s=FULL_RETRY_AFTER_S
            )

    def admit_ice_servers(self, address: str, now: float) -> None:
        """Counts one request for ICE servers, as many as calls; raises RateLimited."""
        wait_s = self._ice_servers_by_address.take(_network(address), now)
        if wait_s > 0:
            raise RateLimited("Too many requests in a short time.", retry_after_s=wait_s)


def _network(address: str) -> str:
    """Whom an address stands for: in IPv6 one host has a /64, and may call from all of it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
