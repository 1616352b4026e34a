"""Who is at work on a folder, told by locks that die with their owner."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from relay.stores import locks
from relay.stores.folders import Folder
from relay.stores.locks import FolderInUse, RecordingLock, is_recorded
from relay.stores.reading import looks_live

HOLD = """
import sys
from pathlib import Path
from relay.stores.folders import Folder
from relay.stores.locks import RecordingLock
held = RecordingLock(Folder(Path(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "2026-01-31" / "rtc_1")
    folder.make()
    folder.update_session({"id": "rtc_1", "state": "live"})
    return folder


def test_folder_is_recorded_until_the_recorder_lets_go(folder: Folder) -> None:
    before = is_recorded(folder)
    lock = RecordingLock(folder)
    meanwhile = is_recorded(folder), looks_live(folder)
    lock.release(is_finished=False)
    lock.release(is_finished=False)

    assert (before, meanwhile) == (None, (True, True))
    assert is_recorded(folder) is False
    assert not looks_live(folder)


def test_folder_whose_recording_is_finished_has_no_lock(folder: Folder) -> None:
    RecordingLock(folder).release(is_finished=True)

    assert [path.name for path in folder.path.iterdir()] == ["session.json"]


def test_folder_of_a_process_that_is_killed_is_recorded_no_more(folder: Folder) -> None:
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        meanwhile = is_recorded(folder)
        process.kill()

    assert meanwhile is True
    assert is_recorded(folder) is False


def test_folder_from_before_there_were_locks_looks_live_while_it_is_written_to(
    folder: Folder,
) -> None:
    assert is_recorded(folder) is None
    assert looks_live(folder)


def test_rendering_is_of_one_at_a_time(folder: Folder) -> None:
    with locks.rendering(folder), pytest.raises(FolderInUse), locks.rendering(folder):
        pytest.fail("it was not alone")

    with locks.rendering(folder):
        pass
    assert [path.name for path in folder.path.iterdir()] == ["session.json"]


def test_rendering_of_a_folder_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locks.rendering(Folder(tmp_path / "gone")):
        pytest.fail("there is no folder")
