"""RTP and RTCP packets, and the other datagrams that tests send."""

from __future__ import annotations

import struct
from binascii import crc32

OPUS = 111
SSRC = 0x1234ABCD


def rtp(
    sequence: int = 1,
    *,
    timestamp: int | None = None,
    ssrc: int = SSRC,
    payload_type: int = OPUS,
    marker: bool = False,
    payload: bytes = b"opus" * 20,
    csrcs: tuple[int, ...] = (),
    extension: bytes | None = None,
    padding: int = 0,
) -> bytes:
    """`extension` is the whole header extension: profile, length in words, elements."""
    first = 0x80 | len(csrcs) | (0x10 if extension is not None else 0) | (0x20 if padding else 0)
    timestamp = sequence * 960 if timestamp is None else timestamp
    return b"".join(
        (
            struct.pack(
                "!BBHII",
                first,
                marker << 7 | payload_type,
                sequence & 0xFFFF,
                timestamp & 0xFFFFFFFF,
                ssrc,
            ),
            *(struct.pack("!I", csrc) for csrc in csrcs),
            extension or b"",
            payload,
            bytes(padding - 1) + bytes((padding,)) if padding else b"",
        )
    )


def sequence_of(packet: bytes) -> int:
    return int.from_bytes(packet[2:4], "big")


def rtcp(kind: int, body: bytes, *, count: int = 0) -> bytes:
    assert len(body) % 4 == 0
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def sender_report(ntp: int, *, ssrc: int = SSRC) -> bytes:
    return rtcp(200, struct.pack("!IQIII", ssrc, ntp, 960, 10, 800))


def receiver_report(
    *, lost: int = 0, last_sr: int = 0, delay: int = 0, about: int = SSRC, jitter: int = 0
) -> bytes:
    block = struct.pack("!IIIIII", about, lost & 0xFFFFFF, 100, jitter, last_sr, delay)
    return rtcp(201, struct.pack("!I", 7) + block, count=1)


def stun_message(kind: int, attributes: bytes = b"", *, transaction_id: bytes = bytes(12)) -> bytes:
    """Without MESSAGE-INTEGRITY; with FINGERPRINT."""
    head = struct.pack("!HHI12s", kind, len(attributes) + 8, 0x2112A442, transaction_id)
    body = head + attributes
    return body + struct.pack("!HHI", 0x8028, 4, crc32(body) ^ 0x5354554E)


def stun_attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) & 3)
