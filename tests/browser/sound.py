"""What a browser's microphone hears, and what its page heard: recordings in, measurements out."""

from __future__ import annotations

import json
import wave
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

VOICES = Path(__file__).parents[1] / "voices"
RATE_HZ = 48_000
SAMPLE_BYTES = 2
QUIET = 300
"""A sample below this is no voice: -40 dBFS."""

CHIME_HZ = (880, 1320)
"""The two tones that lead each sentence of the simulator, and that no voice of ours has."""

# Measures whatever a page receives, as its user would hear it: `ears` by the order of the tracks.
_EAR = (Path(__file__).parent / "js" / "ear.js").read_text().replace("export function", "function")
OVERHEAR = f"""
{_EAR}
window.ears = [];
window.RTCPeerConnection = class extends RTCPeerConnection {{
  constructor(...given) {{
    super(...given);
    this.addEventListener("track", ({{ track }}) =>
      ears.push(listen(new MediaStream([track]), {json.dumps(CHIME_HZ)})));
  }}
}};
"""

AUDIBLE_RMS = 0.01
"""About -40 dBFS: speech is ten times louder, comfort noise ten times softer."""


def record(target: Path, parts: Iterable[float | str]) -> Path:
    """Writes a microphone recording (48 kHz mono WAV): seconds of silence and names of voices.

    Chromium plays it from the first getUserMedia on, again and again.
    """
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(RATE_HZ)
        for part in parts:
            file.writeframes(_voice(part) if isinstance(part, str) else _silence(part))
    return target


def _silence(seconds: float) -> bytes:
    return bytes(round(seconds * RATE_HZ) * SAMPLE_BYTES)


def _voice(name: str) -> bytes:
    """A recording without the silence around it: the caller says what pauses there are."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    pcm = bytearray()
    with av.open(str(VOICES / f"{name}.opus")) as container:
        for decoded in container.decode(audio=0):
            for frame in resampler.resample(decoded):
                pcm += bytes(frame.planes[0])[: frame.samples * SAMPLE_BYTES]
    samples = array("h", bytes(pcm))
    loud = [index for index, sample in enumerate(samples) if abs(sample) > QUIET]
    return samples[loud[0] : loud[-1] + 1].tobytes()


@dataclass(frozen=True, slots=True)
class Heard:
    """One window of 43 ms that a page measured (tests/browser/js/ear.js).

    `at` is milliseconds of the page's clock, `rms` 0 to 1, `tones` the share of the window's power
    that each tone asked for has, 0 to 1.
    """

    at: float
    rms: float
    tones: Sequence[float]

    @property
    def audible(self) -> bool:
        return self.rms > AUDIBLE_RMS


def heard(windows: Iterable[dict[str, Any]]) -> list[Heard]:
    return [Heard(window["at"], window["rms"], tuple(window["tones"])) for window in windows]


def audible_ms(windows: Sequence[Heard]) -> float:
    """For how long something was to be heard."""
    return sum(after.at - before.at for before, after in pairwise(windows) if before.audible)


def chimes(windows: Sequence[Heard]) -> list[float]:
    """When the simulator's chime was heard: its first tone, then within 0.5 s its second."""
    starts: list[float] = []
    first: float | None = None
    for window in windows:
        if not window.audible:
            continue
        if window.tones[0] > 0.7:
            first = window.at
        elif first is not None and window.tones[1] > 0.7 and window.at - first < 500:
            starts.append(first)
            first = None
    return starts
