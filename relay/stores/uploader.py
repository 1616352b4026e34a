"""Uploads conversations when they are finished, for as long as it takes, and then lets go of them.

What is to be done is in the folders: a restart goes on where the last process was. A target that
does not answer is tried again, ever more rarely; one that refuses, rarely from the beginning; after
days it is given up until somebody asks for it again. Until all is proved to be there, nothing is
deleted here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from relay.stores import locks
from relay.stores.archive import Archive, ArchiveRefused, ArchiveUnavailable
from relay.stores.conversation import UploadState
from relay.stores.database import IndexUnavailable
from relay.stores.delete import StillLive
from relay.stores.feed import Feed
from relay.stores.folders import Folder
from relay.stores.locks import FolderInUse
from relay.stores.reading import days_of, files_of, folders_of, state_of
from relay.stores.sentfile import FileChanged
from relay.stores.upload import UploadRecord, is_uploaded, read_record, upload, write_record

MAX_WAITING: Final = 10_000

_RENDERING: Final = ("waiting", "running")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UploaderOptions:
    """`delete_after`: a folder goes when it is uploaded. `wait_for_mix`: not before there is a mix,
    or it has failed; in any case not while one, or a waveform, is being made; but at most
    `mix_timeout_s`. A folder that nobody told of has to rest for `rest_s`. Pauses double from
    `min_pause_s`, of a refusal from `refused_pause_s`, to `max_pause_s`, until `give_up_s` after
    the first attempt."""

    delete_after: bool = False
    wait_for_mix: bool = False
    parallel: int = 2
    scan_interval_s: float = 600.0
    rest_s: float = 60.0
    mix_timeout_s: float = 6 * 3600.0
    min_pause_s: float = 30.0
    refused_pause_s: float = 300.0
    max_pause_s: float = 3600.0
    give_up_s: float = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class UploaderStatus:
    """`waiting` are due now or later, `uploading` under way. `failing` is what the last attempt
    ran into, None where it went well."""

    waiting: int
    uploading: tuple[str, ...]
    failing: str | None
    failing_state: UploadState | None


class Uploader:
    """One directory's, to one target. `run` is its only task, and its owner's. `on_changed` is told
    of each folder whose `upload.json` was written; `is_live` says which calls run here."""

    def __init__(
        self,
        feed: Feed,
        archive: Archive,
        options: UploaderOptions,
        *,
        is_live: Callable[[str], bool],
        on_changed: Callable[[Folder], None],
    ) -> None:
        self._feed = feed
        self._archive = archive
        self._options = options
        self._is_live = is_live
        self._on_changed = on_changed
        self._due: dict[Path, tuple[float, Folder]] = {}
        self._changed = asyncio.Event()
        self._uploading: dict[Path, Folder] = {}
        self._failing: tuple[str, UploadState] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def tell(self, folder: Folder) -> None:
        """All of a conversation has been written. From any thread; waits for nothing."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._put, folder, 0.0)

    def status(self) -> UploaderStatus:
        error, state = self._failing or (None, None)
        uploading = tuple(folder.id for folder in self._uploading.values())
        return UploaderStatus(len(self._due), uploading, error, state)

    async def retry(self, folder: Folder) -> None:
        """Tries a folder once, now, even one that was given up; with or without `run`. One that
        fails is from then on tried again as any other is.

        Raises StillLive, FolderInUse, ArchiveUnavailable, FileChanged, IndexUnavailable, OSError.
        """
        if self._is_live(folder.id):
            raise StillLive(f"{folder.id} is still running")
        async with locks.using(folder):
            record = await asyncio.to_thread(read_record, folder, self._archive.url)
            if not await asyncio.to_thread(is_uploaded, folder, record):
                fresh = replace(record, state="waiting", attempts=0, first_at=None, next_at=None)
                await asyncio.to_thread(write_record, folder, fresh)
                record = await self._upload_now(folder)
            await self._feed.put([folder])
            if self._options.delete_after:
                await self._let_go(folder, record)

    async def _upload_now(self, folder: Folder) -> UploadRecord:
        try:
            return await self._upload(folder)
        except (ArchiveUnavailable, FileChanged) as error:
            state: UploadState = "refused" if isinstance(error, ArchiveRefused) else "waiting"
            await self._fail(folder, state, str(error))
            await self._feed.put([folder])
            raise

    async def run(self) -> None:
        """Until it is cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._scan_often())
                for _ in range(self._options.parallel):
                    tasks.create_task(self._work())
        finally:
            self._loop = None

    # -- what is due

    async def _scan_often(self) -> None:
        while True:
            try:
                for day in await asyncio.to_thread(days_of, self._feed.directory):
                    for folder in await asyncio.to_thread(self._unfinished, day):
                        self._put(folder, 0.0)
            except OSError as error:
                log.warning("upload.scan_failed", reason=str(error))
            await asyncio.sleep(self._options.scan_interval_s)

    def _unfinished(self, day: Any) -> list[Folder]:
        """Those of a day that rest, and are not where they are to be. By a thread."""
        return [
            folder
            for folder in folders_of(self._feed.directory, day)
            if self._is_unfinished(folder)
        ]

    def _is_unfinished(self, folder: Folder) -> bool:
        try:
            record = read_record(folder, self._archive.url)
            if record.state == "failed" or _is_early(record):
                return False
            if is_uploaded(folder, record):
                return self._options.delete_after
            latest_s = max((file.mtime_ns for file in files_of(folder)), default=0) / 1e9
        except OSError:
            return False
        return datetime.now(UTC).timestamp() - latest_s >= self._options.rest_s

    def _put(self, folder: Folder, pause_s: float) -> None:
        if len(self._due) < MAX_WAITING or folder.path in self._due:  # others the next scan finds
            self._due[folder.path] = (asyncio.get_running_loop().time() + pause_s, folder)
            self._changed.set()

    async def _next(self) -> Folder:
        loop = asyncio.get_running_loop()
        while True:
            at, folder = min(self._due.values(), key=lambda due: due[0], default=(None, None))
            if at is not None and folder is not None and at <= loop.time():
                del self._due[folder.path]
                return folder
            self._changed.clear()
            try:
                async with asyncio.timeout_at(at):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _work(self) -> None:
        while True:
            folder = await self._next()
            self._uploading[folder.path] = folder
            try:
                pause_s = await self._serve(folder)
            except Exception:
                log.exception("upload.broke", session_id=folder.id)  # a defect of ours
                pause_s = self._options.max_pause_s
            finally:
                self._uploading.pop(folder.path, None)
            if pause_s is not None and folder.path not in self._due:
                self._put(folder, pause_s)

    # -- one folder

    async def _serve(self, folder: Folder) -> float | None:
        """Takes a folder as far as it gets; gives when to go on, None: it is done with."""
        try:
            async with locks.using(folder):
                return await self._take(folder)
        except FileNotFoundError:
            return None  # it was deleted
        except FolderInUse:
            return self._options.min_pause_s
        except ArchiveRefused as error:
            return await self._fail(folder, "refused", str(error))
        except (ArchiveUnavailable, FileChanged, OSError) as error:
            return await self._fail(folder, "waiting", str(error))
        except IndexUnavailable:
            return self._options.min_pause_s  # it is uploaded, and stays here until that is known

    async def _take(self, folder: Folder) -> float | None:
        record = await asyncio.to_thread(read_record, folder, self._archive.url)
        if not await asyncio.to_thread(is_uploaded, folder, record):
            if record.state == "failed":
                return None
            session = await asyncio.to_thread(folder.session)
            pause_s = await asyncio.to_thread(self._pause_before, folder, session, record)
            if pause_s > 0:
                return pause_s
            record = await self._upload(folder)
        if self._options.delete_after:
            await self._let_go(folder, record)
        return None

    async def _upload(self, folder: Folder) -> UploadRecord:
        record = await upload(folder, self._archive, datetime.now(UTC))
        size = sum(sent.bytes for sent in record.files.values())
        log.info("upload.finished", session_id=folder.id, files=len(record.files), bytes=size)
        self._on_changed(folder)
        self._failing = None
        return record

    async def _let_go(self, folder: Folder, record: UploadRecord) -> None:
        """First the index has to know where it is, then it may go."""
        bad = await self._feed.put([folder])
        if not bad and await asyncio.to_thread(is_uploaded, folder, record):
            await self._feed.leave(folder)
            log.info("upload.folder_deleted", session_id=folder.id)

    def _pause_before(self, folder: Folder, session: dict[str, Any], record: UploadRecord) -> float:
        state = session.get("state")
        if state != "ended" and self._is_live(folder.id):
            return max(self._options.rest_s, self._options.min_pause_s)
        if state == "live" and not self._is_overdue(folder):
            return self._options.min_pause_s  # another's, or of a process that died: it is restored
        states = [state_of(session, work) for work in ("mix", "waveform")]
        is_expected = states[0] is None and self._options.wait_for_mix
        is_expected = is_expected and bool(folder.audio("client"))
        is_unready = is_expected or any(state in _RENDERING for state in states)
        if is_unready and not self._is_overdue(folder):
            return self._options.min_pause_s
        if record.next_at is None:
            return 0.0
        return (record.next_at - datetime.now(UTC)).total_seconds()

    def _is_overdue(self, folder: Folder) -> bool:
        """Whether nobody can be at work on its mix or its waveform any more."""
        try:
            latest_s = folder.events.stat().st_mtime
        except OSError:
            return True
        return datetime.now(UTC).timestamp() - latest_s > self._options.mix_timeout_s

    async def _fail(self, folder: Folder, state: UploadState, reason: str) -> float | None:
        now = datetime.now(UTC)
        record = await asyncio.to_thread(read_record, folder, self._archive.url)
        first_at, attempts = record.first_at or now, record.attempts + 1
        pause_s = self._pause_after(state, attempts)
        if now - first_at > timedelta(seconds=self._options.give_up_s):
            state = "failed"
        failed = replace(
            record,
            state=state,
            attempts=attempts,
            error=reason,
            first_at=first_at,
            next_at=now + timedelta(seconds=pause_s),
        )
        log.warning(
            "upload.failed", session_id=folder.id, state=state, attempts=attempts, reason=reason
        )
        self._failing = (reason, state)
        try:
            await asyncio.to_thread(write_record, folder, failed)
            self._on_changed(folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("upload.record_failed", session_id=folder.id, reason=str(error))
        return None if state == "failed" else pause_s

    def _pause_after(self, state: UploadState, attempts: int) -> float:
        options = self._options
        first_s = options.refused_pause_s if state == "refused" else options.min_pause_s
        return float(min(options.max_pause_s, first_s * 2 ** min(attempts - 1, 20)))


def _is_early(record: UploadRecord) -> bool:
    return record.next_at is not None and record.next_at > datetime.now(UTC)
