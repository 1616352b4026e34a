"""Datagrams that nobody asked for, from strangers and from the peer's own address (F2)."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from relay.rtc import Leg, LegFailed, LegState, join, translator
from relay.rtc.buffer import MAX_DATAGRAM_BYTES
from relay.rtc.ice.sockets import host_candidate
from relay.rtc.ice.udp import OwnedUdpWire
from tests.rtc.network import ANY_SIZE, Address, Inbox, Link, Network, address_of, soon, until
from tests.rtc.packets import rtp, sequence_of

LENGTHS = [1, 2, 11, 12, 13, 19, 20, 27, 28, 60, 200, 1200, 1501, 1880, 1881, 2047, 2048, 2049]
LENGTHS += [9000, 65507]


def garbage() -> list[bytes]:
    """Every first byte with lengths that matter, zeros and random bytes behind it."""
    dice = random.Random(5)
    found = [b""]
    for first in range(256):
        for length in dice.sample(LENGTHS, 4):
            tail = dice.choice((bytes(length - 1), dice.randbytes(length - 1)))
            found.append(bytes((first,)) + tail)
    for first in (0, 1, 20, 22, 23, 63, 64, 127, 128, 144, 191, 192):
        found += [bytes((first,)) + bytes(length - 1) for length in LENGTHS]
    return found


async def arrives(source: Leg, target: Leg, sequence: int) -> None:
    """A packet passes, and all that was sent before it has been handled."""
    inbox = target.on_rtp
    assert isinstance(inbox, Inbox)
    source.send_rtp(rtp(sequence))
    assert sequence_of(await inbox.next()) == sequence


async def pour(sock: socket.socket, target: Address, source: Leg, victim: Leg) -> None:
    for n, data in enumerate(garbage()):
        sock.sendto(data, target)
        if n % 16 == 0:
            await arrives(source, victim, n)
    await arrives(source, victim, 60_000)


@pytest.mark.parametrize("victim", ["client", "upstream"])
async def test_garbage_from_strangers_changes_nothing(network: Network, victim: str) -> None:
    relay = network.open()
    offerer, answerer = network.upstream(), network.client(sockets=relay)
    await network.connect(offerer, answerer)
    hit, other = (answerer, offerer) if victim == "client" else (offerer, answerer)
    hit.on_rtp = Inbox()
    stranger = network.socket()

    await pour(stranger, address_of(hit), other, hit)

    assert (offerer.state, answerer.state) == (LegState.CONNECTED, LegState.CONNECTED)
    assert not hit.drops
    if victim == "client":  # an upstream leg's socket is connected: the kernel drops it all
        drops = relay.drops
        assert drops["bad_stun"] + drops["unknown_ufrag"] > 0
        assert drops["unknown_source"] > 100
        assert drops["unknown_protocol"] > 100
        assert drops["bad_length"] == 1
        assert drops.total() == len(garbage())
    with pytest.raises(BlockingIOError):  # a scanner learns nothing
        stranger.recv(2048)


@pytest.mark.parametrize("victim", ["client", "upstream", "lite"])
async def test_garbage_from_the_peers_address_changes_nothing(
    network: Network, victim: str
) -> None:
    relay = network.open()
    link = network.link()
    offerer = network.upstream(sockets=relay)
    answerer = network.lite() if victim == "lite" else network.client(sockets=relay)
    await network.connect(offerer, answerer, link=link)
    hit, other = (offerer, answerer) if victim == "upstream" else (answerer, offerer)
    hit.on_rtp = Inbox()
    inject = link.send_down if victim == "upstream" else link.send_up

    for n, data in enumerate(garbage()):
        inject(data)
        if n % 16 == 0:
            await arrives(other, hit, n)
    await arrives(other, hit, 60_000)

    assert (offerer.state, answerer.state) == (LegState.CONNECTED, LegState.CONNECTED)
    drops = hit.drops + hit._sockets.drops
    assert drops["bad_length"] > 10
    assert drops["srtp_unauthentic"] > 50
    assert drops["bad_stun"] > 0
    assert drops["unknown_protocol"] > 100
    assert hit.stats().packets_received == len(garbage()) // 16 + 2


async def test_garbage_through_a_call_is_never_forwarded(network: Network) -> None:
    relay = network.sockets
    browser, client = network.upstream(sockets=network.open()), network.client()
    upstream, server = network.upstream(), network.lite()
    join(client, upstream)
    link: Link = network.link()
    await network.connect(browser, client, link=link)
    await network.connect(upstream, server)
    server.on_rtp, server.on_rtcp = Inbox(), (reports := Inbox())

    for n, data in enumerate(garbage()):
        link.send_up(data)
        if n % 16 == 0:
            await arrives(browser, server, n)
    await arrives(browser, server, 60_000)

    assert server.on_rtp.empty()
    assert reports.empty()
    assert client.drops["srtp_unauthentic"] > 50
    assert relay.drops["bad_length"] > 10
    assert upstream.stats().packets_sent == len(garbage()) // 16 + 2


@pytest.mark.parametrize("size", [1357, 1501, MAX_DATAGRAM_BYTES - 16])
async def test_packets_larger_than_aiortc_takes_pass(network: Network, size: int) -> None:
    """pylibsrtp refuses more than 1356 bytes, and a receiver of aiortc's dies of 1501."""
    offerer, answerer = await network.pair()
    answerer.on_rtp = got = Inbox()
    packet = rtp(1, payload=bytes(size - 12))

    assert offerer.send_rtp(packet)

    assert await got.next() == packet


