"""A stored call's waveform: made when the call ends, or when somebody asks for it first."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web

from relay.core.errors import Conflict, NotFound, Overloaded
from relay.stores.folders import Folder
from relay.stores.kept import KeptFile, KeptHere
from relay.stores.reading import line_of, looks_live, state_of
from relay.taps.render import Work
from relay.taps.voices import SIDES
from relay.taps.waveform import WAVEFORM
from relay.web.operator import Operator, looking, told_by_the_store

RETRY_AFTER_S: Final = 1
MAX_BYTES: Final = 8 * 1024 * 1024
"""Of a `waveform.json`, several times what we write."""

_WANTED: Final[tuple[Work, ...]] = ("waveform",)


class WaveformRoutes:
    """The handler below one session."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def routes(self, session: str) -> list[web.RouteDef]:
        return [web.get(f"{session}/waveform", self.waveform)]

    async def waveform(self, request: web.Request) -> web.Response:
        """200 with it; 202 while it is being made; 404 of a live call, and where there is no audio;
        409 where it cannot be made."""
        session_id = request.match_info["session_id"]
        if self._operator.watched(session_id) is not None:
            raise NotFound("A live call has no waveform yet.")
        kept = await self._operator.find(session_id)
        with told_by_the_store():
            file = await kept.file(WAVEFORM)
        if file is not None:
            return await _answer(request, file)
        if not isinstance(kept, KeptHere):  # what was uploaded stays as it is
            raise NotFound("This session has no waveform.")
        return await self._make(kept.folder)

    async def _make(self, folder: Folder) -> web.Response:
        renderer = self._operator.renderer
        assert renderer is not None  # as there is a store
        found = await asyncio.to_thread(_look_at, folder)
        if self._operator.observer.holds(folder.id) or found.is_live:
            raise NotFound("A live call has no waveform yet.")
        if not found.has_audio:
            raise NotFound("This session has no audio.")
        reason = renderer.failure(folder)
        if reason is not None:
            raise Conflict(f"The waveform could not be made: {reason}")
        if not renderer.put(folder, _WANTED, found.duration_s, first=True):
            raise Overloaded("Too many recordings wait to be rendered.", retry_after_s=30.0)
        headers = {hdrs.RETRY_AFTER: str(RETRY_AFTER_S)}
        return web.json_response(found.told, status=202, headers=headers)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a folder without a waveform is like. `duration_s` None: it is not known."""

    is_live: bool
    has_audio: bool
    duration_s: float | None
    told: dict[str, object]


def _look_at(folder: Folder) -> _Found:
    """By a thread."""
    session = folder.session()
    duration_s = session.get("duration_s")
    is_running = state_of(session, "waveform") == "running"
    return _Found(
        is_live=looks_live(folder),
        has_audio=any(folder.audio(side) for side in SIDES),
        duration_s=float(duration_s) if isinstance(duration_s, int | float) else None,
        told={
            "state": "running" if is_running else "waiting",
            "progress": line_of(session, "waveform").get("progress") if is_running else 0.0,
        },
    )


async def _answer(request: web.Request, file: KeptFile) -> web.Response:
    accepts_gzip = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower()
    known = request.headers.get(hdrs.IF_NONE_MATCH, "")
    tag, body = await looking("waveform", _read, file, known, is_zipped=accepts_gzip)
    headers = {
        hdrs.ETAG: tag,
        hdrs.CACHE_CONTROL: "private, no-cache",  # kept, and asked for each time: it may be deleted
        hdrs.VARY: "Accept-Encoding",
    }
    if body is None:
        return web.Response(status=304, headers=headers)
    if accepts_gzip:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(body=body, content_type="application/json", headers=headers)


def _read(file: KeptFile, known: str, *, is_zipped: bool) -> tuple[str, bytes | None]:
    """Its tag, the same for both encodings, and its bytes; None where the tag is a known one. By a
    thread."""
    with file.open("rb") as opened:
        data = opened.read(MAX_BYTES)
    tag = f'W/"{hashlib.sha256(data).hexdigest()[:32]}"'
    if tag in known:
        return tag, None
    return tag, gzip.compress(data, 6, mtime=0) if is_zipped else data
