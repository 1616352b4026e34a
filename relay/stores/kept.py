"""A conversation's files wherever they are: in its folder, or where it was uploaded to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Protocol

from relay.stores.archive import Archive, Object
from relay.stores.folders import AUDIO_FILES, SESSION, Folder, Side
from relay.stores.reading import MAX_JSON_BYTES, TRANSCRIPT, read_json

READ_TIMEOUT_S: Final = 20.0
"""For a target's next answer, of somebody who waits for it."""


class KeptElsewhere(Exception):  # named by the situation
    """The folder is in another relay's directory: ask that one."""


class OutOfReach(Exception):  # named by the situation
    """It was uploaded to where this relay does not upload to."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that is only at the target; read in portions, so that its size does not matter."""

    archive: Archive
    key: str
    size: int
    etag: str | None

    def open(self, mode: Literal["rb"]) -> BinaryIO:  # noqa: ARG002  (as `Path.open` has it)
        """To be read by a thread, here and there: each look takes 128 KiB. Its methods raise
        ArchiveUnavailable and FileNotFoundError."""
        return self.archive.open(self.key, self.size)

    def read(self, start: int, end: int) -> AsyncGenerator[bytes]:
        """The bytes from `start` until before `end`, which lie within it. Raises
        ArchiveUnavailable, and FileNotFoundError where it was deleted meanwhile."""
        if not self.size:  # an empty object has no range that could be asked for
            return self.archive.read(self.key, timeout_s=READ_TIMEOUT_S)
        return self.archive.read(self.key, start=start, end=end, timeout_s=READ_TIMEOUT_S)


KeptFile = Path | RemoteFile


class Kept(Protocol):
    """One stored conversation. What asks the target raises ArchiveUnavailable."""

    @property
    def id(self) -> str: ...

    async def session(self) -> dict[str, Any]:
        """`session.json`; empty where there is none that can be read."""
        ...

    async def transcript(self) -> Any:
        """`transcript.json`, parsed; None where there is none that can be read."""
        ...

    async def audio(self, side: Side) -> tuple[str, ...]:
        """The names of a side's files: none, one, or one per codec it spoke."""
        ...

    async def file(self, name: str) -> KeptFile | None:
        """One of its files; None where there is none of that name."""
        ...


class KeptHere:
    """In its folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        return self.folder.id

    async def session(self) -> dict[str, Any]:
        return await asyncio.to_thread(self.folder.session)

    async def transcript(self) -> Any:
        return await asyncio.to_thread(read_json, self.folder.path / TRANSCRIPT)

    async def audio(self, side: Side) -> tuple[str, ...]:
        paths = await asyncio.to_thread(self.folder.audio, side)
        return tuple(path.name for path in paths)

    async def file(self, name: str) -> Path | None:
        path = self.folder.path / name
        return path if await asyncio.to_thread(_is_plain, path) else None


class KeptThere:
    """At the target, as what lies there under its name says."""

    def __init__(self, archive: Archive, conversation_id: str, objects: Sequence[Object]) -> None:
        self.id = conversation_id
        self._archive = archive
        self._objects = {found.key.rpartition("/")[2]: found for found in objects}

    async def session(self) -> dict[str, Any]:
        found = await self._json(SESSION)
        return found if isinstance(found, dict) else {}

    async def transcript(self) -> Any:
        return await self._json(TRANSCRIPT)

    async def audio(self, side: Side) -> tuple[str, ...]:
        return tuple(name for name in AUDIO_FILES[side] if name in self._objects)

    async def file(self, name: str) -> RemoteFile | None:
        found = self._objects.get(name)
        if found is None:
            return None
        return RemoteFile(self._archive, found.key, found.bytes, found.etag)

    async def _json(self, name: str) -> Any:
        found = self._objects.get(name)
        if found is None:
            return None
        data = await self._archive.get(found.key, MAX_JSON_BYTES, timeout_s=READ_TIMEOUT_S)
        try:
            return None if data is None else await asyncio.to_thread(json.loads, data)
        except (ValueError, RecursionError):
            return None


async def kept_there(archive: Archive, day: date, conversation_id: str) -> KeptThere | None:
    """None where the target has nothing of it. Raises ArchiveUnavailable."""
    prefix = archive.prefix(day, conversation_id)
    objects = await archive.list(prefix, timeout_s=READ_TIMEOUT_S)
    own = [found for found in objects if found.key.rpartition("/")[0] == prefix]
    return KeptThere(archive, conversation_id, own) if own else None


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
