"""RTP headers: fields, extensions, and counters across their wraps."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.core import rtp
from relay.core.rtp import JitterEstimator, SequenceTracker

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)


def packet(
    *,
    payload_type: int = 111,
    marker: bool = False,
    sequence: int = 1,
    timestamp: int = 960,
    ssrc: int = 0xDECAFBAD,
    csrcs: tuple[int, ...] = (),
    extension: tuple[int, bytes] | None = None,
    payload: bytes = b"payload",
    padding: int = 0,
) -> bytes:
    """A packet as a sender writes it; an extension's data is filled up to words."""
    first = 0x80 | (0x20 if padding else 0) | (0x10 if extension else 0) | len(csrcs)
    second = payload_type | (0x80 if marker else 0)
    header = struct.pack("!BBHLL", first, second, sequence, timestamp, ssrc)
    header += b"".join(struct.pack("!L", csrc) for csrc in csrcs)
    if extension:
        profile, data = extension
        data += bytes(-len(data) % 4)
        header += struct.pack("!HH", profile, len(data) // 4) + data
    tail = bytes(padding - 1) + bytes([padding]) if padding else b""
    return header + payload + tail


@given(st.integers(0, 127), st.booleans(), U16, U32, U32)
def test_rtp_fields_of_any_values_are_read_back(
    payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int
) -> None:
    data = packet(
        payload_type=payload_type,
        marker=marker,
        sequence=sequence,
        timestamp=timestamp,
        ssrc=ssrc,
    )

    for view in (data, bytearray(data), memoryview(data)):
        assert rtp.payload_type(view) == payload_type
        assert rtp.marker(view) is marker
        assert rtp.sequence(view) == sequence
        assert rtp.timestamp(view) == timestamp
        assert rtp.ssrc(view) == ssrc


@given(
    st.lists(U32, max_size=15),
    st.none() | st.tuples(U16, st.binary(max_size=40)),
    st.binary(max_size=40),
    st.integers(0, 255),
)
def test_rtp_payload_lies_between_header_and_padding(
    csrcs: list[int], extension: tuple[int, bytes] | None, payload: bytes, padding: int
) -> None:
    data = packet(csrcs=tuple(csrcs), extension=extension, payload=payload, padding=padding)

    bounds = rtp.payload_bounds(data)

    assert bounds is not None
    start, end = bounds
    assert data[start:end] == payload
    assert rtp.header_length(data) == start == len(data) - padding - len(payload)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        packet()[:11],
        b"\x00" + packet()[1:],
        b"\x40" + packet()[1:],
        b"\xc0" + packet()[1:],
        packet(csrcs=(1, 2), payload=b"")[:-1],
        packet(extension=(0xBEDE, bytes(8)), payload=b"")[:-1],
        packet(extension=(0xBEDE, b""), payload=b"")[:-1],
        b"\x9f" + bytes(11),
    ],
)
def test_rtp_header_that_is_cut_short_or_of_another_version_is_none(data: bytes) -> None:
    assert rtp.header_length(data) == 0
    assert rtp.payload_bounds(data) is None
    assert rtp.find_extension(data, 1) is None


@pytest.mark.parametrize("last", [0, 8, 255])
def test_rtp_padding_longer_than_the_payload_or_zero_is_malformed(last: int) -> None:
    data = bytearray(packet(payload=b"1234567", padding=0))
    data[0] |= 0x20
    data[-1] = last

    assert rtp.header_length(data) == 12
    assert rtp.payload_bounds(data) is None


def test_rtp_padding_without_a_payload_byte_is_malformed() -> None:
    data = bytearray(packet(payload=b""))
    data[0] |= 0x20

    assert rtp.payload_bounds(data) is None


@pytest.mark.parametrize(
    ("second_byte", "rtcp"),
    [(191, False), (192, True), (200, True), (207, True), (223, True), (224, False)],
)
def test_rtcp_is_told_from_rtp_by_the_second_byte(second_byte: int, rtcp: bool) -> None:
    assert rtp.is_rtcp(second_byte) is rtcp


def test_rtcp_of_every_byte_is_64_to_95_after_masking() -> None:
    assert {byte for byte in range(256) if rtp.is_rtcp(byte)} == {
        *range(64, 96),
        *range(192, 224),
    }


# Header extensions

ELEMENTS = st.dictionaries(st.integers(1, 14), st.binary(min_size=1, max_size=16), max_size=6)


@given(ELEMENTS, st.integers(0, 3), st.integers(1, 255))
def test_extension_of_one_byte_headers_finds_every_element(
    elements: dict[int, bytes], filler: int, other: int
) -> None:
    data = b"".join(
        bytes(filler) + bytes([number << 4 | len(value) - 1]) + value
        for number, value in elements.items()
    )
    view = memoryview(packet(csrcs=(1, 2), extension=(0xBEDE, data)))

    for number in {*elements, other}:
        assert rtp.find_extension(view, number) == elements.get(number)


