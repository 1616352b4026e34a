"""Deletes what is older than it may become: `recording.retention_days`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import structlog

from relay.core.errors import NotFound
from relay.stores.archive import ArchiveUnavailable
from relay.stores.database import IndexUnavailable
from relay.stores.delete import Eraser, StillLive
from relay.stores.feed import Feed
from relay.stores.folders import Folder
from relay.stores.kept import KeptElsewhere, OutOfReach
from relay.stores.locks import FolderInUse
from relay.stores.reading import days_of, folders_of

BY: Final = "retention"
_PASSED_OVER: Final = (
    ArchiveUnavailable, FolderInUse, KeptElsewhere, NotFound, OSError, OutOfReach, StillLive,
)  # fmt: skip

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RetentionOptions:
    """A conversation is kept for so many whole `days` after the UTC day on which it began. Of what
    was uploaded, `uploads` says whether it goes, too."""

    days: int
    uploads: bool = True
    interval_s: float = 3600.0


@dataclass(slots=True)
class Swept:
    """What one round deleted; `failed` could not be, and is tried again in the next one."""

    deleted: int = 0
    failed: int = 0
    reason: str | None = None


class Retention:
    """One directory's. `run` is its only task, and its owner's."""

    def __init__(self, feed: Feed, eraser: Eraser, options: RetentionOptions) -> None:
        self._feed = feed
        self._eraser = eraser
        self._options = options

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                swept = await self.sweep(datetime.now(UTC).date())
                if swept.deleted or swept.failed:
                    log.info(
                        "retention.swept",
                        deleted=swept.deleted,
                        failed=swept.failed,
                        reason=swept.reason,
                    )
            except (IndexUnavailable, OSError) as error:
                log.warning("retention.failed", reason=str(error))
            except Exception:
                log.exception("retention.broke")  # a defect of ours
            await asyncio.sleep(self._options.interval_s)

    async def sweep(self, today: date) -> Swept:
        """One round. Raises IndexUnavailable, and OSError where the directory cannot be read."""
        swept = Swept()
        before = today - timedelta(days=self._options.days)
        async for folder in self._old_folders(before):
            await self._sweep_folder(folder, swept)
        if self._options.uploads:
            await self._sweep_uploads(before, swept)
        if swept.deleted:
            await self._feed.index.scrub()
        return swept

    async def _old_folders(self, before: date) -> AsyncIterator[Folder]:
        directory = self._feed.directory
        for day in reversed(await asyncio.to_thread(days_of, directory)):
            if day >= before:
                return
            for folder in await asyncio.to_thread(folders_of, directory, day):
                yield folder

    async def _sweep_folder(self, folder: Folder, swept: Swept) -> None:
        try:
            known = await self._feed.index.get(folder.id)
            if not self._options.uploads and known and known.upload.state == "uploaded":
                await self._eraser.leave(folder, by=BY, reason=self._reason)
            else:
                await self._delete(folder.id)
            swept.deleted += 1
        except _PASSED_OVER as error:
            swept.failed += 1
            swept.reason = str(error)

    async def _sweep_uploads(self, before: date, swept: Swept) -> None:
        while found := await self._feed.index.uploaded_before(before):
            for conversation in found:
                try:
                    await self._delete(conversation.id)
                except _PASSED_OVER as error:
                    swept.failed += 1
                    swept.reason = str(error)
                    return  # the others are at the same target
                swept.deleted += 1

    async def _delete(self, conversation_id: str) -> None:
        await self._eraser.delete(conversation_id, by=BY, reason=self._reason, scrub=False)

    @property
    def _reason(self) -> str:
        return f"older than {self._options.days} days"
