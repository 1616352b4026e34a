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
from relay.stores.folders import AUDIO_FILES
from relay.web.admin_gate import AdminGate
from relay.web.keptfile import send_kept
from relay.web.operator import Operator

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
        session_id = request.match_info["session_id"]
        kept = await self._operator.find(session_id)
        names = _of_codec(await kept.audio(name), request.query.get("codec"))
        if not names:
            raise NotFound("This session has no such audio.")
        file = await self._operator.file(kept, names[0])
        if _is_beginning(request):
            tell_export(self._gate, request, session_id, names[0])
        kind = _AUDIO_TYPES[Path(names[0]).suffix]
        return await send_kept(request, file, headers_of(session_id, names[0], kind))


def _of_codec(names: tuple[str, ...], codec: str | None) -> tuple[str, ...]:
    if codec is None:
        return names
    if codec not in ("opus", "pcmu", "pcma"):
        raise InvalidRequest("codec is opus, pcmu or pcma.", param="codec")
    suffix = ".ogg" if codec == "opus" else f".{codec}.wav"
    return tuple(name for name in names if name.endswith(suffix))


def _is_beginning(request: web.Request) -> bool:
    """A player that goes on, or jumps, is told of once."""
    return request.headers.get(hdrs.RANGE, "bytes=0-").startswith("bytes=0-")


def headers_of(session_id: str, name: str, content_type: str) -> dict[str, str]:
    """Of a file of a session's."""
    return {
        "Content-Type": content_type,
        "Content-Disposition": f'inline; filename="{session_id}.{name}"',
        "Cache-Control": "no-store",
    }


def tell_export(gate: AdminGate, request: web.Request, session_id: str, what: str) -> None:
    """The audit line of what leaves."""
    log.info("admin.exported", session_id=session_id, by=gate.who(request), what=what)


def _json_text(transcript: Transcript) -> str:
    return json.dumps(transcript.to_json(), ensure_ascii=False)


_TRANSCRIPTS: Final[dict[str, Callable[[Transcript], str]]] = {
    "text/vtt": webvtt,
    "text/plain": plain_text,
}
