"""How loud the live calls are just now, as server-sent events, for the dashboard's meters."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

from aiohttp import web

from relay.session.meters import Meters, Reader, Readings
from relay.web.sse import HEARTBEAT_S, EventStream, event_stream


class LevelRoutes:
    """One handler."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def routes(self, root: str) -> list[web.RouteDef]:
        return [web.get(f"{root}/levels", self.levels, allow_head=False)]

    async def levels(self, request: web.Request) -> web.StreamResponse:
        """Of all live calls; with `?session=` of one, until it is over."""
        async with self._meters.reading(request.query.get("session")) as reader:
            async with event_stream(request) as stream:
                await _tell(stream, reader)
            return stream.response


async def _tell(stream: EventStream, reader: Reader) -> None:
    """Where there is no call, nothing but a heartbeat."""
    before, told_at = b"", -HEARTBEAT_S
    while (levels := await reader.next()) is not None:
        told = _told(levels)
        if levels or told != before:
            await stream.send("levels", told)
        elif time.monotonic() >= told_at + HEARTBEAT_S:
            await stream.beat()
        else:
            continue
        before, told_at = told, time.monotonic()
    await stream.send("end", b"{}")


def _told(levels: Readings) -> bytes:
    calls = {call_id: asdict(found) for call_id, found in levels.items()}
    return json.dumps({"calls": calls}).encode()
