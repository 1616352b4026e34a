"""What is made of a recording: a mix, a waveform, each with both sides where they spoke."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import wav
from relay.stores import locks
from relay.stores.audio import inspect
from relay.stores.folders import Folder, Folders
from relay.taps import render as module
from relay.taps.render import BUSY, NoAudio, main, render
from relay.taps.voices import FRAME_BYTES
from relay.taps.waveform import WaveformWriter, extremes
from tests.taps.sounds import PCMU, g711_tone, loud_parts, opus_tone, rtp
from tests.taps.stage import Stage, probed, stream

WAIT_S = 20.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The client speaks from 1 to 2 s (Opus) and 5 to 6 s (G.711), the upstream from 3 to 4."""
    stage = Stage(tmp_path_factory.mktemp("call"))
    codes = g711_tone(440, 1.0, "pcm_mulaw")
    stage.speak("up", stream(opus_tone(440, 1.0), starts_s=1.0))
    stage.speak("down", stream(opus_tone(880, 1.0), starts_s=3.0))
    for n in range(50):
        code = codes[n * 160 : n * 160 + 160]
        packet = rtp(n + 200, code, payload_type=PCMU, frame=160)
        stage.packet(5.0 + n * 0.02, "up", packet)
    stage.end(7.0)
    return stage.folder


@pytest.fixture(autouse=True)
def _begins_anew(folder: Folder) -> None:
    for name in ("mix.ogg", "waveform.json"):
        (folder.path / name).unlink(missing_ok=True)
    folder.edit_session(lambda session: [session.pop(work, None) for work in module.FILES].clear())


