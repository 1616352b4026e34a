"""Control messages: in order, bounded, slowed to the receiver, and never lost silently."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relay.rtc import Channel
from relay.session.model import ChannelLimits
from tests.session.stage import Inbox, Live, Stage

Staged = Callable[..., Awaitable[Stage]]
Logs = list[Any]

KIB = 1024
SMALL = ChannelLimits(max_waiting_messages=5, max_waiting_bytes=4 * KIB)


def error_of(message: str | bytes) -> dict[str, Any]:
    """The inner error of an `error` event, shaped as the upstream's."""
    assert isinstance(message, str)
    event = json.loads(message)
    assert event["type"] == "error"
    assert event["event_id"]
    error = event["error"]
    assert isinstance(error, dict)
    assert {"type", "code", "message", "param", "event_id"} == error.keys()
    return error


def end_reason(live: Live) -> str:
    end = live.call.snapshot().end
    assert end is not None
    return end.reason


async def test_bridge_text_and_binary_keep_their_kind_and_order(stage: Stage) -> None:
    live = await stage.live()
    messages: list[str | bytes] = []
    for n in range(100):
        messages += [f"text {n} ü", f"binary {n}".encode()]
    messages += ["", b"", "last"]

    for message in messages:
        live.client.channel.send(message)
        live.upstream.channel.send(message)

    assert [await live.upstream.take() for _ in messages] == messages
    assert [await live.client.take() for _ in messages] == messages


