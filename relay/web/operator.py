"""What the operator's side is about: live calls, stored conversations, and where each is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from relay.core.errors import NotFound, StoreUnavailable
from relay.core.transcript import Transcript
from relay.session.calls import Calls
from relay.session.facts import facts
from relay.session.listeners import Listeners
from relay.session.model import CallSnapshot
from relay.stores.database import IndexUnavailable
from relay.stores.folders import AUDIO_FILES, Folder
from relay.stores.index import Index
from relay.stores.library import Library
from relay.taps.observer import Observer, Watched
from relay.taps.transcript import load_transcript


@dataclass(frozen=True, slots=True)
class Operator:
    """What a server has. `library` None: nothing is kept; `drain`: no more calls are taken."""

    calls: Calls
    observer: Observer
    library: Library | None
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
        if self.library is None:
            raise StoreUnavailable("No calls are kept: set recording.mode.")
        try:
            return self.library.index
        except IndexUnavailable as error:
            raise StoreUnavailable(str(error)) from None

    async def folder(self, session_id: str) -> Folder:
        """Raises NotFound, for an id that is no name of a folder, too."""
        library = self.library
        found = None
        if library is not None:
            found = await asyncio.to_thread(library.folders.find, session_id)
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
        recorder, library = self.observer.recorder, self.library
        told = None
        if recorder is not None:
            snapshot = recorder.snapshot()
            told = {**asdict(snapshot), "healthy": snapshot.is_healthy}
        return {
            "calls": self.calls.live_count(),
            "draining": self.is_draining(),
            "recorder": told,
            "reader": asdict(self.observer.reader.snapshot()),
            "index": library and {"failing": library.failing, "waiting": library.waiting},
        }

    async def transcript(self, session_id: str) -> Transcript:
        """Of a live call as it is by now. Raises NotFound."""
        watched = self.observer.find(session_id)
        if watched is not None:
            return watched.read.transcript
        folder = await self.folder(session_id)
        await self.observer.completed(session_id)
        found = await asyncio.to_thread(load_transcript, folder)
        if found is None:
            raise NotFound("This session has no transcript.")
        return found
