"""Packets that join a stream that is not their own."""

from __future__ import annotations

from struct import pack

from hypothesis import given
from hypothesis import strategies as st

from relay.core import rtp
from relay.core.rewriter import Rewriter


def packet(
    sequence: int, timestamp: int, *, ssrc: int = 7, pt: int = 111, first: int = 0x80
) -> bytes:
    return pack("!BBHII", first, pt, sequence, timestamp, ssrc) + b"opus"


def rewriter() -> Rewriter:
    return Rewriter(ssrc=42, payload_types={111: 96}, clock_rates={96: 48000})


def test_packet_gets_the_streams_own_names_and_keeps_its_payload() -> None:
    out = rewriter().rewrite(packet(1, 960), 0.0)

    assert out is not None
    assert (rtp.ssrc(out), rtp.payload_type(out), rtp.sequence(out)) == (42, 96, 1)
    assert out[12:] == b"opus"


def test_extensions_and_csrcs_are_taken_out() -> None:
    extended = pack("!BBHIII", 0x91, 111, 5, 960, 7, 1234) + b"\xbe\xde\x00\x01\x10\xff\x00\x00opus"

    out = rewriter().rewrite(extended, 0.0)

    assert out is not None
    assert out[0] == 0x80
    assert out[12:] == b"opus"


def test_padding_stays_declared_with_its_bytes() -> None:
    padded = packet(5, 960, first=0xA0) + b"\x00\x02"

    out = rewriter().rewrite(padded, 0.0)

    assert out is not None
    assert rtp.payload_bounds(out) == (12, 16)


def test_other_payload_types_and_what_is_no_rtp_are_dropped() -> None:
    assert rewriter().rewrite(packet(1, 960, pt=13), 0.0) is None
    assert rewriter().rewrite(b"\x80\x6f", 0.0) is None


def test_new_source_continues_the_numbers_across_the_wrap() -> None:
    one = rewriter()
    one.rewrite(packet(65535, 2**32 - 480, ssrc=7), 10.0)

    out = one.rewrite(packet(300, 5, ssrc=8), 10.5)

    assert out is not None
    assert rtp.sequence(out) == 0
    assert rtp.timestamp(out) == 24000 - 480
    assert rtp.marker(out)


@given(st.binary(max_size=200))
def test_any_bytes_are_dropped_or_a_packet(data: bytes) -> None:
    out = rewriter().rewrite(data, 0.0)

    assert out is None or rtp.header_length(out) == 12
