"""SCTP packets as a hostile peer makes them, sent through a leg's own DTLS association."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable

from google_crc32c import value as crc32c

from relay.rtc import Leg
from relay.rtc.dtls import run_sync

DATA, INIT, INIT_ACK, SACK, HEARTBEAT, ABORT, SHUTDOWN = 0, 1, 2, 3, 4, 6, 7
ERROR, COOKIE_ECHO, RECONFIG, FORWARD_TSN = 9, 10, 130, 192
FIRST, LAST, UNORDERED = 2, 1, 4
DCEP, STRING, BINARY = 50, 51, 53

_PACKETS_A_TURN = 8  # half of what a shared wire reads at a wake-up


def chunk(kind: int, body: bytes = b"", *, flags: int = 0, length: int | None = None) -> bytes:
    """`length` lies about the chunk's length."""
    length = len(body) + 4 if length is None else length
    return struct.pack("!BBH", kind, flags, length) + body + bytes(-len(body) & 3)


def data_chunk(
    tsn: int,
    data: bytes,
    *,
    stream: int = 0,
    sequence: int = 0,
    protocol: int = STRING,
    flags: int = FIRST | LAST,
) -> bytes:
    body = struct.pack("!LHHL", tsn % 2**32, stream, sequence % 2**16, protocol) + data
    return chunk(DATA, body, flags=flags)


def sack_chunk(cumulative_tsn: int, gaps: list[tuple[int, int]], *, window: int = 2**20) -> bytes:
    body = struct.pack("!LLHH", cumulative_tsn % 2**32, window, len(gaps), 0)
    return chunk(SACK, body + b"".join(struct.pack("!HH", *gap) for gap in gaps))


def dcep_open(label: bytes, *, kind: int = 0, label_length: int | None = None) -> bytes:
    length = len(label) if label_length is None else label_length
    return struct.pack("!BBHLHH", 3, kind, 0, 0, length, 0) + label


class Attacker:
    """Sends as `leg`'s association would, but whatever the test wants."""

    def __init__(self, leg: Leg) -> None:
        self._sctp = leg._sctp
        self._dtls = leg._dtls

    @property
    def next_tsn(self) -> int:
        """What the victim expects next."""
        return int(self._sctp._local_tsn)

    def take_tsns(self, count: int) -> int:
        """The first of `count` TSNs that the leg's own association will not use any more."""
        first = self.next_tsn
        self._sctp._local_tsn = (first + count) % 2**32
        return first

    def send(self, *chunks: bytes, tag: int | None = None) -> None:
        tag = self._sctp._remote_verification_tag if tag is None else tag
        header = struct.pack("!HHL", 5000, 5000, tag)
        body = b"".join(chunks)
        checksum = struct.pack("<L", crc32c(header + bytes(4) + body))
        self.send_raw(header + checksum + body)

    async def flood(self, chunks: Iterable[bytes], *, per_packet: int = 1) -> None:
        """Sends many, no faster than they are read: a full socket buffer is no part of a test."""
        packet: list[bytes] = []
        packets = 0
        for one in chunks:
            packet.append(one)
            if len(packet) == per_packet:
                self.send(*packet)
                packet.clear()
                packets += 1
                if packets % _PACKETS_A_TURN == 0:
                    await asyncio.sleep(0)
        if packet:
            self.send(*packet)

    def send_raw(self, packet: bytes) -> None:
        run_sync(self._dtls._send_data(packet))
