"""RFC 2198's packets."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import red

BLOCKS = st.lists(st.tuples(st.integers(0, 127), st.integers(0, 2**14 - 1), st.binary(max_size=90)))


def packet(older: list[tuple[int, int, bytes]], payload_type: int, payload: bytes) -> bytes:
    headers = [
        struct.pack("!I", 1 << 31 | pt << 24 | offset << 10 | len(data))
        for pt, offset, data in older
    ]
    return b"".join([*headers, bytes([payload_type]), *(data for _, _, data in older), payload])


@given(BLOCKS, st.integers(0, 127), st.binary(max_size=90))
def test_primary_of_any_packet_is_its_last_block(
    older: list[tuple[int, int, bytes]], payload_type: int, payload: bytes
) -> None:
    assert red.primary(packet(older, payload_type, payload)) == (payload_type, payload)


@given(st.binary(max_size=60))
def test_primary_given_anything_never_raises(payload: bytes) -> None:
    found = red.primary(payload)

    assert found is None or payload.endswith(found[1])


@pytest.mark.parametrize(
    "payload", [b"", b"\xef\0\0", b"\xef\0\0\x05", b"\xef\0\0\x05\x6f1234", b"\x80" * 8]
)
def test_primary_of_a_packet_that_is_cut_off_is_none(payload: bytes) -> None:
    assert red.primary(payload) is None
