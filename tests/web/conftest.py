"""A listening HTTP surface over real calls, and an upstream that answers as it is told."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from relay.app import admission_for, web_application
from relay.app.options import revealed
from relay.app.turn import server_list
from relay.core.pricing import PriceTable
from relay.rtc import CertificateStore, IceOptions, Sockets
from relay.session.calls import Calls
from relay.session.listeners import Listeners
from relay.session.meters import Meters
from relay.session.model import SessionOptions
from relay.settings import Settings
from relay.taps.observer import Observer
from relay.taps.reader import Reader
from relay.telemetry.logging import logging_to
from relay.telemetry.metrics import Metrics
from relay.upstream.provider import UpstreamAnswer, UpstreamOffer
from relay.web.assets import Asset
from relay.web.operator import Operator
from relay.web.server import Listener, listen
from tests.core.sdp_samples import CHROME, OPENAI_ANSWER

OFFER = CHROME
PAGE = Asset(b"<!doctype html>", "text/html; charset=utf-8", "abc")

# Without candidates: no test sends a packet to where OpenAI's are.
ANSWER = re.sub(r"a=candidate:.*\r\n", "", OPENAI_ANSWER)


@dataclass(slots=True)
class ToldUpstream:
    """An `Upstream` that answers at once, or once `may_answer` is set, or with `error`."""

    offers: list[UpstreamOffer] = field(default_factory=list)
    hung_up: list[str] = field(default_factory=list)
    error: Exception | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def open_call(self, offer: UpstreamOffer, *, timeout_s: float) -> UpstreamAnswer:
        self.offers.append(offer)
        self.asked.set()
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return UpstreamAnswer(ANSWER, f"rtc_upstream_{len(self.offers)}", 0.001)

    async def hang_up(
        self, call_id: str, *, credential: str | None = None, timeout_s: float
    ) -> None:
        self.hung_up.append(call_id)

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running surface: `http` speaks to it, `calls` and `upstream` are behind it."""

    application: web.Application
    http: aiohttp.ClientSession
    port: int
    calls: Calls
    upstream: ToldUpstream

    @property
    def offer(self) -> UpstreamOffer:
        """What went upstream, once."""
        (offer,) = self.upstream.offers
        return offer


def settings_with(overrides: Mapping[str, object]) -> Settings:
    """`section.key` → value over the defaults; unlike `load`, without a look at any file."""
    nested: dict[str, dict[str, object]] = {}
    for name, value in overrides.items():
        section, _, key = name.partition(".")
        nested.setdefault(section, {})[key] = value
    return Settings.model_validate(nested)


Serve = Callable[..., Awaitable[Server]]


class Log(io.StringIO):
    """What the relay logs, set up as in production: written behind its back."""

    def __init__(self) -> None:
        super().__init__()
        self._writing = ExitStack()
        self._writing.enter_context(logging_to(self, level="debug"))

    async def whole(self) -> str:
        """Everything that was logged; nothing is from now on."""
        await asyncio.to_thread(self.end)
        return self.getvalue()

    def end(self) -> None:
        self._writing.close()


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.end()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`server = await serve({"auth.mode": "keys"})`: the surface with these settings. More words
    are IceOptions."""
    async with AsyncExitStack() as stack:

        async def serve(
            overrides: dict[str, object] | None = None,
            *,
            why_not_ready: str | None = None,
            **ice: Any,
        ) -> Server:
            settings = settings_with(overrides or {})
            sockets = Sockets(IceOptions(**{"bind": ("127.0.0.1",), **ice}))
            sockets.open()
            stack.callback(sockets.close)
            certificates = CertificateStore()
            turn = settings.turn
            upstream = ToldUpstream()
            upstream.may_answer.set()
            options = SessionOptions(max_sessions=settings.session.max_sessions)
            calls = Calls(upstream, sockets, certificates, options)
            stack.push_async_callback(calls.close)
            metrics = Metrics()
            metrics.watch(calls)
            admission = admission_for(settings, calls.live_count)
            application = web_application(
                settings,
                calls=calls,
                admission=admission,
                metrics=metrics,
                servers=server_list(turn, turn.urls, revealed(turn.secret)),
                assets={"index.html": PAGE, "relay.js": PAGE},
                why_not_ready=lambda: why_not_ready,
                operator=Operator(
                    calls,
                    Observer(Reader(PriceTable(()))),
                    None,
                    Listeners(calls, sockets, certificates),
                    Meters(calls),
                    drain=admission.drain,
                    is_draining=lambda: admission.draining,
                ),
                dashboard={"index.html": PAGE},
            )
            runner, port = await listen(application, Listener("127.0.0.1", 0))
            stack.push_async_callback(runner.cleanup)
            http = aiohttp.ClientSession(f"http://127.0.0.1:{port}")
            stack.push_async_callback(http.close)
            return Server(application, http, port, calls, upstream)

        yield serve
