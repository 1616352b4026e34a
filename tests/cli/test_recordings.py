"""`relay recordings`: a directory of conversations from a terminal, without a server."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay.core import eventline, hashchain
from relay.core.hashchain import Link
from relay.stores.archive import Archive, ArchiveOptions
from relay.stores.folders import Folder, Folders
from relay.stores.upload import UploadRecord, upload, write_record
from tests.cli.conftest import Run
from tests.stores.conversations import BEGAN, make_folder

BESIDES: dict[str, object] = {"audio": {}, "lost": {}}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RELAY_RECORDING__DIRECTORY", "calls")  # relative to where we are
    monkeypatch.setenv("RELAY_RECORDING__UPLOAD_URL", (tmp_path / "archive").as_uri())
    (tmp_path / "calls").mkdir()
    return tmp_path / "calls"


def sealed(folder: Folder) -> None:
    """Gives a folder a chain of two lines that holds, and takes away its audio."""
    (folder.path / "client.ogg").unlink()
    link, lines = Link.first(folder.id), b""
    for direction, event in (("up", {"type": "x"}), (None, {"type": "relay.session.ended"})):
        own = {**event, **BESIDES} if direction is None else event
        way = "up" if direction else None
        encoded = eventline.encode(link.sequence, BEGAN, way, json.dumps(own))  # type: ignore[arg-type]
        line, link = hashchain.seal(link, encoded.members)
        lines += line
    folder.events.write_bytes(lines)


def uploaded_alone(directory: Path, conversation_id: str, *texts: str) -> None:
    folder = make_folder(directory, conversation_id, *texts)
    archive = Archive(ArchiveOptions((directory.parent / "archive").as_uri()))
    asyncio.run(upload(folder, archive, BEGAN))
    Folders(directory).delete(folder)


# -- list


def test_recordings_list_of_a_new_index_has_what_the_folders_have(
    run: Run, directory: Path
) -> None:
    make_folder(directory, "rtc_1", "Hello there.")
    make_folder(directory, "rtc_2", started_at=BEGAN + timedelta(days=1))

    result = run("recordings", "list")

    assert result.code == 0, result.err
    first, second = result.out.splitlines()
    assert first.startswith("rtc_2  2026-03-15 09:30:00  90 s  completed  shop  gpt-realtime")
    assert second.startswith("rtc_1  ")


def test_recordings_list_when_searched_shows_what_was_said(run: Run, directory: Path) -> None:
    make_folder(directory, "rtc_1", "Hello there.", "Good day.")
    make_folder(directory, "rtc_2", "Something else.")

    result = run("recordings", "list", "--search", "hello")

    assert result.out.splitlines()[0].startswith("rtc_1")
    assert result.out.splitlines()[1:] == ["    user: Hello there."]


def test_recordings_list_with_filters_as_json_is_one_object_a_line(
    run: Run, directory: Path
) -> None:
    for n in range(4):
        make_folder(directory, f"rtc_{n}", started_at=BEGAN + timedelta(days=n), key_id=f"k{n % 2}")

    result = run(
        "recordings", "list", "--json", "--since", "2026-03-15", "--until", "2026-03-17T12:00:00",
        "--key", "k1", "--limit", "7",
    )  # fmt: skip

    rows = [json.loads(line) for line in result.out.splitlines()]
    assert [row["id"] for row in rows] == ["rtc_3", "rtc_1"]
    assert rows[0]["cost_usd"] == 0.0128
    assert run("recordings", "list", "--limit", "1").out.count("\n") == 1


def test_recordings_list_of_a_text_that_would_move_the_cursor_shows_text(
    run: Run, directory: Path
) -> None:
    make_folder(directory, "rtc_1", "needle \x1b[2J\x07 gone", model="m\x1b]0;x\x07")

    result = run("recordings", "list", "--search", "needle")

    assert "\x1b" not in result.out
    assert "\x07" not in result.out


def test_recordings_without_a_directory_say_so(run: Run) -> None:
    result = run("recordings", "list")

    assert result.code == 1
    assert "recording.directory" in result.err
    assert result.err.count("\n") == 1


def test_recordings_when_the_index_is_no_database_say_so(run: Run, directory: Path) -> None:
    (directory / "index.sqlite").write_bytes(b"no database " * 1000)

    result = run("recordings", "list")

    assert result.code == 1
    assert "not a database" in result.err


# -- verify


def test_recordings_verify_when_a_chain_holds_says_so(run: Run, directory: Path) -> None:
    sealed(make_folder(directory, "rtc_1"))
    sealed(make_folder(directory, "rtc_2"))

    result = run("recordings", "verify", "rtc_1")

    assert (result.code, result.out) == (0, "rtc_1  holds  2 lines\n"), result.err
    assert run("recordings", "verify", "--all").out.count("holds") == 2


def test_recordings_verify_when_a_line_was_changed_names_it_and_exits_with_1(
    run: Run, directory: Path
) -> None:
    folder = make_folder(directory, "rtc_1")
    sealed(folder)
    folder.events.write_bytes(folder.events.read_bytes().replace(b'"x"', b'"y"'))

    result = run("recordings", "verify", "rtc_1")

    assert result.code == 1
    assert "rtc_1  BROKEN" in result.out
    assert "line 1" in result.out


@pytest.mark.parametrize("arguments", [[], ["rtc_1", "--all"]])
def test_recordings_verify_of_nothing_or_all_and_some_is_wrong_usage(
    run: Run, directory: Path, arguments: list[str]
) -> None:
    assert run("recordings", "verify", *arguments).code == 2


@pytest.mark.parametrize("conversation_id", ["rtc_9", "../calls", "a/b", "\x1b[31m"])
def test_recordings_verify_of_what_is_not_there_says_so(
    run: Run, directory: Path, conversation_id: str
) -> None:
    result = run("recordings", "verify", conversation_id)

    assert result.code == 1
    assert "is not in" in result.err
    assert "\x1b" not in result.err


# -- export


def test_recordings_export_makes_a_copy_that_can_be_verified(
    run: Run, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(directory, "rtc_1", "Hello.")
    folder.put_blob("a" * 64, b"picture")
    sealed(folder)

    result = run("recordings", "export", "rtc_1", "out")

    copy = tmp_path / "out" / "2026-03-14" / "rtc_1"
    assert (result.code, result.out) == (0, "out/2026-03-14/rtc_1\n"), result.err
    for path in folder.path.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            assert (copy / path.relative_to(folder.path)).read_bytes() == path.read_bytes()
    assert copy.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("RELAY_RECORDING__DIRECTORY", "out")
    assert run("recordings", "verify", "rtc_1").code == 0


def test_recordings_export_of_what_is_only_uploaded_fetches_it(
    run: Run, directory: Path, tmp_path: Path
) -> None:
    uploaded_alone(directory, "rtc_1", "Hello.")
    assert run("recordings", "reindex").code == 0

    result = run("recordings", "export", "rtc_1", "out")

    assert result.code == 0, result.err
    copy = tmp_path / "out" / "2026-03-14" / "rtc_1"
    assert json.loads((copy / "session.json").read_text())["id"] == "rtc_1"
    assert (copy / "client.ogg").read_bytes() == b"OggS" + bytes(2000)


def test_recordings_export_when_there_is_something_already_writes_nothing(
    run: Run, directory: Path
) -> None:
    make_folder(directory, "rtc_1")
    assert run("recordings", "export", "rtc_1", "out").code == 0

    result = run("recordings", "export", "rtc_1", "out")

    assert result.code == 1
    assert "is there already" in result.err


@pytest.mark.parametrize("conversation_id", ["rtc_9", "../rtc_1", "/etc", "."])
def test_recordings_export_of_what_is_not_there_says_so(
    run: Run, directory: Path, tmp_path: Path, conversation_id: str
) -> None:
    result = run("recordings", "export", conversation_id, "out")

    assert result.code == 1
    assert result.err.startswith("relay: ")
    assert not (tmp_path / "out").exists()


# -- reindex


def test_recordings_reindex_counts_and_names_what_cannot_be_read(run: Run, directory: Path) -> None:
    make_folder(directory, "rtc_1")
    (make_folder(directory, "rtc_2").path / "session.json").write_text("{")
    uploaded_alone(directory, "rtc_3")

    result = run("recordings", "reindex")

    assert result.code == 0
    assert result.out == (
        "1 conversations here, 1 at the upload's target, 1 that cannot be read, 0 that are gone\n"
    )
    assert result.err == "2026-03-14/rtc_2: session.json is missing or cannot be read\n"


def test_recordings_reindex_beside_a_server_leaves_its_calls_live(
    run: Run, directory: Path
) -> None:
    now = datetime.now(UTC)
    make_folder(directory, "rtc_live", state="live", end=None, started_at=now)
    make_folder(directory, "rtc_dead", state="live", end=None)

    assert run("recordings", "reindex").code == 0

    with closing(sqlite3.connect(directory / "index.sqlite")) as index, index:
        states = dict(index.execute("SELECT id, state FROM conversations").fetchall())
    index.close()
    assert states == {"rtc_live": "live", "rtc_dead": "unfinished"}


# -- delete


def test_recordings_delete_prints_the_proof_and_an_audit_line(
    run: Run, directory: Path, tmp_path: Path
) -> None:
    make_folder(directory, "rtc_1", "Hello.")
    uploaded_alone(directory, "rtc_2")
    assert run("recordings", "reindex").code == 0

    result = run("recordings", "delete", "rtc_1", "--yes", "--reason", "she asked")
    other = run("recordings", "delete", "rtc_2", "--yes")

    proof = json.loads(result.out)
    assert (result.code, proof["complete"], proof["remains"]) == (0, True, [])
    assert set(proof["files"]) > {"client.ogg", "session.json"}
    assert "conversation.deleted" in result.err
    assert "she asked" in result.err
    assert len(json.loads(other.out)["objects"]) == 4
    assert run("recordings", "list").out == ""
    assert [path for path in (tmp_path / "archive").rglob("*") if path.is_file()] == []
    assert run("recordings", "delete", "rtc_1", "--yes").code == 1


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_recordings_delete_without_a_yes_deletes_nothing(
    run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    folder = make_folder(directory, "rtc_1")
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))

    result = run("recordings", "delete", "rtc_1")

    assert (result.code, result.out) == (1, "")
    assert folder.path.is_dir()


def test_recordings_delete_of_a_call_that_seems_to_run_refuses(run: Run, directory: Path) -> None:
    folder = make_folder(directory, "rtc_1", state="live", started_at=datetime.now(UTC))

    result = run("recordings", "delete", "rtc_1", "--yes")

    assert result.code == 1
    assert "still running" in result.err
    assert folder.path.is_dir()


# -- upload


def given_up(directory: Path, conversation_id: str) -> Folder:
    folder = make_folder(directory, conversation_id, "Hello.")
    url = (directory.parent / "archive").as_uri()
    write_record(folder, UploadRecord(url, state="failed", attempts=9, error="no answer"))
    return folder


def test_recordings_upload_sends_what_was_given_up_and_nothing_else(
    run: Run, directory: Path
) -> None:
    given_up(directory, "rtc_1")
    make_folder(directory, "rtc_2", "Good day.")

    result = run("recordings", "upload")
    again = run("recordings", "upload")
    listed = run("recordings", "list", "--json")

    assert (result.code, result.out) == (0, "rtc_1  uploaded\n")
    assert (again.code, again.out) == (0, "")
    states = {row["id"]: row["upload"] for row in map(json.loads, listed.out.splitlines())}
    assert states == {"rtc_1": "uploaded", "rtc_2": "none"}
    archive = directory.parent / "archive"
    assert [path.parent.name for path in archive.rglob("session.json")] == ["rtc_1"]


def test_recordings_upload_of_ids_sends_them_and_lets_go_of_them_where_it_is_set(
    run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_RECORDING__DELETE_AFTER_UPLOAD", "true")
    folder = make_folder(directory, "rtc_2", "Good day.")

    result = run("recordings", "upload", "rtc_2")
    missing = run("recordings", "upload", "rtc_3")

    assert (result.code, result.out) == (0, "rtc_2  uploaded\n")
    assert not folder.path.exists()
    assert missing.code == 1
    assert "rtc_3 is not in" in missing.err


def test_recordings_upload_that_fails_or_still_runs_says_why(run: Run, directory: Path) -> None:
    (directory.parent / "archive").write_text("a file where a folder should be")
    given_up(directory, "rtc_1")
    make_folder(directory, "rtc_2", started_at=datetime.now(UTC), state="live", end=None)

    result = run("recordings", "upload", "rtc_1", "rtc_2")
    [row] = [
        json.loads(line)
        for line in run("recordings", "list", "--json").out.splitlines()
        if '"rtc_1"' in line
    ]

    assert result.code == 1
    assert "2 of 2 conversations are not uploaded" in result.err
    assert result.out.splitlines()[1] == "rtc_2  rtc_2 is still running"
    assert row["upload"] in ("waiting", "refused")
    assert row["upload_error"]


def test_recordings_upload_without_a_target_says_what_to_set(
    run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RELAY_RECORDING__UPLOAD_URL")

    result = run("recordings", "upload")

    assert result.code == 1
    assert "recording.upload_url" in result.err
