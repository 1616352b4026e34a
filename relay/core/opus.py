"""Opus packets as the recorder sees them: never decoded, but measured (RFC 6716 §3, RFC 7845).

In scope: a packet's duration and whether it is well formed; the headers of an Ogg stream; packets
that stand for what did not come. Out of scope: the contents of a frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

CLOCK_HZ: Final = 48_000
"""RTP's and Ogg's clock for Opus, whatever the encoder's own rate (RFC 7587 §4.1)."""

PRE_SKIP: Final = 312
"""Samples that a player leaves out at the beginning: the look-ahead of libopus' encoder, 6.5 ms.

With it, what was said at an RTP timestamp is heard at that granule position less 312."""

GRAIN: Final = 120
"""2.5 ms, the shortest frame: every gap is a multiple of it (RFC 7845 §4.1)."""

MAX_PACKET_SAMPLES: Final = 5_760
"""120 ms (RFC 6716 §3.4 R5)."""

_MAX_FRAME_BYTES: Final = 1275

_FRAME_SAMPLES: Final = tuple(
    samples
    for modes, lengths in (
        (3, (480, 960, 1920, 2880)),  # SILK
        (2, (480, 960)),  # hybrid
        (4, (120, 240, 480, 960)),  # CELT
    )
    for _ in range(modes)
    for samples in lengths
)
"""By the five bits of a TOC's configuration (RFC 6716 §3.1)."""

_CELT_SIZES: Final = (960, 480, 240, 120)
_SILK_SIZES: Final = (960, 480)
_FIRST_CELT_TOC: Final = 16 << 3

_HEAD: Final = struct.Struct("<8sBBHIhB")
_SILENCE: Final = b"\xff\xfe"
"""A CELT frame that says silence, and nothing else: decoders agree on it to the sample."""
_SIZES: Final = (960, 480, 240, 120)
_FULL_BAND: Final = {960: 31, 480: 30, 240: 29, 120: 28}
_SIX_FRAMES: Final = b"\x06"
_SHORT: Final = {120: 0, 240: 1}
_CELT_OF: Final = (16, 20, 20, 24, 28)
"""The first configuration of CELT for SILK's NB, MB and WB, and for the hybrid's SWB and FB."""


def samples(packet: bytes) -> int:
    """The duration of a packet at 48 kHz; 0 where it is malformed (RFC 6716 §3.4)."""
    if not packet:
        return 0
    toc, size = packet[0], len(packet) - 1
    frame = _FRAME_SAMPLES[toc >> 3]
    code = toc & 3
    if code == 0:  # nearly all there are
        return frame if size <= _MAX_FRAME_BYTES else 0
    if code == 1:
        return 2 * frame if size % 2 == 0 and size // 2 <= _MAX_FRAME_BYTES else 0
    if code == 2:
        return 2 * frame if _two_fit(packet) else 0
    count = packet[1] & 0x3F if size else 0
    fits = 0 < count * frame <= MAX_PACKET_SAMPLES and _many_fit(packet, count)
    return count * frame if fits else 0


def _two_fit(packet: bytes) -> bool:
    first = _length(packet, 1)
    if first is None:
        return False
    size, at = first
    return at + size <= len(packet) and len(packet) - at - size <= _MAX_FRAME_BYTES


def _many_fit(packet: bytes, count: int) -> bool:
    """Code 3 (RFC 6716 §3.2.5)."""
    at, end = 2, len(packet)
    if packet[1] & 0x40:
        while True:
            if at >= end:
                return False
            value = packet[at]
            at += 1
            end -= min(value, 254)
            if value < 255:
                break
    if packet[1] & 0x80:
        for _ in range(count - 1):
            found = _length(packet, at)
            if found is None:
                return False
            end -= found[0]
            at = found[1]
        return 0 <= end - at <= _MAX_FRAME_BYTES
    body = end - at
    return body >= 0 and body % count == 0 and body // count <= _MAX_FRAME_BYTES


def _length(packet: bytes, at: int) -> tuple[int, int] | None:
    """A frame's length and where the bytes after it begin (RFC 6716 §3.2.1)."""
    if at >= len(packet):
        return None
    if packet[at] < 252:
        return packet[at], at + 1
    if at + 1 >= len(packet):
        return None
    return packet[at] + 4 * packet[at + 1], at + 2


def is_stereo(packet: bytes) -> bool:
    """Whether it carries two channels; `packet` is not empty."""
    return bool(packet[0] & 0x04)


def gap(duration: int, last: bytes | None) -> Iterator[tuple[bytes, int]]:
    """Packets for `duration` samples in which none came, each with its own duration.

    As RFC 7845 §4.1 wants it: frames of no bytes in the manner of `last`, the packet before. They
    have a decoder conceal what is missing, as in the call itself, and keep it in the state that the
    next packet was encoded for, which a frame of silence would not. Where nothing was heard yet,
    and `last` is None, it is silence. `duration` is a multiple of GRAIN.
    """
    assert duration >= 0
    assert duration % GRAIN == 0
    while duration >= MAX_PACKET_SAMPLES:
        toc = bytes((_toc(last, 960) | 3,))
        yield toc + _SIX_FRAMES + (b"" if last else _SILENCE * 6), MAX_PACKET_SAMPLES
        duration -= MAX_PACKET_SAMPLES
    for size in _SIZES:
        while duration >= size:
            yield bytes((_toc(last, size),)) + (b"" if last else _SILENCE), size
            duration -= size


def _toc(last: bytes | None, size: int) -> int:
    """The TOC of one frame of `size`, in the mode, bandwidth and channels of `last`."""
    if not last:
        return _FULL_BAND[size] << 3
    config = last[0] >> 3
    if config >= 16:
        config = config & ~3 | _SIZES[::-1].index(size)
    elif size in _SHORT:  # CELT's alone; what is concealed stays in the mode before
        bandwidth = config // 4 if config < 12 else 3 + (config - 12) // 2
        config = _CELT_OF[bandwidth] + _SHORT[size]
    else:
        config = config & (~3 if config < 12 else ~1) | (size == 960)
    return config << 3 | last[0] & 0x04


def is_empty(packet: bytes) -> bool:
    """Whether it has no frame with bytes in it: a gap, or the sender's own silence (DTX)."""
    return len(packet) == 1 or (len(packet) == 2 and packet[0] & 3 == 3)


@dataclass(frozen=True, slots=True)
class Head:
    """The first packet of an Ogg Opus stream (RFC 7845 §5.1), mapping family 0."""

    channels: int
    pre_skip: int = PRE_SKIP

    def render(self) -> bytes:
        return _HEAD.pack(b"OpusHead", 1, self.channels, self.pre_skip, CLOCK_HZ, 0, 0)

    @classmethod
    def parse(cls, packet: bytes) -> Head | None:
        """None where it is none, or one of another family."""
        if len(packet) < _HEAD.size:
            return None
        magic, version, channels, pre_skip, _, _, family = _HEAD.unpack_from(packet)
        if magic != b"OpusHead" or version > 15 or family != 0 or channels not in (1, 2):
            return None
        return cls(channels, pre_skip)


def tags(vendor: str, comments: tuple[str, ...] = ()) -> bytes:
    """The second packet of an Ogg Opus stream (RFC 7845 §5.2); comments are `NAME=value`."""
    fields = [vendor.encode(), *(comment.encode() for comment in comments)]
    lengths = [struct.pack("<I", len(text)) for text in fields]
    count = struct.pack("<I", len(comments))
    entries = [length + text for length, text in zip(lengths, fields, strict=True)]
    return b"".join((b"OpusTags", entries[0], count, *entries[1:]))
