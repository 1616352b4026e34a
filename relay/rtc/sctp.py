"""aiortc's SCTP transport with bounds, back-pressure and no tasks (RFC 9260, RFC 8831).

What is private to aiortc and replaced, and why: the receive window, which would stop a message
larger than it for ever and cannot be closed by a slow reader; the send, which makes a task for each
message and takes no notice of the peer's window; the reassembly and the marking of what came, which
are quadratic and unbounded; DCEP's lengths, which count characters; and the timers' first values.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable
from heapq import nsmallest
from typing import TypeAlias

from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpTransport
from aiortc.rtcsctptransport import (
    DATA_CHANNEL_OPEN,
    SCTP_RTO_MAX,
    USERDATA_MAX_LENGTH,
    WEBRTC_BINARY,
    WEBRTC_BINARY_EMPTY,
    WEBRTC_DCEP,
    WEBRTC_STRING,
    WEBRTC_STRING_EMPTY,
    DataChunk,
    ForwardTsnChunk,
    InboundStream,
    RTCSctpCapabilities,
    SackChunk,
    StreamAddOutgoingParam,
    StreamResetOutgoingParam,
    StreamResetResponseParam,
    tsn_plus_one,
)
from aiortc.utils import uint32_gte

from relay.core.sdp import Sctp
from relay.rtc.dtls import DtlsTransport, run_sync
from relay.rtc.reassembly import Stream, Tally
from relay.rtc.sctp_guard import TSNS, is_plausible_sack, is_sound

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest message taken in, advertised as max-message-size (RFC 8841 §6)."""

WINDOW_BYTES = 1024 * 1024
"""How much a paused reader lets the peer send, and how much may be under way."""

MAX_CHANNELS = 8
"""Open at a time; the peer's further ones are refused."""

_MAX_FRAGMENTS = 32768  # of messages that are not whole yet: 16 MiB in pieces of 512 bytes
_MAX_STREAMS = 64  # that the peer sent anything on, channels or not
_MAX_AHEAD = 4096  # TSNs beyond the first that is missing: four times WINDOW_BYTES in whole chunks
_MAX_GAPS = 256  # reported in one SACK, which has to fit into a datagram (RFC 9260 §6.2)
_MAX_DUPLICATES = 16
_MESSAGE_OVERHEAD_BYTES = 128  # of a message that waits: a million empty ones are no small matter
_RTO_INITIAL_S = 1.0  # RFC 9260 §16
_RTO_MIN_S = 0.4  # as libwebrtc: the RFC's 1 s makes one lost event wait a second

_PROTOCOLS = {
    (str, True): WEBRTC_STRING,
    (str, False): WEBRTC_STRING_EMPTY,
    (bytes, True): WEBRTC_BINARY,
    (bytes, False): WEBRTC_BINARY_EMPTY,
}

_ReconfigParam: TypeAlias = (
    StreamResetOutgoingParam | StreamAddOutgoingParam | StreamResetResponseParam
)


