"""Sounds to record, as the packets of a call, and what is heard of them afterwards."""

from __future__ import annotations

import functools
import math
import struct
from array import array
from collections.abc import Sequence

import av

from relay.core.sdpmedia import Codec

RATE = 48_000
FRAME = 960
OPUS, PCMU, PCMA, RED = 111, 0, 8, 63
CODECS = {
    OPUS: Codec(OPUS, "opus", 48_000, 2),
    96: Codec(96, "opus", 48_000, 2),
    PCMU: Codec(PCMU, "PCMU", 8_000),
    PCMA: Codec(PCMA, "PCMA", 8_000),
    RED: Codec(RED, "red", 48_000, 2),
    126: Codec(126, "telephone-event", 8_000),
}


def rtp(
    n: int,
    payload: bytes,
    *,
    payload_type: int = OPUS,
    ssrc: int = 1,
    frame: int = FRAME,
    extension: bool = True,
) -> bytes:
    """Packet number `n` of a stream, with an audio level as browsers send it."""
    first = 0x90 if extension else 0x80
    header = struct.pack("!BBHII", first, payload_type, n & 0xFFFF, n * frame & 0xFFFFFFFF, ssrc)
    return header + (b"\xbe\xde\0\1\x10\xa0\0\0" if extension else b"") + payload


def tone(hertz: float, seconds: float, rate: int = RATE) -> array[int]:
    step = 2 * math.pi * hertz / rate
    return array("h", (round(9_000 * math.sin(step * n)) for n in range(round(seconds * rate))))


@functools.cache
def opus_tone(
    hertz: float,
    seconds: float,
    *,
    application: str = "voip",
    bit_rate: int = 32_000,
    stereo: bool = False,
) -> tuple[bytes, ...]:
    """A tone as Opus packets of 20 ms."""
    encoder = av.AudioCodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate = RATE
    encoder.layout = "stereo" if stereo else "mono"
    encoder.format = "s16"
    encoder.bit_rate = bit_rate
    encoder.options = {"application": application}
    samples = tone(hertz, seconds)
    packets: list[bytes] = []
    for at in range(0, len(samples) - FRAME + 1, FRAME):
        part = samples[at : at + FRAME]
        if stereo:
            part = array("h", (value for value in part for _ in range(2)))
        frame = av.AudioFrame(format="s16", layout=encoder.layout, samples=FRAME)
        frame.planes[0].update(part.tobytes())
        frame.sample_rate, frame.pts = RATE, at
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return tuple(packets)


@functools.cache
def g711_tone(hertz: float, seconds: float, law: str) -> bytes:
    encoder = av.AudioCodecContext.create(law, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate = 8_000
    encoder.layout = "mono"
    encoder.format = "s16"
    samples = tone(hertz, seconds, 8_000)
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples))
    frame.planes[0].update(samples.tobytes())
    frame.sample_rate = 8_000
    return b"".join(bytes(packet) for packet in encoder.encode(frame))


def share_of(hertz: float, heard: Sequence[int]) -> float:
    """How much of the energy is at one frequency, 0 to 1 (Goertzel); 0 for silence."""
    energy = sum(value * value for value in heard)
    if energy < 100 * len(heard):
        return 0.0
    turn = 2 * math.cos(2 * math.pi * hertz / RATE)
    before = last = 0.0
    for value in heard:
        before, last = last, value + turn * last - before
    power = last * last + before * before - turn * last * before
    return 2 * power / (len(heard) * energy)


def loud_parts(heard: Sequence[int], hertz: float) -> list[tuple[float, float]]:
    """Where a tone is heard, as seconds from and to, to 10 ms."""
    step = RATE // 100
    found: list[tuple[float, float]] = []
    for at in range(0, len(heard) - step + 1, step):
        if share_of(hertz, heard[at : at + step]) < 0.6:
            continue
        begin, end = at / RATE, (at + step) / RATE
        if found and begin - found[-1][1] < 0.015:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


def samples(data: bytes) -> array[int]:
    return array("h", data[: len(data) // 2 * 2])
