"""ICE over TCP (RFC 6544): calls where UDP does not pass, framing, and hostile connections."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from relay.core import stun
from relay.core.sdp import Transport
from relay.rtc import IceOptions, Leg, LegFailed, LegState, Sockets
from relay.rtc.buffer import SIZE_BYTES
from relay.rtc.ice import tcp
from relay.rtc.ice.tcp import BACKLOG_BYTES, TcpWire
from relay.rtc.ice.udp import Registry
from tests.rtc.network import (
    ANY_SIZE,
    LOOPBACK,
    Inbox,
    Network,
    States,
    first,
    soon,
    until,
)
from tests.rtc.packets import rtp, sequence_of


@pytest.fixture
def network_options() -> IceOptions:
    return replace(LOOPBACK, tcp_port=0, upstream_transport="tcp")


def tcp_alone(transport: Transport) -> Transport:
    return replace(
        transport, candidates=tuple(c for c in transport.candidates if c.transport == "tcp")
    )


async def test_call_over_tcp_carries_media_and_events(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    ours, theirs = await network.channels(offerer, answerer)
    theirs.on_message, ours.on_message = theirs.send, (echoed := Inbox())
    answerer.on_rtp, offerer.on_rtp = (up := Inbox()), (down := Inbox())

    ours.send("x" * 300_000)
    for n in range(200):
        offerer.send_rtp(rtp(n))
        answerer.send_rtp(rtp(n))

    assert [sequence_of(p) for p in await up.take(200)] == list(range(200))
    assert [sequence_of(p) for p in await down.take(200)] == list(range(200))
    assert await echoed.next() == "x" * 300_000
    assert offerer.stats().transport == answerer.stats().transport == "tcp"


async def test_passive_candidates_are_told_after_udp(network: Network) -> None:
    candidates = (await network.client().gather()).candidates

    assert [(c.transport, c.tcptype) for c in candidates] == [("udp", None), ("tcp", "passive")]
    assert candidates[0].priority > candidates[1].priority


async def test_tcp_is_used_where_udp_does_not_pass(network: Network) -> None:
    auto = network.open(replace(network.options, upstream_transport="auto"))
    offerer, answerer = network.upstream(sockets=auto), network.client()
    link = network.link()
    link.cut()
    offer, answer = await offerer.gather(), await answerer.gather()
    answer = replace(answer, candidates=(link.candidate, *tcp_alone(answer).candidates))

    await asyncio.gather(
        offerer.connect(answer, ANY_SIZE, timeout_s=5),
        answerer.connect(offer, ANY_SIZE, timeout_s=5),
    )

    assert offerer.stats().transport == "tcp"


async def test_udp_is_used_where_both_pass(network: Network) -> None:
    auto = network.open(replace(network.options, upstream_transport="auto"))
    offerer, answerer = network.upstream(sockets=auto), network.client()

    await network.connect(offerer, answerer)

    assert offerer.stats().transport == answerer.stats().transport == "udp"


async def test_connection_that_ends_disconnects_the_leg(network: Network) -> None:
    offerer, answerer = await network.pair()
    states = States(answerer)
    pair = offerer._ice.selected
    assert pair is not None

    pair.wire.close()

    assert await states.reach(LegState.DISCONNECTED) == "no_consent_answer"
    answerer.send_rtp(rtp(1))
    assert answerer.drops["not_ready"] >= 1


async def test_closed_leg_closes_its_connections(network: Network) -> None:
    offerer, answerer = await network.pair()
    (listener,) = network.sockets._listeners
    assert len(listener._wires) == 1

    await answerer.close()

    assert not listener._wires
    await until(lambda: offerer.state is LegState.CLOSED)


class Caller:
    """A bare connection to a listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, frame: bytes) -> None:
        self.writer.write(len(frame).to_bytes(2, "big") + frame)

    async def frame(self) -> bytes:
        size = int.from_bytes(await soon(self.reader.readexactly(2)), "big")
        return bytes(await soon(self.reader.readexactly(size)))

    async def is_closed(self) -> bool:
        try:
            return not await soon(self.reader.read(1))
        except ConnectionResetError:
            return True


@pytest.fixture
async def callers(network: Network) -> AsyncIterator[Any]:
    made: list[Caller] = []

    async def call() -> Caller:
        port = network.sockets._listeners[0].local[1]
        caller = Caller(*await asyncio.open_connection("127.0.0.1", port))
        made.append(caller)
        return caller

    yield call
    for caller in made:
        caller.writer.close()
        await asyncio.gather(caller.writer.wait_closed(), return_exceptions=True)


def check(leg: Leg) -> bytes:
    request = stun.BindingRequest(
        username=f"{leg.local.ice_ufrag}:them",
        password=leg.local.ice_pwd,
        priority=1,
        controlling=True,
        tie_breaker=1,
        use_candidate=True,
    )
    return request.encode(os.urandom(12))


async def test_check_in_single_bytes_is_understood(network: Network, callers: Any) -> None:
    leg, caller = network.client(), await callers()
    frame = check(leg)

    for byte in len(frame).to_bytes(2, "big") + frame:
        caller.writer.write(bytes((byte,)))
        await caller.writer.drain()
        await asyncio.sleep(0)

    answer = stun.parse(await caller.frame())
    assert answer is not None
    assert answer.type == stun.BINDING_SUCCESS
    assert answer.authentic(leg.local.ice_pwd.encode())


