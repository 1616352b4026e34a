"""A sideband that reads, one that does not, and one that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from relay.simulator import sideband as sideband_module
from relay.simulator.sideband import MAX_QUEUED, Sideband

Connect = Callable[[], Awaitable[tuple[Sideband, aiohttp.ClientWebSocketResponse]]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens a sideband: the server's end and the client's."""
    served: asyncio.Queue[Sideband] = asyncio.Queue()

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sideband = Sideband()
        served.put_nowait(sideband)
        await sideband.serve(socket, lambda message: sideband.send(f"got {message!r}"))
        return socket

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as http:

        async def connect() -> tuple[Sideband, aiohttp.ClientWebSocketResponse]:
            port = runner.addresses[0][1]
            socket = await http.ws_connect(f"http://127.0.0.1:{port}/")
            return await served.get(), socket

        yield connect
    await runner.cleanup()


async def test_sideband_ended_writes_what_is_queued_first(connect: Connect) -> None:
    sideband, client = await connect()

    sideband.send("one")
    sideband.end(reason="hangup")
    sideband.end(reason="again")
    sideband.send("too late")
    received = [await client.receive(timeout=2.0) for _ in range(2)]

    assert received[0].data == "one"
    assert (received[1].data, received[1].extra) == (1001, "hangup")


async def test_sideband_passes_text_and_bytes_on(connect: Connect) -> None:
    _, client = await connect()

    await client.send_str("a")
    await client.send_bytes(b"b")

    assert [await client.receive_str(), await client.receive_str()] == ["got 'a'", "got b'b'"]
    await client.close()


async def test_sideband_of_a_client_that_does_not_read_is_closed_with_1013(
    connect: Connect,
) -> None:
    sideband, client = await connect()

    for n in range(MAX_QUEUED + 10):  # without a turn for the writer
        sideband.send(str(n))
    received = [await client.receive(timeout=2.0) for _ in range(MAX_QUEUED)]

    assert received[-1].data == 1013
    assert len(received) == MAX_QUEUED


async def test_sideband_whose_writes_get_stuck_is_given_up(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sideband_module, "WRITE_TIMEOUT_S", 0.2)
    sideband, client = await connect()
    assert client._response.connection is not None
    client._response.connection.transport.pause_reading()  # type: ignore[union-attr]

    for _ in range(100):
        sideband.send("x" * 1_000_000)
    sideband.end()
    async with asyncio.timeout(3.0):
        while sideband.is_served:  # noqa: ASYNC110 — no event tells
            await asyncio.sleep(0.01)

    client._response.connection.transport.abort()  # type: ignore[union-attr]
    await client.close()