async def test_packets_larger_than_the_buffer_are_counted(network: Network) -> None:
    offerer, answerer = await network.pair()
    answerer.on_rtp = Inbox()

    assert not offerer.send_rtp(rtp(1, payload=bytes(MAX_DATAGRAM_BYTES - 11)))
    assert offerer.drops["bad_length"] == 1
    # fits the sender's buffer, and with its tag is one byte more than the receiver takes
    assert offerer.send_rtp(rtp(2, payload=bytes(MAX_DATAGRAM_BYTES - 12 - 15)))
    await arrives(offerer, answerer, 3)

    assert network.sockets.drops["bad_length"] == 1


async def test_flood_from_strangers_leaves_the_other_calls_their_latency(
    network: Network,
) -> None:
    offerer, answerer = await network.pair()
    answerer.on_rtp = got = Inbox()
    stranger, target = network.socket(), address_of(answerer)
    latencies_s = []

    for n in range(100):
        for _ in range(100):
            stranger.sendto(b"\x80" + bytes(100), target)
        before = time.perf_counter()
        offerer.send_rtp(rtp(n))
        await got.next()
        latencies_s.append(time.perf_counter() - before)

    assert sorted(latencies_s)[50] < 0.005
    assert network.sockets.drops["unknown_source"] == 10_000


async def test_strangers_client_hello_never_reaches_openssl(network: Network) -> None:
    """CVE-2023-51443 and its kin: who is first to send one must not matter."""
    link = network.link()
    server = network.upstream()  # the answerer is active, so the offerer is the DTLS server
    client = network.client()
    offer, answer = await server.gather(), await client.gather()
    answer = link.hide(answer)
    hellos: list[bytes] = []
    records = Inbox()
    queue_record = server._ice._queue_record

    def record(data: bytes) -> None:
        records(data)
        queue_record(data)

    server._ice.on_record = record
    forged = bytes.fromhex("16feff000000000000000000") + b"\x40" + bytes(64)

    def forge(data: bytes) -> tuple[bytes, ...]:
        """A stranger sends to the server's socket whatever, whenever something passes."""
        wires = server._ice._owned  # type: ignore[attr-defined]
        for wire in wires:
            stranger.sendto(forged, ("127.0.0.1", wire.local[1]))
        if data[0] == 22:
            hellos.append(data)
        return (data,)

    stranger = network.socket()
    link.up = link.down = forge
    await asyncio.gather(
        server.connect(answer, ANY_SIZE, timeout_s=5), client.connect(offer, ANY_SIZE, timeout_s=5)
    )

    assert hellos
    taken = [await records.next() for _ in range(records._queue.qsize())]
    assert forged not in taken
    assert server.state is LegState.CONNECTED


