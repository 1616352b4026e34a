"""Files that grow by whole pieces, on disks that are small, full or read-only."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.stores.appendfile import AppendFile
from tests.stores.disk import fill, make_read_only, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 64) as mounted:
        yield mounted


def test_file_when_nothing_was_appended_is_not_there(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "a")

    file.close()

    assert list(tmp_path.iterdir()) == []


def test_file_with_pieces_has_them_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "a")
    file.append(b"one")
    file.append(b"two")
    file.patch(b"O")
    file.close()
    file.close()

    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"Onetwo"
    assert file.size == 6
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_file_that_belongs_to_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"theirs")
    file = AppendFile(tmp_path / "a")

    with pytest.raises(FileExistsError):
        file.append(b"ours")
    file.close()

    assert (tmp_path / "a").read_bytes() == b"theirs"


def test_append_where_the_folder_is_missing_works_once_it_is_there(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "b" / "a")
    with pytest.raises(FileNotFoundError):
        file.append(b"one")

    (tmp_path / "b").mkdir()
    file.append(b"two")
    file.close()

    assert (tmp_path / "b" / "a").read_bytes() == b"two"


def test_append_to_a_full_disk_leaves_nothing_of_the_piece(disk: Path) -> None:
    file = AppendFile(disk / "a")
    file.append(b"first" * 1000)

    with pytest.raises(OSError, match="No space left"):
        file.append(bytes(100_000))

    assert (disk / "a").read_bytes() == b"first" * 1000
    file.append(b"last")
    file.close()
    assert (disk / "a").read_bytes() == b"first" * 1000 + b"last"


def test_append_to_a_disk_full_from_the_start_shows_no_empty_file(disk: Path) -> None:
    ballast = fill(disk)
    file = AppendFile(disk / "a")
    with pytest.raises(OSError, match="No space left"):
        file.append(b"one")
    assert not (disk / "a").exists()

    ballast.unlink()
    file.append(b"two")
    file.close()

    assert (disk / "a").read_bytes() == b"two"


def test_append_to_a_read_only_disk_works_again_once_it_is_not(disk: Path) -> None:
    make_read_only(disk, read_only=True)
    file = AppendFile(disk / "a")
    with pytest.raises(OSError, match="Read-only"):
        file.append(b"one")

    make_read_only(disk, read_only=False)
    file.append(b"two")
    file.close()

    assert (disk / "a").read_bytes() == b"two"
