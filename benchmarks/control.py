"""The workers from the side of the one who measures, and a measuring window over a chain."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from relay.loadtest.window import WindowResult

from .machine import CpuTimes, Site
from .process import Footprint, Measured, MeasurementError, python, running


class WorkerHandle:
    """One worker process; `order` is one command and its answer."""

    def __init__(self, process: Measured) -> None:
        self.process = process

    async def order(
        self, command: str, *, timeout_s: float = 30.0, **arguments: Any
    ) -> dict[str, Any]:
        self.process.require_alive()
        writer, reader = self.process.pipes
        writer.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        await writer.drain()
        try:
            line = await asyncio.wait_for(reader.readline(), timeout_s)
        except TimeoutError:
            raise MeasurementError(
                f"{self.process.name} did not {command} within {timeout_s:g} s"
            ) from None
        if not line:
            await asyncio.sleep(0.1)  # so that its status can be told
            self.process.require_alive()
            raise MeasurementError(f"{self.process.name} ended during {command}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MeasurementError(f"{self.process.name}, {command}: {answer['error']}")
        return answer


@contextlib.asynccontextmanager
async def worker(name: str, site: Site) -> AsyncIterator[WorkerHandle]:
    command = python("-m", "benchmarks.worker")
    async with running(
        name, command, core=site.load_core, log_dir=site.folder, piped=True
    ) as process:
        yield WorkerHandle(process)


QUIET_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait before a window, how long the window is, and how often to try for a window
    in which the machine is ours: `QUIET_SHARE` is what others may use of it."""

    warm_up_s: float
    window_s: float
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Reading:
    """A window over a chain: the load's own counts, and what the process between them used.

    `others_share` is the part of the machine (1.0 = all cores) that was used by none of ours, and
    taken by the hypervisor: above a few per cent the latencies are not to be trusted.
    """

    load: WindowResult
    cpu_ms_per_call_s: float
    footprint: Footprint
    others_share: float


async def read_window(
    load: WorkerHandle, subject: Measured, ours: list[Measured], *, calls: int, pace: Pace
) -> Reading:
    """Warms up, then measures `subject` while `load` runs. `ours` are all processes of the run.

    Of several tries the one counts that others disturbed least, whatever its figures are.
    """
    await asyncio.sleep(pace.warm_up_s)
    best = await _read_once(load, subject, ours, calls, pace.window_s)
    for _ in range(pace.tries - 1):
        if best.others_share <= QUIET_SHARE:
            break
        again = await _read_once(load, subject, ours, calls, pace.window_s)
        best = min(best, again, key=lambda reading: reading.others_share)
    return best


async def _read_once(
    load: WorkerHandle, subject: Measured, ours: list[Measured], calls: int, window_s: float
) -> Reading:
    await load.order("begin")
    machine = CpuTimes.now()
    ours_before_s = sum(process.cpu_s() for process in ours)
    loop = asyncio.get_running_loop()
    started_s, before_s = loop.time(), subject.cpu_s()
    await asyncio.sleep(window_s)
    used_s, elapsed_s = subject.cpu_s() - before_s, loop.time() - started_s
    ours_s = sum(process.cpu_s() for process in ours) - ours_before_s
    others_share = CpuTimes.now().others_share(machine, ours_s, elapsed_s)
    result = WindowResult.from_json(await load.order("end"))
    return Reading(
        load=result,
        cpu_ms_per_call_s=1000 * used_s / elapsed_s / calls,
        footprint=subject.footprint(),
        others_share=others_share,
    )
