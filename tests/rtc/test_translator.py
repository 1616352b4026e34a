"""The packet path of a whole call: browser ↔ client leg, upstream leg ↔ server."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from typing import Any

import pytest

from relay.rtc import Leg, LegState, join
from relay.rtc.buffer import MAX_DATAGRAM_BYTES
from tests.rtc.network import Address, Chain, Inbox, Network, until
from tests.rtc.packets import receiver_report, rtcp, rtp, sender_report, sequence_of

ONE_BYTE = bytes.fromhex("bede0003" + "10ff" + "2101ff" + "00" + "3f" + "00" * 5)
TWO_BYTE = bytes.fromhex("10000002" + "0103aabbcc" + "0200" + "00")

RTP_PACKETS = {
    "opus": rtp(1),
    "marker": rtp(1, marker=True),
    "header alone": rtp(1, payload=b""),
    "one byte": rtp(1, payload=b"x"),
    "comfort noise": rtp(1, payload_type=13, payload=b"\x40"),
    "PCMU": rtp(1, payload_type=0, payload=bytes(160)),
    "payload type 127": rtp(1, payload_type=127),
    "payload type 35": rtp(1, payload_type=35),
    "payload type 63 with marker": rtp(1, payload_type=63, marker=True),
    "payload type 96 with marker": rtp(1, payload_type=96, marker=True),
    "fifteen sources": rtp(1, csrcs=tuple(range(15))),
    "one-byte extensions": rtp(1, extension=ONE_BYTE),
    "two-byte extensions": rtp(1, extension=TWO_BYTE),
    "a profile's own extension": rtp(1, extension=b"\x12\x34\x00\x01abcd"),
    "empty extension": rtp(1, extension=b"\xbe\xde\x00\x00"),
    "padding": rtp(1, padding=7),
    "padding alone": rtp(1, payload=b"", padding=255),
    "all at once": rtp(
        65535,
        timestamp=2**32 - 1,
        ssrc=2**32 - 1,
        marker=True,
        csrcs=(1, 2**32 - 1),
        extension=ONE_BYTE,
        padding=4,
    ),
    "zeros": rtp(0, timestamp=0, ssrc=0, payload_type=0, payload=bytes(50)),
    "1500 bytes": rtp(1, payload=random.Random(1).randbytes(1488)),
    "as large as it gets": rtp(1, payload=random.Random(1).randbytes(MAX_DATAGRAM_BYTES - 28)),
}
TWCC = rtcp(205, struct.pack("!IIHHI", 1, 2, 100, 3, 0x00112200) + b"\x20\x03\x04\x05", count=15)
RTCP_PACKETS = {
    "sender report": sender_report(2**63 + 5),
    "receiver report": receiver_report(lost=3),
    "compound": sender_report(1) + rtcp(202, struct.pack("!I", 1) + b"\1\4name\0\0", count=1),
    "bye": rtcp(203, struct.pack("!I", 1), count=1),
    "app": rtcp(204, struct.pack("!I4s", 1, b"name") + b"data", count=7),
    "nack": rtcp(205, struct.pack("!IIHH", 1, 2, 77, 0xFFFF), count=1),
    "transport-wide congestion control": TWCC,
    "picture loss": rtcp(206, struct.pack("!II", 1, 2), count=1),
    "full intra request": rtcp(206, struct.pack("!IIII", 1, 0, 2, 0x01000000), count=4),
    "remb": rtcp(206, struct.pack("!II4sII", 1, 0, b"REMB", 0x01012345, 2), count=15),
    "extended report": rtcp(207, struct.pack("!I", 1) + bytes.fromhex("04000002") + bytes(8)),
    "unknown types": rtcp(192, b"fir.") + rtcp(210, b"next") + rtcp(223, b"last"),
    "reduced size": rtcp(205, struct.pack("!IIHH", 1, 2, 1, 0), count=1),
    "eight bytes": rtcp(201, struct.pack("!I", 7)),
    "bodies that lie": b"\x9f\xc8\x00\x02" + b"\xff" * 8,
    "large": rtcp(204, struct.pack("!I4s", 1, b"big.") + bytes(1800)),
}


@pytest.fixture
async def chain(network: Network) -> Chain:
    return await network.chain()


Sender = tuple[Leg, Leg]


def ends(chain: Chain, direction: str) -> Sender:
    return (chain.browser, chain.server) if direction == "up" else (chain.server, chain.browser)


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_rtp_passes_bit_by_bit(chain: Chain, direction: str) -> None:
    source, target = ends(chain, direction)
    target.on_rtp = got = Inbox()

    for ssrc, packet in enumerate(RTP_PACKETS.values()):
        # each a stream of its own, as sequence numbers say nothing here
        packet = packet[:8] + struct.pack("!I", ssrc) + packet[12:]
        assert source.send_rtp(packet)
        assert await got.next() == packet


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_rtcp_passes_bit_by_bit(chain: Chain, direction: str) -> None:
    source, target = ends(chain, direction)
    target.on_rtcp = got = Inbox()

    for name, packet in RTCP_PACKETS.items():
        assert source.send_rtcp(packet), name
        assert await got.next() == packet, name


async def test_rtp_and_rtcp_keep_their_common_order(chain: Chain) -> None:
    got = Inbox()
    chain.server.on_rtp = chain.server.on_rtcp = got
    sent = [rtp(n) if n % 3 else sender_report(n) for n in range(60)]

    for packet in sent:
        (chain.browser.send_rtcp if packet[1] == 200 else chain.browser.send_rtp)(packet)

    assert await got.take(60) == sent


ORDERS = {
    "straight": list(range(65530, 65536)) + list(range(10)),
    "the last one lost": [65533, 65534, 0, 1],
    "the first one lost": [65534, 65535, 1, 2],
    "many lost": [65500, 100, 101],
    "reordered": [65533, 0, 65535, 1, 65534, 2, 3],
    "begins with the last": [65535, 0, 1, 2],
    "twice around": [*range(65000, 65536, 100), *range(0, 65536, 1500), 100, 200],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
async def test_sequence_numbers_wrap_around(chain: Chain, order: list[int]) -> None:
    chain.server.on_rtp = got = Inbox()

    for sequence in order:
        chain.browser.send_rtp(rtp(sequence))
        if len(order) > 30:
            await asyncio.sleep(0)

    assert [sequence_of(packet) for packet in await got.take(len(order))] == order
    assert not chain.client.drops


async def test_wrap_around_before_the_upstream_is_ready_is_followed(network: Network) -> None:
    """A packet that cannot be forwarded yet is unprotected all the same: SRTP's index goes on."""
    browser, client = network.upstream(sockets=network.open()), network.client()
    upstream, server = network.upstream(), network.lite()
    join(client, upstream)
    await network.connect(browser, client)
    for sequence in (65530, 65535, 3):
        browser.send_rtp(rtp(sequence))
    await until(lambda: client.drops["not_ready"] == 3)

    await network.connect(upstream, server)
    server.on_rtp = got = Inbox()
    browser.send_rtp(rtp(4))

    assert sequence_of(await got.next()) == 4
    assert client.drops == {"not_ready": 3}


