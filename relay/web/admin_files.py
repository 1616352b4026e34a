"""What there is of a session in files: its transcript, its audio."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from aiohttp import hdrs, web

from relay.core.captions import plain_text, webvtt
from relay.core.errors import InvalidRequest, NotFound
from relay.core.transcript import Transcript
from relay.stores.folders import AUDIO_FILES, Folder
from relay.web.admin_gate import AdminGate
from relay.web.operator import Operator

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
            web.get(f"{session}/transcript", self.transcript),
            web.get(f"{session}/transcript.json", self.transcript_json),
            web.get(f"{session}/transcript.vtt", self.transcript_vtt),
            web.get(f"{session}/transcript.txt", self.transcript_txt),
            web.get(f"{session}/audio/{{side}}", self.audio),
        ]

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
        tell_export(self._gate, request, session_id, "transcript")
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
        return await send_file(request, self._gate, folder, paths[0], _AUDIO_TYPES[paths[0].suffix])


async def send_file(
    request: web.Request, gate: AdminGate, folder: Folder, path: Path, content_type: str
) -> web.StreamResponse:
    """One of a folder's files, or a range of it. Raises NotFound."""
    if not await asyncio.to_thread(_is_plain, path):
        raise NotFound("This session has no such file.")
    if "Range" not in request.headers or request.headers["Range"].startswith("bytes=0-"):
        tell_export(gate, request, folder.id, path.name)
    return web.FileResponse(
        path,
        headers={
            "Content-Type": content_type,
            "Content-Disposition": f'inline; filename="{folder.id}.{path.name}"',
            "Cache-Control": "no-store",
        },
    )


def tell_export(gate: AdminGate, request: web.Request, session_id: str, what: str) -> None:
    """The audit line of what leaves."""
    log.info("admin.exported", session_id=session_id, by=gate.who(request), what=what)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _json_text(transcript: Transcript) -> str:
    return json.dumps(transcript.to_json(), ensure_ascii=False)


_TRANSCRIPTS: Final[dict[str, Callable[[Transcript], str]]] = {
    "text/vtt": webvtt,
    "text/plain": plain_text,
}
