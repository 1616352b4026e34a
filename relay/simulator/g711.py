"""G.711 (ITU-T): µ-law and A-law as tables, and stored Opus turned into either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import av

Law = Literal["PCMU", "PCMA"]

FRAME_BYTES = 160
"""20 ms at 8 kHz."""


def linear_table(name: str) -> list[int]:
    """The 256 codes of PCMU or PCMA as 16-bit samples. Any other name is a broken invariant."""
    assert name.upper() in ("PCMU", "PCMA"), name
    decode = _mu_law if name.upper() == "PCMU" else _a_law
    return [decode(code) for code in range(256)]


def encode_line(opus_packets: Sequence[bytes], law: Law) -> tuple[bytes, ...]:
    """Stored Opus (48 kHz mono) as G.711 frames of 20 ms. Takes milliseconds per second of audio:
    not for the event loop."""
    encoder = av.AudioCodecContext.create("pcm_mulaw" if law == "PCMU" else "pcm_alaw", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate = 8000
    encoder.layout = "mono"
    encoder.format = "s16"
    encoded = bytearray()
    for frame in _at_8_khz(opus_packets):
        frame.pts = None
        for packet in encoder.encode(frame):
            encoded += bytes(packet)
    whole = len(encoded) // FRAME_BYTES * FRAME_BYTES
    return tuple(bytes(encoded[n : n + FRAME_BYTES]) for n in range(0, whole, FRAME_BYTES))


def _at_8_khz(opus_packets: Sequence[bytes]) -> Iterator[av.AudioFrame]:
    decoder = av.AudioCodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = 48_000
    decoder.layout = "mono"
    resampler = av.AudioResampler(format="s16", layout="mono", rate=8000)
    for packet in opus_packets:
        for frame in decoder.decode(av.Packet(packet)):
            yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _mu_law(code: int) -> int:
    inverted = ~code & 0xFF
    magnitude = (((inverted & 0x0F) << 3) + 0x84 << ((inverted & 0x70) >> 4)) - 0x84
    return -magnitude if inverted & 0x80 else magnitude


def _a_law(code: int) -> int:
    toggled = code ^ 0x55
    exponent, mantissa = (toggled & 0x70) >> 4, (toggled & 0x0F) << 4
    magnitude = mantissa + 8 if exponent == 0 else mantissa + 0x108 << exponent - 1
    return magnitude if toggled & 0x80 else -magnitude
