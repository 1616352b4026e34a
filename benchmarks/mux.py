"""`python -m benchmarks.mux`: one shared UDP port for 200 calls against 200 sockets.

Two processes. One sends 50 datagrams a second for each of 200 calls, spread evenly, from a socket a
call; the other receives them through the relay's own wires: one `SharedUdpWire` that knows 200
validated addresses, or 200 connected `OwnedUdpWire`s. Counted is the receiver's CPU a packet. It
does what the relay does up to the packet path: read, tell SRTP by its first byte, find whose it is.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from relay.core import stun
from relay.rtc.ice.udp import OwnedUdpWire, Registry, SharedUdpWire, open_udp
from relay.rtc.ice.wire import Address, Wire

CALLS = 200
PACKETS_PER_S = 50
SECONDS = 8.0
ROUNDS = 3
HOST = "127.0.0.1"
_PACKET = bytes([0x80, 111]) + bytes(90)


class _Call:
    """Takes what belongs to one call."""

    def __init__(self) -> None:
        self.packets = 0
        self.receive_rtp: Callable[[int], None] = self._count

    def _count(self, _size: int) -> None:
        self.packets += 1

    def receive_dtls(self, data: bytes, address: Address) -> None: ...
    def wire_lost(self, wire: Wire) -> None: ...
    def receive_stun(self, message: stun.Message, address: Address, wire: Wire) -> None: ...


def send(pipe: Connection) -> None:
    """The callers: sockets first, then datagrams to where each is told."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(CALLS)]
    for sock in sockets:
        sock.bind((HOST, 0))
    pipe.send([sock.getsockname() for sock in sockets])
    for sock, target in zip(sockets, pipe.recv(), strict=True):
        sock.connect(tuple(target))
    interval = 1 / (CALLS * PACKETS_PER_S)
    started = time.perf_counter()
    for number in range(int(SECONDS * CALLS * PACKETS_PER_S)):
        while time.perf_counter() < started + number * interval:
            pass
        sockets[number % CALLS].send(_PACKET)
    pipe.send("done")


async def receive(pipe: Connection, *, shared: bool) -> tuple[float, int]:
    """CPU seconds and packets."""
    loop, drops = asyncio.get_running_loop(), Counter[str]()
    callers = await loop.run_in_executor(None, pipe.recv)
    calls = [_Call() for _ in callers]
    wires: list[Wire] = []
    if shared:
        wire = SharedUdpWire(open_udp(HOST, 0), drops, Registry())
        for call, caller in zip(calls, callers, strict=True):
            wire.validate(tuple(caller), call)
        wires, targets = [wire], [wire.local] * CALLS
    else:
        for call, caller in zip(calls, callers, strict=True):
            owned = OwnedUdpWire(open_udp(HOST, 0), drops, call, call)
            owned.sender(tuple(caller))
            wires.append(owned)
        targets = [wire.local for wire in wires]
    before = time.process_time()
    pipe.send(targets)
    await loop.run_in_executor(None, pipe.recv)
    used = time.process_time() - before
    for each in wires:
        each.close()
    return used, sum(call.packets for call in calls)


def measure(*, shared: bool) -> dict[str, Any]:
    """One window."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    sender = context.Process(target=send, args=(theirs,))
    sender.start()
    used, packets = uvloop.run(receive(ours, shared=shared))
    sender.join(10)
    return {"shared": shared, "packets": packets, "us_per_packet": used / packets * 1e6}


def main() -> None:
    """Alternates the two, takes the least disturbed of each, prints JSON."""
    windows = [measure(shared=shared) for _ in range(ROUNDS) for shared in (True, False)]
    best = {
        shared: min(w["us_per_packet"] for w in windows if w["shared"] is shared)
        for shared in (True, False)
    }
    print(f"one port, {CALLS} calls: {best[True]:.2f} µs a packet")
    print(f"{CALLS} sockets:         {best[False]:.2f} µs a packet")
    print(f"ratio:               {best[True] / best[False]:.2f} (must be 1 or less)")
    print(json.dumps({"calls": CALLS, "packets_per_s": PACKETS_PER_S, "windows": windows}))


if __name__ == "__main__":
    main()
