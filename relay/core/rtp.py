"""RTP headers as they are read in passing, for statistics and taps (RFC 3550, RFC 8285, RFC 6464).

Nothing here copies a payload or raises on a hostile packet: `header_length` judges a packet once,
and the field functions may then be called on what it accepted. Out of scope: writing headers.
"""

from __future__ import annotations

from typing import Final, TypeAlias

Packet: TypeAlias = bytes | bytearray | memoryview

FIXED_HEADER_BYTES: Final = 12

_ONE_BYTE_PROFILE: Final = 0xBEDE
_TWO_BYTE_PROFILE: Final = 0x1000
"""The first twelve bits; the last four are the application's (RFC 8285 §4.3)."""

_MAX_DROPOUT: Final = 3000
_MAX_MISORDER: Final = 100
_SEQUENCES: Final = 1 << 16
_TIMESTAMPS: Final = 1 << 32

_WINDOW_PACKETS: Final = 128
"""How far back a packet is remembered; must be _MAX_MISORDER or more."""
_WINDOW_MASK: Final = (1 << _WINDOW_PACKETS) - 1

_MAX_TRANSIT_CHANGE_S: Final = 10.0


def is_rtcp(second_byte: int) -> bool:
    """Whether a packet that is RTP or RTCP is RTCP, by its second byte (RFC 5761 §4)."""
    return 64 <= second_byte & 0x7F <= 95


def header_length(packet: Packet) -> int:
    """Bytes before the payload, CSRCs and header extension included; 0 where it is not RTP."""
    size = len(packet)
    if size < FIXED_HEADER_BYTES or packet[0] >> 6 != 2:
        return 0
    length = FIXED_HEADER_BYTES + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        if size < length + 4:
            return 0
        length += 4 + 4 * (packet[length + 2] << 8 | packet[length + 3])
    return length if length <= size else 0


def payload_bounds(packet: Packet) -> tuple[int, int] | None:
    """Where the payload starts and ends, padding left out; None where it is no RTP packet."""
    end = len(packet)
    if end >= FIXED_HEADER_BYTES and packet[0] == 0x80:  # nothing but the fixed header: most
        return FIXED_HEADER_BYTES, end
    start = header_length(packet)
    if not start:
        return None
    if packet[0] & 0x20:
        padding = packet[end - 1] if end > start else 0
        if not 1 <= padding <= end - start:
            return None
        end -= padding
    return start, end


def payload_type(packet: Packet) -> int:
    """0 to 127."""
    return packet[1] & 0x7F


def marker(packet: Packet) -> bool:
    """For audio: the first packet after a silence (RFC 3551 §4.1)."""
    return packet[1] >= 0x80


def sequence(packet: Packet) -> int:
    """0 to 2¹⁶−1."""
    return packet[2] << 8 | packet[3]


def timestamp(packet: Packet) -> int:
    """0 to 2³²−1, in units of the codec's clock."""
    return int.from_bytes(packet[4:8], "big")


def ssrc(packet: Packet) -> int:
    """0 to 2³²−1."""
    return int.from_bytes(packet[8:12], "big")


def find_extension(packet: Packet, extension_id: int) -> Packet | None:
    """The data of one header extension element (RFC 8285 §4), None where absent or malformed.

    `extension_id` is the negotiated one, 1 to 255. The first element of that id counts.
    """
    end = header_length(packet)
    if not end or not packet[0] & 0x10:
        return None
    start = FIXED_HEADER_BYTES + 4 * (packet[0] & 0x0F)
    profile = packet[start] << 8 | packet[start + 1]
    if profile == _ONE_BYTE_PROFILE:
        return _find_one_byte(packet, start + 4, end, extension_id)
    if profile & 0xFFF0 == _TWO_BYTE_PROFILE:
        return _find_two_byte(packet, start + 4, end, extension_id)
    return None


def _find_one_byte(packet: Packet, at: int, end: int, extension_id: int) -> Packet | None:
    while at < end:
        found, length = packet[at] >> 4, (packet[at] & 0x0F) + 1
        at += 1
        if found == 0 and length == 1:  # padding
            continue
        if found in (0, 15) or at + length > end:  # §4.2: both end the extension
            return None
        if found == extension_id:
            return packet[at : at + length]
        at += length
    return None


def _find_two_byte(packet: Packet, at: int, end: int, extension_id: int) -> Packet | None:
    while at < end:
        found = packet[at]
        at += 1
        if found == 0:
            continue
        if at == end or at + 1 + packet[at] > end:
            return None
        length = packet[at]
        at += 1
        if found == extension_id:
            return packet[at : at + length]
        at += length
    return None


