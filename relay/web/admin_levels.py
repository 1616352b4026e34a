"""How loud the live calls are just now, as server-sent events, for the dashboard's meters."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from aiohttp import web

from relay.session.meters import Meters, Reader, Readings
from relay.web.admin_files import EVENT_STREAM

HEARTBEAT_S: Final = 15.0
WRITE_TIMEOUT_S: Final = 10.0


class LevelRoutes:
    """One handler."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def routes(self, root: str) -> list[web.RouteDef]:
        return [web.get(f"{root}/levels", self.levels, allow_head=False)]

    async def levels(self, request: web.Request) -> web.StreamResponse:
        """Of all live calls; with `?session=` of one, until it is over."""
        async with self._meters.reading(request.query.get("session")) as reader:
            response = web.StreamResponse(
                headers={
                    "Content-Type": EVENT_STREAM,
                    "Cache-Control": "no-store",
                    "X-Accel-Buffering": "no",
                }
            )
            await response.prepare(request)
            with suppress(TimeoutError, ConnectionResetError):  # a reader that is gone, or stuck
                await _tell(response, reader)
            return response


async def _tell(response: web.StreamResponse, reader: Reader) -> None:
    """Where there is no call, nothing but a heartbeat."""
    before, told_at = b"", -HEARTBEAT_S
    while (levels := await reader.next()) is not None:
        told = _sse(levels)
        if not levels and told == before:
            if time.monotonic() < told_at + HEARTBEAT_S:
                continue
            told = b":\n\n"
        else:
            before = told
        await _write(response, told)
        told_at = time.monotonic()
    await _write(response, b"event: end\ndata: {}\n\n")


async def _write(response: web.StreamResponse, told: bytes) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await response.write(told)


def _sse(levels: Readings) -> bytes:
    calls = {call_id: asdict(found) for call_id, found in levels.items()}
    return b"event: levels\ndata: %b\n\n" % json.dumps({"calls": calls}).encode()
