"""The composed server before a simulator, and a caller that reaches it as settings and faults let
it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from relay.app import Prepared, prepare, serving
from relay.simulator import Faults, Simulator, SimulatorOptions
from relay.simulator.faults import Fail
from tests.simulator.caller import Caller
from tests.web.conftest import Log, settings_with

LOOPBACK: dict[str, Any] = {
    "http.port": 0,
    "ice.bind": ["127.0.0.1"],
    "upstream.provider": "simulator",
}
UPSTREAM_HOST = "127.0.0.2"
"""This machine, and yet none of the names for which a proxy is left out."""


def prepared_with(overrides: dict[str, Any]) -> Prepared:
    """Reads files: outside the loop."""
    return prepare(settings_with({**LOOPBACK, **overrides}))


@dataclass(frozen=True, slots=True)
class Served:
    """A server that takes calls. `url` is its API's."""

    origin: str
    stack: AsyncExitStack

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    def caller(self, **ice: Any) -> Caller:
        caller = Caller(self.url, **ice)
        self.stack.push_async_callback(caller.close)
        return caller

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as http, http.get(f"{self.origin}{path}") as response:
            return response.status, await response.text()

    async def paths(self, leg: str) -> list[tuple[str, str]]:
        """(types, protocol) of the pairs that carried such legs, as /metrics has them."""
        _, text = await self.get("/metrics")
        return [
            (sample.labels["type"], sample.labels["protocol"])
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "relay_ice_pairs_total" and sample.labels["leg"] == leg
        ]


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.end()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def serve(stack: AsyncExitStack) -> Serve:
    """`await serve(prepared)`, before a simulator whose UDP leads nowhere with `no_udp`."""

    async def serve(prepared: Prepared, *, no_udp: bool = False) -> Served:
        options = SimulatorOptions(
            host=UPSTREAM_HOST, faults=Faults(fail=Fail.NO_UDP) if no_udp else Faults()
        )
        url = await stack.enter_async_context(Simulator(options))
        prepared = with_upstream(prepared, url=url)
        server = await stack.enter_async_context(serving(prepared))
        return Served(server.url, stack)

    return serve


def with_upstream(prepared: Prepared, **changes: Any) -> Prepared:
    """Settings that are known only when something listens."""
    upstream = prepared.settings.upstream.model_copy(update=changes)
    return replace(prepared, settings=prepared.settings.model_copy(update={"upstream": upstream}))
