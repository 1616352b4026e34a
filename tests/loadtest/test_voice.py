from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from relay.core import rtp
from relay.loadtest.model import LoadModel
from relay.loadtest.speech import stored_payloads
from relay.loadtest.voice import MARK, PAYLOAD_TYPE, StampedVoice

PAYLOADS = (b"first" * 12, b"second" * 12, b"third" * 12)
MODEL = LoadModel(calls=50)


def voice(slot: int = 0) -> StampedVoice:
    return StampedVoice(slot, MODEL, PAYLOADS)


def payload(packet: bytes) -> bytes:
    bounds = rtp.payload_bounds(packet)
    assert bounds is not None
    return packet[bounds[0] : bounds[1]]


def test_voice_of_two_seconds_is_one_rtp_stream() -> None:
    speaker = voice()

    packets = [speaker.next()[0] for _ in range(100)]

    assert {rtp.payload_type(packet) for packet in packets} == {PAYLOAD_TYPE}
    assert {packet[8:12] for packet in packets} == {speaker.ssrc.to_bytes(4, "big")}
    first = rtp.sequence(packets[0])
    assert [rtp.sequence(packet) - first for packet in packets] == list(range(100))
    start = rtp.timestamp(packets[0])
    assert [rtp.timestamp(packet) - start for packet in packets] == list(range(0, 96_000, 960))


def test_voice_marks_as_many_packets_as_the_model_says_and_stores_speech_in_the_rest() -> None:
    speaker = voice()

    sent = [speaker.next() for _ in range(100)]

    marked = [packet for packet, is_marked in sent if is_marked]
    plain = [packet for packet, is_marked in sent if not is_marked]
    assert len(marked) == 2 * MODEL.marked_per_s
    assert all(payload(packet).startswith(MARK) for packet in marked)
    assert {payload(packet) for packet in plain} == set(PAYLOADS)


def test_voice_hears_its_mark_with_the_time_of_its_sending() -> None:
    speaker = voice()
    before_ns = time.monotonic_ns()

    marked = next(packet for packet, is_marked in iter(speaker.next, None) if is_marked)

    sent_ns = speaker.heard(marked)
    assert sent_ns is not None
    assert before_ns <= sent_ns <= time.monotonic_ns()


def test_voice_hears_its_mark_in_another_stream_with_another_header() -> None:
    speaker = voice()
    marked = next(packet for packet, is_marked in iter(speaker.next, None) if is_marked)

    echoed = bytes((0x80, 96)) + bytes(10) + payload(marked)

    assert speaker.heard(echoed) == speaker.heard(marked)


@given(st.binary(max_size=200))
def test_voice_hearing_anything_does_not_raise(packet: bytes) -> None:
    heard = voice().heard(packet)

    assert heard is None or MARK in packet


def test_voice_hearing_a_mark_cut_short_is_none() -> None:
    assert voice().heard(bytes(12) + MARK + bytes(7)) is None


def test_voice_after_the_last_sequence_number_begins_again_at_zero() -> None:
    speaker = voice()

    sequences = [rtp.sequence(speaker.next()[0]) for _ in range(1 << 16)]

    assert sequences[sequences.index(65535) + 1] == 0


def test_voices_of_different_slots_mark_different_turns() -> None:
    turns = []
    for slot in range(10):
        speaker = voice(slot)
        turns.append(next(turn for turn in range(100) if speaker.next()[1]))

    assert len(set(turns)) == 10


def test_marked_packets_are_about_as_long_as_the_others() -> None:
    speaker = voice()

    sent = [speaker.next() for _ in range(50)]

    marked = [len(packet) for packet, is_marked in sent if is_marked]
    plain = [len(packet) for packet, is_marked in sent if not is_marked]
    assert abs(sum(marked) / len(marked) - sum(plain) / len(plain)) < 10


def test_stored_speech_is_some_seconds_of_opus() -> None:
    payloads = stored_payloads()

    assert len(payloads) > 250
    assert all(0 < len(packet) < 400 for packet in payloads)
    assert len({packet[0] >> 3 for packet in payloads}) <= 4  # the TOC's configurations
