"""RTCP reports as they are read in passing (RFC 3550 §6, RFC 5506).

Compound and reduced-size packets are parsed as far as the relay's statistics go: sender and
receiver reports and BYE; everything else is skipped by its length. Out of scope: writing,
feedback (RFC 4585), extended reports (RFC 3611).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

from relay.core.rtp import Packet

SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
BYE: Final = 203

NTP_UNIX_OFFSET_S: Final = 2_208_988_800
"""From 1900 to 1970."""

_SENDER_INFO: Final = struct.Struct("!LQLLL")
_BLOCK: Final = struct.Struct("!LLLLLL")
_MIDDLES: Final = 1 << 32


class MalformedRtcp(ValueError):  # named by the situation
    """The packet is no RTCP, or one that contradicts its own lengths."""


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """How one source is received (RFC 3550 §6.4.1).

    `fraction_lost` is 0 to 1 since the report before, `cumulative_lost` −2²³ to 2²³−1 packets,
    `highest_sequence` extended to 32 bits, `jitter` in units of the codec's clock, `last_sr` the
    middle 32 bits of the last SR's NTP time (0 for none), `delay_since_last_sr` in 1/65536 s.
    """

    ssrc: int
    fraction_lost: float
    cumulative_lost: int
    highest_sequence: int
    jitter: int
    last_sr: int
    delay_since_last_sr: int


@dataclass(frozen=True, slots=True)
class SenderReport:
    """What a source has sent; `ntp` is a 64-bit NTP time, the counts wrap at 2³²."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packet_count: int
    octet_count: int
    blocks: tuple[ReportBlock, ...]

    @property
    def ntp_middle(self) -> int:
        """What receivers give back as `last_sr`."""
        return self.ntp >> 16 & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """What a receiver that sends nothing has to say; `ssrc` is its own."""

    ssrc: int
    blocks: tuple[ReportBlock, ...]


@dataclass(frozen=True, slots=True)
class Bye:
    """These sources leave."""

    ssrcs: tuple[int, ...]


Report: TypeAlias = SenderReport | ReceiverReport | Bye


def parse(packet: Packet) -> tuple[Report, ...]:
    """The reports of a compound packet, in their order. Raises MalformedRtcp."""
    reports: list[Report] = []
    at, size = 0, len(packet)
    if not size:
        raise MalformedRtcp("empty")
    while at < size:
        end = _end(packet, at)
        count, kind = packet[at] & 0x1F, packet[at + 1]
        body_end = end - _padding(packet, at, end) if packet[at] & 0x20 else end
        if kind == SENDER_REPORT:
            reports.append(_sender_report(packet, at + 4, body_end, count))
        elif kind == RECEIVER_REPORT:
            reports.append(_receiver_report(packet, at + 4, body_end, count))
        elif kind == BYE:
            reports.append(_bye(packet, at + 4, body_end, count))
        at = end
    return tuple(reports)


def round_trip_s(arrival: int, last_sr: int, delay_since_last_sr: int) -> float | None:
    """The round trip that a report block shows (RFC 3550 §6.4.1), in seconds.

    All three are in 1/65536 s modulo 2³²: `arrival` the middle 32 bits of the report's arrival
    (`ntp_middle`), `last_sr` when the SR was sent by the same clock. A relay between the two gives
    when it saw the SR pass instead. None where no SR had come yet, or the clocks disagree.
    """
    if last_sr == 0:
        return None
    elapsed = (arrival - last_sr - delay_since_last_sr) % _MIDDLES
    return elapsed / 65536 if elapsed < _MIDDLES // 2 else None


def ntp_middle(unix_s: float) -> int:
    """The middle 32 bits of the NTP time, of a time in seconds since 1970."""
    return int((unix_s + NTP_UNIX_OFFSET_S) * 65536) % _MIDDLES


def _end(packet: Packet, at: int) -> int:
    if len(packet) - at < 4 or packet[at] >> 6 != 2:
        raise MalformedRtcp("no RTCP header")
    end = at + 4 + 4 * (packet[at + 2] << 8 | packet[at + 3])
    if end > len(packet):
        raise MalformedRtcp("longer than its datagram")
    return end


def _padding(packet: Packet, at: int, end: int) -> int:
    padding = packet[end - 1]
    # §6.4.1: only the last packet is padded, by a multiple of four that counts itself
    if end != len(packet) or padding == 0 or padding % 4 or padding > end - at - 4:
        raise MalformedRtcp("bad padding")
    return padding


def _sender_report(packet: Packet, at: int, end: int, count: int) -> SenderReport:
    if end - at < _SENDER_INFO.size:
        raise MalformedRtcp("short sender report")
    ssrc, ntp, rtp_timestamp, packets, octets = _SENDER_INFO.unpack_from(packet, at)
    blocks = _blocks(packet, at + _SENDER_INFO.size, end, count)
    return SenderReport(ssrc, ntp, rtp_timestamp, packets, octets, blocks)


def _receiver_report(packet: Packet, at: int, end: int, count: int) -> ReceiverReport:
    if end - at < 4:
        raise MalformedRtcp("short receiver report")
    ssrc = int.from_bytes(packet[at : at + 4], "big")
    return ReceiverReport(ssrc, _blocks(packet, at + 4, end, count))


def _blocks(packet: Packet, at: int, end: int, count: int) -> tuple[ReportBlock, ...]:
    # What follows the blocks is a profile's own (§6.4.3) and skipped.
    if end - at < count * _BLOCK.size:
        raise MalformedRtcp("fewer report blocks than counted")
    return tuple(_block(packet, at + index * _BLOCK.size) for index in range(count))


def _block(packet: Packet, at: int) -> ReportBlock:
    ssrc, loss, highest_sequence, jitter, last_sr, delay = _BLOCK.unpack_from(packet, at)
    cumulative = loss & 0xFFFFFF
    return ReportBlock(
        ssrc=ssrc,
        fraction_lost=(loss >> 24) / 256,
        cumulative_lost=cumulative - (1 << 24) if cumulative & 0x800000 else cumulative,
        highest_sequence=highest_sequence,
        jitter=jitter,
        last_sr=last_sr,
        delay_since_last_sr=delay,
    )


def _bye(packet: Packet, at: int, end: int, count: int) -> Bye:
    if end - at < 4 * count:
        raise MalformedRtcp("fewer sources than counted")
    return Bye(struct.unpack_from(f"!{count}L", packet, at))
