"""The packets one speaker sends: stored speech, and now and then one with a time stamp inside."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Protocol

from .model import CLOCK_HZ, PTIME_MS, LoadModel

MARK = b"RELAYECH"
"""A payload that begins so is echoed at once by a simulator in `--load` mode."""

FIRST_SSRC = 0x10000
PAYLOAD_TYPE = 111
AUDIO_LEVEL_ID = 1

_HEADER = struct.Struct("!BBHII")
_LEVEL_EXTENSION = bytes((0xBE, 0xDE, 0, 1, AUDIO_LEVEL_ID << 4, 0x80 | 30, 0, 0))
"""One-byte header extension (RFC 8285 §4.2): the audio level that every browser sends."""

_SENT_NS = struct.Struct("!Q")
_TICKS = CLOCK_HZ * PTIME_MS // 1000


class Voice(Protocol):
    """An RTP stream that measures its own way to the other end and back."""

    ssrc: int

    def next(self) -> tuple[bytes, bool]:
        """The next packet, made now, and whether its echo can be known again."""
        ...

    def heard(self, packet: bytes) -> int | None:
        """When the packet was sent whose echo this is (time.monotonic_ns); None of any other."""
        ...


class StampedVoice:
    """Stored speech with marked packets between. Not a codec: payloads are sent as stored."""

    def __init__(self, slot: int, model: LoadModel, payloads: Sequence[bytes]) -> None:
        """`slot` also shifts the place in the speech and the turn of the marks, call by call."""
        offset = slot * 7
        self.ssrc = FIRST_SSRC + slot
        self._payloads = payloads
        self._packets_per_mark = model.packets_per_mark
        self._count = offset
        self._sequence = offset & 0x7FFF  # below 2^15, as RFC 3711 §3.3.1 wants a stream to begin
        mean_bytes = sum(map(len, payloads)) // len(payloads)
        self._filling = bytes(max(0, mean_bytes - len(MARK) - _SENT_NS.size))

    def next(self) -> tuple[bytes, bool]:
        self._count += 1
        self._sequence = (self._sequence + 1) & 0xFFFF
        timestamp = self._count * _TICKS & 0xFFFFFFFF
        header = _HEADER.pack(0x90, PAYLOAD_TYPE, self._sequence, timestamp, self.ssrc)
        if self._count % self._packets_per_mark:
            payload = self._payloads[self._count % len(self._payloads)]
            return b"".join((header, _LEVEL_EXTENSION, payload)), False
        stamp = _SENT_NS.pack(time.monotonic_ns())
        return b"".join((header, _LEVEL_EXTENSION, MARK, stamp, self._filling)), True

    def heard(self, packet: bytes) -> int | None:
        at = packet.find(MARK, 12, 64)  # behind the fixed header and a few extensions
        if at < 0 or len(packet) < at + len(MARK) + _SENT_NS.size:
            return None
        return int(_SENT_NS.unpack_from(packet, at + len(MARK))[0])