def audio_level(packet: Packet, extension_id: int) -> tuple[int, bool] | None:
    """The level in −dBov (0 loudest, 127 silence) and whether the sender hears a voice (RFC 6464).

    None where the packet does not say.
    """
    element = find_extension(packet, extension_id)
    return (element[0] & 0x7F, element[0] >= 0x80) if element else None


class SequenceTracker:
    """What one SSRC's sequence numbers tell of the path (RFC 3550 A.1 and A.3).

    `received` counts packets once; a repeated one is in `duplicates` only. `reordered` counts those
    that came after a later one and are in `received` too. A jump of 3,000 or more is believed when
    its successor follows; what was counted before it stays.
    """

    __slots__ = (
        "_base",
        "_expected_before",
        "_highest",
        "_interval_start",
        "_restart_at",
        "_window",
        "duplicates",
        "received",
        "reordered",
    )

    def __init__(self) -> None:
        self.received = 0
        self.reordered = 0
        self.duplicates = 0
        self._base = 0
        self._highest = -1
        self._window = 0  # bit n: the packet n before the highest has come
        self._restart_at = -1
        self._expected_before = 0
        self._interval_start = (0, 0)

    @property
    def highest(self) -> int | None:
        """The highest sequence number seen, extended by the count of wraps; None before any."""
        return None if self._highest < 0 else self._highest

    @property
    def expected(self) -> int:
        """How many packets there should have been from the first to the highest."""
        return self._expected_before + self._highest - self._base + 1 if self._highest >= 0 else 0

    @property
    def lost(self) -> int:
        """How many of the expected have not come (so far: a late one takes its loss back)."""
        return max(0, self.expected - self.received)

    def update(self, sequence: int) -> None:
        """Counts one packet; `sequence` is 0 to 2¹⁶−1."""
        if self._highest < 0:
            self._start(sequence)
            return
        ahead = (sequence - self._highest) % _SEQUENCES
        if ahead == 0:
            self.duplicates += 1
        elif ahead < _MAX_DROPOUT:
            self._highest += ahead
            self._window = (self._window << ahead | 1) & _WINDOW_MASK
            self.received += 1
        elif ahead > _SEQUENCES - _MAX_MISORDER:
            self._count_late(_SEQUENCES - ahead)
        elif sequence == self._restart_at:
            self._expected_before = self.expected
            self._start(sequence)
        else:
            self._restart_at = (sequence + 1) % _SEQUENCES

    def take_interval(self) -> tuple[int, int]:
        """Packets expected and lost since the last call (RFC 3550 A.3); lost may be negative."""
        expected, received = self._interval_start
        self._interval_start = (self.expected, self.received)
        interval = self.expected - expected
        return interval, interval - (self.received - received)

    def _start(self, sequence: int) -> None:
        # One wrap ahead, so that packets from before the first one never make it negative.
        self._base = self._highest = sequence + _SEQUENCES
        self._window = 1
        self._restart_at = -1
        self.received += 1

    def _count_late(self, behind: int) -> None:
        if self._window >> behind & 1:
            self.duplicates += 1
            return
        self._window |= 1 << behind
        self._base = min(self._base, self._highest - behind)
        self.received += 1
        self.reordered += 1


class JitterEstimator:
    """Interarrival jitter of one SSRC (RFC 3550 §6.4.1 and A.8).

    A step of more than ten seconds between the clocks is the sender's timestamps starting anew and
    not jitter: it is left out.
    """

    __slots__ = ("_arrival_s", "_clock_rate", "_timestamp", "jitter_s")

    def __init__(self, clock_rate: int) -> None:
        """`clock_rate` in Hz, positive."""
        assert clock_rate > 0
        self.jitter_s = 0.0
        self._clock_rate = clock_rate
        self._timestamp: int | None = None
        self._arrival_s = 0.0

    def update(self, timestamp: int, arrival_s: float) -> None:
        """Counts one packet; `arrival_s` is of any monotonic clock, in seconds."""
        if self._timestamp is not None:
            ticks = (timestamp - self._timestamp + _TIMESTAMPS // 2) % _TIMESTAMPS
            sent_s = (ticks - _TIMESTAMPS // 2) / self._clock_rate
            change_s = abs(arrival_s - self._arrival_s - sent_s)
            if change_s <= _MAX_TRANSIT_CHANGE_S:
                self.jitter_s += (change_s - self.jitter_s) / 16
        self._timestamp = timestamp
        self._arrival_s = arrival_s
