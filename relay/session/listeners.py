"""Who listens in to which call: bounded, owned here, and gone with the call."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Final

import structlog

from relay.core.errors import NotFound, RateLimited
from relay.core.ids import CallId, LegName
from relay.rtc import CertificateStore, Sockets
from relay.session.call import Call
from relay.session.calls import Calls
from relay.session.listening import Listener

MAX_PER_CALL: Final = 16
MAX_TOTAL: Final = 128
RETRY_AFTER_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    call_id: CallId
    listener: Listener
    task: asyncio.Task[None]


class Listeners:
    """All of a process. Nothing that happens to one of them reaches its call."""

    def __init__(self, calls: Calls, sockets: Sockets, certificates: CertificateStore) -> None:
        self._calls = calls
        self._sockets = sockets
        self._certificates = certificates
        self._entries: dict[str, _Entry] = {}
        self._opening: dict[CallId, int] = {}

    def count(self, call_id: str) -> int:
        """Who listens to a call now."""
        return sum(entry.call_id == call_id for entry in self._entries.values())

    async def open(self, call: Call, offer: str, voice: LegName) -> tuple[str, str]:
        """A listener's id, and the answer. Raises InvalidOffer, Conflict, RateLimited."""
        translator, codecs = call.voices
        pending = self._opening.get(call.id, 0)
        if self.count(call.id) + pending >= MAX_PER_CALL or len(self._entries) >= MAX_TOTAL:
            raise RateLimited("As many listen in as may.", retry_after_s=RETRY_AFTER_S)
        self._opening[call.id] = pending + 1
        try:
            listener, parsed = await Listener.open(
                offer,
                voice=voice,
                call_codecs=codecs,
                translator=translator,
                sockets=self._sockets,
                certificates=self._certificates,
            )
        finally:
            self._opening[call.id] -= 1
            if not self._opening[call.id]:
                del self._opening[call.id]
        listener_id = secrets.token_urlsafe(16)
        playing = asyncio.create_task(listener.run(parsed), name=f"listener of {call.id}")
        task = asyncio.create_task(self._run(listener_id, call, listener, playing))
        self._entries[listener_id] = _Entry(call.id, listener, task)
        return listener_id, listener.answer

    async def close(self, call_id: str, listener_id: str) -> None:
        """Ends one. Raises NotFound."""
        entry = self._entries.get(listener_id)
        if entry is None or entry.call_id != call_id:
            raise NotFound("There is no such listener.")
        entry.listener.close()
        await asyncio.wait({entry.task}, timeout=CLOSE_TIMEOUT_S)

    async def close_all(self) -> None:
        """Ends all, in bounded time."""
        tasks = {entry.task for entry in self._entries.values()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)

    async def _run(
        self, listener_id: str, call: Call, listener: Listener, playing: asyncio.Task[None]
    ) -> None:
        over = asyncio.create_task(self._calls.finished(call))
        try:
            await asyncio.wait({playing, over}, return_when=asyncio.FIRST_COMPLETED)
            listener.close()
        finally:
            over.cancel()
            playing.cancel()  # where it is still connecting, or we are cancelled ourselves
            (failure,) = await asyncio.gather(playing, return_exceptions=True)
            await asyncio.gather(over, return_exceptions=True)
            self._entries.pop(listener_id, None)
            if isinstance(failure, Exception):
                log.error("listener.broke", session_id=call.id, exc_info=failure)
            log.info("listener.left", session_id=call.id, listener=listener_id)
