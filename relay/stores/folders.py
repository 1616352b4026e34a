"""The folder of a conversation: DIRECTORY/YYYY-MM-DD/SESSION_ID/ (contract §5).

The folders are the truth; every index can be made of them again. Ids become names of folders only
where they are harmless ones; everything is readable by the relay's own user alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

from relay.stores.appendfile import FILE_MODE

FOLDER_MODE: Final = 0o700
LOCK_TIMEOUT_S: Final = 5.0

SESSION: Final = "session.json"
EVENTS: Final = "events.jsonl"
BLOBS: Final = "blobs"

Side = Literal["client", "upstream", "mix"]
AUDIO_FILES: Final[dict[Side, tuple[str, ...]]] = {
    "client": ("client.ogg", "client.pcmu.wav", "client.pcma.wav"),
    "upstream": ("upstream.ogg", "upstream.pcmu.wav", "upstream.pcma.wav"),
    "mix": ("mix.ogg",),
}
"""Opus is kept in Ogg, G.711 in WAV. A side that changed its codec has both, on the same clock."""

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,127}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_TRASH: Final = ".deleted-"


class UnsafeId(ValueError):  # named by the situation
    """An id that is no name of a folder."""


class Folder:
    """One conversation's folder. Nothing here waits for more than the disk, and LOCK_TIMEOUT_S."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def day(self) -> date:
        """The UTC day on which the conversation began."""
        return date.fromisoformat(self.path.parent.name)

    @property
    def events(self) -> Path:
        return self.path / EVENTS

    def make(self) -> None:
        """Makes it; that it is there already is fine. Raises OSError."""
        for path in (self.path.parent.parent, self.path.parent, self.path):
            path.mkdir(FOLDER_MODE, exist_ok=True, parents=True)

    def audio(self, side: Side) -> tuple[Path, ...]:
        """The files that there are of a side; none, one, or one per codec it spoke."""
        paths = (self.path / name for name in AUDIO_FILES[side])
        return tuple(path for path in paths if path.is_file())

    # session.json

    def session(self) -> dict[str, Any]:
        """`session.json`; empty where there is none that can be read."""
        try:
            found = json.loads((self.path / SESSION).read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def update_session(self, change: Mapping[str, Any]) -> None:
        """Replaces members of `session.json`, whoever else does the same. Raises OSError."""
        self.edit_session(lambda session: session.update(change))

    def edit_session(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Reads, edits and replaces `session.json` at once. Raises OSError, TimeoutError."""
        with self._locked():
            session = self.session()
            edit(session)
            write_whole(self.path / SESSION, _render(session))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(fd)
            yield
        finally:
            os.close(fd)

    # what was taken out of events

    def put_blob(self, sha256: str, data: bytes) -> None:
        """Keeps bytes under their SHA-256, once. Raises OSError."""
        path = self._blob_path(sha256)
        if path.exists():
            return
        path.parent.mkdir(FOLDER_MODE, exist_ok=True)
        write_whole(path, data)

    def blob(self, sha256: str) -> bytes:
        """Raises OSError where they are not there."""
        return self._blob_path(sha256).read_bytes()

    def _blob_path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise UnsafeId("no SHA-256")
        return self.path / BLOBS / sha256


class Folders:
    """All conversations below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def at(self, day: date, conversation_id: str) -> Folder:
        """Where a conversation belongs, there or not. Raises UnsafeId."""
        return Folder(self.directory / day.isoformat() / safe(conversation_id))

    def find(self, conversation_id: str) -> Folder | None:
        """The folder of an id; None where there is none, or the id is no name of a folder."""
        if not _SAFE_ID.fullmatch(conversation_id):
            return None
        for day in self._days():
            path = day / conversation_id
            if path.is_dir() and not path.is_symlink():
                return Folder(path)
        return None

    def list(self) -> Iterator[Folder]:
        """Every conversation, the newest day first, by id within a day."""
        for day in self._days():
            for name in sorted(_names(day)):
                path = day / name
                if _SAFE_ID.fullmatch(name) and path.is_dir() and not path.is_symlink():
                    yield Folder(path)

    def delete(self, folder: Folder) -> None:
        """Removes a conversation with all that is in it. Raises OSError.

        At once it is found by nobody any more; what a crash leaves of it, the next call removes.
        """
        day = folder.path.parent
        if day.parent != self.directory or not _DAY.fullmatch(day.name):
            raise UnsafeId("not a folder of this directory")
        trash = day / f"{_TRASH}{secrets.token_hex(8)}"
        (day / safe(folder.id)).rename(trash)
        for name in _names(day):
            if name.startswith(_TRASH):
                shutil.rmtree(day / name)
        with contextlib.suppress(OSError):  # other conversations of the day
            day.rmdir()

    def _days(self) -> Iterator[Path]:
        for name in sorted(_names(self.directory), reverse=True):
            path = self.directory / name
            if _DAY.fullmatch(name) and path.is_dir() and not path.is_symlink():
                yield path


def safe(conversation_id: str) -> str:
    """The id, which is a harmless name. Raises UnsafeId."""
    if not _SAFE_ID.fullmatch(conversation_id):
        raise UnsafeId("an id that is no name of a folder")
    return conversation_id


def write_whole(path: Path, data: bytes) -> None:
    """Makes or replaces a file at once: readers see the old one or the new. Raises OSError."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _render(session: dict[str, Any]) -> bytes:
    """JSON for people and browsers; numbers that it does not have are null."""
    try:
        text = json.dumps(session, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(_finite(session), indent=2, ensure_ascii=False, default=str)
    return f"{text}\n".encode(errors="backslashreplace")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return value


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _lock(fd: int) -> None:
    """Waits for the lock of a folder, which is held for the time of one small write."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError("session.json is held by somebody else") from None
            time.sleep(0.01)
        else:
            return
