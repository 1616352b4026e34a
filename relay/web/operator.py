"""What the operator's side is about: live calls, stored conversations, and where each is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from relay.core.errors import Conflict, InvalidRequest, NotFound, StoreUnavailable
from relay.core.rfc3339 import rfc3339
from relay.core.transcript import MalformedTranscript, Transcript
from relay.core.usagetotals import GroupBy
from relay.session.calls import Calls
from relay.session.facts import facts
from relay.session.listeners import Listeners
from relay.session.meters import Meters
from relay.session.model import CallSnapshot
from relay.stores.archive import ArchiveUnavailable
from relay.stores.database import IndexUnavailable, NotStorable
from relay.stores.delete import Deletion, StillLive
from relay.stores.eventpage import EventPage, EventQuery, event_page
from relay.stores.folders import AUDIO_FILES, EVENTS
from relay.stores.kept import READ_TIMEOUT_S, Kept, KeptElsewhere, KeptFile, OutOfReach
from relay.stores.locks import FolderInUse
from relay.stores.query import Page, Query, UsageSums
from relay.stores.store import Store
from relay.taps.observer import Observer, Watched
from relay.taps.renderer import Renderer

P = ParamSpec("P")
T = TypeVar("T")

RETRY_AFTER_S: Final = 5.0
"""Until a database or a target may be back."""


@contextmanager
def told_by_the_store() -> Iterator[None]:
    """Turns what the stores raise into what a caller is told: the one place where that is said."""
    try:
        yield
    except (FolderInUse, KeptElsewhere, OutOfReach, StillLive) as error:
        raise Conflict(str(error)) from None
    except (ArchiveUnavailable, IndexUnavailable) as error:
        raise StoreUnavailable(str(error), retry_after_s=RETRY_AFTER_S) from None
    except NotStorable as error:
        raise InvalidRequest(str(error)) from None


async def looking(
    what: str,
    look: Callable[Concatenate[KeptFile, P], T],
    file: KeptFile,
    *args: P.args,
    **more: P.kwargs,
) -> T:
    """What `look` finds in a file, here or at the target, by a thread and with a deadline. Raises
    NotFound where there is no such file any more, StoreUnavailable."""
    with told_by_the_store():
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await asyncio.to_thread(look, file, *args, **more)
        except FileNotFoundError:
            raise NotFound(f"This session has no {what}.") from None
        except TimeoutError:
            raise ArchiveUnavailable(f"no answer in {READ_TIMEOUT_S:.0f} s") from None


@dataclass(frozen=True, slots=True)
class Operator:
    """What a server has. `store` None: nothing is kept; `drain`: no more calls are taken."""

    calls: Calls
    observer: Observer
    store: Store | None
    listeners: Listeners
    meters: Meters
    drain: Callable[[], None]
    is_draining: Callable[[], bool]
    renderer: Renderer | None = None

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
            "started_at": rfc3339(call.started_at),
            **known,
            **facts(call),
            "phase": str(call.state),
            "listeners": self.listeners.count(call.id),
        }

    # -- stored conversations

    async def search(self, query: Query, cursor: str | None, limit: int) -> Page:
        """A page of stored conversations. Raises StoreUnavailable, InvalidRequest."""
        with told_by_the_store():
            return await self._kept().index.search(query, cursor=cursor, limit=limit)

    async def usage(self, by: Sequence[GroupBy], query: Query) -> UsageSums:
        """Sums over stored conversations. Raises StoreUnavailable, InvalidRequest."""
        with told_by_the_store():
            return await self._kept().index.usage_sums(by, query)

    async def delete(self, session_id: str, by: str) -> Deletion:
        """Deletes a stored conversation everywhere. Raises NotFound, Conflict, StoreUnavailable."""
        await self.observer.completed(session_id)
        with told_by_the_store():
            try:
                return await self._kept().eraser.delete(session_id, by=by)
            except OSError as error:
                raise StoreUnavailable(
                    f"It is not deleted, try again: {error}", retry_after_s=RETRY_AFTER_S
                ) from None

    async def find(self, session_id: str) -> Kept:
        """Where a session is kept, complete if its call is over. Raises NotFound, for an id that is
        no name of a folder, too; Conflict, StoreUnavailable."""
        await self.observer.completed(session_id)
        with told_by_the_store():
            found = None if self.store is None else await self.store.find(session_id)
        if found is None:
            raise NotFound("There is no such session.")
        return found

    async def session(self, session_id: str) -> dict[str, Any]:
        """`session.json`. One that says it is live, and is not, is of a process that died. Raises
        what `find` raises, and NotFound where there is none that can be read."""
        kept = await self.find(session_id)
        with told_by_the_store():
            session = await kept.session()
            audio = {side: list(await kept.audio(side)) for side in AUDIO_FILES}
        if session.get("id") != session_id:
            raise NotFound("This session's folder cannot be read.")
        if session.get("state") == "live":
            session["state"] = "unfinished"
        return {**session, "audio": audio}

    async def transcript(self, session_id: str) -> Transcript:
        """Of a live call as it is by now. Raises what `find` raises."""
        watched = self.observer.find(session_id)
        if watched is not None:
            return watched.read.transcript
        kept = await self.find(session_id)
        with told_by_the_store():
            found = await kept.transcript()
        try:
            return await asyncio.to_thread(Transcript.from_json, found)
        except MalformedTranscript:
            raise NotFound("This session has no transcript.") from None

    async def events(self, session_id: str, query: EventQuery) -> EventPage:
        """A page of its events, of a live call as far as they are written. Raises what `find`
        raises."""
        watched = self.observer.find(session_id)
        if watched is not None and watched.recorded is not None:
            file: KeptFile = watched.recorded.folder.events
        else:
            file = await self.file(await self.find(session_id), EVENTS)
        return await looking("events", event_page, file, query)

    async def file(self, kept: Kept, name: str) -> KeptFile:
        """One of a session's files. Raises NotFound, StoreUnavailable."""
        with told_by_the_store():
            found = await kept.file(name)
        if found is None:
            raise NotFound("This session has no such file.")
        return found

    def _kept(self) -> Store:
        if self.store is None:
            raise StoreUnavailable("No calls are kept: set recording.mode.")
        return self.store

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
