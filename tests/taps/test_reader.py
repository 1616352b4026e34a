"""The reader with its thread: calls that begin and end on an event loop."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.core.ids import CallId
from relay.core.quality import LegSample
from relay.core.timeline import ResponseTiming
from relay.core.usage import CallUsage, Charge
from relay.session.watching import CallWatch, Watcher
from relay.taps.facts import CallFacts, EndFacts
from relay.taps.reader import Reader, ReaderOptions, ReaderTap
from relay.taps.reading import CallReading, Listeners, Reading
from relay.taps.usage import load_prices
from tests.core.talk import message
from tests.taps.call import FACTS
from tests.taps.rehearsal import everything
from tests.taps.sounds import opus_tone, rtp

WAIT_S = 10.0
PRICES = load_prices()
TONE = opus_tone(440, 1.0)


@asynccontextmanager
async def reading(listeners: Listeners | None = None, **options: int) -> AsyncIterator[Reader]:
    reader = Reader(PRICES, listeners, ReaderOptions(**options))
    reader.start()
    try:
        yield reader
    finally:
        await asyncio.to_thread(reader.close, WAIT_S)


def facts(name: str = "rtc_1") -> CallFacts:
    return replace(FACTS, id=CallId(name), started_s=time.monotonic(), started_at=datetime.now(UTC))


def say(tap: ReaderTap, type_: str, **fields: Any) -> None:
    tap.event("down", json.dumps({"type": type_, **fields}), time.monotonic())


def over(later_s: float = 0.0) -> EndFacts:
    return EndFacts(time.monotonic() + later_s, "completed", "hung_up")


def write(tap: ReaderTap, item_id: str, text: str) -> None:
    item = message(item_id, "user", {"type": "input_text", "text": text})
    say(tap, "conversation.item.added", item=item)


async def ended(tap: ReaderTap) -> CallReading:
    async with asyncio.timeout(WAIT_S):
        return await asyncio.wrap_future(tap.end(over()))


async def test_reader_of_a_whole_call_has_read_all_when_it_ends() -> None:
    stage = everything()
    async with reading() as reader:
        tap = reader.begin(facts())
        for way, event, _ in stage.spoken:
            tap.event(way, json.dumps(event), time.monotonic())

        found = await ended(tap)

    assert len(found.transcript.turns) == 12
    assert found.transcript.is_final
    assert found.usage.cost.usd > 0
    assert (found.lost, found.unread) == (0, 0)
    assert tap.snapshot() == found
    assert (tap.transcript, tap.usage, tap.timeline) == (
        found.transcript, found.usage, found.timeline,
    )  # fmt: skip


async def test_reader_is_a_watcher_of_calls() -> None:
    async with reading() as reader:
        watcher: Watcher = reader.begin
        watch: CallWatch = watcher(facts())

        assert watch.packet is not None
        watch.end(over())


async def test_reader_of_a_call_that_runs_tells_what_is_said() -> None:
    loop, said = asyncio.get_running_loop(), asyncio.Queue[str]()

    def turns(of: CallFacts, changes: Any) -> None:
        for change in changes:
            loop.call_soon_threadsafe(said.put_nowait, f"{of.id}: {change.turn.text}")

    async with reading(Listeners(on_turns=turns)) as reader, asyncio.timeout(WAIT_S):
        first, second = reader.begin(facts("rtc_1")), reader.begin(facts("rtc_2"))

        write(first, "a", "one")
        assert await said.get() == "rtc_1: one"
        write(second, "a", "two")
        assert await said.get() == "rtc_2: two"

        assert [turn.text for turn in first.transcript.turns] == ["one"]
        assert not first.transcript.is_final
        assert reader.snapshot().calls == 2


async def test_reader_hears_a_response_by_its_packets() -> None:
    heard: list[ResponseTiming] = []

    async with reading(Listeners(on_heard=lambda _, timing: heard.append(timing))) as reader:
        tap = reader.begin(facts())
        say(tap, "input_audio_buffer.speech_stopped", item_id="i")
        say(tap, "response.created", response={"id": "r"})
        for n in range(3):
            tap.packet("down", False, rtp(n, b"\xf8\xff\xfe"))
        before = time.monotonic()
        for n in range(3, 10):
            tap.packet("down", False, rtp(n, TONE[n]))
        after = time.monotonic()

        found = await ended(tap)

    assert found.timeline.responses == tuple(heard)
    (timing,) = heard
    assert timing.audible_ms is not None
    started_s = found.facts.started_s
    assert before <= started_s + timing.audible_ms / 1000 <= after
    assert timing.latency_ms is not None


async def test_reader_tells_each_charge_of_each_call() -> None:
    charged: list[tuple[str, int]] = []

    def charge(of: CallFacts, _charge: Charge, usage: CallUsage) -> None:
        charged.append((of.id, usage.lines[0].count))

    response = {"id": "r", "usage": {"input_token_details": {"text_tokens": 1}}}
    async with reading(Listeners(on_charge=charge)) as reader:
        taps = [reader.begin(facts(f"rtc_{n}")) for n in range(3)]
        for tap in taps:
            say(tap, "response.done", response=response)
            say(tap, "response.done", response=response)
        for tap in taps:
            await ended(tap)

    assert sorted(charged) == [("rtc_0", 1), ("rtc_1", 1), ("rtc_2", 1)]


async def test_reader_that_is_flooded_counts_what_it_lost_and_reads_the_rest() -> None:
    async with reading(max_events=10) as reader:
        tap = reader.begin(facts())
        for n in range(100):  # at once: nobody reads in between
            write(tap, f"i{n}", "x")

        found = await ended(tap)

        assert found.lost + len(found.transcript.turns) == 100
        assert found.lost >= 80
        assert reader.snapshot().lost == found.lost


async def test_reader_takes_no_more_bytes_than_all_calls_may_have() -> None:
    async with reading(max_total_event_bytes=10_000) as reader:
        taps = [reader.begin(facts(f"rtc_{n}")) for n in range(2)]
        for tap in taps:
            write(tap, "i", "x" * 6_000)

        found = [await ended(tap) for tap in taps]

    assert [reading.lost for reading in found] == [0, 1]


async def test_reader_after_the_end_takes_nothing_and_ending_again_is_fine() -> None:
    async with reading() as reader:
        tap = reader.begin(facts())
        write(tap, "a", "one")
        first = tap.end(over())

        write(tap, "b", "two")
        second = tap.end(over(99))

        assert first is second
        assert len((await ended(tap)).transcript.turns) == 1
        assert reader.snapshot().calls == 0


async def test_reader_whose_result_nobody_waits_for_any_more_goes_on() -> None:
    async with reading() as reader:
        tap = reader.begin(facts())
        asyncio.wrap_future(tap.end(over())).cancel()

        other = reader.begin(facts("rtc_2"))
        write(other, "a", "one")

        assert len((await ended(other)).transcript.turns) == 1
        assert not tap.finished.cancelled()


async def test_reader_that_closes_finishes_the_calls_that_run() -> None:
    async with reading() as reader:
        tap = reader.begin(facts())
        write(tap, "a", "one")

    found = tap.finished.result(timeout=0)
    assert found.transcript.is_final
    assert [turn.text for turn in found.transcript.turns] == ["one"]


async def test_reader_with_a_defect_in_one_call_serves_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(self: Reading, direction: str, message: str, at_s: float) -> None:
        if self.facts.id == "rtc_bad":
            raise RuntimeError("a defect")
        original(self, direction, message, at_s)  # type: ignore[arg-type]

    original = Reading.event
    monkeypatch.setattr(Reading, "event", broken)

    with capture_logs() as logs:
        async with reading() as reader:
            bad, good = reader.begin(facts("rtc_bad")), reader.begin(facts("rtc_good"))
            write(bad, "a", "one")
            write(good, "a", "one")

            assert (await ended(bad)).transcript.turns == ()
            assert len((await ended(good)).transcript.turns) == 1

    assert [(entry["event"], entry["session_id"]) for entry in logs] == [
        ("reading.broke", "rtc_bad")
    ]


async def test_reader_keeps_quality_as_the_event_loop_tells_it() -> None:
    async with reading() as reader:
        tap = reader.begin(facts())
        at_s = tap.reading.facts.started_s

        tap.setup({"gather": 2.5, "upstream": None})
        tap.sample(at_s + 5, {"client": LegSample(0.02, received=250)})
        tap.sample(at_s + 10, {"client": LegSample(0.02, received=500),
                               "upstream": LegSample(0.04)})  # fmt: skip

        told = tap.quality.to_json()
        assert told["setup_ms"] == {"gather": 2.5}
        assert told["legs"]["client"]["points"]["at_ms"] == [
            pytest.approx(5000, abs=1), pytest.approx(10_000, abs=1),
        ]  # fmt: skip
        assert told["legs"]["upstream"]["round_trip_ms"]["p50"] == 40.0


async def test_reader_that_reads_a_flood_lets_the_event_loop_run() -> None:
    """Its work comes in portions; the loop is never kept for long."""
    stage = everything()
    messages = [(way, json.dumps(event)) for way, event, _ in stage.spoken]
    async with reading() as reader:
        taps = [reader.begin(facts(f"rtc_{n}")) for n in range(20)]
        for tap in taps:
            for way, text in messages:
                tap.event(way, text, time.monotonic())

        late, ending = [], asyncio.gather(*map(ended, taps))
        while not ending.done():
            began = time.perf_counter()
            await asyncio.sleep(0)
            late.append(time.perf_counter() - began)
        found = await ending

    assert all(len(reading.transcript.turns) == 12 for reading in found)
    late.sort()
    assert late[int(len(late) * 0.99)] < 0.02  # 5 ms is Python's own switching interval
