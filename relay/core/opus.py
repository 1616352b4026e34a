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

CONCEALED: Final = 2_880
"""60 ms: a gap that is no longer is concealed as a loss; a longer one is silence."""

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
_SILENT_CONFIG: Final = {960: 31, 480: 30, 240: 29, 120: 28}
_SIX_FRAMES: Final = bytes((31 << 3 | 3, 6)) + _SILENCE * 6


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

    For a loss they are what RFC 7845 §4.1 wants, frames of no bytes in the manner of `last`, which
    decoders conceal; for anything longer they say silence. `duration` is a multiple of GRAIN; None
    for `last` where nothing was heard yet.
    """
    assert duration >= 0
    assert duration % GRAIN == 0
    left = duration
    if last is not None and duration <= CONCEALED:
        sizes = _CELT_SIZES if last[0] >= _FIRST_CELT_TOC else _SILK_SIZES
        for size in _split(left, sizes):
            yield bytes((_concealing_toc(last[0], size),)), size
            left -= size
    while left >= MAX_PACKET_SAMPLES:
        yield _SIX_FRAMES, MAX_PACKET_SAMPLES
        left -= MAX_PACKET_SAMPLES
    for size in _split(left, _CELT_SIZES):
        yield bytes((_SILENT_CONFIG[size] << 3,)) + _SILENCE, size


def _split(duration: int, sizes: tuple[int, ...]) -> Iterator[int]:
    for size in sizes:
        while duration >= size:
            yield size
            duration -= size


def _concealing_toc(toc: int, size: int) -> int:
    """The TOC of one frame of `size` in the mode, bandwidth and channels of `toc`."""
    config = toc >> 3
    if config < 12:
        config = config & ~3 | (size == 960)
    elif config < 16:
        config = config & ~1 | (size == 960)
    else:
        config = config & ~3 | {120: 0, 240: 1, 480: 2, 960: 3}[size]
    return config << 3 | toc & 0x04


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
