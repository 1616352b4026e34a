"""Mixes a recorded call to stereo, the client left, the upstream right.

`python -m relay.taps.mix DIR`, a program of its own: decoding and encoding belong into no process
that carries calls. It runs at the lowest priority, reads what the recorder wrote, writes `mix.ogg`
in one go when it is complete, and says in `session.json` how far it is. Both sides begin at the
call's zero, so nothing has to be aligned; the shorter one goes on as silence.
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import av

from relay.stores.appendfile import FILE_MODE
from relay.stores.audio import RATE, duration_s, sound
from relay.stores.folders import AUDIO_FILES, Folder, Side

NICE: Final = 19
BIT_RATE: Final = 64_000

SIDES: Final[tuple[Side, Side]] = ("client", "upstream")

_FRAME_BYTES: Final = 2 * RATE // 50
_SILENCE: Final = bytes(_FRAME_BYTES)
_TELL_EVERY_S: Final = 1.0


class NothingToMix(Exception):  # named by the situation
    """The folder has no audio."""


def mix(folder: Folder, progress: Callable[[float], None] = lambda _: None) -> Path:
    """Writes `mix.ogg`; `progress` goes from 0 to 1. Raises OSError, NothingToMix.

    Some 30 s of one core for an hour, in memory that does not grow.
    """
    target = folder.path / AUDIO_FILES["mix"][0]
    part = target.with_name(f".{target.name}.part")
    whole = max((duration_s(path) for side in SIDES for path in folder.audio(side)), default=0)
    if not whole:
        raise NothingToMix("There is no audio in this folder.")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE))
        with av.open(str(part), "w", format="ogg") as container:
            _encode(container, _stereo(folder), lambda done_s: progress(min(1.0, done_s / whole)))
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    return target


def _encode(
    container: av.container.OutputContainer, frames: Iterable[bytes], tell: Callable[[float], None]
) -> None:
    stream = container.add_stream("libopus", rate=RATE, layout="stereo")
    assert isinstance(stream, av.AudioStream)
    stream.bit_rate = BIT_RATE
    stream.codec_context.options = {"compression_level": "5"}
    samples = 0
    for data in frames:
        frame = av.AudioFrame(format="s16", layout="stereo", samples=len(data) // 4)
        frame.planes[0].update(data)
        frame.sample_rate = RATE
        frame.pts = samples
        samples += frame.samples
        container.mux(stream.encode(frame))
        tell(samples / RATE)
    container.mux(stream.encode(None))


def _stereo(folder: Folder) -> Iterator[bytes]:
    """Frames of 20 ms, left and right in turns."""
    left, right = (_side(folder, side) for side in SIDES)
    while True:
        one, other = next(left, None), next(right, None)
        if one is None and other is None:
            return
        both = array("h", bytes(2 * _FRAME_BYTES))
        both[0::2] = array("h", one or _SILENCE)
        both[1::2] = array("h", other or _SILENCE)
        yield both.tobytes()


def _side(folder: Folder, side: Side) -> Iterator[bytes]:
    """Frames of 20 ms of all files of a side, which lie on the same clock."""
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
        while len(waiting) >= _FRAME_BYTES:
            yield bytes(waiting[:_FRAME_BYTES])
            del waiting[:_FRAME_BYTES]
    if waiting:
        yield bytes(waiting).ljust(_FRAME_BYTES, b"\0")


class _Line:
    """The line of a session that says how its mix is."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._told_at = 0.0

    def progress(self, share: float) -> None:
        if time.monotonic() >= self._told_at + _TELL_EVERY_S:
            self._told_at = time.monotonic()
            self.tell("running", progress=round(share, 3))

    def tell(self, state: str, **more: Any) -> None:
        with suppress(OSError):  # the mix is worth more than its line
            self._folder.update_session({"mix": {"state": state, **more}})


def main(arguments: list[str]) -> int:
    """0 done, 1 failed (a line says why), 2 wrong usage."""
    if len(arguments) != 1:
        print("usage: python -m relay.taps.mix DIR", file=sys.stderr)
        return 2
    os.nice(NICE)
    folder = Folder(Path(arguments[0]))
    line, began = _Line(folder), time.monotonic()
    line.tell("running", progress=0.0)
    try:
        mix(folder, line.progress)
    except (OSError, NothingToMix, av.FFmpegError) as error:
        line.tell("failed", reason=str(error))
        print(error, file=sys.stderr)
        return 1
    line.tell("done", progress=1.0, took_s=round(time.monotonic() - began, 3))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
