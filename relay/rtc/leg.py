"""One peer connection, composed of ICE, DTLS and SCTP (W3C WebRTC §4, RFC 8829).

The SDP is the session's: a leg gives its own `Transport` and takes the peer's. Its callbacks may
raise without harm.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import structlog
from aiortc import RTCDataChannel

from relay.core.candidate import Candidate
from relay.core.consent import ConsentState
from relay.core.ids import LegName
from relay.core.sdp import Sctp, Setup, Transport
from relay.rtc.certificate import Certificate
from relay.rtc.channel import Channel
from relay.rtc.dtls import DtlsTransport
from relay.rtc.errors import LegFailed
from relay.rtc.ice.feed import CandidateFeed
from relay.rtc.ice.filter import client_filter
from relay.rtc.ice.full import FullIceTransport
from relay.rtc.ice.lite import LiteIceTransport
from relay.rtc.ice.sockets import Sockets
from relay.rtc.ice.transport import IceTransport, SelectedPair
from relay.rtc.ice.wire import Address, PathTransport
from relay.rtc.packets import EndPoint, PacketPort
from relay.rtc.sctp import SctpTransport

CLOSE_TIMEOUT_S = 2.0

log = structlog.get_logger(__name__)


class LegState(StrEnum):
    """RTCPeerConnectionState's words (W3C WebRTC §4.4.3)."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Path:
    """What carries a leg: the types of both candidates, and the transport of our first hop."""

    local_type: str
    remote_type: str
    transport: PathTransport


@dataclass(frozen=True, slots=True)
class LegStats:
    """A snapshot. Times in seconds; `drops` by reason; the pair as (local type, remote type) and
    the transport of our first hop; `paths` is how many pairs carried the leg so far. `ice_s` is
    until the first pair was selected, `dtls_s` from there until the handshake was over; None where
    it was not reached."""

    state: LegState
    packets_received: int
    bytes_received: int
    packets_sent: int
    bytes_sent: int
    packets_lost: int
    jitter_s: float | None
    round_trip_s: float | None
    remote_packets_lost: int | None
    media_round_trip_s: float | None
    drops: dict[str, int]
    remote_address: str | None
    pair_types: tuple[str, str] | None
    transport: PathTransport | None
    paths: int
    ice_s: float | None
    dtls_s: float | None
    srtp_profile: str | None


