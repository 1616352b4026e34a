"""Conversations read off the disk: for threads, everything here blocks."""

from __future__ import annotations

import json
import os
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from relay.stores.conversation import Entry, FolderFacts, entry_of
from relay.stores.folders import (
    AUDIO_FILES,
    BLOBS,
    FOLDER_MODE,
    SESSION,
    Folder,
    UnsafeId,
    safe,
    write_whole,
)
from relay.stores.locks import is_recorded

TRANSCRIPT: Final = "transcript.json"
UPLOAD: Final = "upload.json"
"""What of a folder was uploaded. It stays here: it is about the folder, not about the call."""

LIVE_S: Final = 600.0
"""A call that is recorded writes each second; one of events alone may be silent for minutes."""

ORIGIN: Final = ".origin"
MAX_ORIGIN_CHARS: Final = 64

TRASH: Final = ".deleted-"
"""What `Folders.delete` makes of a folder's name before it is gone."""

MAX_JSON_BYTES: Final = 64 * 1024 * 1024
AUDIO_NAMES: Final = tuple(file for files in AUDIO_FILES.values() for file in files)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a folder: its name below it, with `/`, and what tells that it was changed."""

    name: str
    path: Path
    bytes: int
    mtime_ns: int


def files_of(folder: Folder) -> list[StoredFile]:
    """What belongs to a conversation, by name; `session.json` last, for it says the rest is there.

    Files that are being written (their names begin with a dot) and `upload.json` are not part of
    it, nor is what is no plain file. Raises OSError where there is no folder.
    """
    found = [file for file in _scan(folder.path, "") if file.name != UPLOAD]
    blobs = folder.path / BLOBS
    if blobs.is_dir() and not blobs.is_symlink():
        found += _scan(blobs, f"{BLOBS}/")
    return sorted(found, key=lambda file: (file.name == SESSION, file.name))


def days_of(directory: Path) -> list[date]:
    """The days of which there are folders, the newest first. Raises OSError."""
    return sorted(filter(None, map(_day, os.listdir(directory))), reverse=True)


def folders_of(directory: Path, day: date) -> list[Folder]:
    """The conversations of a day, by id. Raises OSError but for a day that is not there."""
    try:
        with os.scandir(directory / day.isoformat()) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return [Folder(directory / day.isoformat() / name) for name in sorted(names) if is_id(name)]


def leftovers_of(directory: Path, day: date) -> list[Path]:
    """What is left of folders of a day whose deletion was cut off."""
    try:
        return sorted((directory / day.isoformat()).glob(f"{TRASH}*"))
    except OSError:
        return []


def origin_of(directory: Path, *, make: bool = False) -> str:
    """What tells this directory from every other, however it is mounted; it is in a file of it.

    Raises OSError where there is none; with `make`, makes it, and the directory.
    """
    path = directory / ORIGIN
    if make and not path.exists():
        directory.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        part = path.with_name(f"{ORIGIN}.{secrets.token_hex(4)}")
        write_whole(part, secrets.token_hex(16).encode())
        with suppress(FileExistsError):  # another process was quicker
            path.hardlink_to(part)
        part.unlink()
    return path.read_text("ascii")[:MAX_ORIGIN_CHARS].strip()


def read_entry(folder: Folder, *, is_live: bool) -> Entry:
    """Reads a folder. Raises NoConversation, and OSError where there is no folder."""
    source = source_of(folder)  # first: what is changed meanwhile is read again next time
    files = files_of(folder)
    facts = FolderFacts(
        id=folder.id,
        day=folder.day,
        is_live=is_live,
        audio=tuple(file.name for file in files if file.name in AUDIO_NAMES),
        bytes=sum(file.bytes for file in files),
        source=source,
    )
    transcript = read_json(folder.path / TRANSCRIPT)
    return entry_of(facts, folder.session(), transcript, read_object(folder.path / UPLOAD))


def line_of(session: Mapping[str, Any], work: str) -> Mapping[str, Any]:
    """What a session says of its mix or its waveform; empty where it says nothing."""
    line = session.get(work)
    return line if isinstance(line, dict) else {}


def state_of(session: Mapping[str, Any], work: str) -> str | None:
    """How far a work is: waiting, running, done, failed; None: nobody wants it."""
    state = line_of(session, work).get("state")
    return state if isinstance(state, str) else None


def looks_live(folder: Folder) -> bool:
    """Whether a call may still be running, for who cannot know: it has not ended, and some process
    records it; where that cannot be told, one of its files was written to in the last LIVE_S."""
    if folder.session().get("state") != "live":
        return False
    recorded = is_recorded(folder)
    if recorded is not None:
        return recorded
    try:
        latest_ns = max((file.mtime_ns for file in files_of(folder)), default=0)
    except OSError:
        return False
    return time.time() - latest_ns / 1e9 < LIVE_S


def source_of(folder: Folder) -> str:
    """Another text whenever a file that the index is made of was replaced."""
    parts = []
    for name in (SESSION, TRANSCRIPT, UPLOAD):
        try:
            found = (folder.path / name).stat()
            parts.append(f"{found.st_mtime_ns:x}.{found.st_size:x}.{found.st_ino:x}")
        except OSError:
            parts.append("")
    return "/".join(parts)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none that can be read."""
    found = read_json(path)
    return found if isinstance(found, dict) else {}


def read_json(path: Path) -> Any:
    """JSON; None where there is none that can be read."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == len("2026-01-31") else None
    except ValueError:
        return None


def is_id(text: str) -> bool:
    """Whether it may be the name of a folder."""
    try:
        return bool(safe(text))
    except UnsafeId:
        return False


def _scan(path: Path, prefix: str) -> Iterator[StoredFile]:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # replaced or deleted just now
                continue
            if stat.S_ISREG(found.st_mode):
                yield StoredFile(
                    prefix + entry.name, Path(entry.path), found.st_size, found.st_mtime_ns
                )
