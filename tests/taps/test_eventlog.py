"""The writer of events.jsonl on a disk that is small, full, and has room again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relay.stores.events import read_events
from relay.stores.folders import Folder
from relay.stores.verify import verify
from relay.taps import eventlog
from relay.taps.eventlog import EventLog
from tests.stores.disk import fill, small_disk

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 256) as mounted:
        yield mounted


def folder_in(directory: Path) -> Folder:
    folder = Folder(directory / "2026-01-31" / "rtc_1")
    folder.make()
    return folder


def messages(folder: Folder) -> list[dict[str, object]]:
    found = [json.loads(event.message) for event in read_events(folder)]
    assert all(isinstance(message, dict) for message in found)
    return found


def test_log_when_nothing_happened_is_no_file(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    log = EventLog(folder)

    log.flush()
    log.close()

    assert list(folder.path.iterdir()) == []


def test_log_of_audio_sent_twice_keeps_it_once(tmp_path: Path) -> None:
    folder, log = folder_in(tmp_path), EventLog(folder_in(tmp_path))
    audio = base64.b64encode(bytes(range(256)) * 100).decode()
    append = json.dumps({"type": "input_audio_buffer.append", "audio": audio})
    item = json.dumps({"type": "conversation.item.retrieved", "item": [{"audio": audio}]})

    log.add(AT, "up", append)
    log.add(AT, "down", item)
    log.end(AT, {"audio": {}})
    log.flush()
    log.close()

    assert [event.message for event in read_events(folder)][:2] == [append, item]
    assert folder.events.stat().st_size < 1_500
    [blob] = (folder.path / "blobs").iterdir()
    assert blob.read_bytes() == bytes(range(256)) * 100
    assert verify(folder).holds(strict=True)


def test_log_on_a_full_disk_waits_and_loses_nothing(disk: Path) -> None:
    folder, log = folder_in(disk), EventLog(folder_in(disk))
    log.add(AT, "up", '{"n":0}')
    log.flush()
    ballast = fill(disk)
    for n in range(1, 40):
        log.add(AT, "up", json.dumps({"n": n, "text": "x" * 500}))
    with pytest.raises(OSError, match="No space"):
        log.flush()
    assert len(messages(folder)) == 1

    ballast.unlink()
    log.flush()
    log.close()

    assert [message["n"] for message in messages(folder)] == list(range(40))
    assert log.lost == 0


def test_log_on_a_disk_full_for_long_tells_how_much_is_missing(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eventlog, "MAX_PENDING_BYTES", 10_000)
    folder, log = folder_in(disk), EventLog(folder_in(disk))
    log.add(AT, "up", '{"n":0}')
    log.flush()
    log.miss(3)  # and some did not even get here
    ballast = fill(disk)
    for n in range(1, 40):
        log.add(AT, "up", json.dumps({"n": n, "text": "x" * 500}))
    with pytest.raises(OSError, match="No space"):
        log.flush()

    ballast.unlink()
    log.add(AT, "up", '{"n":40}')
    log.end(AT, {"audio": {}})
    log.flush()
    log.close()

    assert messages(folder) == [
        {"n": 0},
        {"type": "relay.events.lost", "count": 42},
        {"n": 40},
        {"type": "relay.session.ended", "audio": {}},
    ]
    assert log.lost == 42
    assert verify(folder).holds(strict=True)


def test_log_whose_audio_finds_no_room_counts_the_event(disk: Path) -> None:
    folder, log = folder_in(disk), EventLog(folder_in(disk))
    ballast = fill(disk)
    audio = base64.b64encode(bytes(50_000)).decode()

    with pytest.raises(OSError, match="No space"):
        log.add(AT, "up", json.dumps({"audio": audio}))
    ballast.unlink()
    log.add(AT, "up", '{"n":1}')
    log.flush()
    log.close()

    assert messages(folder) == [{"type": "relay.events.lost", "count": 1}, {"n": 1}]
    assert not list((folder.path / "blobs").iterdir())


def test_log_that_has_ended_keeps_its_end_however_long_the_disk_is_full(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eventlog, "MAX_PENDING_BYTES", 100)
    folder, log = folder_in(disk), EventLog(folder_in(disk))
    ballast = fill(disk)
    log.add(AT, "up", json.dumps({"n": 1, "text": "x" * 5_000}))
    log.end(AT, {"reason": "hung up", "audio": {}})
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            log.flush()

    ballast.unlink()
    log.flush()
    log.close()

    assert messages(folder)[-1]["reason"] == "hung up"
    assert verify(folder).holds(strict=True)


HUGE = [
    "[" * 200_000,
    '{"a":' * 50_000,
    "not JSON \u2028 <script>alert(1)</script> \0",
    json.dumps({"text": "<script>" * 300_000}),
    "\ud800",
    b"\xff" * 2_000_000,
    "A" * 3_000_000,
    json.dumps({"audio": "A" * 4_000_000}),
    "",
]


@pytest.mark.parametrize("message", HUGE)
def test_log_of_anything_gives_it_back(tmp_path: Path, message: str | bytes) -> None:
    folder, log = folder_in(tmp_path), EventLog(folder_in(tmp_path))

    log.add(AT, "up", message)
    log.end(AT, {"audio": {}})
    log.flush()
    log.close()

    assert next(read_events(folder)).message == message
    assert verify(folder).holds(strict=True)
