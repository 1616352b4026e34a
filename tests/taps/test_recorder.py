"""The recorder with its thread: calls that begin and end on an event loop, disks that fail, and
callers that go wrong."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.core import eventline
from relay.core.ids import CallId
from relay.stores.events import read_events
from relay.stores.folders import Folder, UnsafeId
from relay.stores.verify import Verdict, verify
from relay.taps import recorder as module
from relay.taps.facts import CallFacts, EndFacts
from relay.taps.recorder import CallTap, Recorded, Recorder, RecorderOptions
from relay.taps.recording import Recording
from tests.stores.disk import fill, make_read_only, small_disk
from tests.taps.sounds import CODECS, opus_tone, rtp

WAIT_S = 10.0
TONE = opus_tone(440, 2.0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 512) as mounted:
        yield mounted


@asynccontextmanager
async def recording_to(
    directory: Path, on_recorded: Callable[[Recorded], None] | None = None, **options: object
) -> AsyncIterator[Recorder]:
    recorder = Recorder(RecorderOptions(directory, **options), on_recorded)  # type: ignore[arg-type]
    recorder.start()
    try:
        yield recorder
    finally:
        await asyncio.to_thread(recorder.close, WAIT_S)


def facts(name: str = "rtc_1") -> CallFacts:
    codecs = {"up": CODECS, "down": CODECS}
    return CallFacts(CallId(name), time.monotonic(), datetime.now(UTC), codecs)  # type: ignore[arg-type]


def ended() -> EndFacts:
    return EndFacts(time.monotonic(), "completed", "hung_up")


def say(tap: CallTap, first: int, count: int) -> None:
    assert tap.packet is not None
    for n in range(first, first + count):
        tap.packet("up", False, rtp(n, TONE[n % len(TONE)]))


async def recorded(tap: CallTap) -> Recorded:
    async with asyncio.timeout(WAIT_S):
        return await asyncio.wrap_future(tap.end(ended()))


async def events_of(folder: Folder) -> list[eventline.Recorded]:
    return await asyncio.to_thread(lambda: list(read_events(folder)))


async def verified(folder: Folder) -> Verdict:
    return await asyncio.to_thread(verify, folder)


async def until(condition: Callable[[], bool]) -> None:
    """The thread has no event to wait for: what it does is seen in its counters and files."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_call_from_beginning_to_end_is_recorded(tmp_path: Path) -> None:
    told: list[Recorded] = []
    async with recording_to(tmp_path, told.append) as recorder:
        tap = recorder.begin(facts())
        say(tap, 0, 50)
        tap.event("up", '{"type":"session.update"}', time.monotonic())

        result = await recorded(tap)

        assert told == [result]
        assert result.is_finished
        assert not result.report.lost
        assert result.report.audio[0].placed == 50
        assert (await verified(result.folder)).holds(strict=True)
        assert recorder.snapshot().calls == 0
        assert recorder.snapshot().is_healthy


async def test_calls_side_by_side_are_kept_apart(tmp_path: Path) -> None:
    async with recording_to(tmp_path) as recorder:
        taps = [recorder.begin(facts(f"rtc_{n}")) for n in range(7)]
        for n, tap in enumerate(taps):
            tap.event("up", json.dumps({"n": n}), time.monotonic())
            say(tap, 0, n)
        await until(lambda: recorder.snapshot().calls == 7 and not recorder.snapshot().waiting)

        results = [await recorded(tap) for tap in taps]

    for n, result in enumerate(results):
        events = await events_of(result.folder)
        assert json.loads(events[0].message) == {"n": n}
        assert sum(audio.placed for audio in result.report.audio) == n


async def test_call_that_is_ended_twice_ends_once(tmp_path: Path) -> None:
    async with recording_to(tmp_path) as recorder:
        tap = recorder.begin(facts())
        first, second = tap.end(ended()), tap.end(EndFacts(time.monotonic(), "failed", "again"))
        tap.event("up", "{}", time.monotonic())

        result = await asyncio.wrap_future(first)

    assert first is second
    session = await asyncio.to_thread(result.folder.session)
    assert session["end"] == {"outcome": "completed", "reason": "hung_up"}
    assert len(await events_of(result.folder)) == 1


