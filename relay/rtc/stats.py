"""What a leg's packets tell as they pass, read from headers and reports alone."""

from __future__ import annotations

from collections import OrderedDict
from struct import Struct
from time import monotonic, time

from relay.core import rtcp
from relay.core.rtp import JitterEstimator, SequenceTracker
from relay.rtc.buffer import VIEW

MAX_STREAMS = 32
"""SSRCs told apart; those of a peer that invents more are counted as packets only."""

DEFAULT_CLOCK_HZ = 48000
_REMEMBERED_REPORTS = 8
_HEADER = Struct("!BHII")


class _Stream:
    __slots__ = ("jitter", "sequence", "ssrc")

    def __init__(self, ssrc: int, clock_hz: int) -> None:
        self.ssrc = ssrc
        self.sequence = SequenceTracker()
        self.jitter = JitterEstimator(clock_hz)


class Inbound:
    """Packets received on a leg, and what its peer reports of those that were sent to it.

    `clock_rates` maps payload types to Hz, as the answer negotiated them. Times in seconds.
    """

    __slots__ = (
        "_current",
        "_sender_reports",
        "_streams",
        "bytes",
        "clock_rates",
        "first_packet_at",
        "packets",
        "remote_lost",
        "round_trip_s",
    )

    def __init__(self) -> None:
        self.packets = 0
        self.bytes = 0
        self.clock_rates: dict[int, int] = {}
        self.first_packet_at: float | None = None
        self.remote_lost: int | None = None
        self.round_trip_s: float | None = None
        self._streams: dict[int, _Stream] = {}
        self._current: _Stream | None = None
        self._sender_reports: OrderedDict[int, int] = OrderedDict()

    def receive_rtp(self, length: int) -> None:
        """An RTP packet of `length` bytes lies in the buffer, decrypted."""
        self.packets += 1
        self.bytes += length
        second, sequence, timestamp, ssrc = _HEADER.unpack_from(VIEW, 1)
        stream = self._current
        if stream is None or stream.ssrc != ssrc:
            stream = self._stream(ssrc, second & 0x7F)
            if stream is None:
                return
        stream.sequence.update(sequence)
        stream.jitter.update(timestamp, monotonic())

    def _stream(self, ssrc: int, payload_type: int) -> _Stream | None:
        if self.first_packet_at is None:
            self.first_packet_at = monotonic()
        stream = self._streams.get(ssrc)
        if stream is None:
            if len(self._streams) >= MAX_STREAMS:
                return None
            clock = self.clock_rates.get(payload_type, DEFAULT_CLOCK_HZ)
            stream = self._streams[ssrc] = _Stream(ssrc, clock)
        self._current = stream
        return stream

    def receive_rtcp(self, packet: memoryview) -> tuple[rtcp.Report, ...]:
        """Reads the peer's reports; () for what is none."""
        self.packets += 1
        self.bytes += len(packet)
        try:
            reports = rtcp.parse(packet)
        except rtcp.MalformedRtcp:
            return ()
        for report in reports:
            if not isinstance(report, rtcp.Bye):
                for block in report.blocks:
                    self._read(block)
        return reports

    def _read(self, block: rtcp.ReportBlock) -> None:
        self.remote_lost = block.cumulative_lost
        passed_at = self._sender_reports.get(block.last_sr)
        if passed_at is not None:
            self.round_trip_s = rtcp.round_trip_s(
                rtcp.ntp_middle(time()), passed_at, block.delay_since_last_sr
            )

    def forwarded(self, reports: tuple[rtcp.Report, ...]) -> None:
        """Sender reports that pass on to this leg's peer: its answers to them give a round trip."""
        for report in reports:
            if isinstance(report, rtcp.SenderReport):
                self._sender_reports[report.ntp_middle] = rtcp.ntp_middle(time())
                if len(self._sender_reports) > _REMEMBERED_REPORTS:
                    self._sender_reports.popitem(last=False)

    @property
    def lost(self) -> int:
        """Packets that never came on this leg, of all its streams."""
        return sum(stream.sequence.lost for stream in self._streams.values())

    @property
    def jitter_s(self) -> float | None:
        """Of the stream heard last."""
        return self._current.jitter.jitter_s if self._current else None
