"""RTP header rewriting, for the few cases in which packets join a stream that is not their own.

A listener hears a call's packets under payload types and SSRCs of its own session: header
extensions and CSRCs, whose ids belong to the call, are taken out, and the payload stays as it is.
A new source continues the old one's sequence numbers and timestamps (RFC 3550 §5.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from relay.core.rtp import header_length

_FIXED = Struct("!BBHII")
_SEQUENCES = 1 << 16
_TIMESTAMPS = 1 << 32


class Rewriter:
    """One outgoing stream. `payload_types` maps what comes in to what goes out, all else is lost.

    `clock_rates` are of the outgoing payload types, in Hz.
    """

    def __init__(
        self, *, ssrc: int, payload_types: Mapping[int, int], clock_rates: Mapping[int, int]
    ) -> None:
        self._ssrc = ssrc
        self._payload_types = payload_types
        self._clock_rates = clock_rates
        self._source: int | None = None
        self._sequence_offset = 0
        self._timestamp_offset = 0
        self._last = (0, 0, 0.0)  # sequence, timestamp and time of the last packet out

    def rewrite(self, packet: bytes, now: float) -> bytes | None:
        """The packet as it is sent, None for one that is not; `now` in seconds, monotonic."""
        start = header_length(packet)
        if not start:
            return None
        first, second, sequence, timestamp, source = _FIXED.unpack_from(packet)
        payload_type = self._payload_types.get(second & 0x7F)
        if payload_type is None:
            return None
        if source != self._source:
            self._join(source, sequence, timestamp, now, self._clock_rates[payload_type])
            second |= 0x80  # the marker: a new talkspurt (RFC 3551 §4.1)
        sequence = (sequence + self._sequence_offset) % _SEQUENCES
        timestamp = (timestamp + self._timestamp_offset) % _TIMESTAMPS
        self._last = (sequence, timestamp, now)
        # version and padding stay; no extension, no CSRC
        header = _FIXED.pack(
            first & 0xE0, second & 0x80 | payload_type, sequence, timestamp, self._ssrc
        )
        return header + packet[start:]

    def _join(
        self, source: int, sequence: int, timestamp: int, now: float, clock_rate: int
    ) -> None:
        if self._source is not None:
            last_sequence, last_timestamp, last_at = self._last
            elapsed = max(1, round((now - last_at) * clock_rate))
            self._sequence_offset = (last_sequence + 1 - sequence) % _SEQUENCES
            self._timestamp_offset = (last_timestamp + elapsed - timestamp) % _TIMESTAMPS
        self._source = source
