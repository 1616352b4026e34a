"""RTCP of an end point: sender and receiver reports (RFC 3550 §6.4), written every few seconds.

What the other side and the relay between learn from them: loss, jitter, round trip.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from relay.core import rtcp, rtp
from relay.simulator.speaker import RtpStream

INTERVAL_S = 2.5
CNAME = "realtimeapi"

_SDES = 202
_CNAME = 1
_MAX_SOURCES = 8


class Reception:
    """What is received from one source, and what its last sender report said. Times in seconds."""

    def __init__(self, ssrc: int, clock_hz: int) -> None:
        self.ssrc = ssrc
        self.sequences = rtp.SequenceTracker()
        self.jitter = rtp.JitterEstimator(clock_hz)
        self._clock_hz = clock_hz
        self._last_sr = 0
        self._last_sr_at = 0.0

    def receive_report(self, report: rtcp.SenderReport, now: float) -> None:
        self._last_sr, self._last_sr_at = report.ntp_middle, now

    def block(self, now: float) -> bytes:
        """The report block of this source (§6.4.1)."""
        expected, lost = self.sequences.take_interval()
        fraction = max(0, min(255, lost * 256 // expected)) if expected > 0 else 0
        delay = round((now - self._last_sr_at) * 65536) if self._last_sr else 0
        return struct.pack(
            "!LB3sLLLL",
            self.ssrc,
            fraction,
            min(0x7FFFFF, self.sequences.lost).to_bytes(3, "big"),
            (self.sequences.highest or 0) & 0xFFFFFFFF,
            round(self.jitter.jitter_s * self._clock_hz) & 0xFFFFFFFF,
            self._last_sr,
            min(delay, 0xFFFFFFFF),
        )


class Reporter:
    """Counts what is received and writes compound packets about it and about `streams`."""

    def __init__(self, streams: Sequence[RtpStream], clock_rates: Mapping[int, int]) -> None:
        """`clock_rates`: payload type → Hz, as negotiated."""
        self._streams = streams
        self._clock_rates = clock_rates
        self._receptions: dict[int, Reception] = {}

    def receive(self, packet: bytes, now: float) -> None:
        """Counts one RTP packet (of at least a header)."""
        ssrc = rtp.ssrc(packet)
        reception = self._receptions.get(ssrc)
        if reception is None:
            clock_hz = self._clock_rates.get(rtp.payload_type(packet))
            if clock_hz is None or len(self._receptions) >= _MAX_SOURCES:
                return
            reception = self._receptions[ssrc] = Reception(ssrc, clock_hz)
        reception.sequences.update(rtp.sequence(packet))
        reception.jitter.update(rtp.timestamp(packet), now)

    def receive_reports(self, packet: bytes, now: float) -> None:
        """Takes an RTCP packet; what is none is ignored."""
        try:
            reports = rtcp.parse(packet)
        except rtcp.MalformedRtcp:
            return
        for report in reports:
            if isinstance(report, rtcp.SenderReport) and report.ssrc in self._receptions:
                self._receptions[report.ssrc].receive_report(report, now)

    def write(self, now: float, unix_s: float) -> bytes:
        """A compound packet: a report for each stream, the first with all report blocks."""
        blocks = [reception.block(now) for reception in self._receptions.values()]
        packets = []
        for stream in self._streams:
            packets.append(_report(stream, now, unix_s, blocks))
            blocks = []
        return b"".join([*packets, _source_description(self._streams[0].ssrc)])


def _report(stream: RtpStream, now: float, unix_s: float, blocks: Sequence[bytes]) -> bytes:
    """A sender report where something was sent, else a receiver report (§6.4)."""
    if not stream.packet_count:
        return _packet(rtcp.RECEIVER_REPORT, len(blocks), struct.pack("!L", stream.ssrc), *blocks)
    sender_info = struct.pack(
        "!LQLLL",
        stream.ssrc,
        int((unix_s + rtcp.NTP_UNIX_OFFSET_S) * (1 << 32)),
        stream.timestamp_at(now),
        stream.packet_count & 0xFFFFFFFF,
        stream.octet_count & 0xFFFFFFFF,
    )
    return _packet(rtcp.SENDER_REPORT, len(blocks), sender_info, *blocks)


def _source_description(ssrc: int) -> bytes:
    """§6.5: one chunk with the canonical name, ended and padded by zeros."""
    item = bytes([_CNAME, len(CNAME)]) + CNAME.encode()
    return _packet(_SDES, 1, struct.pack("!L", ssrc) + item + bytes(4 - len(item) % 4))


def _packet(kind: int, count: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body
