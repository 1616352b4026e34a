"""The whole index made again: of the folders, and of what was uploaded and is here no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from relay.stores.archive import Archive, ArchiveUnavailable, Object
from relay.stores.conversation import Entry, FolderFacts, NoConversation, entry_of
from relay.stores.database import NotStorable
from relay.stores.feed import MAX_BAD, Bad, Feed, Progress, Scan
from relay.stores.folders import SESSION
from relay.stores.index import Known
from relay.stores.reading import AUDIO_NAMES, MAX_JSON_BYTES, TRANSCRIPT, is_id

_AT_ONCE: Final = 8
"""Conversations that are read from the target at a time."""


@dataclass(slots=True)
class Reindexed:
    """What was done. `local` is of the folders, `remote` counts what is at the target alone and was
    put in; `failing`: why the target's part is not complete."""

    local: Scan
    remote: int = 0
    forgotten: int = 0
    failing: str | None = None
    bad: list[Bad] = field(default_factory=list)


async def reindex(
    feed: Feed, archive: Archive | None = None, progress: Progress | None = None
) -> Reindexed:
    """Reads everything again. What there was and is nowhere any more is taken out, but of what was
    uploaded only if the target could be asked. The database is to be prepared. Raises
    IndexUnavailable, FolderInUse, DirectoryGone."""
    done = Reindexed(await feed.scan(everything=True, progress=progress))
    if archive is None:
        return done
    try:
        for day in await _days(feed, archive):
            await _reindex_day(feed, archive, day, done)
    except ArchiveUnavailable as error:
        done.failing = str(error)
    return done


async def _days(feed: Feed, archive: Archive) -> list[date]:
    return sorted({*await archive.days(), *await feed.index.days()}, reverse=True)


async def _reindex_day(feed: Feed, archive: Archive, day: date, done: Reindexed) -> None:
    known = await feed.index.known(day)
    there = _by_conversation(await archive.list(day.isoformat()))
    new = {
        conversation_id: objects
        for conversation_id, objects in there.items()
        if conversation_id not in known or not known[conversation_id].is_local
    }
    ids = list(new)
    for at in range(0, len(ids), _AT_ONCE):
        batch = ids[at : at + _AT_ONCE]
        found = await asyncio.gather(*(_read(archive, day, one, new[one]) for one in batch))
        await _put(feed, [entry for entry in found if isinstance(entry, Entry)], done)
        done.bad += [bad for bad in found if isinstance(bad, Bad)][: MAX_BAD - len(done.bad)]
    await _forget(feed, list(known.values()), there, done)


async def _put(feed: Feed, entries: Sequence[Entry], done: Reindexed) -> None:
    for entry in entries:
        try:
            await feed.index.put([entry])
            done.remote += 1
        except NotStorable as error:
            done.bad.append(Bad(entry.conversation.id, str(error)))


async def _forget(
    feed: Feed, known: Sequence[Known], there: Mapping[str, object], done: Reindexed
) -> None:
    gone = [one.id for one in known if not one.is_local and one.id not in there]
    done.forgotten += await feed.index.remove(gone)


async def _read(
    archive: Archive, day: date, conversation_id: str, objects: Sequence[Object]
) -> Entry | Bad:
    """What the target has of a conversation, as its folder would say it."""
    prefix = archive.prefix(day, conversation_id)
    names = {found.key.removeprefix(f"{prefix}/"): found for found in objects}
    facts = FolderFacts(
        id=conversation_id,
        day=day,
        is_live=False,
        audio=tuple(name for name in sorted(names) if name in AUDIO_NAMES),
        bytes=sum(found.bytes for found in objects),
        source="uploaded",
        is_local=False,
    )
    uploaded_at = names[SESSION].at.isoformat()
    upload = {"state": "uploaded", "attempts": 1, "uploaded_at": uploaded_at}
    session = await _json(archive, f"{prefix}/{SESSION}")
    transcript = await _json(archive, f"{prefix}/{TRANSCRIPT}") if TRANSCRIPT in names else None
    try:
        return entry_of(facts, session if isinstance(session, dict) else {}, transcript, upload)
    except NoConversation as error:
        return Bad(f"{archive.url}/{prefix}", str(error))


async def _json(archive: Archive, key: str) -> Any:
    data = await archive.get(key, MAX_JSON_BYTES)
    try:
        return None if data is None else await asyncio.to_thread(json.loads, data)
    except (ValueError, RecursionError):
        return None


def _by_conversation(objects: Sequence[Object]) -> dict[str, list[Object]]:
    """The objects of each conversation that is there as a whole."""
    found: dict[str, list[Object]] = {}
    for one in objects:
        parts = one.key.split("/")
        if len(parts) > 2 and is_id(parts[1]):
            found.setdefault(parts[1], []).append(one)
    return {
        conversation_id: objects
        for conversation_id, objects in found.items()
        if any(one.key.endswith(f"/{conversation_id}/{SESSION}") for one in objects)
    }
