"""Meters of the live calls, for as long as somebody looks at them.

With the first reader taps are put into the calls' packet paths, calls that begin meanwhile get
theirs, and with the last reader all of them are gone: who does not look pays nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from relay.core.errors import Conflict, RateLimited
from relay.core.ids import CallId
from relay.rtc import Translator
from relay.session.call import Call
from relay.session.calls import Calls
from relay.taps.meter import Levels, Meter

TICK_S: Final = 0.2
MAX_READERS: Final = 32
RETRY_AFTER_S: Final = 10.0

_PAUSE_S: Final = 0.0005
"""Between two calls: the thread that decodes leaves the core to the packets."""

log = structlog.get_logger(__name__)

Readings = Mapping[CallId, Levels]


@dataclass(frozen=True, slots=True)
class _Metered:
    """A call's meter; `translator` None: it has no voice."""

    meter: Meter
    translator: Translator | None

    def remove(self) -> None:
        if self.translator is not None:
            self.translator.remove_tap(self.meter.tap)


class Reader:
    """One who looks: the latest levels, once each. Who is slow misses some."""

    def __init__(self, call_id: CallId | None) -> None:
        self.call_id = call_id
        self._latest: Readings = {}
        self._told = asyncio.Event()
        self._is_over = False

    def put(self, levels: Readings) -> None:
        if self.call_id is None:
            self._latest = levels
        elif self.call_id in levels:
            self._latest = {self.call_id: levels[self.call_id]}
        else:
            self._is_over = True
        self._told.set()

    def end(self) -> None:
        self._is_over = True
        self._told.set()

    async def next(self) -> Readings | None:
        """None: it is over, for good."""
        await self._told.wait()
        if self._is_over:
            return None
        self._told.clear()
        return self._latest


class Meters:
    """All of a process. Nothing that happens here reaches a call."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._readers: set[Reader] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def readers(self) -> int:
        return len(self._readers)

    @asynccontextmanager
    async def reading(self, call_id: str | None = None) -> AsyncIterator[Reader]:
        """Levels five times a second within the block: of all calls, or of one until it is over.
        Raises NotFound where that one is not live, RateLimited."""
        wanted = None if call_id is None else self._calls.live(call_id).id
        if len(self._readers) >= MAX_READERS or self._is_closed:
            raise RateLimited("As many read levels as may.", retry_after_s=RETRY_AFTER_S)
        reader = Reader(wanted)
        self._readers.add(reader)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="meters")
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            if not self._readers:
                await self._stop()

    async def close(self) -> None:
        """Ends all readers."""
        self._is_closed = True
        for reader in self._readers:
            reader.end()
        await self._stop()

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        worker = ThreadPoolExecutor(1, thread_name_prefix="meters")
        metered: dict[CallId, _Metered] = {}
        try:
            await self._measure(worker, metered)
        except Exception:
            log.exception("meters.broke")
            for reader in self._readers:
                reader.end()
        finally:
            worker.shutdown(wait=False)
            for one in metered.values():
                one.remove()

    async def _measure(self, worker: ThreadPoolExecutor, metered: dict[CallId, _Metered]) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time()
        while True:
            self._follow(metered)
            at = max(at + TICK_S, loop.time())
            await asyncio.sleep(at - loop.time())
            meters = [(call_id, one.meter) for call_id, one in metered.items()]
            levels = await loop.run_in_executor(worker, _read_all, meters)
            for reader in self._readers:
                reader.put(levels)

    def _follow(self, metered: dict[CallId, _Metered]) -> None:
        """Taps come and go with the calls, and with who looks at which."""
        wanted = {reader.call_id for reader in self._readers}
        live = {call.id: call for call in self._calls.up()}
        if None not in wanted:
            live = {call_id: call for call_id, call in live.items() if call_id in wanted}
        for call_id in metered.keys() - live.keys():
            metered.pop(call_id).remove()
        for call_id in live.keys() - metered.keys():
            metered[call_id] = _metered(live[call_id])


def _metered(call: Call) -> _Metered:
    try:
        translator, codecs = call.voices
    except Conflict:
        return _Metered(Meter({}), None)
    meter = Meter(codecs)
    translator.add_tap(meter.tap)
    return _Metered(meter, translator)


def _read_all(meters: Sequence[tuple[CallId, Meter]]) -> Readings:
    levels = {}
    for call_id, meter in meters:
        levels[call_id] = meter.read()
        time.sleep(_PAUSE_S)
    return levels
