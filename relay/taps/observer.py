"""Everything that watches calls, as one watch: recorder, reader, live events; and their completion.

On the event loop. When a call is over, the recorder's thread closes its record and the reader's
thread its transcript; then, and in this order, the folder gets what was read, and whoever waits for
finished recordings is told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import structlog

from relay.core.ids import CallId, Direction, LegName
from relay.core.quality import Histogram, LegSample
from relay.core.rfc3339 import rfc3339
from relay.stores.folders import Folder
from relay.taps.facts import CallFacts, EndFacts, PacketTap
from relay.taps.live import LiveEvents
from relay.taps.reader import Reader, ReaderTap
from relay.taps.recorder import CallTap, Recorder
from relay.taps.restore import keep

COMPLETE_TIMEOUT_S: Final = 45.0
"""For a call's threads to be done with it; a disk that fails is waited for by the recorder."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Completed:
    """A recorded call of which everything is in its folder."""

    folder: Folder
    duration_s: float
    has_audio: bool


class Watched:
    """One live call's: a `CallWatch`."""

    def __init__(
        self,
        facts: CallFacts,
        recorded: CallTap | None,
        read: ReaderTap,
        on_end: Callable[[Watched, EndFacts], None],
    ) -> None:
        self.facts = facts
        self.recorded = recorded
        self.read = read
        self.live = LiveEvents(facts)
        self._on_end = on_end
        self._packet = _both(read.packet, recorded.packet if recorded else None)

    @property
    def packet(self) -> PacketTap | None:
        return self._packet

    def event(self, direction: Direction, message: str | bytes, at_s: float) -> None:
        """Tells everybody."""
        if self.recorded is not None:
            self.recorded.event(direction, message, at_s)
        self.read.event(direction, message, at_s)
        self.live.event(direction, message, at_s)

    def end(self, facts: EndFacts) -> None:
        """The call is over."""
        self.live.end(facts)
        self._on_end(self, facts)

    def to_json(self) -> dict[str, Any]:
        """What `session.json` will have, as far as it is known."""
        found = {**_begin_json(self.facts), **self.read.snapshot().to_json()}
        found["quality"] = self.read.quality.to_json()
        if self.recorded is not None:
            found["recording"] = asdict(self.recorded.report())
        return found


class Observer:
    """All calls of a process. `recorder` None: nothing is kept; else `on_completed` is told of each
    folder that is complete."""

    def __init__(
        self,
        reader: Reader,
        recorder: Recorder | None = None,
        on_completed: Callable[[Completed], None] | None = None,
    ) -> None:
        self.reader = reader
        self.recorder = recorder
        self.on_completed = on_completed
        self._live: dict[CallId, Watched] = {}
        self._completing: dict[CallId, asyncio.Task[None]] = {}

    def watch(self, facts: CallFacts) -> Watched:
        """Begins to watch a call; a `Watcher`."""
        recorded = self.recorder.begin(facts) if self.recorder is not None else None
        watched = Watched(facts, recorded, self.reader.begin(facts), self._ended)
        self._live[facts.id] = watched
        return watched

    def find(self, call_id: str) -> Watched | None:
        """A live call's."""
        return self._live.get(CallId(call_id))

    def holds(self, call_id: str) -> bool:
        """Whether the call runs, or its folder is still being completed."""
        return CallId(call_id) in self._live or CallId(call_id) in self._completing

    def sample(
        self, call_id: CallId, legs: Mapping[LegName, LegSample], added_latency_ms: Histogram
    ) -> None:
        """Takes how a call's legs are at this moment, and what the relay has added until now."""
        watched = self._live.get(call_id)
        if watched is not None:
            watched.read.sample(time.monotonic(), legs)
            watched.read.quality.added_latency_ms = added_latency_ms

    def why_not_ready(self) -> str | None:
        """What of the recorder keeps a call from being recorded as it should."""
        if self.recorder is None:
            return None
        snapshot = self.recorder.snapshot()
        if snapshot.failing is not None:
            return f"Calls are not recorded: {snapshot.failing}."
        if not snapshot.is_healthy:
            return f"Calls are not recorded: the disk hangs since {snapshot.behind_s:.0f} s."
        return None

    async def completed(self, call_id: str) -> None:
        """Until everything of a call that is over is in its folder."""
        task = self._completing.get(CallId(call_id))
        if task is not None:
            await asyncio.wait({task})

    async def drain(self, timeout_s: float) -> None:
        """Until the folders of all calls that are over are complete, at most so long."""
        tasks = set(self._completing.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # -- the end of a call

    def _ended(self, watched: Watched, end: EndFacts) -> None:
        facts = watched.facts
        self._live.pop(facts.id, None)
        setup = end.details.get("setup_ms")
        watched.read.setup(setup if isinstance(setup, Mapping) else {})
        read = watched.read.end(end)
        recorded = watched.recorded.end(end) if watched.recorded is not None else None
        if recorded is None:
            return
        waiting = asyncio.gather(asyncio.wrap_future(recorded), asyncio.wrap_future(read))
        task = asyncio.create_task(
            self._complete(watched, end, waiting), name=f"completion of {facts.id}"
        )
        self._completing[facts.id] = task
        task.add_done_callback(lambda _: self._completing.pop(facts.id, None))

    async def _complete(self, watched: Watched, end: EndFacts, waiting: Any) -> None:
        session_id = watched.facts.id
        try:
            async with asyncio.timeout(COMPLETE_TIMEOUT_S):
                recorded, reading = await waiting
                await asyncio.to_thread(keep, recorded.folder, reading, watched.read.quality)
        except (OSError, TimeoutError) as error:
            log.warning("recording.not_completed", session_id=session_id, reason=repr(error))
            return
        self._completing.pop(watched.facts.id, None)  # who is told must not find it live
        if self.on_completed is not None:
            duration_s = end.ended_s - watched.facts.started_s
            has_audio = bool(recorded.report.audio)
            self.on_completed(Completed(recorded.folder, duration_s, has_audio))


def _begin_json(facts: CallFacts) -> dict[str, Any]:
    return {
        "id": facts.id,
        "state": "live",
        "started_at": rfc3339(facts.utc(facts.started_s)),
        "owner": facts.owner,
        "key_id": facts.key_id,
        "model": facts.model,
        "upstream_call_id": facts.upstream_call_id,
    }


def _both(one: PacketTap, other: PacketTap | None) -> PacketTap:
    if other is None:
        return one
    second = other

    def tap(direction: Direction, is_rtcp: bool, packet: bytes) -> None:
        one(direction, is_rtcp, packet)
        second(direction, is_rtcp, packet)

    return tap
