"""TLS with a private authority, a corporate proxy, and the connection that is kept warm."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs
from yarl import URL

from relay.core.errors import UpstreamTimeout, UpstreamUnreachable
from relay.upstream.http import BodyLimits, HttpClient, HttpOptions, HttpReply

LIMITS = BodyLimits(ok=1000, error=1000)
NAME = "upstream.test"


def _certificate(
    subject: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    signer, signing_key = (name, key) if issuer is None else (issuer[0].subject, issuer[1])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(issuer is None, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()),
            critical=False,
        )
    )
    if issuer is None:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        names = [x509.DNSName(subject), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signing_key, hashes.SHA256()), key


@dataclass(frozen=True, slots=True)
class Authority:
    """A private certificate authority, and a server context with a certificate of it."""

    bundle: Path
    server: ssl.SSLContext


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    directory = tmp_path_factory.mktemp("ca")
    root = _certificate("Test CA", None)
    leaf, leaf_key = _certificate(NAME, root)
    bundle, pair = directory / "ca.pem", directory / "server.pem"
    pem = serialization.Encoding.PEM
    bundle.write_bytes(root[0].public_bytes(pem))
    pair.write_bytes(
        leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + leaf.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return Authority(bundle, context)


@dataclass(slots=True)
class TlsServer:
    """Counts the requests, and the connections whose TLS handshake is done."""

    port: int = 0
    requests: int = 0
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    connected: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self.connected:
            self.connections.append(writer)
            self.connected.notify_all()
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        writer.close()

    async def wait_for(self, connections: int) -> None:
        async with asyncio.timeout(5), self.connected:
            await self.connected.wait_for(lambda: len(self.connections) >= connections)


@asynccontextmanager
async def listening(handle: Any, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A TCP or TLS server on loopback; its port. All its connections end with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await handle(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await server.wait_closed()


@pytest.fixture
async def tls_server(authority: Authority) -> AsyncIterator[TlsServer]:
    server = TlsServer()
    async with listening(server.handle, tls=authority.server) as server.port:
        yield server


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


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncIterator[HttpClient]:
    client = HttpClient(HttpOptions(url, **{"warm_interval_s": None, **options}))
    try:
        yield client
    finally:
        await client.close()


async def post(client: HttpClient, url: str) -> HttpReply:
    return await client.exchange(
        URL(url), headers={}, body=lambda: None, limits=LIMITS, timeout_s=5
    )


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
