"""Events read back, of a record that was cut off or changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relay.stores.events import digest, read_events
from relay.stores.folders import Folder
from relay.taps.eventlog import EventLog
from tests.taps.test_eventlog import AT, folder_in


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder, log = folder_in(tmp_path), EventLog(folder_in(tmp_path))
    for n in range(5):
        log.add(AT, "up", json.dumps({"n": n}))
    log.flush()
    log.close()
    return folder


def numbers(folder: Folder, since: int = 0) -> list[int]:
    return [json.loads(event.message)["n"] for event in read_events(folder, since=since)]


@pytest.mark.parametrize("missing", [1, 2, 50, 200])
def test_events_with_the_last_line_cut_off_end_before_it(folder: Folder, missing: int) -> None:
    whole = folder.events.read_bytes()

    folder.events.write_bytes(whole[:-missing])

    assert numbers(folder) == [0, 1, 2, 3]


def test_events_behind_a_changed_line_are_not_given_out(folder: Folder) -> None:
    folder.events.write_bytes(folder.events.read_bytes().replace(b'{"n": 2}', b'{"n": 7}'))

    assert numbers(folder) == [0, 1]


def test_events_since_a_number_are_those_from_it_on(folder: Folder) -> None:
    assert numbers(folder, since=3) == [3, 4]
    assert numbers(folder, since=9) == []


def test_events_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_events(Folder(tmp_path)))


def test_digest_of_a_file_is_its_size_and_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")

    assert digest(tmp_path / "a") == {
        "bytes": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
