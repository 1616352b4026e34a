"""Ogg pages: a checksum from the RFC's own algorithm, round trips, and files cut or scratched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import ogg
from relay.core.ogg import Damage, PacketReader, Page, PageReader

PACKETS = st.lists(st.binary(max_size=700), max_size=20).filter(
    lambda packets: sum(ogg.segments(len(packet)) for packet in packets) <= ogg.MAX_SEGMENTS
)


def reference_crc(data: bytes) -> bytes:
    """RFC 3533 §6, bit by bit: polynomial 0x04c11db7, nothing reflected, nothing inverted."""
    register = 0
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = register << 1 ^ (0x04C11DB7 if register & 1 << 31 else 0)
            register &= 0xFFFFFFFF
    return register.to_bytes(4, "little")


def read(data: bytes, portion: int = 1 << 20) -> list[Page | Damage]:
    reader = PageReader()
    found = [
        one for at in range(0, len(data), portion) for one in reader.feed(data[at : at + portion])
    ]
    return found + reader.close()


def pages(found: list[Page | Damage]) -> list[Page]:
    return [one for one in found if isinstance(one, Page)]


@given(st.binary(max_size=300))
def test_checksum_of_anything_is_the_rfcs(data: bytes) -> None:
    assert ogg.checksum(data) == reference_crc(data)


@given(PACKETS, st.integers(0, 2**32 - 1), st.integers(-1, 2**62), st.integers(1, 400))
def test_page_when_read_in_any_portions_gives_its_packets(
    packets: list[bytes], number: int, granule: int, portion: int
) -> None:
    data = ogg.page(packets, serial=number, sequence=number, granule=granule, flags=ogg.LAST)

    [page] = pages(read(data + data, portion))[:1]

    assert list(page.pieces()) == packets
    assert (page.serial, page.sequence, page.granule) == (number, number, granule)
    assert page.is_last
    assert not any((page.is_first, page.continues, page.is_open))
    assert page.size == len(data)


@given(st.lists(PACKETS, min_size=2, max_size=5), st.data())
def test_file_when_cut_anywhere_keeps_every_whole_page(
    contents: list[list[bytes]], data: st.DataObject
) -> None:
    built = [ogg.page(c, serial=1, sequence=n, granule=n) for n, c in enumerate(contents)]
    whole = b"".join(built)
    cut = data.draw(st.integers(0, len(whole)))

    found = read(whole[:cut])

    ends = [sum(map(len, built[: n + 1])) for n in range(len(built))]
    assert [page.sequence for page in pages(found)] == [
        n for n, end in enumerate(ends) if end <= cut
    ]
    damages = [one for one in found if isinstance(one, Damage)]
    assert sum(damage.size for damage in damages) == cut - max([0, *(e for e in ends if e <= cut)])


@given(st.data())
def test_file_with_one_byte_changed_loses_no_other_page(data: st.DataObject) -> None:
    built = [ogg.page([bytes([n]) * 300], serial=1, sequence=n, granule=n) for n in range(4)]
    whole = bytearray(b"".join(built))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))

    found = read(bytes(whole))

    hit = at // len(built[0])
    left = [page.sequence for page in pages(found)]
    # A length that lies may swallow what follows it, up to a page's greatest size.
    assert left in ([n for n in range(4) if n != hit], list(range(hit)))
    assert any(isinstance(one, Damage) for one in found)


@given(st.binary(max_size=2000), st.integers(1, 100))
def test_reader_given_anything_never_raises_and_accounts_for_each_byte(
    data: bytes, portion: int
) -> None:
    found = read(data, portion)

    assert sum(one.size for one in found) == len(data)
    assert [one.offset for one in found] == sorted(one.offset for one in found)


def test_reader_given_capture_patterns_without_end_stays_quick() -> None:
    found = read(b"OggS" * 20_000)

    assert not pages(found)


def continued(lacing: bytes, body: bytes, sequence: int, flags: int) -> bytes:
    """A page that another writer made: packets that go on over its end."""
    built = ogg.page([], serial=1, sequence=sequence, granule=0, flags=flags)
    raw = built[:22] + bytes(4) + bytes([len(lacing)]) + lacing + body
    return raw[:22] + ogg.checksum(raw) + raw[26:]


def test_packet_reader_when_packet_continues_puts_it_together() -> None:
    first = continued(b"\x03\xff", b"abc" + b"x" * 255, 0, 0)
    second = continued(b"\xff", b"y" * 255, 1, ogg.CONTINUED)
    third = continued(b"\x02\x01", b"zzd", 2, ogg.CONTINUED)
    reader = PacketReader()

    packets = [
        packet for page in pages(read(first + second + third)) for packet in reader.feed(page)
    ]

    assert packets == [b"abc", b"x" * 255 + b"y" * 255 + b"zz", b"d"]


def test_packet_reader_when_a_beginning_is_lost_drops_that_packet_only() -> None:
    page = continued(b"\x02\x01", b"zzd", 2, ogg.CONTINUED)
    reader = PacketReader()

    assert [p for found in pages(read(page)) for p in reader.feed(found)] == [b"d"]


@pytest.mark.parametrize(("size", "count"), [(0, 1), (254, 1), (255, 2), (510, 3)])
def test_segments_of_a_packet_end_with_a_short_one(size: int, count: int) -> None:
    assert ogg.segments(size) == count


def test_page_of_another_version_is_damage() -> None:
    data = bytearray(ogg.page([b"x"], serial=1, sequence=0, granule=0))
    data[4] = 1

    damage, *_ = read(bytes(data))

    assert isinstance(damage, Damage)
    assert "version" in damage.reason
