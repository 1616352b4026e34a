"""Where calls are recorded, indexed and uploaded to.

A call works without all of it: nothing here is fatal but a setting that the server refuses.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from relay.doctor.finding import Finding, Status
from relay.settings import Settings
from relay.stores.archive import Archive, ArchiveOptions, ArchiveUnavailable, InvalidUploadUrl
from relay.stores.database import Database, IndexUnavailable, InvalidStoreUrl
from relay.stores.options import store_options
from relay.stores.reading import StoredFile
from relay.stores.sentfile import FileChanged

TIMEOUT_S: Final = 5.0
UPLOAD_TIMEOUT_S: Final = 15.0
PROBE: Final = ".relay-doctor"

BYTES_PER_S: Final = {"events": 2_000, "audio": 14_000}
"""Of one call: both voices at 40 kbit/s, their events, and a mix beside them."""

AN_HOUR_OF_50_CALLS: Final = 50 * 3600
_OVER_A_NETWORK: Final = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "ceph", "glusterfs")


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Findings as they come, each within seconds; `off` where nothing is recorded."""
    if settings.recording.mode == "off":
        yield Finding("recording", Status.OFF, "recording.mode is off")
        return
    async for finding in _disk(settings):
        yield finding
    yield await _index(settings)
    if settings.recording.upload_url is not None:
        yield await _target(settings.recording.upload_url)


async def _disk(settings: Settings) -> AsyncIterator[Finding]:
    directory = await asyncio.to_thread(settings.recording.directory.absolute)
    name = "recording_disk"
    try:
        async with asyncio.timeout(TIMEOUT_S):
            place = await asyncio.to_thread(_try_to_write, directory)
            yield await asyncio.to_thread(_space, place, settings.recording.mode)
            kind = await asyncio.to_thread(_file_system, place)
    except TimeoutError:
        advice = "The disk hangs: calls go on, and are not recorded."
        yield Finding(name, Status.WARNING, f"{directory}: no answer", advice)
    except OSError as error:
        detail = f"{directory}: {error.strerror or error}"
        yield Finding(name, Status.WARNING, detail, "Make recording.directory one to write to.")
    else:
        if kind == "tmpfs":
            detail = f"{directory} is in memory: recordings are gone at the next start"
            yield Finding(name, Status.WARNING, detail, "Set recording.directory.")
        if kind.startswith(_OVER_A_NETWORK) and settings.store.url is None:
            detail = f"{directory} is on {kind}, and SQLite's index wants a disk of this machine"
            yield Finding(name, Status.WARNING, detail, "Set store.url.")


def _try_to_write(directory: Path) -> Path:
    """The directory, or, where it is to be made, the place where that happens. Raises OSError."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(b"relay doctor")
        file.flush()
        os.fsync(file.fileno())
    return place


def _space(place: Path, mode: str) -> Finding:
    free = shutil.disk_usage(place).free
    needed = AN_HOUR_OF_50_CALLS * BYTES_PER_S[mode]
    detail = f"{place}: {_gb(free)} free; an hour of 50 calls needs {_gb(needed)}"
    if free < needed:
        advice = "Make room, or set recording.retention_days or recording.delete_after_upload."
        return Finding("recording_disk", Status.WARNING, detail, advice)
    return Finding("recording_disk", Status.GOOD, detail)


def _file_system(place: Path) -> str:
    """Its kind, as the kernel names it; empty where it does not say."""
    with suppress(OSError):
        device = place.stat().st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, rest = line.partition(" - ")
            if fields.split()[2] == wanted:
                return rest.split()[0]
    return ""


async def _index(settings: Settings) -> Finding:
    name, started = "recording_index", time.monotonic()
    try:
        options = await asyncio.to_thread(store_options, settings)
        database = Database(options.database_url, timeout_s=TIMEOUT_S)
    except InvalidStoreUrl as error:
        return Finding(name, Status.FATAL, str(error), "Set store.url.")
    path = Path(database.url.database or "")
    if database.is_sqlite and not await asyncio.to_thread(path.exists):
        return Finding(name, Status.GOOD, f"{path} is made at the start")
    try:
        await database.probe()
    except IndexUnavailable as error:
        advice = "Calls go on and are recorded; they cannot be listed until it answers."
        return Finding(name, Status.WARNING, f"{database.shown}: {error}", advice)
    finally:
        await database.close()
    return Finding(name, Status.GOOD, f"{database.shown} answers", elapsed_ms=_ms(started))


async def _target(url: str) -> Finding:
    """Sends a small file, has it proved, and deletes it."""
    name, started = "upload_target", time.monotonic()
    advice = "Check recording.upload_url, its credentials and rights, and the way there."
    try:
        archive = Archive(ArchiveOptions(url, retries=1))
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            await _send_and_delete(archive)
    except InvalidUploadUrl as error:
        return Finding(name, Status.FATAL, str(error), "Set recording.upload_url.")
    except TimeoutError:
        return Finding(name, Status.WARNING, f"{url}: no answer", advice)
    except (ArchiveUnavailable, FileChanged, OSError) as error:
        return Finding(name, Status.WARNING, f"{url}: {error}", advice)
    return Finding(name, Status.GOOD, f"{url} takes files", elapsed_ms=_ms(started))


async def _send_and_delete(archive: Archive) -> None:
    path = await asyncio.to_thread(_small_file)
    try:
        found = await asyncio.to_thread(path.stat)
        key = f"{PROBE}/{path.name}"
        await archive.put(key, StoredFile(path.name, path, found.st_size, found.st_mtime_ns))
        await archive.delete([key])
    finally:
        await asyncio.to_thread(path.unlink)


def _small_file() -> Path:
    fd, path = tempfile.mkstemp(prefix="relay-doctor-")
    with os.fdopen(fd, "wb") as file:
        file.write(b"relay doctor\n")
    return Path(path)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
