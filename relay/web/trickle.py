"""`PATCH /v1/realtime/calls/{id}` and `…/candidates`: trickle both ways, and ICE restarts.

RFC 9725 §4.3 on OpenAI's path. That the relay's own candidates may come late, and by an event
stream, is ours: WHIP would have the answer wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from relay.core.errors import InvalidRequest, UnsupportedMediaType
from relay.core.sdpfrag import MEDIA_TYPE
from relay.policy.iceservers import IceServerList
from relay.session.calls import Calls
from relay.web.bodies import BodyLimits, read_body
from relay.web.door import Door
from relay.web.iceservers import ice_server_links
from relay.web.sse import HEARTBEAT_S, EventStream, event_stream

_END: Final = "a=end-of-candidates"
_END_ID: Final = "end"


class TrickleRoutes:
    """The handlers of a running call's ICE."""

    def __init__(
        self, door: Door, calls: Calls, servers: IceServerList, limits: BodyLimits
    ) -> None:
        self._door = door
        self._calls = calls
        self._servers = servers
        self._limits = limits

    def routes(self) -> list[web.RouteDef]:
        one = "/v1/realtime/calls/{call_id}"
        return [
            web.patch(one, self.patch),
            web.get(f"{one}/candidates", self.candidates, allow_head=False),
        ]

    async def patch(self, request: web.Request) -> web.Response:
        """204 for candidates; 200 with our end of the new ICE session for a restart."""
        principal = self._door.identify_owner(request)
        call_id = request.match_info["call_id"]
        self._calls.find(call_id, principal)  # before the body, which may take its time
        text = await self._read(request)
        call = self._calls.find(call_id, principal)
        restarted = call.patch(text, _if_match(request))
        if restarted is None:
            return web.Response(status=204)
        response = web.Response(
            body=restarted.fragment.encode(),
            headers={
                "Content-Type": MEDIA_TYPE,
                "ETag": f'"{restarted.etag}"',
                "Cache-Control": "no-store",
            },
        )
        for link in ice_server_links(self._servers, call.id):
            response.headers.add("Link", link)
        return response

    async def candidates(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events until all of our candidates are told, or the call is over."""
        principal = self._door.identify_owner(request)
        call = self._calls.find(request.match_info["call_id"], principal)
        if request.headers.get("Last-Event-ID") == _END_ID:
            return web.Response(status=204)  # an EventSource asks no more
        with call.ice.reading() as lines:
            async with event_stream(request) as stream:
                await _tell(stream, lines)
            return stream.response

    async def _read(self, request: web.Request) -> str:
        if request.content_type != MEDIA_TYPE:
            raise UnsupportedMediaType(f"The body should be {MEDIA_TYPE}.", accept_patch=MEDIA_TYPE)
        try:
            return (await read_body(request, self._limits)).decode()
        except UnicodeDecodeError:
            raise InvalidRequest("The fragment is not UTF-8.", code="invalid_sdpfrag") from None


def _if_match(request: web.Request) -> frozenset[str] | None:
    """The strong tags, which alone can match (RFC 9110 §13.1.1). RFC 9725 writes any as `"*"`."""
    if request.if_match is None:
        return None
    return frozenset(tag.value for tag in request.if_match if not tag.is_weak)


async def _tell(stream: EventStream, lines: AsyncIterator[str]) -> None:
    number = 0
    while True:
        waiting = asyncio.ensure_future(anext(lines, None))
        try:
            while not (await asyncio.wait({waiting}, timeout=HEARTBEAT_S))[0]:
                await stream.beat()
            line = waiting.result()
        finally:
            waiting.cancel()
        if line is None:
            return
        number += 1
        if line == _END:
            await stream.send("end-of-candidates", line.encode(), _END_ID)
        else:
            await stream.send("candidate", line.encode(), number)
