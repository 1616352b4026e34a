"""WAV files with G.711 in them: the header, and what a gap sounds like.

Ogg has no mapping for G.711 that players know; WAV is read by all of them, browsers included, and
takes the codes as they came. Its header says how long it is, so it is written anew after each
addition: whenever the writer dies, what the header counts is there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Literal

Law = Literal["pcmu", "pcma"]

CLOCK_HZ: Final = 8_000

SILENCE: Final[dict[Law, bytes]] = {"pcmu": b"\xff", "pcma": b"\xd5"}
"""The code of the smallest positive sample (G.711 tables 1b and 2b)."""

HEADER_BYTES: Final = 58
MAX_DATA_BYTES: Final = 0xFFFFFFFF - HEADER_BYTES
"""Six days."""

_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHHH4sII4sI")
_TAGS: Final[dict[Law, int]] = {"pcma": 6, "pcmu": 7}
"""WAVE_FORMAT_ALAW and WAVE_FORMAT_MULAW (RFC 2361 §A)."""


@dataclass(frozen=True, slots=True)
class Header:
    """A mono file at 8 kHz; `samples`, one byte each, follow it."""

    law: Law
    samples: int

    def render(self) -> bytes:
        return _HEADER.pack(
            b"RIFF",
            HEADER_BYTES - 8 + self.samples,
            b"WAVE",
            b"fmt ",
            18,
            _TAGS[self.law],
            1,
            CLOCK_HZ,
            CLOCK_HZ,
            1,
            8,
            0,
            b"fact",
            4,
            self.samples,
            b"data",
            self.samples,
        )

    @classmethod
    def parse(cls, data: bytes) -> Header | None:
        """Reads what `render` wrote; None for any other WAV."""
        if len(data) < HEADER_BYTES:
            return None
        fields = _HEADER.unpack_from(data)
        for law, tag in _TAGS.items():
            if fields[5] == tag:
                header = cls(law, fields[-1])
                return header if header.render() == data[:HEADER_BYTES] else None
        return None
