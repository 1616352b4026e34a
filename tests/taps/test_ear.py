"""Packets with sound, and packets without: of real encoders, and of nobody's."""

from __future__ import annotations

import random
import struct
from array import array

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.sdpmedia import Codec
from relay.taps.ear import AUDIBLE_DBFS, Ear
from tests.taps.sounds import CODECS, FRAME, OPUS, PCMA, PCMU, RATE, RED, g711_tone, opus_tone, rtp

TONE = opus_tone(440, 1.0)


def noise(dbfs: float, seconds: float = 1.0) -> array[int]:
    generator, peak = random.Random(7), 32768 * 10 ** (dbfs / 20) * 3**0.5
    return array("h", (round(generator.uniform(-peak, peak)) for _ in range(int(RATE * seconds))))


def encoded(samples: array[int], **options: str) -> list[bytes]:
    """Opus as a server might encode it: `vbr=off` has packets of one size, silent or not."""
    encoder = av.AudioCodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate = RATE
    encoder.layout = "mono"
    encoder.format = "s16"
    encoder.bit_rate = 32_000
    encoder.options = {"application": "audio", **options}
    packets: list[bytes] = []
    for at in range(0, len(samples) - FRAME + 1, FRAME):
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(samples[at : at + FRAME].tobytes())
        frame.sample_rate, frame.pts = RATE, at
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


def heard(payloads: list[bytes], payload_type: int = OPUS, **options: int) -> list[bool]:
    ear = Ear(CODECS, **options)
    return [
        ear.hears(rtp(n, payload, payload_type=payload_type)) for n, payload in enumerate(payloads)
    ]


def test_ear_hears_a_voice_within_two_packets() -> None:
    assert any(heard(list(TONE[:2])))
    assert all(heard(list(TONE))[2:])


@pytest.mark.parametrize("vbr", ["on", "off"])
def test_ear_does_not_hear_digital_silence_of_any_bit_rate(vbr: str) -> None:
    packets = encoded(array("h", bytes(2 * RATE)), vbr=vbr)
    if vbr == "off":
        assert len({len(packet) for packet in packets}) == 1  # sizes tell nothing

    assert not any(heard(packets))


@pytest.mark.parametrize(("dbfs", "is_heard"), [(-65.0, False), (-56.0, False), (-44.0, True)])
def test_ear_tells_comfort_noise_from_sound_by_its_level(dbfs: float, is_heard: bool) -> None:
    assert (dbfs > AUDIBLE_DBFS) == is_heard

    found = heard(encoded(noise(dbfs), vbr="off"))

    assert all(found[5:]) if is_heard else not any(found)


def test_ear_hears_the_first_sound_after_silence() -> None:
    silence, voice = array("h", bytes(2 * RATE)), noise(-20.0, 0.2)

    found = heard(encoded(silence + voice, vbr="off"))

    # 50 packets of silence; the encoder looks ahead, so the next one may be half silent.
    assert not any(found[:50])
    assert found.index(True) in (50, 51)


@pytest.mark.parametrize("payload", [b"", b"\xf8", b"\xf8\xff", b"\xf8\xff\xfe"])
def test_ear_does_not_hear_discontinuous_transmission(payload: bytes) -> None:
    assert heard([payload]) == [False]


@pytest.mark.parametrize(("law", "payload_type"), [("pcm_mulaw", PCMU), ("pcm_alaw", PCMA)])
def test_ear_hears_g711(law: str, payload_type: int) -> None:
    voice, silence = g711_tone(440, 0.1, law), b"\xff" if payload_type == PCMU else b"\xd5"

    assert heard([voice[:160]], payload_type) == [True]
    assert heard([silence * 160], payload_type) == [False]


def test_ear_hears_the_primary_of_redundant_audio() -> None:
    assert any(heard([bytes([OPUS]) + payload for payload in TONE[:3]], RED))
    assert heard([b"", b"\xff", bytes([OPUS | 0x80])], RED) == [False] * 3


def test_ear_takes_the_senders_word_where_it_is_negotiated() -> None:
    loud, faint = b"\xbe\xde\0\1\x10\x14\0\0", b"\xbe\xde\0\1\x10\x7f\0\0"
    header = struct.pack("!BBHII", 0x90, OPUS, 1, FRAME, 1)
    ear = Ear(CODECS, level_extension_id=1)

    assert ear.hears(header + loud + b"\xf8\xff\xfe")
    assert not ear.hears(header + faint + TONE[5])


def test_ear_decodes_where_the_sender_does_not_say() -> None:
    ear = Ear(CODECS, level_extension_id=4)

    assert any(ear.hears(rtp(n, payload)) for n, payload in enumerate(TONE[:3]))


def test_ear_at_rest_forgets_what_it_decoded_and_hears_again() -> None:
    ear = Ear(CODECS)
    first = [ear.hears(rtp(n, payload)) for n, payload in enumerate(TONE[:5])]

    ear.rest()

    assert [ear.hears(rtp(n, payload)) for n, payload in enumerate(TONE[:5])] == first


def test_ear_does_not_hear_codecs_that_it_does_not_know() -> None:
    ear = Ear({9: Codec(9, "G722", 8_000), 100: Codec(100, "VP8", 90_000)})

    assert not ear.hears(rtp(1, bytes(160), payload_type=9))
    assert not ear.hears(rtp(1, TONE[5], payload_type=100))
    assert not ear.hears(rtp(1, TONE[5], payload_type=101))


@given(st.binary(max_size=200), st.sampled_from([OPUS, PCMU, PCMA, RED, 9, 126]), st.booleans())
def test_ear_of_any_packet_never_raises(data: bytes, payload_type: int, is_whole: bool) -> None:
    ear = Ear(CODECS, level_extension_id=1)
    packet = data if is_whole else rtp(1, data, payload_type=payload_type, extension=False)

    assert ear.hears(packet) in (True, False)
