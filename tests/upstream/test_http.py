"""TLS with a private authority, a corporate proxy, and the connection that is kept warm."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest
from structlog.testing import capture_logs

from relay.core.errors import UpstreamTimeout, UpstreamUnreachable
from tests.upstream.conftest import (
    NAME,
    Authority,
    TlsServer,
    client_of,
    listening,
    post,
)


class Proxy:
    """A CONNECT proxy: every name is this machine. Remembers each request's head."""

    def __init__(self, refuse: bytes | None = None) -> None:
        self.refuse = refuse
        self.heads: list[str] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self.refuse is not None:
            writer.write(self.refuse)
            await writer.drain()
            return
        port = int(head.split()[1].rpartition(":")[2])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer))
                group.create_task(_pump(far_reader, writer))
        finally:
            far_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_http_private_authority_with_its_bundle_is_trusted(
    tls_server: TlsServer, authority: Authority
) -> None:
    url = f"https://127.0.0.1:{tls_server.port}"

    async with client_of(url, ca_bundle=authority.bundle) as client:
        reply = await post(client, url)

    assert (reply.status, reply.body) == (200, b"ok")


async def test_http_private_authority_without_its_bundle_says_what_to_do(
    tls_server: TlsServer,
) -> None:
    url = f"https://127.0.0.1:{tls_server.port}"

    async with client_of(url) as client:
        with pytest.raises(UpstreamUnreachable, match=r"upstream\.ca_bundle"):
            await post(client, url)

    assert tls_server.requests == 0


async def test_http_tls_to_a_plain_server_says_what_to_do() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with listening(plain) as port:
        url = f"https://127.0.0.1:{port}"
        async with client_of(url) as client:
            with pytest.raises(UpstreamUnreachable, match="TLS"):
                await post(client, url)


async def test_http_proxy_with_credentials_is_asked_for_a_tunnel(
    tls_server: TlsServer, authority: Authority
) -> None:
    proxy = Proxy()
    url = f"https://{NAME}:{tls_server.port}"

    async with listening(proxy.handle) as port:
        through = f"http://user:p%40ss@127.0.0.1:{port}"
        async with client_of(url, ca_bundle=authority.bundle, http_proxy=through) as client:
            reply = await post(client, url)

    assert reply.status == 200
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {NAME}:{tls_server.port} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic dXNlcjpwQHNz\r\n" in head  # user:p@ss


async def test_http_proxy_that_refuses_says_so_without_its_credentials() -> None:
    proxy = Proxy(refuse=b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
    url = f"https://{NAME}:443"

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(proxy.handle))
        through = f"http://user:secret@127.0.0.1:{port}"
        client = await stack.enter_async_context(client_of(url, http_proxy=through))
        with pytest.raises(UpstreamUnreachable, match="407") as caught:
            await post(client, url)

    assert "secret" not in caught.value.message
    assert "upstream.http_proxy" in caught.value.message


async def test_http_proxy_that_is_down_names_the_setting(unused_tcp_port: int) -> None:
    url = f"https://{NAME}:443"

    async with client_of(url, http_proxy=f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(UpstreamUnreachable, match=r"upstream\.http_proxy"):
            await post(client, url)


async def test_http_loopback_upstream_is_reached_without_the_proxy(
    tls_server: TlsServer, authority: Authority, unused_tcp_port: int
) -> None:
    url = f"https://127.0.0.1:{tls_server.port}"
    proxy = f"http://127.0.0.1:{unused_tcp_port}"

    async with client_of(url, ca_bundle=authority.bundle, http_proxy=proxy) as client:
        reply = await post(client, url)

    assert reply.status == 200


async def test_http_first_request_finds_a_warm_connection(
    tls_server: TlsServer, authority: Authority
) -> None:
    url = f"https://127.0.0.1:{tls_server.port}"

    async with client_of(url, ca_bundle=authority.bundle) as client:
        await client.warm()
        await tls_server.wait_for(1)
        await client.warm()
        assert (len(tls_server.connections), tls_server.requests) == (1, 0)
        await post(client, url)

    assert (len(tls_server.connections), tls_server.requests) == (1, 1)


async def test_http_through_a_proxy_first_request_finds_a_warm_connection(
    tls_server: TlsServer, authority: Authority
) -> None:
    proxy = Proxy()
    url = f"https://{NAME}:{tls_server.port}"

    async with listening(proxy.handle) as port:
        through = f"http://user:pass@127.0.0.1:{port}"
        async with client_of(url, ca_bundle=authority.bundle, http_proxy=through) as client:
            await client.warm()
            await post(client, url)

    assert len(proxy.heads) == 1
    assert (len(tls_server.connections), tls_server.requests) == (1, 1)


async def test_http_closed_connection_is_opened_again_by_itself(
    tls_server: TlsServer, authority: Authority
) -> None:
    url = f"https://127.0.0.1:{tls_server.port}"

    async with client_of(url, ca_bundle=authority.bundle, warm_interval_s=0.01):
        await tls_server.wait_for(1)
        tls_server.connections[0].close()
        await tls_server.wait_for(2)

    assert tls_server.requests == 0


async def test_http_warming_that_fails_backs_off() -> None:
    attempts: asyncio.Queue[None] = asyncio.Queue()

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.put_nowait(None)
        writer.close()

    options = {"warm_interval_s": 0.001, "warm_backoff_max_s": 0.005}
    async with listening(hang_up) as port, asyncio.timeout(10):
        with capture_logs() as logs:
            async with client_of(f"https://127.0.0.1:{port}", **options):
                for _ in range(6):
                    await attempts.get()

    waits = [entry["retry_in_s"] for entry in logs if entry["event"] == "upstream.warming_failed"]
    assert waits[:5] == [0.002, 0.004, 0.005, 0.005, 0.005]


async def test_http_warming_a_silent_server_has_a_deadline() -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(silent))
        url = f"https://127.0.0.1:{port}"
        client = await stack.enter_async_context(client_of(url, warm_timeout_s=0.1))
        with pytest.raises(UpstreamTimeout):
            await client.warm()


async def test_http_closed_while_warming_leaves_nothing_behind() -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(silent))
        url = f"https://127.0.0.1:{port}"
        await stack.enter_async_context(client_of(url, warm_interval_s=1.0))
        await asyncio.wait_for(asked.wait(), 5)
