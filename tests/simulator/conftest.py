"""A running simulator, and callers for it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import structlog

from relay.simulator import Simulator, SimulatorOptions
from tests.simulator.caller import Caller

OpenCaller = Callable[..., Awaitable[Caller]]


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """The log's entries; structlog's default renderer would block the loop."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Not yet started, so that a test may still choose its options."""
    simulator = Simulator(SimulatorOptions(think_s=0.05))
    yield simulator
    await simulator.stop()


@pytest.fixture
async def open_caller(simulator: Simulator) -> AsyncIterator[OpenCaller]:
    """`caller = await open_caller()`: starts the simulator the first time; no call is made yet."""
    urls: list[str] = []
    async with contextlib.AsyncExitStack() as stack:

        async def open_caller() -> Caller:
            if not urls:
                urls.append(await simulator.start())
            caller = Caller(urls[0])
            stack.push_async_callback(caller.close)
            return caller

        yield open_caller
