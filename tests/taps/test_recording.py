"""A call recorded in virtual time, onto a real disk, and heard again by FFmpeg and by ourselves."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest

from relay.core import opus
from relay.stores.audio import inspect, opus_packets, sound
from relay.stores.events import read_events
from relay.stores.verify import verify
from tests.stores.disk import fill, small_disk
from tests.taps import sounds
from tests.taps.sounds import PCMA, PCMU, g711_tone, loud_parts, opus_tone, rtp
from tests.taps.stage import Stage, heard, played, probed, stream


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize("application", ["voip", "audio"])
@pytest.mark.parametrize("stereo", [False, True])
def test_opus_of_a_call_is_heard_when_it_was_said(
    stage: Stage, application: str, stereo: bool
) -> None:
    tone = opus_tone(440, 1.0, application=application, stereo=stereo)
    numbers = {n: tone[n % 50] for n in range(150) if not 50 <= n < 100}  # a second of silence
    stage.speak("up", [(1.0 + n * 0.02, rtp(n, payload)) for n, payload in numbers.items()])

    stage.end(5.0)

    path = stage.folder.path / "client.ogg"
    for audible in (heard(path), played(path), played(path, "-c:a", "libopus")):
        assert len(audible) / 48_000 == pytest.approx(5.0 - 0.0065, abs=0.003)
        parts = [part for part in loud_parts(audible, 440) if part[1] - part[0] > 0.5]
        assert [begin for begin, _ in parts] == pytest.approx([1.0, 3.0], abs=0.03)
        assert [end for _, end in parts] == pytest.approx([2.0, 4.0], abs=0.13)  # it fades
        silence = audible[int(2.3 * 48_000) : int(2.95 * 48_000)]
        assert max(map(abs, silence)) < 1_500  # of 9,000: what libopus takes for the background
    assert not any(heard(path)[int(2.07 * 48_000) : int(2.99 * 48_000)])
    facts = probed(path)
    assert (facts["codec_name"], facts["channels"]) == ("opus", "2" if stereo else "1")
    assert float(facts["duration"]) == pytest.approx(5.0, abs=0.003)


def test_opus_packets_are_kept_to_the_bit_and_only_gaps_are_added(stage: Stage) -> None:
    tone = opus_tone(440, 2.0)
    stage.speak("up", stream(tone))

    stage.end(4.0)

    path = stage.folder.path / "client.ogg"
    packets = list(opus_packets(path))
    at = packets.index(tone[0])
    assert packets[at : at + len(tone)] == list(tone)
    assert sum(map(opus.samples, packets[:at])) == 48_000
    assert sum(map(opus.samples, packets[at + len(tone) :])) == 48_000
    assert not inspect(path).problems


@pytest.mark.parametrize(
    ("payload_type", "law", "name"),
    [(PCMU, "pcm_mulaw", "client.pcmu.wav"), (PCMA, "pcm_alaw", "client.pcma.wav")],
)
def test_g711_of_a_call_is_heard_when_it_was_said(
    stage: Stage, payload_type: int, law: str, name: str
) -> None:
    codes = g711_tone(440, 3.0, law)
    for n in range(150):
        if not 50 <= n < 100:
            payload = codes[n * 160 : n * 160 + 160]
            packet = rtp(n, payload, payload_type=payload_type, frame=160)
            stage.packet(1.0 + n * 0.02, "up", packet)

    stage.end(5.0)

    path = stage.folder.path / name
    for audible in (heard(path), played(path)):
        assert len(audible) / 48_000 == pytest.approx(5.0, abs=0.003)
        assert loud_parts(audible, 440) == [
            pytest.approx(part, abs=0.011) for part in ((1.0, 2.0), (3.0, 4.0))
        ]
    assert probed(path)["codec_name"] == law
    raw = path.read_bytes()[58:]
    assert raw[8_000:16_000] == codes[:8_000]
    assert raw[24_000:32_000] == codes[16_000:]
    assert len(set(raw[16_000:24_000])) == 1


def test_both_directions_lie_on_the_same_clock(stage: Stage) -> None:
    up = [(at_s, "up", packet) for at_s, packet in stream(opus_tone(440, 1.0), starts_s=1.2)]
    down = [(at_s, "down", packet) for at_s, packet in stream(opus_tone(880, 1.0), starts_s=2.5)]
    for at_s, direction, packet in sorted(up + down):
        stage.packet(at_s, direction, packet)  # type: ignore[arg-type]

    stage.end(5.0)

    client = loud_parts(heard(stage.folder.path / "client.ogg"), 440)
    upstream = loud_parts(heard(stage.folder.path / "upstream.ogg"), 880)
    assert client[0][0] == pytest.approx(1.2, abs=0.02)
    assert upstream[0][0] == pytest.approx(2.5, abs=0.02)


def test_packets_that_are_lost_late_double_or_out_of_order_shift_nothing(stage: Stage) -> None:
    chance = random.Random(5)
    arrivals = []
    for at_s, packet in stream(opus_tone(440, 6.0)):
        if chance.random() < 0.02:
            continue
        arrivals.append((at_s + chance.uniform(0, 0.05), packet))
        if chance.random() < 0.02:
            arrivals.append((at_s + 0.06, packet))
    stage.speak("up", sorted(arrivals))

    stage.end(8.0)

    path = stage.folder.path / "client.ogg"
    parts = loud_parts(heard(path), 440)
    assert parts[0][0] == pytest.approx(1.0, abs=0.02)
    assert parts[-1][1] == pytest.approx(7.0, abs=0.02)
    [audio] = stage.recording.report().audio
    assert audio.duplicates > 0
    assert (audio.late, audio.restarts) == (0, 0)


def test_codec_that_changes_goes_on_in_a_file_of_its_own(stage: Stage) -> None:
    codes = g711_tone(880, 1.0, "pcm_mulaw")
    stage.speak("up", stream(opus_tone(440, 1.0)))
    for n in range(50):
        payload = codes[n * 160 : n * 160 + 160]
        stage.packet(2.0 + n * 0.02, "up", rtp(n + 50, payload, payload_type=PCMU, frame=160))

    stage.end(4.0)

    assert [path.name for path in stage.folder.audio("client")] == ["client.ogg", "client.pcmu.wav"]
    opus_parts = loud_parts(heard(stage.folder.path / "client.ogg"), 440)
    g711_parts = loud_parts(heard(stage.folder.path / "client.pcmu.wav"), 880)
    assert opus_parts[0] == pytest.approx((1.0, 2.0), abs=0.03)
    assert g711_parts == [pytest.approx((2.0, 3.0), abs=0.011)]


def test_second_payload_type_of_a_codec_goes_on_in_the_same_file(stage: Stage) -> None:
    for n, payload in enumerate(opus_tone(440, 2.0)):
        packet = rtp(n, payload, payload_type=96 if n % 2 else sounds.OPUS)
        stage.packet(1.0 + n * 0.02, "up", packet)

    stage.end(3.0)

    assert [path.name for path in stage.folder.audio("client")] == ["client.ogg"]
    assert stage.recording.report().audio[0].placed == 100


def test_redundant_audio_gives_its_primary_encoding(stage: Stage) -> None:
    tone = opus_tone(440, 1.0)
    for n, payload in enumerate(tone):
        older = tone[n - 1] if n else b""
        header = struct.pack("!I", 1 << 31 | sounds.OPUS << 24 | 960 << 10 | len(older))
        red = header + bytes([sounds.OPUS]) + older + payload
        stage.packet(1.0 + n * 0.02, "up", rtp(n, red, payload_type=sounds.RED))

    stage.end(2.0)

    packets = list(opus_packets(stage.folder.path / "client.ogg"))
    assert [packet for packet in packets if len(packet) > 20] == list(tone)


HOSTILE = [
    b"",
    b"\x80",
    bytes(12),
    b"\x9f" + bytes(11),
    rtp(0, b"", extension=False),
    rtp(0, b"x", payload_type=126),
    rtp(0, b"x", payload_type=77),
    rtp(0, b"", payload_type=sounds.RED, extension=False),
    rtp(0, b"\x80\x80", payload_type=sounds.RED),
    rtp(0, b"\x4d", payload_type=sounds.RED),
]


@pytest.mark.parametrize("packet", HOSTILE)
def test_packet_that_is_no_audio_of_ours_is_counted(stage: Stage, packet: bytes) -> None:
    stage.packet(0.1, "up", packet)

    stage.end(1.0)

    assert stage.recording.report().other_packets == 1
    assert stage.folder.audio("client") == ()


def test_packet_that_no_decoder_takes_is_counted_and_left_out(stage: Stage) -> None:
    tone = list(opus_tone(440, 1.0))
    tone[10] = b"\xff\x00"
    stage.speak("up", stream(tone))

    stage.end(3.0)

    assert stage.recording.report().audio[0].malformed == 1
    assert not inspect(stage.folder.path / "client.ogg").problems


def test_ring_that_is_full_costs_its_packets_and_shifts_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, max_packets=5)  # of ten that come between two steps
    stage.speak("up", stream(opus_tone(440, 4.0)))

    stage.end(6.0)

    report = stage.recording.report()
    assert report.lost.packets == pytest.approx(100, abs=10)
    assert report.audio[0].duration_s == pytest.approx(6.0, abs=0.01)
    parts = loud_parts(heard(stage.folder.path / "client.ogg"), 440)
    assert parts[-1][1] == pytest.approx(5.0, abs=0.15)


def test_recording_while_the_call_lasts_is_a_file_that_plays(stage: Stage) -> None:
    for at_s, packet in stream(opus_tone(440, 10.0)):
        stage.packet(at_s, "up", packet)
        if at_s % 1 < 0.01 and at_s > 2:
            path = stage.folder.path / "client.ogg"
            assert len(played(path)) / 48_000 > at_s - 0.6


def test_session_json_says_who_when_and_how_it_ended(stage: Stage) -> None:
    stage.speak("up", stream(opus_tone(440, 1.0)))
    stage.wait_until(2.5)
    live = stage.folder.session()

    stage.end(3.0)

    assert live["state"] == "live"
    ended = stage.folder.session()
    assert ended["state"] == "ended"
    assert (ended["id"], ended["owner"], ended["model"]) == ("rtc_1", "key_1", "gpt-realtime")
    assert ended["client"] == {"address": "192.0.2.1"}
    assert ended["started_at"] == "2026-01-31T12:00:00.000000Z"
    assert ended["ended_at"] == "2026-01-31T12:00:03.000000Z"
    assert ended["duration_s"] == 3.0
    assert ended["end"] == {"outcome": "completed", "reason": "client_hung_up"}
    [audio] = ended["recording"]["audio"]
    assert (audio["file"], audio["codec"], audio["placed"]) == ("client.ogg", "opus", 50)
    assert ended["recording"]["lost"] == {"packets": 0, "events": 0, "audio_s": 0.0}


def test_events_are_kept_in_order_with_their_times(stage: Stage) -> None:
    stage.event(0.5, "down", '{"type":"session.created"}')
    stage.event(0.75, "up", '{"type":  "session.update"}')
    stage.event(0.75, "up", b"\0\1")

    stage.end(1.0)

    events = list(read_events(stage.folder))
    assert [(event.direction, event.message) for event in events[:3]] == [
        ("down", '{"type":"session.created"}'),
        ("up", '{"type":  "session.update"}'),
        ("up", b"\0\1"),
    ]
    assert [event.at.isoformat() for event in events[:2]] == [
        "2026-01-31T12:00:00.500000+00:00",
        "2026-01-31T12:00:00.750000+00:00",
    ]
    assert json.loads(events[3].message)["type"] == "relay.session.ended"
    assert [event.sequence for event in read_events(stage.folder, since=2)] == [2, 3]


def test_events_that_found_no_room_are_told_of_in_the_record(tmp_path: Path) -> None:
    stage = Stage(tmp_path, max_events=3)
    for n in range(8):
        stage.event(0.1, "up", json.dumps({"n": n}))

    stage.end(1.0)

    kept = [json.loads(event.message) for event in read_events(stage.folder)]
    assert kept[0] == {"type": "relay.events.lost", "count": 5}
    assert kept[1:4] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert kept[4]["lost"]["events"] == 5
    verdict = verify(stage.folder)
    assert verdict.holds(strict=True)
    assert verdict.chain.lost == 5


def test_recording_of_events_alone_keeps_no_audio(tmp_path: Path) -> None:
    stage = Stage(tmp_path, mode="events")
    stage.event(0.5, "up", "{}")

    stage.end(1.0)

    assert sorted(path.name for path in stage.folder.path.iterdir()) == [
        "events.jsonl",
        "session.json",
    ]
    assert verify(stage.folder).holds(strict=True)


def test_recording_that_is_finished_twice_is_finished_once(stage: Stage) -> None:
    stage.speak("up", stream(opus_tone(440, 1.0)))
    stage.end(3.0)
    before = {path.name: path.read_bytes() for path in stage.folder.path.iterdir()}

    stage.end(3.0)

    assert {path.name: path.read_bytes() for path in stage.folder.path.iterdir()} == before
    assert verify(stage.folder).holds(strict=True)


@pytest.mark.parametrize("payload_type", [sounds.OPUS, PCMU])
def test_disk_that_is_full_for_long_leaves_a_gap_and_no_shift(
    tmp_path: Path, payload_type: int
) -> None:
    tone, codes = opus_tone(440, 2.0), g711_tone(440, 2.0, "pcm_mulaw")

    def packet(n: int) -> bytes:
        if payload_type == sounds.OPUS:
            return rtp(n, tone[n % 100])
        code = codes[n % 100 * 160 : n % 100 * 160 + 160]
        return rtp(n, code, payload_type=PCMU, frame=160)

    with small_disk(tmp_path / "disk", 600) as disk:
        stage = Stage(disk)
        stage.speak("up", [(1.0 + n * 0.02, packet(n)) for n in range(200)])
        ballast = fill(disk)
        stage.speak("up", [(1.0 + n * 0.02, packet(n)) for n in range(200, 1_400)])
        assert stage.failures
        ballast.unlink()
        stage.speak("up", [(1.0 + n * 0.02, packet(n)) for n in range(1_400, 1_600)])
        stage.end(34.0)

        [path] = stage.folder.audio("client")
        parts = [part for part in loud_parts(heard(path), 440) if part[1] - part[0] > 0.5]
        verdict = verify(stage.folder)
        report = stage.recording.report()

    assert verdict.holds(strict=True)
    assert len(parts) == 2
    assert parts[0] == pytest.approx((1.0, 5.0), abs=0.6)
    assert parts[1][1] == pytest.approx(33.0, abs=0.03)
    # What was let go, ten seconds at a time, is missing, and no more.
    silence_s = parts[1][0] - parts[0][1]
    assert report.lost.audio_s == pytest.approx(silence_s, abs=0.1)
    assert 20 < silence_s < 24.5


@pytest.mark.slow
def test_recording_of_an_hour_keeps_both_sides_together(stage: Stage) -> None:
    """Both sides beep every ten seconds, over bad networks and by clocks that drift apart."""
    up, down = Beeper(ppm=100, seed=1), Beeper(ppm=-100, seed=2)
    arrivals = [(at_s, "up", packet) for at_s, packet in up.arrivals()]
    arrivals += [(at_s, "down", packet) for at_s, packet in down.arrivals()]
    for at_s, direction, packet in sorted(arrivals):
        stage.packet(at_s, direction, packet)  # type: ignore[arg-type]
    stage.end(HOUR_S + 2.0)

    errors = [
        beeper.errors(stage.folder.path / f"{side}.ogg")
        for beeper, side in ((up, "client"), (down, "upstream"))
    ]
    for error in errors:
        assert len(error) > 300
        assert max(error.values()) - min(error.values()) < 0.020
    apart = [abs(errors[0][beep] - errors[1][beep]) for beep in errors[0].keys() & errors[1].keys()]
    assert max(apart) < 0.020


HOUR_S = 3_600
DELAY_S = 0.03


class Beeper:
    """One side: silence, and a beep of 200 ms at about every tenth second."""

    def __init__(self, ppm: float, seed: int) -> None:
        self._chance = random.Random(seed)
        self._frame_s = 0.02 / (1 + ppm * 1e-6)
        self._begins: dict[int, float] = {}

    def arrivals(self) -> list[tuple[float, bytes]]:
        tone = opus_tone(440, 0.2)
        found = []
        for n in range(HOUR_S * 50):
            sent_s = 1.0 + n * self._frame_s
            phase, is_lost = n % 500, self._chance.random() < 0.02
            if phase == 0:
                self._begins[n // 500] = sent_s
            if is_lost and phase < 3:  # its beginning would be another
                self._begins.pop(n // 500, None)
            if not is_lost:
                at_s = sent_s + DELAY_S + abs(self._chance.gauss(0, 0.012))
                found.append((at_s, rtp(n, tone[phase] if phase < len(tone) else QUIET)))
        return found

    def errors(self, path: Path) -> dict[int, float]:
        """How much later than it arrived, without what the network added, each beep is heard."""
        heard_at = begins(path)
        errors = {}
        for beep, sent_s in self._begins.items():
            near = min(heard_at, key=lambda at_s: abs(at_s - sent_s))
            errors[beep] = near - sent_s - DELAY_S
        return errors


QUIET = b"\xf8\xff\xfe"


def begins(path: Path) -> list[float]:
    """Where it becomes loud after half a second of silence, in seconds."""
    found: list[float] = []
    position, loud_at = 0, -1.0
    for portion in sound(path):
        part = sounds.samples(portion)
        if part and max(part) > 4_000:
            for at, value in enumerate(part):
                if value > 4_000:
                    now_s = (position + at) / 48_000
                    if now_s - loud_at > 0.5:
                        found.append(now_s)
                    loud_at = now_s
        position += len(part)
    return found
