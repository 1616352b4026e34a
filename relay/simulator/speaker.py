"""Speaking: stored packets out as RTP, 50 a second (RFC 3550, RFC 7587, RFC 3551).

Between two lines nothing is sent: the timestamps go on with the time, and the first packet of a
line has the marker set. Whether OpenAI sends silence between turns is not documented.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from relay.simulator.pacer import Pacer, Slot

PACKET_S = 0.02

_HEADER = struct.Struct("!BBHLL")


class RtpStream:
    """One outgoing SSRC: numbers its packets and counts them for sender reports.

    `start` values come from the caller; `clock_hz` is the codec's.
    """

    def __init__(
        self, *, ssrc: int, payload_type: int, clock_hz: int, sequence: int, timestamp: int
    ) -> None:
        self.ssrc = ssrc
        self.clock_hz = clock_hz
        self.packet_count = 0
        self.octet_count = 0
        self._payload_type = payload_type
        self._sequence = sequence
        self._timestamp = timestamp
        self._started_at: float | None = None

    def timestamp_at(self, now: float) -> int:
        """The media clock at `now` (seconds of the caller's monotonic clock)."""
        if self._started_at is None:
            self._started_at = now
        return self._timestamp + round((now - self._started_at) * self.clock_hz) & 0xFFFFFFFF

    def packet(self, payload: bytes, timestamp: int, *, marker: bool = False) -> bytes:
        """The next packet of the stream."""
        second = self._payload_type | (0x80 if marker else 0)
        header = _HEADER.pack(0x80, second, self._sequence, timestamp & 0xFFFFFFFF, self.ssrc)
        self._sequence = self._sequence + 1 & 0xFFFF
        self.packet_count += 1
        self.octet_count += len(payload)
        return header + payload


class Speaker:
    """Says one line at a time through `send`, in the pace of `pacer`."""

    def __init__(self, stream: RtpStream, pacer: Pacer, send: Callable[[bytes], object]) -> None:
        self._stream = stream
        self._pacer = pacer
        self._send = send
        self._slot: Slot | None = None
        self._packets: Sequence[bytes] = ()
        self._next = 0
        self._end = 0
        self._timestamp = 0
        self._ticks = round(stream.clock_hz * PACKET_S)

    @property
    def is_speaking(self) -> bool:
        return self._slot is not None

    def play(self, packets: Sequence[bytes], now: float) -> None:
        """Starts a line of 20 ms packets; one that is under way is dropped."""
        self._packets, self._next, self._end = packets, 0, len(packets)
        self._timestamp = self._stream.timestamp_at(now)
        if self._slot is None and packets:
            self._slot = self._pacer.add(self._tick)

    def cut(self, at_ms: int) -> None:
        """Lets the line end at this position; what is beyond is never sent."""
        self._end = min(self._end, -(-at_ms // round(PACKET_S * 1000)))
        if self._next >= self._end:
            self.stop()

    def stop(self) -> None:
        if self._slot is not None:
            self._pacer.remove(self._slot)
            self._slot = None

    def _tick(self, _now: float) -> None:
        packet = self._stream.packet(
            self._packets[self._next], self._timestamp, marker=self._next == 0
        )
        self._next += 1
        self._timestamp += self._ticks
        if self._next >= self._end:
            self.stop()
        self._send(packet)
