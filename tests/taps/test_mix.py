"""Mixes: the client left, the upstream right, each where it was said."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path

import av
import psutil
import pytest
from structlog.testing import capture_logs

from relay.core import wav
from relay.stores.audio import inspect
from relay.stores.folders import Folder
from relay.taps import mix as module
from relay.taps import mixer as mixer_module
from relay.taps.mix import NothingToMix, main, mix
from relay.taps.mixer import Mixer
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

    path = mix(folder, shares.append)

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

    left, _ = both_channels(mix(folder))

    steps = range(0, len(left) - 960, 960)
    assert all(max(map(abs, left[at : at + 960])) > 10_000 for at in steps[2:-2])


def test_mix_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToMix):
        mix(Folder(tmp_path))


def test_mix_that_fails_leaves_the_mix_before_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = mix(folder).read_bytes()

    def tell(share: float) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        mix(folder, tell)

    assert (folder.path / "mix.ogg").read_bytes() == before
    assert not list(folder.path.glob(".*"))


def test_program_says_in_the_session_how_far_it_is(folder: Folder) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "relay.taps.mix", str(folder.path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    told = folder.session()["mix"]
    assert (told["state"], told["progress"]) == ("done", 1.0)
    assert folder.session()["id"] == "rtc_1"


def test_program_tells_its_progress_while_it_works(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(os, "nice", lambda by: told.append(by))
    monkeypatch.setattr(module, "_TELL_EVERY_S", 0.0)
    monkeypatch.setattr(Folder, "update_session", lambda self, change: told.append(change["mix"]))

    assert main([str(folder.path)]) == 0

    assert told[0] == 19
    assert told[1] == {"state": "running", "progress": 0.0}
    assert {"state": "running", "progress": 0.5} in told


def test_program_that_fails_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = subprocess.run(
        [sys.executable, "-m", "relay.taps.mix", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )

    assert nothing.returncode == 1
    assert nothing.stderr == "There is no audio in this folder.\n"
    assert Folder(tmp_path).session()["mix"] == {
        "state": "failed",
        "reason": "There is no audio in this folder.",
    }
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage:")


async def until(condition: Callable[[], bool]) -> None:
    """Another process' work is seen in its files alone."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_mixer_mixes_one_after_the_other(folder: Folder, tmp_path: Path) -> None:
    target = folder.path / "mix.ogg"
    await asyncio.to_thread(target.unlink, missing_ok=True)
    mixer = Mixer()
    with capture_logs() as logs:
        run = asyncio.create_task(mixer.run())

        assert mixer.put(Folder(tmp_path), 1.0)
        assert mixer.put(folder, 1.0)

        await until(lambda: len(logs) == 2)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    assert [(entry["event"], entry.get("reason")) for entry in logs] == [
        ("mix.failed", "There is no audio in this folder."),
        ("mix.written", None),
    ]
    assert target.is_file()
    assert mixer.waiting == 0


def mixing() -> list[psutil.Process]:
    """Our children that mix; other tests' servers may be children too."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "relay.taps.mix" in child.cmdline():
                found.append(child)
    return found


async def test_mixer_ends_a_mix_that_takes_too_long(folder: Folder) -> None:
    mixer = Mixer(min_timeout_s=0.05)
    with capture_logs() as logs:
        run = asyncio.create_task(mixer.run())
        mixer.put(folder, 0.0)
        await until(lambda: bool(logs))

        assert not mixing()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    assert logs[0]["reason"] == "it took longer than 0.05 s"


async def test_mixer_that_is_cancelled_ends_its_process(folder: Folder) -> None:
    mixer = Mixer()
    run = asyncio.create_task(mixer.run())
    mixer.put(folder, 60.0)
    await until(lambda: bool(mixing()))

    run.cancel()
    await asyncio.gather(run, return_exceptions=True)

    await until(lambda: not mixing())


async def test_mixer_with_too_many_waiting_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixer_module, "MAX_WAITING", 1)
    mixer = Mixer()

    with capture_logs() as logs:
        accepted = [mixer.put(Folder(tmp_path), 1.0) for _ in range(2)]

    assert accepted == [True, False]
    assert [entry["event"] for entry in logs] == ["mix.refused"]
