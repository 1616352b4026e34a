"""Voice activity: hysteresis, hangover, noise, holes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.session_config import TurnDetection
from relay.simulator.vad import SpeechStarted, SpeechStopped, VoiceActivity

Events = list[SpeechStarted | SpeechStopped]


def heard(vad: VoiceActivity, *stretches: tuple[float, int]) -> Events:
    """Feeds (level in dBFS, ms) in frames of 20 ms."""
    events: Events = []
    for level_dbfs, duration_ms in stretches:
        for _ in range(duration_ms // 20):
            events += vad.hear(level_dbfs, 20, vad.position_ms)
    return events


def test_vad_given_speech_between_silences_finds_its_bounds() -> None:
    vad = VoiceActivity(TurnDetection())

    events = heard(vad, (-90, 1000), (-25, 1000), (-90, 1000))

    assert events == [SpeechStarted(700), SpeechStopped(700, 2500)]


def test_vad_given_a_click_stays_quiet() -> None:
    vad = VoiceActivity(TurnDetection())

    assert heard(vad, (-90, 500), (-10, 40), (-90, 500)) == []


def test_vad_given_short_pauses_keeps_the_turn_open() -> None:
    vad = VoiceActivity(TurnDetection())

    events = heard(vad, *[(-25, 200), (-60, 480)] * 5)

    assert events == [SpeechStarted(0)]


def test_vad_in_speech_goes_on_below_the_level_that_started_it() -> None:
    quieter = -43.0  # below the −40 dBFS of a start, above the −46 of an end

    assert heard(VoiceActivity(TurnDetection()), (quieter, 1000)) == []
    assert heard(VoiceActivity(TurnDetection()), (-30, 100), (quieter, 1000)) == [SpeechStarted(0)]


def test_vad_threshold_decides_what_is_loud() -> None:
    assert heard(VoiceActivity(TurnDetection(threshold=0.0)), (-55, 100))
    assert not heard(VoiceActivity(TurnDetection(threshold=1.0)), (-25, 100))


def test_vad_in_a_steady_hum_learns_it_and_still_hears_speech() -> None:
    vad = VoiceActivity(TurnDetection())
    learned = heard(vad, (-35, 40_000))
    assert [type(event) for event in learned] == [SpeechStarted, SpeechStopped]

    assert [type(event) for event in heard(vad, (-18, 500))] == [SpeechStarted]


def test_vad_given_a_hole_counts_it_as_silence() -> None:
    vad = VoiceActivity(TurnDetection())
    heard(vad, (-25, 1000))

    events = vad.hear(-25, 20, 5000)

    assert events == [SpeechStopped(0, 1500)]
    assert vad.position_ms == 5020


@given(st.lists(st.tuples(st.floats(-96, 0), st.floats(0, 120), st.floats(0, 3000)), max_size=100))
def test_vad_events_alternate_and_never_go_back(frames: list[tuple[float, float, float]]) -> None:
    vad = VoiceActivity(TurnDetection())
    events: Events = []
    at_ms = 0.0

    for level_dbfs, duration_ms, hole_ms in frames:
        at_ms += hole_ms
        events += vad.hear(level_dbfs, duration_ms, at_ms)
        at_ms += duration_ms

    expected = [SpeechStarted, SpeechStopped] * len(events)
    assert [type(event) for event in events] == expected[: len(events)]
    ends = [event.audio_end_ms for event in events if isinstance(event, SpeechStopped)]
    assert ends == sorted(ends)
    assert all(
        event.audio_start_ms <= event.audio_end_ms <= vad.position_ms
        for event in events
        if isinstance(event, SpeechStopped)
    )
