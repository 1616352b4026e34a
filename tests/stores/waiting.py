"""Waiting in tests: for conditions that no event tells, with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

WAIT_S = 20.0


async def until(condition: Callable[[], bool]) -> None:
    """A condition that another process, thread or task makes true."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  (no event tells)
            await asyncio.sleep(0.01)


async def until_async(condition: Callable[[], Awaitable[bool]]) -> None:
    """The same, of a condition that has to be asked for."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():  # noqa: ASYNC110  (no event tells)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """A task for the time of the block. What it raises by itself fails the test."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        was_running = task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert was_running, "it ended by itself"
