"""Folders of conversations: harmless names, private modes, whole files, and nothing else's."""

from __future__ import annotations

import fcntl
import json
import math
import os
import stat
import threading
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.stores import folders as module
from relay.stores.folders import Folder, Folders, UnsafeId

DAY = date(2026, 1, 31)
HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "/etc",
    "a\0b",
    "-rf",
    ".hidden",
    "a.json",
    "a b",
    "é",
    "a\n",
    "x" * 129,
]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "recordings")


def made(folders: Folders, name: str, day: date = DAY) -> Folder:
    folder = folders.at(day, name)
    folder.make()
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", HOSTILE)
def test_id_that_is_no_harmless_name_is_refused(folders: Folders, name: str) -> None:
    with pytest.raises(UnsafeId):
        folders.at(DAY, name)
    assert folders.find(name) is None


@given(st.text())
def test_id_given_anything_never_leaves_the_day(text: str) -> None:
    directory = Path("/recordings")
    try:
        folder = Folders(directory).at(DAY, text)
    except UnsafeId:
        return
    assert folder.path.parent == directory / "2026-01-31"
    assert folder.id == text


def test_folder_when_made_is_its_owners_alone(folders: Folders) -> None:
    folder = made(folders, "rtc_1")
    folder.make()
    folder.update_session({"id": "rtc_1"})
    folder.put_blob("0" * 64, b"x")

    assert folder.path == folders.directory / "2026-01-31" / "rtc_1"
    assert folder.day == DAY
    found = [folders.directory, *folders.directory.rglob("*")]
    assert {mode(path) for path in found if path.is_dir()} == {0o700}
    assert {mode(path) for path in found if path.is_file()} == {0o600}
    assert sorted(path.name for path in found if path.is_file()) == ["0" * 64, "session.json"]


def test_list_gives_the_newest_day_first_and_only_conversations(folders: Folders) -> None:
    for day, name in [(1, "b"), (1, "a"), (3, "c")]:
        made(folders, name, date(2026, 1, day))
    (folders.directory / "2026-01-01" / ".deleted-1").mkdir()
    (folders.directory / "2026-01-01" / "file").write_text("x")
    (folders.directory / "2026-01-01" / "link").symlink_to("/")
    (folders.directory / "other").mkdir()
    (folders.directory / "2026-01-02").symlink_to("/")

    assert [folder.id for folder in folders.list()] == ["c", "a", "b"]
    assert folders.find("a") is not None
    assert folders.find("link") is None
    assert folders.find("file") is None


def test_list_without_a_directory_is_empty(folders: Folders) -> None:
    assert list(folders.list()) == []
    assert folders.find("a") is None


def test_delete_removes_a_conversation_and_the_day_it_was_alone_in(folders: Folders) -> None:
    first, second = made(folders, "a"), made(folders, "b")
    first.put_blob("0" * 64, b"x")

    folders.delete(first)

    assert folders.find("a") is None
    assert [path.name for path in first.path.parent.iterdir()] == ["b"]
    folders.delete(second)
    assert list(folders.directory.iterdir()) == []


def test_delete_removes_what_a_crash_left_of_another(folders: Folders) -> None:
    folder = made(folders, "a")
    left = folder.path.parent / ".deleted-0"
    left.mkdir()
    (left / "client.ogg").write_bytes(b"x")

    folders.delete(folder)

    assert not left.exists()


def test_delete_never_follows_a_link_out(folders: Folders, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    folder = made(folders, "a")
    (folder.path / "link").symlink_to(outside)

    folders.delete(folder)

    assert (outside / "kept").exists()


def test_delete_of_a_folder_elsewhere_is_refused(folders: Folders, tmp_path: Path) -> None:
    elsewhere = tmp_path / "2026-01-31" / "a"
    elsewhere.mkdir(parents=True)

    with pytest.raises(UnsafeId):
        folders.delete(Folder(elsewhere))
    assert elsewhere.exists()


def test_session_when_updated_keeps_what_others_wrote(folders: Folders) -> None:
    folder = made(folders, "a")
    folder.update_session({"id": "a", "model": "\ud800 gpt"})

    folder.update_session({"usage": {"tokens": 5}})
    folder.edit_session(lambda session: session["usage"].update(cost=1))

    assert folder.session() == {
        "id": "a",
        "model": "\ud800 gpt",
        "usage": {"tokens": 5, "cost": 1},
    }


def test_session_with_numbers_that_json_lacks_has_null(folders: Folders) -> None:
    folder = made(folders, "a")

    folder.update_session({"client": {"jitter_ms": [math.nan, math.inf, 1.5]}, "id": "a"})

    text = (folder.path / "session.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "client": {"jitter_ms": [None, None, 1.5]},
        "id": "a",
    }


def test_session_when_many_update_it_loses_no_update(folders: Folders) -> None:
    folder = made(folders, "a")

    def update(number: int) -> None:
        for turn in range(20):
            folder.update_session({f"{number}.{turn}": True})

    threads = [threading.Thread(target=update, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(folder.session()) == 80
    assert [path.name for path in folder.path.iterdir()] == ["session.json"]


def test_session_that_somebody_holds_is_not_waited_for_long(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.05)
    folder = made(folders, "a")
    fd = os.open(folder.path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)

    with pytest.raises(TimeoutError):
        folder.update_session({"id": "a"})
    os.close(fd)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_session_that_cannot_be_read_is_empty(folders: Folders, content: bytes) -> None:
    folder = made(folders, "a")
    (folder.path / "session.json").write_bytes(content)

    assert folder.session() == {}


def test_session_is_never_seen_half_written(folders: Folders) -> None:
    folder = made(folders, "a")
    folder.update_session({"text": "x" * 100_000})
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            seen.add(len(json.loads((folder.path / "session.json").read_bytes())["text"]))

    reader = threading.Thread(target=read)
    reader.start()
    for size in (200_000, 300_000, 400_000):
        folder.update_session({"text": "x" * size})
    stop.set()
    reader.join()

    assert seen <= {100_000, 200_000, 300_000, 400_000}


def test_blob_is_kept_once_under_its_name(folders: Folders) -> None:
    folder = made(folders, "a")

    folder.put_blob("a" * 64, b"sound")
    folder.put_blob("a" * 64, b"ignored")

    assert folder.blob("a" * 64) == b"sound"
    with pytest.raises(FileNotFoundError):
        folder.blob("b" * 64)
    with pytest.raises(UnsafeId):
        folder.blob("../session.json")


def test_audio_of_a_side_is_each_codecs_file(folders: Folders) -> None:
    folder = made(folders, "a")
    for name in ("client.ogg", "client.pcma.wav", "mix.ogg"):
        (folder.path / name).write_bytes(b"x")

    assert [path.name for path in folder.audio("client")] == ["client.ogg", "client.pcma.wav"]
    assert folder.audio("upstream") == ()
    assert [path.name for path in folder.audio("mix")] == ["mix.ogg"]
