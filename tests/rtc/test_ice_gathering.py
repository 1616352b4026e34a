"""Candidates that take time: the shared port's mapping by STUN, relayed addresses by TURN."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aioice import stun as aioice_stun

from relay.core.iceserver import IceServer
from relay.rtc import Leg, LegState, Sockets
from relay.rtc.ice import reflexive, turn
from relay.rtc.ice.feed import CandidateFeed
from relay.rtc.ice.sockets import host_candidate
from tests.rtc.network import (
    ANY_SIZE,
    LOOPBACK,
    TIMEOUT_S,
    Address,
    Inbox,
    Network,
    soon,
    udp_socket,
    until,
)
from tests.rtc.packets import rtp, sequence_of

needs_coturn = pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is missing")


class StunServer:
    """Tells everybody the same `mapped` address, or nothing while that is None."""

    def __init__(self, mapped: Address | None) -> None:
        self.mapped = mapped
        self.requests = 0
        self.sock = udp_socket()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.sock, self._readable)

    @property
    def server(self) -> IceServer:
        return IceServer.parse(f"stun:127.0.0.1:{self.sock.getsockname()[1]}")

    def _readable(self) -> None:
        data, address = self.sock.recvfrom(2048)
        request = aioice_stun.parse_message(data)
        self.requests += 1
        if self.mapped is None:
            return
        answer = aioice_stun.Message(
            message_method=request.message_method,
            message_class=aioice_stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
        )
        answer.attributes["XOR-MAPPED-ADDRESS"] = self.mapped
        self.sock.sendto(bytes(answer), address)

    def close(self) -> None:
        self._loop.remove_reader(self.sock)
        self.sock.close()


async def test_mapping_of_the_shared_port_is_learned_once_for_all_legs(network: Network) -> None:
    stun = network.keep(StunServer(("192.0.2.9", 4444)))
    sockets = network.open(replace(LOOPBACK, client_servers=(stun.server,)))
    assert sockets.reflexive is not None
    await soon(sockets.reflexive.asked.wait())

    legs = [network.client(sockets=sockets) for _ in range(5)]
    transports = [await leg.gather() for leg in legs]

    assert stun.requests == 1
    for transport in transports:
        found = [(c.type, c.address, c.port) for c in transport.candidates]
        assert found == [
            ("host", "127.0.0.1", sockets.port),
            ("srflx", "192.0.2.9", 4444),
        ]
        host, mapped = transport.candidates
        assert host.priority > mapped.priority
        assert (mapped.related_address, mapped.related_port) == ("127.0.0.1", sockets.port)


async def test_mapping_that_changes_is_noticed(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflexive, "REFRESH_S", 0.02)
    stun = network.keep(StunServer(("192.0.2.9", 4444)))
    sockets = network.open(replace(LOOPBACK, client_servers=(stun.server,)))
    assert sockets.reflexive is not None
    await soon(sockets.reflexive.asked.wait())
    sockets.reflexive.on_change = changed = Inbox()

    stun.mapped = ("192.0.2.10", 5555)

    await changed.next()
    assert [c.address for c in sockets.candidates] == ["127.0.0.1", "192.0.2.10"]


async def test_silent_stun_server_delays_no_answer(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F7: aiortc waits 5 s for it with each call."""
    monkeypatch.setattr(reflexive, "_RETRANSMIT_S", (0.02, 0.02))
    stun = network.keep(StunServer(None))
    sockets = network.open(replace(LOOPBACK, client_servers=(stun.server,)))
    leg = network.client(sockets=sockets)

    before = time.perf_counter()
    transport = await leg.gather()
    assert time.perf_counter() - before < 0.02

    assert [c.type for c in transport.candidates] == ["host"]
    assert not transport.end_of_candidates
    assert [c.type async for c in leg.candidates] == ["host"]
    assert leg.local.end_of_candidates
    assert stun.requests == 2


async def test_stun_answer_that_nobody_asked_for_is_ignored(network: Network) -> None:
    stun = network.keep(StunServer(("192.0.2.9", 4444)))
    sockets = network.open(replace(LOOPBACK, client_servers=(stun.server,)))
    assert sockets.reflexive is not None
    await soon(sockets.reflexive.asked.wait())
    forged = aioice_stun.Message(
        message_method=aioice_stun.Method.BINDING, message_class=aioice_stun.Class.RESPONSE
    )
    forged.attributes["XOR-MAPPED-ADDRESS"] = ("203.0.113.66", 1)
    stranger = network.socket()

    stranger.sendto(bytes(forged), ("127.0.0.1", sockets.port))
    await until(lambda: sockets.drops["unknown_ufrag"] + sockets.drops["unexpected_stun"])

    assert [c.address for c in sockets.candidates] == ["127.0.0.1", "192.0.2.9"]


async def test_closing_the_sockets_ends_the_asking() -> None:
    """The guard of tests/conftest.py looks for the task."""
    sockets = Sockets(replace(LOOPBACK, client_servers=(IceServer.parse("stun:127.0.0.1:9"),)))
    sockets.open()
    await asyncio.sleep(0)

    sockets.close()


async def test_feed_gives_each_reader_all_and_waits_for_the_end() -> None:
    feed = CandidateFeed((one := host_candidate("127.0.0.1", 1, 1),))
    two, three = (host_candidate("127.0.0.1", port, 1) for port in (2, 3))

    async def read() -> list[int]:
        return [candidate.port async for candidate in feed]

    early = asyncio.create_task(read())
    await asyncio.sleep(0)
    feed.add(two)
    feed.add(two)
    await asyncio.sleep(0)
    late = asyncio.create_task(read())
    feed.add(three)
    assert not feed.is_complete
    feed.end()

    assert await soon(early) == await soon(late) == [1, 2, 3]
    assert feed.candidates == (one, two, three)


