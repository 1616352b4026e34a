"""One port for all calls: each datagram is read, alone or in bursts, and looked for no more than it
has to be."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from relay.rtc.buffer import DATA
from relay.rtc.ice.udp import LOOKS_AGAIN, READS_PER_WAKEUP, Registry, SharedUdpWire, open_udp
from relay.rtc.ice.wire import Address, Wire
from tests.rtc.network import udp_socket


class CountingSocket(socket.socket):
    """Counts the looks at it."""

    looks = 0

    def recvfrom_into(self, *arguments: object) -> tuple[int, Address]:
        self.looks += 1
        return super().recvfrom_into(*arguments)  # type: ignore[arg-type]


class Call:
    """What belongs to one call: the numbers in its datagrams."""

    def __init__(self) -> None:
        self.numbers: asyncio.Queue[int] = asyncio.Queue()
        self.receive_rtp: Callable[[int], None] = self._receive

    def _receive(self, _size: int) -> None:
        self.numbers.put_nowait(DATA[2] << 8 | DATA[3])

    def receive_dtls(self, data: bytes, address: Address) -> None: ...
    def wire_lost(self, wire: Wire) -> None: ...

    async def take(self, count: int) -> list[int]:
        return [await asyncio.wait_for(self.numbers.get(), 5) for _ in range(count)]


@pytest.fixture
def caller() -> Iterator[socket.socket]:
    with udp_socket() as sock:
        yield sock


@pytest.fixture
async def port() -> AsyncIterator[CountingSocket]:
    opened = open_udp("127.0.0.1", 0)
    counting = CountingSocket(fileno=opened.detach())
    counting.setblocking(False)
    yield counting
    counting.close()


@pytest.fixture
async def wire(port: CountingSocket) -> AsyncIterator[SharedUdpWire]:
    wire = SharedUdpWire(port, Counter(), Registry())
    yield wire
    wire.close()


def joined(wire: SharedUdpWire, caller: socket.socket) -> Call:
    call = Call()
    wire.validate(caller.getsockname(), call)
    caller.connect(wire.local)
    return call


def send(caller: socket.socket, numbers: range) -> None:
    for number in numbers:
        caller.send(bytes((0x80, 111)) + number.to_bytes(2, "big") + bytes(60))


async def test_datagrams_that_come_one_by_one_are_hardly_ever_looked_for_in_vain(
    wire: SharedUdpWire, port: CountingSocket, caller: socket.socket
) -> None:
    call = joined(wire, caller)
    found = []

    for number in range(10 * LOOKS_AGAIN):
        send(caller, range(number, number + 1))
        found += await call.take(1)

    assert found == list(range(10 * LOOKS_AGAIN))
    assert port.looks <= len(found) + len(found) // LOOKS_AGAIN + 2


@pytest.mark.parametrize("singles", [0, 1, LOOKS_AGAIN, 2 * LOOKS_AGAIN + 1])
async def test_burst_is_read_whole_and_in_order_after_any_number_of_single_ones(
    wire: SharedUdpWire, caller: socket.socket, singles: int
) -> None:
    call = joined(wire, caller)
    for number in range(singles):
        send(caller, range(number, number + 1))
        await call.take(1)

    send(caller, range(1000, 1000 + 10 * READS_PER_WAKEUP))

    assert await call.take(10 * READS_PER_WAKEUP) == list(range(1000, 1000 + 10 * READS_PER_WAKEUP))
