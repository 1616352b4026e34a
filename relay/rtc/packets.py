"""A leg's SRTP as counters and contexts, and its use as an end point (simulator, load test)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

from relay.rtc.buffer import (
    DATA,
    LENGTH,
    MAX_DATAGRAM_BYTES,
    VIEW,
    srtp_protect,
    srtp_protect_rtcp,
    srtp_unprotect,
    srtp_unprotect_rtcp,
    why_refused,
)
from relay.rtc.ice.transport import IceTransport
from relay.rtc.stats import Inbound

log = structlog.get_logger(__name__)


class PacketPort:
    """What a leg's packets go through, whoever handles them.

    `rx` and `tx` are libsrtp contexts, None until the DTLS handshake is over.
    """

    __slots__ = ("drops", "ice", "inbound", "rx", "sent_bytes", "sent_packets", "tx")

    def __init__(self, ice: IceTransport, drops: Counter[str]) -> None:
        self.ice = ice
        self.drops = drops
        self.rx: Any = None
        self.tx: Any = None
        self.inbound = Inbound()
        self.sent_packets = 0
        self.sent_bytes = 0


class EndPoint:
    """Receives and sends packets of a leg that is no relay's."""

    def __init__(self, port: PacketPort) -> None:
        self._port = port
        self.on_rtp: Callable[[bytes], None] | None = None
        self.on_rtcp: Callable[[bytes], None] | None = None
        port.ice.receive_rtp = self.receive

    def receive(self, size: int) -> None:
        port = self._port
        if port.rx is None:
            port.drops["not_ready"] += 1
            return
        is_rtcp = 192 <= DATA[1] <= 223  # RFC 5761 §4
        LENGTH[0] = size
        status = (srtp_unprotect_rtcp if is_rtcp else srtp_unprotect)(port.rx, DATA, LENGTH)
        if status:
            port.drops[why_refused(status)] += 1
            return
        if is_rtcp:
            port.inbound.receive_rtcp(VIEW[: LENGTH[0]])
        else:
            port.inbound.receive_rtp(LENGTH[0])
        callback = self.on_rtcp if is_rtcp else self.on_rtp
        if callback is None:
            return
        try:
            callback(bytes(VIEW[: LENGTH[0]]))
        except Exception:
            log.exception("leg.callback_failed")

    def send(self, packet: bytes, *, is_rtcp: bool) -> bool:
        """Protects and sends; False where it was counted and dropped."""
        port = self._port
        if port.tx is None or len(packet) > MAX_DATAGRAM_BYTES:
            port.drops["not_ready" if port.tx is None else "bad_length"] += 1
            return False
        size = len(packet)
        VIEW[:size] = packet
        LENGTH[0] = size
        if (srtp_protect_rtcp if is_rtcp else srtp_protect)(port.tx, DATA, LENGTH):
            port.drops["srtp_refused"] += 1
            return False
        try:
            port.ice.send(VIEW[: LENGTH[0]])
        except OSError as error:
            port.drops["socket_full" if isinstance(error, BlockingIOError) else "send_failed"] += 1
            return False
        port.sent_packets += 1
        port.sent_bytes += size
        return True