async def test_loss_and_reordering_pass_unchanged(network: Network) -> None:
    """No buffer, no repair: what the path did is for the end points to see."""
    link = network.link()
    browser, client = network.upstream(sockets=network.open()), network.client()
    upstream, server = network.upstream(), network.lite()
    join(client, upstream)
    await network.connect(browser, client, link=link)
    await network.connect(upstream, server)
    server.on_rtp = got = Inbox()
    dice = random.Random(11)
    order: list[int] = [n for n in range(200) if dice.random() > 0.1]
    order = sorted(order, key=lambda n: n + dice.randrange(6))
    packets: dict[int, bytes] = {}

    def hold(data: bytes) -> tuple[bytes, ...]:
        if not 127 < data[0] < 192:
            return (data,)
        packets[sequence_of(data)] = data
        return ()

    link.up = hold
    for n in range(200):
        browser.send_rtp(rtp(n))
    await until(lambda: len(packets) == 200)
    for n in order:
        link.send_up(packets[n])

    assert [sequence_of(packet) for packet in await got.take(len(order))] == order
    assert client.stats().packets_lost == 200 - len(order)


async def test_altered_replayed_and_foreign_packets_are_not_forwarded(network: Network) -> None:
    link = network.link()
    browser, client = network.upstream(sockets=network.open()), network.client()
    upstream, server = network.upstream(), network.lite()
    join(client, upstream)
    await network.connect(browser, client, link=link)
    await network.connect(upstream, server)
    other_link = network.link()
    stranger, _ = await network.pair(link=other_link)
    other_seen, seen = Inbox(), Inbox()
    other_link.up = lambda data: (data,) if data[0] < 64 else other_seen(data) or ()  # type: ignore[func-returns-value]
    link.up = lambda data: (data,) if data[0] < 64 else seen(data) or ()  # type: ignore[func-returns-value]
    server.on_rtp, server.on_rtcp = (got := Inbox()), (reports := Inbox())
    stranger.send_rtp(rtp(500))
    stranger.send_rtcp(sender_report(1))
    foreign = await other_seen.take(2)
    bad: list[bytes] = []

    for n in range(2):
        browser.send_rtp(rtp(n))
        browser.send_rtcp(sender_report(n))
        for data in await seen.take(2):
            link.send_up(data)
            bad += [data, *foreign, data + b"x"]
            bad += [data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :] for at in range(len(data))]
            bad += [data[:length] for length in range(12, len(data), 7)]
    for data in bad:
        link.send_up(data)
        await asyncio.sleep(0)
    link.mend()
    browser.send_rtp(rtp(9))

    assert [sequence_of(packet) for packet in await got.take(3)] == [0, 1, 9]
    assert await reports.take(2) == [sender_report(0), sender_report(1)]
    assert reports.empty()
    # libsrtp looks at a packet's number first: an altered one that was there counts as a replay.
    assert client.drops["srtp_unauthentic"] >= 2 * len(foreign)
    assert client.drops["srtp_replayed"] >= 4
    assert client.drops.total() == len(bad)
    assert not network.sockets.drops
    assert client.stats().packets_received == 5


