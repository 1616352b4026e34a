"""A slow reader: its peer is slowed, nothing is lost, nothing grows without bound."""

from __future__ import annotations

import asyncio

from relay.rtc import Channel, Leg, LegState
from relay.rtc.sctp import WINDOW_BYTES
from tests.rtc.network import Inbox, Network, until
from tests.rtc.sctp_packets import Attacker, data_chunk

MESSAGE = b"x" * 50_000
SLACK_BYTES = 4 * len(MESSAGE)


def flood(channel: Channel, count: int) -> None:
    for n in range(count):
        channel.send(n.to_bytes(4, "big") + MESSAGE)


async def settled(leg: Leg) -> None:
    """The victim took all that it is going to take."""
    taken = -1
    while taken != (taken := leg._sctp._held_bytes) or not taken:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def stream(channel: Channel) -> int:
    assert channel.id is not None
    return channel.id


def received(leg: Leg, channel: Channel) -> int:
    """How many messages of that channel have come."""
    return int(leg._sctp._inbound_streams[stream(channel)].sequence_number)


async def test_paused_reader_slows_the_sender_and_loses_nothing(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    ours, theirs = await network.channels(offerer, answerer)
    theirs.on_message = got = Inbox()
    theirs.pause()

    flood(ours, 100)
    await settled(answerer)

    assert got.empty()
    assert ours.buffered_amount > 100 * len(MESSAGE) - 2 * WINDOW_BYTES
    assert answerer._sctp._held_bytes <= WINDOW_BYTES + SLACK_BYTES

    theirs.resume()
    received = await got.take(100)
    assert [int.from_bytes(message[:4], "big") for message in received] == list(range(100))
    await until(lambda: ours.buffered_amount == 0)
    assert answerer._sctp._held_bytes == 0


async def test_closed_window_is_kept_and_not_only_enforced(network: Network) -> None:
    """RFC 9260 §6.1: a sender that goes on would lose all of it, and its congestion window."""
    offerer, answerer = network.upstream(), network.client()
    ours, theirs = await network.channels(offerer, answerer)
    theirs.on_message = Inbox()
    flood(ours, 60)  # opens the congestion window
    await theirs.on_message.take(60)
    theirs.pause()

    flood(ours, 60)
    await settled(answerer)

    assert answerer.drops["sctp_window"] < 100
    theirs.resume()
    await theirs.on_message.take(60)


async def test_reader_that_pauses_in_its_handler_gets_one_message_at_a_time(
    network: Network,
) -> None:
    ours, theirs = await network.channels(network.upstream(), network.client())
    got = Inbox()

    def one(message: str | bytes) -> None:
        theirs.pause()
        got(message)

    theirs.on_message = one
    for n in range(20):
        ours.send(f"{n}")

    for n in range(20):
        assert await got.next() == f"{n}"
        assert got.empty()
        theirs.resume()


async def test_pausing_one_channel_stops_no_other(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    answerer.on_channel = announced = Inbox()
    slow, fast, other = (offerer.create_channel(name) for name in ("slow", "fast", "other"))
    await network.connect(offerer, answerer)
    ends: list[Channel] = await announced.take(3)
    for end in ends:
        end.on_message = Inbox()
    await until(lambda: all(c.state == "open" for c in (slow, fast, other)))

    ends[0].pause()
    ends[2].pause()
    for n in range(10):
        slow.send(f"slow {n}")
        fast.send(f"fast {n}")
        other.send(f"other {n}")

    assert isinstance(ends[1].on_message, Inbox)
    assert await ends[1].on_message.take(10) == [f"fast {n}" for n in range(10)]
    ends[2].resume()  # while the first one is still paused
    assert isinstance(ends[2].on_message, Inbox)
    assert await ends[2].on_message.take(10) == [f"other {n}" for n in range(10)]
    assert isinstance(ends[0].on_message, Inbox)
    assert ends[0].on_message.empty()
    ends[0].resume()
    assert await ends[0].on_message.take(10) == [f"slow {n}" for n in range(10)]


async def test_pausing_before_the_channel_is_open_holds_the_first_message(
    network: Network,
) -> None:
    offerer, answerer = network.upstream(), network.client()
    ours = offerer.create_channel("oai-events")
    ours.on_message = got = Inbox()
    ours.pause()
    answerer.on_channel = lambda channel: channel.send("early")

    await network.connect(offerer, answerer)
    await until(lambda: offerer._sctp._held_bytes)

    assert got.empty()
    ours.resume()
    assert await got.next() == "early"


async def test_resuming_twice_or_unpaused_changes_nothing(network: Network) -> None:
    ours, theirs = await network.channels(network.upstream(), network.client())
    theirs.on_message = got = Inbox()

    theirs.resume()
    theirs.pause()
    theirs.pause()
    ours.send("once")
    theirs.resume()
    theirs.resume()

    assert await got.next() == "once"
    assert got.empty()


async def test_peer_that_closes_is_heard_out_first(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    ours, theirs = await network.channels(offerer, answerer)
    theirs.on_message = got = Inbox()
    theirs.on_close = closed = Inbox()
    theirs.pause()

    for n in range(5):
        ours.send(f"{n}")
    ours.close()
    await until(lambda: answerer._sctp._reconfig_deferred is not None)

    assert closed.empty()
    theirs.resume()
    assert await got.take(5) == [f"{n}" for n in range(5)]
    await closed.next()
    await until(lambda: ours.state == "closed")


async def test_messages_that_nobody_took_are_counted_at_the_end(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    ours, theirs = await network.channels(offerer, answerer)
    theirs.pause()
    ours.send("unheard")
    await until(lambda: answerer._sctp._held_bytes)

    await offerer.close()

    await until(lambda: answerer.state is LegState.CLOSED)
    assert answerer.drops["undelivered"] == 1
    theirs.resume()


async def test_sender_that_ignores_the_window_is_bounded(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    _, theirs = await network.channels(offerer, answerer)
    theirs.on_message = got = Inbox()
    theirs.pause()
    attacker = Attacker(offerer)

    first, sequence = attacker.take_tsns(3000), received(answerer, theirs)
    await attacker.flood(
        data_chunk(first + n, b"x" * 1000, stream=stream(theirs), sequence=sequence + n)
        for n in range(3000)
    )
    await until(lambda: answerer.drops["sctp_window"] > 1000)

    assert answerer._sctp._held_bytes <= WINDOW_BYTES + 2000
    assert got.empty()
    assert answerer.state is LegState.CONNECTED


async def test_empty_messages_are_no_way_around_the_window(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    _, theirs = await network.channels(offerer, answerer)
    theirs.pause()
    attacker = Attacker(offerer)

    count = WINDOW_BYTES // 128 + 1000
    first, sequence = attacker.take_tsns(count), received(answerer, theirs)
    await attacker.flood(
        (
            data_chunk(first + n, b"\0", stream=stream(theirs), sequence=sequence + n, protocol=56)
            for n in range(count)
        ),
        per_packet=50,
    )
    await until(lambda: answerer.drops["sctp_window"])

    assert len(answerer._sctp._held) <= WINDOW_BYTES // 128 + 1
