"""The OpenAI adapter against real HTTP servers on loopback, good and bad ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import (
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from relay.upstream.http import HttpOptions
from relay.upstream.openai import OpenAIOptions, OpenAIUpstream, call_id_of
from relay.upstream.provider import UpstreamOffer

KEY = "sk-server-0123456789"
OFFER = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
ANSWER = OFFER.replace("o=- 1", "o=- 7")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the server saw it."""

    method: str
    path_qs: str
    headers: dict[str, str]
    body: bytes


class Server:
    """An HTTP server that answers every request by `handler` and remembers what it saw."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.seen: list[Seen] = []
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        self.seen.append(Seen(request.method, request.path_qs, headers, body))
        return await self.handler(request)


@asynccontextmanager
async def serve(handler: Handler) -> AsyncIterator[Server]:
    server = Server(handler)
    runner = web.ServerRunner(
        web.Server(server.handle, handler_cancellation=True), shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}/v1"
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def upstream_at(url: str, **options: Any) -> AsyncIterator[OpenAIUpstream]:
    upstream = OpenAIUpstream(
        OpenAIOptions(KEY, HttpOptions(url, **{"warm_interval_s": None, **options}))
    )
    try:
        yield upstream
    finally:
        await upstream.close()


@pytest.fixture
async def calling() -> AsyncIterator[Callable[[Handler], Awaitable[tuple[Server, OpenAIUpstream]]]]:
    async with AsyncExitStack() as stack:

        async def build(handler: Handler) -> tuple[Server, OpenAIUpstream]:
            server = await stack.enter_async_context(serve(handler))
            return server, await stack.enter_async_context(upstream_at(server.url))

        yield build


Calling = Callable[[Handler], Awaitable[tuple[Server, OpenAIUpstream]]]


async def answering(_request: web.BaseRequest) -> web.Response:
    return web.Response(
        status=201,
        body=ANSWER.encode(),
        content_type="application/sdp",
        headers={"Location": "/v1/realtime/calls/rtc_u1_abc"},
    )


def answering_with(**response: Any) -> Handler:
    async def handler(_request: web.BaseRequest) -> web.Response:
        return web.Response(**response)

    return handler


def offer(**fields: Any) -> UpstreamOffer:
    return UpstreamOffer(**{"sdp": OFFER, "model": None, "session": None, **fields})


def parts_of(seen: Seen) -> dict[str, tuple[str, bytes]]:
    """A multipart body by hand, so that what is compared is what was on the wire."""
    boundary = seen.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    parts = {}
    for part in seen.body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {line.split(":")[0].lower(): line.split(": ", 1)[1] for line in lines}
        name = headers["content-disposition"].partition('name="')[2].split('"')[0]
        parts[name] = headers["content-type"], content.removesuffix(b"\r\n")
    return parts


async def test_openai_with_server_key_posts_both_parts_verbatim(calling: Calling) -> None:
    server, upstream = await calling(answering)
    session = {"type": "realtime", "instructions": "Sprich höflich."}

    answer = await upstream.open_call(offer(session=session, model="gpt-realtime-2"), timeout_s=5)

    assert (answer.sdp, answer.call_id) == (ANSWER, "rtc_u1_abc")
    assert 0 < answer.elapsed_s < 5
    (seen,) = server.seen
    assert (seen.method, seen.path_qs) == ("POST", "/v1/realtime/calls")
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["accept"] == "application/sdp"
    assert seen.headers["content-type"].startswith("multipart/form-data")
    parts = parts_of(seen)
    assert parts["sdp"] == ("application/sdp", OFFER.encode())  # the last CRLF included
    assert parts["session"][0] == "application/json"
    assert json.loads(parts["session"][1]) == {**session, "model": "gpt-realtime-2"}


async def test_openai_session_names_a_model_keeps_it(calling: Calling) -> None:
    server, upstream = await calling(answering)
    session = {"type": "transcription", "model": "gpt-live-transcribe"}

    await upstream.open_call(offer(session=session, model="gpt-realtime-2"), timeout_s=5)

    assert json.loads(parts_of(server.seen[0])["session"][1]) == session


async def test_openai_without_session_sends_the_type_alone(calling: Calling) -> None:
    server, upstream = await calling(answering)

    await upstream.open_call(offer(), timeout_s=5)

    assert json.loads(parts_of(server.seen[0])["session"][1]) == {"type": "realtime"}


async def test_openai_with_client_token_posts_the_bare_offer(calling: Calling) -> None:
    server, upstream = await calling(answering)

    await upstream.open_call(offer(credential="ek_client"), timeout_s=5)
    await upstream.open_call(offer(credential="ek_client", model="gpt realtime"), timeout_s=5)

    bare, with_model = server.seen
    assert bare.path_qs == "/v1/realtime/calls"
    assert with_model.path_qs in (
        "/v1/realtime/calls?model=gpt+realtime",
        "/v1/realtime/calls?model=gpt%20realtime",
    )
    assert bare.headers["authorization"] == "Bearer ek_client"
    assert bare.headers["content-type"] == "application/sdp"
    assert bare.body == OFFER.encode()
    assert KEY not in str(server.seen)


async def test_openai_with_client_token_and_a_session_posts_both(calling: Calling) -> None:
    server, upstream = await calling(answering)
    session = {"type": "realtime", "instructions": "Be brief."}

    await upstream.open_call(offer(credential="ek_client", session=session), timeout_s=5)

    (seen,) = server.seen
    assert seen.headers["authorization"] == "Bearer ek_client"
    assert parts_of(seen)["sdp"][1] == OFFER.encode()
    assert json.loads(parts_of(seen)["session"][1]) == session


async def test_openai_passes_the_known_client_headers_only(calling: Calling) -> None:
    server, upstream = await calling(answering)
    given = {"openai-safety-identifier": "u-1", "Cookie": "session=1", "OpenAI-Beta": "realtime=v1"}

    await upstream.open_call(offer(headers=given), timeout_s=5)

    (seen,) = server.seen
    assert seen.headers["openai-safety-identifier"] == "u-1"
    assert not {"cookie", "openai-beta"} & seen.headers.keys()


@pytest.mark.parametrize(
    ("location", "call_id"),
    [
        ("/v1/realtime/calls/rtc_123", "rtc_123"),
        ("/v1/realtime/calls/rtc_123/?x=1", "rtc_123"),
        ("https://res.example/openai/v1/realtime/calls?call_id=rtc_1", "rtc_1"),
        ("https://inworld.example/v1/realtime/calls/5f0c-11", "5f0c-11"),
        ("/v1/realtime/calls", None),
        ("/v1/realtime/calls/", None),
        ("/v1/realtime/calls/..", None),
        ("/v1/realtime/calls/a%2Fb", None),
        ("https://[broken/rtc_1", None),
        ("", None),
        (None, None),
    ],
)
def test_call_id_of_location_is_found_or_none(location: str | None, call_id: str | None) -> None:
    assert call_id_of(location) == call_id


@given(st.text())
def test_call_id_of_any_text_is_safe_in_a_path(location: str) -> None:
    call_id = call_id_of(location)

    assert call_id is None or not set(call_id) & set("/?#%\\ \r\n")


async def test_openai_refusal_keeps_status_body_and_retry_after(calling: Calling) -> None:
    body = b'{"error":{"message":"Slow down.","type":"rate_limit","code":"x","param":null}}'
    _, upstream = await calling(
        answering_with(
            status=429, body=body, content_type="application/json", headers={"Retry-After": "7"}
        )
    )

    with pytest.raises(UpstreamRefused) as caught:
        await upstream.open_call(offer(), timeout_s=5)

    refused = caught.value
    assert (refused.status, refused.body) == (429, body)
    assert refused.content_type == "application/json"
    assert refused.retry_after == "7"


async def test_openai_refusal_that_repeats_the_key_is_masked(calling: Calling) -> None:
    body = f"Incorrect API key provided: sk-serve********6789, in full {KEY}.".encode()
    _, upstream = await calling(answering_with(status=401, body=body))

    with pytest.raises(UpstreamRefused) as caught:
        await upstream.open_call(offer(), timeout_s=5)

    assert caught.value.body == b"Incorrect API key provided: sk-***, in full ***."


async def test_openai_huge_refusal_is_cut(calling: Calling) -> None:
    _, upstream = await calling(answering_with(status=500, body=b"x" * 1_000_000))

    with pytest.raises(UpstreamRefused) as caught:
        await upstream.open_call(offer(), timeout_s=5)

    assert len(caught.value.body) == 64 * 1024


async def test_openai_redirect_is_not_followed(calling: Calling) -> None:
    elsewhere, _ = await calling(answering)
    server, upstream = await calling(
        answering_with(status=307, headers={"Location": f"{elsewhere.url}/realtime/calls"})
    )

    with pytest.raises(UpstreamInvalid, match="307"):
        await upstream.open_call(offer(), timeout_s=5)

    assert len(server.seen) == 1
    assert elsewhere.seen == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b'{"sdp":"v=0"}',
        b" v=0\r\n",
        b"v=0\r\n\xff\xfe",
        b"v=0" * 200_000,
    ],
)
async def test_openai_answer_that_is_no_sdp_is_invalid(calling: Calling, body: bytes) -> None:
    _, upstream = await calling(answering_with(status=201, body=body))

    with pytest.raises(UpstreamInvalid):
        await upstream.open_call(offer(), timeout_s=5)


async def test_openai_answer_without_location_has_no_call_id(calling: Calling) -> None:
    _, upstream = await calling(answering_with(status=200, body=ANSWER.encode()))

    answer = await upstream.open_call(offer(), timeout_s=5)

    assert answer.call_id is None


async def test_openai_slow_answer_is_a_timeout(calling: Calling) -> None:
    async def never(_request: web.BaseRequest) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    _, upstream = await calling(never)

    with pytest.raises(UpstreamTimeout, match=r"did not answer within 0\.1 s"):
        await upstream.open_call(offer(), timeout_s=0.1)


async def test_openai_body_that_never_ends_is_a_timeout(calling: Calling) -> None:
    async def drip(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=201)
        await response.prepare(request)
        await response.write(b"v=0\r\n")
        await asyncio.Event().wait()
        return response

    _, upstream = await calling(drip)

    with pytest.raises(UpstreamTimeout):
        await upstream.open_call(offer(), timeout_s=0.1)


async def test_openai_cancelled_call_leaves_nothing_behind(calling: Calling) -> None:
    arrived = asyncio.Event()

    async def never(_request: web.BaseRequest) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    _, upstream = await calling(never)

    opening = asyncio.create_task(upstream.open_call(offer(), timeout_s=30))
    await arrived.wait()
    opening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await opening  # and the leak guard looks for its connection


@asynccontextmanager
async def raw_server(
    *replies: bytes | None,
) -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """A TCP server that reads a request's head and writes its n-th reply, then closes; None: hangs
    up without one. A reply that starts with "keep " leaves the connection open."""
    writers: list[asyncio.StreamWriter] = []
    pending = list(replies)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        keep = True
        while keep and pending:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
            reply = pending.pop(0)
            keep = reply is not None and reply.startswith(b"keep ")
            writer.write((reply or b"").removeprefix(b"keep "))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1", writers
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


def wire(sdp: str, call_id: str) -> bytes:
    body = sdp.encode()
    head = (
        "HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\n"
        f"Content-Length: {len(body)}\r\nLocation: /v1/realtime/calls/{call_id}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"\x16\x03\x01 garbage\r\n\r\n", UpstreamInvalid),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\nv=0", UpstreamInvalid),
        (None, UpstreamUnreachable),
    ],
)
async def test_openai_broken_http_is_a_typed_error(
    reply: bytes | None, error: type[Exception]
) -> None:
    async with raw_server(reply) as (url, _), upstream_at(url) as upstream:
        with pytest.raises(error):
            await upstream.open_call(offer(), timeout_s=5)


async def test_openai_kept_connection_closed_under_the_request_sends_it_again() -> None:
    replies = b"keep " + wire(ANSWER, "rtc_1"), None, wire(ANSWER, "rtc_2")

    async with raw_server(*replies) as (url, writers), upstream_at(url) as upstream:
        first = await upstream.open_call(offer(), timeout_s=5)
        second = await upstream.open_call(offer(), timeout_s=5)

        assert (first.call_id, second.call_id) == ("rtc_1", "rtc_2")
        assert len(writers) == 2


async def test_openai_new_connection_closed_under_the_request_is_not_sent_again() -> None:
    replies = None, wire(ANSWER, "rtc_1")

    async with raw_server(*replies) as (url, writers), upstream_at(url) as upstream:
        with pytest.raises(UpstreamUnreachable):
            await upstream.open_call(offer(), timeout_s=5)

        assert len(writers) == 1


async def test_openai_refused_port_is_unreachable(unused_tcp_port: int) -> None:
    async with upstream_at(f"http://127.0.0.1:{unused_tcp_port}/v1") as upstream:
        with pytest.raises(UpstreamUnreachable, match=r"upstream\.url") as caught:
            await upstream.open_call(offer(), timeout_s=5)

    assert KEY not in str(caught.value)


async def test_openai_unknown_name_is_unreachable() -> None:
    async with upstream_at("https://upstream.invalid/v1") as upstream:
        with pytest.raises(UpstreamUnreachable, match="was not found"):
            await upstream.open_call(offer(), timeout_s=5)


async def test_openai_hang_up_posts_to_the_call(calling: Calling) -> None:
    server, upstream = await calling(answering_with(status=200))

    await upstream.hang_up("rtc_1", timeout_s=5)
    await upstream.hang_up("rtc_2", credential="ek_client", timeout_s=5)

    first, second = server.seen
    assert (first.method, first.path_qs) == ("POST", "/v1/realtime/calls/rtc_1/hangup")
    assert first.body == b""
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert second.headers["authorization"] == "Bearer ek_client"


@pytest.mark.parametrize("status", [404, 410])
async def test_openai_hang_up_of_a_gone_call_is_fine(calling: Calling, status: int) -> None:
    server, upstream = await calling(answering_with(status=status))

    await upstream.hang_up("rtc_1", timeout_s=5)

    assert len(server.seen) == 1


async def test_openai_hang_up_refused_says_so(calling: Calling) -> None:
    _, upstream = await calling(answering_with(status=403))

    with pytest.raises(UpstreamRefused):
        await upstream.hang_up("rtc_1", timeout_s=5)


async def test_openai_closed_twice_is_fine(calling: Calling) -> None:
    _, upstream = await calling(answering)

    await upstream.close()
    await upstream.close()


def test_openai_options_in_a_log_show_no_secret() -> None:
    options = OpenAIOptions(KEY, HttpOptions("https://a", http_proxy="http://user:pass@proxy:1"))

    assert KEY not in repr(options)
    assert "pass" not in repr(options)
