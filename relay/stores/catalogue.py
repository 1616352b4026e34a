"""Keeps the index equal to the folders while calls come and go, whatever happens to the database.

Calls tell of folders and wait for nothing. What is told of waits in a bounded queue; what finds no
room, and all that happened while the database was away, the next look at all folders finds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from relay.stores.database import IndexUnavailable
from relay.stores.feed import BATCH, Bad, DirectoryGone, Feed
from relay.stores.folders import Folder
from relay.stores.locks import FolderInUse

MAX_WAITING: Final = 4096
MIN_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 30.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CatalogueOptions:
    """`scan_interval_s`: how often all folders are looked at; the pauses are between attempts to
    reach a database that does not answer, each twice the one before."""

    scan_interval_s: float = 300.0
    max_waiting: int = MAX_WAITING
    min_pause_s: float = MIN_PAUSE_S
    max_pause_s: float = MAX_PAUSE_S


@dataclass(frozen=True, slots=True)
class CatalogueStatus:
    """`failing` is what is wrong, None where nothing is. `waiting` folders are not in the index
    yet; `bad` ones are no conversations. `scanned_at`: all were looked at (aware, UTC).
    `is_current`: the index has all that it was told of."""

    waiting: int
    failing: str | None
    bad: int
    scanned_at: datetime | None
    is_current: bool


class Catalogue:
    """One directory's. `run` is its only task, and its owner's."""

    def __init__(self, feed: Feed, options: CatalogueOptions | None = None) -> None:
        self._feed = feed
        self._options = options or CatalogueOptions()
        self._waiting: dict[Path, Folder] = {}
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_ready = False
        self._must_scan = True
        self._is_resting = False
        self._scan_at = 0.0
        self._failing: str | None = None
        self._bad: tuple[Bad, ...] = ()
        self._bad_count = 0
        self._scanned_at: datetime | None = None
        self._watchers: list[Callable[[], None]] = []

    def tell(self, folder: Folder) -> None:
        """A folder is new or has changed. From any thread; waits for nothing."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell, folder)

    def status(self) -> CatalogueStatus:
        return CatalogueStatus(
            waiting=len(self._waiting),
            failing=self._failing,
            bad=self._bad_count,
            scanned_at=self._scanned_at,
            is_current=self._is_resting and not self._has_work,
        )

    @property
    def _has_work(self) -> bool:
        return bool(self._waiting) or self._must_scan

    async def current(self) -> None:
        """Waits until the index has all that the folders have; its caller gives the deadline."""
        while not self.status().is_current:
            done = asyncio.get_running_loop().create_future()
            watcher = _setter(done)
            self._watchers.append(watcher)
            try:
                await done
            finally:
                self._watchers.remove(watcher)

    async def run(self) -> None:
        """Until it is cancelled."""
        self._loop = asyncio.get_running_loop()
        pause_s = self._options.min_pause_s
        try:
            while True:
                if await self._try():
                    pause_s = self._options.min_pause_s
                    await self._wait()
                else:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, self._options.max_pause_s)
        finally:
            self._loop = None

    async def _try(self) -> bool:
        try:
            await self._catch_up()
        except (IndexUnavailable, DirectoryGone, FolderInUse, OSError) as error:
            self._fail(str(error))
            return False
        except Exception as error:
            log.exception("index.broke")  # a defect of ours; the folders are there all the same
            self._fail(repr(error))
            return False
        self._recover()
        return True

    # -- one round

    async def _catch_up(self) -> None:
        database = self._feed.index.database
        if not self._is_ready or not await database.is_the_same():
            await database.prepare()
            await self._feed.index.rehearse()
            self._is_ready = self._must_scan = True
        while self._waiting:
            # Taken out first: who is told of again meanwhile waits again.
            batch = [self._waiting.pop(path) for path in list(self._waiting)[:BATCH]]
            self._report(await self._feed.put(batch))
        if self._must_scan or time.monotonic() >= self._scan_at:
            await self._scan()

    async def _scan(self) -> None:
        self._must_scan = False
        scan = await self._feed.scan()
        self._report(scan.examples)
        self._bad, self._bad_count = scan.examples, scan.bad
        self._scan_at = time.monotonic() + self._options.scan_interval_s
        self._scanned_at = datetime.now(UTC)

    async def _wait(self) -> None:
        """For something to do. What was told while we were at work has set the event."""
        self._told.clear()
        if self._has_work:
            return
        self._is_resting = True
        for watcher in list(self._watchers):
            watcher()
        try:
            async with asyncio.timeout(max(0.0, self._scan_at - time.monotonic())):
                await self._told.wait()
        except TimeoutError:
            return
        finally:
            self._is_resting = False

    def _tell(self, folder: Folder) -> None:
        if folder.path in self._waiting or len(self._waiting) < self._options.max_waiting:
            self._waiting[folder.path] = folder
        else:
            self._must_scan = True  # there it will be found
        self._told.set()

    # -- what is told

    def _fail(self, reason: str) -> None:
        if self._failing is None:
            log.warning("index.failed", reason=reason)
        self._failing = reason
        self._is_ready, self._must_scan = False, True

    def _recover(self) -> None:
        if self._failing is not None:
            log.info("index.recovered")
        self._failing = None

    def _report(self, bad: tuple[Bad, ...] | list[Bad]) -> None:
        for found in bad:
            if found not in self._bad:  # each once, not at every look
                log.warning("index.folder_refused", folder=found.name, reason=found.reason)


def _setter(done: asyncio.Future[None]) -> Callable[[], None]:
    def set_done() -> None:
        if not done.done():
            done.set_result(None)

    return set_done
