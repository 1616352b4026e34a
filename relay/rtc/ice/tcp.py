"""ICE over TCP (RFC 6544), framed by a 16-bit length (RFC 4571).

Passive for browsers, which connect to us; active towards an upstream that offers `tcptype passive`.
In scope: one frame a datagram, bounded buffers, first-frame deadline. Out of scope: simultaneous
open. A frame that does not fit is dropped as a datagram would be: TCP's own queue is kept short, so
that a slow path loses packets instead of delaying all that follow.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable

from relay.core import stun
from relay.rtc.buffer import DATA, MAX_DATAGRAM_BYTES, SIZE_BYTES, VIEW
from relay.rtc.ice.udp import Registry
from relay.rtc.ice.wire import MIN_SRTP_BYTES, Address, Receiver, StunReceiver, Wire

FIRST_FRAME_TIMEOUT_S = 5.0
MAX_UNKNOWN_CONNECTIONS = 256
"""Accepted and not yet authenticated by a check."""

BACKLOG_BYTES = 128 * 1024
_SEND_BUFFER_BYTES = 64 * 1024
_HEADER_BYTES = 2


class TcpWire(Wire):
    """One connection. `agent` is who made it, and `leads_to` where it ends, a proxy or not; None
    for one that a peer opened: its first check says whose it is."""

    transport = "tcp"

    def __init__(
        self,
        sock: socket.socket,
        drops: Counter[str],
        *,
        registry: Registry | None = None,
        agent: StunReceiver | None = None,
        receiver: Receiver | None = None,
        leads_to: Address | None = None,
        on_closed: Callable[[TcpWire], None] = lambda _: None,
    ) -> None:
        super().__init__(drops)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.local = sock.getsockname()[:2]
        self.peer = leads_to or sock.getpeername()[:2]
        self.is_known = agent is not None
        self._sock = sock
        self._registry = registry
        self._agent = agent
        self._receiver = receiver
        self._on_closed = on_closed
        self._by_transaction: dict[bytes, StunReceiver] = {}
        self._inbox = memoryview(bytearray(_HEADER_BYTES + SIZE_BYTES))
        self._filled = 0
        self._backlog = bytearray()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    # -- sending

    def sender(self, address: Address) -> Callable[[memoryview | bytes], int]:
        assert address == self.peer
        return self._write

    def sendto(self, data: bytes | memoryview, address: Address) -> None:
        if address == self.peer:
            self._write(data)
        else:
            self._drops["wrong_peer"] += 1

    def _write(self, data: bytes | memoryview) -> int:
        size = len(data)
        if self._closed:
            self._drops["send_failed"] += 1
            return 0
        header = size.to_bytes(_HEADER_BYTES, "big")
        if self._backlog:
            if len(self._backlog) + size > BACKLOG_BYTES:
                self._drops["tcp_backlog"] += 1
                return 0
            self._backlog += header + bytes(data)
            return size
        try:
            sent = self._sock.sendmsg((header, data))
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return 0
        if sent < _HEADER_BYTES + size:
            self._backlog += (header + bytes(data))[sent:]
            self._loop.add_writer(self._sock.fileno(), self._writable)
        return size

    def _writable(self) -> None:
        try:
            sent = self._sock.send(self._backlog)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        del self._backlog[:sent]
        if not self._backlog:
            self._loop.remove_writer(self._sock.fileno())

    # -- receiving

    def _readable(self) -> None:
        try:
            received = self._sock.recv_into(self._inbox[self._filled :])
        except BlockingIOError:
            return
        except OSError:
            received = 0
        if not received:
            self.close()
            return
        self._filled += received
        self._take_frames()

    def _take_frames(self) -> None:
        inbox, at = self._inbox, 0
        while self._filled - at >= _HEADER_BYTES and not self._closed:
            size = inbox[at] << 8 | inbox[at + 1]
            if size > SIZE_BYTES:  # RFC 4571 §2 allows 65535; nothing of a call is that long
                self._drops["tcp_frame_too_long"] += 1
                self.close()
                return
            end = at + _HEADER_BYTES + size
            if end > self._filled:
                break
            VIEW[:size] = inbox[at + _HEADER_BYTES : end]
            self._dispatch(size)
            at = end
        if at and not self._closed:
            rest = bytes(inbox[at : self._filled])
            inbox[: len(rest)] = rest
            self._filled = len(rest)

    def _dispatch(self, size: int) -> None:
        assert self.peer is not None
        first = DATA[0] if size else 255
        receiver = self._receiver
        if size and first < 4:
            self._stun(stun.parse(bytes(VIEW[:size])))
        elif receiver is None:
            self._drops["unknown_source"] += 1
        elif 127 < first < 192 and MIN_SRTP_BYTES <= size <= MAX_DATAGRAM_BYTES:
            receiver.receive_rtp(size)
        elif 19 < first < 64:
            receiver.receive_dtls(bytes(VIEW[:size]), self.peer)
        else:
            self._drops["unknown_protocol"] += 1

    def _stun(self, message: stun.Message | None) -> None:
        assert self.peer is not None
        agent = self._agent
        if message is None:
            self._drops["bad_stun"] += 1
            return
        if message.type != stun.BINDING_REQUEST:
            agent = self._by_transaction.get(message.transaction_id)
        elif self._registry is not None:
            agent = self._registry.find(message.username)
        if agent is not None:
            agent.receive_stun(message, self.peer, self)
            return
        self._drops["unknown_ufrag"] += 1
        if not self.is_known:
            self.close()

    # -- who it belongs to

    def expect(self, transaction_id: bytes, receiver: StunReceiver) -> None:
        self._by_transaction[transaction_id] = receiver

    def forget(self, transaction_id: bytes) -> None:
        self._by_transaction.pop(transaction_id, None)

    def validate(self, address: Address, receiver: Receiver) -> None:
        assert address == self.peer
        self.is_known = True
        self._receiver = receiver

    def invalidate(self, receiver: Receiver) -> None:
        if self._receiver is receiver:
            self.close()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._backlog.clear()
        self._on_closed(self)
        if self._receiver is not None:
            self._receiver.wire_lost(self)


class TcpListener:
    """A passive TCP candidate: accepts, and closes what does not introduce itself in time."""

    def __init__(self, sock: socket.socket, drops: Counter[str], registry: Registry) -> None:
        self.local: Address = sock.getsockname()[:2]
        self._sock = sock
        self._drops = drops
        self._registry = registry
        self._wires: set[TcpWire] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._acceptable)

    def _acceptable(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError:  # the peer gave up, or there is no descriptor left
            self._drops["accept_failed"] += 1
            return
        if sum(not wire.is_known for wire in self._wires) >= MAX_UNKNOWN_CONNECTIONS:
            self._drops["tcp_surplus"] += 1
            sock.close()
            return
        try:
            wire = TcpWire(
                sock, self._drops, registry=self._registry, on_closed=self._wires.discard
            )
        except OSError:  # closed again already
            sock.close()
            return
        self._wires.add(wire)
        self._loop.call_later(FIRST_FRAME_TIMEOUT_S, self._expire, wire)

    def _expire(self, wire: TcpWire) -> None:
        if not wire.is_known:
            self._drops["tcp_silent"] += 1
            wire.close()

    def invalidate(self, receiver: Receiver) -> None:
        """The receiver is gone, and its connections with it."""
        for wire in list(self._wires):
            wire.invalidate(receiver)

    def close(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for wire in list(self._wires):
            wire.close()


def listen_tcp(host: str, port: int) -> socket.socket:
    """A non-blocking listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(MAX_UNKNOWN_CONNECTIONS)
    except OSError:
        sock.close()
        raise
    return sock
