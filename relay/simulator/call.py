"""One call at the simulator: its leg, its channel, its sidebands, its faults, its end."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from relay.core import rtp
from relay.core.sdp import Sctp, Transport
from relay.rtc import Channel, ChannelClosed, Leg, LegFailed, LegState, MessageTooLarge
from relay.simulator.errors import RejectedError
from relay.simulator.faults import Fail, Faults
from relay.simulator.outbox import Outbox, Send
from relay.simulator.reports import INTERVAL_S, Reporter
from relay.simulator.sideband import Sideband
from relay.simulator.video import VideoEcho

MAX_WAITING_EVENTS = 1000
MAX_BUFFERED_BYTES = 32 * 1024 * 1024

log = structlog.get_logger(__name__)


class Actor(Protocol):
    """Who plays the upstream in this call: `Talk` or `Load`."""

    def connected(self) -> None: ...
    def receive_rtp(self, packet: bytes, now: float) -> None: ...
    def receive_message(self, message: str | bytes) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What does not change. `owner` is the API key that may act on the call."""

    id: str
    owner: str = field(repr=False)
    model: str
    faults: Faults
    connect_timeout_s: float
    has_channel: bool = True
    """Whether the offer had data channels: without, nobody waits for the events."""


class Call:
    """Runs from the answer to the end; `run` is its one task. The actor is set before it."""

    actor: Actor

    def __init__(self, facts: CallFacts, leg: Leg) -> None:
        self.facts = facts
        self.leg = leg
        self.video: VideoEcho | None = None
        self.reporter: Reporter | None = None
        self.new_id: Callable[[str], str] = lambda prefix: prefix
        self.listening = asyncio.Event()
        """Set when the leg takes checks. The answer must wait for it: a check that comes sooner is
        dropped, and the client repeats it half a second later."""
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._channel: Channel | None = None
        self._waiting: deque[str] = deque()
        self._sidebands: set[Sideband] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._dice = random.Random(facts.id)  # noqa: S311 — lost packets, not secrets
        leg.on_state = self._state_changed
        leg.on_channel = self.use_channel

    # Life

    async def run(self, remote: Transport, sctp: Sctp | None) -> None:
        """Connects, and goes on until somebody ends it. Frees everything, cancelled or not."""
        reason = "cancelled"
        try:
            reason = await self._live(remote, sctp)
        except LegFailed as failure:
            reason = failure.reason
        finally:
            self.listening.set()
            await self._free(reason)

    def end(self, reason: str) -> None:
        """Ends the call. Twice is fine; the first reason counts."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def _live(self, remote: Transport, sctp: Sctp | None) -> str:
        if self.facts.faults.fail is Fail.NO_ICE:
            self.listening.set()
            # Nothing is connected, so no check is answered: the client must give up by itself.
            with suppress(TimeoutError):
                async with asyncio.timeout(self.facts.connect_timeout_s):
                    return await self._ended
            return "no_ice"
        connecting = self._loop.create_task(
            self.leg.connect(remote, sctp, timeout_s=self.facts.connect_timeout_s)
        )
        first: set[asyncio.Future[Any]] = {connecting, self._ended}
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                connecting.result()
                self._connected()
            return await self._ended
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)

    def _connected(self) -> None:
        log.info("simulator.call_connected", call_id=self.facts.id)
        self.leg.on_rtp = self._receive_rtp
        self.leg.on_rtcp = self._receive_rtcp
        self.actor.connected()
        self._after(INTERVAL_S, "report", self._report)
        faults = self.facts.faults
        if faults.close_after_s is not None:
            self._after(faults.close_after_s, "close", lambda: self.end("close_after"))

    async def _free(self, reason: str) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self.actor.close()
        for sideband in self._sidebands:
            sideband.end(reason=reason)
        await self.leg.close()
        log.info("simulator.call_ended", call_id=self.facts.id, reason=reason)

    def _after(self, seconds: float, name: str, callback: Callable[[], None]) -> None:
        self._timers[name] = self._loop.call_later(seconds, callback)

    def _state_changed(self, state: LegState, reason: str) -> None:
        if state is LegState.CONNECTING:
            self.listening.set()
        elif state in (LegState.FAILED, LegState.CLOSED):
            self.end(reason)

    # Packets

    def send_rtp(self, packet: bytes) -> None:
        if self._passes():
            self.leg.send_rtp(packet)

    def _receive_rtp(self, packet: bytes) -> None:
        if not self._passes():
            return
        now = self._loop.time()
        if self.reporter is not None:
            self.reporter.receive(packet, now)
        if self.video is not None and rtp.payload_type(packet) in self.video.payload_types:
            self.video.receive_rtp(packet)
        else:
            self.actor.receive_rtp(packet, now)

    def _receive_rtcp(self, packet: bytes) -> None:
        if self.reporter is not None:
            self.reporter.receive_reports(packet, self._loop.time())
        if self.video is not None:
            self.video.receive_rtcp(packet)

    def _passes(self) -> bool:
        percent = self.facts.faults.drop_percent
        return not percent or self._dice.random() * 100 >= percent

    def _report(self) -> None:
        if self.reporter is not None:
            self.leg.send_rtcp(self.reporter.write(self._loop.time(), time.time()))
        # RFC 3550 §6.3.1: between half and one and a half of the interval
        self._after(INTERVAL_S * (0.5 + self._dice.random()), "report", self._report)

    # Events

    def use_channel(self, channel: Channel) -> None:
        """The first channel carries the events, whatever its label; others are left alone."""
        if self._channel is not None:
            return
        self._channel = channel
        channel.on_message = self.receive_message
        channel.on_open = self._flush
        if channel.state == "open":
            self._flush()

    def receive_message(self, message: str | bytes) -> None:
        """A client event, from the channel or a sideband."""
        if not self._ended.done():
            self.actor.receive_message(message)

    def send_event(self, text: str) -> None:
        """A server event to the channel and all sidebands; early ones wait for the channel."""
        for sideband in self._sidebands:
            sideband.send(text)
        if self._channel is not None and self._channel.state == "open":
            self._send_on(self._channel, text)
        elif not self.facts.has_channel:
            return
        elif len(self._waiting) < MAX_WAITING_EVENTS:
            self._waiting.append(text)
        else:
            self.end("events_overflow")

    def attach(self, sideband: Sideband) -> None:
        self._sidebands.add(sideband)
        if self._ended.done():
            sideband.end(reason=self._ended.result())

    def detach(self, sideband: Sideband) -> None:
        self._sidebands.discard(sideband)

    def _flush(self) -> None:
        while self._waiting and self._channel is not None:
            self._send_on(self._channel, self._waiting.popleft())

    def _send_on(self, channel: Channel, text: str) -> None:
        try:
            channel.send(text)
        except MessageTooLarge as error:
            # What OpenAI does here is not known; silence would be the worst of it.
            channel.send(self._too_large(error))
        except ChannelClosed:
            return
        if channel.buffered_amount > MAX_BUFFERED_BYTES:
            self.end("client_too_slow")

    def _too_large(self, error: MessageTooLarge) -> str:
        outbox = Outbox(self.new_id)
        outbox.error(
            RejectedError(
                f"An event of {error.size_bytes} bytes is larger than the client takes.",
                type_="server_error",
                code="event_too_large",
            )
        )
        (output,) = outbox.drain()
        assert isinstance(output, Send)
        return json.dumps(output.event)
