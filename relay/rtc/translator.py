"""The packet path between two legs: an RTP translator (RFC 3550 §7.2).

unprotect → read → tap → protect → send, in the callback of the socket that received the datagram.
RTP and RTCP bytes pass as they are: sequence numbers, timestamps, extensions, feedback and whatever
comes next were negotiated end to end. Nothing here raises, waits, queues or decodes.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from relay.core.ids import Direction
from relay.core.quality import Histogram
from relay.rtc.buffer import (
    DATA,
    LENGTH,
    VIEW,
    srtp_protect,
    srtp_protect_rtcp,
    srtp_unprotect,
    srtp_unprotect_rtcp,
    why_refused,
)
from relay.rtc.packets import PacketPort

if TYPE_CHECKING:
    from relay.rtc.leg import Leg

log = structlog.get_logger(__name__)

MAX_PACKETS_PER_S = 4000
"""Of one direction of a call: several times what audio and video have, and no flood."""

TIMED_EVERY = 64
"""Of so many packets of a direction, one is timed."""

PacketTap = Callable[[Direction, bool, bytes], None]
"""(direction, is_rtcp, the decrypted packet). Must return at once; one that raises is taken off."""


class Forwarder:
    """One direction: what `source` receives, `target` sends."""

    __slots__ = (
        "_budget",
        "_budget_until",
        "_direction",
        "_inbound_rtp",
        "_source",
        "_taps",
        "_target",
        "_target_ice",
        "_timed_ms",
    )

    def __init__(
        self, source: PacketPort, target: PacketPort, direction: Direction, timed_ms: Histogram
    ) -> None:
        self._source = source
        self._target = target
        self._target_ice = target.ice
        self._inbound_rtp = source.inbound.receive_rtp
        self._direction: Direction = direction
        self._timed_ms = timed_ms
        self._taps: tuple[PacketTap, ...] = ()
        self._budget = 0
        self._budget_until = 0.0
        source.ice.receive_rtp = self.receive

    def receive(self, size: int) -> None:
        """A protected packet of `size` bytes lies in the buffer."""
        source, target = self._source, self._target
        rx, tx = source.rx, target.tx
        if rx is None:
            source.drops["not_ready"] += 1
            return
        self._budget -= 1
        if self._budget < 0 and not self._renew_budget():
            source.drops["rate_limited"] += 1
            return
        if not self._budget & 63:  # TIMED_EVERY less one: what is looked at anyway, and no counter
            source.ice.receive_rtp = self._receive_timed
        LENGTH[0] = size
        if 192 <= DATA[1] <= 223:  # RFC 5761 §4
            self._receive_rtcp(rx, tx)
            return
        if status := srtp_unprotect(rx, DATA, LENGTH):
            source.drops[why_refused(status)] += 1
            return
        length = LENGTH[0]
        self._inbound_rtp(length)
        if self._taps:
            self._copy(length, is_rtcp=False)
        if tx is None:  # unprotected all the same: libsrtp counts the wrap-arounds
            source.drops["not_ready"] += 1
            return
        if srtp_protect(tx, DATA, LENGTH):
            source.drops["srtp_refused"] += 1
            return
        try:
            self._target_ice.send(VIEW[: LENGTH[0]])
        except OSError as error:
            self._count(error)
            return
        target.sent_packets += 1
        target.sent_bytes += length

    def _receive_timed(self, size: int) -> None:
        """Stands in `receive`'s place for one packet, so that the others do not pay for it."""
        self._source.ice.receive_rtp = self.receive
        target = self._target
        sent, began = target.sent_packets, monotonic()
        self.receive(size)
        if target.sent_packets > sent:
            self._timed_ms.add((monotonic() - began) * 1000)

    def _receive_rtcp(self, rx: Any, tx: Any) -> None:
        source, target = self._source, self._target
        if status := srtp_unprotect_rtcp(rx, DATA, LENGTH):
            source.drops[why_refused(status)] += 1
            return
        length = LENGTH[0]
        reports = source.inbound.receive_rtcp(VIEW[:length])
        if self._taps:
            self._copy(length, is_rtcp=True)
        if tx is None:
            source.drops["not_ready"] += 1
            return
        target.inbound.forwarded(reports)
        if srtp_protect_rtcp(tx, DATA, LENGTH):
            source.drops["srtp_refused"] += 1
            return
        try:
            self._target_ice.send(VIEW[: LENGTH[0]])
        except OSError as error:
            self._count(error)
            return
        target.sent_packets += 1
        target.sent_bytes += length

    def add_tap(self, tap: PacketTap) -> None:
        self._taps = (*self._taps, tap)

    def remove_tap(self, tap: PacketTap) -> None:
        """One that was taken off already is fine."""
        self._taps = tuple(found for found in self._taps if found != tap)

    def _renew_budget(self) -> bool:
        """Looks at the clock when the last one is used up, and not before."""
        now = monotonic()
        if now < self._budget_until:
            self._budget = 0
            return False
        self._budget_until = now + 1.0
        self._budget = MAX_PACKETS_PER_S - 1
        return True

    def _copy(self, length: int, *, is_rtcp: bool) -> None:
        packet = bytes(VIEW[:length])
        for tap in self._taps:
            try:
                tap(self._direction, is_rtcp, packet)
            except Exception:
                self.remove_tap(tap)
                log.exception("tap.removed", direction=self._direction)
        VIEW[:length] = packet  # a tap may have sent something itself
        LENGTH[0] = length

    def _count(self, error: OSError) -> None:
        reason = "socket_full" if isinstance(error, BlockingIOError) else "send_failed"
        self._target.drops[reason] += 1


class Translator:
    """Both directions of a call. It lives as long as its legs and needs no closing.

    `added_latency_ms` has one packet in TIMED_EVERY of each direction: from when it was read off
    its socket until it was handed to the other leg's, what taps took included. What it waited in
    the socket's queue before is not in it: the event loop's lag tells of that.
    """

    def __init__(self, client: PacketPort, upstream: PacketPort) -> None:
        self.added_latency_ms = Histogram()
        self.up = Forwarder(client, upstream, "up", self.added_latency_ms)
        self.down = Forwarder(upstream, client, "down", self.added_latency_ms)

    def add_tap(self, tap: PacketTap) -> None:
        """From the next packet on, both ways; in the order they were added."""
        self.up.add_tap(tap)
        self.down.add_tap(tap)

    def remove_tap(self, tap: PacketTap) -> None:
        self.up.remove_tap(tap)
        self.down.remove_tap(tap)


def join(client: Leg, upstream: Leg, tap: PacketTap | None = None) -> Translator:
    """Lets packets pass between two legs, from the moment that both are connected."""
    translator = Translator(client.packets, upstream.packets)
    if tap is not None:
        translator.add_tap(tap)
    return translator
