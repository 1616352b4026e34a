from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.loadtest.pacer import Pacer, Schedule
from relay.loadtest.timer import Ticker

PERIOD_NS = 20_000_000


def drained(schedule: Schedule, now_ns: int) -> list[tuple[int, int]]:
    turns = []
    while (turn := schedule.take(now_ns)) is not None:
        turns.append(turn)
    return turns


@given(slots=st.integers(1, 700), start_ns=st.integers(0, 2**62), periods=st.integers(1, 5))
def test_schedule_over_whole_periods_gives_each_slot_as_often_as_there_were_periods(
    slots: int, start_ns: int, periods: int
) -> None:
    schedule = Schedule(slots, PERIOD_NS, start_ns)

    turns = drained(schedule, start_ns + periods * PERIOD_NS - 1)

    assert [slot for slot, _ in turns] == list(range(slots)) * periods
    assert schedule.due_ns() == start_ns + periods * PERIOD_NS  # nothing drifts


@given(slots=st.integers(1, 700))
def test_schedule_spreads_its_slots_evenly(slots: int) -> None:
    schedule = Schedule(slots, PERIOD_NS, 0)

    due = []
    for _ in range(2 * slots):
        due.append(schedule.due_ns())
        schedule.take(due[-1])

    gaps = {later - earlier for earlier, later in pairwise(due)}
    assert max(gaps) - min(gaps) <= 1  # a nanosecond of rounding


def test_schedule_before_its_turn_gives_nothing() -> None:
    schedule = Schedule(2, PERIOD_NS, 1000)

    assert schedule.take(999) is None
    assert schedule.take(1000) == (0, 0)
    assert schedule.take(1000) is None
    assert schedule.take(1000 + PERIOD_NS // 2 + 5) == (1, 5)


def test_schedule_a_little_late_catches_up() -> None:
    schedule = Schedule(1, PERIOD_NS, 0)

    turns = drained(schedule, 3 * PERIOD_NS)

    assert [late for _, late in turns] == [3 * PERIOD_NS, 2 * PERIOD_NS, PERIOD_NS, 0]
    assert schedule.skipped == 0


def test_schedule_far_too_late_skips_whole_periods_and_counts_them() -> None:
    schedule = Schedule(4, PERIOD_NS, 0)

    turns = drained(schedule, 1000 * PERIOD_NS)

    assert schedule.skipped == 4 * 1000
    assert turns == [(0, 0)]


async def test_pacer_running_sends_every_slot_in_turn_at_the_pace() -> None:
    sent: list[int] = []
    enough = asyncio.Event()

    def send(slot: int) -> None:
        sent.append(slot)
        if len(sent) == 40:
            enough.set()

    started = time.monotonic()
    pacer = Pacer(4, PERIOD_NS, send)
    async with asyncio.timeout(10):
        await enough.wait()
    elapsed = time.monotonic() - started
    pacer.close()

    assert sent[:40] == [0, 1, 2, 3] * 10
    assert elapsed >= 9.75 * 0.02  # never ahead of its time
    assert len(pacer.lateness_ns) == len(sent)
    assert min(pacer.lateness_ns) >= 0


async def test_pacer_reset_begins_a_new_sample() -> None:
    sent = asyncio.Event()
    pacer = Pacer(1, 1_000_000, lambda _: sent.set())
    await asyncio.wait_for(sent.wait(), 10)

    pacer.reset()

    assert len(pacer.lateness_ns) == 0
    pacer.close()


async def test_ticker_closed_wakes_no_more_and_may_be_closed_again() -> None:
    woken = asyncio.Event()
    ticker = Ticker(1_000_000, woken.set)
    await asyncio.wait_for(woken.wait(), 10)

    ticker.close()
    ticker.close()
    woken.clear()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(woken.wait(), 0.05)


async def test_ticker_elsewhere_than_on_linux_wakes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.loadtest.timer.sys.platform", "darwin")
    woken = asyncio.Event()

    ticker = Ticker(1_000_000, woken.set)
    woken.clear()
    await asyncio.wait_for(woken.wait(), 10)

    ticker.close()
