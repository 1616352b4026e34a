"""The UDP sockets of the process, and who gets a datagram (RFC 7983).

Client legs share one socket an address: a datagram is told apart by its source address, once that
address passed a check, and by the user fragment of the check before. An upstream leg owns its
socket, because two calls to one upstream address would share a 5-tuple.

Datagrams are read into the process's one buffer (`relay.rtc.buffer`) and handled in the callback.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Protocol, TypeVar

from relay.core import stun
from relay.rtc.buffer import DATA, MAX_DATAGRAM_BYTES, VIEW

Address = tuple[str, int]

READS_PER_WAKEUP = 16
"""How many datagrams one wake-up of a shared socket may handle before other sockets have a turn."""

SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
"""Asked for; the kernel grants net.core.rmem_max at the most. 50 calls for a second are 0.5 MB."""

_MIN_SRTP_BYTES = 12


class Receiver(Protocol):
    """A leg's ICE transport, as a socket sees it."""

    receive_rtp: Callable[[int], None]
    """An SRTP or SRTCP packet of so many bytes lies in the buffer; its source was validated."""

    def receive_stun(self, message: stun.Message, address: Address, wire: Wire) -> None: ...
    def receive_dtls(self, data: bytes, address: Address) -> None: ...


class Wire(ABC):
    """One UDP socket: sends, and gives what it receives to receivers. Nothing here raises."""

    def __init__(self, sock: socket.socket, drops: Counter[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._drops = drops
        self._recvfrom_into = sock.recvfrom_into
        self.local: Address = sock.getsockname()[:2]
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def version(self) -> int:
        return 4 if self._sock.family == socket.AF_INET else 6

    @abstractmethod
    def _readable(self) -> None: ...

    @abstractmethod
    def sender(self, address: Address) -> Callable[[memoryview | bytes], int]:
        """The fastest way to send to the selected pair's remote address."""

    def sendto(self, data: bytes | memoryview, address: Address) -> None:
        """Sends one datagram, or counts why not."""
        try:
            self._sock.sendto(data, address)
        except OSError as error:
            self._drops[send_error_reason(error)] += 1

    @abstractmethod
    def expect(self, transaction_id: bytes, receiver: Receiver) -> None:
        """Answers to this transaction belong to `receiver`."""

    @abstractmethod
    def forget(self, transaction_id: bytes) -> None: ...

    @abstractmethod
    def validate(self, address: Address, receiver: Receiver) -> None:
        """`address` passed a check: its DTLS and SRTP belong to `receiver` from now on."""

    @abstractmethod
    def invalidate(self, receiver: Receiver) -> None:
        """The receiver is gone."""

    def close(self) -> None:
        if self._sock.fileno() != -1:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()


def send_error_reason(error: OSError) -> str:
    """The drop counter's label for a failed send."""
    return "socket_full" if isinstance(error, BlockingIOError) else "send_failed"


class SharedWire(Wire):
    """One port for all client legs."""

    def __init__(self, sock: socket.socket, drops: Counter[str]) -> None:
        super().__init__(sock, drops)
        self._by_address: dict[Address, Receiver] = {}
        self._by_ufrag: dict[str, Receiver] = {}
        self._by_transaction: dict[bytes, Receiver] = {}

    def register(self, ufrag: str, receiver: Receiver) -> None:
        """Checks to `ufrag` belong to `receiver`."""
        assert ufrag not in self._by_ufrag, "user fragments are unique"
        self._by_ufrag[ufrag] = receiver

    def unregister(self, ufrag: str) -> None:
        self._by_ufrag.pop(ufrag, None)

    def expect(self, transaction_id: bytes, receiver: Receiver) -> None:
        self._by_transaction[transaction_id] = receiver

    def forget(self, transaction_id: bytes) -> None:
        self._by_transaction.pop(transaction_id, None)

    def validate(self, address: Address, receiver: Receiver) -> None:
        self._by_address[address] = receiver

    def invalidate(self, receiver: Receiver) -> None:
        _remove(self._by_address, receiver)
        _remove(self._by_transaction, receiver)

    def sender(self, address: Address) -> Callable[[memoryview | bytes], int]:
        sendto = self._sock.sendto
        return lambda data: sendto(data, address)

    def _readable(self) -> None:
        receive = self._recvfrom_into
        by_address = self._by_address
        for _ in range(READS_PER_WAKEUP):
            try:
                size, address = receive(VIEW)
            except OSError as error:  # empty, or an ICMP error of an earlier send
                if not isinstance(error, BlockingIOError):
                    self._drops["receive_failed"] += 1
                return
            if len(address) != 2:
                address = address[:2]
            first = DATA[0]
            if 127 < first < 192:
                receiver = by_address.get(address)
                if receiver is not None and _MIN_SRTP_BYTES <= size <= MAX_DATAGRAM_BYTES:
                    receiver.receive_rtp(size)
                else:
                    self._drops["unknown_source" if receiver is None else "bad_length"] += 1
            else:
                self._control(first, bytes(VIEW[:size]), address)

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
            ufrag = (message.username or "").partition(":")[0]
            receiver = self._by_ufrag.get(ufrag)
        else:
            receiver = self._by_transaction.get(message.transaction_id)
        if receiver is None:
            self._drops["unknown_ufrag"] += 1
        else:
            receiver.receive_stun(message, address, self)


class OwnedWire(Wire):
    """A socket of one leg. With a pair selected it is connected: the kernel filters strangers.

    All that comes belongs to its one receiver; that one tells validated addresses from others.
    """

    def __init__(self, sock: socket.socket, drops: Counter[str], receiver: Receiver) -> None:
        super().__init__(sock, drops)
        self._receiver = receiver
        self._recv_into = sock.recv_into
        self._peer: Address | None = None

    def expect(self, transaction_id: bytes, receiver: Receiver) -> None: ...
    def forget(self, transaction_id: bytes) -> None: ...
    def validate(self, address: Address, receiver: Receiver) -> None: ...
    def invalidate(self, receiver: Receiver) -> None: ...

    def sender(self, address: Address) -> Callable[[memoryview | bytes], int]:
        self._sock.connect(address)
        self._peer = address
        return self._sock.send

    def sendto(self, data: bytes | memoryview, address: Address) -> None:
        if address != self._peer:
            super().sendto(data, address)
            return
        try:
            self._sock.send(data)
        except OSError as error:
            self._drops[send_error_reason(error)] += 1

    def _readable(self) -> None:
        peer = self._peer
        try:
            if peer is not None:
                size, address = self._recv_into(VIEW), peer
            else:
                size, address = self._recvfrom_into(VIEW)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                self._drops["receive_failed"] += 1
            return
        first = DATA[0]
        if 127 < first < 192 and _MIN_SRTP_BYTES <= size <= MAX_DATAGRAM_BYTES:
            if peer is not None:
                self._receiver.receive_rtp(size)
            else:
                self._drops["unknown_source"] += 1
        elif not size:
            self._drops["bad_length"] += 1
        elif first < 4:
            message = stun.parse(bytes(VIEW[:size]))
            if message is None:
                self._drops["bad_stun"] += 1
            else:
                self._receiver.receive_stun(message, address[:2], self)
        elif 19 < first < 64:
            self._receiver.receive_dtls(bytes(VIEW[:size]), address[:2])
        else:
            self._drops["unknown_protocol"] += 1


Key = TypeVar("Key")


def _remove(table: dict[Key, Receiver], receiver: Receiver) -> None:
    for key in [key for key, value in table.items() if value is receiver]:
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
