"""Voice activity: levels in, turns out. Sans-I/O; its clock is the audio's own.

Energy with hysteresis and hangover above an adaptive noise floor: enough to tell speech from a
quiet room, not speech from music.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.simulator.session_config import TurnDetection

SILENCE_DBFS = -96.0
"""What digital silence counts as, and where nothing arrives at all."""

ONSET_MS = 60
"""Shorter than any syllable, longer than a click."""

HYSTERESIS_DB = 6.0
"""Speech goes on at a level this far below the one that starts it."""

FLOOR_MARGIN_DB = 10.0
FLOOR_RISE_DB_PER_S = 2.0
"""The floor falls at once and rises slowly: pauses between words keep it down, a hum lifts it."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """`audio_start_ms` includes the prefix padding."""

    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """`audio_end_ms` includes the silence that ended the turn; `audio_start_ms` is its start's."""

    audio_start_ms: int
    audio_end_ms: int


def threshold_dbfs(threshold: float) -> float:
    """The API's 0 to 1 as a level: 0.5 is −40 dBFS, 0 is −60, 1 is −20."""
    return -60.0 + 40.0 * threshold


class VoiceActivity:
    """One session's turn detector. Times are ms of input audio since its beginning.

    What is missing from the timeline (discontinuous transmission, loss) counts as silence.
    """

    def __init__(self, settings: TurnDetection | None) -> None:
        self._settings = settings
        self._position_ms = 0.0
        self._floor_dbfs = SILENCE_DBFS
        self._loud_ms = 0.0
        self._quiet_ms = 0.0
        self._start_ms: int | None = None

    @property
    def position_ms(self) -> int:
        """How much input audio there has been."""
        return round(self._position_ms)

    @property
    def is_speaking(self) -> bool:
        return self._start_ms is not None

    def configure(self, settings: TurnDetection | None) -> None:
        """Takes new settings; None ends detection, and with it a turn that is open."""
        self._settings = settings
        if settings is None:
            self.abandon()

    def abandon(self) -> None:
        """Forgets the turn that is open: it was committed or cleared by hand."""
        self._start_ms = None
        self._loud_ms = 0.0

    def hear(
        self, level_dbfs: float, duration_ms: float, at_ms: float
    ) -> list[SpeechStarted | SpeechStopped]:
        """Takes a frame that begins at `at_ms`; a hole before it is silence."""
        events = self.silence_until(at_ms)
        events += self._advance(level_dbfs, duration_ms)
        return events

    def silence_until(self, at_ms: float) -> list[SpeechStarted | SpeechStopped]:
        hole_ms = at_ms - self._position_ms
        return self._advance(SILENCE_DBFS, hole_ms) if hole_ms > 0 else []

    def _advance(
        self, level_dbfs: float, duration_ms: float
    ) -> list[SpeechStarted | SpeechStopped]:
        self._position_ms += duration_ms
        if self._settings is None:
            return []
        self._follow_floor(level_dbfs, duration_ms)
        if self._start_ms is None:
            return self._look_for_start(self._settings, level_dbfs, duration_ms)
        return self._look_for_stop(self._settings, level_dbfs, duration_ms)

    def _follow_floor(self, level_dbfs: float, duration_ms: float) -> None:
        risen = self._floor_dbfs + FLOOR_RISE_DB_PER_S * duration_ms / 1000
        self._floor_dbfs = min(level_dbfs, risen)

    def _level_needed(self, settings: TurnDetection) -> float:
        return max(threshold_dbfs(settings.threshold), self._floor_dbfs + FLOOR_MARGIN_DB)

    def _look_for_start(
        self, settings: TurnDetection, level_dbfs: float, duration_ms: float
    ) -> list[SpeechStarted | SpeechStopped]:
        if level_dbfs < self._level_needed(settings):
            self._loud_ms = 0.0
            return []
        self._loud_ms += duration_ms
        if self._loud_ms < ONSET_MS:
            return []
        onset_ms = self._position_ms - self._loud_ms
        self._start_ms = max(0, round(onset_ms - settings.prefix_padding_ms))
        self._loud_ms = self._quiet_ms = 0.0
        return [SpeechStarted(self._start_ms)]

    def _look_for_stop(
        self, settings: TurnDetection, level_dbfs: float, duration_ms: float
    ) -> list[SpeechStarted | SpeechStopped]:
        if level_dbfs >= self._level_needed(settings) - HYSTERESIS_DB:
            self._quiet_ms = 0.0
            return []
        self._quiet_ms += duration_ms
        if self._quiet_ms < settings.silence_duration_ms:
            return []
        assert self._start_ms is not None
        # A long hole ends the turn where the silence became long enough, not where the hole ends.
        end_ms = round(self._position_ms - (self._quiet_ms - settings.silence_duration_ms))
        start_ms, self._start_ms = self._start_ms, None
        return [SpeechStopped(start_ms, end_ms)]
