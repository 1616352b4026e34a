"""A wire carries a leg's datagrams: a UDP socket, a TCP connection, a TURN allocation.

It sends, and gives what it receives to receivers; nothing here raises. Datagrams are received into
the process's one buffer (`relay.rtc.buffer`) and handled in the callback.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Literal, Protocol

from relay.core import stun
from relay.rtc.buffer import DATA, MAX_DATAGRAM_BYTES, VIEW

Address = tuple[str, int]

MIN_SRTP_BYTES = 12


class StunReceiver(Protocol):
    """Who answers checks and waits for answers: an ICE agent."""

    def receive_stun(self, message: stun.Message, address: Address, wire: Wire) -> None: ...


class Receiver(Protocol):
    """Who takes DTLS and SRTP from validated addresses: a leg's ICE transport."""

    receive_rtp: Callable[[int], None]
    """An SRTP or SRTCP packet of so many bytes lies in the buffer; its source was validated."""

    def receive_dtls(self, data: bytes, address: Address) -> None: ...

    def wire_lost(self, wire: Wire) -> None:
        """The wire carries nothing any more."""


PathTransport = Literal["udp", "tcp", "turn-udp", "turn-tcp", "turn-tls"]
"""What carries a path's first hop; behind a TURN server it is UDP."""


class Wire(ABC):
    """`transport` is that of its candidates, `local` the address it is bound to."""

    transport: Literal["udp", "tcp"] = "udp"
    local: Address
    peer: Address | None = None
    """The only remote address it leads to; None where it leads anywhere."""

    def __init__(self, drops: Counter[str]) -> None:
        self._drops = drops

    @property
    def version(self) -> int:
        """Of the Internet Protocol."""
        return 6 if ":" in self.local[0] else 4

    @property
    def first_hop(self) -> PathTransport:
        return self.transport

    @abstractmethod
    def sender(self, address: Address) -> Callable[[memoryview | bytes], int]:
        """The fastest way to send to the selected pair's remote address. It may raise OSError."""

    @abstractmethod
    def sendto(self, data: bytes | memoryview, address: Address) -> None:
        """Sends one datagram, or counts why not."""

    @abstractmethod
    def expect(self, transaction_id: bytes, receiver: StunReceiver) -> None:
        """Answers to this transaction belong to `receiver`."""

    @abstractmethod
    def forget(self, transaction_id: bytes) -> None: ...

    @abstractmethod
    def validate(self, address: Address, receiver: Receiver) -> None:
        """`address` passed a check: its DTLS and SRTP belong to `receiver` from now on."""

    @abstractmethod
    def invalidate(self, receiver: Receiver) -> None:
        """The receiver is gone."""

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""


class OwnedWire(Wire):
    """A wire of one leg: all that comes belongs to it, and it tells validated addresses apart."""

    def __init__(self, drops: Counter[str], receiver: Receiver, agent: StunReceiver) -> None:
        super().__init__(drops)
        self._receiver = receiver
        self._agent = agent
        self._by_transaction: dict[bytes, StunReceiver] = {}

    def expect(self, transaction_id: bytes, receiver: StunReceiver) -> None:
        self._by_transaction[transaction_id] = receiver

    def forget(self, transaction_id: bytes) -> None:
        self._by_transaction.pop(transaction_id, None)

    def validate(self, address: Address, receiver: Receiver) -> None: ...
    def invalidate(self, receiver: Receiver) -> None: ...

    def _dispatch(self, size: int, address: Address, *, is_selected: bool) -> None:
        """A datagram of `size` bytes lies in the buffer (RFC 7983)."""
        first = DATA[0]
        if 127 < first < 192:
            if is_selected and MIN_SRTP_BYTES <= size <= MAX_DATAGRAM_BYTES:
                self._receiver.receive_rtp(size)
            else:
                self._drops["bad_length" if is_selected else "unknown_source"] += 1
        elif not size:
            self._drops["bad_length"] += 1
        elif first < 4:
            self._stun(stun.parse(bytes(VIEW[:size])), address)
        elif 19 < first < 64:
            self._receiver.receive_dtls(bytes(VIEW[:size]), address)
        else:
            self._drops["unknown_protocol"] += 1

    def _stun(self, message: stun.Message | None, address: Address) -> None:
        if message is None:
            self._drops["bad_stun"] += 1
        elif message.type == stun.BINDING_REQUEST:
            self._agent.receive_stun(message, address, self)
        elif message.transaction_id in self._by_transaction:
            self._by_transaction[message.transaction_id].receive_stun(message, address, self)
        else:
            self._drops["unexpected_stun"] += 1


def send_error_reason(error: OSError) -> str:
    """The drop counter's label for a failed send."""
    return "socket_full" if isinstance(error, BlockingIOError) else "send_failed"
