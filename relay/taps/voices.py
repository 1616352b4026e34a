"""Both sides of a recorded call, as they are heard: frames of 20 ms, from the call's zero.

Both begin at the call's zero, so nothing has to be aligned; the shorter one goes on as silence.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Final

from relay.stores.audio import RATE, duration_s, sound
from relay.stores.folders import Folder, Side

SIDES: Final[tuple[Side, Side]] = ("client", "upstream")

FRAME_SAMPLES: Final = RATE // 50
FRAME_BYTES: Final = 2 * FRAME_SAMPLES
SILENCE: Final = bytes(FRAME_BYTES)


def voices_duration_s(folder: Folder) -> float:
    """How long the longer side is, 0 where there is none; decodes nothing. Raises OSError."""
    return max((duration_s(path) for side in SIDES for path in folder.audio(side)), default=0.0)


def voices(folder: Folder) -> Iterator[tuple[bytes, bytes]]:
    """Frames of the client and the upstream, signed 16-bit mono at RATE. Raises OSError."""
    left, right = (_side(folder, side) for side in SIDES)
    while True:
        one, other = next(left, None), next(right, None)
        if one is None and other is None:
            return
        yield one or SILENCE, other or SILENCE


def _side(folder: Folder, side: Side) -> Iterator[bytes]:
    """Frames of all files of a side, which lie on the same clock."""
    files = [_frames(sound(path)) for path in folder.audio(side)]
    while files:
        parts = []
        for frames in list(files):
            part = next(frames, None)
            if part is None:
                files.remove(frames)
            elif any(part):  # two codecs hardly ever speak at once
                parts.append(part)
            else:
                parts.insert(0, part)
        if parts:
            yield _sum(parts)


def _sum(parts: list[bytes]) -> bytes:
    loud = [part for part in parts if any(part)]
    if len(loud) < 2:
        return loud[0] if loud else parts[0]
    added = (sum(values) for values in zip(*(array("h", part) for part in loud), strict=True))
    return array("h", (max(-32768, min(32767, value)) for value in added)).tobytes()


def _frames(portions: Iterable[bytes]) -> Iterator[bytes]:
    waiting = bytearray()
    for data in portions:
        waiting += data
        while len(waiting) >= FRAME_BYTES:
            yield bytes(waiting[:FRAME_BYTES])
            del waiting[:FRAME_BYTES]
    if waiting:
        yield bytes(waiting).ljust(FRAME_BYTES, b"\0")
