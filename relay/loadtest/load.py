"""A whole load: opens its calls, lets them speak, and hangs up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from relay.rtc import CertificateStore, IceOptions, Leg, Sockets

from .call import LoadCall, SetupTimes
from .conductor import Conductor
from .model import LoadModel
from .signaling import CallFailed, Signaling
from .statistics import Percentiles
from .voice import Voice
from .window import WindowResult

_OPENING_AT_ONCE = 32


@dataclass(slots=True)
class Openings:
    """How the calls of a load came about: times in ms, failures by reason."""

    answer_ms: list[float] = field(default_factory=list)
    connected_ms: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, times: SetupTimes) -> None:
        self.answer_ms.append(times.answer_ms)
        self.connected_ms.append(times.connected_ms)

    @property
    def opened(self) -> int:
        return len(self.answer_ms)

    def to_json(self) -> dict[str, object]:
        answer, connected = Percentiles.of(self.answer_ms), Percentiles.of(self.connected_ms)
        return {
            "opened": self.opened,
            "failures": dict(self.failures),
            "answer_ms": answer and answer.to_json(),
            "connected_ms": connected and connected.to_json(),
        }


class Load:
    """Real calls to one server. `open` once, then windows, then `close`, in any case.

    `voice_of` gives each call, by its number, what it says; `progress` is called with the number
    of calls that were tried so far.
    """

    def __init__(
        self,
        url: str,
        model: LoadModel,
        voice_of: Callable[[int], Voice],
        *,
        api_key: str | None = None,
        via_port: int | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.openings = Openings()
        self._model = model
        self._voice_of = voice_of
        self._via_port = via_port
        self._progress = progress
        self._signaling = Signaling(url, api_key)
        self._sockets = Sockets(IceOptions())  # an offering leg opens its own
        self._certificates = CertificateStore()
        self._conductor = Conductor(model)
        self._calls: list[LoadCall] = []

    async def open(self) -> Openings:
        """Opens the calls one after another at the model's rate; a failed one is counted."""
        gate = asyncio.Semaphore(_OPENING_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for slot in range(self._model.calls):
                await gate.acquire()
                task = group.create_task(self._open_call(slot))
                task.add_done_callback(lambda _: gate.release())
                await asyncio.sleep(1 / self._model.opened_per_s)
        return self.openings

    @property
    def calls_up(self) -> int:
        return sum(call.is_up for call in self._calls)

    def begin_window(self) -> None:
        self._conductor.begin_window()

    def end_window(self) -> WindowResult:
        return self._conductor.end_window()

    async def close(self) -> None:
        """Hangs up every call and frees everything. Twice is fine."""
        self._conductor.close()
        calls, self._calls = self._calls, []
        await asyncio.gather(*(call.close(self._signaling) for call in calls))
        await self._signaling.close()
        self._sockets.close()

    async def _open_call(self, slot: int) -> None:
        leg = Leg("upstream", self._sockets, self._certificates.current(), offers=True)
        call = LoadCall(
            slot,
            self._model,
            self._voice_of(slot),
            self._conductor,
            leg,
            via_port=self._via_port,
        )
        self._calls.append(call)
        try:
            self.openings.add(await call.open(self._signaling))
        except CallFailed as failure:
            self.openings.failures[failure.reason] += 1
        else:
            self._conductor.seat(slot, call)
        self._progress(self.openings.opened + self.openings.failures.total())
