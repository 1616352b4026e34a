"""What forwarding a packet costs, and timing one in 64: `python -m benchmarks.forward_micro`.

Real SRTP both ways, no socket: what is sent goes nowhere, so that nothing but the relay's own work
is in the figure. The best of many rounds counts.
"""

from __future__ import annotations

import gc
import os
import struct
import time
import timeit
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pylibsrtp import Policy, Session

from relay.core.quality import Histogram
from relay.rtc.buffer import VIEW
from relay.rtc.packets import PacketPort
from relay.rtc.translator import Forwarder

PACKETS = 4_000
ROUNDS = 60
PAYLOAD = bytes(63)


class Nowhere:
    """An ICE transport that sends nothing."""

    def __init__(self) -> None:
        self.receive_rtp: Any = None

    def send(self, data: memoryview) -> None:
        """Takes it."""


class Budget:
    """What the path looks at for each packet, to see whether the next one is timed."""

    __slots__ = ("_budget",)

    def __init__(self) -> None:
        self._budget = 3999

    def look(self) -> None:
        if not self._budget & 63:
            raise AssertionError

    def look_not(self) -> None:
        pass


def _context(key: bytes, *, is_inbound: bool) -> Session:
    kind = Policy.SSRC_ANY_INBOUND if is_inbound else Policy.SSRC_ANY_OUTBOUND
    profile = Policy.SRTP_PROFILE_AEAD_AES_256_GCM
    return Session(Policy(key=key, ssrc_type=kind, srtp_profile=profile))


def protected(key: bytes) -> list[bytes]:
    """Packets as a peer sends them."""
    session = _context(key, is_inbound=False)
    header = [struct.pack("!BBHII", 0x80, 111, n, n * 960, 7) for n in range(PACKETS)]
    return [bytes(session.protect(head + PAYLOAD)) for head in header]


def round_ns(kind: Callable[..., Forwarder], key: bytes, packets: Sequence[bytes]) -> float:
    """Nanoseconds a packet, in one direction."""
    source, target = (PacketPort(Nowhere(), Counter()) for _ in range(2))  # type: ignore[arg-type]
    rx, tx = _context(key, is_inbound=True), _context(os.urandom(44), is_inbound=False)
    source.rx, target.tx = rx._srtp[0], tx._srtp[0]
    kind(source, target, "up", Histogram())
    ice = source.ice
    began = time.perf_counter_ns()
    for packet in packets:
        size = len(packet)
        VIEW[:size] = packet
        ice.receive_rtp(size)
    took = time.perf_counter_ns() - began
    assert target.sent_packets == PACKETS, source.drops
    return took / PACKETS


def looking_ns() -> float:
    """Nanoseconds that the look takes: a call with it less a call without."""
    budget, number = Budget(), 100_000
    looks = min(timeit.repeat(budget.look, number=number, repeat=ROUNDS))
    nothing = min(timeit.repeat(budget.look_not, number=number, repeat=ROUNDS))
    return (looks - nothing) / number * 1e9


def main() -> None:
    """Prints the figures."""
    key = os.urandom(44)
    packets = protected(key)
    gc.disable()
    packet_ns = min(round_ns(Forwarder, key, packets) for _ in range(ROUNDS))
    look_ns = looking_ns()
    print(f"one packet, without its socket: {packet_ns:.0f} ns")
    print(f"the look at whether it is timed: {look_ns:.0f} ns, {look_ns / packet_ns:.2%} of that")


if __name__ == "__main__":
    main()