@pytest.mark.parametrize("size", [256 * KIB, 1024 * KIB])
async def test_bridge_large_message_passes_whole(stage: Stage, size: int) -> None:
    live = await stage.live(data_bytes=0)  # 0: any size
    message = bytes(range(256)) * (size // 256)

    live.client.channel.send(message)
    live.upstream.channel.send(message)

    assert await live.upstream.take() == message
    assert await live.client.take() == message


@pytest.mark.slow
async def test_bridge_largest_message_passes_whole(stage: Stage) -> None:
    live = await stage.live(data_bytes=0)
    message = b"\xa5" * (16 * KIB * KIB)

    live.client.channel.send(message)

    assert await asyncio.wait_for(live.upstream.messages.get(), 50) == message


# Before the other side is there


async def test_bridge_client_speaks_before_the_upstream_is_there_and_is_heard(
    stage: Stage,
) -> None:
    stage.far.connects.clear()
    browser = stage.browser()
    inbox = browser.channel()
    call = await stage.open(browser)
    await browser.connect(call.answer)
    channel = await inbox.open()

    for n in range(20):
        channel.send(f"early {n}")
    stage.far.connects.set()
    theirs = await (await stage.far.next_call()).channel()
    channel.send("late")

    assert [await theirs.take() for _ in range(21)] == [f"early {n}" for n in range(20)] + ["late"]


async def test_bridge_upstream_speaks_before_the_client_is_there_and_is_heard(
    stage: Stage,
) -> None:
    browser = stage.browser()
    inbox = browser.channel()
    call = await stage.open(browser)
    theirs = await (await stage.far.next_call()).channel()

    theirs.channel.send("session.created")
    theirs.channel.send(b"binary")
    await browser.connect(call.answer)

    assert [await inbox.take() for _ in range(2)] == ["session.created", b"binary"]


async def test_bridge_too_many_early_messages_end_the_call_with_a_reason(staged: Staged) -> None:
    stage = await staged(channel=SMALL)
    stage.far.connects.clear()
    browser = stage.browser()
    inbox = browser.channel()
    call = await stage.open(browser)
    await browser.connect(call.answer)
    channel = await inbox.open()

    for n in range(6):
        channel.send(f"early {n}")
    snapshot = await stage.until_over(call)

    assert snapshot.end is not None
    assert snapshot.end.reason == "overflow_up"
    assert error_of(await inbox.take())["code"] == "overflow_up"


async def test_bridge_too_many_early_bytes_end_the_call_with_a_reason(staged: Staged) -> None:
    stage = await staged(channel=SMALL)
    call = await stage.open(stage.browser())
    theirs = await (await stage.far.next_call()).channel()

    theirs.channel.send("x" * 4 * KIB)
    assert call.is_up
    theirs.channel.send("y")
    snapshot = await stage.until_over(call)

    assert snapshot.end is not None
    assert snapshot.end.reason == "overflow_down"


async def test_bridge_upstream_without_a_channel_stalls_a_client_that_speaks(
    staged: Staged,
) -> None:
    stage = await staged(channel=ChannelLimits(stall_timeout_s=0.2))
    stage.far.connects.clear()
    browser = stage.browser()
    inbox = browser.channel()
    call = await stage.open(browser)
    await browser.connect(call.answer)

    (await inbox.open()).send("anybody?")
    snapshot = await stage.until_over(call)

    assert snapshot.end is not None
    assert snapshot.end.reason == "stalled_up"


# A receiver that is slow, or stops


def flood(channel: Channel, count: int, size: int) -> list[str]:
    """As a sender that minds no buffered amount."""
    messages = [f"{n:06d}".ljust(size, "x") for n in range(count)]
    for message in messages:
        channel.send(message)
    return messages


async def settled(channel: Channel) -> int:
    """The buffered amount once it stays the same: nobody takes anything any more."""
    amount = -1
    async with asyncio.timeout(5):
        while amount != channel.buffered_amount:
            amount = channel.buffered_amount
            await asyncio.sleep(0.1)
    return amount


def ends_of(live: Live, direction: str) -> tuple[Inbox, Inbox]:
    """Sender, receiver."""
    return (live.client, live.upstream) if direction == "up" else (live.upstream, live.client)


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_bridge_slow_receiver_slows_the_sender_and_loses_nothing(
    staged: Staged, direction: str
) -> None:
    limits = ChannelLimits(high_water_bytes=64 * KIB)
    stage = await staged(channel=limits)
    live = await stage.live()
    sender, receiver = ends_of(live, direction)

    receiver.channel.pause()
    sent = flood(sender.channel, 1000, 8 * KIB)
    left = await settled(sender.channel)
    snapshot = live.call.snapshot()
    receiver.channel.resume()
    received = [await receiver.take() for _ in sent]

    assert received == sent
    # Of the 8 MiB at most two closed windows (the receiver's and ours) and our mark have left.
    assert left > 4 * KIB * KIB
    counts = snapshot.up if direction == "up" else snapshot.down
    assert counts.bytes < 2 * KIB * KIB
    assert live.call.is_up


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_bridge_receiver_that_stops_ends_that_call_alone(
    staged: Staged, direction: str
) -> None:
    limits = ChannelLimits(high_water_bytes=64 * KIB, stall_timeout_s=0.3)
    stage = await staged(channel=limits)
    live, other = await stage.live(), await stage.live()
    sender, receiver = ends_of(live, direction)

    receiver.channel.pause()
    flood(sender.channel, 400, 8 * KIB)
    await stage.until_over(live.call)
    other.client.channel.send("unharmed")

    assert end_reason(live) == f"stalled_{direction}"
    assert await other.upstream.take() == "unharmed"
    if direction == "up":
        assert error_of(await live.client.take())["code"] == "stalled_up"


async def test_bridge_receiver_that_is_only_slow_is_not_taken_for_one_that_stops(
    staged: Staged,
) -> None:
    limits = ChannelLimits(high_water_bytes=16 * KIB, stall_timeout_s=0.3)
    stage = await staged(channel=limits)
    live = await stage.live()

    sent = flood(live.client.channel, 400, 8 * KIB)
    received: list[str | bytes] = []
    while len(received) < len(sent):
        live.upstream.channel.pause()
        await asyncio.sleep(0.05)
        live.upstream.channel.resume()
        while not live.upstream.messages.empty():
            received.append(live.upstream.messages.get_nowait())

    assert received == sent
    assert live.call.is_up


async def test_bridge_message_that_takes_long_is_no_receiver_that_stops(staged: Staged) -> None:
    stage = await staged(channel=ChannelLimits(stall_timeout_s=0.1))
    live = await stage.live()
    message = b"\x5a" * (6 * KIB * KIB)

    live.client.channel.send(message)

    assert await asyncio.wait_for(live.upstream.messages.get(), 30) == message


async def test_bridge_upstream_that_closes_after_a_burst_is_heard_to_the_end(
    stage: Stage,
) -> None:
    live = await stage.live()

    live.client.channel.pause()
    sent = flood(live.upstream.channel, 190, 8 * KIB)  # the client's window, and half a MiB more
    live.upstream.channel.close()
    async with asyncio.timeout(5):
        while live.call.is_up:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
    live.client.channel.resume()
    received = [await live.client.take() for _ in sent]

    assert received == sent
    assert error_of(await live.client.take())["code"] == "upstream_closed"


# Messages that are too large for somebody


async def test_bridge_event_too_large_for_the_client_is_named_and_the_call_goes_on(
    stage: Stage, logs: Logs
) -> None:
    live = await stage.live(data_bytes=1000)

    live.upstream.channel.send("x" * 5000)
    live.upstream.channel.send("small")

    error = error_of(await live.client.take())
    assert error["code"] == "message_too_large"
    assert "5000 bytes" in error["message"]
    assert "1000 bytes" in error["message"]
    assert await live.client.take() == "small"
    assert live.call.snapshot().down.too_large == 1
    assert [e["direction"] for e in logs if e["event"] == "message.refused"] == ["down"]


async def test_bridge_event_too_large_for_the_upstream_is_named_to_its_sender(
    stage: Stage,
) -> None:
    stage.far.max_message_bytes = 1000
    live = await stage.live()

    live.client.channel.send("ü" * 501)
    live.client.channel.send("ü" * 500)

    error = error_of(await live.client.take())
    assert (error["type"], error["code"]) == ("invalid_request_error", "message_too_large")
    assert "1002 bytes" in error["message"]
    assert await live.upstream.take() == "ü" * 500


async def test_bridge_event_over_the_operators_limit_is_named_to_its_sender(
    staged: Staged,
) -> None:
    stage = await staged(channel=ChannelLimits(max_message_bytes=2000))
    browser = stage.browser()
    inbox = browser.channel()
    call = await stage.open(browser)
    # A client that minds what it is told would not even send it.
    await browser.connect(call.answer.replace("max-message-size:2000", "max-message-size:0"))
    channel = await inbox.open()

    channel.send(b"x" * 2001)
    channel.send(b"x" * 2000)

    assert error_of(await inbox.take())["code"] == "message_too_large"
    theirs = await (await stage.far.next_call()).channel()
    assert await theirs.take() == b"x" * 2000
    assert call.snapshot().up.too_large == 1


async def test_bridge_client_that_takes_no_word_of_ours_is_left_alone(stage: Stage) -> None:
    live = await stage.live(data_bytes=10)

    live.upstream.channel.send("x" * 11)
    live.upstream.channel.send("x" * 10)

    assert await live.client.take() == "x" * 10
    assert live.call.is_up
    assert live.call.snapshot().down.too_large == 1


# Channels


@pytest.mark.parametrize("label", ["oai-events", "realtime-channel", "Ereignisse ü"])
async def test_bridge_label_is_the_clients_own_and_ours_upstream(stage: Stage, label: str) -> None:
    browser = stage.browser()
    inbox = browser.channel(label)
    call = await stage.open(browser)
    await browser.connect(call.answer)
    theirs = await (await stage.far.next_call()).channel()

    (await inbox.open()).send("hello")

    assert await theirs.take() == "hello"
    assert theirs.channel.label == "oai-events"


async def test_bridge_channel_agreed_on_beforehand_needs_no_announcement(stage: Stage) -> None:
    browser = stage.browser()
    inbox = browser.channel("any", negotiated_id=7)
    call = await stage.open(browser, dcid=7)
    await browser.connect(call.answer)
    theirs = await (await stage.far.next_call()).channel()

    theirs.channel.send("session.created")
    (await inbox.open()).send("hello")

    assert await inbox.take() == "session.created"
    assert await theirs.take() == "hello"


async def test_bridge_second_channel_is_closed_and_the_first_goes_on(
    stage: Stage, logs: Logs
) -> None:
    browser = stage.browser()
    first, second = browser.channel("first"), browser.channel("second")
    call = await stage.open(browser)
    await browser.connect(call.answer)
    theirs = await (await stage.far.next_call()).channel()

    await asyncio.wait_for(second.closed.wait(), 5)
    (await first.open()).send("hello")

    assert await theirs.take() == "hello"
    assert call.is_up
    refused = [entry for entry in logs if entry["event"] == "channel.refused"]
    assert [entry["label"] for entry in refused] == ["second"]


async def test_bridge_dcid_without_data_channels_is_ignored(stage: Stage) -> None:
    browser = stage.browser()

    call = await stage.open(browser, dcid=7, data_bytes=None)
    await browser.connect(call.answer)

    assert call.is_up
