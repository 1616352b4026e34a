"""UDP sockets (RFC 7983: the first byte tells STUN, DTLS and SRTP apart).

Client legs share one socket an address: a datagram is told apart by its source address, once that
address passed a check, and by the user fragment of the check before. An upstream leg owns its
socket, because two calls to one upstream address would share a 5-tuple.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from relay.core import stun
from relay.rtc.buffer import DATA, MAX_DATAGRAM_BYTES, VIEW
from relay.rtc.ice.wire import (
    MIN_SRTP_BYTES,
    Address,
    OwnedWire,
    Receiver,
    StunReceiver,
    Wire,
    send_error_reason,
)

READS_PER_WAKEUP = 16
"""How many datagrams one wake-up of a shared socket may handle before other sockets have a turn."""

LOOKS_AGAIN = 16
"""Where datagrams come one by one, each so many-th wake-up alone looks whether there is a second: a
look that finds none took 1.6 µs of a datagram's 14 (benchmarks.mux)."""

SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
"""Asked for; the kernel grants net.core.rmem_max at the most. 50 calls for a second are 0.5 MB."""


class Registry:
    """Who has which user fragment, on all shared wires of the process."""

    def __init__(self) -> None:
        self._by_ufrag: dict[str, StunReceiver] = {}

    def register(self, ufrag: str, receiver: StunReceiver) -> None:
        """Checks to `ufrag` belong to `receiver`."""
        assert ufrag not in self._by_ufrag, "user fragments are unique"
        self._by_ufrag[ufrag] = receiver

    def unregister(self, ufrag: str) -> None:
        self._by_ufrag.pop(ufrag, None)

    def find(self, username: str | None) -> StunReceiver | None:
        """By the USERNAME of a check: the receiver's fragment, a colon, the sender's."""
        return self._by_ufrag.get(username.partition(":")[0]) if username else None


class SharedUdpWire(Wire):
    """One port for all client legs."""

    def __init__(self, sock: socket.socket, drops: Counter[str], registry: Registry) -> None:
        super().__init__(drops)
        self.local = sock.getsockname()[:2]
        self._sock = sock
        self._recvfrom_into = sock.recvfrom_into
        self._registry = registry
        self._by_address: dict[Address, Receiver] = {}
        self._by_transaction: dict[bytes, StunReceiver] = {}
        self._reads = READS_PER_WAKEUP
        self._single = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    def expect(self, transaction_id: bytes, receiver: StunReceiver) -> None:
        self._by_transaction[transaction_id] = receiver

    def forget(self, transaction_id: bytes) -> None:
        self._by_transaction.pop(transaction_id, None)

    def validate(self, address: Address, receiver: Receiver) -> None:
        self._by_address[address] = receiver

    def invalidate(self, receiver: Receiver) -> None:
        _remove(self._by_address, receiver)

    def abandon(self, agent: StunReceiver) -> None:
        """The agent waits for no answer any more."""
        _remove(self._by_transaction, agent)

    def sender(self, address: Address) -> Callable[[memoryview | bytes], int]:
        sendto = self._sock.sendto
        return lambda data: sendto(data, address)

    def sendto(self, data: bytes | memoryview, address: Address) -> None:
        try:
            self._sock.sendto(data, address)
        except OSError as error:
            self._drops[send_error_reason(error)] += 1

    def close(self) -> None:
        if self._sock.fileno() != -1:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _readable(self) -> None:
        receive = self._recvfrom_into
        by_address = self._by_address
        for count in range(self._reads):
            try:
                size, address = receive(VIEW)
            except OSError as error:  # empty, or an ICMP error of an earlier send
                if not isinstance(error, BlockingIOError):
                    self._drops["receive_failed"] += 1
                if count < 2:
                    self._reads, self._single = 1, 0
                return
            if len(address) != 2:
                address = address[:2]
            first = DATA[0]
            if 127 < first < 192:
                receiver = by_address.get(address)
                if receiver is not None and MIN_SRTP_BYTES <= size <= MAX_DATAGRAM_BYTES:
                    receiver.receive_rtp(size)
                else:
                    self._drops["unknown_source" if receiver is None else "bad_length"] += 1
            else:
                self._control(first, bytes(VIEW[:size]), address)
        self._single += 1  # what is left wakes us again at once
        if self._single >= LOOKS_AGAIN:
            self._reads, self._single = READS_PER_WAKEUP, 0

    def _control(self, first: int, data: bytes, address: Address) -> None:
        if not data:
            self._drops["bad_length"] += 1
        elif first < 4:
            self._stun(data, address)
        elif 19 < first < 64 and (receiver := self._by_address.get(address)) is not None:
            receiver.receive_dtls(data, address)
        else:
            self._drops["unknown_source" if 19 < first < 64 else "unknown_protocol"] += 1

    def _stun(self, data: bytes, address: Address) -> None:
        message = stun.parse(data)
        if message is None:
            self._drops["bad_stun"] += 1
            return
        if message.type == stun.BINDING_REQUEST:
            receiver = self._registry.find(message.username)
        else:
            receiver = self._by_transaction.get(message.transaction_id)
        if receiver is None:
            self._drops["unknown_ufrag"] += 1
        else:
            receiver.receive_stun(message, address, self)


class OwnedUdpWire(OwnedWire):
    """A socket of one leg. With a pair selected it is connected: the kernel filters strangers."""

    def __init__(
        self,
        sock: socket.socket,
        drops: Counter[str],
        receiver: Receiver,
        agent: StunReceiver,
    ) -> None:
        super().__init__(drops, receiver, agent)
        self.local = sock.getsockname()[:2]
        self._sock = sock
        self._recv_into = sock.recv_into
        self._selected: Address | None = None
        self._is_settled = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    def sender(self, address: Address) -> Callable[[memoryview | bytes], int]:
        self._sock.connect(address)
        self._selected = address
        self._is_settled = False  # what strangers sent before is still in the socket's queue
        return self._sock.send

    def sendto(self, data: bytes | memoryview, address: Address) -> None:
        try:
            if address == self._selected:
                self._sock.send(data)
            else:
                self._sock.sendto(data, address)
        except OSError as error:
            self._drops[send_error_reason(error)] += 1

    def close(self) -> None:
        if self._sock.fileno() != -1:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _readable(self) -> None:
        selected = self._selected
        if selected is None or not self._is_settled:
            self._read_from_anybody()
            return
        try:
            size = self._recv_into(VIEW)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                self._drops["receive_failed"] += 1
            return
        self._dispatch(size, selected, is_selected=True)

    def _read_from_anybody(self) -> None:
        """Before a pair is selected, and until the queue of that time is read."""
        for _ in range(READS_PER_WAKEUP):
            try:
                size, address = self._sock.recvfrom_into(VIEW)
            except BlockingIOError:
                self._is_settled = self._selected is not None
                return
            except OSError:  # an ICMP error of an earlier send
                self._drops["receive_failed"] += 1
                continue
            address = address[:2]
            self._dispatch(size, address, is_selected=address == self._selected)


Key = TypeVar("Key")
Value = TypeVar("Value")


def _remove(table: dict[Key, Value], value: object) -> None:
    for key in [key for key, found in table.items() if found is value]:
        del table[key]


def open_udp(host: str, port: int) -> socket.socket:
    """A non-blocking UDP socket bound to `host`. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
