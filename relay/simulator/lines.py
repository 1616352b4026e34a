"""What the simulator says: stored sentences and their timing. Made by `scripts/make_speech.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import av

PACKET_MS = 20
TAIL_MS = 200
"""The transcript is through this long before the audio: the generator is ahead of the speaker, so
that `response.done` comes before `output_audio_buffer.stopped`, as OpenAI's does."""


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence: its text, its Opus packets (48 kHz mono, 20 ms each) and where speech begins.

    Each line starts with a chime of `chime_ms`: 880 Hz, then 1320 Hz, half of the time each, which
    tells an answer from an echo.
    """

    name: str
    text: str
    packets: tuple[bytes, ...]
    chime_ms: int

    @property
    def duration_ms(self) -> int:
        return len(self.packets) * PACKET_MS

    def words(self) -> Iterator[tuple[int, str]]:
        """The transcript word by word: (due in ms from the line's start, text with its space)."""
        span_ms = max(0, self.duration_ms - self.chime_ms - TAIL_MS)
        spoken = 0
        for n, word in enumerate(self.text.split(" ")):
            due_ms = self.chime_ms + span_ms * spoken // len(self.text)
            yield due_ms, word if n == 0 else f" {word}"
            spoken += len(word) + 1

    def spoken_by(self, position_ms: int) -> str:
        """The part of the text that was heard by then."""
        return "".join(word for due_ms, word in self.words() if due_ms < position_ms)


@dataclass(frozen=True, slots=True)
class Script:
    """`turns` are said in turn, one an answer; `tool` answers a function call's output."""

    turns: tuple[Line, ...]
    tool: Line

    def answer(self, number: int) -> Line:
        """The line of the nth spoken answer (from 0)."""
        return self.turns[number % len(self.turns)]

    @property
    def longest(self) -> Line:
        return max(self.turns, key=lambda line: line.duration_ms)


def load_script() -> Script:
    """Reads the stored lines. Blocks for some milliseconds: not for the event loop."""
    folder = resources.files("relay.simulator") / "speech"
    stored = json.loads((folder / "lines.json").read_text(encoding="utf-8"))

    def line(entry: dict[str, str]) -> Line:
        with resources.as_file(folder / f"{entry['name']}.opus") as path:
            packets = _opus_packets(str(path))
        return Line(entry["name"], entry["text"], packets, stored["chime_ms"])

    return Script(tuple(line(entry) for entry in stored["turns"]), line(stored["tool"]))


def _opus_packets(path: str) -> tuple[bytes, ...]:
    with av.open(path) as container:
        packets = (bytes(packet) for packet in container.demux(audio=0))
        return tuple(packet for packet in packets if packet)  # the last one flushes, and is empty
