"""The WAV header, as FFmpeg reads it."""

from __future__ import annotations

import io

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import wav
from relay.core.wav import Header, Law


@pytest.mark.parametrize(("law", "codec"), [("pcmu", "pcm_mulaw"), ("pcma", "pcm_alaw")])
def test_header_of_each_law_is_read_by_ffmpeg(law: Law, codec: str) -> None:
    data = Header(law, 800).render() + wav.SILENCE[law] * 800

    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.audio[0]
        heard = b"".join(bytes(frame.planes[0]) for frame in container.decode(stream))

    assert (stream.codec_context.name, stream.rate, stream.channels) == (codec, 8000, 1)
    samples = memoryview(heard).cast("h")
    assert len(samples) == 800
    assert max(map(abs, samples)) <= 8  # A-law has no zero


@given(st.sampled_from(["pcmu", "pcma"]), st.integers(0, wav.MAX_DATA_BYTES))
def test_header_when_rendered_parses_back(law: Law, samples: int) -> None:
    data = Header(law, samples).render()

    assert len(data) == wav.HEADER_BYTES
    assert Header.parse(data + b"more") == Header(law, samples)


@given(st.binary(max_size=80))
def test_header_given_anything_else_is_none(data: bytes) -> None:
    assert Header.parse(data) is None


def test_header_with_a_changed_length_is_none() -> None:
    data = bytearray(Header("pcmu", 800).render())
    data[4] ^= 1

    assert Header.parse(bytes(data)) is None