async def test_call_whose_waiter_is_cancelled_is_recorded_all_the_same(tmp_path: Path) -> None:
    async with recording_to(tmp_path) as recorder:
        tap = recorder.begin(facts())
        waiter = asyncio.ensure_future(recorded(tap))
        await asyncio.sleep(0)

        waiter.cancel()

        await until(tap.finished.done)
        assert tap.finished.result().is_finished


async def test_recorder_that_is_closed_finishes_what_has_ended_and_keeps_the_rest(
    tmp_path: Path,
) -> None:
    async with recording_to(tmp_path) as recorder:
        over, running = recorder.begin(facts("rtc_1")), recorder.begin(facts("rtc_2"))
        for tap in (over, running):
            tap.event("up", "{}", time.monotonic())
        over.end(ended())

    assert over.finished.result().is_finished
    assert not running.finished.result().is_finished
    verdict = await verified(running.folder)
    assert verdict.holds()
    assert not verdict.is_finished
    assert verdict.chain.lines == 1


async def test_recorder_that_is_closed_twice_or_never_started_is_fine(tmp_path: Path) -> None:
    recorder = Recorder(RecorderOptions(tmp_path))
    recorder.close()

    async with recording_to(tmp_path) as started:
        await asyncio.to_thread(started.close)


async def test_recorder_of_events_alone_gives_no_packet_tap(tmp_path: Path) -> None:
    async with recording_to(tmp_path, mode="events") as recorder:
        assert recorder.begin(facts()).packet is None


async def test_call_with_an_id_that_is_no_name_is_refused(tmp_path: Path) -> None:
    async with recording_to(tmp_path) as recorder:
        with pytest.raises(UnsafeId):
            recorder.begin(facts("../../etc"))


async def test_callback_that_raises_harms_nobody(tmp_path: Path) -> None:
    def refuse(_: Recorded) -> None:
        raise RuntimeError("callback")

    with capture_logs() as logs:
        async with recording_to(tmp_path, refuse) as recorder:
            for name in ("rtc_1", "rtc_2"):
                assert (await recorded(recorder.begin(facts(name)))).is_finished

    assert [entry["event"] for entry in logs] == ["recording.callback_failed"] * 2


async def test_recording_that_breaks_is_given_up_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: Recording, now_s: float) -> None:
        if self.facts.id == "rtc_bad":
            raise ZeroDivisionError
        original(self, now_s)

    original = Recording.step
    monkeypatch.setattr(Recording, "step", step)
    with capture_logs() as logs:
        async with recording_to(tmp_path) as recorder:
            bad, good = recorder.begin(facts("rtc_bad")), recorder.begin(facts("rtc_good"))
            await until(bad.finished.done)
            bad.event("up", "x" * 1000, time.monotonic())

            assert not bad.finished.result().is_finished
            assert (await recorded(good)).is_finished
            assert (await recorded(bad)).is_finished is False

    assert [entry["event"] for entry in logs] == ["recording.broke", "recording.incomplete"]


