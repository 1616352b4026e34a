"""Recorded files in VLC, as a call that has not ended, or a process that died, leaves them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.taps.sounds import loud_parts, samples
from tests.taps.stage import Stage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cvlc") is None, reason="VLC is not installed"),
]

DECODE = "#transcode{acodec=s16l,channels=1,samplerate=48000}:std{access=file,mux=wav,dst=out.wav}"
NOBODY = "nobody" if os.geteuid() == 0 else None  # VLC is not for root


@pytest.fixture
def desk() -> Iterator[Path]:
    """A directory that VLC may read and write, whoever runs it."""
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        if NOBODY is not None:
            shutil.chown(directory, NOBODY)
        yield directory


@pytest.mark.parametrize("name", ["client.ogg", "upstream.pcmu.wav", "client.pcma.wav"])
@pytest.mark.parametrize("cut", [0, 7])
def test_file_of_a_call_that_has_not_ended_plays_in_vlc(
    desk: Path, running: Stage, name: str, cut: int
) -> None:
    data = (running.folder.path / name).read_bytes()
    (desk / name).write_bytes(data[: len(data) - cut])

    subprocess.run(
        ["cvlc", "-I", "dummy", "--sout", DECODE, name, "vlc://quit"],
        cwd=desk,
        env={"PATH": os.environ["PATH"], "HOME": str(desk)},
        user=NOBODY,
        capture_output=True,
        check=True,
        timeout=30,
    )

    with wave.open(str(desk / "out.wav")) as out:
        played = samples(out.readframes(out.getnframes()))
    assert len(played) / 48_000 == pytest.approx(6.0, abs=0.25)  # a page is cut off
    parts = [part for part in loud_parts(played, 440) if part[1] - part[0] > 0.5]
    (first, first_end), (second, _) = parts
    # Of an Ogg file VLC leaves out some of the beginning, as the decoder's pre-roll; 0.07 s of one
    # that FFmpeg has written.
    assert first == pytest.approx(1.0, abs=0.13)
    assert first_end - first == pytest.approx(1.0, abs=0.13)  # a decoder lets it fade
    assert second - first == pytest.approx(3.0, abs=0.04)
