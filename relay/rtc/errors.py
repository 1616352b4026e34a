"""What can go wrong with a leg or a channel, by name."""

from __future__ import annotations

from relay.core.ids import LegName


class LegFailed(Exception):
    """A peer connection that did not come about, or is over.

    `reason` is one of: ice_timeout, ice_failed, dtls_timeout, dtls_failed, closed.
    """

    def __init__(self, leg: LegName, reason: str) -> None:
        super().__init__(f"The {leg} leg failed: {reason}.")
        self.leg = leg
        self.reason = reason


class ChannelClosed(Exception):
    """The channel is not open (any more)."""


class MessageTooLarge(Exception):
    """The peer takes messages of `limit_bytes` at the most."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"A message of {size_bytes} bytes is over the peer's {limit_bytes} bytes.")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
