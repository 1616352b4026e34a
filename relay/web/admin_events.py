"""A session's events: of a live call as they come, of a stored one as a file or page by page."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final, cast, get_args

from aiohttp import hdrs, web

from relay.core.errors import InvalidRequest, RateLimited
from relay.core.ids import Direction
from relay.core.rfc3339 import rfc3339
from relay.stores.eventpage import MAX_LIMIT, EventPage, EventQuery, event_page
from relay.stores.folders import EVENTS
from relay.taps.live import Gap, LiveEvent
from relay.taps.observer import Watched
from relay.web.admin_files import headers_of, tell_export
from relay.web.admin_gate import AdminGate
from relay.web.keptfile import send_kept
from relay.web.numbers import whole_number
from relay.web.operator import Operator
from relay.web.sse import EVENT_STREAM, HEARTBEAT_S, EventStream, event_stream

MAX_READERS: Final = 32
"""Of one call's events, at a time."""

_MAX_TEXT: Final = 200


class EventRoutes:
    """The handler below one session."""

    def __init__(self, operator: Operator, gate: AdminGate) -> None:
        self._operator = operator
        self._gate = gate

    def routes(self, session: str) -> list[web.RouteDef]:
        return [web.get(f"{session}/events", self.events, allow_head=False)]

    async def events(self, request: web.Request) -> web.StreamResponse:
        """A page where `limit` asks for one; else server-sent events while the call runs, and
        `events.jsonl` once it is over."""
        session_id = request.match_info["session_id"]
        watched = self._operator.watched(session_id)
        if "limit" in request.query:
            return _page(await self._operator.events(session_id, _query_of(request)))
        if watched is not None:
            return await _stream(request, watched)
        kept = await self._operator.find(session_id)
        if EVENT_STREAM in request.headers.get(hdrs.ACCEPT, ""):
            return web.Response(status=204)  # an EventSource that comes again asks no more
        file = await self._operator.file(kept, EVENTS)
        tell_export(self._gate, request, session_id, EVENTS)
        return await send_kept(request, file, headers_of(session_id, EVENTS, "application/jsonl"))


def _page(page: EventPage) -> web.Response:
    told = b'{"events":[%b],"next":%b}' % (
        b",".join(page.events),
        b"null" if page.next is None else b"%d" % page.next,
    )
    return web.Response(body=told, content_type="application/json", charset="utf-8")


def _query_of(request: web.Request) -> EventQuery:
    found = request.query
    direction = found.get("direction") or None
    if direction not in (None, *get_args(Direction)):
        raise InvalidRequest("direction is up or down.", param="direction")
    for name in ("type", "q"):
        if len(found.get(name, "")) > _MAX_TEXT:
            raise InvalidRequest(f"{name} has at most {_MAX_TEXT} characters.", param=name)
    return EventQuery(
        after=_number(request, "after", -1),
        limit=max(1, min(MAX_LIMIT, _number(request, "limit", MAX_LIMIT))),
        direction=cast("Direction | None", direction),
        type=found.get("type", ""),
        text=found.get("q", ""),
    )


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    if not text or text == "-1":
        return default
    number = whole_number(text)
    if number is None:
        raise InvalidRequest(f"{name} is a number.", param=name)
    return number


# --- server-sent events ---


async def _stream(request: web.Request, watched: Watched) -> web.StreamResponse:
    live = watched.live
    if live.readers >= MAX_READERS:
        raise RateLimited("As many read this call's events as may.", retry_after_s=10.0)
    async with event_stream(request) as stream:
        async for found in live.read(_since(request), HEARTBEAT_S):
            match found:
                case None:
                    await stream.beat()
                case Gap():
                    await _fill(stream, watched, found)
                case LiveEvent():
                    data = json.dumps(_event_json(found)).encode(errors="replace")
                    await stream.send("event", data, found.sequence)
        await stream.send("end", b"{}")
    return stream.response


def _since(request: web.Request) -> int:
    """The number of the first event that is wanted: the one after `Last-Event-ID`; all, if none."""
    last = whole_number(request.headers.get("Last-Event-ID", ""))
    return 0 if last is None else last + 1


async def _fill(stream: EventStream, watched: Watched, gap: Gap) -> None:
    """What the recorder has of events that are not in memory any more, and the gap that is left."""
    first = gap.first
    if watched.recorded is not None:
        path, after = watched.recorded.folder.events, cast("int | None", gap.first - 1)
        while after is not None:
            page = await asyncio.to_thread(_page_of, path, EventQuery(after=after, last=gap.last))
            for event in page.events:
                first = int(event[len(b'{"seq":') : event.index(b",")]) + 1
                await stream.send("event", event, first - 1)
            after = page.next
    if first <= gap.last:
        data = json.dumps({"first": first, "last": gap.last}).encode()
        await stream.send("gap", data, gap.last)


def _page_of(path: Path, query: EventQuery) -> EventPage:
    try:
        return event_page(path, query)
    except OSError:  # nothing was written, or cannot be read: the gap says so
        return EventPage((), None)


def _event_json(event: LiveEvent) -> dict[str, Any]:
    """`event` is the message as JSON; `text` what is none; neither, where it was too large."""
    known: dict[str, Any] = {
        "seq": event.sequence,
        "at": rfc3339(event.at),
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
