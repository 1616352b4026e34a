"""The stage of a test in this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import structlog

from relay.rtc import IceOptions
from relay.session.model import SessionOptions
from tests.session.stage import RELAY_ICE, Stage


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """The log's entries. An error among them fails the test, unless the test takes it out."""
    with structlog.testing.capture_logs() as entries:
        yield entries
    assert not [entry for entry in entries if entry["log_level"] in ("error", "critical")]


@pytest.fixture
async def staged() -> AsyncIterator[Callable[..., Awaitable[Stage]]]:
    """Makes stages with options of the test's."""
    async with AsyncExitStack() as stack:

        async def build(
            upstream_url: str | None = None, ice: IceOptions = RELAY_ICE, **options: Any
        ) -> Stage:
            stage = Stage(stack)
            await stage.start(SessionOptions(**options), upstream_url, ice)
            return stage

        yield build


@pytest.fixture
async def stage(staged: Callable[..., Awaitable[Stage]]) -> Stage:
    return await staged()