async def test_packets_from_another_address_are_not_forwarded(network: Network) -> None:
    """Even authentic ones: who moved has to pass a check first."""
    link = network.link()
    browser, client = network.upstream(sockets=network.open()), network.client()
    upstream, server = network.upstream(), network.lite()
    join(client, upstream)
    await network.connect(browser, client, link=link)
    await network.connect(upstream, server)
    server.on_rtp = got = Inbox()
    elsewhere = network.socket()
    target: Address = ("127.0.0.1", network.sockets.port)

    def divert(data: bytes) -> tuple[bytes, ...]:
        elsewhere.sendto(data, target)
        return ()

    link.up = divert
    browser.send_rtp(rtp(1))
    await until(lambda: network.sockets.drops["unknown_source"] == 1)
    link.mend()
    browser.send_rtp(rtp(2))

    assert sequence_of(await got.next()) == 2
    assert client.drops.total() == 0


async def test_packets_before_the_other_leg_is_ready_are_counted(network: Network) -> None:
    browser, client = network.upstream(sockets=network.open()), network.client()
    upstream = network.upstream()
    join(client, upstream)
    await network.connect(browser, client)

    browser.send_rtp(rtp(1))
    browser.send_rtcp(sender_report(1))

    await until(lambda: client.drops["not_ready"] == 2)
    assert upstream.stats().packets_sent == 0
    assert client.stats().packets_received == 2


async def test_packets_after_the_other_leg_closed_are_counted(chain: Chain) -> None:
    await chain.upstream.close()

    chain.browser.send_rtp(rtp(1))

    await until(lambda: chain.client.drops["not_ready"])
    assert chain.client.state is LegState.CONNECTED


