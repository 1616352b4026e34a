"""Folders into the index: what is new, has changed, or has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from relay.stores import locks
from relay.stores.conversation import Entry, NoConversation
from relay.stores.database import NotStorable
from relay.stores.folders import Folder, Folders
from relay.stores.index import Index, Known
from relay.stores.reading import days_of, folders_of, origin_of, read_entry, source_of

BATCH: Final = 100
"""Folders that are read, and put in one transaction."""

MAX_BAD: Final = 100
"""Folders that a report names; the others are counted."""


class DirectoryGone(Exception):  # named by the situation
    """The directory of conversations cannot be read, or another one is in its place."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A folder that is no conversation, and why."""

    name: str
    reason: str


@dataclass(slots=True)
class Scan:
    """What a look at all folders found and did."""

    folders: int = 0
    indexed: int = 0
    removed: int = 0
    bad: int = 0
    examples: tuple[Bad, ...] = ()

    def add_bad(self, found: Sequence[Bad]) -> None:
        self.bad += len(found)
        self.examples = (*self.examples, *found)[:MAX_BAD]


Progress = Callable[[int, int], None]
"""Folders that were looked at, and of how many."""


class Feed:
    """One directory's way into the index. `is_live` says which calls run in this process."""

    def __init__(self, directory: Path, index: Index, is_live: Callable[[str], bool]) -> None:
        self.directory = directory
        self.index = index
        self._is_live = is_live

    async def put(self, folders: Sequence[Folder]) -> list[Bad]:
        """Reads folders, at most BATCH, and puts them in; gives those that are no conversations.

        A folder that is gone is passed over. Raises IndexUnavailable and FolderInUse.
        """
        async with locks.feeding(self.directory):
            entries, bad = await asyncio.to_thread(self._read, folders)
            try:
                await self.index.put(entries)
            except NotStorable:  # one of them spoils it for all
                bad += await self._put_one_by_one(entries)
        return bad

    async def settle(self, gone: Sequence[Known]) -> None:
        """Folders have left: what was uploaded stays known, the others are taken out."""
        for known in gone:
            if known.upload == "uploaded":
                await self.index.set_remote(known.id)
        await self.index.remove([known.id for known in gone if known.upload != "uploaded"])

    async def leave(self, folder: Folder) -> None:
        """Deletes a folder whose upload the index knows of. Raises OSError, IndexUnavailable."""
        async with locks.removing(self.directory):
            await asyncio.to_thread(Folders(self.directory).delete, folder)
            await self.index.set_remote(folder.id)

    async def scan(self, *, everything: bool = False, progress: Progress | None = None) -> Scan:
        """Compares all folders with the index and makes it equal; with `everything`, reads also
        those that have not changed. Raises IndexUnavailable, FolderInUse, DirectoryGone."""
        try:
            await asyncio.to_thread(self._check_origin)
            days = await asyncio.to_thread(days_of, self.directory)
            total = await asyncio.to_thread(self._count, days) if progress else 0
            scan = Scan()
            for day in sorted({*days, *await self.index.days()}, reverse=True):
                async for done in self._scan_day(day, scan, everything=everything):
                    if progress:
                        progress(done, max(total, done))
        except OSError as error:
            raise DirectoryGone(f"{self.directory}: {error.strerror or error}") from error
        return scan

    async def _scan_day(self, day: date, scan: Scan, *, everything: bool) -> AsyncIterator[int]:
        known = await self.index.known(day)  # first: who is in it had a folder before we look
        found = await asyncio.to_thread(self._sources, day)
        changed = [
            folder
            for folder, source in found
            if everything or self._has_changed(known.get(folder.id), source)
        ]
        scan.folders += len(found) - len(changed)
        yield scan.folders
        for batch in _batches(changed):
            bad = await self.put(batch)
            scan.add_bad(bad)
            scan.folders += len(batch)
            scan.indexed += len(batch) - len(bad)
            yield scan.folders
        there = {folder.id for folder, _ in found}
        gone = [one for one in known.values() if one.is_local and one.id not in there]
        if gone:
            await self.settle(gone)
            scan.removed += len(gone)

    def _has_changed(self, known: Known | None, source: str) -> bool:
        if known is None or known.source != source or not known.is_local:
            return True
        if known.state == "ended":
            return False
        return (known.state == "live") != self._is_live(known.id)

    async def _put_one_by_one(self, entries: Sequence[Entry]) -> list[Bad]:
        bad = []
        for entry in entries:
            try:
                await self.index.put([entry])
            except NotStorable as error:
                found = entry.conversation
                bad.append(Bad(f"{found.day.isoformat()}/{found.id}", str(error)))
        return bad

    # -- by threads

    def _read(self, folders: Sequence[Folder]) -> tuple[list[Entry], list[Bad]]:
        entries, bad = [], []
        for folder in folders:
            try:
                entries.append(read_entry(folder, is_live=self._is_live(folder.id)))
            except FileNotFoundError:
                continue
            except (NoConversation, OSError) as error:
                name = f"{folder.path.parent.name}/{folder.id}"
                bad.append(Bad(name, getattr(error, "strerror", None) or str(error)))
        return entries, bad

    def _sources(self, day: date) -> list[tuple[Folder, str]]:
        return [(folder, source_of(folder)) for folder in folders_of(self.directory, day)]

    def _count(self, days: Sequence[date]) -> int:
        return sum(len(folders_of(self.directory, day)) for day in days)

    def _check_origin(self) -> None:
        """A disk that is not mounted must not look as if all had been deleted."""
        if origin_of(self.directory) != self.index.origin:
            raise DirectoryGone(f"{self.directory}: it is another directory than at the start")


def _batches(folders: Sequence[Folder]) -> Iterator[Sequence[Folder]]:
    return (folders[at : at + BATCH] for at in range(0, len(folders), BATCH))
