"""Targets of uploads: what is sent is proved to be there, and what cannot be is said plainly."""

from __future__ import annotations

import os
import socket
from datetime import date
from pathlib import Path

import obstore
import pytest

from relay.stores.archive import (
    Archive,
    ArchiveOptions,
    ArchiveRefused,
    ArchiveUnavailable,
    InvalidUploadUrl,
    NotVerified,
)
from relay.stores.reading import StoredFile
from relay.stores.sentfile import FileChanged
from tests.stores.objectstore import MIN_PART_BYTES, S3

DAY = date(2026, 3, 14)
KEY = "2026-03-14/rtc_1/client.ogg"


def stored_file(path: Path, data: bytes) -> StoredFile:
    path.write_bytes(data)
    found = path.stat()
    return StoredFile(path.name, path, found.st_size, found.st_mtime_ns)


async def content(archive: Archive, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([data async for data in archive.read(key, start=start, end=end)])


@pytest.mark.parametrize(
    "size",
    [0, 1, MIN_PART_BYTES, MIN_PART_BYTES + 1, 2 * MIN_PART_BYTES, 3 * MIN_PART_BYTES + 4711],
)
async def test_archive_when_a_file_is_put_has_all_of_it(
    archive: Archive, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)

    stored = await archive.put(KEY, stored_file(tmp_path / "client.ogg", data))

    assert stored.bytes == size
    assert await content(archive, KEY) == data
    assert [(found.key, found.bytes) for found in await archive.list("2026-03-14")] == [(KEY, size)]


async def test_archive_when_read_in_part_gives_that_part(archive: Archive, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    await archive.put(KEY, stored_file(tmp_path / "client.ogg", data))

    assert await content(archive, KEY, 10, 20) == data[10:20]
    assert await content(archive, KEY, 2_999_990) == data[-10:]
    assert await archive.get(KEY, 3_000_000) == data
    assert await archive.get(KEY, 2_999_999) is None


async def test_archive_when_nothing_is_there_says_so(archive: Archive) -> None:
    assert await archive.list("2026-03-14/rtc_1") == []
    assert await archive.days() == []
    assert await archive.get(KEY, 10) is None
    await archive.delete([KEY])


async def test_archive_when_days_are_asked_for_gives_days_alone(
    archive: Archive, tmp_path: Path
) -> None:
    file = stored_file(tmp_path / "client.ogg", b"x")
    for key in (KEY, "2026-03-15/rtc_2/client.ogg", "notes/readme.txt", "20260316/x"):
        await archive.put(key, file)

    assert await archive.days() == [date(2026, 3, 15), DAY]


async def test_archive_when_one_conversation_is_listed_gives_no_other(
    archive: Archive, tmp_path: Path
) -> None:
    file = stored_file(tmp_path / "client.ogg", b"x")
    for name in ("rtc_1", "rtc_11", "rtc_1-"):
        await archive.put(f"2026-03-14/{name}/blobs/a", file)

    found = await archive.list(archive.prefix(DAY, "rtc_1"))

    assert [object_.key for object_ in found] == ["2026-03-14/rtc_1/blobs/a"]


async def test_archive_when_deleted_from_has_the_rest(archive: Archive, tmp_path: Path) -> None:
    file = stored_file(tmp_path / "client.ogg", b"x")
    prefix = "2026-03-14/rtc_1"
    for number in range(20):
        await archive.put(f"{prefix}/{number}", file)

    await archive.delete([f"{prefix}/gone", *(f"{prefix}/{number}" for number in range(19))])

    assert [found.key for found in await archive.list("2026-03-14")] == [f"{prefix}/19"]


@pytest.mark.parametrize("size", [100, 3 * MIN_PART_BYTES])
async def test_archive_when_a_file_is_replaced_meanwhile_says_so(
    archive: Archive, tmp_path: Path, size: int
) -> None:
    file = stored_file(tmp_path / "session.json", os.urandom(size))
    (tmp_path / "session.json").write_bytes(os.urandom(size))
    os.utime(tmp_path / "session.json", ns=(0, 0))

    with pytest.raises(FileChanged):
        await archive.put(KEY, file)


@pytest.mark.parametrize("size", [100, 3 * MIN_PART_BYTES])
async def test_archive_when_a_file_was_taken_away_says_so(
    archive: Archive, tmp_path: Path, size: int
) -> None:
    file = stored_file(tmp_path / "client.ogg", os.urandom(size))
    file.path.unlink()

    with pytest.raises(FileChanged):
        await archive.put(KEY, file)


@pytest.mark.parametrize("size", [100, 3 * MIN_PART_BYTES])
async def test_archive_when_a_file_was_cut_says_so(
    archive: Archive, tmp_path: Path, size: int
) -> None:
    file = stored_file(tmp_path / "client.ogg", os.urandom(size))
    os.truncate(file.path, size // 2)

    with pytest.raises(FileChanged):
        await archive.put(KEY, file)


async def test_archive_when_the_target_keeps_other_bytes_is_not_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(ArchiveOptions((tmp_path / "archive").as_uri()))
    put = obstore.put_async

    async def put_rotten(store: object, key: str, data: bytes, **options: object) -> object:
        return await put(store, key, bytes([data[0] ^ 1]) + data[1:], **options)  # type: ignore[arg-type]

    monkeypatch.setattr(obstore, "put_async", put_rotten)

    with pytest.raises(NotVerified, match="content"):
        await archive.put(KEY, stored_file(tmp_path / "client.ogg", b"hello"))


async def test_archive_of_a_directory_is_closed_to_others(tmp_path: Path) -> None:
    archive = Archive(ArchiveOptions((tmp_path / "a" / "b").as_uri()))

    await archive.put(KEY, stored_file(tmp_path / "client.ogg", b"x"))

    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("url", ["", "ftp://host/x", "http://host/x", "s3", "/tmp/x", "memory:///"])
def test_archive_when_its_url_is_none_of_ours_is_refused(url: str) -> None:
    with pytest.raises(InvalidUploadUrl, match="s3://"):
        Archive(ArchiveOptions(url))


@pytest.mark.parametrize("url", ["gs://bucket/calls", "az://container/calls"])
async def test_archive_of_another_cloud_is_opened_by_its_url(url: str) -> None:
    # No server of theirs runs here: the port is closed, the provider's own request gets there.
    config = {"gs": {"base_url": "http://127.0.0.1:9", "skip_signature": "true"}}.get(
        url[:2], {"endpoint": "http://127.0.0.1:9", "account_name": "a", "skip_signature": "true"}
    )
    archive = Archive(ArchiveOptions(url, config, allow_http=True, retries=0))

    with pytest.raises(ArchiveUnavailable, match=r"127\.0\.0\.1:9"):
        await archive.list("2026-03-14")


@pytest.mark.slow
async def test_archive_when_credentials_are_refused_says_so(s3: S3, tmp_path: Path) -> None:
    archive = Archive(s3.options(s3.bucket()))
    file = stored_file(tmp_path / "client.ogg", b"x")

    async with s3.refusing():
        with pytest.raises(ArchiveRefused) as raised:
            await archive.put(KEY, file)
        with pytest.raises(ArchiveRefused):
            await archive.list("2026-03-14")

    assert "\n" not in str(raised.value)
    assert "InvalidAccessKeyId" in str(raised.value)
    await archive.put(KEY, file)  # the right is there again


@pytest.mark.slow
async def test_archive_when_there_is_no_bucket_says_so(s3: S3, tmp_path: Path) -> None:
    archive = Archive(s3.options("no-such-bucket"))

    with pytest.raises(ArchiveRefused, match="NoSuchBucket"):
        await archive.put(KEY, stored_file(tmp_path / "client.ogg", b"x"))


@pytest.mark.slow
async def test_archive_when_nobody_answers_says_so(s3: S3, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        archive = Archive(s3.options("bucket", port=closed.getsockname()[1]))

        with pytest.raises(ArchiveUnavailable) as raised:
            await archive.put(KEY, stored_file(tmp_path / "client.ogg", b"x"))

    assert not isinstance(raised.value, ArchiveRefused)
