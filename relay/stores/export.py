"""A conversation taken out: its files copied, from its folder or from where it was uploaded to."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import IO

from relay.core.errors import NotFound
from relay.stores.appendfile import FILE_MODE
from relay.stores.archive import Archive
from relay.stores.folders import FOLDER_MODE, Folder, Folders, safe
from relay.stores.index import Index
from relay.stores.reading import StoredFile, files_of

Progress = Callable[[int, int], None]
"""Bytes that were copied, and of how many."""


class TargetExists(Exception):  # named by the situation
    """There is something already where the copy was to go; nothing was written."""


class Exporter:
    """Copies out of one directory, or from its target."""

    def __init__(self, folders: Folders, index: Index, archive: Archive | None) -> None:
        self._folders = folders
        self._index = index
        self._archive = archive

    async def export(
        self, conversation_id: str, target: Path, progress: Progress | None = None
    ) -> Folder:
        """Makes `target/YYYY-MM-DD/ID`, so that a copy can be verified as the original can.

        Raises NotFound, TargetExists, UnsafeId, OSError, IndexUnavailable, ArchiveUnavailable.
        """
        tell = progress or (lambda _done, _of: None)
        folder = await asyncio.to_thread(self._folders.find, safe(conversation_id))
        if folder is not None:
            copy = await asyncio.to_thread(_make, target, folder.day, conversation_id)
            await asyncio.to_thread(_copy_all, folder, copy, tell)
            return copy
        known = await self._index.get(conversation_id)
        if known is None or known.is_local or self._archive is None:
            raise NotFound(f"{conversation_id} is not in {self._folders.directory}")
        copy = await asyncio.to_thread(_make, target, known.day, conversation_id)
        await self._fetch_all(self._archive, copy, tell)
        return copy

    async def _fetch_all(self, archive: Archive, copy: Folder, tell: Progress) -> None:
        prefix = archive.prefix(copy.day, copy.id)
        objects = await archive.list(prefix)
        done, total = 0, sum(found.bytes for found in objects)
        for found in objects:
            name = found.key.removeprefix(f"{prefix}/")
            file = await asyncio.to_thread(_create, copy.path, name)
            try:
                async for portion in archive.read(found.key):
                    await asyncio.to_thread(file.write, portion)
                    done += len(portion)
                    tell(done, total)
            finally:
                await asyncio.to_thread(file.close)


def _make(target: Path, day: date, conversation_id: str) -> Folder:
    copy = Folders(target).at(day, conversation_id)
    copy.path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    try:
        copy.path.mkdir(FOLDER_MODE)
    except FileExistsError:
        raise TargetExists(f"{copy.path} is there already") from None
    return copy


def _copy_all(folder: Folder, copy: Folder, tell: Progress) -> None:
    files: list[StoredFile] = files_of(folder)
    done, total = 0, sum(file.bytes for file in files)
    for file in files:
        with file.path.open("rb") as source, _create(copy.path, file.name) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        done += file.bytes
        tell(done, total)


def _create(folder: Path, name: str) -> IO[bytes]:
    """A new file below `folder`; a name that a target made up leads nowhere else."""
    path = folder.joinpath(*(part for part in name.split("/") if part not in ("", ".", "..")))
    path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    return os.fdopen(fd, "wb")
