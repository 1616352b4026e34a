"""A call for load tests: nothing is decoded, stored Opus goes out at 50 packets a second for ever.

A packet whose payload starts with `MARK` is sent back at once as a packet of the outgoing stream,
in the place of the next stored one, so that the rate stays what it is. A data-channel message with
the type `relay.echo` is sent back verbatim. `session.update` is answered, everything else ignored.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

from relay.core import rtp
from relay.simulator.conversation import Conversation
from relay.simulator.outbox import Close, Send
from relay.simulator.pacer import Pacer, Slot
from relay.simulator.speaker import PACKET_S, RtpStream

MARK = b"RELAYECH"
ECHO_TYPE = "relay.echo"
_WHERE_THE_TYPE_IS = 80
"""Characters from a message's beginning within which its type is looked for."""


class Load:
    """Replays `packets` in a loop and echoes what is marked, until `close`."""

    def __init__(
        self,
        conversation: Conversation,
        packets: Sequence[bytes],
        stream: RtpStream,
        pacer: Pacer,
        *,
        send_rtp: Callable[[bytes], object],
        send_event: Callable[[str], None],
        end: Callable[[str], None],
    ) -> None:
        assert packets
        self._conversation = conversation
        self._packets = packets
        self._stream = stream
        self._pacer = pacer
        self._send_rtp = send_rtp
        self._send_event = send_event
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._expiry: asyncio.TimerHandle | None = None
        self._slot: Slot | None = None
        self._next = 0
        self._timestamp = 0
        self._ticks = round(stream.clock_hz * PACKET_S)
        self._place_is_taken = False

    def connected(self) -> None:
        self._timestamp = self._stream.timestamp_at(self._loop.time())
        self._slot = self._pacer.add(self._beat)
        self._emit()
        if (deadline := self._conversation.deadline) is not None:  # of an idle one: its last
            self._expiry = self._loop.call_at(deadline, self._expire)

    def receive_rtp(self, packet: bytes, _now: float) -> None:
        bounds = rtp.payload_bounds(packet)
        if bounds is None or not packet.startswith(MARK, bounds[0]):
            return
        self._place_is_taken = True
        self._send_rtp(self._stream.packet(packet[bounds[0] : bounds[1]], self._timestamp))

    def receive_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            return
        if f'"{ECHO_TYPE}"' in message[:_WHERE_THE_TYPE_IS]:
            self._send_event(message)
        elif '"session.update"' in message[:_WHERE_THE_TYPE_IS]:
            self._conversation.handle_event(message, 0.0)
            self._emit()

    def close(self) -> None:
        if self._slot is not None:
            self._pacer.remove(self._slot)
        if self._expiry is not None:
            self._expiry.cancel()

    def _expire(self) -> None:
        self._conversation.handle_timer(self._loop.time())
        self._emit()

    def _emit(self) -> None:
        for output in self._conversation.drain():
            if isinstance(output, Send):
                self._send_event(json.dumps(output.event, separators=(",", ":")))
            elif isinstance(output, Close):
                self._end(output.reason)

    def _beat(self, _now: float) -> None:
        self._timestamp += self._ticks
        if self._place_is_taken:
            self._place_is_taken = False
            return
        payload = self._packets[self._next]
        self._next = (self._next + 1) % len(self._packets)
        self._send_rtp(self._stream.packet(payload, self._timestamp))
