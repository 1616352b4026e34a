"""kill -9 at random moments: what was recorded plays, holds, and lacks a second at the most."""

from __future__ import annotations

import random
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from relay.stores.audio import duration_s
from relay.stores.events import read_events
from relay.stores.folders import Folder, Folders
from relay.stores.verify import verify
from tests.taps.stage import played, probed

ROOT = Path(__file__).parents[2]
KILLS = 50
AT_ONCE = 4


@dataclass(frozen=True)
class Killed:
    """`spoken_s` is from the call's zero to the last packet that was handed over."""

    folder: Folder
    spoken_s: float


def kill_one(directory: Path, after_s: float) -> Killed:
    clock = directory.with_suffix(".clock")
    clock.write_bytes(bytes(8))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.taps.doomed", str(directory), str(clock)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after_s)  # the moment is what is tested
        process.send_signal(signal.SIGKILL)
    [folder] = Folders(directory).list()
    [spoken_s] = struct.unpack("d", clock.read_bytes())
    return Killed(folder, spoken_s)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_recorder_killed_at_random_moments_loses_a_second_at_the_most(tmp_path: Path) -> None:
    chance = random.Random()
    moments = [chance.uniform(1.2, 3.0) for _ in range(KILLS)]
    directories = [tmp_path / str(n) for n in range(KILLS)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        missing = list(pool.map(lambda *one: check(kill_one(*one)), directories, moments))

    assert len(missing) == KILLS
    assert max(map(max, missing)) <= 1.0


def check(killed: Killed) -> list[float]:
    """Seconds that are missing of the client's audio, the upstream's, and the events."""
    folder = killed.folder
    verdict = verify(folder)
    assert verdict.problems == ()
    assert not verdict.is_finished
    assert folder.session()["state"] == "live"

    client, upstream = folder.path / "client.ogg", folder.path / "upstream.pcmu.wav"
    for path in (client, upstream):
        told = float(probed(path)["duration"])
        assert told == pytest.approx(duration_s(path), abs=0.01)
        assert len(played(path)) / 48_000 == pytest.approx(told, abs=0.01)

    *_, last = read_events(folder)  # every line is whole, or would not be given out
    begun = next(iter(read_events(folder))).at
    event_s = (last.at - begun).total_seconds()
    ends = (duration_s(client), duration_s(upstream), event_s)
    return [killed.spoken_s - end_s for end_s in ends]
