"""A leg's life: gathering, connecting, failing, closing, and what its callbacks may do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from relay.core.sdp import Setup, Transport
from relay.rtc import Leg, LegFailed, LegState
from tests.rtc.network import (
    ANY_SIZE,
    LOOPBACK,
    Inbox,
    Network,
    States,
    address_of,
    soon,
    udp_socket,
    until,
)
from tests.rtc.packets import rtp, sequence_of

NOWHERE_S = 0.15


async def test_legs_connect_to_each_other_and_say_how(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    states = States(answerer)

    await network.connect(offerer, answerer)

    assert await states.take(2) == [(LegState.CONNECTING, ""), (LegState.CONNECTED, "")]
    stats = answerer.stats()
    assert stats.state is LegState.CONNECTED
    assert stats.srtp_profile == "SRTP_AEAD_AES_256_GCM"
    assert stats.pair_types == ("host", "prflx")
    assert stats.remote_address is not None
    assert stats.remote_address.startswith("127.0.0.1:")


async def test_gathering_takes_milliseconds_and_asks_no_server(network: Network) -> None:
    legs = [network.client(), network.upstream(), network.lite()]

    before = time.perf_counter()
    transports = [await leg.gather() for leg in legs]
    elapsed_s = time.perf_counter() - before

    assert elapsed_s < 0.05
    client, upstream, lite = transports
    assert [c.type for c in client.candidates] == ["host"]
    assert client.candidates[0].port == network.sockets.port
    assert client.end_of_candidates
    assert upstream.candidates == ()
    assert (client.setup, upstream.setup, lite.setup) == (
        Setup.ACTIVE,
        Setup.ACTPASS,
        Setup.ACTIVE,
    )
    assert [t.ice_lite for t in transports] == [False, False, True]
    assert [f.algorithm for f in client.fingerprints] == ["sha-256"]


async def test_every_leg_has_credentials_of_its_own(network: Network) -> None:
    transports = [await network.client().gather() for _ in range(20)]

    assert len({t.ice_ufrag for t in transports}) == 20
    assert len({t.ice_pwd for t in transports}) == 20
    assert all(len(t.ice_pwd) >= 22 for t in transports)  # RFC 8445 §5.3: 128 bits


async def test_a_peer_that_never_answers_ends_in_ice_timeout(network: Network) -> None:
    leg = network.client()
    states = States(leg)
    offer = await network.upstream().gather()

    with pytest.raises(LegFailed) as caught:
        await leg.connect(offer, ANY_SIZE, timeout_s=NOWHERE_S)

    assert (caught.value.leg, caught.value.reason) == ("client", "ice_timeout")
    assert await states.reach(LegState.FAILED) == "ice_timeout"


async def test_an_upstream_without_candidates_ends_in_ice_timeout(network: Network) -> None:
    leg = network.upstream()
    answer = replace(await network.lite().gather(), candidates=())

    with pytest.raises(LegFailed, match="ice_timeout"):
        await leg.connect(answer, ANY_SIZE, timeout_s=NOWHERE_S)


@pytest.mark.parametrize("name", ["client", "upstream", "lite"])
async def test_closing_while_connecting_ends_the_wait_as_closed(
    network: Network, name: str
) -> None:
    leg: Leg = getattr(network, name)()
    remote = await network.lite().gather()
    connecting = asyncio.create_task(leg.connect(remote, ANY_SIZE, timeout_s=5))
    await asyncio.sleep(0)
    assert leg.stats().state is LegState.CONNECTING

    await leg.close()

    with pytest.raises(LegFailed, match="closed"):
        await soon(connecting)
    assert leg.stats().state is LegState.CLOSED


async def test_closing_at_any_moment_of_connecting_leaves_nothing(network: Network) -> None:
    """The guard of tests/conftest.py looks for tasks and sockets (F9)."""
    turns = 0
    while turns < 200:
        offerer, answerer = network.upstream(), network.client()
        offer, answer = await offerer.gather(), await answerer.gather()
        tasks = [
            asyncio.create_task(offerer.connect(answer, ANY_SIZE, timeout_s=5)),
            asyncio.create_task(answerer.connect(offer, ANY_SIZE, timeout_s=5)),
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        done = all(task.done() for task in tasks)

        await offerer.close()
        await answerer.close()

        results = await soon(asyncio.gather(*tasks, return_exceptions=True))
        assert all(r is None or (isinstance(r, LegFailed) and r.reason) for r in results), results
        assert (offerer.state, answerer.state) == (LegState.CLOSED, LegState.CLOSED)
        if done:
            return
        turns += 1 + turns // 8


async def test_cancelling_connect_leaves_nothing(network: Network) -> None:
    leg = network.upstream()
    remote = await network.lite().gather()
    connecting = asyncio.create_task(leg.connect(remote, ANY_SIZE, timeout_s=5))
    await asyncio.sleep(0)

    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting

    await leg.close()
    assert leg.state is LegState.CLOSED


async def test_closing_twice_and_while_closing_is_fine(network: Network) -> None:
    offerer, answerer = await network.pair()

    await asyncio.gather(offerer.close(), offerer.close(), answerer.close())
    await offerer.close()

    assert (offerer.state, answerer.state) == (LegState.CLOSED, LegState.CLOSED)


async def test_closing_a_leg_that_never_connected_is_fine(network: Network) -> None:
    leg = network.client()
    await leg.gather()

    await leg.close()

    assert leg.state is LegState.CLOSED


async def test_closing_with_a_dead_peer_takes_no_time(network: Network) -> None:
    link = network.link()
    offerer, _ = await network.pair(link=link)
    link.cut()

    before = time.perf_counter()
    await offerer.close()

    assert time.perf_counter() - before < 0.2


async def test_a_peer_that_closes_is_noticed_at_once(network: Network) -> None:
    offerer, answerer = await network.pair()
    states = States(answerer)

    await offerer.close()

    assert await states.reach(LegState.CLOSED) == "peer_closed"


async def test_a_closed_leg_drops_packets_and_counts_them(network: Network) -> None:
    offerer, answerer = await network.pair()

    await offerer.close()

    assert not offerer.send_rtp(rtp())
    assert offerer.drops["not_ready"] == 1
    await until(lambda: answerer.state is LegState.CLOSED)
    sent = answerer.stats().packets_sent
    answerer.send_rtp(rtp())  # nobody is there, and nobody is hurt
    assert answerer.stats().packets_sent <= sent + 1


async def test_raising_callbacks_harm_nobody(network: Network) -> None:
    """F3: aiortc closes a transport whose handler raises."""
    offerer, answerer = network.upstream(), network.client()

    def explode(*_arguments: object) -> None:
        raise RuntimeError("a callback's own trouble")

    answerer.on_state = answerer.on_rtp = answerer.on_rtcp = explode
    channels = Inbox()

    def on_channel(channel: object) -> None:
        channels(channel)
        explode()

    answerer.on_channel = on_channel
    ours = offerer.create_channel("oai-events")
    opened = asyncio.Event()
    ours.on_open = opened.set
    await network.connect(offerer, answerer)
    theirs = await channels.next()
    theirs.on_message = theirs.on_close = theirs.on_drain = explode
    await soon(opened.wait())

    offerer.send_rtp(rtp(1))
    offerer.send_rtcp(b"\x80\xc9\x00\x01\x00\x00\x00\x07")
    ours.send("an event")
    got = Inbox()
    await until(lambda: answerer.stats().packets_received == 2)
    answerer.on_rtp = theirs.on_message = got
    offerer.send_rtp(rtp(2))
    ours.send("another")

    assert {type(item) for item in await got.take(2)} == {bytes, str}
    assert answerer.state is LegState.CONNECTED


async def test_packets_before_the_peer_is_ready_are_counted(network: Network) -> None:
    leg = network.upstream()

    assert leg.send_rtp(rtp()) is False
    assert leg.send_rtcp(b"\x80\xc9\x00\x01\x00\x00\x00\x07") is False
    assert leg.drops["not_ready"] == 2


async def test_legs_of_one_port_are_told_apart(network: Network) -> None:
    """The mux of client legs: fifty calls, each with its own bytes."""
    count = 50
    server = network.open()
    pairs = [(network.upstream(), network.client(sockets=server)) for _ in range(count)]
    inboxes = [Inbox() for _ in pairs]
    for (_, answerer), inbox in zip(pairs, inboxes, strict=True):
        answerer.on_rtp = inbox

    await asyncio.gather(*(network.connect(*pair) for pair in pairs))
    for index, (offerer, _) in enumerate(pairs):
        offerer.send_rtp(rtp(index))

    assert [sequence_of(await inbox.next()) for inbox in inboxes] == list(range(count))
    assert all(inbox.empty() for inbox in inboxes)
    assert {leg._ice.selected.wire.local[1] for _, leg in pairs if leg._ice.selected} == {
        server.port
    }
    assert not server.drops


async def test_closed_legs_leave_the_shared_port_empty(network: Network) -> None:
    offerer, answerer = await network.pair()
    wire = network.sockets._shared[0]

    await offerer.close()
    await answerer.close()

    assert not wire._by_address
    assert not wire._by_transaction
    assert network.sockets.registry.find(f"{(await answerer.gather()).ice_ufrag}:x") is None


async def test_a_leg_ends_in_ice_failed_where_the_peer_forbids_it(network: Network) -> None:
    """Nobody listens at the only candidate: its port answers by ICMP, and the checks go on."""
    closed = udp_socket()
    candidate_port = closed.getsockname()[1]
    closed.close()
    answer: Transport = await network.lite().gather()
    answer = replace(
        answer, candidates=tuple(replace(c, port=candidate_port) for c in answer.candidates)
    )
    leg = network.upstream()

    with pytest.raises(LegFailed, match="ice_timeout"):
        await leg.connect(answer, ANY_SIZE, timeout_s=NOWHERE_S)


@pytest.mark.parametrize("packet", [b"", b"\x80", b"\x80\x6f" + bytes(5), b"\x90\x6f" + bytes(10)])
async def test_sending_what_is_no_packet_is_refused(network: Network, packet: bytes) -> None:
    offerer, _ = await network.pair()

    assert not offerer.send_rtp(packet)
    assert not offerer.send_rtcp(packet[:7])

    assert offerer.drops["srtp_refused"] == 2
    assert offerer.stats().packets_sent == 0


async def test_sending_into_a_socket_that_fails_is_counted(network: Network) -> None:
    offerer, _ = await network.pair()

    def full(_data: memoryview | bytes) -> int:
        raise BlockingIOError

    def unreachable(_data: memoryview | bytes) -> int:
        raise OSError

    offerer._ice.send = full
    assert not offerer.send_rtp(rtp())
    offerer._ice.send = unreachable
    assert not offerer.send_rtp(rtp())

    assert offerer.drops == {"socket_full": 1, "send_failed": 1}


async def test_address_of_the_peer_is_told_as_a_uri_has_it(network: Network) -> None:
    """RFC 3986 §3.2.2: IPv6 in brackets."""
    six = network.open(replace(LOOPBACK, bind=("::1",)))
    offerer, answerer = network.upstream(), network.client(sockets=six)

    await network.connect(offerer, answerer)

    assert answerer.stats().remote_address == f"[::1]:{address_of(offerer)[1]}"
