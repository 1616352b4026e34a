"""How loud both sides of a call are just now: for meters that people look at.

On the packet path a meter only keeps the newest few packets of each side. Whoever wants the level
decodes those, on a thread. That is less than the call in full: the levels are of three packets of
the ten that came in a fifth of a second, for a price that many calls can pay at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from relay.core.ids import Direction
from relay.core.sdpmedia import Codec
from relay.taps.ear import PacketDecoder, rms

WARMING: Final = 2
"""Packets that are decoded for the decoder's state alone: those before them it has not seen."""

MEASURED: Final = 3

SILENT_DBFS: Final = -70.0
"""What is fainter counts as silence."""

_FULL: Final = 32_768.0


@dataclass(frozen=True, slots=True)
class Levels:
    """In dBFS (RMS), at most 0; None: silence, or nothing came."""

    client: float | None = None
    upstream: float | None = None


class Meter:
    """One call's. `codecs` say what its audio's payload types mean; others are not listened to."""

    def __init__(self, codecs: Mapping[int, Codec]) -> None:
        self._codecs = codecs
        self._kept: dict[Direction, deque[bytes]] = {
            way: deque(maxlen=WARMING + MEASURED) for way in ("up", "down")
        }
        self._decoders: dict[Direction, PacketDecoder] = {
            way: PacketDecoder(codecs) for way in ("up", "down")
        }

    def tap(self, direction: Direction, is_rtcp: bool, packet: bytes) -> None:
        """What the packet path calls."""
        if not is_rtcp and packet[1] & 0x7F in self._codecs:
            self._kept[direction].append(packet)

    def read(self) -> Levels:
        """The levels since it was read last; decodes, on one thread at a time. Never raises."""
        return Levels(client=self._level("up"), upstream=self._level("down"))

    def _level(self, direction: Direction) -> float | None:
        kept, decoder = self._kept[direction], self._decoders[direction]
        packets = [kept.popleft() for _ in range(len(kept))]  # the packet path only adds
        warming = max(0, min(WARMING, len(packets) - 1))
        for packet in packets[:warming]:
            decoder.decode(packet)
        powers = [
            rms(samples) ** 2
            for packet in packets[warming:]
            for samples in decoder.decode(packet) or (b"",)
        ]
        return _dbfs(sum(powers) / len(powers)) if powers else None


def _dbfs(power: float) -> float | None:
    level = 10 * math.log10(power) - 20 * math.log10(_FULL) if power else -math.inf
    return round(min(0.0, level), 1) if level > SILENT_DBFS else None
