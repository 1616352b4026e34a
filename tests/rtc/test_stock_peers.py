"""Our legs against stock aiortc, which shares ICE's and DTLS's parts but none of our changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aioice.ice
import pytest
from aiortc import RTCPeerConnection
from aiortc.mediastreams import VideoStreamTrack

from relay.core.sdp import Description
from relay.rtc import Channel, Leg, LegState, join
from tests.rtc.network import Inbox, Network, States, soon, until
from tests.rtc.packets import sequence_of
from tests.rtc.stock import Tone, heard_hz, offer_of, relay_call, stock_peer, take_answer

LEG_LINES = ("c=", "a=ice-", "a=candidate", "a=end-of", "a=fingerprint", "a=setup", "a=rtcp:")


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])


@pytest.fixture
async def browser() -> AsyncIterator[RTCPeerConnection]:
    async with stock_peer() as peer:
        yield peer


@pytest.fixture
async def server() -> AsyncIterator[RTCPeerConnection]:
    async with stock_peer() as peer:
        yield peer


async def connected(peer: RTCPeerConnection) -> None:
    await until(lambda: peer.connectionState == "connected")


async def call(browser: RTCPeerConnection, leg: Leg) -> None:
    """A stock browser calls a client leg that is the end of the call."""
    offer = await offer_of(browser)
    answer = offer.render(await leg.gather(), max_message_size=16 * 1024 * 1024)
    await asyncio.gather(
        take_answer(browser, answer), leg.connect(offer.transport, offer.sctp, timeout_s=5)
    )
    await connected(browser)


async def test_tone_arrives_through_the_relay_both_ways(
    network: Network, browser: RTCPeerConnection, server: RTCPeerConnection
) -> None:
    client, upstream = network.client(), network.upstream()
    join(client, upstream)
    browser.addTrack(Tone(440))
    server.addTrack(Tone(1000))
    at_server, at_browser = Inbox(), Inbox()
    server.on("track", at_server)
    browser.on("track", at_browser)

    offered, answered = await relay_call(browser, client, upstream, server)
    up, down = await asyncio.gather(
        heard_hz(await at_server.next(), skip=15, frames=25),
        heard_hz(await at_browser.next(), skip=15, frames=25),
    )

    assert up == pytest.approx(440, abs=10)
    assert down == pytest.approx(1000, abs=10)
    assert client.drops.total() == upstream.drops.total() == 0
    assert client.stats().packets_lost == upstream.stats().packets_lost == 0
    assert media_lines(offered) == media_lines(browser.localDescription.sdp)
    assert media_lines(answered) == media_lines(server.localDescription.sdp)


def media_lines(sdp: str) -> list[str]:
    """All that is not a leg's, of the first section."""
    lines = sdp.split("m=")[1].splitlines()[1:]
    return [line for line in lines if not line.startswith(LEG_LINES)]


async def test_video_survives_loss_by_feedback_from_end_to_end(
    network: Network, browser: RTCPeerConnection, server: RTCPeerConnection
) -> None:
    """VP8: the upstream's NACKs reach the browser, and its retransmissions the upstream."""
    client, upstream = network.client(), network.upstream()
    rtcp = Inbox()

    def tap(direction: str, is_rtcp: bool, packet: bytes) -> None:  # a PacketTap
        if is_rtcp:
            rtcp(direction, packet)

    join(client, upstream, tap)
    browser.addTransceiver("audio", direction="recvonly")
    browser.addTrack(VideoStreamTrack())
    tracks: list[Any] = []
    server.on("track", tracks.append)
    link = network.link()
    await relay_call(browser, client, upstream, server, link=link)
    (video,) = (track for track in tracks if track.kind == "video")
    seen: set[int] = set()
    lost = 0

    def lose_each_fifth_once(data: bytes) -> tuple[bytes, ...]:
        nonlocal lost
        if not 127 < data[0] < 192 or 192 <= data[1] <= 223:
            return (data,)
        sequence = sequence_of(data)
        if sequence % 5 or sequence in seen:
            return (data,)
        seen.add(sequence)
        lost += 1
        return ()

    link.up = lose_each_fifth_once
    frames = [await soon(video.recv()) for _ in range(30)]

    assert all((frame.width, frame.height) == (640, 480) for frame in frames)
    timestamps = [frame.pts for frame in frames]
    assert timestamps == sorted(set(timestamps))
    assert lost >= 4
    feedback = [await rtcp.next() for _ in range(rtcp._queue.qsize())]
    assert any(
        direction == "down" and packet[1] == 205 and packet[0] & 0x1F == 1
        for direction, packet in feedback
    )


async def test_events_pass_between_stock_peers(
    network: Network, browser: RTCPeerConnection, server: RTCPeerConnection
) -> None:
    client, upstream = network.client(), network.upstream()
    to_server = upstream.create_channel("oai-events")

    def on_channel(channel: Channel) -> None:
        channel.on_message, to_server.on_message = to_server.send, channel.send

    client.on_channel = on_channel
    server.on(
        "datachannel",
        lambda channel: channel.on(
            "message", lambda m: channel.send(m.upper() if isinstance(m, str) else m[::-1])
        ),
    )
    browser.addTransceiver("audio")
    events = browser.createDataChannel("oai-events")
    events.on("message", got := Inbox())

    await relay_call(browser, client, upstream, server)
    await until(lambda: events.readyState == "open" and to_server.state == "open")
    events.send("hello")
    events.send(b"\x00\x01\xff")
    events.send("ünï " * 40_000)

    assert await got.take(3) == ["HELLO", b"\xff\x01\x00", "ÜNÏ " * 40_000]


