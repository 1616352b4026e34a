"""A recorded call as one stereo file, the client left, the upstream right: `mix.ogg`."""

from __future__ import annotations

import os
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Final

import av

from relay.stores.appendfile import FILE_MODE
from relay.stores.audio import RATE
from relay.stores.folders import AUDIO_FILES
from relay.taps.voices import FRAME_BYTES, FRAME_SAMPLES

BIT_RATE: Final = 64_000
MIX: Final = AUDIO_FILES["mix"][0]


class MixWriter:
    """Writes it beside its name, and puts it in place when it is complete. Raises OSError."""

    def __init__(self, directory: Path) -> None:
        self._target = directory / MIX
        self._part = directory / f".{MIX}.part"
        self._samples = 0
        os.close(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE))
        self._container = av.open(str(self._part), "w", format="ogg")
        stream = self._container.add_stream("libopus", rate=RATE, layout="stereo")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = BIT_RATE
        stream.codec_context.options = {"compression_level": "5"}
        self._stream = stream

    def add(self, client: bytes, upstream: bytes) -> None:
        """The next 20 ms of both."""
        both = array("h", bytes(2 * FRAME_BYTES))
        both[0::2] = array("h", client)
        both[1::2] = array("h", upstream)
        frame = av.AudioFrame(format="s16", layout="stereo", samples=FRAME_SAMPLES)
        frame.planes[0].update(both.tobytes())
        frame.sample_rate = RATE
        frame.pts = self._samples
        self._samples += FRAME_SAMPLES
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """All has been added."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._part.replace(self._target)

    def abandon(self) -> None:
        """Leaves nothing behind. Never raises; after `finish` it does nothing."""
        with suppress(OSError, av.FFmpegError):
            self._container.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)
