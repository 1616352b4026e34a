"""A leg's ICE transport: what is below it may change (pairs, addresses), what is above it does not.

Above: DTLS records by `_recv` and `_send` (the two methods that aiortc's DTLS transport calls),
SRTP by `receive_rtp` and `send`. Below: agents, one a generation, and wires. Loss of contact is a
state, never an exception.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import uniform

from relay.core.consent import Consent, ConsentState, ConsentTiming
from relay.core.sdp import Transport
from relay.rtc.ice.feed import CandidateFeed
from relay.rtc.ice.wire import Address, Wire

_HELD_DATAGRAMS = 32
_QUEUED_RECORDS = 64


@dataclass(frozen=True, slots=True)
class SelectedPair:
    """The pair that carries the call (RFC 8445 §3). `request` makes its consent checks: it takes a
    transaction id; None where this side sends none."""

    wire: Wire
    address: Address
    local_type: str
    remote_type: str
    request: Callable[[], bytes] | None = None


class IceTransport(ABC):
    """One component. `on_contact` is told of changes of consent, `on_path` that another pair
    carries the call, `paths` of which there were."""

    role: str = "controlled"

    def __init__(self, drops: Counter[str], timing: ConsentTiming) -> None:
        self.drops = drops
        self.selected: SelectedPair | None = None
        self.receive_rtp: Callable[[int], None] = self._no_receiver
        self.send: Callable[[memoryview | bytes], int] = self._no_pair
        self.on_contact: Callable[[ConsentState], None] = lambda _: None
        self.on_path: Callable[[SelectedPair], None] = lambda _: None
        self.paths = 0
        self.on_record: Callable[[bytes], None] = self._queue_record
        self.is_closed = False
        self._loop = asyncio.get_running_loop()
        self._records: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUED_RECORDS)
        self._held: deque[tuple[bytes, Address]] = deque(maxlen=_HELD_DATAGRAMS)
        self._valid: set[Address] = set()
        self._timing = timing
        self._contact = ConsentState.FRESH
        self._consent: Consent | None = None
        self._consent_timer: asyncio.TimerHandle | None = None

    # -- what a leg calls

    @property
    @abstractmethod
    def ufrag(self) -> str: ...

    @property
    @abstractmethod
    def pwd(self) -> str: ...

    feed: CandidateFeed
    """Our own candidates; complete at once unless gather() found something that takes time."""

    @abstractmethod
    def gather(self) -> None: ...

    @abstractmethod
    async def connect(self, remote: Transport) -> None:
        """Returns when a pair is selected; raises ConnectionError when none can be."""

    async def close(self) -> None:
        """Idempotent. Nothing is received and nothing is called back afterwards."""
        self.is_closed = True
        if self._consent_timer is not None:
            self._consent_timer.cancel()
        self.send = self._no_pair
        self.receive_rtp = self._no_receiver
        self.on_record = lambda _: None
        if self._records.full():
            self._records.get_nowait()
        self._records.put_nowait(None)

    @property
    def round_trip_s(self) -> float | None:
        """Of the last consent check, None before the first answer."""
        return self._consent.round_trip_s if self._consent else None

    # -- what aiortc's DTLS transport calls (duck-typed RTCIceTransport)

    async def _recv(self) -> bytes:
        record = await self._records.get()
        if record is None or self.is_closed:
            raise ConnectionError("The ICE transport is closed")
        return record

    async def _send(self, data: bytes) -> None:
        try:
            self.send(data)
        except OSError:  # DTLS and SCTP retransmit; raising would end the association
            self.drops["send_failed"] += 1

    # -- what a wire calls

    def receive_dtls(self, data: bytes, address: Address) -> None:
        """DTLS only from the address of a pair that passed its checks (CVE-2023-51443 and its kin);
        what comes a moment too early is held, for a lost ClientHello costs a second."""
        if address in self._valid:
            self.on_record(data)
        else:
            if len(self._held) == _HELD_DATAGRAMS:
                self.drops["unknown_source"] += 1  # the oldest makes room
            self._held.append((data, address))

    def wire_lost(self, wire: Wire) -> None:
        """A TCP connection or an allocation ended; the peer may come back by another one."""
        if self.selected is not None and self.selected.wire is wire and not self.is_closed:
            self.send = self._no_pair
            self._set_contact(ConsentState.DISCONNECTED)

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

    def validated(self, wire: Wire, address: Address) -> None:
        """A pair passed its checks: DTLS and SRTP are taken from `address`."""
        if address in self._valid or self.is_closed:
            return
        self._valid.add(address)
        wire.validate(address, self)
        held, self._held = self._held, deque(maxlen=_HELD_DATAGRAMS)
        for data, source in held:
            if source == address:
                self.on_record(data)

    def select(self, pair: SelectedPair) -> None:
        """From now on the call goes by this pair."""
        if self.is_closed:
            return
        current = self.selected
        is_new = not current or (current.wire, current.address) != (pair.wire, pair.address)
        if not is_new and self._contact is ConsentState.FRESH:
            self.selected = pair
            return
        try:
            self.send = pair.wire.sender(pair.address)
        except OSError:  # the route went away meanwhile
            self.drops["send_failed"] += 1
            return
        self.selected = pair
        self._consent = Consent(time.monotonic(), self._timing)
        self._set_contact(ConsentState.FRESH)
        self._schedule()
        if is_new:
            self.paths += 1
            self.on_path(pair)

    def consent_answered(self, transaction_id: bytes) -> bool:
        """An authentic answer on the selected pair; False if it is to no consent check."""
        if self._consent is None or not self._consent.answered(transaction_id, time.monotonic()):
            return False
        if self._contact is not ConsentState.EXPIRED:  # only another pair revives that
            self._set_contact(ConsentState.FRESH)
        return True

    def heard(self) -> None:
        """An authentic check of the peer: all that an ICE-lite side has to go by."""
        if self._consent is not None and self._contact is not ConsentState.EXPIRED:
            self._consent.heard(time.monotonic())
            self._set_contact(ConsentState.FRESH)

    # -- consent (RFC 7675 §5.1): every 2.5 s or so, look, then ask again

    def _schedule(self) -> None:
        if self._consent_timer is not None:
            self._consent_timer.cancel()
        spread = uniform(0.8, 1.2)  # noqa: S311  # spreads timers, hides nothing
        delay_s = self._timing.check_interval_s * spread
        self._consent_timer = self._loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        consent, pair = self._consent, self.selected
        assert consent is not None
        assert pair is not None
        now = time.monotonic()
        state = consent.state(now)
        if state is ConsentState.EXPIRED:
            self.send = self._no_pair  # §5.1: no sending without consent
        if state is not ConsentState.FRESH:
            self._set_contact(state)
        if self.is_closed or state is ConsentState.EXPIRED:
            return
        if pair.request is not None:
            request = pair.request()
            given_up = consent.sent(request[8:20], now)
            if given_up is not None:
                pair.wire.forget(given_up)
            pair.wire.sendto(request, pair.address)
        self._schedule()

    def _set_contact(self, state: ConsentState) -> None:
        if state is not self._contact:
            self._contact = state
            self.on_contact(state)

    # -- states in which there is nobody to send to or to receive

    def _no_receiver(self, _size: int) -> None:
        self.drops["not_ready"] += 1

    def _no_pair(self, _data: memoryview | bytes) -> int:
        self.drops["not_ready"] += 1
        return 0
