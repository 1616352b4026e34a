from __future__ import annotations

import time
from array import array

from relay.loadtest.conductor import Conductor
from relay.loadtest.model import LoadModel
from relay.loadtest.window import Window, WindowResult


def result(window: Window) -> WindowResult:
    return window.result(lateness_ns=array("q", [1_000_000]), skipped=3)


def test_window_counts_round_trips_of_its_own_packets_only() -> None:
    before_ns = time.monotonic_ns()
    window = Window()

    window.echo_received(before_ns)
    window.echo_received(window.start_ns)
    window.event_received(before_ns)
    window.event_received(window.start_ns)

    found = result(window)
    assert (found.marks_echoed, found.events_echoed) == (1, 1)
    assert found.round_trip_ms is not None
    assert found.round_trip_ms.p50 >= 0


def test_window_result_with_nothing_measured_says_so() -> None:
    found = result(Window())

    assert found.round_trip_ms is None
    assert found.event_round_trip_ms is None
    assert found.sent_late_ms is not None
    assert found.sent_late_ms.p50 == 1.0
    assert found.turns_skipped == 3


def test_window_result_through_json_is_the_same() -> None:
    window = Window()
    window.packets_sent = 7
    window.echo_received(time.monotonic_ns() - 0)

    found = result(window)

    assert WindowResult.from_json(found.to_json()).to_json() == found.to_json()
    assert WindowResult.from_json(found.to_json()).packets_sent == 7


class Counting:
    def __init__(self) -> None:
        self.windows: list[Window] = []

    def speak(self, window: Window) -> None:
        self.windows.append(window)


async def test_conductor_lets_each_speaker_speak_into_the_window_of_the_moment() -> None:
    conductor = Conductor(LoadModel(calls=2))
    speaker = Counting()
    conductor.seat(0, speaker)
    first = conductor.window

    conductor._on_turn(0)
    conductor._on_turn(1)  # nobody sits there
    conductor.begin_window()
    conductor._on_turn(0)

    assert speaker.windows == [first, conductor.window]
    assert conductor.window is not first
    conductor.close()


async def test_conductor_does_not_ask_a_speaker_that_left() -> None:
    conductor = Conductor(LoadModel(calls=1))
    speaker = Counting()
    conductor.seat(0, speaker)

    conductor.seat(0, None)
    conductor._on_turn(0)

    assert speaker.windows == []
    conductor.close()
