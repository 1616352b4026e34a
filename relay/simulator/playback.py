"""The output audio buffer: what is being played to the client, and how much of it was heard."""

from __future__ import annotations

from dataclasses import dataclass

from relay.simulator.history import Item
from relay.simulator.lines import TAIL_MS, Line


@dataclass(slots=True)
class Playback:
    """One line on its way to the client; it ends after `end_ms` of it. Times `now` in seconds."""

    response_id: str
    item: Item
    line: Line
    started_at: float
    end_ms: int

    @property
    def ends_at(self) -> float:
        return self.started_at + self.end_ms / 1000

    def played_ms(self, now: float) -> int:
        return min(self.end_ms, max(0, round((now - self.started_at) * 1000)))

    def stop_generating(self, now: float) -> None:
        """What is generated already is still played: the generator is `TAIL_MS` ahead."""
        self.end_ms = min(self.end_ms, self.played_ms(now) + TAIL_MS)

    def truncate_item(self, audio_ms: int) -> None:
        """Makes the item what was heard: its audio's length and its transcript."""
        self.item.audio_ms = audio_ms
        for part in self.item.wire["content"]:
            part["transcript"] = self.line.spoken_by(audio_ms)
