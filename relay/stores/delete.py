"""Deletes a conversation everywhere, and proves it: its folder, its index, what was uploaded of it.

The order is such that a process which dies in between leaves what the next attempt needs to find
the rest: first what was uploaded, then the folder and the index together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import structlog

from relay.core.errors import NotFound
from relay.stores import locks
from relay.stores.archive import Archive, Object
from relay.stores.conversation import Conversation
from relay.stores.feed import Feed
from relay.stores.folders import Folder, Folders, UnsafeId, safe
from relay.stores.kept import KeptElsewhere, OutOfReach
from relay.stores.reading import UPLOAD, StoredFile, files_of, leftovers_of, read_object

IN_USE_TIMEOUT_S: Final = 60.0
"""For an upload of the same conversation that is under way."""

log = structlog.get_logger(__name__)


class StillLive(Exception):  # named by the situation
    """The call is still running: hang it up first."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted, and what a look around afterwards still found: nothing, if all went well.

    `files` are of the folder, `objects` of the target, each with its size; `rows` the index's.
    """

    id: str
    day: date
    at: datetime
    by: str
    reason: str
    files: dict[str, int]
    objects: dict[str, int]
    rows: int
    remains: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        return not self.remains

    def to_json(self) -> dict[str, Any]:
        times = {"day": self.day.isoformat(), "at": self.at.isoformat(timespec="seconds")}
        return {**asdict(self), **times, "complete": self.is_complete}


class Eraser:
    """Deletes in one directory, its index and its target. `is_live` says which calls run."""

    def __init__(
        self, feed: Feed, archive: Archive | None, *, is_live: Callable[[str], bool]
    ) -> None:
        self._feed = feed
        self._folders = Folders(feed.directory)
        self._archive = archive
        self._is_live = is_live

    async def delete(
        self, conversation_id: str, *, by: str, reason: str = "asked for", scrub: bool = True
    ) -> Deletion:
        """Deletes one conversation; `by` is who wanted it. Whatever is left is in the result.

        `scrub`: what the index's own files keep of it goes at once (a second per 10,000
        conversations); who deletes many may do so once, at the end. Raises NotFound, StillLive,
        KeptElsewhere, OutOfReach, and FolderInUse, IndexUnavailable, ArchiveUnavailable, OSError:
        to be tried again, then.
        """
        try:
            safe(conversation_id)
        except UnsafeId:
            raise NotFound("There is no such conversation.") from None
        if self._is_live(conversation_id):
            raise StillLive(f"{conversation_id} is still running; hang it up first")
        folder = await asyncio.to_thread(self._folders.find, conversation_id)
        known = await self._feed.index.get(conversation_id)
        if folder is None:
            await self._check_is_ours(known)
            return await self._delete(conversation_id, None, known, by, reason, scrub=scrub)
        async with locks.using(folder, timeout_s=IN_USE_TIMEOUT_S):
            return await self._delete(conversation_id, folder, known, by, reason, scrub=scrub)

    async def leave(self, folder: Folder, *, by: str, reason: str) -> None:
        """Deletes a folder whose upload stays. Raises what `delete` raises."""
        async with locks.using(folder, timeout_s=IN_USE_TIMEOUT_S):
            await self._feed.leave(folder)
        log.info("conversation.deleted", session_id=folder.id, by=by, reason=reason, objects="kept")

    async def _delete(
        self,
        conversation_id: str,
        folder: Folder | None,
        known: Conversation | None,
        by: str,
        reason: str,
        *,
        scrub: bool,
    ) -> Deletion:
        day = await self._day_of(conversation_id, folder, known)
        if day is None:
            raise NotFound("There is no such conversation.")
        await self._check_reach(folder, known)
        objects = await self._delete_objects(day, conversation_id)
        async with locks.removing(self._feed.directory):
            files = [] if folder is None else await asyncio.to_thread(self._delete_files, folder)
            rows = await self._feed.index.remove([conversation_id])
        if scrub:
            await self._feed.index.scrub()
        deletion = Deletion(
            id=conversation_id,
            day=day,
            at=datetime.now(UTC),
            by=by,
            reason=reason,
            files={file.name: file.bytes for file in files},
            objects={found.key: found.bytes for found in objects},
            rows=rows,
            remains=await self._remains(day, conversation_id),
        )
        _audit(deletion)
        return deletion

    # -- finding it

    async def _check_is_ours(self, known: Conversation | None) -> None:
        if known is not None and known.is_local:
            origin = await self._feed.index.origin_of(known.id)
            if origin not in (None, self._feed.index.origin):
                raise KeptElsewhere(f"{known.id} is in another relay's directory; ask that one")

    async def _day_of(
        self, conversation_id: str, folder: Folder | None, known: Conversation | None
    ) -> date | None:
        """Where nothing here knows it, the target may: it is looked for on each of its days."""
        if folder is not None:
            return folder.day
        if known is not None or self._archive is None:
            return None if known is None else known.day
        for day in await self._archive.days():
            if await self._archive.list(self._archive.prefix(day, conversation_id)):
                return day
        return None

    async def _check_reach(self, folder: Folder | None, known: Conversation | None) -> None:
        """What says where an upload is must not go before the upload."""
        url: object = None
        if folder is not None:
            upload = await asyncio.to_thread(read_object, folder.path / UPLOAD)
            url = upload.get("url") if upload.get("files") else None
        elif known is not None and not known.is_local and self._archive is None:
            url = "somewhere"
        if url is not None and (self._archive is None or url != self._archive.url):
            raise OutOfReach(f"it was uploaded to {url}: set recording.upload_url to that place")

    # -- deleting it

    async def _delete_objects(self, day: date, conversation_id: str) -> list[Object]:
        if self._archive is None:
            return []
        objects = await self._archive.list(self._archive.prefix(day, conversation_id))
        if objects:
            await self._archive.delete([found.key for found in objects])
        return objects

    def _delete_files(self, folder: Folder) -> list[StoredFile]:
        files = files_of(folder)
        self._folders.delete(folder)
        return files

    # -- proving it

    async def _remains(self, day: date, conversation_id: str) -> tuple[str, ...]:
        found = await asyncio.to_thread(self._remaining_files, day, conversation_id)
        if await self._feed.index.get(conversation_id) is not None:
            found.append("its row in the index")
        if self._archive is not None:
            prefix = self._archive.prefix(day, conversation_id)
            found += [f"{self._archive.url}/{one.key}" for one in await self._archive.list(prefix)]
        return tuple(found)

    def _remaining_files(self, day: date, conversation_id: str) -> list[str]:
        folder = self._folders.find(conversation_id)
        paths = [] if folder is None else [folder.path]
        return [str(path) for path in (*paths, *leftovers_of(self._feed.directory, day))]


def _audit(deletion: Deletion) -> None:
    tell = log.info if deletion.is_complete else log.error
    tell(
        "conversation.deleted",
        session_id=deletion.id,
        by=deletion.by,
        reason=deletion.reason,
        files=len(deletion.files),
        objects=len(deletion.objects),
        rows=deletion.rows,
        remains=list(deletion.remains),
    )
