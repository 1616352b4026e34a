"""Lets each speaker of a load speak in its turn, and keeps the measuring window."""

from __future__ import annotations

from typing import Protocol

from .model import LoadModel
from .pacer import Pacer
from .window import Window, WindowResult


class Speaker(Protocol):
    def speak(self, window: Window) -> None:
        """Send the next packet, and the next event when its turn has come. Never raises."""
        ...


class Conductor:
    """Owns the pacer of one load; a slot without a speaker is silent.

    `window` is replaced by `begin_window`: whoever receives reads it from here each time.
    """

    def __init__(self, model: LoadModel) -> None:
        self.window = Window()
        self._speakers: list[Speaker | None] = [None] * model.calls
        self._skipped_before = 0
        self._pacer = Pacer(model.calls, model.period_ns, self._on_turn)

    def seat(self, slot: int, speaker: Speaker | None) -> None:
        self._speakers[slot] = speaker

    def begin_window(self) -> None:
        self._pacer.reset()
        self._skipped_before = self._pacer.skipped
        self.window = Window()

    def end_window(self) -> WindowResult:
        """What was counted so far; the window goes on until the next one begins."""
        return self.window.result(
            lateness_ns=self._pacer.lateness_ns,
            skipped=self._pacer.skipped - self._skipped_before,
        )

    def close(self) -> None:
        self._pacer.close()

    def _on_turn(self, slot: int) -> None:
        speaker = self._speakers[slot]
        if speaker is not None:
            speaker.speak(self.window)
