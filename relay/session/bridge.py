"""Joins the client's data channel with the upstream's: ordered, bounded, slowed to the receiver.

Every callback here runs in a socket's callback. It takes a message, queues or sends it, and may end
the call by an event; it never waits and never raises.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from relay.core.ids import Direction, LegName
from relay.core.lifecycle import ChannelClosed, Event, Overflowed, Stalled
from relay.core.realtime import error_event
from relay.rtc import Channel, MessageTooLarge
from relay.rtc import ChannelClosed as ChannelIsClosed
from relay.session.model import ChannelLimits, MessageCounts

UPSTREAM_LABEL: Final = "oai-events"
"""Several upstreams know no other label; the client's may be any."""

Message = str | bytes


@dataclass(frozen=True, slots=True)
class _Waiting:
    """`is_ours`: the relay's own word, whose refusal is told to nobody."""

    message: Message
    size: int
    is_ours: bool


class Pipe:
    """One direction: messages of `source` go to `target` as soon as it takes them."""

    def __init__(
        self,
        direction: Direction,
        limits: ChannelLimits,
        handle: Callable[[Event], None],
        refuse: Callable[[int, int], None],
    ) -> None:
        self.counts = MessageCounts()
        self._direction: Direction = direction
        self._limits = limits
        self._handle = handle
        self._refuse = refuse
        self.on_passing: Callable[[Direction, Message], None] = lambda *_: None
        self._source: Channel | None = None
        self._target: Channel | None = None
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self.active_at = time.monotonic()
        self._stall_timer: asyncio.TimerHandle | None = None

    def read_from(self, source: Channel) -> None:
        self._source = source
        source.on_message = self._receive

    def write_to(self, target: Channel) -> None:
        self._target = target
        target.low_water_bytes = self._limits.high_water_bytes // 4
        target.on_open = self._advance
        target.on_drain = self._advance
        if target.state == "open":
            self._advance()
        elif self._waiting:
            self._watch()

    def close(self) -> None:
        """Nothing is sent or called back afterwards."""
        self._unwatch()
        self._waiting.clear()
        for channel in (self._source, self._target):
            if channel is not None:
                channel.on_message = channel.on_open = channel.on_drain = None

    def put(self, message: Message, *, is_ours: bool = False) -> None:
        """Sends a message, or lets it wait for its turn."""
        entry = _Waiting(message, _size_of(message), is_ours)
        if not self._waiting and self._is_ready:
            self._send(entry)
            if self._is_congested:
                self._hold()
            return
        self._waiting.append(entry)
        self._waiting_bytes += entry.size
        if (
            len(self._waiting) > self._limits.max_waiting_messages
            or self._waiting_bytes > self._limits.max_waiting_bytes
        ):
            self._handle(Overflowed(self._direction))
        elif self._target is not None and self._stall_timer is None:
            self._watch()

    def _receive(self, message: Message) -> None:
        size, limit = _size_of(message), self._limits.max_message_bytes
        self.active_at = time.monotonic()
        self.counts.messages += 1
        self.counts.bytes += size
        if size > limit:
            self._too_large(size, limit)
        else:
            self.on_passing(self._direction, message)
            self.put(message)

    def _send(self, entry: _Waiting) -> None:
        assert self._target is not None
        try:
            self._target.send(entry.message)
        except MessageTooLarge as error:
            if not entry.is_ours:
                self._too_large(error.size_bytes, error.limit_bytes)
        except ChannelIsClosed:  # its on_close has ended the call, or is about to
            pass

    def _too_large(self, size: int, limit: int) -> None:
        self.counts.too_large += 1
        self._refuse(size, limit)

    def _advance(self) -> None:
        """The target opened, or has room again."""
        self._unwatch()
        while self._waiting and self._is_ready:
            entry = self._waiting.popleft()
            self._waiting_bytes -= entry.size
            self._send(entry)
        if self._is_congested:
            self._hold()
        elif self._source is not None:
            self._source.resume()  # may bring messages, and a new pause, at once

    @property
    def is_open(self) -> bool:
        return self._target is not None and self._target.state == "open"

    @property
    def _is_ready(self) -> bool:
        target = self._target
        return target is not None and target.state == "open" and not self._is_congested

    @property
    def _is_congested(self) -> bool:
        target = self._target
        return target is not None and target.buffered_amount > self._limits.high_water_bytes

    def _hold(self) -> None:
        if self._source is not None:
            self._source.pause()
        self._watch()

    # A receiver that takes nothing: not one that is slow, whose buffered amount goes down.

    def _watch(self) -> None:
        self._unwatch()
        assert self._target is not None
        self._stall_timer = asyncio.get_running_loop().call_later(
            self._limits.stall_timeout_s, self._judge, self._target.buffered_amount
        )

    def _unwatch(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _judge(self, before: int) -> None:
        assert self._target is not None
        if self._target.state == "open" and self._target.buffered_amount < before:
            self._watch()
        else:
            self._watch()  # unless this ends the call: a receiver out of contact may come back
            self._handle(Stalled(self._direction))


class ChannelBridge:
    """The one channel of the client and the one of the upstream.

    `handle` takes what ends the call. The relay's own words to the client are `error` events, as
    the upstream would say them.
    """

    def __init__(self, limits: ChannelLimits, handle: Callable[[Event], None], log: Any) -> None:
        self._handle = handle
        self._log = log
        self._up = Pipe("up", limits, handle, self._refuse_up)
        self._down = Pipe("down", limits, handle, self._refuse_down)
        self._client: Channel | None = None

    @property
    def counts(self) -> tuple[MessageCounts, MessageCounts]:
        """Up, down."""
        return self._up.counts, self._down.counts

    @property
    def active_at(self) -> float | None:
        """When the last message came (`time.monotonic`); None while the client has no channel."""
        return None if self._client is None else max(self._up.active_at, self._down.active_at)

    def watch(self, on_passing: Callable[[Direction, Message], None]) -> None:
        """Tells of each message that passes, both ways, before it is sent on. It must not raise."""
        self._up.on_passing = self._down.on_passing = on_passing

    @property
    def takes_events(self) -> bool:
        """Whether the upstream's channel is open."""
        return self._up.is_open

    def inject(self, message: str) -> None:
        """An event of the operator's for the upstream, in turn with the client's."""
        self._up.on_passing("up", message)
        self._up.put(message, is_ours=True)

    def join_upstream(self, channel: Channel) -> None:
        self._down.read_from(channel)
        self._up.write_to(channel)
        channel.on_close = lambda: self._closed("upstream")

    def join_client(self, channel: Channel) -> None:
        """The client's channel, of whatever label. A second one is closed."""
        if self._client is not None:
            self._log.warning("channel.refused", leg="client", label=channel.label)
            channel.close()
            return
        self._client = channel
        self._up.read_from(channel)
        self._down.write_to(channel)
        channel.on_close = lambda: self._closed("client")

    async def tell_client(self, code: str, message: str, *, timeout_s: float) -> None:
        """The last word to the client, and the time it needs to leave; nothing where there is no
        open channel. Nothing of the upstream's is sent after it."""
        self.close()
        channel = self._client
        if channel is None or channel.state != "open":
            return
        left = asyncio.Event()
        channel.low_water_bytes = 0
        channel.on_drain = left.set
        try:
            channel.send(_error("server_error", code, message))
            if channel.buffered_amount:
                async with asyncio.timeout(timeout_s):
                    await left.wait()
        except (ChannelIsClosed, MessageTooLarge, TimeoutError):
            return

    def close(self) -> None:
        """Nothing passes and nothing is called back afterwards. Twice is fine."""
        self._up.close()
        self._down.close()

    def _closed(self, leg: LegName) -> None:
        self._handle(ChannelClosed(leg))

    def _refuse_up(self, size: int, limit: int) -> None:
        self._refuse(
            "up",
            "invalid_request_error",
            f"The event of {size} bytes was not delivered: the limit is {limit} bytes.",
        )

    def _refuse_down(self, size: int, limit: int) -> None:
        self._refuse(
            "down",
            "server_error",
            f"An event of {size} bytes could not be delivered: "
            f"this data channel takes {limit} bytes at the most.",
        )

    def _refuse(self, direction: Direction, error_type: str, message: str) -> None:
        self._log.warning("message.refused", direction=direction, detail=message)
        self._down.put(_error(error_type, "message_too_large", message), is_ours=True)


def _error(error_type: str, code: str, message: str) -> str:
    event_id = f"event_relay_{secrets.token_hex(8)}"
    return error_event(event_id=event_id, error_type=error_type, code=code, message=message)


def _size_of(message: Message) -> int:
    if isinstance(message, bytes) or message.isascii():  # str knows this of itself
        return len(message)
    return len(message.encode())
