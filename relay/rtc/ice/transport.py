"""A leg's ICE transport: what is below it may change (pairs, addresses), what is above it does not.

Above: DTLS records by `_recv` and `_send` (the two methods that aiortc's DTLS transport calls),
SRTP by `receive_rtp` and `send`. Below: wires. Loss of contact is a state, never an exception.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import string
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import uniform

from relay.core import stun
from relay.core.consent import CHECK_INTERVAL_S, Consent, ConsentState
from relay.core.sdp import Transport
from relay.rtc.ice.udp import Address, Wire

_ICE_CHARS = string.ascii_letters + string.digits
_UFRAG_CHARS = 8
_PWD_CHARS = 24
_HELD_DATAGRAMS = 32
_QUEUED_RECORDS = 64


@dataclass(frozen=True, slots=True)
class SelectedPair:
    """The pair that carries the call (RFC 8445 §3)."""

    wire: Wire
    address: Address
    local_type: str
    remote_type: str


class IceTransport(ABC):
    """One agent with one component. `on_contact` is told of changes of consent."""

    role: str = "controlled"

    def __init__(self, wires: Iterable[Wire], drops: Counter[str]) -> None:
        self.ufrag = "".join(secrets.choice(_ICE_CHARS) for _ in range(_UFRAG_CHARS))
        self.pwd = "".join(secrets.choice(_ICE_CHARS) for _ in range(_PWD_CHARS))
        self.wires = list(wires)
        self.drops = drops
        self.selected: SelectedPair | None = None
        self.receive_rtp: Callable[[int], None] = self._no_receiver
        self.send: Callable[[memoryview | bytes], int] = self._no_pair
        self.on_contact: Callable[[ConsentState], None] = lambda _: None
        self.on_record: Callable[[bytes], None] = self._queue_record
        self._loop = asyncio.get_running_loop()
        self._records: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUED_RECORDS)
        self._held: deque[tuple[bytes, Address]] = deque(maxlen=_HELD_DATAGRAMS)
        self._valid: set[Address] = set()
        self._contact = ConsentState.FRESH
        self._consent: Consent | None = None
        self._consent_timer: asyncio.TimerHandle | None = None
        self._closed = False

    # -- what a leg calls

    @abstractmethod
    async def connect(self, remote: Transport) -> None:
        """Returns when a pair is selected; raises ConnectionError when none can be."""

    async def close(self) -> None:
        """Idempotent. Nothing is received and nothing is called back afterwards."""
        if self._closed:
            return
        self._closed = True
        if self._consent_timer is not None:
            self._consent_timer.cancel()
        self.send = self._no_pair
        self.receive_rtp = self._no_receiver
        self.on_record = lambda _: None
        if self._records.full():
            self._records.get_nowait()
        self._records.put_nowait(None)
        for wire in self.wires:
            wire.invalidate(self)

    @property
    def round_trip_s(self) -> float | None:
        """Of the last consent check, None before the first answer."""
        return self._consent.round_trip_s if self._consent else None

    # -- what aiortc's DTLS transport calls (duck-typed RTCIceTransport)

    async def _recv(self) -> bytes:
        record = await self._records.get()
        if record is None:
            raise ConnectionError("The ICE transport is closed")
        return record

    async def _send(self, data: bytes) -> None:
        try:
            self.send(data)
        except OSError:  # DTLS and SCTP retransmit; raising would end the association
            self.drops["send_failed"] += 1

    # -- what a wire calls

    @abstractmethod
    def receive_stun(self, message: stun.Message, address: Address, wire: Wire) -> None: ...

    def receive_dtls(self, data: bytes, address: Address) -> None:
        """DTLS only from the address of a pair that passed its checks (CVE-2023-51443 and its kin);
        what comes a moment too early is held, for a lost ClientHello costs a second."""
        if address in self._valid:
            self.on_record(data)
        else:
            self._held.append((data, address))

    def _queue_record(self, data: bytes) -> None:
        if self._records.full():
            self.drops["dtls_queue_full"] += 1
        else:
            self._records.put_nowait(data)

    def pending_records(self) -> list[bytes]:
        """Takes out what is queued, when the handshake is over and records go to `on_record`."""
        found = []
        while not self._records.empty():
            record = self._records.get_nowait()
            if record is not None:
                found.append(record)
        return found

    # -- what an agent calls

    def _validated(self, wire: Wire, address: Address) -> None:
        if address in self._valid or self._closed:
            return
        self._valid.add(address)
        wire.validate(address, self)
        for data, source in list(self._held):
            if source == address:
                self.on_record(data)
        self._held.clear()

    def _select(self, pair: SelectedPair) -> None:
        current = self.selected
        if self._closed or (
            current and (current.wire, current.address) == (pair.wire, pair.address)
        ):
            return
        self.send = pair.wire.sender(pair.address)
        self.selected = pair
        if self._consent_timer is not None:
            self._consent_timer.cancel()
        self._consent = Consent(time.monotonic())
        self._set_contact(ConsentState.FRESH)
        self._consent_timer = self._loop.call_later(self._interval(), self._tick)

    def _consent_request(self) -> bytes | None:
        """Sends nothing where None: an ICE-lite agent does not check (RFC 7675 §5.1)."""
        return None

    def _tick(self) -> None:
        """Every 2.5 s or so while there is a pair: look, then ask again (RFC 7675 §5.1)."""
        consent, pair = self._consent, self.selected
        assert consent is not None
        assert pair is not None
        now = time.monotonic()
        self._set_contact(consent.state(now))
        if self._closed or self._contact is ConsentState.EXPIRED:
            return
        request = self._consent_request()
        if request is not None:
            consent.sent(request[8:20], now)
            pair.wire.expect(request[8:20], self)
            pair.wire.sendto(request, pair.address)
        self._consent_timer = self._loop.call_later(self._interval(), self._tick)

    def _set_contact(self, state: ConsentState) -> None:
        if state is not self._contact:
            self._contact = state
            self.on_contact(state)

    @staticmethod
    def _interval() -> float:
        return CHECK_INTERVAL_S * uniform(0.8, 1.2)  # noqa: S311  # spreads timers, hides nothing

    # -- states in which there is nobody to send to or to receive

    def _no_receiver(self, _size: int) -> None:
        self.drops["not_ready"] += 1

    def _no_pair(self, _data: memoryview | bytes) -> int:
        self.drops["not_ready"] += 1
        return 0


def new_transaction_id() -> bytes:
    return os.urandom(12)
