"""What must not reach aiortc's SCTP: packets that would hold up the loop (RFC 9260 §3).

A peer that passed DTLS may be hostile all the same. aiortc parses a parameter of length 0 for ever
and walks through every TSN that a SACK claims, so both are judged here first. What is merely
nonsense is aiortc's: it ignores it, or raises into `DtlsTransport`, which counts it.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from aiortc.rtcsctptransport import SackChunk

MAX_CHUNKS: Final = 128
"""In one packet. 1,200 bytes hold 58 of the smallest DATA chunks."""

TSNS: Final = 1 << 32

_COMMON_HEADER_BYTES: Final = 12
_HEADER: Final = Struct("!BBH")
_PARAMETER: Final = Struct("!HH")

# Chunk type → where its parameters begin behind the chunk's header.
_PARAMETERS_AT: Final = {
    1: 16,  # INIT
    2: 16,  # INIT ACK
    4: 0,  # HEARTBEAT
    5: 0,  # HEARTBEAT ACK
    6: 0,  # ABORT
    9: 0,  # ERROR
    130: 0,  # RE-CONFIG, RFC 6525
}


def is_sound(packet: bytes) -> bool:
    """False for a packet whose parsing or handling would not end, or would take long."""
    at, chunks = _COMMON_HEADER_BYTES, 0
    while at + 4 <= len(packet):
        kind, _, length = _HEADER.unpack_from(packet, at)
        chunks += 1
        if length < 4 or chunks > MAX_CHUNKS:
            return False
        offset = _PARAMETERS_AT.get(kind)
        if offset is not None and not _has_sound_parameters(packet[at + 4 + offset : at + length]):
            return False
        at += length + (-length & 3)
    return chunks > 0


def _has_sound_parameters(body: bytes) -> bool:
    at = 0
    while at + 4 <= len(body):
        _, length = _PARAMETER.unpack_from(body, at)
        if length < 4:
            return False
        at += length + (-length & 3)
    return True


def is_plausible_sack(sack: SackChunk, highest_sent: int) -> bool:
    """Whether it acknowledges no more than was sent, each TSN once and in order (§3.3.4).

    `highest_sent` is the TSN of the last chunk that left.
    """
    outstanding = (highest_sent - sack.cumulative_tsn) % TSNS
    if outstanding >= TSNS // 2:
        return False
    before = 0
    for start, end in sack.gaps:
        if not before < start <= end <= outstanding:
            return False
        before = end
    return True
