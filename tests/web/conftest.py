"""A listening HTTP surface over calls that only note what they are asked for."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp
import pytest

from relay.app import admission_for, web_application
from relay.core.errors import NotFound
from relay.core.ids import CallId
from relay.core.principal import Principal
from relay.policy.admission import Admission
from relay.settings import Settings
from relay.telemetry.logging import logging_to
from relay.telemetry.metrics import Metrics
from relay.web.pages import Asset
from relay.web.ports import CallRequest
from relay.web.server import Listener, listen

ANSWER = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
OFFER = "v=0\r\no=- 2 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
PAGE = Asset(b"<!doctype html>", "text/html; charset=utf-8", "abc")


@dataclass(frozen=True, slots=True)
class NotedCall:
    id: CallId
    owner: str
    answer: str = ANSWER
    etag: str = "AbCd.EfGh"


@dataclass(slots=True)
class NotedCalls:
    """Answers every offer, or raises `error`; knows its calls by owner, as the real one does."""

    requests: list[CallRequest] = field(default_factory=list)
    live: dict[str, NotedCall] = field(default_factory=dict)
    error: Exception | None = None
    before_answer: Callable[[], Awaitable[object]] | None = None

    async def create(self, request: CallRequest) -> NotedCall:
        self.requests.append(request)
        if self.before_answer is not None:
            await self.before_answer()
        if self.error is not None:
            raise self.error
        call = NotedCall(CallId(f"rtc_{len(self.requests)}"), request.principal.owner)
        self.live[call.id] = call
        return call

    def find(self, call_id: str, principal: Principal) -> NotedCall:
        call = self.live.get(call_id)
        if call is None or call.owner != principal.owner:
            raise NotFound("There is no such call.")
        return call

    async def hang_up(self, call: NotedCall, reason: str) -> None:
        del self.live[call.id]


@dataclass(frozen=True, slots=True)
class Server:
    """A running surface: `http` speaks to it, `calls` and `admission` are behind it."""

    http: aiohttp.ClientSession
    port: int
    calls: NotedCalls
    admission: Admission

    @property
    def request(self) -> CallRequest:
        """The only call that was asked for."""
        (request,) = self.calls.requests
        return request


def settings_with(overrides: Mapping[str, object]) -> Settings:
    """`section.key` → value over the defaults; unlike `load`, without a look at any file."""
    nested: dict[str, dict[str, object]] = {}
    for name, value in overrides.items():
        section, _, key = name.partition(".")
        nested.setdefault(section, {})[key] = value
    return Settings.model_validate(nested)


Serve = Callable[..., Awaitable[Server]]


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    """What the relay logs, whole after the test's requests; here it is set up as in production."""
    stream = io.StringIO()
    with logging_to(stream, level="debug"):
        yield stream


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`server = await serve({"auth.mode": "keys"})`: the surface with these settings."""
    async with AsyncExitStack() as stack:

        async def serve(
            overrides: dict[str, object] | None = None, *, why_not_ready: str | None = None
        ) -> Server:
            settings = settings_with(overrides or {})
            calls = NotedCalls()
            admission = admission_for(settings, lambda: len(calls.live))
            application = web_application(
                settings,
                calls=calls,
                admission=admission,
                metrics=Metrics(),
                assets={"index.html": PAGE, "relay.js": PAGE},
                why_not_ready=lambda: why_not_ready,
            )
            runner, port = await listen(application, Listener("127.0.0.1", 0))
            stack.push_async_callback(runner.cleanup)
            http = aiohttp.ClientSession(f"http://127.0.0.1:{port}")
            stack.push_async_callback(http.close)
            return Server(http, port, calls, admission)

        yield serve
