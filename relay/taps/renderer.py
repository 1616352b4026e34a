"""Has recordings rendered (mix, waveform, a dead call's transcript), one after the other, each by a
process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from relay.stores import locks
from relay.stores.folders import Folder
from relay.stores.locks import FolderInUse
from relay.stores.reading import state_of
from relay.taps.render import BUSY, FILES, Work, remove_parts

MAX_WAITING: Final = 1000
MAX_FAILURES: Final = 1000
MIN_TIMEOUT_S: Final = 120.0
UNKNOWN_S: Final = 3600.0
"""A call's length, for its timeout, where nobody knows it."""

FORGET_FAILURE_S: Final = 600.0
"""What failed may be asked for again: the disk was full, perhaps."""

_PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "SYSTEMROOT", "TMPDIR")
"""Of the environment; it has keys that a rendering has no use for."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Job:
    folder: Folder
    works: frozenset[Work]
    timeout_s: float


class Renderer:
    """`run` belongs to the application's tasks. All of it on the event loop.

    `prices` is the operator's file, if any; `on_rendered` is told of each folder that was at work,
    whatever became of it.
    """

    def __init__(
        self,
        *,
        prices: Path | None = None,
        min_timeout_s: float = MIN_TIMEOUT_S,
        on_rendered: Callable[[Folder], None] | None = None,
    ) -> None:
        self.on_rendered = on_rendered
        self._prices = prices
        self._min_timeout_s = min_timeout_s
        self._waiting: dict[Path, _Job] = {}
        self._unmarked: asyncio.Queue[_Job] = asyncio.Queue(MAX_WAITING)
        self._running: _Job | None = None
        self._told = asyncio.Event()
        self._took = asyncio.Event()
        self._failures: dict[Path, tuple[float, str]] = {}

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def put(
        self,
        folder: Folder,
        works: Collection[Work],
        duration_s: float | None = None,
        *,
        first: bool = False,
    ) -> bool:
        """Has a recording rendered when its turn comes, with `first` as the next one; False, and a
        line in the log, where too many wait. What waits or is at work already is not done twice.
        It gets as long as the call took, and never less than `min_timeout_s`."""
        running = self._running
        if running and running.folder.path == folder.path and running.works.issuperset(works):
            return True
        known = self._waiting.get(folder.path)
        if known is None and len(self._waiting) >= MAX_WAITING:
            log.warning("rendering.refused", session_id=folder.id, waiting=len(self._waiting))
            return False
        timeout_s = max(self._min_timeout_s, UNKNOWN_S if duration_s is None else duration_s)
        job = _Job(folder, frozenset(works) | (known.works if known else frozenset()), timeout_s)
        if first:
            others = {path: other for path, other in self._waiting.items() if path != folder.path}
            self._waiting = {folder.path: job, **others}
        else:
            self._waiting[folder.path] = job  # where it was, if it was there
        if known is None or job.works > known.works:
            with suppress(asyncio.QueueFull):  # on a disk that hangs; it is rendered all the same
                self._unmarked.put_nowait(job)
        self._told.set()
        return True

    def failure(self, folder: Folder) -> str | None:
        """Why the folder's last rendering failed, unless that is long ago; None: it did not."""
        at, reason = self._failures.get(folder.path, (0.0, None))
        return reason if time.monotonic() - at < FORGET_FAILURE_S else None

    async def has_room(self) -> None:
        """Until few wait, for who has many."""
        while len(self._waiting) > MAX_WAITING // 10:
            self._took.clear()
            await self._took.wait()

    async def marked(self) -> None:
        """Until each folder that waits says so itself, and would be found by the next start; its
        caller gives the deadline."""
        await self._unmarked.join()

    async def run(self) -> None:
        """Renders until it is cancelled, which ends the process that is at work."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._mark())
            tasks.create_task(self._work())

    # -- what waits

    async def _mark(self) -> None:
        while True:
            job = await self._unmarked.get()
            try:
                with suppress(OSError):
                    await asyncio.to_thread(job.folder.edit_session, _marker(job.works))
            finally:
                self._unmarked.task_done()

    async def _next(self) -> _Job:
        while not self._waiting:
            self._told.clear()
            await self._told.wait()
        self._running = self._waiting.pop(next(iter(self._waiting)))
        self._took.set()
        return self._running

    # -- what is at work

    async def _work(self) -> None:
        while True:
            job = await self._next()
            try:
                await self._serve(job)
            finally:
                self._running = None
            if self.on_rendered is not None:
                self.on_rendered(job.folder)

    async def _serve(self, job: _Job) -> None:
        started, folder = time.monotonic(), job.folder
        reason = await self._render(job)
        if reason is None:
            self._failures.pop(folder.path, None)
            took_s = round(time.monotonic() - started, 3)
            works = sorted(job.works)
            log.info("rendering.finished", session_id=folder.id, works=works, took_s=took_s)
            return
        log.warning("rendering.failed", session_id=folder.id, reason=reason)
        self._failures.pop(folder.path, None)
        self._failures[folder.path] = (time.monotonic(), reason)
        if len(self._failures) > MAX_FAILURES:
            del self._failures[next(iter(self._failures))]
        with suppress(OSError):
            await asyncio.to_thread(folder.edit_session, _failed(job.works, reason))

    async def _render(self, job: _Job) -> str | None:
        """Why there is nothing; None where there is, or somebody else is at it."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(job),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(os.environ),
            )
        except OSError as error:
            return str(error)
        try:
            async with asyncio.timeout(job.timeout_s):
                _, told = await process.communicate()
        except TimeoutError:
            return f"it took longer than {job.timeout_s:g} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
                await asyncio.to_thread(_clean, job.folder)
        if process.returncode in (0, BUSY):
            return None
        lines = told.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with {process.returncode}"

    def _command(self, job: _Job) -> list[str]:
        prices = [] if self._prices is None else ["--prices", str(self._prices)]
        program = [sys.executable, "-m", "relay.taps.render"]
        return [*program, *prices, "--", str(job.folder.path), *sorted(job.works)]


def _clean(folder: Folder) -> None:
    """After a process that was killed."""
    with suppress(OSError, FolderInUse), locks.rendering(folder):
        remove_parts(folder)


Edit = Callable[[dict[str, Any]], None]


def _marker(works: Collection[Work]) -> Edit:
    """Says that they wait, unless they are at work by now, or done."""

    def mark(session: dict[str, Any]) -> None:
        for work in FILES.keys() & works:
            if state_of(session, work) not in ("running", "done"):
                session[work] = {"state": "waiting"}

    return mark


def _failed(works: Collection[Work], reason: str) -> Edit:
    def fail(session: dict[str, Any]) -> None:
        for work in FILES.keys() & works:
            if state_of(session, work) != "done":
                session[work] = {"state": "failed", "reason": reason}

    return fail


def _environment(whole: Mapping[str, str]) -> dict[str, str]:
    return {name: whole[name] for name in _PASSED_ON if name in whole}