def program(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay.taps.render", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )


def both_channels(path: Path) -> tuple[array[int], array[int]]:
    heard = array("h")
    with av.open(str(path), "r") as container:
        resampler = av.AudioResampler(format="s16", layout="stereo", rate=48_000)
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                heard.frombytes(bytes(part.planes[0])[: 4 * part.samples])
    return heard[0::2], heard[1::2]


def test_mix_has_each_side_in_its_ear_when_it_spoke(folder: Folder) -> None:
    shares: list[float] = []

    render(folder, ["mix"], shares.append)

    path = folder.path / "mix.ogg"
    left, right = both_channels(path)
    assert [tuple(part) for part in loud_parts(left, 440)] == [
        pytest.approx((1.0, 2.0), abs=0.03),
        pytest.approx((5.0, 6.0), abs=0.03),
    ]
    assert [tuple(part) for part in loud_parts(right, 880)] == [pytest.approx((3.0, 4.0), abs=0.03)]
    assert loud_parts(left, 880) == loud_parts(right, 440) == []
    assert probed(path)["channels"] == "2"
    assert float(probed(path)["duration"]) == pytest.approx(7.0, abs=0.05)
    assert inspect(path).problems == ()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert path.stat().st_mode & 0o777 == 0o600


def test_mix_of_codecs_that_speak_at_once_has_both(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    codes = g711_tone(440, 1.0, "pcm_mulaw"), g711_tone(880, 1.0, "pcm_alaw")
    for law, data in zip(("pcmu", "pcma"), codes, strict=True):
        header = wav.Header(law, len(data)).render()  # type: ignore[arg-type]
        (tmp_path / f"client.{law}.wav").write_bytes(header + data)

    render(folder, ["mix"])

    left, _ = both_channels(tmp_path / "mix.ogg")
    steps = range(0, len(left) - 960, 960)
    assert all(max(map(abs, left[at : at + 960])) > 10_000 for at in steps[2:-2])


def test_render_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoAudio):
        render(Folder(tmp_path), ["mix", "waveform"])

    assert list(tmp_path.iterdir()) == []


def test_render_that_fails_leaves_what_was_before_it(folder: Folder) -> None:
    render(folder, ["mix", "waveform"])
    before = (folder.path / "mix.ogg").read_bytes(), (folder.path / "waveform.json").read_bytes()

    def tell(share: float) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        render(folder, ["mix", "waveform"], tell)

    after = (folder.path / "mix.ogg").read_bytes(), (folder.path / "waveform.json").read_bytes()
    assert after == before
    assert not list(folder.path.glob(".*.part"))


# -- the waveform


def waveform_of(folder: Folder) -> dict[str, Any]:
    found = json.loads((folder.path / "waveform.json").read_bytes())
    assert isinstance(found, dict)
    return found


def loud_span(told: dict[str, Any], channel: int) -> list[tuple[float, float]]:
    """Where a channel is loud, in seconds from and to, as a player would draw it."""
    data, width = told["data"], told["samples_per_pixel"] / told["sample_rate"]
    spans: list[tuple[float, float]] = []
    for n in range(told["length"]):
        low, high = data[4 * n + 2 * channel : 4 * n + 2 * channel + 2]
        if high - low < 20:
            continue
        begin = spans.pop()[0] if spans and n * width - spans[-1][1] < 0.001 else n * width
        spans.append((begin, (n + 1) * width))
    return spans


def test_waveform_shows_each_side_where_it_spoke(folder: Folder) -> None:
    render(folder, ["waveform"])

    told = waveform_of(folder)
    assert {name: told[name] for name in ("version", "channels", "sample_rate", "bits")} == {
        "version": 2,
        "channels": 2,
        "sample_rate": 48_000,
        "bits": 8,
    }
    assert told["samples_per_pixel"] == 960
    assert told["length"] * 0.02 == pytest.approx(7.0, abs=0.05)
    assert len(told["data"]) == 4 * told["length"]
    client, upstream = loud_span(told, 0), loud_span(told, 1)
    assert client == [pytest.approx((1.0, 2.0), abs=0.05), pytest.approx((5.0, 6.0), abs=0.05)]
    assert upstream == [pytest.approx((3.0, 4.0), abs=0.05)]
    assert max(told["data"][0::4]) <= 0 <= min(told["data"][1::4])
    assert max(told["data"]) == pytest.approx(9_000 / 256, abs=6)
    assert (folder.path / "waveform.json").stat().st_mode & 0o777 == 0o600


def test_waveform_of_an_hour_has_ten_pixels_a_second_and_stays_small(tmp_path: Path) -> None:
    chance = random.Random(1)
    writer = WaveformWriter(tmp_path, 3600.0)
    sounds = [chance.randbytes(FRAME_BYTES) for _ in range(50)]
    for n in range(180_000):
        quiet = sounds[n % 50][: chance.randrange(2, 40, 2)] * 48
        writer.add(quiet, sounds[n % 7][:1920])

    writer.finish()

    told = waveform_of(Folder(tmp_path))
    assert (told["samples_per_pixel"], told["length"]) == (4800, 36_000)
    assert len(gzip.compress((tmp_path / "waveform.json").read_bytes())) < 200_000


@pytest.mark.parametrize(
    ("whole_s", "samples_a_pixel"),
    [(0.02, 960), (750.0, 960), (750.1, 1920), (3660.0, 4800), (6 * 3600.0, 27_840)],
)
def test_waveform_of_any_length_has_a_bound(
    tmp_path: Path, whole_s: float, samples_a_pixel: int
) -> None:
    writer = WaveformWriter(tmp_path, whole_s)
    writer.add(bytes(FRAME_BYTES), b"\x00\x40" * 960)

    writer.finish()

    told = waveform_of(Folder(tmp_path))
    assert told["samples_per_pixel"] == samples_a_pixel
    assert (told["length"], told["data"]) == (1, [0, 0, 64, 64])


@given(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=50))
def test_extremes_are_those_of_the_samples(samples: list[int]) -> None:
    found = extremes(array("h", samples).tobytes())

    assert found == (min(samples) // 256, max(samples) // 256)


# -- the program


def test_program_makes_both_and_says_in_the_session_how_far_it_is(folder: Folder) -> None:
    done = program(folder.path, "mix", "waveform")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    session = folder.session()
    for work in ("mix", "waveform"):
        assert (session[work]["state"], session[work]["progress"]) == ("done", 1.0)
    assert session["id"] == "rtc_1"
    assert waveform_of(folder)["length"] > 300
    assert inspect(folder.path / "mix.ogg").problems == ()


def test_program_tells_its_progress_while_it_works(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(module, "step_back", lambda: told.append("stepped back"))
    monkeypatch.setattr(module, "_TELL_EVERY_S", 0.0)
    monkeypatch.setattr(Folder, "update_session", lambda _, change: told.append(change["mix"]))

    assert main([str(folder.path), "mix"]) == 0

    assert told[0] == "stepped back"
    assert told[1] == {"state": "running", "progress": 0.0}
    assert {"state": "running", "progress": 0.5} in told


def test_program_steps_back_behind_everybody() -> None:
    script = (
        "import os; from relay.taps.render import step_back; step_back(); "
        "print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_IDLE)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["19", "True"]


def test_program_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "client.ogg").write_bytes(b"no audio at all")

    done = program(tmp_path, "waveform", "mix")

    assert done.returncode == 1
    assert done.stderr == "There is no audio in this folder.\n"
    failed = {"state": "failed", "reason": "There is no audio in this folder."}
    assert Folder(tmp_path).session() == {"mix": failed, "waveform": failed}
    assert program(tmp_path).returncode == 2
    assert program(tmp_path, "anything").returncode == 2


def test_program_does_not_make_again_what_is_made(folder: Folder) -> None:
    assert program(folder.path, "waveform").returncode == 0
    before = (folder.path / "waveform.json").stat().st_mtime_ns

    assert program(folder.path, "waveform").returncode == 0

    assert (folder.path / "waveform.json").stat().st_mtime_ns == before


def test_program_leaves_a_folder_alone_that_another_renders(folder: Folder) -> None:
    with locks.rendering(folder):
        done = program(folder.path, "waveform")

    assert done.returncode == BUSY
    assert not (folder.path / "waveform.json").exists()
    assert not (folder.path / locks.RENDERED).exists()


def test_program_removes_what_a_killed_one_has_left(folder: Folder) -> None:
    for name in (".mix.ogg.part", ".waveform.json.0a1b2c3d"):
        (folder.path / name).write_bytes(b"half")

    assert program(folder.path, "waveform").returncode == 0

    assert not list(folder.path.glob(".*"))


def test_program_whose_parent_is_gone_ends(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([1000])
    monkeypatch.setattr(module, "step_back", lambda: None)
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 1))

    assert main([str(folder.path), "mix"]) == 1

    assert folder.session()["mix"] == {"state": "running", "progress": 0.0}
    assert not (folder.path / "mix.ogg").exists()
    assert not list(folder.path.glob(".*"))


def test_program_whose_folder_is_deleted_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path)
    stage.speak("up", stream(opus_tone(440, 1.0)))
    stage.end(3.0)
    update, told = Folder.update_session, list[object]()

    def delete(self: Folder, change: Any) -> None:
        told.append(change)
        if len(told) == 3:
            Folders(tmp_path).delete(self)
        update(self, change)

    monkeypatch.setattr(module, "step_back", lambda: None)
    monkeypatch.setattr(module, "_TELL_EVERY_S", 0.0)
    monkeypatch.setattr(Folder, "update_session", delete)

    assert main([str(stage.folder.path), "mix", "waveform"]) == 1

    assert len(told) == 4  # and the attempt to say why
    assert list(tmp_path.iterdir()) == []
