"""How loud a call's sides are: of real encoders' packets."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import pytest

from relay.core.ids import Direction
from relay.core.sdpmedia import Codec
from relay.taps.ear import PacketDecoder
from relay.taps.meter import MEASURED, SILENT_DBFS, WARMING, Levels, Meter
from tests.taps.sounds import (
    CODECS,
    OPUS,
    PCMA,
    PCMU,
    RED,
    g711_tone,
    opus_tone,
    rtp,
    samples,
    tone,
)
from tests.taps.test_ear import encoded, noise

TONE_DBFS = 20 * math.log10(9_000 / math.sqrt(2) / 32_768)


def levels(
    payloads: Sequence[bytes], payload_type: int = OPUS, direction: Direction = "up"
) -> Levels:
    meter = Meter(CODECS)
    for n, payload in enumerate(payloads):
        meter.tap(direction, False, rtp(n, payload, payload_type=payload_type))
    return meter.read()


def heard_dbfs(payloads: Sequence[bytes], last: int) -> float:
    """Of the last packets, by a decoder that has heard all before them."""
    decoder = PacketDecoder(CODECS)
    sounds = [decoder.decode(rtp(n, payload)) for n, payload in enumerate(payloads)]
    values = samples(b"".join(part for parts in sounds[-last:] for part in parts))
    return 10 * math.log10(sum(value * value for value in values) / len(values) / 32_768**2)


def test_meter_tells_the_level_of_each_side() -> None:
    meter = Meter(CODECS)
    for n, payload in enumerate(opus_tone(440, 1.0)[-10:]):
        meter.tap("up", False, rtp(n, payload))
        meter.tap("down", False, rtp(n, g711_tone(880, 1.0, "pcm_alaw")[:160], payload_type=PCMA))

    found = meter.read()

    assert found.client == pytest.approx(TONE_DBFS, abs=2.0)
    assert found.upstream == pytest.approx(TONE_DBFS, abs=0.5)


@pytest.mark.parametrize("until", [60, 75, 90, 140, 200])
@pytest.mark.parametrize("application", ["voip", "audio"])
def test_meter_that_decodes_a_few_packets_tells_the_level_of_all(
    until: int, application: str
) -> None:
    swelling = array("h", (round(v * (n / 192_000)) for n, v in enumerate(tone(440, 4.0))))
    payloads = encoded(swelling, application=application)[:until]

    found = levels(payloads).client

    assert found == pytest.approx(heard_dbfs(payloads, MEASURED), abs=1.5)
    assert found == pytest.approx(heard_dbfs(payloads, 10), abs=2.5)


@pytest.mark.parametrize("dbfs", [-20.0, -40.0, -60.0])
def test_meter_of_noise_tells_its_level(dbfs: float) -> None:
    payloads = encoded(noise(dbfs))[:40]

    found = levels(payloads).client

    assert found == pytest.approx(heard_dbfs(payloads, MEASURED), abs=2.5)
    assert found == pytest.approx(dbfs, abs=5.0)  # what is high is lost in 32 kb/s


@pytest.mark.parametrize(
    ("payloads", "payload_type"),
    [
        ([b"\xf8\xff\xfe"] * 10, OPUS),
        (encoded(array("h", bytes(96_000))), OPUS),
        ([b"\xff" * 160] * 10, PCMU),
        ([b"nonsense"] * 10, 126),
        ([b""] * 10, RED),
        ([], OPUS),
    ],
)
def test_meter_of_silence_or_nothing_tells_no_level(
    payloads: list[bytes], payload_type: int
) -> None:
    assert levels(payloads, payload_type) == Levels(None, None)


def test_meter_of_what_is_fainter_than_silence_tells_no_level() -> None:
    assert levels(encoded(noise(SILENT_DBFS - 10), vbr="off")[:10]).client is None


def test_meter_hears_the_primary_of_redundant_audio() -> None:
    payloads = [bytes([OPUS]) + payload for payload in opus_tone(440, 1.0)[-10:]]

    assert levels(payloads, RED, "down").upstream == pytest.approx(TONE_DBFS, abs=2.0)


def test_meter_that_was_read_has_nothing_until_more_comes() -> None:
    meter = Meter(CODECS)
    for n, payload in enumerate(opus_tone(440, 1.0)[:10]):
        meter.tap("up", False, rtp(n, payload))
    first = meter.read()

    assert first.client is not None
    assert meter.read() == Levels()


def test_meter_keeps_a_few_packets_of_audio_alone() -> None:
    meter = Meter({OPUS: Codec(OPUS, "opus", 48_000, 2)})
    loud = opus_tone(440, 1.0)
    for n in range(10_000):
        meter.tap("up", False, rtp(n, loud[n % 50]))
        meter.tap("up", False, rtp(n, bytes(1_200), payload_type=96))  # video
        meter.tap("up", True, bytes([0x80, 200]) + bytes(26))

    kept = meter._kept["up"]

    assert len(kept) == WARMING + MEASURED
    assert all(packet[1] == OPUS for packet in kept)


def test_meter_of_one_packet_measures_it() -> None:
    assert levels([g711_tone(440, 1.0, "pcm_mulaw")[:160]], PCMU).client is not None