@dataclass
class Coturn:
    server: IceServer
    process: asyncio.subprocess.Process


@pytest.fixture
async def turnserver(tmp_path: Path) -> AsyncIterator[Coturn]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "turnserver",
        *("-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}"),
        *("--lt-cred-mech", "--realm=relay", "--user=us:secret", "--no-tls", "--no-dtls"),
        *("--allow-loopback-peers", "--no-cli", f"--pidfile={tmp_path}/pid", "--log-file=stdout"),
        f"--userdb={tmp_path}/db",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        await listening(port)
        server = IceServer.parse(f"turn:127.0.0.1:{port}", username="us", credential="secret")
        yield Coturn(server, process)
    finally:
        process.kill()
        await process.wait()


def is_stopped(pid: int) -> bool:
    """All its threads (proc(5))."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


def free_port() -> int:
    """For UDP and for TCP."""
    while True:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
            contextlib.suppress(OSError),
        ):
            port = int(server.getsockname()[1])
            datagrams.bind(("127.0.0.1", port))
            return port


async def listening(port: int) -> None:
    """coturn tells nobody when it is."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return


@pytest.fixture
def coturn(turnserver: Coturn) -> IceServer:
    return turnserver.server


async def meet(offerer: Leg, relayed: Leg) -> None:
    """The offerer trickles its address: a TURN server lets nobody in whom it was not told of."""
    connecting = asyncio.gather(
        offerer.connect(relayed.local, ANY_SIZE, timeout_s=TIMEOUT_S),
        relayed.connect(offerer.local, ANY_SIZE, timeout_s=TIMEOUT_S),
    )
    await until(lambda: offerer._ice._owned)  # type: ignore[attr-defined]
    port = offerer._ice._owned[0].local[1]  # type: ignore[attr-defined]
    relayed.add_candidates((host_candidate("127.0.0.1", port, 1),))
    await connecting


@needs_coturn
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_call_through_turn_alone_carries_media_and_events(
    coturn: IceServer, network: Network, transport: str
) -> None:
    server = replace(coturn, transport=transport)  # type: ignore[arg-type]
    relayed = network.open(replace(LOOPBACK, client_policy="relay", client_servers=(server,)))
    offerer, answerer = network.upstream(), network.client(sockets=relayed)
    ours, answerer.on_channel = offerer.create_channel("oai-events"), (announced := Inbox())
    assert (await answerer.gather()).candidates == ()  # the answer does not wait
    candidates = [candidate async for candidate in answerer.candidates]
    assert [c.type for c in candidates] == ["relay"]

    await meet(offerer, answerer)
    theirs = await announced.next()
    theirs.on_message = theirs.send
    ours.on_message = echoed = Inbox()
    answerer.on_rtp, offerer.on_rtp = (up := Inbox()), (down := Inbox())
    await until(lambda: ours.state == "open")
    ours.send("x" * 100_000)
    for n in range(20):
        offerer.send_rtp(rtp(n))
        answerer.send_rtp(rtp(n))

    assert [sequence_of(p) for p in await up.take(20)] == list(range(20))
    assert [sequence_of(p) for p in await down.take(20)] == list(range(20))
    assert await echoed.next() == "x" * 100_000
    assert answerer.stats().pair_types == ("relay", "host")
    await answerer.close()
    assert not relayed.drops["turn_release_failed"]


@needs_coturn
async def test_upstream_leg_reaches_its_peer_through_turn(
    coturn: IceServer, network: Network
) -> None:
    relayed = network.open(replace(LOOPBACK, upstream_policy="relay", upstream_servers=(coturn,)))
    offerer, server = network.upstream(sockets=relayed), network.lite()
    server.on_rtp = got = Inbox()

    await network.connect(offerer, server)
    offerer.send_rtp(rtp(1))

    assert sequence_of(await got.next()) == 1
    assert offerer.stats().pair_types == ("relay", "host")


@needs_coturn
async def test_refused_credentials_leave_the_other_candidates(
    coturn: IceServer, network: Network
) -> None:
    wrong = replace(coturn, credential="not the secret")
    sockets = network.open(replace(LOOPBACK, client_servers=(wrong,)))
    offerer, answerer = network.upstream(), network.client(sockets=sockets)

    await network.connect(offerer, answerer)

    assert [c.type async for c in answerer.candidates] == ["host"]
    assert answerer.state is LegState.CONNECTED


async def test_dark_turn_server_delays_neither_answer_nor_close(network: Network) -> None:
    """F10: aioice's close waits for it for a minute."""
    dark = network.socket()
    server = IceServer.parse(
        f"turn:127.0.0.1:{dark.getsockname()[1]}", username="us", credential="secret"
    )
    sockets = network.open(replace(LOOPBACK, client_servers=(server,)))
    offerer, answerer = network.upstream(), network.client(sockets=sockets)

    before = time.perf_counter()
    await network.connect(offerer, answerer)
    await answerer.close()

    assert time.perf_counter() - before < 1.0


@needs_coturn
async def test_turn_server_that_went_dark_delays_no_close(
    turnserver: Coturn, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "RELEASE_TIMEOUT_S", 0.1)
    servers = (turnserver.server,)
    sockets = network.open(replace(LOOPBACK, client_policy="relay", client_servers=servers))
    offerer, answerer = network.upstream(), network.client(sockets=sockets)
    await answerer.gather()
    assert [c.type async for c in answerer.candidates] == ["relay"]
    await meet(offerer, answerer)
    turnserver.process.send_signal(signal.SIGSTOP)
    await until(lambda: is_stopped(turnserver.process.pid))

    before = time.perf_counter()
    await answerer.close()

    assert time.perf_counter() - before < 1.0
    assert sockets.drops["turn_release_failed"] == 1
