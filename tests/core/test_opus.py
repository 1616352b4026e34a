"""Opus packets: durations by RFC 6716's rules, and gaps that decoders take as what they are."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import av
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.core import opus
from relay.core.opus import Head
from tests.taps.sounds import opus_tone

MS = 48


def toc(config: int, *, stereo: bool = False, code: int = 0) -> int:
    return config << 3 | stereo << 2 | code


@pytest.mark.parametrize(
    ("config", "ms"),
    [
        *zip(range(12), [10, 20, 40, 60] * 3, strict=True),
        *zip(range(12, 16), [10, 20] * 2, strict=True),
        *zip(range(16, 32), [2.5, 5, 10, 20] * 4, strict=True),
    ],
)
def test_samples_of_each_configuration_are_the_rfcs(config: int, ms: float) -> None:
    assert opus.samples(bytes([toc(config)]) + b"x") == ms * MS


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"", 0),
        (bytes([toc(31)]), 960),  # DTX: nothing behind the TOC
        (bytes([toc(31)]) + bytes(1275), 960),
        (bytes([toc(31)]) + bytes(1276), 0),  # R2
        (bytes([toc(31, code=1)]) + bytes(4), 1920),
        (bytes([toc(31, code=1)]) + bytes(3), 0),  # R3
        (bytes([toc(31, code=2)]), 0),  # R4
        (bytes([toc(31, code=2), 3, 1, 2, 3, 4]), 1920),
        (bytes([toc(31, code=2), 3, 1]), 0),
        (bytes([toc(31, code=2), 252]), 0),
        (bytes([toc(31, code=2), 252, 1]) + bytes(256 + 5), 1920),
        (bytes([toc(31, code=3)]), 0),
        (bytes([toc(31, code=3), 0]), 0),  # R5: no frames
        (bytes([toc(31, code=3), 6]), 5760),
        (bytes([toc(31, code=3), 7]), 0),  # R5: 140 ms
        (bytes([toc(28, code=3), 48]), 5760),
        (bytes([toc(31, code=3), 2, 1, 2, 3]), 0),  # R6
        (bytes([toc(31, code=3), 0x42, 2, 1, 2, 0, 0]), 1920),  # padding
        (bytes([toc(31, code=3), 0x42, 9, 1, 2]), 0),
        (bytes([toc(31, code=3), 0x42]), 0),
        (bytes([toc(31, code=3), 0x42, 255, 1]) + bytes(255), 1920),
        (bytes([toc(31, code=3), 0x82, 2, 1, 2, 9]), 1920),  # VBR
        (bytes([toc(31, code=3), 0x82, 2, 1]), 0),
        (bytes([toc(31, code=3), 0x83, 2]), 0),
    ],
)
def test_samples_of_packets_at_the_rules_edges(packet: bytes, samples: int) -> None:
    assert opus.samples(packet) == samples


@given(st.binary(max_size=80))
@example(b"\xfb\x06" + b"\xff\xfe" * 6)
def test_samples_given_anything_agree_with_libopus(packet: bytes) -> None:
    samples = opus.samples(packet)

    assert samples == decoded_samples(packet)


def decoded_samples(packet: bytes) -> int:
    """What libopus makes of one packet by itself; 0 where it refuses it."""
    if not packet:
        return 0
    decoder = new_decoder()
    try:
        return sum(frame.samples for frame in decoder.decode(av.Packet(packet)))
    except av.error.FFmpegError:
        return 0


def new_decoder() -> av.AudioCodecContext:
    decoder = av.AudioCodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = 48_000
    decoder.layout = "mono"
    return decoder


@given(
    st.integers(0, 60_000).map(lambda grains: grains * opus.GRAIN),
    st.one_of(st.none(), st.binary(min_size=1, max_size=3)),
)
def test_gap_of_any_length_is_filled_to_the_sample(duration: int, last: bytes | None) -> None:
    packets = list(opus.gap(duration, last))

    assert sum(samples for _, samples in packets) == duration
    assert all(opus.samples(packet) == samples for packet, samples in packets)


@given(st.integers(0, 31), st.booleans(), st.integers(1, 400).map(lambda n: 4 * n * opus.GRAIN))
def test_gap_asks_for_concealment_in_the_mode_before(
    config: int, stereo: bool, duration: int
) -> None:
    last = bytes([toc(config, stereo=stereo)]) + b"speech"

    packets = [packet for packet, _ in opus.gap(duration, last)]

    assert all(map(opus.is_empty, packets))
    assert {opus.is_stereo(packet) for packet in packets} == {stereo}
    assert {band(packet[0] >> 3) for packet in packets} == {band(config)}


def band(config: int) -> int:
    """Mode and bandwidth, whatever the frame's size."""
    return config // 4 if config < 12 or config >= 16 else 100 + (config - 12) // 2


@pytest.mark.parametrize("bit_rate", [12_000, 16_000, 24_000, 64_000])
@pytest.mark.parametrize("grains", [1, 3, 7, 24, 200])
def test_gap_in_speech_leaves_a_decoder_ready_for_what_comes_next(
    bit_rate: int, grains: int
) -> None:
    tone = opus_tone(440, 3.0, bit_rate=bit_rate)
    decoder = new_decoder()
    missing = [packet for packet, _ in opus.gap(grains * opus.GRAIN, tone[49])]

    decoded(decoder, tone[:50])
    concealed = decoded(decoder, missing)
    onset = decoded(decoder, tone[50:53])

    assert len(concealed) == grains * opus.GRAIN
    uninterrupted = decoded(new_decoder(), tone[:53])[-len(onset) :]
    assert max(map(abs, onset)) > 0.8 * max(map(abs, uninterrupted))


def decoded(decoder: av.AudioCodecContext, packets: Sequence[bytes]) -> array[int]:
    frames = [frame for packet in packets for frame in decoder.decode(av.Packet(packet))]
    return array("h", b"".join(bytes(frame.planes[0])[: 2 * frame.samples] for frame in frames))


@pytest.mark.parametrize(
    ("packet", "is_empty"),
    [
        (bytes([toc(31)]), True),
        (bytes([toc(9)]), True),
        (bytes([toc(31, code=3), 6]), True),
        (bytes([toc(31), 6]), False),
        (bytes([toc(31, code=3), 1, 0]), False),
    ],
)
def test_is_empty_of_frames_without_bytes(packet: bytes, is_empty: bool) -> None:
    assert opus.is_empty(packet) == is_empty


def test_gap_before_anything_was_heard_is_nothing_but_zeros() -> None:
    packets = [packet for packet, _ in opus.gap(48_000, None)]

    heard = decoded(new_decoder(), packets)

    assert len(heard) == 48_000
    assert not any(heard)


@given(st.sampled_from([1, 2]), st.integers(0, 65535))
def test_head_when_rendered_parses_back(channels: int, pre_skip: int) -> None:
    assert Head.parse(Head(channels, pre_skip).render()) == Head(channels, pre_skip)


@given(st.binary(max_size=40))
@example(b"OpusHead\x01\x03" + bytes(9))
@example(b"OpusHead\x10\x01" + bytes(9))
@example(b"OpusHead\x01\x01" + bytes(8) + b"\x01")
def test_head_given_anything_else_is_none(packet: bytes) -> None:
    assert Head.parse(packet) is None


def test_tags_carry_vendor_and_comments() -> None:
    packet = opus.tags("relay", ("TITLE=a call",))

    assert packet == (b"OpusTags\x05\0\0\0relay\x01\0\0\0\x0c\0\0\0TITLE=a call")
