"""Who may touch what, among all processes of a machine: locks on files that die with their owner.

Two are known. A conversation is *used* by whoever uploads or deletes it, one at a time. The index
of a directory is *fed* by many at once, and by nobody while a conversation leaves the directory:
what was read of a folder before it was deleted must not get into the index after.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from relay.stores.appendfile import FILE_MODE
from relay.stores.folders import Folder

USED: Final = ".used"
FED: Final = ".index"
FED_TIMEOUT_S: Final = 30.0
_PAUSE_S: Final = 0.02


class FolderInUse(Exception):  # named by the situation
    """Somebody else is at work on it; try again later."""


class _Held:
    """A lock that a thread gets and the event loop lets go."""

    def __init__(self) -> None:
        self.fd = -1
        self.is_given_up = False

    def release(self) -> None:
        self.is_given_up = True
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


@asynccontextmanager
async def using(folder: Folder, *, timeout_s: float = 0.0) -> AsyncIterator[None]:
    """A conversation, alone. Raises FolderInUse, and FileNotFoundError where there is no folder."""
    async with _locked(folder.path / USED, fcntl.LOCK_EX, timeout_s):
        yield


@asynccontextmanager
async def feeding(directory: Path) -> AsyncIterator[None]:
    """The index of a directory, together with others that feed it. Raises FolderInUse."""
    async with _locked(directory / FED, fcntl.LOCK_SH, FED_TIMEOUT_S):
        yield


@asynccontextmanager
async def removing(directory: Path) -> AsyncIterator[None]:
    """The index of a directory, alone, for as long as a folder leaves it. Raises FolderInUse."""
    async with _locked(directory / FED, fcntl.LOCK_EX, FED_TIMEOUT_S):
        yield


@asynccontextmanager
async def _locked(path: Path, kind: int, timeout_s: float) -> AsyncIterator[None]:
    held = _Held()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    try:
        while not await asyncio.to_thread(_try, path, kind, held):
            if loop.time() >= deadline:
                raise FolderInUse(f"{path.parent.name} is in use by somebody else")
            await asyncio.sleep(_PAUSE_S)
        yield
    finally:
        held.release()


def _try(path: Path, kind: int, held: _Held) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    except FileNotFoundError:  # no folder
        raise
    except OSError:
        return True  # full or read-only: nobody else can change anything here, either
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return False
    if not _is_at(fd, path):  # deleted between the two steps, with its folder
        os.close(fd)
        return False
    held.fd = fd
    if held.is_given_up:  # cancelled while we waited for the disk
        held.release()
    return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
