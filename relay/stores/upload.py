"""The upload of one conversation, file by file, each proved; `upload.json` has what is done.

Whoever goes on after a break, or after a restart, sends only what is not there yet or has changed.
`session.json` goes last: a target that has it has the whole conversation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from relay.stores.archive import Archive, NotVerified, Stored
from relay.stores.conversation import UploadState
from relay.stores.folders import Folder, write_whole
from relay.stores.reading import UPLOAD, StoredFile, files_of, read_object
from relay.stores.sentfile import FileChanged

VERSION: Final = 1
MAX_ROUNDS: Final = 3
"""How often files that were changed meanwhile are sent again at once."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that the target has, as it was when it was sent."""

    bytes: int
    mtime_ns: int
    sha256: str
    etag: str | None = None

    def is_of(self, file: StoredFile) -> bool:
        return (self.bytes, self.mtime_ns) == (file.bytes, file.mtime_ns)


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """The content of `upload.json`. Times are aware, UTC; `next_at`: not before then again."""

    url: str
    state: UploadState = "waiting"
    attempts: int = 0
    error: str | None = None
    first_at: datetime | None = None
    next_at: datetime | None = None
    uploaded_at: datetime | None = None
    files: Mapping[str, Sent] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        times = {"first_at": self.first_at, "next_at": self.next_at}
        return {
            "version": VERSION,
            "url": self.url,
            "state": self.state,
            "attempts": self.attempts,
            "error": self.error,
            **{name: at and _iso(at) for name, at in times.items()},
            "uploaded_at": self.uploaded_at and _iso(self.uploaded_at),
            "files": {
                name: {
                    "bytes": sent.bytes,
                    "mtime_ns": sent.mtime_ns,
                    "sha256": sent.sha256,
                    "etag": sent.etag,
                }
                for name, sent in self.files.items()
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], url: str) -> UploadRecord:
        """What was done for the target `url`; nothing, where it was for another, or is spoilt."""
        if value.get("url") != url:
            return cls(url)
        try:
            return cls(
                url=url,
                state=_state(value["state"]),
                attempts=int(value["attempts"]),
                error=value["error"],
                first_at=_time(value["first_at"]),
                next_at=_time(value["next_at"]),
                uploaded_at=_time(value["uploaded_at"]),
                files={name: Sent(**sent) for name, sent in value["files"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return cls(url)


def read_record(folder: Folder, url: str) -> UploadRecord:
    """Reads `upload.json`. Blocks."""
    return UploadRecord.from_json(read_object(folder.path / UPLOAD), url)


def write_record(folder: Folder, record: UploadRecord) -> None:
    """Writes it. Blocks; raises OSError."""
    text = json.dumps(record.to_json(), indent=1) + "\n"
    write_whole(folder.path / UPLOAD, text.encode())


def is_uploaded(folder: Folder, record: UploadRecord) -> bool:
    """Whether the target has all files as they are now. Blocks; raises OSError."""
    return record.state == "uploaded" and not _missing(files_of(folder), record)


async def upload(folder: Folder, archive: Archive, now: datetime) -> UploadRecord:
    """Sends what is not there yet, and gives the record of it, which it has written, too.

    The folder is to be `using`. Raises ArchiveUnavailable, ArchiveRefused, NotVerified, FileChanged
    where a file does not come to rest, and OSError; what was sent until then is in `upload.json`.
    """
    record = await asyncio.to_thread(read_record, folder, archive.url)
    prefix = archive.prefix(folder.day, folder.id)
    for _ in range(MAX_ROUNDS):
        record, is_at_rest = await _send_missing(folder, archive, prefix, record)
        if is_at_rest:
            break
    else:
        raise FileChanged(f"{folder.id} is being written to")
    await _prove(archive, prefix, record)
    done = replace(record, state="uploaded", error=None, next_at=None, uploaded_at=now)
    await asyncio.to_thread(write_record, folder, done)
    return done


async def _send_missing(
    folder: Folder, archive: Archive, prefix: str, record: UploadRecord
) -> tuple[UploadRecord, bool]:
    """One round; the second is whether nothing was missing any more at its end."""
    try:
        for file in _missing(await asyncio.to_thread(files_of, folder), record):
            record = await _send(folder, archive, prefix, file, record)
    except FileChanged:
        return record, False  # nor is `session.json` sent
    return record, not _missing(await asyncio.to_thread(files_of, folder), record)


async def _send(
    folder: Folder, archive: Archive, prefix: str, file: StoredFile, record: UploadRecord
) -> UploadRecord:
    stored: Stored = await archive.put(f"{prefix}/{file.name}", file)
    sent = Sent(stored.bytes, file.mtime_ns, stored.sha256, stored.etag)
    record = replace(record, state="waiting", files={**record.files, file.name: sent})
    await asyncio.to_thread(write_record, folder, record)
    return record


async def _prove(archive: Archive, prefix: str, record: UploadRecord) -> None:
    """All of it is there still, whatever another has done at the target since."""
    there = {found.key: found.bytes for found in await archive.list(prefix)}
    for name, sent in record.files.items():
        if there.get(f"{prefix}/{name}") != sent.bytes:
            raise NotVerified(f"{prefix}/{name} is missing, or of another size")


def _missing(files: list[StoredFile], record: UploadRecord) -> list[StoredFile]:
    return [
        file
        for file in files
        if (sent := record.files.get(file.name)) is None or not sent.is_of(file)
    ]


def _state(value: object) -> UploadState:
    match value:
        case "waiting" | "uploaded" | "refused" | "failed":
            return value
    raise ValueError("no state of an upload")


def _time(value: object) -> datetime | None:
    return None if value is None else datetime.fromisoformat(str(value))


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
