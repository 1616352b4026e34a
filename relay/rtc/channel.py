"""A data channel with bounds: text and binary, in order, slowed by `buffered_amount`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import structlog
from aiortc import RTCDataChannel

from relay.rtc.errors import ChannelClosed, MessageTooLarge
from relay.rtc.sctp import SctpTransport, to_bytes

ChannelState = Literal["connecting", "open", "closing", "closed"]

log = structlog.get_logger(__name__)


class Channel:
    """One channel of a leg. Its callbacks run in the socket's callback and may raise without harm:
    what they raise is logged and never reaches aiortc (it would close the transport)."""

    def __init__(self, sctp: SctpTransport, channel: RTCDataChannel) -> None:
        self._sctp = sctp
        self._channel = channel
        self.on_message: Callable[[str | bytes], None] | None = None
        self.on_open: Callable[[], None] | None = None
        self.on_close: Callable[[], None] | None = None
        self.on_drain: Callable[[], None] | None = None
        self.low_water_bytes = 256 * 1024
        self._above_low_water = False
        channel.on("message", self._message)
        channel.on("open", lambda: _call(self.on_open))
        channel.on("close", lambda: _call(self.on_close))

    @property
    def label(self) -> str:
        return str(self._channel.label)

    @property
    def id(self) -> int | None:
        """The SCTP stream; None before the association is up."""
        return self._channel.id

    @property
    def state(self) -> ChannelState:
        return cast(ChannelState, self._channel.readyState)

    @property
    def max_message_size(self) -> int:
        """The largest message the peer takes, in bytes; 0 = any size (RFC 8841 §6.1)."""
        return self._sctp.peer_max_message_bytes

    @property
    def buffered_amount(self) -> int:
        """Bytes accepted by send() that have not left yet."""
        return int(self._channel.bufferedAmount) + self._sctp.unsent_bytes

    def send(self, data: str | bytes) -> None:
        """Queues one message. Raises ChannelClosed or MessageTooLarge, and loses nothing else."""
        if self._channel.readyState != "open":
            raise ChannelClosed(f"The data channel is {self._channel.readyState}.")
        limit = self._sctp.peer_max_message_bytes
        if limit and len(data) > limit // 4:
            size = len(to_bytes(data)) if isinstance(data, str) else len(data)
            if size > limit:
                raise MessageTooLarge(size, limit)
        self._sctp.send_message(self._channel, data)
        if self.buffered_amount > self.low_water_bytes:
            self._above_low_water = True

    def pause(self) -> None:
        """Stops on_message; the sender is slowed by SCTP's window. Until resume()."""
        self._sctp.pause(self._channel)

    def resume(self) -> None:
        self._sctp.resume(self._channel)

    def close(self) -> None:
        """Resets the stream both ways (RFC 8831 §6.7); on_close follows. Twice is fine."""
        self._channel.close()

    def progressed(self) -> None:
        """The leg's: the peer acknowledged something."""
        if self._above_low_water and self.buffered_amount <= self.low_water_bytes:
            self._above_low_water = False
            _call(self.on_drain)

    def _message(self, data: str | bytes) -> None:
        callback = self.on_message
        if callback is None:
            return
        try:
            callback(data)
        except Exception:
            log.exception("channel.callback_failed", label=self.label)


def _call(callback: Callable[[], None] | None) -> None:
    if callback is None:
        return
    try:
        callback()
    except Exception:
        log.exception("channel.callback_failed")