async def test_many_frames_in_one_segment_are_all_understood(
    network: Network, callers: Any
) -> None:
    leg, caller = network.client(), await callers()
    frames = [check(leg) for _ in range(20)]

    caller.writer.write(b"".join(len(f).to_bytes(2, "big") + f for f in frames))

    answers = [stun.parse(await caller.frame()) for _ in range(20)]
    assert [a.transaction_id for a in answers if a] == [f[8:20] for f in frames]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ((SIZE_BYTES + 1).to_bytes(2, "big"), "tcp_frame_too_long"),
        (b"GET / HTTP/1.1\r\n\r\n", "tcp_frame_too_long"),
        (b"\x16\x03\x01\x02\x00\x01", "tcp_frame_too_long"),
        (b"\0\x14\0\1\0\0\x21\x12\xa4\x42" + bytes(12), "unknown_ufrag"),
    ],
    ids=["too long", "HTTP", "TLS", "unknown leg"],
)
async def test_connection_that_is_no_leg_is_closed(
    network: Network, callers: Any, sent: bytes, reason: str
) -> None:
    caller = await callers()

    caller.writer.write(sent)

    assert await caller.is_closed()
    assert network.sockets.drops[reason] == 1
    assert not network.sockets._listeners[0]._wires


async def test_silent_connection_is_closed(
    network: Network, callers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "FIRST_FRAME_TIMEOUT_S", 0.05)
    caller = await callers()

    assert await caller.is_closed()
    assert network.sockets.drops["tcp_silent"] == 1


async def test_unknown_connections_are_bounded(
    network: Network, callers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "MAX_UNKNOWN_CONNECTIONS", 3)
    kept = [await callers() for _ in range(3)]
    await until(lambda: len(network.sockets._listeners[0]._wires) == 3)

    surplus = await callers()

    assert await surplus.is_closed()
    assert network.sockets.drops["tcp_surplus"] == 1
    assert len(kept) == 3


async def test_media_of_a_stranger_reaches_nobody(network: Network, callers: Any) -> None:
    _, answerer = await network.pair()
    caller = await callers()

    for frame in (rtp(1), b"\x16" + bytes(50), b"", b"\xff" * 40, b"\1", b"\x80"):
        caller.send(frame)
    caller.send(b"\0\1" + bytes(30))
    await until(lambda: network.sockets.drops["unknown_source"] >= 5)

    assert answerer.state is LegState.CONNECTED
    assert answerer.stats().packets_received == 0
    assert not answerer.drops


async def test_slow_reader_drops_whole_frames_and_keeps_the_order(network: Network) -> None:
    """The queue is kept short: on a slow path packets are lost, as by UDP, and not minutes late."""
    network.sockets  # noqa: B018
    server = network.keep(socket.create_server(("127.0.0.1", 0)))
    near = socket.create_connection(server.getsockname())
    far, _ = server.accept()
    network.keep(far)
    drops = network.sockets.drops
    wire = network.keep(TcpWire(near, drops, registry=Registry()))
    send = wire.sender(wire.peer or ("", 0))
    taken = []

    for n in range(20_000):
        if send(n.to_bytes(4, "big") + bytes(1000)):
            taken.append(n)
        if drops["tcp_backlog"] > 10:
            break

    assert drops["tcp_backlog"] == 11
    assert len(wire._backlog) <= BACKLOG_BYTES + 2000
    far.setblocking(False)
    reader = await asyncio.open_connection(sock=far)
    got: list[int] = []
    while len(got) < len(taken):
        size = int.from_bytes(await soon(reader[0].readexactly(2)), "big")
        got.append(int.from_bytes((await soon(reader[0].readexactly(size)))[:4], "big"))
    assert got == taken
    reader[1].close()
    await asyncio.gather(reader[1].wait_closed(), return_exceptions=True)


async def test_sockets_name_the_tcp_address_that_cannot_be_bound(network: Network) -> None:
    server = network.keep(socket.create_server(("127.0.0.1", 0)))
    port = server.getsockname()[1]
    sockets = Sockets(replace(LOOPBACK, tcp_port=port))

    with pytest.raises(OSError, match=rf"TCP 127\.0\.0\.1 port {port}: Address already in use"):
        sockets.open()

    assert not sockets.shared


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP proxy that knows CONNECT alone (RFC 9110 §9.3.6), and what it was asked."""
    asked: list[bytes] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        asked.append(request)
        host, port = request.split(b" ")[1].split(b":")
        if port == b"1":
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            writer.close()
            return
        far = await asyncio.open_connection(host.decode(), int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            await first(pipe(reader, far[1]), pipe(far[0], writer))
        finally:
            far[1].close()
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"http://user:secret@127.0.0.1:{port}", asked
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_upstream_leg_dials_through_a_proxy(
    network: Network, proxy: tuple[str, list[bytes]]
) -> None:
    url, asked = proxy
    proxied = network.open(replace(network.options, proxy=url))
    offerer, answerer = network.upstream(sockets=proxied), network.client()
    answerer.on_rtp = got = Inbox()

    await network.connect(offerer, answerer)
    offerer.send_rtp(rtp(1))

    assert sequence_of(await got.next()) == 1
    port = network.sockets._listeners[0].local[1]
    assert asked[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % port)
    assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in asked[0]
    assert "secret" not in repr(proxied.options)


async def test_proxy_that_refuses_ends_in_a_timeout(
    network: Network, proxy: tuple[str, list[bytes]]
) -> None:
    url, asked = proxy
    proxied = network.open(replace(network.options, proxy=url))
    offerer = network.upstream(sockets=proxied)
    answer = tcp_alone(await network.client().gather())
    answer = replace(answer, candidates=tuple(replace(c, port=1) for c in answer.candidates))

    with pytest.raises(LegFailed, match=r"ice_(timeout|failed)"):
        await offerer.connect(answer, ANY_SIZE, timeout_s=0.3)

    assert asked
