"""Server-sent events (WHATWG HTML §9.2), to one reader, who may be gone or stuck."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiohttp import web

EVENT_STREAM: Final = "text/event-stream"
HEARTBEAT_S: Final = 15.0
"""After so long without an event a comment goes out: proxies give up what is silent."""

WRITE_TIMEOUT_S: Final = 10.0


class EventStream:
    """What has been begun by `event_stream`."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def send(self, event: str, data: bytes, number: int | str | None = None) -> None:
        """One event; `data` is one line, `number` its id. Raises TimeoutError where the reader
        takes nothing, ConnectionResetError where it is gone: the block of the stream ends then."""
        known = b"" if number is None else f"id: {number}\n".encode()
        await self._write(b"event: %b\n%bdata: %b\n\n" % (event.encode(), known, data))

    async def beat(self) -> None:
        """The heartbeat."""
        await self._write(b":\n\n")

    async def _write(self, data: bytes) -> None:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await self.response.write(data)


@asynccontextmanager
async def event_stream(request: web.Request) -> AsyncIterator[EventStream]:
    """Answers with a stream, in whose block events are sent. That a reader leaves or is stuck ends
    the block, and is no error."""
    response = web.StreamResponse(
        headers={
            "Content-Type": EVENT_STREAM,
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx would keep it all until the end
        }
    )
    await response.prepare(request)
    with suppress(TimeoutError, ConnectionResetError):
        yield EventStream(response)