class Leg:
    """A client leg answers on the shared port; an upstream leg offers from a socket of its own.

    Both can be turned: `offers` says who made the offer, `lite` makes an ICE-lite end point on the
    shared port (the simulator), which may `require_use_candidate` in every check, as OpenAI does.
    """

    def __init__(
        self,
        name: LegName,
        sockets: Sockets,
        certificate: Certificate,
        *,
        offers: bool,
        lite: bool = False,
        require_use_candidate: bool = False,
    ) -> None:
        self.name: LegName = name
        self.state = LegState.NEW
        self.drops: Counter[str] = Counter()
        self.on_state: Callable[[LegState, str], None] | None = None
        self.on_channel: Callable[[Channel], None] | None = None
        self.on_path: Callable[[Path], None] | None = None
        self._contact_lost = False
        self._ice_s: float | None = None
        self._dtls_s: float | None = None
        self._offers = offers
        self._sockets = sockets
        self._certificate = certificate
        self._ice = _ice(
            sockets,
            self.drops,
            offers=offers,
            lite=lite,
            require_use_candidate=require_use_candidate,
        )
        self._ice.on_contact = self._contact_changed
        self._ice.on_path = self._path_changed
        self._dtls = DtlsTransport(self._ice, certificate)
        self._dtls.on_closed = self._peer_closed
        self._sctp = SctpTransport(self._dtls, self.drops)
        self._sctp.on("datachannel", self._channel_opened)
        self._sctp.on_progress = self._progressed
        self._sctp.on_overflow = lambda: self._set_state(LegState.FAILED, "message_too_large")
        self._channels: list[Channel] = []
        self.packets = PacketPort(self._ice, self.drops)
        self._end_point: EndPoint | None = None

    # -- signaling

    async def gather(self) -> Transport:
        """Our side of the transport. An offerer lists no candidate: its peer, a public server,
        learns the address from the checks, as it does with every browser that does not trickle."""
        self._ice.gather()
        return self.local

    @property
    def candidates(self) -> CandidateFeed:
        """Our own candidates, those that come late too."""
        return self._ice.feed

    @property
    def local(self) -> Transport:
        """Our side of the transport as it is now."""
        return Transport(
            ice_ufrag=self._ice.ufrag,
            ice_pwd=self._ice.pwd,
            fingerprints=self._certificate.fingerprints(),
            setup=Setup.ACTPASS if self._offers else Setup.ACTIVE,
            candidates=self._ice.feed.candidates,
            end_of_candidates=self._ice.feed.is_complete and not self._offers,
            ice_lite=isinstance(self._ice, LiteIceTransport),
        )

    async def connect(self, remote: Transport, sctp: Sctp | None, *, timeout_s: float) -> None:
        """ICE, DTLS, and the start of the SCTP association. Raises LegFailed; may be cancelled."""
        if self.state is LegState.CLOSED:
            raise LegFailed(self.name, "closed")
        assert self.state is LegState.NEW, "a leg connects once"
        self._set_state(LegState.CONNECTING, "")
        phase, started = "ice", time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                await self._ice.connect(remote)
                phase, found = "dtls", time.monotonic()
                self._ice_s = found - started
                await self._connect_dtls(remote)
                self._dtls_s = time.monotonic() - found
                if sctp is not None:
                    await self._sctp.connect(sctp)
        except TimeoutError:
            raise self._failed(f"{phase}_timeout") from None
        except LegFailed as failure:
            raise self._failed(failure.reason) from None
        except ConnectionError:
            raise self._failed("ice_failed") from None
        self._set_state(LegState.CONNECTED, "")

    def renew(self) -> Transport:
        """An ICE restart of ours: new credentials to be told to the peer; restart() with its."""
        assert isinstance(self._ice, FullIceTransport)
        self._ice.renew()
        return self.local

    def restart(self, remote: Transport) -> Transport:
        """An ICE restart asked for by the peer (RFC 8445 §9): its new credentials and candidates
        in, ours out. DTLS, SRTP and SCTP go on; the old path carries the call until the new does.
        """
        assert isinstance(self._ice, FullIceTransport)
        self._ice.restart(remote)
        return self.local

    def add_candidates(self, candidates: Iterable[Candidate]) -> None:
        """The peer's late candidates (RFC 8838)."""
        assert isinstance(self._ice, FullIceTransport)
        self._ice.add_candidates(candidates)

    async def _connect_dtls(self, remote: Transport) -> None:
        await self._dtls.handshake(our_setup(remote.setup), remote.fingerprints)
        if self._dtls.srtp is None:
            raise LegFailed(self.name, "dtls_failed")
        self._let_packets_pass()

    def _let_packets_pass(self) -> None:
        if self._dtls.srtp is not None:
            self.packets.rx, self.packets.tx = self._dtls.srtp

    def _failed(self, reason: str) -> LegFailed:
        if self.state is LegState.CLOSED:
            reason = "closed"
        self._set_state(LegState.FAILED, reason)
        return LegFailed(self.name, reason)

    # -- data channels

    def create_channel(self, label: str, *, negotiated_id: int | None = None) -> Channel:
        """Our channel, by DCEP or agreed on beforehand; before connect()."""
        return self._wrap(self._sctp.create_channel(label, negotiated_id))

    def _channel_opened(self, channel: RTCDataChannel) -> None:
        wrapped = self._wrap(channel)
        if self.on_channel is None:
            wrapped.close()
            return
        try:
            self.on_channel(wrapped)
        except Exception:
            log.exception("leg.callback_failed", leg=self.name)

    def _wrap(self, channel: RTCDataChannel) -> Channel:
        wrapped = Channel(self._sctp, channel)
        self._channels = [c for c in self._channels if c.state != "closed"]
        self._channels.append(wrapped)
        return wrapped

    def _progressed(self) -> None:
        for channel in tuple(self._channels):
            channel.progressed()

    # -- packets, for end points

    @property
    def end_point(self) -> EndPoint:
        """Makes this leg the end of the media; not to be used together with join()."""
        if self._end_point is None:
            self._end_point = EndPoint(self.packets)
        return self._end_point

    def send_rtp(self, packet: bytes) -> bool:
        """False: counted and dropped. Never raises."""
        return self.end_point.send(packet, is_rtcp=False)

    def send_rtcp(self, packet: bytes) -> bool:
        return self.end_point.send(packet, is_rtcp=True)

    @property
    def on_rtp(self) -> Callable[[bytes], None] | None:
        """Takes each decrypted RTP packet."""
        return self.end_point.on_rtp

    @on_rtp.setter
    def on_rtp(self, callback: Callable[[bytes], None] | None) -> None:
        self.end_point.on_rtp = callback

    @property
    def on_rtcp(self) -> Callable[[bytes], None] | None:
        return self.end_point.on_rtcp

    @on_rtcp.setter
    def on_rtcp(self, callback: Callable[[bytes], None] | None) -> None:
        self.end_point.on_rtcp = callback

    # -- life

    def _contact_changed(self, contact: ConsentState) -> None:
        if self.state is LegState.FAILED and self._contact_lost and contact is ConsentState.FRESH:
            self.state = LegState.DISCONNECTED  # a restart may revive it (W3C WebRTC §5.6.4)
        if self.state not in (LegState.CONNECTED, LegState.DISCONNECTED):
            return
        self._contact_lost = contact is ConsentState.EXPIRED
        if contact is ConsentState.FRESH:
            self._let_packets_pass()
            self._set_state(LegState.CONNECTED, "")
        elif contact is ConsentState.DISCONNECTED:
            self._set_state(LegState.DISCONNECTED, "no_consent_answer")
        else:
            self.packets.tx = None  # RFC 7675 §5.1: no sending without consent
            self._set_state(LegState.FAILED, "consent_expired")

    def _path_changed(self, pair: SelectedPair) -> None:
        if self.on_path is None:
            return
        try:
            self.on_path(Path(pair.local_type, pair.remote_type, pair.wire.first_hop))
        except Exception:
            log.exception("leg.callback_failed", leg=self.name)

    def _peer_closed(self) -> None:
        self.packets.rx = self.packets.tx = None
        self._set_state(LegState.CLOSED, "peer_closed")
        self._sctp.peer_gone()

    def _set_state(self, state: LegState, reason: str) -> None:
        if self.state is state or self.state is LegState.CLOSED:
            return
        if self.state is LegState.FAILED and state is not LegState.CLOSED:
            return
        self.state = state
        if self.on_state is None:
            return
        try:
            self.on_state(state, reason)
        except Exception:
            log.exception("leg.callback_failed", leg=self.name)

    async def close(self) -> None:
        """Tells the peer (SCTP ABORT, DTLS close_notify) and frees everything. Twice is fine."""
        self._set_state(LegState.CLOSED, "closed")
        self.on_state = self.on_channel = self.on_path = None
        self.packets.rx = self.packets.tx = None
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._sctp.stop()
                await self._dtls.stop()
        except TimeoutError:
            log.warning("leg.close_timed_out", leg=self.name)
        finally:
            await self._ice.close()

    def stats(self) -> LegStats:
        """What was counted so far; cheap, at any time."""
        inbound, pair = self.packets.inbound, self._ice.selected
        return LegStats(
            state=self.state,
            packets_received=inbound.packets,
            bytes_received=inbound.bytes,
            packets_sent=self.packets.sent_packets,
            bytes_sent=self.packets.sent_bytes,
            packets_lost=inbound.lost,
            jitter_s=inbound.jitter_s,
            round_trip_s=self._ice.round_trip_s,
            remote_packets_lost=inbound.remote_lost,
            media_round_trip_s=inbound.round_trip_s,
            drops=dict(self.drops),
            remote_address=_hostport(pair.address) if pair else None,
            pair_types=(pair.local_type, pair.remote_type) if pair else None,
            transport=pair.wire.first_hop if pair else None,
            paths=self._ice.paths,
            ice_s=self._ice_s,
            dtls_s=self._dtls_s,
            srtp_profile=self._dtls.profile if self._dtls.srtp else None,
        )


def _hostport(address: Address) -> str:
    """IPv6 in brackets (RFC 3986 §3.2.2)."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def our_setup(remote: Setup) -> Setup:
    """RFC 8842 §5.3: the answerer chooses, and active is right wherever the offer allows it."""
    return Setup.PASSIVE if remote is Setup.ACTIVE else Setup.ACTIVE


def _ice(
    sockets: Sockets,
    drops: Counter[str],
    *,
    offers: bool,
    lite: bool,
    require_use_candidate: bool,
) -> IceTransport:
    if lite:
        return LiteIceTransport(sockets, drops, require_use_candidate=require_use_candidate)
    options = sockets.options
    accepts = partial(
        client_filter,
        allow_private=offers or options.allow_private_candidates,
        limit=options.max_remote_candidates,
        own=sockets.own_addresses,
    )
    return FullIceTransport(sockets, drops, shared=not offers, accepts=accepts)
