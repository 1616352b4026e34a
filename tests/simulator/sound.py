"""What was heard, measured: decoded samples, levels, tones."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence

import av

from relay.simulator.g711 import linear_table


def decoded_opus(payloads: Iterable[bytes]) -> array[int]:
    """48 kHz mono samples."""
    decoder = av.AudioCodecContext.create("libopus", "r")
    decoder.sample_rate = 48_000
    decoder.layout = "mono"
    samples = array("h")
    for payload in payloads:
        for frame in decoder.decode(av.Packet(payload)):
            samples.frombytes(bytes(frame.planes[0])[: frame.samples * 2])
    return samples


def decoded_pcmu(payloads: Iterable[bytes]) -> array[int]:
    """8 kHz mono samples."""
    table = linear_table("PCMU")
    return array("h", [table[code] for payload in payloads for code in payload])


def tone_share(samples: Sequence[int], hz: float, rate_hz: int) -> float:
    """The share of the power at one frequency (Goertzel), 0 to 1."""
    coefficient = 2 * math.cos(2 * math.pi * hz / rate_hz)
    before, last = 0.0, 0.0
    for sample in samples:
        before, last = last, sample + coefficient * last - before
    power = last * last + before * before - coefficient * last * before
    total = sum(sample * sample for sample in samples)
    return 2 * power / (len(samples) * total) if total else 0.0


def level_dbfs(samples: Sequence[int]) -> float:
    total = sum(sample * sample for sample in samples)
    return 10 * math.log10(total / len(samples) / 32768**2) if total else -96.0


def has_chime(samples: Sequence[int], rate_hz: int) -> bool:
    """880 Hz, then 1320 Hz, within the first 0.28 s."""
    first = samples[round(0.03 * rate_hz) : round(0.12 * rate_hz)]
    second = samples[round(0.17 * rate_hz) : round(0.26 * rate_hz)]
    return tone_share(first, 880, rate_hz) > 0.7 and tone_share(second, 1320, rate_hz) > 0.7
