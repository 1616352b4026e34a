"""What the operator's side is about: live calls, stored conversations, and where each is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from relay.core.errors import Conflict, NotFound, StoreUnavailable
from relay.core.transcript import Transcript
from relay.session.calls import Calls
from relay.session.facts import facts
from relay.session.listeners import Listeners
from relay.session.model import CallSnapshot
from relay.stores.archive import ArchiveUnavailable
from relay.stores.database import IndexUnavailable
from relay.stores.delete import Deletion, KeptElsewhere, OutOfReach, StillLive
from relay.stores.folders import AUDIO_FILES, Folder
from relay.stores.index import Index
from relay.stores.locks import FolderInUse
from relay.stores.store import Store
from relay.taps.observer import Observer, Watched
from relay.taps.transcript import load_transcript


@dataclass(frozen=True, slots=True)
class Operator:
    """What a server has. `store` None: nothing is kept; `drain`: no more calls are taken."""

    calls: Calls
    observer: Observer
    store: Store | None
    listeners: Listeners
    drain: Callable[[], None]
    is_draining: Callable[[], bool]

    # -- live calls

    def snapshots(self) -> dict[str, CallSnapshot]:
        """All live calls, the latest first."""
        found = sorted(self.calls, key=lambda call: call.started_at, reverse=True)
        return {call.id: call for call in found if call.end is None}

    def watched(self, call_id: str) -> Watched | None:
        """A live call that has been answered."""
        return self.observer.find(call_id)

    def live_json(self, call: CallSnapshot) -> dict[str, Any]:
        """A live call in `session.json`'s shape."""
        watched = self.observer.find(call.id)
        known = {} if watched is None else watched.to_json()
        return {
            "id": call.id,
            "state": "live",
            "started_at": call.started_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            **known,
            **facts(call),
            "phase": str(call.state),
            "listeners": self.listeners.count(call.id),
        }

    # -- stored conversations

    def index(self) -> Index:
        """Raises StoreUnavailable."""
        if self.store is None:
            raise StoreUnavailable("No calls are kept: set recording.mode.")
        try:
            return self.store.index
        except IndexUnavailable as error:
            raise StoreUnavailable(str(error)) from None

    async def delete(self, session_id: str, by: str) -> Deletion:
        """Deletes a stored conversation everywhere. Raises NotFound, Conflict, StoreUnavailable."""
        self.index()
        assert self.store is not None
        try:
            return await self.store.eraser.delete(session_id, by=by)
        except (StillLive, KeptElsewhere, OutOfReach) as error:
            raise Conflict(str(error)) from None
        except (FolderInUse, IndexUnavailable, ArchiveUnavailable, OSError) as error:
            raise StoreUnavailable(f"It is not deleted, try again: {error}") from None

    async def folder(self, session_id: str) -> Folder:
        """Where a session is kept, complete if its call is over. Raises NotFound, for an id that is
        no name of a folder, too."""
        await self.observer.completed(session_id)
        found = None
        if self.store is not None:
            found = await asyncio.to_thread(self.store.folders.find, session_id)
        if found is None:
            raise NotFound("There is no such session.")
        return found

    async def session(self, folder: Folder) -> dict[str, Any]:
        """`session.json`. One that says it is live, and is not, is of a process that died. Raises
        NotFound where there is none that can be read."""
        session = await asyncio.to_thread(folder.session)
        if session.get("id") != folder.id:
            raise NotFound("This session's folder cannot be read.")
        files = {side: await asyncio.to_thread(folder.audio, side) for side in AUDIO_FILES}
        if session.get("state") == "live":
            session["state"] = "unfinished"
        return {
            **session,
            "audio": {side: [f.name for f in found] for side, found in files.items()},
        }

    # -- the server

    def status(self) -> dict[str, Any]:
        """How it goes, for who runs it."""
        recorder, store = self.observer.recorder, self.store
        told = None
        if recorder is not None:
            snapshot = recorder.snapshot()
            told = {**asdict(snapshot), "healthy": snapshot.is_healthy}
        return {
            "calls": self.calls.live_count(),
            "draining": self.is_draining(),
            "recorder": told,
            "reader": asdict(self.observer.reader.snapshot()),
            "store": store and asdict(store.status()),
        }

    async def transcript(self, session_id: str) -> Transcript:
        """Of a live call as it is by now. Raises NotFound."""
        watched = self.observer.find(session_id)
        if watched is not None:
            return watched.read.transcript
        folder = await self.folder(session_id)
        found = await asyncio.to_thread(load_transcript, folder)
        if found is None:
            raise NotFound("This session has no transcript.")
        return found
