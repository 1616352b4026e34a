"""The packets one speaker sends: stored speech, and now and then one with a time stamp inside."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence

from .model import CLOCK_HZ, PTIME_MS

MARK = b"RELAYECH"
"""A payload that begins so is echoed at once by a simulator in `--load` mode."""

PAYLOAD_TYPE = 111
AUDIO_LEVEL_ID = 1

_HEADER = struct.Struct("!BBHII")
_LEVEL_EXTENSION = bytes((0xBE, 0xDE, 0, 1, AUDIO_LEVEL_ID << 4, 0x80 | 30, 0, 0))
"""One-byte header extension (RFC 8285 §4.2): the audio level that every browser sends."""

_SENT_NS = struct.Struct("!Q")
_TICKS = CLOCK_HZ * PTIME_MS // 1000


class Voice:
    """An RTP stream of one call. Not a codec: the payloads are sent as they are stored."""

    def __init__(
        self, ssrc: int, payloads: Sequence[bytes], *, packets_per_mark: int, offset: int
    ) -> None:
        """`offset` shifts the place in the speech and the turn of the marks, call by call."""
        self.ssrc = ssrc
        self._payloads = payloads
        self._packets_per_mark = packets_per_mark
        self._count = offset
        self._sequence = offset & 0x7FFF  # below 2^15, as RFC 3711 §3.3.1 wants a stream to begin
        mean_bytes = sum(map(len, payloads)) // len(payloads)
        self._filling = bytes(max(0, mean_bytes - len(MARK) - _SENT_NS.size))

    def next(self) -> tuple[bytes, bool]:
        """The next packet, made now, and whether it is marked."""
        self._count += 1
        self._sequence = (self._sequence + 1) & 0xFFFF
        timestamp = self._count * _TICKS & 0xFFFFFFFF
        header = _HEADER.pack(0x90, PAYLOAD_TYPE, self._sequence, timestamp, self.ssrc)
        if self._count % self._packets_per_mark:
            payload = self._payloads[self._count % len(self._payloads)]
            return b"".join((header, _LEVEL_EXTENSION, payload)), False
        stamp = _SENT_NS.pack(time.monotonic_ns())
        return b"".join((header, _LEVEL_EXTENSION, MARK, stamp, self._filling)), True


def sent_ns(packet: bytes) -> int | None:
    """When a marked packet was sent, by `time.monotonic_ns` of its sender; None of any other."""
    at = packet.find(MARK, 12, 64)  # behind the fixed header and a few extensions
    if at < 0 or len(packet) < at + len(MARK) + _SENT_NS.size:
        return None
    return int(_SENT_NS.unpack_from(packet, at + len(MARK))[0])
