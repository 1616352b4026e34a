"""A file at the target as an answer, where the target fails when half of it has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from relay.stores.archive import LIST_TIMEOUT_S, Archive, ArchiveOptions, ArchiveUnavailable
from relay.stores.kept import RemoteFile
from relay.web.keptfile import send_kept
from relay.web.problems import response_for

SIZE = 3 * 1024 * 1024


class Breaking(Archive):
    """An archive whose objects end too early: before the first portion, or before the second."""

    def __init__(self, options: ArchiveOptions, portions: int) -> None:
        super().__init__(options)
        self._portions = portions

    async def read(
        self,
        key: str,
        *,
        start: int = 0,
        end: int | None = None,
        timeout_s: float = LIST_TIMEOUT_S,
    ) -> AsyncGenerator[bytes]:
        for _ in range(self._portions):
            yield bytes(1024 * 1024)
        raise ArchiveUnavailable(f"get {key}: no answer")


@asynccontextmanager
async def answering(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def handler_of(archive: Archive) -> Any:
    file = RemoteFile(archive, "2026-03-14/rtc_1/client.ogg", SIZE, None)

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return await send_kept(request, file, {"Content-Type": "audio/ogg"})
        except Exception as error:
            return response_for(error)

    return handler


async def test_file_that_breaks_off_at_the_target_ends_the_connection(tmp_path: Path) -> None:
    archive = Breaking(ArchiveOptions(tmp_path.as_uri()), portions=1)
    async with (
        answering(handler_of(archive)) as url,
        aiohttp.ClientSession() as http,
        http.get(url) as response,
    ):
        status, length = response.status, response.content_length
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(response.read(), 10)

    assert (status, length) == (200, SIZE)


async def test_file_that_does_not_begin_at_the_target_is_told_as_an_error(tmp_path: Path) -> None:
    archive = Breaking(ArchiveOptions(tmp_path.as_uri()), portions=0)
    async with (
        answering(handler_of(archive)) as url,
        aiohttp.ClientSession() as http,
        http.get(url) as response,
    ):
        body = await response.json()

    assert response.status == 503
    assert response.headers["Retry-After"] == "5"
    assert body["error"]["code"] == "store_unavailable"
