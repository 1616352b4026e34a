"""The simulator's stored speech, as the Opus packets that a browser would send."""

from __future__ import annotations

import io
from importlib.resources import files

import av

_LONGEST = "story.opus"


def stored_payloads() -> tuple[bytes, ...]:
    """Opus packets of 20 ms each, in order; some seconds of speech. Reads a file: not on a loop."""
    stored = files("relay") / "simulator" / "speech" / _LONGEST
    with av.open(io.BytesIO(stored.read_bytes()), mode="r") as container:
        return tuple(bytes(packet) for packet in container.demux(audio=0) if packet.size)
