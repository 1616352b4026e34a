"""Ogg pages, written and read (RFC 3533).

Every page is built whole, so that it can be written at once; a packet never continues on the next
page, which Opus packets of a datagram have no need of. The reader takes foreign files, too:
continued packets are put together, and after damage it looks for the next page.
Out of scope: several logical streams in one file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

CAPTURE: Final = b"OggS"
CONTINUED: Final = 0x01
FIRST: Final = 0x02
LAST: Final = 0x04

MAX_SEGMENTS: Final = 255
MAX_PACKET_BYTES: Final = 255 * MAX_SEGMENTS - 1
"""What fits into one page."""

NO_GRANULE: Final = -1
"""The granule position of a page on which no packet ends."""

_HEADER: Final = struct.Struct("<4sBBqIIIB")
_HEADER_BYTES: Final = _HEADER.size
_CRC_AT: Final = 22
_MAX_PAGE_BYTES: Final = _HEADER_BYTES + 255 + 255 * 255

_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def checksum(page: bytes) -> bytes:
    """The four bytes of a page's CRC field; `page` has zeros there (RFC 3533 §6).

    Ogg's CRC is zlib's with the bits the other way round and nothing inverted: in C, by that.
    """
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return reflected.to_bytes(4, "big").translate(_REVERSED)


def segments(size: int) -> int:
    """How many of a page's 255 lacing values a packet of `size` bytes takes."""
    return size // 255 + 1


def page(
    packets: Sequence[bytes], *, serial: int, sequence: int, granule: int, flags: int = 0
) -> bytes:
    """One page with whole packets, at most 255 `segments` of them.

    `serial` and `sequence` are 32 bits, `granule` 63, `flags` FIRST or LAST or neither.
    """
    lacing = bytearray()
    for packet in packets:
        size = len(packet)
        if size >= 255:
            lacing += b"\xff" * (size // 255)
        lacing.append(size % 255)
    assert len(lacing) <= MAX_SEGMENTS
    header = _HEADER.pack(CAPTURE, 0, flags, granule, serial, sequence & 0xFFFFFFFF, 0, len(lacing))
    built = b"".join((header, lacing, *packets))
    return b"".join((built[:_CRC_AT], checksum(built), built[_CRC_AT + 4 :]))


@dataclass(frozen=True, slots=True)
class Page:
    """One page as it was read; `offset` and `size` are its place in the file, in bytes."""

    offset: int
    size: int
    flags: int
    granule: int
    serial: int
    sequence: int
    lacing: bytes = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def is_first(self) -> bool:
        return bool(self.flags & FIRST)

    @property
    def is_last(self) -> bool:
        return bool(self.flags & LAST)

    @property
    def continues(self) -> bool:
        """Whether its first packet began on the page before."""
        return bool(self.flags & CONTINUED)

    @property
    def is_open(self) -> bool:
        """Whether its last packet goes on on the next page."""
        return self.lacing.endswith(b"\xff")

    def pieces(self) -> Iterator[bytes]:
        """Its packets, in order; the first and the last may be parts."""
        at, size = 0, 0
        for value in self.lacing:
            size += value
            if value < 255:
                yield self.body[at : at + size]
                at, size = at + size, 0
        if self.is_open:
            yield self.body[at:]


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no page, or no whole one."""

    offset: int
    size: int
    reason: str


Found: TypeAlias = Page | Damage


class PageReader:
    """Pages out of the bytes of a file, in whichever portions they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._offset = 0

    def feed(self, data: bytes) -> list[Found]:
        """The pages that are whole now. Never raises; holds at most one page's bytes."""
        self._buffer += data
        found: list[Found] = []
        while True:
            if not self._buffer.startswith(CAPTURE):
                if len(self._buffer) < len(CAPTURE):
                    return found
                found.append(self._skip("no page begins here"))
                continue
            if len(self._buffer) > len(CAPTURE) and self._buffer[4] != 0:
                found.append(self._skip("an unknown version of Ogg"))
                continue
            size = self._page_size()
            if size is None or len(self._buffer) < size:
                return found
            found.append(self._take(size))

    def close(self) -> list[Found]:
        """What is left at the end of the file: nothing, or damage."""
        if not self._buffer:
            return []
        damage = Damage(self._offset, len(self._buffer), "the page is cut off")
        self._buffer.clear()
        return [damage]

    def _page_size(self) -> int | None:
        """None where too little has come to tell."""
        buffer = self._buffer
        if len(buffer) < _HEADER_BYTES:
            return None
        body_at = _HEADER_BYTES + buffer[_HEADER_BYTES - 1]
        if len(buffer) < body_at:
            return None
        return body_at + sum(buffer[_HEADER_BYTES:body_at])

    def _take(self, size: int) -> Found:
        raw = bytes(self._buffer[:size])
        _, _, flags, granule, serial, sequence, _, count = _HEADER.unpack_from(raw)
        zeroed = raw[:_CRC_AT] + bytes(4) + raw[_CRC_AT + 4 :]
        if checksum(zeroed) != raw[_CRC_AT : _CRC_AT + 4]:
            return self._skip("the checksum is wrong")
        body_at = _HEADER_BYTES + count
        taken = Page(
            offset=self._offset,
            size=size,
            flags=flags,
            granule=granule,
            serial=serial,
            sequence=sequence,
            lacing=raw[_HEADER_BYTES:body_at],
            body=raw[body_at:],
        )
        self._drop(size)
        return taken

    def _skip(self, reason: str) -> Damage:
        """Goes on where the next page may begin."""
        start = self._buffer.find(CAPTURE, 1)
        if start < 0:  # a capture pattern may be cut in two by the portions
            start = max(1, len(self._buffer) - len(CAPTURE) + 1)
        damage = Damage(self._offset, start, reason)
        self._drop(start)
        return damage

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._offset += size


class PacketReader:
    """Packets out of the pages of one stream, in order; a lost page costs the packets on it."""

    def __init__(self) -> None:
        self._part: bytes | None = None

    def feed(self, found: Page) -> list[bytes]:
        """The packets that end on this page."""
        pieces = list(found.pieces())
        if found.continues and pieces:
            if self._part is None:
                del pieces[0]  # its beginning is lost
            else:
                pieces[0] = self._part + pieces[0]
        self._part = pieces.pop() if found.is_open and pieces else None
        return pieces
