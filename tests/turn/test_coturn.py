"""A real coturn under our configuration: what works, and what an attacker gets."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from aioice import stun, turn

from relay.core.turncredentials import TurnCredentials, time_limited
from relay.turn import Coturn, CoturnOptions, CoturnUnavailable, render

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed"),
]

SECRET = "north"
PEER = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((PEER, 0))
        return int(sock.getsockname()[1])


@pytest.fixture
async def options() -> CoturnOptions:
    # The peer of these tests is on loopback, which is denied like all the rest but for `peers`.
    return CoturnOptions(secret=SECRET, peers=(PEER,), port=free_port(), listen=(PEER,))


@pytest.fixture
async def coturn(options: CoturnOptions) -> AsyncIterator[Coturn]:
    async with Coturn.running(options) as running:
        yield running


class Client(asyncio.DatagramProtocol):
    """An allocation's owner."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.got.put_nowait(data)


async def allocate(
    options: CoturnOptions, credentials: TurnCredentials, transport: str = "udp"
) -> turn.TurnClientMixin:
    endpoint, _ = await turn.create_turn_endpoint(
        Client,
        server_addr=(PEER, options.port),
        username=credentials.username,
        password=credentials.credential,
        transport=transport,
    )
    client = endpoint._TurnTransport__inner_protocol  # type: ignore[attr-defined]
    assert isinstance(client, turn.TurnClientMixin)
    return client


async def turnserver() -> psutil.Process:
    """The child process."""

    def find() -> psutil.Process:
        return next(c for c in psutil.Process().children() if "turnserver" in c.name())

    return await asyncio.to_thread(find)


def credentials(ttl_s: int = 60) -> TurnCredentials:
    return time_limited(SECRET, "rtc_test", now=time.time(), ttl_s=ttl_s)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_allocation_with_fresh_credentials_reaches_the_relay(
    coturn: Coturn, options: CoturnOptions, transport: str
) -> None:
    client = await allocate(options, credentials(), transport)

    await client.channel_bind(0x4000, (PEER, 40000))

    assert client.relayed_address is not None
    await client.delete()


@pytest.mark.parametrize(
    "bad",
    [
        time_limited(SECRET, "rtc_test", now=time.time() - 120, ttl_s=60),
        time_limited("south", "rtc_test", now=time.time(), ttl_s=60),
        TurnCredentials("rtc_test", "guess"),
    ],
    ids=["expired", "forged", "guessed"],
)
async def test_allocation_with_bad_credentials_is_refused(
    coturn: Coturn, options: CoturnOptions, bad: TurnCredentials
) -> None:
    with pytest.raises(stun.TransactionFailed) as refused:
        await allocate(options, bad)

    assert refused.value.response.error_code == 401


@pytest.mark.parametrize(
    "peer",
    [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.2",
        "127.255.255.254",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "8.8.8.8",
        "::1",
        "::",
        "::ffff:127.0.0.2",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "64:ff9b::7f00:2",
        "2001:db8::1",
    ],
)
async def test_peer_that_is_not_the_relay_is_denied(
    coturn: Coturn, options: CoturnOptions, peer: str
) -> None:
    client = await allocate(options, credentials())

    with pytest.raises(stun.TransactionFailed) as refused:
        await client.channel_bind(0x4000, (peer, 80))

    # 403 Forbidden; 443 Peer Address Family Mismatch for IPv6 on an IPv4 allocation
    assert refused.value.response.error_code in (403, 443)
    await client.delete()


async def test_allocations_of_one_user_are_bounded(coturn: Coturn, options: CoturnOptions) -> None:
    mine = credentials()
    clients = [await allocate(options, mine) for _ in range(options.user_quota)]

    with pytest.raises(stun.TransactionFailed) as refused:
        await allocate(options, mine)

    assert refused.value.response.error_code == 486
    for client in clients:
        await client.delete()


async def test_server_says_nothing_of_itself(coturn: Coturn, options: CoturnOptions) -> None:
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    class Probe(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            answer.set_result(data)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Probe, remote_addr=(PEER, options.port)
    )
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    transport.sendto(bytes(request))
    message = stun.parse_message(await asyncio.wait_for(answer, 3))
    transport.close()

    assert "XOR-MAPPED-ADDRESS" in message.attributes
    assert not {"SOFTWARE", "OTHER-ADDRESS", "MAPPED-ADDRESS"} & set(message.attributes)


async def test_server_that_dies_comes_back(coturn: Coturn, options: CoturnOptions) -> None:
    child = await turnserver()

    os.kill(child.pid, signal.SIGKILL)

    async with asyncio.timeout(10):
        while coturn.restarts == 0 or not coturn.is_running:
            await coturn.changed()
    client = await allocate(options, credentials())
    await client.delete()


async def test_context_that_ends_takes_the_server_with_it(options: CoturnOptions) -> None:
    async with Coturn.running(options):
        child = await turnserver()

    assert not await asyncio.to_thread(child.is_running)


async def test_machine_without_coturn_is_told_what_to_do(
    options: CoturnOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(CoturnUnavailable, match="install"):
        async with Coturn.running(options):
            pass


def test_configuration_with_a_certificate_offers_tls() -> None:
    with_tls = CoturnOptions(
        secret=SECRET, peers=(), tls_port=443, tls_cert=Path("c.pem"), tls_key=Path("k.pem")
    )

    assert "tls-listening-port=443\n" in render(with_tls)
    assert "no-tls\n" not in render(with_tls)


def test_options_do_not_show_the_secret() -> None:
    assert SECRET not in repr(CoturnOptions(secret=SECRET, peers=()))