@given(
    st.dictionaries(st.integers(1, 255), st.binary(max_size=255), max_size=6),
    st.integers(0, 15),
    st.integers(0, 3),
    st.integers(1, 255),
)
def test_extension_of_two_byte_headers_finds_every_element(
    elements: dict[int, bytes], application_bits: int, filler: int, other: int
) -> None:
    data = b"".join(
        bytes(filler) + bytes([number, len(value)]) + value for number, value in elements.items()
    )
    view = packet(extension=(0x1000 | application_bits, data))

    for number in {*elements, other}:
        assert rtp.find_extension(view, number) == elements.get(number)


@pytest.mark.parametrize(
    ("profile", "data"),
    [
        (0xBEDE, b"\xf0\x00\x10\x55"),  # 15 ends it
        (0xBEDE, b"\x03\x10\x55\x00"),  # 0 with a length ends it
        (0xBEDE, b"\x1f\x00\x00\x00"),  # longer than the extension
        (0xBEDE, b"\x00\x00\x00\x10"),  # ends before its data
        (0x1000, b"\x01\x05\x00\x00"),
        (0x1000, b"\x00\x00\x00\x01"),
        (0x1000, b"\x02\x00\x00\x01"),
        (0x2000, b"\x10\x55\x00\x00"),  # no profile of RFC 8285
        (0xBEDE, b""),
    ],
)
def test_extension_that_is_malformed_or_foreign_is_none(profile: int, data: bytes) -> None:
    assert rtp.find_extension(packet(extension=(profile, data)), 1) is None


def test_extension_of_a_packet_without_any_is_none() -> None:
    assert rtp.find_extension(packet(), 1) is None


def test_extension_past_malformed_elements_is_still_found_before_them() -> None:
    data = packet(extension=(0xBEDE, b"\x10\x55\x2f\x00"))

    assert rtp.find_extension(data, 1) == b"\x55"
    assert rtp.find_extension(data, 2) is None


@pytest.mark.parametrize(
    ("byte", "level"), [(0x00, (0, False)), (0x7F, (127, False)), (0x80 | 30, (30, True))]
)
def test_audio_level_is_level_and_voice_bit(byte: int, level: tuple[int, bool]) -> None:
    data = packet(extension=(0xBEDE, bytes([0x30, byte])))

    assert rtp.audio_level(data, 3) == level
    assert rtp.audio_level(data, 4) is None


def test_audio_level_of_an_empty_element_is_none() -> None:
    assert rtp.audio_level(packet(extension=(0x1000, b"\x03\x00")), 3) is None


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"\x90" + tail), U16)
@example(b"\xbf" + bytes(79), 1)
def test_rtp_of_any_bytes_never_raises_and_stays_inside(data: bytes, number: int) -> None:
    length = rtp.header_length(data)
    bounds = rtp.payload_bounds(data)
    element = rtp.find_extension(data, number % 256)

    assert 0 <= length <= len(data)
    assert bounds is None or length == bounds[0] <= bounds[1] <= len(data)
    assert element is None or bytes(element) in data[:length]


# Sequence numbers


def tracked(sequences: list[int]) -> SequenceTracker:
    tracker = SequenceTracker()
    for sequence in sequences:
        tracker.update(sequence % 65536)
    return tracker


def test_sequence_before_any_packet_has_counted_nothing() -> None:
    tracker = SequenceTracker()

    assert (tracker.highest, tracker.expected, tracker.received, tracker.lost) == (None, 0, 0, 0)
    assert tracker.take_interval() == (0, 0)


@pytest.mark.parametrize("first", [0, 1, 65533, 65534, 65535])
def test_sequence_in_order_loses_nothing_across_the_wrap(first: int) -> None:
    tracker = tracked([first + n for n in range(10)])

    assert (tracker.expected, tracker.received, tracker.lost) == (10, 10, 0)
    assert (tracker.reordered, tracker.duplicates) == (0, 0)


def test_sequence_extended_counts_every_wrap() -> None:
    tracker = SequenceTracker()
    for sequence in range(3 * 65536):
        tracker.update(sequence % 65536)

    assert (tracker.expected, tracker.received, tracker.lost) == (3 * 65536, 3 * 65536, 0)


@pytest.mark.parametrize("first", [0, 65530, 65535])
def test_sequence_with_gaps_counts_the_lost(first: int) -> None:
    tracker = tracked([first, first + 1, first + 4, first + 5, first + 9])

    assert (tracker.expected, tracker.received, tracker.lost) == (10, 5, 5)


@pytest.mark.parametrize("first", [0, 65533, 65535])
def test_sequence_late_takes_its_loss_back_once(first: int) -> None:
    tracker = tracked([first, first + 2, first + 1, first + 1, first + 3])

    assert (tracker.received, tracker.lost) == (4, 0)
    assert (tracker.reordered, tracker.duplicates) == (1, 1)


@pytest.mark.parametrize("first", [0, 3, 65535])
def test_sequence_before_the_first_widens_the_expected(first: int) -> None:
    tracker = tracked([first, first - 2])

    assert (tracker.expected, tracker.received, tracker.lost) == (3, 2, 1)


