from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from relay.loadtest.signaling import Answered, CallFailed, Signaling, calls_url

Handler = Callable[[web.Request], Awaitable[web.Response]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/realtime/calls"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080/v1/realtime/calls"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1/realtime/calls"),
        ("https://example.org/v1", "https://example.org/v1/realtime/calls"),
        ("https://example.org/api/v1/", "https://example.org/api/v1/realtime/calls"),
        (
            "https://example.org/v1/realtime/calls?model=gpt-realtime",
            "https://example.org/v1/realtime/calls?model=gpt-realtime",
        ),
        ("http://[::1]:8080", "http://[::1]:8080/v1/realtime/calls"),
        ("http://127.0.0.1/session", "http://127.0.0.1/session"),
    ],
)
def test_calls_url_of_what_people_type_is_where_offers_go(given: str, url: str) -> None:
    assert calls_url(given) == url


@pytest.mark.parametrize("given", ["", "ftp://example.org", "http://", "://", "http://[::1"])
def test_calls_url_of_no_http_url_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        calls_url(given)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        servers.append(TestServer(app, host="127.0.0.1"))
        await servers[-1].start_server()
        return str(servers[-1].make_url("/"))

    yield start
    for server in servers:
        await server.close()


@pytest.fixture
async def signaling_to() -> AsyncIterator[Callable[[str], Signaling]]:
    opened: list[Signaling] = []

    def to(url: str) -> Signaling:
        opened.append(Signaling(url, "secret"))
        return opened[-1]

    yield to
    for signaling in opened:
        await signaling.close()


async def test_post_answered_gives_the_answer_and_an_absolute_location(
    serve: Serve, signaling_to: Callable[[str], Signaling]
) -> None:
    async def handle(request: web.Request) -> web.Response:
        assert request.path == "/v1/realtime/calls"
        assert request.headers["Authorization"] == "Bearer secret"
        assert request.content_type == "application/sdp"
        body = "answer to " + await request.text()
        return web.Response(status=201, text=body, headers={"Location": "/v1/realtime/calls/rtc_1"})

    url = await serve(handle)

    answered = await signaling_to(url).post("offer")

    assert answered.sdp == "answer to offer"
    assert answered.location == f"{url.rstrip('/')}/v1/realtime/calls/rtc_1"
    assert answered.elapsed_ms > 0


async def test_post_without_a_location_has_none(
    serve: Serve, signaling_to: Callable[[str], Signaling]
) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=201, text="answer")

    answered = await signaling_to(await serve(handle)).post("offer")

    assert answered == Answered("answer", None, answered.elapsed_ms)


async def test_post_refused_fails_with_the_status(
    serve: Serve, signaling_to: Callable[[str], Signaling]
) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=429, text="slow down")

    with pytest.raises(CallFailed, match="status_429: slow down") as caught:
        await signaling_to(await serve(handle)).post("offer")

    assert caught.value.reason == "status_429"


async def test_post_to_nobody_fails(
    serve: Serve, signaling_to: Callable[[str], Signaling], unused_tcp_port: int
) -> None:
    with pytest.raises(CallFailed) as caught:
        await signaling_to(f"http://127.0.0.1:{unused_tcp_port}").post("offer")

    assert caught.value.reason == "no_answer"


@pytest.mark.parametrize(("status", "taken"), [(200, True), (404, False)])
async def test_hang_up_says_whether_it_was_taken(
    serve: Serve, signaling_to: Callable[[str], Signaling], status: int, taken: bool
) -> None:
    asked: list[tuple[str, str]] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append((request.method, request.path))
        return web.Response(status=status)

    url = await serve(handle)

    assert await signaling_to(url).hang_up(f"{url}v1/realtime/calls/rtc_1") is taken
    assert asked == [("DELETE", "/v1/realtime/calls/rtc_1")]
