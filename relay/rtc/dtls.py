"""aiortc's DTLS transport, guarded and synchronous once the handshake is over (RFC 5764, RFC 8827).

SRTP never comes here: a wire hands it to the leg's packet path. What is private to aiortc and
replaced: the receive task (`__run`, `_recv_next`), which one datagram or one raising callback could
kill, and `_write_ssl`, which cuts a flight at 1500 bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import structlog
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport, State
from OpenSSL import SSL

from relay.core.sdp import Fingerprint, Setup
from relay.rtc.certificate import Certificate
from relay.rtc.ice.transport import IceTransport

MTU_BYTES = 1200
"""What fits everywhere (RFC 8261 §5 speaks of 1200 for SCTP over DTLS)."""

_READ_BYTES = 16384
_APPLICATION_DATA = 23
_HEADER_BYTES = 13

log = structlog.get_logger(__name__)


class DtlsTransport(RTCDtlsTransport):
    """`on_closed` is called once when the peer ends the association (close_notify)."""

    def __init__(self, ice: IceTransport, certificate: Certificate) -> None:
        super().__init__(ice, [certificate])  # type: ignore[arg-type]  # duck-typed: _recv, _send, role
        self._ice = ice
        self._drops: Counter[str] = ice.drops
        self.on_closed: Callable[[], None] = lambda: None

    async def handshake(self, setup: Setup, remote: tuple[Fingerprint, ...]) -> None:
        """As DTLS client if our `setup` is active, else as server. `srtp` is None afterwards if it
        failed or the peer's certificate does not match its fingerprints. No deadline of its own."""
        self._set_role("client" if setup is Setup.ACTIVE else "server")
        try:
            await self.start(
                RTCDtlsParameters([RTCDtlsFingerprint(f.algorithm, f.value) for f in remote])
            )
        except (SSL.Error, ConnectionError):  # SSL.Error: aiortc's timer gave up
            self._set_state(State.FAILED)
        if self._ice.is_closed:  # while the last flight was on its way
            await self.stop()
            self._set_state(State.FAILED)

    @property
    def srtp(self) -> tuple[Any, Any] | None:
        """libsrtp's (receive, send) contexts while connected. They live as long as this object."""
        if self._state is not State.CONNECTED:
            return None
        return self._rx_srtp._srtp[0], self._tx_srtp._srtp[0]

    @property
    def profile(self) -> str:
        """The negotiated SRTP protection profile, e.g. SRTP_AEAD_AES_256_GCM."""
        selected = self._ssl.get_selected_srtp_profile() if self._ssl else b""
        return bytes(selected).decode()

    def _set_state(self, state: State) -> None:
        if state is State.CONNECTING and self._ssl is not None:
            self._ssl.set_ciphertext_mtu(MTU_BYTES)
        super()._set_state(state)

    async def _RTCDtlsTransport__run(self) -> None:  # noqa: N802  # the mangled name of __run
        """In place of aiortc's receive task: from here on a record is handled as it arrives."""
        self._ice.on_record = self._receive_record
        for record in self._ice.pending_records():
            self._receive_record(record)

    def _receive_record(self, datagram: bytes) -> None:
        ssl = self._ssl
        if ssl is None or self._state is not State.CONNECTED:
            return
        ssl.bio_write(datagram)
        try:
            for _ in range(_record_count(datagram)):
                data = ssl.recv(_READ_BYTES)
                if data and self._data_receiver is not None:
                    self._deliver(self._data_receiver._handle_data(data))
        except SSL.Error:  # WantRead for a handshake record, or garbage that OpenSSL refused
            pass
        if datagram[0] != _APPLICATION_DATA:
            self._flush()
        if ssl.get_shutdown() & SSL.RECEIVED_SHUTDOWN:  # close_notify, or an alert that is fatal
            self._set_state(State.CLOSED)
            self.on_closed()

    def _deliver(self, handling: Coroutine[Any, Any, None]) -> None:
        try:
            run_sync(handling)
        except Exception:  # aiortc asserts on hostile SCTP: that peer's packet is lost, no more
            self._drops["sctp_guarded"] += 1
            log.debug("sctp.packet_refused", exc_info=True)

    async def _send_data(self, data: bytes) -> None:
        # aiortc raises when not connected, out of SCTP's timers too; SCTP retransmits or is closed.
        if self._state is not State.CONNECTED or self._ssl is None:
            self._drops["not_ready"] += 1
            return
        try:
            self._ssl.send(data)
        except SSL.Error:  # after our close_notify, from a timer of SCTP's
            self._drops["not_ready"] += 1
        self._flush()

    async def _write_ssl(self) -> None:
        self._flush()

    def _flush(self) -> None:
        """Sends all that OpenSSL has to say, in datagrams of whole records."""
        if self._ssl is None:
            return
        try:
            flight = self._ssl.bio_read(65536)
        except SSL.Error:  # nothing to say
            return
        for datagram in datagrams(flight):
            try:
                self._ice.send(datagram)
            except OSError:  # DTLS and SCTP send again
                self._drops["send_failed"] += 1


def run_sync(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine that never waits: aiortc's SCTP is written with async functions, and ends
    in our synchronous send. A task switch an event is saved."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError("aiortc's SCTP waited for something")


def _record_count(datagram: bytes) -> int:
    return sum(1 for _ in _records(datagram))


def _records(data: bytes) -> Iterator[bytes]:
    """DTLS 1.2 records (RFC 6347 §4.1); what is not one is the last."""
    at = 0
    while at < len(data):
        end = at + _HEADER_BYTES + int.from_bytes(data[at + 11 : at + 13], "big")
        yield data[at:end]
        at = end


def datagrams(flight: bytes) -> Iterator[bytes]:
    """Packs whole records into datagrams of MTU_BYTES at the most; a larger record goes alone."""
    if len(flight) <= MTU_BYTES:
        yield flight
        return
    packed = b""
    for record in _records(flight):
        if packed and len(packed) + len(record) > MTU_BYTES:
            yield packed
            packed = b""
        packed += record
    yield packed
