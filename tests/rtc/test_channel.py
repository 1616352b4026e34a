"""Data channels between two legs: what is sent arrives, whole, once and in order."""

from __future__ import annotations

import asyncio
import time

import pytest

from relay.core.sdp import Sctp
from relay.rtc import Channel, ChannelClosed, LegState, MessageTooLarge
from relay.rtc.sctp import MAX_CHANNELS, MAX_MESSAGE_BYTES
from tests.rtc.network import Inbox, Network, States, soon, until


@pytest.mark.parametrize(
    "message",
    ["text", "", b"binary", b"", "ünïcödé €𝄞", b"\x00", "\x00", bytes(range(256)) * 300],
    ids=repr,
)
async def test_message_arrives_as_it_was_sent(network: Network, message: str | bytes) -> None:
    ours, theirs = await network.channels(network.upstream(), network.client())
    theirs.on_message, ours.on_message = theirs.send, (got := Inbox())

    ours.send(message)

    received = await got.next()
    assert received == message
    assert type(received) is type(message)


async def test_messages_keep_their_order_in_both_directions(network: Network) -> None:
    ours, theirs = await network.channels(network.upstream(), network.client())
    ours.on_message, theirs.on_message = Inbox(), Inbox()
    sent = [f"{n} " + "x" * (n * 37 % 3000) for n in range(300)]

    for message in sent:
        ours.send(message)
        theirs.send(message.encode())

    assert await theirs.on_message.take(300) == sent
    assert await ours.on_message.take(300) == [message.encode() for message in sent]


@pytest.mark.parametrize("size", [300_000, 1024 * 1024 + 1])
async def test_message_of_many_fragments_arrives_whole(network: Network, size: int) -> None:
    ours, theirs = await network.channels(network.upstream(), network.client())
    theirs.on_message = got = Inbox()
    message = bytes(n * 7 & 255 for n in range(size))

    ours.send(message)
    ours.send("next")

    assert await got.take(2) == [message, "next"]