class SctpTransport(RTCSctpTransport):
    """`on_progress` is called when the peer acknowledged something, `on_overflow` when it sent a
    message over MAX_MESSAGE_BYTES: the association is of no use any more then."""

    def __init__(self, dtls: DtlsTransport, drops: Counter[str], *, port: int = 5000) -> None:
        self._held: deque[tuple[int, int, bytes]] = deque()
        self._held_bytes = 0
        super().__init__(dtls, port)
        self._rto = _RTO_INITIAL_S
        self._drops = drops
        self._paused: set[RTCDataChannel] = set()
        self._tally = Tally()
        self._peer_window: int | None = None
        self._handling = False
        self.on_progress: Callable[[], None] = lambda: None
        self.on_overflow: Callable[[], None] = lambda: None

    async def connect(self, remote: Sctp) -> None:
        """Starts the association; it comes up on its own (channels open then)."""
        await self.start(RTCSctpCapabilities(remote.max_message_size), remote.port)

    def peer_gone(self) -> None:
        """The DTLS association is over, and this one with it: channels close."""
        self._set_state(self.State.CLOSED)

    def _set_state(self, state: RTCSctpTransport.State) -> None:
        if state is self.State.CLOSED and self._held:
            self._drops["undelivered"] += len(self._held)
            self._held.clear()
            self._held_bytes = 0
        super()._set_state(state)

    # -- sending

    @property
    def peer_max_message_bytes(self) -> int:
        """0 = any size."""
        return int(self._remote_max_message_size)

    @property
    def unsent_bytes(self) -> int:
        """Cut into chunks and not yet sent."""
        return len(self._outbound_queue) * int(USERDATA_MAX_LENGTH)

    def create_channel(self, label: str, negotiated_id: int | None) -> RTCDataChannel:
        """Announced by DCEP (RFC 8832) or, with an id, agreed on beforehand."""
        parameters = RTCDataChannelParameters(
            label=label, negotiated=negotiated_id is not None, id=negotiated_id
        )
        return RTCDataChannel(self, parameters)

    def _data_channel_open(self, channel: RTCDataChannel) -> None:
        super()._data_channel_open(channel)
        # aiortc gives lengths in characters; RFC 8832 §5.1 wants bytes.
        _, protocol, message = self._data_channel_queue.pop()
        lengths = len(channel.label.encode()), len(channel.protocol.encode())
        message = message[:8] + struct.pack("!HH", *lengths) + message[12:]
        self._data_channel_queue.append((channel, protocol, message))

    def send_message(self, channel: RTCDataChannel, data: str | bytes) -> None:
        """Queues a message and sends what the window allows, now."""
        protocol = _PROTOCOLS[type(data), bool(data)]
        payload = (to_bytes(data) if isinstance(data, str) else data) or b"\x00"
        channel._addBufferedAmount(len(payload))
        self._data_channel_queue.append((channel, protocol, payload))
        if not self._handling:  # else at the end of _handle_data, in order
            run_sync(self._data_channel_flush())

    async def _transmit(self) -> None:
        if self._association_state is self.State.CLOSED:
            return  # a timer that expired just before would start itself again for ever
        # RFC 9260 §6.1 A: no more under way than the peer has room for, but one chunk as a probe.
        congestion_window = self._cwnd
        if self._peer_window is not None:
            self._cwnd = min(congestion_window, max(self._peer_window, 1))
        try:
            await super()._transmit()
        finally:
            self._cwnd = congestion_window

    async def _receive_sack_chunk(self, chunk: SackChunk) -> None:
        highest_sent = (self._local_tsn - len(self._outbound_queue) - 1) % TSNS
        if not is_plausible_sack(chunk, highest_sent):
            self._drops["sctp_malformed"] += 1
            return
        if uint32_gte(chunk.cumulative_tsn, self._last_sacked_tsn):
            self._peer_window = chunk.advertised_rwnd
        await super()._receive_sack_chunk(chunk)
        self.on_progress()

    def _update_rto(self, R: float) -> None:  # noqa: N803  # aiortc's name, RFC 9260's too
        super()._update_rto(R)
        assert self._srtt is not None
        assert self._rttvar is not None
        self._rto = max(_RTO_MIN_S, min(self._srtt + 4 * self._rttvar, SCTP_RTO_MAX))

    # -- receiving

    async def _handle_data(self, data: bytes) -> None:
        if not is_sound(data):
            self._drops["sctp_malformed"] += 1
            return
        self._handling = True
        try:
            await super()._handle_data(data)
        finally:
            self._handling = False
            if self._data_channel_queue and not self._outbound_queue:
                await self._data_channel_flush()

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        # A chunk that is not taken is not acknowledged either: the peer sends it again.
        if self._last_received_tsn is None or self._is_too_early(chunk):
            self._drops["sctp_window"] += 1
            self._sack_needed = self._last_received_tsn is not None
        elif self._is_stray(chunk.stream_id):
            self._drops["channel_refused"] += 1
            self._sack_needed = True
            self._mark_received(chunk.tsn)
        elif (
            self._tally.bytes + len(chunk.user_data) > MAX_MESSAGE_BYTES + WINDOW_BYTES
            or self._tally.chunks >= _MAX_FRAGMENTS
        ):
            self._overflow()
        else:
            await super()._receive_data_chunk(chunk)

    def _is_too_early(self, chunk: DataChunk) -> bool:
        if self._held_bytes >= WINDOW_BYTES:
            return True
        ahead = (int(chunk.tsn) - self._received_tsn) % TSNS
        return _MAX_AHEAD < ahead < TSNS // 2

    @property
    def _received_tsn(self) -> int:
        """All TSNs up to this one have come; once the peer's INIT has."""
        assert self._last_received_tsn is not None
        return self._last_received_tsn

    def _is_stray(self, stream_id: int) -> bool:
        """One stream more than a sane peer uses: nobody would hear it."""
        return (
            len(self._inbound_streams) >= _MAX_STREAMS
            and stream_id not in self._inbound_streams
            and stream_id not in self._data_channels
        )

    def _overflow(self) -> None:
        self._drops["message_too_large"] += 1
        self.on_overflow()

    def _mark_received(self, tsn: int) -> bool:
        # aiortc sorts all that came out of order at each chunk, and by number: at the wrap-around
        # of TSNs nothing would be acknowledged any more.
        if uint32_gte(self._received_tsn, tsn) or tsn in self._sack_misordered:
            if len(self._sack_duplicates) < _MAX_DUPLICATES:
                self._sack_duplicates.append(tsn)
            return True
        self._sack_misordered.add(tsn)
        while (following := tsn_plus_one(self._received_tsn)) in self._sack_misordered:
            self._sack_misordered.remove(following)
            self._last_received_tsn = following
        return False

    async def _receive_forward_tsn_chunk(self, chunk: ForwardTsnChunk) -> None:
        for stream in self._inbound_streams.values():
            assert isinstance(stream, Stream)
            stream.maybe_whole = True
        await super()._receive_forward_tsn_chunk(chunk)

    def _get_inbound_stream(self, stream_id: int) -> InboundStream:
        stream = self._inbound_streams.get(stream_id)
        if stream is None:
            stream = Stream(self._tally)
            if not self._is_stray(stream_id):
                self._inbound_streams[stream_id] = stream
        return stream

    # -- the window: what a reader has not taken, not what is still being put together

    @property
    def _advertised_rwnd(self) -> int:
        return max(0, WINDOW_BYTES - self._held_bytes)

    @_advertised_rwnd.setter
    def _advertised_rwnd(self, _value: int) -> None:
        """aiortc's own arithmetic has no effect."""

    async def _send_sack(self) -> None:
        misordered = self._sack_misordered
        if len(misordered) > _MAX_GAPS:
            last = self._received_tsn
            self._sack_misordered = set(
                nsmallest(_MAX_GAPS, misordered, key=lambda tsn: (tsn - last) % TSNS)
            )
        try:
            await super()._send_sack()
        finally:
            self._sack_misordered = misordered

    def pause(self, channel: RTCDataChannel) -> None:
        """Messages of this channel wait, and the window closes as they do."""
        self._paused.add(channel)

    def resume(self, channel: RTCDataChannel) -> None:
        """Delivers what waited, unless it is paused again meanwhile, and opens the window."""
        self._paused.discard(channel)
        if not self._held:
            return
        waiting, self._held = self._held, deque()
        for message in waiting:
            if self._data_channels.get(message[0]) in self._paused:
                self._held.append(message)
            else:
                self._held_bytes -= _cost(message)
                run_sync(self._take(*message))
        if self._association_state is self.State.ESTABLISHED:
            run_sync(self._send_sack())
            run_sync(self._reset_deferred_streams())

    # -- messages

    async def _receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
        channel = self._data_channels.get(stream_id)
        if len(data) > MAX_MESSAGE_BYTES:
            self._overflow()
        elif pp_id == WEBRTC_DCEP:
            await self._receive_dcep(stream_id, data)
        elif channel is None:
            self._drops["no_channel"] += 1
        elif channel in self._paused:
            message = stream_id, pp_id, data
            self._held.append(message)
            self._held_bytes += _cost(message)
        else:
            await self._take(stream_id, pp_id, data)

    async def _receive_dcep(self, stream_id: int, data: bytes) -> None:
        is_open = data[:1] == bytes((DATA_CHANNEL_OPEN,))
        if is_open and stream_id in self._data_channels:
            self._drops["duplicate_channel"] += 1
        elif is_open and len(self._data_channels) >= MAX_CHANNELS:
            await self._refuse(stream_id)
        else:
            await self._take(stream_id, WEBRTC_DCEP, data)

    async def _take(self, stream_id: int, pp_id: int, data: bytes) -> None:
        try:
            await self._data_channel_receive(stream_id, pp_id, data)
        except UnicodeDecodeError:  # RFC 8831 §6.6, RFC 8832 §5.1: both are UTF-8
            self._drops["bad_message"] += 1
            if stream_id not in self._data_channels:
                await self._refuse(stream_id)
        except AssertionError:  # an ACK to no OPEN of ours
            self._drops["bad_message"] += 1

    async def _refuse(self, stream_id: int) -> None:
        """Closes the peer's channel (RFC 8832 §6: by a reset of the stream)."""
        self._drops["channel_refused"] += 1
        if stream_id not in self._reconfig_queue and len(self._reconfig_queue) < _MAX_STREAMS:
            self._reconfig_queue.append(stream_id)
            await self._transmit_reconfig()

    async def _receive_reconfig_param(self, param: _ReconfigParam) -> None:
        await super()._receive_reconfig_param(param)
        # of refused channels, which are none
        self._data_channel_outbound_reset.intersection_update(self._data_channels)

    def _data_channel_closed(self, stream_id: int) -> None:
        if stream_id in self._data_channels:
            self._paused.discard(self._data_channels[stream_id])
            super()._data_channel_closed(stream_id)

    async def _reset_deferred_streams(self) -> None:
        request, streams = self._reconfig_deferred, len(self._inbound_streams)
        if request is not None and any(message[0] in request.streams for message in self._held):
            return  # the channel closes when its last message was delivered
        await super()._reset_deferred_streams()
        if len(self._inbound_streams) < streams:
            self._tally.recount(self._inbound_streams.values())


def to_bytes(text: str) -> bytes:
    """What a text is on the wire; half a surrogate pair, which UTF-8 has no room for, is a "?"."""
    return text.encode("utf-8", "replace")


def _cost(message: tuple[int, int, bytes]) -> int:
    return len(message[2]) + _MESSAGE_OVERHEAD_BYTES
