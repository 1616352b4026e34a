"""A TLS server with a private authority, and clients of it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from relay.upstream.http import BodyLimits, HttpClient, HttpOptions, HttpReply

LIMITS = BodyLimits(ok=1000, error=1000)
NAME = "upstream.test"


def make_certificate(
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
    root = make_certificate("Test CA", None)
    leaf, leaf_key = make_certificate(NAME, root)
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
