"""A stored file as an answer, whole or a range of it, whether it lies here or at the target.

In scope: one range (RFC 9110 §14), and `If-Range` with an entity tag. Memory stays flat, and each
step has its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from aiohttp import hdrs, web

from relay.core.errors import NotFound
from relay.stores.archive import ArchiveUnavailable
from relay.stores.kept import KeptFile, RemoteFile
from relay.web.operator import told_by_the_store

WRITE_TIMEOUT_S: Final = 60.0
"""For a portion of a remote file: a player that pauses asks for the rest again, by a range."""

log = structlog.get_logger(__name__)


async def send_kept(
    request: web.Request, file: KeptFile, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answers 200, 206 or 416. Raises NotFound, StoreUnavailable."""
    if isinstance(file, Path):
        return web.FileResponse(file, headers=headers)
    found = _range_of(request, file)
    if found is None:
        return web.Response(
            status=416, headers={hdrs.CONTENT_RANGE: f"bytes */{file.size}", **headers}
        )
    response = web.StreamResponse(status=206 if found.is_part else 200, headers=headers)
    response.headers[hdrs.ACCEPT_RANGES] = "bytes"
    response.content_length = found.stop - found.start
    if _is_tag(file.etag):
        response.headers[hdrs.ETAG] = str(file.etag)
    if found.is_part:
        span = f"bytes {found.start}-{found.stop - 1}/{file.size}"
        response.headers[hdrs.CONTENT_RANGE] = span
    if request.method == hdrs.METH_HEAD:
        return response
    async with aclosing(file.read(found.start, found.stop)) as portions:
        with told_by_the_store():
            first = await _first(portions)  # before anything is sent: it may be an error
        await response.prepare(request)
        await _send(request, response, first, portions)
    return response


@dataclass(frozen=True, slots=True)
class _Range:
    """From `start` until before `stop`."""

    start: int
    stop: int
    is_part: bool


def _range_of(request: web.Request, file: RemoteFile) -> _Range | None:
    """What is asked for; None: there is nothing of it."""
    whole = _Range(0, file.size, is_part=False)
    tag = request.headers.get(hdrs.IF_RANGE)
    if hdrs.RANGE not in request.headers or (tag is not None and tag != file.etag):
        return whole
    try:
        wanted = request.http_range
    except ValueError:
        return None
    start, stop, _ = wanted.indices(file.size)
    return None if start >= stop else _Range(start, stop, is_part=True)


async def _first(portions: AsyncIterator[bytes]) -> bytes:
    try:
        return await anext(portions, b"")
    except FileNotFoundError:
        raise NotFound("This session has no such file any more.") from None


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    first: bytes,
    portions: AsyncIterator[bytes],
) -> None:
    try:
        await _write(response, first)
        async for portion in portions:
            await _write(response, portion)
    except (ArchiveUnavailable, FileNotFoundError, TimeoutError, ConnectionResetError) as error:
        # The status has left: only a connection that breaks says that the body is not whole.
        log.warning("archive.read_broke", path=request.path, reason=str(error) or "too slow")
        if request.transport is not None:
            request.transport.abort()


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await response.write(data)


def _is_tag(etag: str | None) -> bool:
    """A strong one: what is made of times and sizes (`W/…`, or no quotation marks) is none."""
    return etag is not None and etag.startswith('"') and etag.endswith('"') and etag.isascii()
