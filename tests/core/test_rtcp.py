"""RTCP reports: bytes as stacks write them, lengths that lie, and round trips across the wrap."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.core import rtcp
from relay.core.rtcp import Bye, MalformedRtcp, ReceiverReport, ReportBlock, SenderReport

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)


def framed(kind: int, count: int, body: bytes, *, padding: int = 0) -> bytes:
    body += bytes(padding - 1) + bytes([padding]) if padding else b""
    assert len(body) % 4 == 0
    first = 0x80 | (0x20 if padding else 0) | count
    return struct.pack("!BBH", first, kind, len(body) // 4) + body


def block_bytes(block: ReportBlock) -> bytes:
    return struct.pack(
        "!LLLLLL",
        block.ssrc,
        round(block.fraction_lost * 256) << 24 | block.cumulative_lost & 0xFFFFFF,
        block.highest_sequence,
        block.jitter,
        block.last_sr,
        block.delay_since_last_sr,
    )


def report_bytes(report: rtcp.Report, *, extension: bytes = b"", padding: int = 0) -> bytes:
    match report:
        case SenderReport(ssrc, ntp, rtp_timestamp, packets, octets, blocks):
            body = struct.pack("!LQLLL", ssrc, ntp, rtp_timestamp, packets, octets)
            body += b"".join(map(block_bytes, blocks)) + extension
            return framed(200, len(blocks), body, padding=padding)
        case ReceiverReport(ssrc, blocks):
            body = struct.pack("!L", ssrc) + b"".join(map(block_bytes, blocks)) + extension
            return framed(201, len(blocks), body, padding=padding)
        case Bye(ssrcs):
            body = struct.pack(f"!{len(ssrcs)}L", *ssrcs) + extension
            return framed(203, len(ssrcs), body, padding=padding)


BLOCK = ReportBlock(
    ssrc=0x11223344,
    fraction_lost=0.25,
    cumulative_lost=-3,
    highest_sequence=0x0001FFFF,
    jitter=77,
    last_sr=0xB7050000,
    delay_since_last_sr=0x00054000,
)
SENDER = SenderReport(1, 0xB44DB7057FFFFFFF, 960, 50, 4000, (BLOCK,))
SDES = framed(202, 1, struct.pack("!L", 1) + b"\x01\x02ab\x00\x00\x00\x00")
TWCC = framed(205, 15, bytes(16))

BLOCKS = st.lists(
    st.builds(
        ReportBlock,
        ssrc=U32,
        fraction_lost=st.integers(0, 255).map(lambda lost: lost / 256),
        cumulative_lost=st.integers(-(2**23), 2**23 - 1),
        highest_sequence=U32,
        jitter=U32,
        last_sr=U32,
        delay_since_last_sr=U32,
    ),
    max_size=4,
).map(tuple)
REPORTS: st.SearchStrategy[rtcp.Report] = st.one_of(
    st.builds(SenderReport, U32, U64, U32, U32, U32, BLOCKS),
    st.builds(ReceiverReport, U32, BLOCKS),
    st.builds(Bye, st.lists(U32, max_size=31).map(tuple)),
)


def test_rtcp_of_chromes_report_reads_every_field() -> None:
    data = bytes.fromhex(
        "81c8000c"  # SR, one block
        "00000001 b44db7057fffffff 000003c0 00000032 00000fa0"
        "11223344 40fffffd 0001ffff 0000004d b7050000 00054000"
    )

    assert rtcp.parse(data) == (SENDER,)
    assert SENDER.ntp_middle == 0xB7057FFF


@given(st.lists(REPORTS, min_size=1, max_size=5), st.sampled_from([0, 4, 8, 252]), st.booleans())
def test_rtcp_compound_of_any_reports_is_read_back_in_order(
    reports: list[rtcp.Report], padding: int, others: bool
) -> None:
    between = SDES + TWCC if others else b""
    data = b"".join(report_bytes(report) + between for report in reports[:-1])
    data += report_bytes(reports[-1], extension=b"more", padding=padding)

    for view in (data, bytearray(data), memoryview(data)):
        assert rtcp.parse(view) == tuple(reports)


def test_rtcp_without_a_report_of_interest_is_empty() -> None:
    assert rtcp.parse(SDES + TWCC) == ()


def test_rtcp_reduced_size_feedback_first_is_accepted() -> None:
    assert rtcp.parse(TWCC + report_bytes(SENDER)) == (SENDER,)


def resized(data: bytes, change: int) -> bytes:
    """The packet with its length field changed by so many words."""
    (words,) = struct.unpack_from("!H", data, 2)
    return data[:2] + struct.pack("!H", words + change) + data[4:]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81",
        report_bytes(SENDER)[:-1],
        report_bytes(SENDER) + b"\x80\xc9\x00",
        report_bytes(SENDER) + bytes(4),
        b"\x41" + report_bytes(SENDER)[1:],
        resized(report_bytes(SENDER), 1),
        b"\x82" + report_bytes(SENDER)[1:],  # two blocks said, one there
        framed(200, 0, bytes(20)),
        framed(201, 0, b""),
        framed(201, 31, bytes(28)),
        framed(203, 2, bytes(4)),
        b"\xa0\xc9\x00\x01" + bytes(4),  # padding of 0
        b"\xa0\xc9\x00\x01\x00\x00\x00\x03",  # no multiple of four
        b"\xa0\xc9\x00\x01\x00\x00\x00\x08",  # more than the packet
        b"\xa0\xc9\x00\x01\x00\x00\x00\x04",  # nothing left for the report
        b"\xa0\xcc\x00\x00",  # padded, but without a byte of padding
        report_bytes(SENDER, padding=4) + SDES,  # padded, but not the last
    ],
)
def test_rtcp_that_contradicts_itself_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedRtcp):
        rtcp.parse(data)


@given(
    st.binary(max_size=120)
    | st.tuples(st.sampled_from([200, 201, 203, 202]), st.binary(max_size=120)).map(
        lambda parts: b"\x81" + bytes([parts[0]]) + parts[1]
    )
)
@example(b"\xbf\xcb\x00\x00")
def test_rtcp_of_any_bytes_is_read_or_malformed(data: bytes) -> None:
    try:
        reports = rtcp.parse(data)
    except MalformedRtcp:
        return

    assert len(reports) <= len(data) // 4


@given(st.lists(REPORTS, min_size=1, max_size=3), st.data())
def test_rtcp_with_a_bit_flipped_is_read_or_malformed(
    reports: list[rtcp.Report], draw: st.DataObject
) -> None:
    data = bytearray(b"".join(map(report_bytes, reports)))
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    data[bit // 8] ^= 1 << bit % 8

    try:
        read = rtcp.parse(data)
    except MalformedRtcp:
        return

    assert len(read) <= len(reports)


# Round trips


def test_round_trip_is_that_of_the_rfcs_example() -> None:
    # RFC 3550 §6.4.1, figure 2
    assert rtcp.round_trip_s(0xB7108000, 0xB7052000, 0x00054000) == pytest.approx(6.125)


@pytest.mark.parametrize("last_sr", [1, 0x8000, 0x7FFFFFFF, 0x80000000, 0xFFFF8000, 0xFFFFFFFF])
def test_round_trip_across_the_wrap_is_the_same(last_sr: int) -> None:
    arrival = (last_sr + 65536 * 5 + 6554) % 2**32

    assert rtcp.round_trip_s(arrival, last_sr, 65536 * 5) == pytest.approx(0.1, abs=1e-4)


def test_round_trip_before_any_sender_report_is_unknown() -> None:
    assert rtcp.round_trip_s(0xB7108000, 0, 0) is None


def test_round_trip_that_would_be_negative_is_unknown() -> None:
    assert rtcp.round_trip_s(1000, 1000, 1) is None
    assert rtcp.round_trip_s(1000, 1000, 0) == 0


@given(U32, U32, U32)
def test_round_trip_of_anything_is_positive_or_unknown(arrival: int, last: int, delay: int) -> None:
    trip_s = rtcp.round_trip_s(arrival, last, delay)

    assert trip_s is None or 0 <= trip_s < 32768


@pytest.mark.parametrize(
    ("unix_s", "middle"),
    [
        (0, 2_208_988_800 % 65536 * 65536),
        (0.5, 2_208_988_800 % 65536 * 65536 + 32768),
        (65536 - 2_208_988_800 % 65536, 0),  # the middle wraps every 18 hours
        (2**32 - 2_208_988_800, 0),  # the NTP era ends in 2036
    ],
)
def test_ntp_middle_of_a_time_is_seconds_and_fraction(unix_s: float, middle: int) -> None:
    assert rtcp.ntp_middle(unix_s) == middle


@given(st.floats(0, 4e9), st.floats(0, 3600))
def test_ntp_middle_differences_are_elapsed_time(unix_s: float, elapsed_s: float) -> None:
    elapsed = (rtcp.ntp_middle(unix_s + elapsed_s) - rtcp.ntp_middle(unix_s)) % 2**32

    assert elapsed / 65536 == pytest.approx(elapsed_s, abs=1e-4)
