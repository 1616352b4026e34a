"""aiortc's SCTP transport with bounds, back-pressure and no tasks (RFC 9260, RFC 8831).

What is private to aiortc and replaced, and why: the reassembly, which is quadratic for a message of
many fragments; the receive window, which would stop a message larger than it for ever and cannot be
closed by a slow reader; the send, which makes a task for each message; and the timers' first
values.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator

from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpTransport
from aiortc.rtcsctptransport import (
    SCTP_DATA_LAST_FRAG,
    SCTP_RTO_MAX,
    USERDATA_MAX_LENGTH,
    WEBRTC_BINARY,
    WEBRTC_BINARY_EMPTY,
    WEBRTC_DCEP,
    WEBRTC_STRING,
    WEBRTC_STRING_EMPTY,
    DataChunk,
    InboundStream,
    RTCSctpCapabilities,
    SackChunk,
    tsn_plus_one,
)

from relay.core.sdp import Sctp
from relay.rtc.dtls import DtlsTransport, run_sync

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest message taken in, advertised as max-message-size (RFC 8841 §6)."""

WINDOW_BYTES = 1024 * 1024
"""How much a paused reader lets the peer send."""

MAX_CHANNELS = 8
_MAX_MISORDERED = 4096
_RTO_INITIAL_S = 1.0  # RFC 9260 §16
_RTO_MIN_S = 0.4  # as libwebrtc: the RFC's 1 s makes one lost event wait a second

_PROTOCOLS = {
    (str, True): WEBRTC_STRING,
    (str, False): WEBRTC_STRING_EMPTY,
    (bytes, True): WEBRTC_BINARY,
    (bytes, False): WEBRTC_BINARY_EMPTY,
}


class SctpTransport(RTCSctpTransport):
    """`on_progress` is called when the peer acknowledged something, `on_overflow` when it sent a
    message over MAX_MESSAGE_BYTES: the association is of no use any more then."""

    def __init__(self, dtls: DtlsTransport, drops: Counter[str], *, port: int = 5000) -> None:
        super().__init__(dtls, port)
        self._rto = _RTO_INITIAL_S
        self._drops = drops
        self._paused: set[int] = set()
        self._held: deque[tuple[int, int, bytes]] = deque()
        self._held_bytes = 0
        self._handling = False
        self.on_progress: Callable[[], None] = lambda: None
        self.on_overflow: Callable[[], None] = lambda: None

    async def connect(self, remote: Sctp) -> None:
        """Starts the association; it comes up on its own (channels open then)."""
        await self.start(RTCSctpCapabilities(remote.max_message_size), remote.port)

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

    def send_message(self, channel: RTCDataChannel, data: str | bytes) -> None:
        """Queues a message and sends what the window allows, now."""
        protocol = _PROTOCOLS[type(data), bool(data)]
        payload = (data.encode() if isinstance(data, str) else data) or b"\x00"
        channel._addBufferedAmount(len(payload))
        self._data_channel_queue.append((channel, protocol, payload))
        if not self._handling:  # else at the end of _handle_data, in order
            run_sync(self._data_channel_flush())

    # -- receiving

    async def _handle_data(self, data: bytes) -> None:
        self._handling = True
        try:
            await super()._handle_data(data)
        finally:
            self._handling = False
        if self._data_channel_queue and not self._outbound_queue:
            await self._data_channel_flush()

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        # A chunk that is not taken is not acknowledged either: the peer sends it again.
        if self._held_bytes >= WINDOW_BYTES or self._is_too_far_ahead(chunk):
            self._drops["sctp_window"] += 1
            self._sack_needed = True
            return
        if self._reassembling_bytes + len(chunk.user_data) > MAX_MESSAGE_BYTES:
            self._drops["message_too_large"] += 1
            self.on_overflow()
            return
        await super()._receive_data_chunk(chunk)

    def _is_too_far_ahead(self, chunk: DataChunk) -> bool:
        assert self._last_received_tsn is not None
        return len(self._sack_misordered) >= _MAX_MISORDERED and chunk.tsn != tsn_plus_one(
            self._last_received_tsn
        )

    @property
    def _reassembling_bytes(self) -> int:
        return WINDOW_BYTES - int(self._advertised_rwnd)

    async def _receive_sack_chunk(self, chunk: SackChunk) -> None:
        await super()._receive_sack_chunk(chunk)
        self.on_progress()

    async def _send_sack(self) -> None:
        # The window is what a reader has not taken, not what is still being put together.
        rwnd = self._advertised_rwnd
        self._advertised_rwnd = max(0, WINDOW_BYTES - self._held_bytes)
        try:
            await super()._send_sack()
        finally:
            self._advertised_rwnd = rwnd

    async def _receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
        if self._paused and pp_id != WEBRTC_DCEP and stream_id in self._paused:
            self._held.append((stream_id, pp_id, data))
            self._held_bytes += len(data)
        elif pp_id == WEBRTC_DCEP and data[:1] == b"\x03" and self._is_surplus(stream_id):
            self._drops["channel_refused"] += 1
        else:
            await super()._receive(stream_id, pp_id, data)

    def _is_surplus(self, stream_id: int) -> bool:
        return stream_id in self._data_channels or len(self._data_channels) >= MAX_CHANNELS

    def pause(self, stream_id: int) -> None:
        """Messages of this stream wait, and the window closes as they do."""
        self._paused.add(stream_id)

    def resume(self, stream_id: int) -> None:
        """Delivers what waited, unless it is paused again meanwhile, and opens the window."""
        self._paused.discard(stream_id)
        before = self._held_bytes
        waiting, self._held = self._held, deque()
        while waiting and not self._paused:
            stream, protocol, data = waiting.popleft()
            self._held_bytes -= len(data)
            run_sync(self._data_channel_receive(stream, protocol, data))
        self._held = waiting + self._held
        if self._held_bytes < before and self._association_state is self.State.ESTABLISHED:
            run_sync(self._send_sack())

    def _get_inbound_stream(self, stream_id: int) -> InboundStream:
        if stream_id not in self._inbound_streams:
            self._inbound_streams[stream_id] = _LinearInboundStream()
        return self._inbound_streams[stream_id]

    def _update_rto(self, R: float) -> None:  # noqa: N803  # aiortc's name, RFC 9260's too
        super()._update_rto(R)
        assert self._srtt is not None
        assert self._rttvar is not None
        self._rto = max(_RTO_MIN_S, min(self._srtt + 4 * self._rttvar, SCTP_RTO_MAX))


class _LinearInboundStream(InboundStream):
    """Looks for whole messages only when one may have become whole."""

    def __init__(self) -> None:
        super().__init__()
        self._maybe_whole = True

    def add_chunk(self, chunk: DataChunk) -> None:
        tail = self.reassembly[-1] if self.reassembly else None
        appended = tail is not None and chunk.tsn == tsn_plus_one(tail.tsn)
        super().add_chunk(chunk)
        # A fragment that continues the last one and is not itself a last one completes nothing.
        self._maybe_whole = not appended or bool(chunk.flags & SCTP_DATA_LAST_FRAG)

    def pop_messages(self) -> Iterator[tuple[int, int, bytes]]:
        if self._maybe_whole:
            yield from super().pop_messages()
