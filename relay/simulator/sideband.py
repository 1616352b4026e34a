"""A sideband: a WebSocket that sees a call's server events and may send client events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web

MAX_QUEUED = 1000
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
WRITE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class _End:
    code: int
    reason: str


class Sideband:
    """One listener of a call. Its queue is bounded: who does not read is closed with 1013."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | _End] = asyncio.Queue(MAX_QUEUED)
        self._ended = False
        self.is_served = False

    def send(self, text: str) -> None:
        if self._queue.full():
            self.end(WSCloseCode.TRY_AGAIN_LATER, "too slow")
        elif not self._ended:
            self._queue.put_nowait(text)

    def end(self, code: int = WSCloseCode.GOING_AWAY, reason: str = "") -> None:
        """Closes it after what is queued. Twice is fine."""
        if self._ended:
            return
        self._ended = True
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(_End(code, reason))

    async def serve(
        self, socket: web.WebSocketResponse, receive: Callable[[str | bytes], None]
    ) -> None:
        """Reads and writes until either side is done; `receive` takes the client's events."""
        self.is_served = True
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(socket))
                async for message in socket:
                    if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                        receive(message.data)
                writer.cancel()
        finally:
            self.is_served = False

    async def _write(self, socket: web.WebSocketResponse) -> None:
        try:
            while isinstance(item := await self._queue.get(), str):
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await socket.send_str(item)
            await socket.close(code=item.code, message=item.reason.encode())
        except TimeoutError:
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, drain=False)
        except ConnectionError:
            return  # the reader sees it too, and ends the sideband
