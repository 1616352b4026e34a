"""The stored lines in every codec that a call may have negotiated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from relay.simulator.g711 import Law, encode_line
from relay.simulator.lines import Line, Script, load_script


class Voices:
    """Reads the script once; G.711 is made when a call first asks for it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._g711: dict[tuple[Law, str], tuple[bytes, ...]] = {}

    @classmethod
    async def load(cls) -> Voices:
        return cls(await asyncio.to_thread(load_script))

    async def prepare(self, codec: str) -> None:
        """Makes the frames of a codec (its name as in SDP) ready for `frames`."""
        law = _law(codec)
        if law is None or (law, self.script.tool.name) in self._g711:
            return
        for line in (*self.script.turns, self.script.tool):
            self._g711[law, line.name] = await asyncio.to_thread(encode_line, line.packets, law)

    def frames(self, line: Line, codec: str) -> Sequence[bytes]:
        """A line's 20 ms payloads in a codec that was prepared."""
        law = _law(codec)
        return line.packets if law is None else self._g711[law, line.name]


def _law(codec: str) -> Law | None:
    name = codec.upper()
    return "PCMU" if name == "PCMU" else "PCMA" if name == "PCMA" else None