async def test_queue_from_before_the_selection_is_not_trusted(network: Network) -> None:
    """A connected socket still holds what strangers sent before it was connected."""
    received = Inbox()

    class Receiver:
        def __init__(self) -> None:
            self.receive_rtp: Callable[[int], None] = lambda _size: received("rtp")

        def receive_dtls(self, data: bytes, address: Address) -> None:
            received(address)

        def receive_stun(self, *_: object) -> None: ...
        def wire_lost(self, *_: object) -> None: ...

    receiver = Receiver()
    sock = network.sockets.open_owned(4)
    wire = network.keep(OwnedUdpWire(sock, network.sockets.drops, receiver, receiver))
    target = ("127.0.0.1", wire.local[1])
    stranger, peer = network.socket(), network.socket()
    for source in (stranger, peer, stranger):
        source.sendto(b"\x16" + bytes(20), target)
        source.sendto(b"\x80" + bytes(20), target)

    wire.sender(peer.getsockname())  # before the loop had a turn
    peer.sendto(b"\x16last", target)

    got = await received.take(5)
    assert got == [
        stranger.getsockname(),
        peer.getsockname(),
        "rtp",
        stranger.getsockname(),
        peer.getsockname(),
    ]
    assert network.sockets.drops["unknown_source"] == 2
    stranger.sendto(b"\x80" + bytes(20), target)
    peer.sendto(b"\x80" + bytes(20), target)
    assert await received.next() == "rtp"
    assert received.empty()


async def test_dtls_before_the_check_is_held_and_bounded(network: Network) -> None:
    """A ClientHello that overtakes the check costs no second, and a flood of them no memory."""
    leg = network.upstream()
    stranger = network.socket()  # whom no check will ever be answered by
    candidate = host_candidate("127.0.0.1", stranger.getsockname()[1], 1)
    answer = replace(await network.client().gather(), candidates=(candidate,))
    task = asyncio.create_task(leg.connect(answer, ANY_SIZE, timeout_s=0.2))
    await asyncio.sleep(0)
    wire = leg._ice._owned[0]  # type: ignore[attr-defined]

    for _ in range(100):
        stranger.sendto(b"\x16" + bytes(100), ("127.0.0.1", wire.local[1]))
    await until(lambda: leg.drops["unknown_source"] == 68)

    assert len(leg._ice._held) == 32
    with pytest.raises(LegFailed):
        await soon(task)


async def test_flood_from_a_peer_is_cut_and_the_other_calls_keep_their_latency(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OWASP ASVS 17.2.5: its packets are authentic, and it sends no end of them."""
    monkeypatch.setattr(translator, "MAX_PACKETS_PER_S", 500)
    flooder, other = await network.chain(), await network.chain()
    flooder.server.on_rtp, other.server.on_rtp = (cut := Inbox()), (got := Inbox())
    latencies_s = []

    for n in range(100):
        for i in range(20):
            flooder.browser.send_rtp(rtp(20 * n + i))
        before = time.perf_counter()
        other.browser.send_rtp(rtp(n))
        await got.next()
        latencies_s.append(time.perf_counter() - before)

    assert sorted(latencies_s)[50] < 0.01
    assert cut._queue.qsize() <= 1000
    assert flooder.client.drops["rate_limited"] >= 1000
    assert not other.client.drops
    flooder.translator.up._budget_until -= 1  # a second later
    flooder.browser.send_rtp(rtp(5000))
    while sequence_of(await cut.next()) != 5000:
        pass
