"""The composed server: a real relay before a real simulator, both in this process."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.app import CannotStart, Prepared, prepare, serving
from relay.loadtest.model import LoadModel
from relay.loadtest.run import LoadOptions, run_load
from relay.loadtest.speech import stored_payloads
from relay.simulator import Simulator, SimulatorOptions
from tests.core.sdp_samples import CHROME
from tests.web.conftest import ANSWER, settings_with

SDP = {"Content-Type": "application/sdp"}


def prepare_with(overrides: dict[str, object] | None = None) -> Prepared:
    loopback = {
        "http.port": 0,
        "ice.bind": ["127.0.0.1"],
        "upstream.provider": "simulator",
        **(overrides or {}),
    }
    return prepare(settings_with(loopback))


@pytest.fixture
def prepared() -> Prepared:
    """Outside the loop, for it reads files."""
    return prepare_with()


def calling(prepared: Prepared, url: str) -> Prepared:
    upstream = prepared.settings.upstream.model_copy(update={"url": url})
    settings = prepared.settings.model_copy(update={"upstream": upstream})
    return replace(prepared, settings=settings)


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    return list(stored_payloads())


@pytest.mark.slow
async def test_server_carries_voice_and_events_and_counts_them(
    prepared: Prepared, payloads: list[bytes]
) -> None:
    async with (
        Simulator(SimulatorOptions(load=True)) as upstream_url,
        serving(calling(prepared, upstream_url)) as server,
        aiohttp.ClientSession() as http,
    ):
        options = LoadOptions(server.url, LoadModel(2), seconds=1)
        report = await run_load(options, payloads, lambda *_: None)
        async with http.get(f"{server.url}/metrics") as response:
            lines = (await response.text()).splitlines()

    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert report.failed == 0
    assert float(values['relay_sessions_total{outcome="completed"}']) == 2
    assert float(values["relay_sessions"]) == 0
    assert float(values["relay_setup_seconds_count"]) == 2
    for labels in ('direction="up",leg="client"', 'direction="down",leg="client"'):
        assert float(values[f"relay_packets_total{{{labels}}}"]) > 100


@dataclass(slots=True)
class SlowUpstream:
    """OpenAI's two paths; an offer is answered once `may_answer` is set."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: list[str] = field(default_factory=list)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/v1/realtime/calls", self.open)
        application.router.add_post("/v1/realtime/calls/{id}/hangup", self.hang_up)
        return application

    async def open(self, request: web.Request) -> web.Response:
        await request.read()
        self.asked.set()
        await self.may_answer.wait()
        location = {"Location": "/v1/realtime/calls/rtc_slow"}
        return web.Response(status=201, body=ANSWER.encode(), headers={**SDP, **location})

    async def hang_up(self, request: web.Request) -> web.Response:
        self.hung_up.append(request.match_info["id"])
        return web.Response()


async def test_server_that_stops_is_not_ready_and_leaves_no_call_upstream(
    prepared: Prepared,
) -> None:
    upstream = SlowUpstream()
    async with (
        TestServer(upstream.application(), host="127.0.0.1") as listening,
        aiohttp.ClientSession() as http,
        AsyncExitStack() as stack,
    ):
        served = serving(calling(prepared, str(listening.make_url("/v1"))))
        server = await stack.enter_async_context(served)
        calls = f"{server.url}/v1/realtime/calls"
        opening = asyncio.create_task(status_of(http, "POST", calls))
        await asyncio.wait_for(upstream.asked.wait(), 5)

        stopping = asyncio.create_task(stack.aclose())
        while await status_of(http, "GET", f"{server.url}/readyz") == 200:
            assert not stopping.done()
        refused = await status_of(http, "POST", calls)
        upstream.may_answer.set()
        await asyncio.wait_for(stopping, 10)

        assert refused == 503
        assert await opening == 503
        assert upstream.hung_up == ["rtc_slow"]


async def test_server_with_a_certificate_speaks_https(prepared_tls: Prepared) -> None:
    trusting = ssl.create_default_context(cafile=prepared_tls.settings.http.tls_cert)
    async with serving(prepared_tls) as server, aiohttp.ClientSession() as http:
        assert server.url.startswith("https://127.0.0.1:")
        async with http.get(f"{server.url}/healthz", ssl=trusting) as response:
            assert response.status == 200


@pytest.fixture
def prepared_tls(tmp_path: Path) -> Prepared:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return prepare_with(
        {"http.tls_cert": tmp_path / "cert.pem", "http.tls_key": tmp_path / "key.pem"}
    )


def test_prepare_without_an_upstream_key_says_what_to_do() -> None:
    with pytest.raises(CannotStart, match="OPENAI_API_KEY"):
        prepare(settings_with({}))


async def status_of(http: aiohttp.ClientSession, method: str, url: str) -> int:
    data = CHROME if method == "POST" else None
    async with http.request(method, url, data=data, headers=SDP) as response:
        return response.status