async def test_full_socket_is_counted_and_the_call_goes_on(network: Network, chain: Chain) -> None:
    chain.server.on_rtp = got = Inbox()
    send = chain.upstream._ice.send
    full, _other = unix_sockets(network)
    with contextlib.suppress(BlockingIOError):
        while True:
            full.send(bytes(100))
    chain.upstream._ice.send = full.send

    chain.browser.send_rtp(rtp(1))
    chain.browser.send_rtcp(sender_report(1))
    await until(lambda: chain.upstream.drops["socket_full"] == 2)
    chain.upstream._ice.send = send
    chain.browser.send_rtp(rtp(2))

    assert sequence_of(await got.next()) == 2
    assert chain.upstream.stats().packets_sent == 1


async def test_send_that_fails_is_counted_and_the_call_goes_on(
    network: Network, chain: Chain
) -> None:
    chain.server.on_rtp = got = Inbox()
    send = chain.upstream._ice.send
    broken, other = unix_sockets(network)
    other.close()
    chain.upstream._ice.send = broken.send

    chain.browser.send_rtp(rtp(1))
    await until(lambda: chain.upstream.drops["send_failed"] == 1)
    chain.upstream._ice.send = send
    chain.browser.send_rtp(rtp(2))

    assert sequence_of(await got.next()) == 2


def unix_sockets(network: Network) -> tuple[socket.socket, socket.socket]:
    """Whose buffers fill up, other than those of UDP on the loopback interface."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.setblocking(False)
    return network.keep(one), network.keep(other)


async def test_tap_gets_a_copy_of_each_packet(network: Network) -> None:
    tapped = Inbox()
    chain = await network.chain(tap=tapped)
    chain.server.on_rtp, chain.browser.on_rtcp = (up := Inbox()), (down := Inbox())

    chain.browser.send_rtp(rtp(1))
    assert await up.next() == rtp(1)
    chain.server.send_rtcp(sender_report(2))
    assert await down.next() == sender_report(2)

    assert await tapped.take(2) == [("up", False, rtp(1)), ("down", True, sender_report(2))]


async def test_raising_tap_is_taken_off_and_media_goes_on(
    network: Network, logs: list[Any]
) -> None:
    calls = Inbox()

    def tap(*arguments: object) -> None:
        calls(arguments)
        raise RuntimeError("a full disk, say")

    chain = await network.chain(tap=tap)
    chain.server.on_rtp, chain.browser.on_rtp = (up := Inbox()), (down := Inbox())

    for n in range(3):
        chain.browser.send_rtp(rtp(n))
        chain.server.send_rtp(rtp(n))

    assert [sequence_of(packet) for packet in await up.take(3)] == [0, 1, 2]
    assert [sequence_of(packet) for packet in await down.take(3)] == [0, 1, 2]
    assert len(await calls.take(2)) == 2  # once in each direction
    assert calls.empty()
    assert [entry["event"] for entry in logs].count("tap.removed") == 2


async def test_tap_that_sends_itself_does_not_touch_the_packet(network: Network) -> None:
    """There is one buffer for all: a listener's leg sends from it too."""
    listener, ear = await network.pair()
    ear.on_rtp = heard = Inbox()

    def tap(*_arguments: object) -> None:
        listener.send_rtp(rtp(999))

    chain = await network.chain(tap=tap)
    chain.server.on_rtp = got = Inbox()

    chain.browser.send_rtp(rtp(1, payload=b"the caller's words"))

    assert await got.next() == rtp(1, payload=b"the caller's words")
    assert await heard.next() == rtp(999)


async def test_calls_of_one_relay_do_not_mix(network: Network) -> None:
    chains = [await network.chain() for _ in range(5)]
    inboxes = [Inbox() for _ in chains]
    for chain, inbox in zip(chains, inboxes, strict=True):
        chain.server.on_rtp = inbox

    for n, chain in enumerate(chains):
        chain.browser.send_rtp(rtp(n))

    assert [sequence_of(await inbox.next()) for inbox in inboxes] == [0, 1, 2, 3, 4]
    assert all(inbox.empty() for inbox in inboxes)