async def test_label_of_ours_is_read_right_by_the_stock_stack(
    network: Network, browser: RTCPeerConnection
) -> None:
    leg = network.client()
    browser.addTransceiver("audio")
    browser.createDataChannel("theirs")
    browser.on("datachannel", announced := Inbox())
    ours = leg.create_channel("ümläut 日本")

    await call(browser, leg)

    assert (await announced.next()).label == "ümläut 日本"
    await until(lambda: ours.state == "open")


@pytest.mark.parametrize(
    "options",
    [
        {"ordered": True},
        {"ordered": False},
        {"ordered": False, "maxRetransmits": 0},
        {"ordered": True, "maxPacketLifeTime": 500},
    ],
    ids=str,
)
async def test_channel_of_each_kind_carries_messages(
    network: Network, browser: RTCPeerConnection, options: dict[str, Any]
) -> None:
    leg = network.client()
    leg.on_channel = announced = Inbox()
    browser.addTransceiver("audio")
    theirs = browser.createDataChannel("kind", **options)
    theirs.on("message", echoed := Inbox())
    await call(browser, leg)
    ours: Channel = await announced.next()
    ours.on_message = ours.send
    await until(lambda: theirs.readyState == "open")

    for n in range(20):
        theirs.send(f"{n}")

    assert sorted(await echoed.take(20), key=int) == [f"{n}" for n in range(20)]


async def test_negotiated_channel_is_agreed_with_the_stock_stack(
    network: Network, browser: RTCPeerConnection
) -> None:
    leg = network.client()
    ours = leg.create_channel("agreed", negotiated_id=7)
    ours.on_message = ours.send
    browser.addTransceiver("audio")
    theirs = browser.createDataChannel("agreed", negotiated=True, id=7)
    theirs.on("message", echoed := Inbox())

    await call(browser, leg)
    await until(lambda: theirs.readyState == "open" and ours.state == "open")
    theirs.send("both knew")

    assert await echoed.next() == "both knew"


async def test_paused_reader_loses_nothing_of_a_stock_sender(
    network: Network, browser: RTCPeerConnection
) -> None:
    """Whose sender takes no notice of the window at all."""
    leg = network.client()
    leg.on_channel = announced = Inbox()
    browser.addTransceiver("audio")
    theirs = browser.createDataChannel("oai-events")
    await call(browser, leg)
    ours: Channel = await announced.next()
    ours.on_message = got = Inbox()
    await until(lambda: theirs.readyState == "open")
    ours.pause()

    for n in range(30):
        theirs.send(n.to_bytes(2, "big") + bytes(60_000))
    await until(lambda: leg.drops["sctp_window"])
    assert got.empty()
    ours.resume()

    received = [int.from_bytes((await got.next())[:2], "big") for _ in range(30)]
    assert received == list(range(30))


async def test_peers_limit_is_the_smaller_of_what_it_said(
    network: Network, browser: RTCPeerConnection
) -> None:
    leg = network.client()
    leg.on_channel = announced = Inbox()
    browser.addTransceiver("audio")
    browser.createDataChannel("oai-events")

    await call(browser, leg)

    assert (await announced.next()).max_message_size == 262144


async def test_stock_peer_that_closes_is_noticed_at_once(
    network: Network, browser: RTCPeerConnection
) -> None:
    leg = network.client()
    browser.addTransceiver("audio")
    await call(browser, leg)
    states = States(leg)

    await browser.close()

    assert await states.reach(LegState.CLOSED) == "peer_closed"


async def test_stock_peer_notices_at_once_that_we_close(
    network: Network, browser: RTCPeerConnection
) -> None:
    leg = network.client()
    browser.addTransceiver("audio")
    await call(browser, leg)

    await leg.close()

    await until(lambda: browser.connectionState == "closed")


async def test_consent_of_both_stacks_keeps_a_call(
    network: Network, browser: RTCPeerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.02)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)
    leg = network.client()
    browser.addTransceiver("audio")
    await call(browser, leg)

    for _ in range(10):
        leg._ice._tick()
        await asyncio.sleep(0.03)

    assert browser.connectionState == "connected"
    assert leg.state is LegState.CONNECTED
    assert leg.stats().round_trip_s is not None


async def test_answer_without_data_channels_starts_no_association(
    network: Network, browser: RTCPeerConnection
) -> None:
    leg = network.client()
    browser.addTransceiver("audio")

    offer: Description = await offer_of(browser)
    assert offer.sctp is None
    await call_without_renegotiation(browser, leg, offer)

    assert leg.state is LegState.CONNECTED


async def call_without_renegotiation(
    browser: RTCPeerConnection, leg: Leg, offer: Description
) -> None:
    answer = offer.render(await leg.gather(), max_message_size=None)
    await asyncio.gather(
        take_answer(browser, answer), leg.connect(offer.transport, offer.sctp, timeout_s=5)
    )
