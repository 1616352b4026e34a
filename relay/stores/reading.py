"""Conversations read off the disk: for threads, everything here blocks."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from relay.stores.conversation import Entry, FolderFacts, entry_of
from relay.stores.folders import AUDIO_FILES, BLOBS, SESSION, Folder

TRANSCRIPT: Final = "transcript.json"
UPLOAD: Final = "upload.json"
"""What of a folder was uploaded. It stays here: it is about the folder, not about the call."""

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
