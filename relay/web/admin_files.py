"""What there is of a session: its events, live or stored, its transcript, its audio."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import hdrs, web

from relay.core.captions import plain_text, webvtt
from relay.core.errors import InvalidRequest, NotFound, RateLimited
from relay.core.transcript import Transcript
from relay.stores.folders import AUDIO_FILES, Folder
from relay.taps.live import Gap, LiveEvent, LiveEvents
from relay.web.admin_gate import AdminGate
from relay.web.operator import Operator

HEARTBEAT_S: Final = 15.0
WRITE_TIMEOUT_S: Final = 10.0
MAX_READERS: Final = 32
"""Of one call's events, at a time."""

EVENT_STREAM: Final = "text/event-stream"
_AUDIO_TYPES: Final = {".ogg": "audio/ogg", ".wav": "audio/wav"}

log = structlog.get_logger(__name__)


class FileRoutes:
    """The handlers below one session."""

    def __init__(self, operator: Operator, gate: AdminGate) -> None:
        self._operator = operator
        self._gate = gate

    def routes(self, session: str) -> list[web.RouteDef]:
        return [
            web.get(f"{session}/events", self.events, allow_head=False),
            web.get(f"{session}/transcript", self.transcript),
            web.get(f"{session}/transcript.json", self.transcript_json),
            web.get(f"{session}/transcript.vtt", self.transcript_vtt),
            web.get(f"{session}/transcript.txt", self.transcript_txt),
            web.get(f"{session}/audio/{{side}}", self.audio),
        ]

    # -- events

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events while the call runs; `events.jsonl` once it is over."""
        session_id = request.match_info["session_id"]
        watched = self._operator.watched(session_id)
        if watched is not None:
            return await _stream(request, watched.live)
        folder = await self._operator.folder(session_id)
        if EVENT_STREAM in request.headers.get(hdrs.ACCEPT, ""):
            return web.Response(status=204)  # an EventSource that comes again asks no more
        return await self._file(request, folder, folder.events, "application/jsonl")

    # -- transcript

    async def transcript(self, request: web.Request) -> web.Response:
        """In the form that `Accept` prefers; JSON unless it names another."""
        accepted = request.headers.get(hdrs.ACCEPT, "")
        for kind, write in _TRANSCRIPTS.items():
            if kind in accepted:
                return await self._transcript(request, kind, write)
        return await self.transcript_json(request)

    async def transcript_json(self, request: web.Request) -> web.Response:
        return await self._transcript(request, "application/json", _json_text)

    async def transcript_vtt(self, request: web.Request) -> web.Response:
        return await self._transcript(request, "text/vtt", webvtt)

    async def transcript_txt(self, request: web.Request) -> web.Response:
        return await self._transcript(request, "text/plain", plain_text)

    async def _transcript(
        self, request: web.Request, kind: str, write: Callable[[Transcript], str]
    ) -> web.Response:
        session_id = request.match_info["session_id"]
        transcript = await self._operator.transcript(session_id)
        text = await asyncio.to_thread(write, transcript)  # an hour's is long
        self._tell_export(request, session_id, "transcript")
        return web.Response(
            body=text.encode(errors="replace"),
            headers={"Content-Type": f"{kind}; charset=utf-8", "Vary": "Accept"},
        )

    # -- audio

    async def audio(self, request: web.Request) -> web.StreamResponse:
        """A side's file, or a range of it. Where it changed its codec, `?codec=` names the file."""
        name = request.match_info["side"]
        if name not in AUDIO_FILES:
            raise NotFound("The sides are client, upstream and mix.")
        folder = await self._operator.folder(request.match_info["session_id"])
        paths = await asyncio.to_thread(folder.audio, name)
        codec = request.query.get("codec")
        if codec is not None:
            if codec not in ("opus", "pcmu", "pcma"):
                raise InvalidRequest("codec is opus, pcmu or pcma.", param="codec")
            suffix = ".ogg" if codec == "opus" else f".{codec}.wav"
            paths = tuple(path for path in paths if path.name.endswith(suffix))
        if not paths:
            raise NotFound("This session has no such audio.")
        return await self._file(request, folder, paths[0], _AUDIO_TYPES[paths[0].suffix])

    async def _file(
        self, request: web.Request, folder: Folder, path: Path, content_type: str
    ) -> web.StreamResponse:
        if not await asyncio.to_thread(_is_plain, path):
            raise NotFound("This session has no such file.")
        if "Range" not in request.headers or request.headers["Range"].startswith("bytes=0-"):
            self._tell_export(request, folder.id, path.name)
        return web.FileResponse(
            path,
            headers={
                "Content-Type": content_type,
                "Content-Disposition": f'inline; filename="{folder.id}.{path.name}"',
                "Cache-Control": "no-store",
            },
        )

    def _tell_export(self, request: web.Request, session_id: str, what: str) -> None:
        log.info("admin.exported", session_id=session_id, by=self._gate.who(request), what=what)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _json_text(transcript: Transcript) -> str:
    return json.dumps(transcript.to_json(), ensure_ascii=False)


_TRANSCRIPTS: Final[dict[str, Callable[[Transcript], str]]] = {
    "text/vtt": webvtt,
    "text/plain": plain_text,
}


# --- server-sent events ---


async def _stream(request: web.Request, live: LiveEvents) -> web.StreamResponse:
    if live.readers >= MAX_READERS:
        raise RateLimited("As many read this call's events as may.", retry_after_s=10.0)
    since = _since(request)
    response = web.StreamResponse(
        headers={
            "Content-Type": EVENT_STREAM,
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    await response.prepare(request)
    with suppress(TimeoutError, ConnectionResetError):  # a reader that is gone, or stuck
        async for found in live.read(since, HEARTBEAT_S):
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await response.write(_sse(found).encode(errors="replace"))
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await response.write(b"event: end\ndata: {}\n\n")
    return response


def _since(request: web.Request) -> int:
    """The number of the first event that is wanted: the one after `Last-Event-ID`; all, if none."""
    text = request.headers.get("Last-Event-ID", "")
    return int(text) + 1 if text.isascii() and text.isdecimal() and len(text) < 16 else 0


def _sse(found: LiveEvent | Gap | None) -> str:
    match found:
        case None:
            return ":\n\n"
        case Gap():
            data = {"first": found.first, "last": found.last}
            return f"event: gap\nid: {found.last}\ndata: {json.dumps(data)}\n\n"
    return f"event: event\nid: {found.sequence}\ndata: {json.dumps(_event_json(found))}\n\n"


def _event_json(event: LiveEvent) -> dict[str, Any]:
    """`event` is the message as JSON; `text` what is none; neither, where it was too large."""
    known: dict[str, Any] = {
        "seq": event.sequence,
        "at": event.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "direction": event.direction,
        "bytes": event.size,
    }
    if event.message is None:
        return known
    try:
        parsed = json.loads(event.message)
        json.dumps(parsed, allow_nan=False)
    except (ValueError, RecursionError):
        text = event.message
        return {**known, "text": text if isinstance(text, str) else text.decode(errors="replace")}
    return {**known, "event": parsed}
