"""Responses as they are heard: events and packets of one call, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from relay.core.timeline import ResponseTiming
from relay.taps.facts import CallFacts
from relay.taps.timeline import MAX_PACKETS, TimelineTap
from tests.taps.call import FACTS
from tests.taps.sounds import opus_tone, rtp

TONE = opus_tone(440, 1.0)
SILENCE = b"\xf8\xff\xfe"


class Ears:
    """A tap in virtual time; ms since the call's zero."""

    def __init__(self, **options: Any) -> None:
        self.heard: list[ResponseTiming] = []
        self.now_ms = 0.0
        self.sequence = 0
        self.tap = TimelineTap(FACTS, self._note, clock=self._clock, **options)

    def _note(self, facts: CallFacts, timing: ResponseTiming) -> None:
        self.heard.append(timing)

    def _clock(self) -> float:
        return FACTS.started_s + self.now_ms / 1000

    def down(self, at_ms: float, type_: str, **fields: Any) -> None:
        self.listen(at_ms)
        self.tap.handle("down", {"type": type_, **fields}, at_ms)

    def listen(self, until_ms: float) -> None:
        self.tap.listen(FACTS.started_s + until_ms / 1000)
        self.tap.publish()

    def stream(self, from_ms: int, to_ms: int, *, loud: bool = False, way: Any = "down") -> None:
        """Packets of 20 ms."""
        for n, at_ms in enumerate(range(from_ms, to_ms, 20)):
            self.now_ms = at_ms
            self.sequence += 1
            payload = TONE[n % len(TONE)] if loud else SILENCE
            self.tap.packet(way, False, rtp(self.sequence, payload))

    def ask(self, at_ms: float) -> None:
        self.down(at_ms, "input_audio_buffer.speech_stopped", item_id="i")
        self.down(at_ms + 10, "response.created", response={"id": "r"})


def test_response_is_heard_with_its_first_packet_that_has_sound() -> None:
    ears = Ears()
    ears.ask(1000)
    ears.stream(1020, 1500)
    ears.stream(1500, 2000, loud=True)

    ears.listen(3000)

    (timing,) = ears.heard
    assert timing.audible_ms == pytest.approx(1500, abs=21)  # the codec's first packet is faint
    assert ears.tap.timeline.responses == (timing,)
    assert timing.latency_ms == pytest.approx(500, abs=21)


def test_response_is_heard_whenever_it_is_looked_at() -> None:
    ears = Ears()
    ears.ask(1000)

    for at_ms in range(1000, 2000, 100):
        ears.stream(at_ms, at_ms + 100, loud=at_ms >= 1500)
        ears.listen(at_ms + 50)

    assert [timing.audible_ms for timing in ears.heard] == [pytest.approx(1500, abs=21)]


def test_response_is_not_heard_in_what_was_sent_before_it_or_by_the_client() -> None:
    ears = Ears()
    ears.stream(0, 1000, loud=True)
    ears.ask(1000)
    ears.stream(1020, 1500, loud=True, way="up")

    ears.listen(3000)

    assert ears.heard == []


def test_response_that_is_created_while_its_packets_come_is_heard_from_there() -> None:
    ears = Ears()
    ears.stream(0, 2000, loud=True)  # all of it is in before the event is read

    ears.ask(1400)
    ears.listen(3000)

    assert [timing.audible_ms for timing in ears.heard] == [pytest.approx(1420, abs=21)]


def test_response_is_not_heard_by_its_rtcp() -> None:
    ears = Ears()
    ears.ask(1000)
    ears.now_ms = 1100.0

    ears.tap.packet("down", True, rtp(1, TONE[5]))
    ears.listen(3000)

    assert ears.heard == []


def test_response_whose_packets_nobody_looked_at_in_time_is_not_guessed() -> None:
    ears = Ears()
    ears.ask(1000)

    ears.stream(1100, 1100 + 20 * (MAX_PACKETS + 1), loud=True)
    ears.listen(99_000)

    assert ears.heard == []
    assert ears.tap.timeline.responses[0].audible_ms is None


def test_response_is_heard_though_older_packets_were_let_go() -> None:
    ears = Ears()
    ears.stream(0, 20 * MAX_PACKETS * 3)
    end = 20 * MAX_PACKETS * 3
    ears.ask(end)

    ears.stream(end + 200, end + 400, loud=True)
    ears.listen(99_000)

    assert [timing.latency_ms for timing in ears.heard] == [pytest.approx(200, abs=21)]


def test_response_is_heard_by_the_senders_word_where_it_is_negotiated() -> None:
    ears = Ears(level_extension_id=1)  # `rtp` says −32 dBov
    ears.ask(1000)

    ears.stream(1100, 1200)
    ears.listen(3000)

    assert [timing.audible_ms for timing in ears.heard] == [pytest.approx(1100)]
