"""A recorded call as a picture's points, both sides: `waveform.json`.

The format is the JSON of BBC's audiowaveform, version 2
(https://github.com/bbc/audiowaveform/blob/master/doc/DataFormat.md): two channels, the client's
and the upstream's, 8 bits, a minimum and a maximum of each for every pixel.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Final

from relay.stores.audio import RATE
from relay.stores.folders import write_whole
from relay.taps.voices import FRAME_SAMPLES

WAVEFORM: Final = "waveform.json"
VERSION: Final = 2
CHANNELS: Final = 2

MAX_PIXELS: Final = 37_500
"""At most some 200 kB gzipped. A pixel is a frame of 20 ms up to 12.5 minutes, of an hour five."""

_UNSIGNED: Final = bytes(value ^ 0x80 for value in range(256))
"""Of a sample's high byte: bytes compare unsigned."""


class WaveformWriter:
    """Gathers it, and writes it when it is complete. `whole_s` is how long the call is."""

    def __init__(self, directory: Path, whole_s: float) -> None:
        self._target = directory / WAVEFORM
        frames = whole_s * RATE / FRAME_SAMPLES
        self._frames_a_pixel = max(1, math.ceil(frames / MAX_PIXELS))
        self._waiting: tuple[list[bytes], list[bytes]] = ([], [])
        self._data: list[int] = []

    def add(self, client: bytes, upstream: bytes) -> None:
        """The next 20 ms of both."""
        for frames, frame in zip(self._waiting, (client, upstream), strict=True):
            frames.append(frame)
        if len(self._waiting[0]) == self._frames_a_pixel:
            self._put_pixel()

    def finish(self) -> None:
        """All has been added. Raises OSError."""
        if self._waiting[0]:
            self._put_pixel()
        write_whole(self._target, json.dumps(self._told(), separators=(",", ":")).encode())

    def abandon(self) -> None:
        """Nothing is left behind anyhow."""

    def _put_pixel(self) -> None:
        for frames in self._waiting:
            self._data += extremes(b"".join(frames))
            frames.clear()

    def _told(self) -> dict[str, object]:
        return {
            "version": VERSION,
            "channels": CHANNELS,
            "sample_rate": RATE,
            "samples_per_pixel": self._frames_a_pixel * FRAME_SAMPLES,
            "bits": 8,
            "length": len(self._data) // (2 * CHANNELS),
            "data": self._data,
        }


def extremes(samples: bytes) -> tuple[int, int]:
    """The least and the greatest of signed little-endian 16-bit samples, of at least one, as 8-bit
    ones, rounded down. Several times quicker than to compare the samples themselves: at most 256
    values are left to compare."""
    found = set(samples[1::2].translate(_UNSIGNED))
    return min(found) - 0x80, max(found) - 0x80
