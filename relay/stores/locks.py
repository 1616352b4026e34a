"""Who may touch what, among all processes of a machine: locks on files that die with their owner.

Four are known. A conversation is *recorded* by the process that has its call, *rendered* by the one
that makes its mix and waveform of the recording, and *used* by whoever uploads or deletes it, one
at a time. The index of a directory is *fed* by many at once, and by nobody while a conversation
leaves the directory: what was read of a folder before it was deleted must not get into the index
after.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from relay.stores.appendfile import FILE_MODE
from relay.stores.folders import Folder

RECORDED: Final = ".recorded"
RENDERED: Final = ".rendered"
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


class RecordingLock:
    """Says that a call is being recorded into a folder, for as long as its process lives. For the
    recorder's thread. Raises OSError where there can be no file; a file system without locks is
    fine, and says nothing."""

    def __init__(self, folder: Folder) -> None:
        self._path = folder.path / RECORDED
        part = folder.path / f"{RECORDED}.{secrets.token_hex(4)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(part, flags, FILE_MODE)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.replace(self._path)  # nobody ever finds it unlocked while the call runs
        except OSError:
            with suppress(OSError):
                part.unlink()

    def release(self, *, is_finished: bool) -> None:
        """What is not finished keeps the file: who finds it unlocked knows. Again is fine."""
        if self._fd < 0:
            return
        if is_finished:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        fd, self._fd = self._fd, -1
        os.close(fd)


def is_recorded(folder: Folder) -> bool | None:
    """Whether some process records a call into it now; None where that cannot be told. Blocks."""
    try:
        fd = os.open(folder.path / RECORDED, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(fd)
    return False


@contextmanager
def rendering(folder: Folder) -> Iterator[None]:
    """What is made of a recording, alone; never waits. For a program or a thread. Raises
    FolderInUse, and FileNotFoundError where there is no folder."""
    path, held = folder.path / RENDERED, _Held()
    if not _try(path, fcntl.LOCK_EX, held):
        raise FolderInUse(f"{folder.id} is being rendered by somebody else")
    try:
        yield
    finally:
        if held.fd >= 0:
            with suppress(OSError):
                path.unlink()
        held.release()


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