def test_sequence_repeated_is_a_duplicate_and_not_received() -> None:
    tracker = tracked([7, 7, 8, 7, 8])

    assert (tracker.received, tracker.duplicates, tracker.reordered, tracker.lost) == (2, 3, 0, 0)


def test_sequence_just_inside_the_bounds_is_counted() -> None:
    ahead, behind = tracked([0, 2999]), tracked([200, 101])

    assert ahead.lost == 2998
    assert (behind.reordered, behind.lost) == (1, 98)


@pytest.mark.parametrize("jump", [3000, 30000, -100, -30000])
def test_sequence_that_jumps_once_is_left_out(jump: int) -> None:
    tracker = tracked([1000, 1001, 1001 + jump, 1002])

    assert (tracker.expected, tracker.received, tracker.lost) == (3, 3, 0)


@pytest.mark.parametrize("jump", [3000, 30000, -110, -30000])
def test_sequence_that_starts_anew_keeps_what_was_counted(jump: int) -> None:
    again = 1003 + jump

    tracker = tracked([1000, 1001, 1003, again, again + 1, again + 3])

    # the first packet after the jump is the price of not believing a single one
    assert (tracker.expected, tracker.received, tracker.lost) == (4 + 3, 3 + 2, 2)


def test_sequence_interval_counts_since_the_last_one_only() -> None:
    tracker = tracked([65534, 65535, 2])

    assert tracker.take_interval() == (5, 2)
    tracker.update(1)
    tracker.update(3)
    assert tracker.take_interval() == (1, -1)
    assert tracker.take_interval() == (0, 0)


@given(
    U16,
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 50)), min_size=2, max_size=300),
)
def test_sequence_counts_equal_those_of_the_whole_history(
    first: int, fates: list[tuple[bool, bool, int]]
) -> None:
    arrivals = sorted(
        (number + delay, number)
        for number, (arrives, twice, delay) in enumerate(fates)
        if arrives
        for _ in range(1 + twice)
    )

    tracker = tracked([first + number for _, number in arrivals])

    numbers = [number for _, number in arrivals]
    unique = set(numbers)
    assert tracker.received == len(unique)
    assert tracker.duplicates == len(numbers) - len(unique)
    assert tracker.expected == (max(unique) - min(unique) + 1 if unique else 0)
    assert tracker.lost == tracker.expected - len(unique)


@given(st.lists(U16, max_size=200))
def test_sequence_of_anything_counts_every_packet_at_most_once(sequences: list[int]) -> None:
    tracker = tracked(sequences)

    assert tracker.received + tracker.duplicates <= len(sequences)
    assert tracker.reordered <= tracker.received
    assert tracker.expected >= tracker.received


# Jitter


def jitter(clock_rate: int, packets: list[tuple[int, float]]) -> float:
    estimator = JitterEstimator(clock_rate)
    for timestamp, arrival_s in packets:
        estimator.update(timestamp % 2**32, arrival_s)
    return estimator.jitter_s


@pytest.mark.parametrize("first", [0, 2**32 - 960, 2**32 - 1])
def test_jitter_of_a_steady_stream_is_zero_across_the_wrap(first: int) -> None:
    packets = [(first + 960 * n, 1000 + n * 0.02) for n in range(20)]

    assert jitter(48000, packets) == pytest.approx(0, abs=1e-9)


def test_jitter_follows_the_formula_of_the_rfc() -> None:
    # D = +10 ms, then −10 ms: J = 10/16, then J + (10 − J)/16
    packets = [(0, 0.0), (160, 0.03), (320, 0.04)]

    expected = 0.01 / 16
    expected += (0.01 - expected) / 16
    assert jitter(8000, packets) == pytest.approx(expected)


def test_jitter_of_a_silence_with_its_timestamps_kept_is_zero() -> None:
    packets = [(0, 0.0), (960, 0.02), (960 * 500, 10.0), (960 * 501, 10.02)]

    assert jitter(48000, packets) == pytest.approx(0, abs=1e-9)


def test_jitter_of_reordered_packets_counts_both_ways() -> None:
    assert jitter(8000, [(160, 0.0), (0, 0.0)]) == pytest.approx(0.02 / 16)


@pytest.mark.parametrize("jump", [2**31, 2**31 - 1, 8000 * 11, -8000 * 11])
def test_jitter_of_timestamps_that_start_anew_leaves_the_step_out(jump: int) -> None:
    packets = [(0, 0.0), (160, 0.02), (160 + jump, 0.04), (320 + jump, 0.06)]

    assert jitter(8000, packets) == pytest.approx(0, abs=1e-9)


@given(st.lists(st.tuples(U32, st.floats(0, 1e9)), max_size=50))
def test_jitter_of_anything_stays_within_its_bound(packets: list[tuple[int, float]]) -> None:
    assert 0 <= jitter(48000, packets) <= 10
