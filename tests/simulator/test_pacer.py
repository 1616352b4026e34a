"""The pace of 50 a second: even, spread, without drift."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.core import rtp
from relay.simulator.pacer import MAX_LAG_MS, Pacer
from relay.simulator.speaker import RtpStream, Speaker


@pytest.fixture
async def pacer() -> AsyncIterator[Pacer]:
    pacer = Pacer()
    yield pacer
    pacer.close()


class Counter:
    """Counts beats, and tells when there were enough."""

    def __init__(self, enough: int) -> None:
        self.beats: list[float] = []
        self.done = asyncio.Event()
        self._enough = enough

    def __call__(self, _now: float) -> None:
        self.beats.append(asyncio.get_running_loop().time())
        if len(self.beats) >= self._enough:
            self.done.set()


@pytest.mark.both_loops
async def test_pacer_beats_every_20_ms_without_drift(pacer: Pacer) -> None:
    counter = Counter(51)

    pacer.add(counter)
    await counter.done.wait()

    assert abs(counter.beats[50] - counter.beats[0] - 1.0) < 0.02


async def test_pacer_spreads_calls_over_its_slots(pacer: Pacer) -> None:
    slots = [pacer.add(lambda _: None) for _ in range(40)]

    assert sorted(slot.index for slot in slots) == sorted([*range(10)] * 4)
    pacer.remove(slots[3])
    assert pacer.add(lambda _: None).index == slots[3].index


async def test_pacer_after_a_short_stall_makes_up_for_it(pacer: Pacer) -> None:
    counter = Counter(10)
    pacer.add(counter)

    time.sleep(0.1)  # noqa: ASYNC251 — the stall
    await counter.done.wait()

    assert counter.beats[4] - counter.beats[0] < 0.03  # the missed ones came at once
    assert pacer.lost_beats == 0


async def test_pacer_after_a_long_stall_loses_beats_and_counts_them(pacer: Pacer) -> None:
    counter = Counter(MAX_LAG_MS // 20 + 1)
    pacer.add(counter)

    time.sleep(0.4)  # noqa: ASYNC251 — the stall
    await counter.done.wait()

    assert 5 <= pacer.lost_beats <= 15


async def test_pacer_whose_beat_raises_goes_on(
    pacer: Pacer, loop_errors: list[dict[str, Any]]
) -> None:
    def fail(_now: float) -> None:
        raise ZeroDivisionError

    counter = Counter(2)
    failing = pacer.add(fail)
    pacer.add(counter)

    async with asyncio.timeout(2.0):
        await counter.done.wait()
    pacer.remove(failing)

    assert all(isinstance(error["exception"], ZeroDivisionError) for error in loop_errors)
    loop_errors.clear()


async def test_speaker_cut_in_the_middle_sends_no_more(pacer: Pacer) -> None:
    sent: list[bytes] = []
    enough = asyncio.Event()

    def send(packet: bytes) -> None:
        sent.append(packet)
        if len(sent) == 3:
            speaker.cut(at_ms=70)
        if len(sent) == 4:
            enough.set()

    stream = RtpStream(ssrc=1, payload_type=111, clock_hz=48000, sequence=65534, timestamp=5)
    speaker = Speaker(stream, pacer, send)
    speaker.play([b"%d" % n for n in range(50)], now=0.0)
    await enough.wait()

    assert not speaker.is_speaking
    assert [packet[12:] for packet in sent] == [b"0", b"1", b"2", b"3"]  # 70 ms are in the fourth
    assert [rtp.sequence(packet) for packet in sent] == [65534, 65535, 0, 1]
    speaker.cut(at_ms=0)
    speaker.stop()


async def test_speaker_cut_before_it_began_sends_nothing(pacer: Pacer) -> None:
    sent: list[bytes] = []
    stream = RtpStream(ssrc=1, payload_type=111, clock_hz=48000, sequence=0, timestamp=0)
    speaker = Speaker(stream, pacer, sent.append)

    speaker.play([b"x"] * 50, now=0.0)
    speaker.cut(at_ms=0)

    assert not speaker.is_speaking
    assert sent == []


def test_stream_timestamps_follow_the_clock_through_silence_and_wrap() -> None:
    stream = RtpStream(ssrc=1, payload_type=0, clock_hz=8000, sequence=0, timestamp=2**32 - 8000)

    assert stream.timestamp_at(100.0) == 2**32 - 8000
    assert stream.timestamp_at(102.5) == 12_000
