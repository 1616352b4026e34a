"""The network of a test in this folder, and what was logged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog

from relay.rtc import IceOptions
from tests.rtc.network import LOOPBACK, Network


@pytest.fixture
def network_options() -> IceOptions:
    """For a module to override."""
    return LOOPBACK


@pytest.fixture
async def network(network_options: IceOptions) -> AsyncIterator[Network]:
    network = Network(network_options)
    yield network
    await network.close()


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """The log's entries; structlog's default renderer would block the loop."""
    with structlog.testing.capture_logs() as entries:
        yield entries
