"""Video echo: packets come back, feedback about them goes to their source."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import rtp
from relay.simulator.video import VideoEcho

SOURCE, OURS, OUR_RTX = 0xAAAA0001, 0xBBBB0002, 0xBBBB0003


def echo() -> tuple[VideoEcho, list[bytes], list[bytes]]:
    media: list[bytes] = []
    control: list[bytes] = []
    return (
        VideoEcho([96, 97], [OURS, OUR_RTX], send_rtp=media.append, send_rtcp=control.append),
        media,
        control,
    )


def packet(*, extension: bytes = b"", payload: bytes = b"frame", payload_type: int = 96) -> bytes:
    first = 0x90 if extension else 0x80
    header = struct.pack("!BBHLL", first, 0x80 | payload_type, 77, 9000, SOURCE)
    if extension:
        header += struct.pack("!HH", 0xBEDE, len(extension) // 4) + extension
    return header + payload


def test_echo_keeps_number_time_and_marker_and_changes_the_source() -> None:
    video, media, _ = echo()

    video.receive_rtp(packet(extension=b"\x10\xff\x00\x00"))

    (came_back,) = media
    assert rtp.ssrc(came_back) == OURS
    assert (rtp.sequence(came_back), rtp.timestamp(came_back)) == (77, 9000)
    assert rtp.marker(came_back)
    assert came_back[12:] == b"frame"


def test_echo_of_a_retransmission_is_a_retransmission() -> None:
    video, media, control = echo()

    video.receive_rtp(packet(payload_type=97, payload=b"\x00\x4dframe"))
    video.receive_rtcp(struct.pack("!BBHLL", 0x81, 206, 2, 5, OURS))

    (came_back,) = media
    assert (rtp.ssrc(came_back), rtp.payload_type(came_back)) == (OUR_RTX, 97)
    assert came_back[12:] == b"\x00\x4dframe"  # the number of the original is the echo's too
    assert control == [], "the source of the video itself is not known yet"


@pytest.mark.parametrize("kind", [205, 206])
def test_nack_and_pli_for_the_echo_become_theirs_for_the_source(kind: int) -> None:
    video, _, control = echo()
    video.receive_rtp(packet())
    report = struct.pack("!BBHL", 0x80, 201, 1, 5)
    nack = struct.pack("!BBHLLHH", 0x81, kind, 3, 5, OURS, 77, 0)

    video.receive_rtcp(report + nack)

    assert control == [struct.pack("!BBHLLHH", 0x81, kind, 3, OURS, SOURCE, 77, 0)]


def test_fir_names_its_source_inside() -> None:
    video, _, control = echo()
    video.receive_rtp(packet())

    video.receive_rtcp(struct.pack("!BBHLLLL", 0x84, 206, 4, 5, 0, OURS, 1 << 24))

    assert control == [struct.pack("!BBHLLLL", 0x84, 206, 4, OURS, 0, SOURCE, 1 << 24)]


def test_feedback_about_another_stream_is_left_alone() -> None:
    video, _, control = echo()
    video.receive_rtp(packet())

    video.receive_rtcp(struct.pack("!BBHLL", 0x81, 206, 2, 5, 12345))

    assert control == []


@given(st.binary(max_size=80), st.booleans())
def test_video_given_any_bytes_never_raises(datagram: bytes, started: bool) -> None:
    video, _, _ = echo()
    if started:
        video.receive_rtp(packet())

    video.receive_rtp(datagram)
    video.receive_rtcp(datagram)