async def test_ring_that_is_full_is_said_once_and_seen(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with recording_to(tmp_path, max_packets=10, max_events=2) as recorder:
            tap = recorder.begin(facts())
            say(tap, 0, 30)
            for _ in range(5):
                tap.event("up", "{}", time.monotonic())
            lost = recorder.snapshot().lost
            await until(lambda: not recorder.snapshot().waiting)
            say(tap, 30, 30)

            result = await recorded(tap)

            assert (lost.packets, lost.events) == (20, 3)
            assert result.report.lost.packets == recorder.snapshot().lost.packets >= 20

    assert [entry["event"] for entry in logs] == ["recording.overflowed", "recording.incomplete"]


class Caller:
    """Speaks at its pace until it is told to stop, whatever the disk does."""

    def __init__(self, tap: CallTap) -> None:
        self.tap = tap
        self.longest_s = 0.0
        self._task = asyncio.ensure_future(self._speak())

    async def _speak(self) -> None:
        n = 0
        while True:
            before = time.perf_counter()
            say(self.tap, n, 1)
            if n % 10 == 0:
                self.tap.event("up", json.dumps({"n": n}), time.monotonic())
            self.longest_s = max(self.longest_s, time.perf_counter() - before)
            n += 1
            await asyncio.sleep(0.02)

    async def stop(self) -> Recorded:
        self._task.cancel()
        return await recorded(self.tap)


async def during_an_outage(
    directory: Path, begin: Callable[[], object], end: Callable[[object], object], seconds: float
) -> tuple[Recorded, list[str], float]:
    """A call before, during and after; gives what was recorded, what was logged, and the longest
    that the caller was held."""
    with capture_logs() as logs:
        async with recording_to(directory) as recorder:
            caller = Caller(recorder.begin(facts()))
            await until(lambda: bool(caller.tap.report().audio))
            await asyncio.sleep(0.8)
            outage = begin()
            await until(lambda: recorder.snapshot().failing is not None)
            assert not recorder.snapshot().is_healthy
            await asyncio.sleep(seconds)
            end(outage)
            await until(lambda: recorder.snapshot().failing is None)
            await asyncio.sleep(0.5)
            result = await caller.stop()
    return result, [entry["event"] for entry in logs], caller.longest_s


async def test_disk_that_is_full_for_a_moment_costs_nothing(disk: Path) -> None:
    result, logged, longest_s = await during_an_outage(
        disk, lambda: fill(disk), lambda ballast: os.unlink(str(ballast)), 0.5
    )

    assert logged == ["recording.failed", "recording.resumed"]
    assert result.is_finished
    assert not result.report.lost
    assert longest_s < 0.5
    assert (await verified(result.folder)).holds(strict=True)


@pytest.mark.slow
async def test_disk_that_is_full_for_long_costs_what_is_counted(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.taps.tracks.MAX_PENDING_S", 2.0)
    monkeypatch.setattr("relay.taps.eventlog.MAX_PENDING_BYTES", 1_000)
    result, logged, longest_s = await during_an_outage(
        disk, lambda: fill(disk), lambda ballast: os.unlink(str(ballast)), 5.0
    )

    assert logged == ["recording.failed", "recording.resumed", "recording.incomplete"]
    assert result.is_finished
    assert 1.5 < result.report.lost.audio_s < 6.0
    assert result.report.lost.events > 0
    assert longest_s < 0.5
    verdict = await verified(result.folder)
    assert verdict.holds(strict=True)
    assert verdict.chain.lost == result.report.lost.events
    assert result.report.audio[0].duration_s == pytest.approx(
        verdict.audio[0].duration_s, abs=0.003
    )
    [audio] = (await asyncio.to_thread(result.folder.session))["recording"]["audio"]
    assert audio["lost_s"] == result.report.lost.audio_s


async def test_folder_that_is_read_only_until_later_begins_later(disk: Path) -> None:
    make_read_only(disk, read_only=True)
    with capture_logs() as logs:
        async with recording_to(disk) as recorder:
            caller = Caller(recorder.begin(facts()))
            await until(lambda: recorder.snapshot().failing is not None)
            make_read_only(disk, read_only=False)
            await until(lambda: recorder.snapshot().failing is None)

            result = await caller.stop()

    assert [entry["event"] for entry in logs] == ["recording.failed", "recording.resumed"]
    assert "Read-only" in logs[0]["detail"]
    assert not result.report.lost
    assert (await verified(result.folder)).holds(strict=True)


async def test_disk_that_never_comes_back_is_given_up_at_the_end(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FINISH_TIMEOUT_S", 0.5)
    fill(disk)
    async with recording_to(disk) as recorder:
        tap = recorder.begin(facts())
        say(tap, 0, 50)

        result = await recorded(tap)

        assert not result.is_finished
        assert recorder.snapshot().calls == 0
        await until(lambda: recorder.snapshot().failing is None)


async def test_disk_that_hangs_is_seen_and_never_felt(tmp_path: Path) -> None:
    """A named pipe that nobody reads is a disk that hangs: opening it waits for ever."""
    async with recording_to(tmp_path, max_packets=20) as recorder:
        tap = recorder.begin(facts())
        await asyncio.to_thread(tap.folder.make)
        os.mkfifo(tap.folder.path / ".client.ogg.part")
        before = time.perf_counter()
        say(tap, 0, 50)
        tap.event("up", "{}", time.monotonic())
        assert time.perf_counter() - before < 0.5
        await until(lambda: recorder.snapshot().behind_s > 0.3)

        await asyncio.to_thread(recorder.close, 0.1)
        say(tap, 50, 50)
        assert recorder.snapshot().lost.packets >= 50

        await release(tap.folder.path / ".client.ogg.part")


async def release(pipe: Path) -> None:
    """Lets the hanging thread go."""
    fd = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    threads = [thread for thread in threading.enumerate() if thread.name == "recorder"]
    for thread in threads:
        await asyncio.to_thread(thread.join, WAIT_S)
    os.close(fd)
