"""Hearing: received RTP packets in, levels out (Opus by libopus, G.711 by table).

Decoding happens on the event loop: a frame of 20 ms costs about 40 µs. Nothing here raises on a
hostile packet; what cannot be decoded is counted.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import av

from relay.core import rtp
from relay.simulator.g711 import linear_table
from relay.simulator.vad import SILENCE_DBFS

OPUS_CLOCK_HZ = 48_000
G711_CLOCK_HZ = 8_000
MAX_HOLE_S = 60.0
"""A longer step of the sender's clock is a new beginning and no silence."""

_STRIDE = 4
"""Every fourth sample tells the energy of speech as well as all of them."""

_FULL_SCALE = 32768.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One frame: its level, its length, and where it begins in the input audio."""

    level_dbfs: float
    duration_ms: float
    at_ms: float


class Listener:
    """Listens to one audio track. `codecs`: payload type → codec name as in SDP."""

    def __init__(self, codecs: Mapping[int, str]) -> None:
        self.undecodable = 0
        self._ears = {payload_type: _ear(name) for payload_type, name in codecs.items()}
        self._ssrc: int | None = None
        self._sequence = 0
        self._timestamp = 0
        self._next_ms = 0.0
        """Where the audio that was heard so far ends."""
        self._frame_ticks = 0

    def hear(self, packet: bytes) -> Heard | None:
        """None for what is no audio: another payload type, late, a repetition, undecodable."""
        bounds = rtp.payload_bounds(packet)
        ear = self._ears.get(rtp.payload_type(packet)) if bounds else None
        if bounds is None or ear is None or bounds[0] == bounds[1]:
            return None
        if rtp.ssrc(packet) == self._ssrc and not self._is_newer(packet):
            return None
        at_ms = self._place(packet, ear.clock_hz)
        decoded = ear.decode(packet[bounds[0] : bounds[1]])
        if decoded is None:
            self.undecodable += 1
            return None
        mean_square, self._frame_ticks = decoded
        duration_ms = self._frame_ticks * 1000 / ear.clock_hz
        self._next_ms = at_ms + duration_ms
        return Heard(_dbfs(mean_square), duration_ms, at_ms)

    def _is_newer(self, packet: bytes) -> bool:
        return 0 < (rtp.sequence(packet) - self._sequence) % 65536 < 32768

    def _place(self, packet: bytes, clock_hz: int) -> float:
        """Where the packet begins, by its timestamp; remembers it."""
        ssrc, timestamp = rtp.ssrc(packet), rtp.timestamp(packet)
        ticks = (timestamp - self._timestamp - self._frame_ticks) % (1 << 32)
        is_continuous = ssrc == self._ssrc and ticks < MAX_HOLE_S * clock_hz
        self._ssrc, self._timestamp = ssrc, timestamp
        self._sequence = rtp.sequence(packet)
        return self._next_ms + (ticks * 1000 / clock_hz if is_continuous else 0.0)


class _Ear(Protocol):
    clock_hz: int

    def decode(self, payload: bytes) -> tuple[float, int] | None:
        """(mean square of the samples, ticks of the clock); None where it cannot be decoded."""
        ...


class _OpusEar:
    clock_hz = OPUS_CLOCK_HZ

    def __init__(self) -> None:
        decoder = av.AudioCodecContext.create("libopus", "r")
        assert isinstance(decoder, av.AudioCodecContext)
        decoder.sample_rate = OPUS_CLOCK_HZ
        decoder.layout = "mono"
        self._decoder = decoder

    def decode(self, payload: bytes) -> tuple[float, int] | None:
        try:
            frames = self._decoder.decode(av.Packet(payload))
        except av.error.FFmpegError:
            return None
        if not frames or not frames[0].samples:
            return None
        frame = frames[0]
        samples = memoryview(frame.planes[0]).cast("B").cast("h")[: frame.samples : _STRIDE]
        return sum(map(operator.mul, samples, samples)) / len(samples), frame.samples


class _G711Ear:
    clock_hz = G711_CLOCK_HZ

    def __init__(self, name: str) -> None:
        self._square = [value * value for value in linear_table(name)].__getitem__

    def decode(self, payload: bytes) -> tuple[float, int] | None:
        return sum(map(self._square, payload)) / len(payload), len(payload)


def _ear(name: str) -> _Ear:
    return _OpusEar() if name.lower() == "opus" else _G711Ear(name)


def _dbfs(mean_square: float) -> float:
    if mean_square <= 0:
        return SILENCE_DBFS
    return max(SILENCE_DBFS, 20 * math.log10(math.sqrt(mean_square) / _FULL_SCALE))