async def test_largest_message_arrives_in_linear_time(network: Network) -> None:
    ours, theirs = await network.channels(network.upstream(), network.client())
    theirs.on_message = got = Inbox()

    elapsed_s = []
    for size in (MAX_MESSAGE_BYTES // 4, MAX_MESSAGE_BYTES):
        before = time.process_time()
        ours.send(b"x" * size)
        assert len(await got.next(30)) == size
        elapsed_s.append(time.process_time() - before)

    assert elapsed_s[1] / elapsed_s[0] < 8


async def test_message_over_the_limit_fails_that_leg_alone(network: Network) -> None:
    bystander, _ = await network.pair()
    offerer, answerer = network.upstream(), network.client()
    ours, theirs = await network.channels(offerer, answerer)
    theirs.on_message = got = Inbox()
    states = States(answerer)

    ours.send(b"x" * (MAX_MESSAGE_BYTES + 1))

    assert await states.reach(LegState.FAILED) == "message_too_large"
    assert answerer.drops["message_too_large"]
    assert got.empty()
    assert (offerer.state, bystander.state) == (LegState.CONNECTED, LegState.CONNECTED)


async def test_message_over_the_peers_limit_raises_and_loses_nothing(network: Network) -> None:
    limit = Sctp(port=5000, max_message_size=1000)
    ours, theirs = await network.channels(network.upstream(), network.client(), sctp=limit)
    theirs.on_message = got = Inbox()

    for oversized in ("€" * 334, b"x" * 1001, "x" * 1001, "𝄞" * 251):
        with pytest.raises(MessageTooLarge) as caught:
            ours.send(oversized)
        assert caught.value.limit_bytes == 1000
        assert caught.value.size_bytes > 1000
    for fitting in ("€" * 333, b"x" * 1000, "𝄞" * 250):
        ours.send(fitting)

    assert ours.max_message_size == 1000
    assert await got.take(3) == ["€" * 333, b"x" * 1000, "𝄞" * 250]


@pytest.mark.parametrize("label", ["oai-events", "", "ümläut", "日本語 🎙️", "x" * 2000])
async def test_label_arrives_as_it_was_given(network: Network, label: str) -> None:
    """aiortc counts characters where RFC 8832 §5.1 wants bytes."""
    ours, theirs = await network.channels(network.upstream(), network.client(), label)

    assert (ours.label, theirs.label) == (label, label)


async def test_negotiated_channel_opens_without_an_announcement(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    answerer.on_channel = announced = Inbox()
    ends = [leg.create_channel("agreed", negotiated_id=4) for leg in (offerer, answerer)]
    opened = [asyncio.Event(), asyncio.Event()]
    for end, event in zip(ends, opened, strict=True):
        end.on_open = event.set
    ends[1].on_message = got = Inbox()

    await network.connect(offerer, answerer)
    await soon(asyncio.gather(*(event.wait() for event in opened)))
    ends[0].send("hello")

    assert await got.next() == "hello"
    assert [end.id for end in ends] == [4, 4]
    assert announced.empty()


async def test_channels_of_both_sides_do_not_collide(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    offerer.on_channel, answerer.on_channel = Inbox(), Inbox()
    ours = [offerer.create_channel(f"ours {n}") for n in range(3)]
    theirs = [answerer.create_channel(f"theirs {n}") for n in range(3)]

    await network.connect(offerer, answerer)

    announced = [*await answerer.on_channel.take(3), *await offerer.on_channel.take(3)]
    assert [c.label for c in announced] == [c.label for c in (*ours, *theirs)]
    await until(lambda: all(c.state == "open" for c in (*ours, *theirs)))
    assert len({c.id for c in (*ours, *theirs)}) == 6


async def test_channel_can_be_created_after_connecting(network: Network) -> None:
    offerer, answerer = await network.pair()
    answerer.on_channel = announced = Inbox()

    ours = offerer.create_channel("late")

    assert (await announced.next()).label == "late"
    await until(lambda: ours.state == "open")


async def test_first_messages_are_not_lost_when_handlers_are_set_in_on_channel(
    network: Network,
) -> None:
    offerer, answerer = network.upstream(), network.client()
    ours = offerer.create_channel("oai-events")
    got = Inbox()

    def on_open() -> None:
        for n in range(20):
            ours.send(f"{n}")

    def on_channel(channel: Channel) -> None:
        channel.on_message = got
        channel.send("welcome")

    answerer.on_channel, ours.on_open = on_channel, on_open
    ours.on_message = welcome = Inbox()
    await network.connect(offerer, answerer)

    assert await welcome.next() == "welcome"
    assert await got.take(20) == [f"{n}" for n in range(20)]


async def test_sending_from_inside_a_handler_keeps_the_order(network: Network) -> None:
    ours, theirs = await network.channels(network.upstream(), network.client())
    ours.on_message = got = Inbox()

    def answer(message: str | bytes) -> None:
        for part in range(3):
            theirs.send(f"{message!s}.{part}" + "x" * 2000)

    theirs.on_message = answer
    for n in range(50):
        ours.send(f"{n}")

    received = [message.rstrip("x") for message in await got.take(150)]
    assert received == [f"{n}.{part}" for n in range(50) for part in range(3)]


async def test_drain_is_told_once_when_the_buffer_falls(network: Network) -> None:
    ours, theirs = await network.channels(network.upstream(), network.client())
    theirs.on_message = got = Inbox()
    ours.on_drain = drained = Inbox()

    ours.send(b"x" * 10)
    await got.next()
    assert drained.empty()
    ours.send(b"x" * 1_000_000)
    assert ours.buffered_amount > ours.low_water_bytes

    await drained.next()
    assert ours.buffered_amount <= ours.low_water_bytes
    await got.next()
    await until(lambda: ours.buffered_amount == 0)
    assert drained.empty()


async def test_sending_on_drain_goes_on_without_end(network: Network) -> None:
    ours, theirs = await network.channels(network.upstream(), network.client())
    theirs.on_message = got = Inbox()
    left = [b"x" * 500_000] * 4
    ours.on_drain = lambda: ours.send(left.pop()) if left else None

    ours.send(b"x" * 500_000)

    assert [len(message) for message in await got.take(5)] == [500_000] * 5


@pytest.mark.parametrize("closer", [0, 1])
async def test_closing_on_one_side_closes_both(network: Network, closer: int) -> None:
    ends = await network.channels(network.upstream(), network.client())
    closed = [Inbox(), Inbox()]
    for end, inbox in zip(ends, closed, strict=True):
        end.on_close = inbox
    ends[1 - closer].on_message = got = Inbox()

    ends[closer].send("last words")
    ends[closer].close()
    ends[closer].close()

    assert await got.next() == "last words"
    for inbox in closed:
        await inbox.next()
    for end in ends:
        assert end.state == "closed"
        with pytest.raises(ChannelClosed):
            end.send("too late")


async def test_sending_before_the_channel_is_open_raises(network: Network) -> None:
    channel = network.upstream().create_channel("oai-events")

    assert channel.state == "connecting"
    with pytest.raises(ChannelClosed, match="connecting"):
        channel.send("too early")


@pytest.mark.parametrize("which", ["closing leg", "its peer"])
async def test_closing_a_leg_closes_its_channels(network: Network, which: str) -> None:
    offerer, answerer = network.upstream(), network.client()
    ours, theirs = await network.channels(offerer, answerer)
    watched = ours if which == "closing leg" else theirs
    watched.on_close = closed = Inbox()

    await offerer.close()

    await closed.next()
    assert watched.state == "closed"


async def test_peer_that_closes_without_an_abort_closes_the_channels(network: Network) -> None:
    """A DTLS close_notify alone must not leave a channel that takes messages and sends none."""
    offerer, answerer = network.upstream(), network.client()
    _, theirs = await network.channels(offerer, answerer)
    theirs.on_close = closed = Inbox()

    await offerer._dtls.stop()

    await closed.next()
    with pytest.raises(ChannelClosed):
        theirs.send("nobody there")
    assert answerer.state is LegState.CLOSED


async def test_leg_without_a_handler_closes_the_peers_channel(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    ours = offerer.create_channel("unwanted")
    ours.on_close = closed = Inbox()

    await network.connect(offerer, answerer)

    await closed.next()
    assert answerer.state is LegState.CONNECTED


async def test_more_channels_than_allowed_are_refused(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    answerer.on_channel = announced = Inbox()
    ours = [offerer.create_channel(f"{n}") for n in range(MAX_CHANNELS + 3)]
    closed = Inbox()
    for channel in ours:
        channel.on_close = lambda label=channel.label: closed(label)

    await network.connect(offerer, answerer)

    assert [c.label for c in await announced.take(MAX_CHANNELS)] == [
        c.label for c in ours[:MAX_CHANNELS]
    ]
    assert sorted(await closed.take(3)) == sorted(c.label for c in ours[MAX_CHANNELS:])
    assert answerer.drops["channel_refused"] == 3
    assert announced.empty()


async def test_channel_may_be_opened_again_after_others_closed(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    answerer.on_channel = announced = Inbox()
    await network.connect(offerer, answerer)

    for n in range(3 * MAX_CHANNELS):
        ours = offerer.create_channel(f"{n}")
        assert (await announced.next()).label == f"{n}"
        ours.on_close = closed = Inbox()
        await until(lambda channel=ours: channel.state == "open")  # type: ignore[misc]
        ours.close()
        await closed.next()

    assert not answerer.drops
    assert len(answerer._channels) <= MAX_CHANNELS
    assert not answerer._sctp._inbound_streams


async def test_leg_without_an_association_has_no_channels(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    channel = offerer.create_channel("oai-events")

    await network.connect(offerer, answerer, sctp=None)

    assert channel.state == "connecting"
    assert answerer.state is LegState.CONNECTED


async def test_half_a_surrogate_pair_is_sent_as_a_question_mark(network: Network) -> None:
    """UTF-8 has no room for it, and what a handler sends must not raise."""
    ours, theirs = await network.channels(network.upstream(), network.client())
    theirs.on_message = got = Inbox()

    ours.send("a\ud800b")

    assert await got.next() == "a?b"


async def test_timer_that_expires_while_closing_does_not_start_again(network: Network) -> None:
    link = network.link()
    offerer, answerer = network.upstream(), network.client()
    ours, answerer.on_channel = offerer.create_channel("oai-events"), Inbox()
    await network.connect(offerer, answerer, link=link)
    await until(lambda: ours.state == "open")
    link.cut()
    ours.send("never acknowledged")
    assert offerer._sctp._sent_queue

    offerer._sctp._t3_expired()
    await offerer.close()
    for _ in range(3):
        await asyncio.sleep(0)

    assert offerer._sctp._t3_handle is None
