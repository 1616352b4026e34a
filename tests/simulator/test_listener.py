"""Hearing: levels and places of what arrives, and calm when it is nonsense."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.g711 import encode_line, linear_table
from relay.simulator.listener import Heard, Listener
from relay.simulator.speaker import RtpStream
from relay.simulator.vad import SILENCE_DBFS
from tests.simulator.caller import SILENT_OPUS, voice
from tests.simulator.sound import decoded_opus, level_dbfs

CODECS = {111: "opus", 0: "PCMU", 8: "PCMA"}


def stream(payload_type: int = 111, ssrc: int = 1, sequence: int = 65530) -> RtpStream:
    return RtpStream(
        ssrc=ssrc, payload_type=payload_type, clock_hz=48000, sequence=sequence, timestamp=0
    )


def heard(listener: Listener, packets: list[bytes]) -> list[Heard]:
    return [frame for packet in packets if (frame := listener.hear(packet)) is not None]


def packets(source: RtpStream, payloads: list[bytes], start: int, ticks: int = 960) -> list[bytes]:
    return [source.packet(payload, start + n * ticks) for n, payload in enumerate(payloads)]


def test_listener_given_a_voice_hears_its_silence_and_its_speech() -> None:
    payloads = voice("weather")

    frames = heard(Listener(CODECS), packets(stream(), payloads, 2**32 - 9600))

    assert [frame.at_ms for frame in frames] == [n * 20.0 for n in range(len(payloads))]
    assert max(frame.level_dbfs for frame in frames[5:45]) < -60
    assert max(frame.level_dbfs for frame in frames[55:130]) > -20
    # every fourth sample tells the level as well as all of them
    exact = level_dbfs(decoded_opus(payloads)[60 * 960 : 61 * 960])
    assert abs(frames[60].level_dbfs - exact) < 2.0


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_listener_given_g711_hears_the_same_levels(law: str) -> None:
    payloads = voice("weather")[50:100]
    payload_type = 0 if law == "PCMU" else 8
    encoded = list(encode_line(payloads, "PCMU" if law == "PCMU" else "PCMA"))

    opus = heard(Listener(CODECS), packets(stream(), payloads, 0))
    frames = heard(Listener(CODECS), packets(stream(payload_type), encoded, 0, 160))

    assert [frame.duration_ms for frame in frames] == [20.0] * len(encoded)
    loudest = max(frame.level_dbfs for frame in opus)
    assert abs(max(frame.level_dbfs for frame in frames) - loudest) < 3.0


def test_g711_tables_are_monotonous_and_symmetric() -> None:
    for law in ("PCMU", "PCMA"):
        table = linear_table(law)
        assert sorted(table) == sorted(-value for value in table)
        assert max(table) > 31_000
    assert linear_table("PCMU")[0xFF] == 0
    assert linear_table("PCMA")[0xD5] == 8


def test_listener_given_a_hole_places_what_follows_behind_it() -> None:
    source, listener = stream(), Listener(CODECS)
    first = source.packet(SILENT_OPUS, 0)
    after_two_seconds = source.packet(SILENT_OPUS, 96_000)
    hours_later = source.packet(SILENT_OPUS, 2**31)

    frames = heard(listener, [first, after_two_seconds, hours_later])

    assert [frame.at_ms for frame in frames] == [0.0, 2000.0, 2020.0]


def test_listener_given_late_and_repeated_packets_leaves_them_out() -> None:
    source = stream()
    one, two, three = packets(source, [SILENT_OPUS] * 3, 0)

    frames = heard(Listener(CODECS), [one, three, two, three])

    assert [frame.at_ms for frame in frames] == [0.0, 40.0]


def test_listener_given_another_ssrc_goes_on_where_it_is() -> None:
    listener = Listener(CODECS)
    heard(listener, packets(stream(), [SILENT_OPUS] * 5, 0))

    (frame,) = heard(listener, packets(stream(ssrc=2, sequence=9), [SILENT_OPUS], 777))

    assert frame.at_ms == 100.0


def test_listener_given_other_payloads_hears_nothing() -> None:
    listener = Listener(CODECS)

    assert heard(listener, packets(stream(96), [b"x" * 20] * 3, 0)) == []
    assert heard(listener, packets(stream(111), [b""] * 3, 0)) == []
    assert listener.undecodable == 0


@given(st.lists(st.binary(max_size=120), max_size=20))
def test_listener_given_any_bytes_never_raises(datagrams: list[bytes]) -> None:
    listener, source = Listener(CODECS), stream()

    for n, datagram in enumerate(datagrams):
        for packet in (datagram, source.packet(datagram, n * 960)):
            frame = listener.hear(packet)
            assert frame is None or SILENCE_DBFS <= frame.level_dbfs <= 0.1


def test_listener_decodes_a_frame_in_far_less_than_its_length() -> None:
    listener = Listener(CODECS)
    sent = packets(stream(), voice("patient")[:300], 0)

    started = time.process_time()
    assert len(heard(listener, sent)) == 300
    cost_s = (time.process_time() - started) / 300

    assert cost_s < 0.001  # 50 µs on a quiet machine; a frame lasts 20 ms
