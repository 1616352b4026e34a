"""Calls through to the simulator, and from a WebRTC stack that is not ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from relay.core.errors import RelayError, UpstreamInvalid, UpstreamRefused, UpstreamUnreachable
from relay.session.model import CallRequest
from relay.simulator.faults import Fail, Faults
from relay.simulator.options import SimulatorOptions
from relay.simulator.server import Simulator
from tests.session.stage import ANYBODY, Inbox, Stage

Staged = Callable[..., Awaitable[Stage]]

TIMEOUT_S = 10.0


class Simulated:
    """A relay before a simulator."""

    def __init__(self, stage: Stage, simulator: Simulator) -> None:
        self.stage = stage
        self.simulator = simulator

    def fails(self, fail: Fail | None = None, **faults: Any) -> None:
        self.simulator.options = SimulatorOptions(faults=Faults(fail=fail, **faults))

    async def emptied(self) -> None:
        """Until neither has a call."""
        await self.stage.until_empty()
        async with asyncio.timeout(TIMEOUT_S):
            while self.simulator.live_calls:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)


@pytest.fixture
async def simulated(staged: Staged) -> AsyncIterator[Simulated]:
    simulator = Simulator(SimulatorOptions())
    try:
        yield Simulated(await staged(await simulator.start()), simulator)
    finally:
        await simulator.stop()


async def event(inbox: Inbox, wanted: str) -> dict[str, Any]:
    """The next event of that type; others are passed over."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            found = json.loads(await inbox.messages.get())
            if found["type"] == wanted:
                assert isinstance(found, dict)
                return found


async def test_simulator_call_holds_a_conversation(simulated: Simulated) -> None:
    browser = simulated.stage.browser()
    inbox = browser.channel()
    packets: asyncio.Queue[bytes] = asyncio.Queue()
    browser.leg.on_rtp = packets.put_nowait

    call = await simulated.stage.open(browser)
    await browser.connect(call.answer)
    created = await event(inbox, "session.created")
    item = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "Hello"}],
    }
    inbox.channel.send(json.dumps({"type": "conversation.item.create", "item": item}))
    inbox.channel.send(json.dumps({"type": "response.create"}))
    done = await event(inbox, "response.done")

    assert created["session"]["type"] == "realtime"
    assert done["response"]["status"] == "completed"
    assert len(await asyncio.wait_for(packets.get(), TIMEOUT_S)) > 12
    await simulated.stage.hang_up(call)
    await simulated.emptied()


async def test_simulator_event_that_is_wrong_is_answered_to_its_sender(
    simulated: Simulated,
) -> None:
    browser = simulated.stage.browser()
    inbox = browser.channel()
    call = await simulated.stage.open(browser)
    await browser.connect(call.answer)
    await event(inbox, "session.created")

    inbox.channel.send("not JSON")
    error = await event(inbox, "error")

    assert error["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (Fail.REFUSE, UpstreamUnreachable),
        (Fail.GARBAGE, UpstreamInvalid),
        (Fail.UNAUTHORIZED, UpstreamRefused),
        (Fail.RATE_LIMITED, UpstreamRefused),
        (Fail.UNAVAILABLE, UpstreamRefused),
    ],
)
async def test_simulator_that_fails_leaves_no_call(
    simulated: Simulated, fail: Fail, error: type[RelayError]
) -> None:
    simulated.fails(fail)

    with pytest.raises(error) as caught:
        await simulated.stage.open(simulated.stage.browser())

    if isinstance(caught.value, UpstreamRefused):
        assert caught.value.status == int(fail)
        assert json.loads(caught.value.body)["error"]["message"]
    await simulated.emptied()


async def test_simulator_that_answers_nowhere_ends_the_call(staged: Staged) -> None:
    async with Simulator(SimulatorOptions(faults=Faults(fail=Fail.NO_ICE))) as url:
        stage = await staged(url, connect_timeout_s=1.0)
        browser = stage.browser()
        inbox = browser.channel()

        call = await stage.open(browser)
        await browser.connect(call.answer)
        error = await event(inbox, "error")
        await stage.until_over(call)

    assert error["error"]["code"] == "upstream_connect_timeout"


async def test_simulator_that_closes_the_call_is_told_to_the_client(simulated: Simulated) -> None:
    simulated.fails(close_after_s=0.1)
    browser = simulated.stage.browser()
    inbox = browser.channel()

    call = await simulated.stage.open(browser)
    await browser.connect(call.answer)
    error = await event(inbox, "error")

    assert error["error"]["code"] == "upstream_closed"
    await simulated.emptied()


async def test_simulator_session_that_expires_says_so_itself(simulated: Simulated) -> None:
    simulated.fails(expire_after_s=0.1)
    browser = simulated.stage.browser()
    inbox = browser.channel()

    call = await simulated.stage.open(browser)
    await browser.connect(call.answer)
    error = await event(inbox, "error")

    assert error["error"]["code"] == "session_expired"
    await simulated.emptied()


@pytest.fixture
async def peer() -> AsyncIterator[RTCPeerConnection]:
    """A stock aiortc connection, which gathers on every address but loopback."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    yield peer
    await peer.close()


async def test_simulator_call_from_a_foreign_stack_gets_its_session(
    simulated: Simulated, peer: RTCPeerConnection
) -> None:
    channel = peer.createDataChannel("oai-events")
    messages: asyncio.Queue[str] = asyncio.Queue()
    channel.on("message", messages.put_nowait)
    peer.addTransceiver("audio", direction="inactive")
    await peer.setLocalDescription(await peer.createOffer())

    call = await simulated.stage.calls.create(CallRequest(peer.localDescription.sdp, ANYBODY))
    await peer.setRemoteDescription(RTCSessionDescription(call.answer, "answer"))
    created = json.loads(await asyncio.wait_for(messages.get(), TIMEOUT_S))

    assert created["type"] == "session.created"
    await peer.close()
    snapshot = await simulated.stage.until_over(call)
    assert snapshot.end is not None
    assert snapshot.end.reason == "client_closed"
    await simulated.emptied()
