"""What watches and keeps calls, as the settings want it: built, started, and closed in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from relay.app.errors import CannotStart
from relay.core.ids import LegName
from relay.core.pricing import InvalidPrices, PriceTable
from relay.core.quality import LegSample
from relay.rtc import LegStats
from relay.session.calls import Calls
from relay.session.model import CallSnapshot
from relay.settings import RecordingSettings, Settings
from relay.stores.archive import InvalidUploadUrl
from relay.stores.database import InvalidStoreUrl
from relay.stores.options import store_options
from relay.stores.store import Store
from relay.taps.observer import Completed, Observer
from relay.taps.reader import Reader
from relay.taps.reading import Listeners
from relay.taps.recorder import Recorder, RecorderOptions
from relay.taps.recovery import Recovery
from relay.taps.render import Work
from relay.taps.renderer import Renderer
from relay.taps.usage import load_prices
from relay.telemetry.metrics import Metrics

SAMPLE_INTERVAL_S: Final = 5.0
COMPLETE_TIMEOUT_S: Final = 8.0
"""For the folders of calls that the server's end has ended."""

MARKED_TIMEOUT_S: Final = 2.0
"""For the folders to say what the next start has to render."""

CURRENT_TIMEOUT_S: Final = 5.0
"""For the index to learn of them; the next start finds the rest."""

log = structlog.get_logger(__name__)


def prices_of(settings: Settings) -> PriceTable:
    """Reads the prices. Blocks; raises CannotStart."""
    try:
        return load_prices(settings.upstream.prices)
    except (InvalidPrices, OSError) as error:
        raise CannotStart(f"upstream.prices cannot be used: {error}") from None


class Observation:
    """What a server has of it. `store` and `renderer` None: nothing is kept, and nothing was."""

    def __init__(self, observer: Observer, store: Store | None, renderer: Renderer | None) -> None:
        self.observer = observer
        self.store = store
        self.renderer = renderer

    @asynccontextmanager
    async def sampling(self, calls: Calls) -> AsyncIterator[None]:
        """Notes every few seconds how all calls' legs are, within the block."""
        task = asyncio.create_task(self._sample(calls))
        try:
            yield
        finally:
            await _end([task])

    async def _sample(self, calls: Calls) -> None:
        while True:
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            for snapshot in calls:
                self.observer.sample(snapshot.id, _samples(snapshot), snapshot.added_latency_ms)


@asynccontextmanager
async def observing(
    settings: Settings, prices: PriceTable, metrics: Metrics
) -> AsyncIterator[Observation]:
    """Watches calls within the block, at whose end there are to be none any more. Raises
    CannotStart."""
    # A relative path is of the directory that the server was started in.
    directory = await asyncio.to_thread(settings.recording.directory.absolute)
    recording = settings.recording.model_copy(update={"directory": directory})
    settings = settings.model_copy(update={"recording": recording})
    recorder = _recorder(recording)
    reader = Reader(prices, _listeners(metrics))
    observer = Observer(reader, recorder)
    store = await _store(settings, observer)
    renderer = recovery = None
    if store is not None:
        works = _works(recording)
        renderer = Renderer(prices=settings.upstream.prices, on_rendered=store.tell_finished)
        recovery = Recovery(directory, renderer, observer.holds, works)
        observer.on_completed = _on_completed(store, renderer, works)
    metrics.watch_recorder(None if recorder is None else lambda: recorder.snapshot().waiting)
    reader.start()
    if recorder is not None:
        recorder.start()
    parts = (store, renderer, recovery)
    tasks = [asyncio.create_task(part.run()) for part in parts if part is not None]
    try:
        yield Observation(observer, store, renderer)
    finally:
        await _close(observer, store, renderer)
        await _end(tasks)
        if store is not None:
            await store.close()


async def _close(observer: Observer, store: Store | None, renderer: Renderer | None) -> None:
    """The folders first, then the threads, then what the index has to learn."""
    await observer.drain(COMPLETE_TIMEOUT_S)
    if renderer is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(MARKED_TIMEOUT_S):
                await renderer.marked()
    await asyncio.to_thread(observer.reader.close)
    if observer.recorder is not None:
        await asyncio.to_thread(observer.recorder.close)
    if store is not None and store.failing is None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CURRENT_TIMEOUT_S):
                await store.current()


def _recorder(recording: RecordingSettings) -> Recorder | None:
    if recording.mode == "off":
        return None
    return Recorder(RecorderOptions(recording.directory, recording.mode))


async def _store(settings: Settings, observer: Observer) -> Store | None:
    """None where nothing is kept, nor ever was."""
    recording = settings.recording
    is_there = recording.mode != "off" or await asyncio.to_thread(recording.directory.is_dir)
    if not is_there:
        return None
    try:
        return Store(store_options(settings), observer.holds)
    except (InvalidStoreUrl, InvalidUploadUrl) as error:
        raise CannotStart(str(error)) from None


def _works(recording: RecordingSettings) -> tuple[Work, ...]:
    """What is made of a call's audio."""
    return ("mix", "waveform") if recording.mix else ("waveform",)


def _on_completed(
    store: Store, renderer: Renderer, works: tuple[Work, ...]
) -> Callable[[Completed], None]:
    """What is rendered is uploaded with the rest: the renderer tells when it is done."""

    def completed(call: Completed) -> None:
        if call.has_audio and renderer.put(call.folder, works, call.duration_s):
            store.tell(call.folder)
        else:
            store.tell_finished(call.folder)

    return completed


def _listeners(metrics: Metrics) -> Listeners:
    return Listeners(
        on_charge=lambda _facts, charge, _usage: metrics.charged(charge.tokens, charge.cost.usd),
        on_heard=lambda _facts, timing: metrics.heard(timing.latency_ms),
    )


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.error("observation.broke", exc_info=outcome)


def _samples(call: CallSnapshot) -> dict[LegName, LegSample]:
    legs: dict[LegName, LegStats | None] = {"client": call.client, "upstream": call.upstream}
    return {name: _sample(stats) for name, stats in legs.items() if stats is not None}


def _sample(stats: LegStats) -> LegSample:
    return LegSample(
        round_trip_s=stats.round_trip_s,
        media_round_trip_s=stats.media_round_trip_s,
        jitter_s=stats.jitter_s,
        received=stats.packets_received,
        lost=stats.packets_lost,
        sent=stats.packets_sent,
        remote_lost=stats.remote_packets_lost,
        pair="/".join(stats.pair_types) if stats.pair_types else None,
    )
