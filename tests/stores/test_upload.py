"""Uploads: they go on where they were, end in a state that can be seen, and lose nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.stores import locks
from relay.stores.archive import Archive, ArchiveOptions, ArchiveUnavailable, NotVerified
from relay.stores.conversation import UploadState
from relay.stores.folders import Folder
from relay.stores.query import Query
from relay.stores.reading import StoredFile, files_of, read_object
from relay.stores.store import Store, StoreOptions, running_store
from relay.stores.upload import (
    Sent,
    UploadRecord,
    is_uploaded,
    read_record,
    upload,
    write_record,
)
from relay.stores.uploader import UploaderOptions
from tests.stores.conversations import BEGAN, keep
from tests.stores.objectstore import MIN_PART_BYTES, S3
from tests.stores.waiting import until, until_async

NOW = datetime(2026, 3, 15, tzinfo=UTC)
QUICK = UploaderOptions(
    scan_interval_s=0.05, rest_s=0.0, min_pause_s=0.05, refused_pause_s=0.05, max_pause_s=0.2
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "calls"


async def names(archive: Archive, conversation_id: str) -> list[str]:
    prefix = archive.prefix(BEGAN.date(), conversation_id)
    return sorted(one.key.removeprefix(f"{prefix}/") for one in await archive.list(prefix))


class Counting(Archive):
    """An archive that notes what is sent to it, and can be told to fail."""

    def __init__(self, options: ArchiveOptions) -> None:
        super().__init__(options)
        self.sent: list[str] = []
        self.before: Callable[[str], None] = lambda _name: None

    async def put(self, key: str, file: StoredFile) -> Any:
        await asyncio.to_thread(self.before, file.name)
        self.sent.append(file.name)
        return await super().put(key, file)


@pytest.fixture
def counting(archive_options: ArchiveOptions) -> Counting:
    return Counting(archive_options)


# -- one conversation


async def test_upload_when_done_has_all_files_and_says_so(
    directory: Path, archive: Archive
) -> None:
    folder = await keep(directory, "rtc_1", "Hello.", audio=os.urandom(MIN_PART_BYTES + 100))
    await asyncio.to_thread(folder.put_blob, "a" * 64, b"picture")

    record = await upload(folder, archive, NOW)

    assert record.state == "uploaded"
    assert record.uploaded_at == NOW
    assert await names(archive, "rtc_1") == sorted(record.files)
    assert set(record.files) == {
        "client.ogg", "events.jsonl", "transcript.json", "session.json", f"blobs/{'a' * 64}"
    }  # fmt: skip
    assert await asyncio.to_thread(read_record, folder, archive.url) == record
    assert await asyncio.to_thread(is_uploaded, folder, record)


async def test_upload_when_it_broke_off_goes_on_with_what_is_missing(
    directory: Path, counting: Counting
) -> None:
    folder = await keep(directory, "rtc_1")

    def break_off(name: str) -> None:
        if name == "transcript.json":
            raise ArchiveUnavailable("the line is down")

    counting.before = break_off
    with pytest.raises(ArchiveUnavailable):
        await upload(folder, counting, NOW)
    assert "session.json" not in await names(counting, "rtc_1")
    first, counting.sent = counting.sent, []
    counting.before = lambda _name: None

    await upload(folder, counting, NOW)

    assert first == ["client.ogg", "events.jsonl"]
    assert counting.sent == ["transcript.json", "session.json"]


async def test_upload_when_a_file_changed_sends_that_file_again(
    directory: Path, counting: Counting
) -> None:
    folder = await keep(directory, "rtc_1")
    record = await upload(folder, counting, NOW)
    counting.sent = []
    await asyncio.to_thread((folder.path / "mix.ogg").write_bytes, b"OggS")
    await asyncio.to_thread(folder.update_session, {"mix": {"state": "done"}})

    assert not await asyncio.to_thread(is_uploaded, folder, record)
    await upload(folder, counting, NOW)

    assert counting.sent == ["mix.ogg", "session.json"]


async def test_upload_when_a_file_changes_while_it_is_sent_sends_it_again(
    directory: Path, counting: Counting
) -> None:
    folder = await keep(directory, "rtc_1")
    later = [b'{"late":1}', b'{"late":22}']

    def change(name: str) -> None:
        if name == "transcript.json" and later:
            (folder.path / name).write_bytes(later.pop())

    counting.before = change

    record = await upload(folder, counting, NOW)

    key = f"{counting.prefix(BEGAN.date(), 'rtc_1')}/transcript.json"
    assert await counting.get(key, 100) == b'{"late":1}'
    assert record.state == "uploaded"
    assert counting.sent[-1] == "session.json"


async def test_upload_when_the_target_lost_a_file_is_not_proved(
    directory: Path, counting: Counting
) -> None:
    folder = await keep(directory, "rtc_1")
    prefix = counting.prefix(BEGAN.date(), "rtc_1")
    await upload(folder, counting, NOW)
    await counting.delete([f"{prefix}/client.ogg"])
    await asyncio.to_thread(folder.update_session, {"more": 1})

    with pytest.raises(NotVerified, match=r"client\.ogg"):
        await upload(folder, counting, NOW)


async def test_upload_when_the_target_is_another_sends_everything_there(
    directory: Path, tmp_path: Path
) -> None:
    folder = await keep(directory, "rtc_1")
    one, other = (Counting(ArchiveOptions((tmp_path / name).as_uri())) for name in ("one", "other"))

    await upload(folder, one, NOW)
    record = await upload(folder, other, NOW)

    assert other.sent == one.sent
    assert record.url == other.url


@given(
    st.dictionaries(
        st.sampled_from(sorted(UploadRecord("u").to_json())),
        st.none() | st.text(max_size=5) | st.integers() | st.dictionaries(st.text(), st.none()),
    )
)
def test_upload_record_of_any_json_is_one(value: dict[str, Any]) -> None:
    record = UploadRecord.from_json({**value, "url": "u"}, "u")

    assert record.url == "u"


def test_upload_record_when_read_back_is_the_same() -> None:
    record = UploadRecord(
        "s3://b/c", "refused", 3, "no", BEGAN, NOW, None, {"a": Sent(1, 2, "f" * 64, '"e"')}
    )

    assert UploadRecord.from_json(json.loads(json.dumps(record.to_json())), "s3://b/c") == record
    assert UploadRecord.from_json(record.to_json(), "s3://other") == UploadRecord("s3://other")


# -- all of them


@asynccontextmanager
async def uploading(
    directory: Path,
    upload_to: ArchiveOptions,
    options: UploaderOptions = QUICK,
    live: frozenset[str] = frozenset(),
) -> AsyncIterator[Store]:
    store_options = StoreOptions(directory, upload=upload_to, uploader=options)
    async with running_store(store_options, live.__contains__) as store:
        await store.current()
        yield store


async def state_of(store: Store, conversation_id: str) -> UploadState | None:
    known = await store.index.get(conversation_id)
    return None if known is None else known.upload.state


def is_remote(store: Store, conversation_id: str) -> Any:
    async def check() -> bool:
        known = await store.index.get(conversation_id)
        return known is not None and not known.is_local and known.upload.state == "uploaded"

    return check


def in_state(store: Store, conversation_id: str, state: UploadState) -> Any:
    async def check() -> bool:
        return await state_of(store, conversation_id) == state

    return check


async def test_uploader_when_told_uploads_and_shows_it_in_the_index(
    directory: Path, archive_options: ArchiveOptions
) -> None:
    options = dataclasses.replace(QUICK, scan_interval_s=3600.0, rest_s=3600.0)
    async with uploading(directory, archive_options, options) as store:
        folder = await keep(directory, "rtc_1", "Hello.")

        store.tell_finished(folder)
        await until_async(in_state(store, "rtc_1", "uploaded"))

        assert store.archive is not None
        assert "session.json" in await names(store.archive, "rtc_1")
        assert folder.path.is_dir()
        page = await store.index.search(Query(upload="uploaded", q="hello"))
        assert [found.id for found in page.conversations] == ["rtc_1"]


async def test_uploader_when_it_starts_finds_what_is_not_uploaded_yet(
    directory: Path, archive_options: ArchiveOptions
) -> None:
    for n in range(5):
        await keep(directory, f"rtc_{n}", started_at=BEGAN + timedelta(days=n))

    async with uploading(directory, archive_options) as store:
        for n in range(5):
            await until_async(in_state(store, f"rtc_{n}", "uploaded"))


async def test_uploader_when_so_set_deletes_what_is_uploaded_and_still_knows_it(
    directory: Path, archive_options: ArchiveOptions
) -> None:
    folder = await keep(directory, "rtc_1", "Hello.")
    options = dataclasses.replace(QUICK, delete_after=True)

    async with uploading(directory, archive_options, options) as store:
        await until_async(is_remote(store, "rtc_1"))

        assert not await asyncio.to_thread(folder.path.exists)
        page = await store.index.search(Query(q="hello"))
        assert [(c.id, c.upload.state) for c in page.conversations] == [("rtc_1", "uploaded")]
        assert store.archive is not None
        assert "transcript.json" in await names(store.archive, "rtc_1")


async def test_uploader_when_a_call_is_live_or_being_mixed_waits(
    directory: Path, archive_options: ArchiveOptions
) -> None:
    await keep(directory, "rtc_live", state="live", end=None)
    mixing = await keep(directory, "rtc_mixing", mix={"state": "running"})
    await keep(directory, "rtc_other")
    live = frozenset({"rtc_live"})

    async with uploading(directory, archive_options, QUICK, live) as store:
        await until_async(in_state(store, "rtc_other", "uploaded"))
        assert await state_of(store, "rtc_live") == "none"
        assert await state_of(store, "rtc_mixing") == "none"

        await asyncio.to_thread(mixing.update_session, {"mix": {"state": "done"}})
        await until_async(in_state(store, "rtc_mixing", "uploaded"))
        assert await state_of(store, "rtc_live") == "none"


async def test_uploader_when_the_process_of_a_call_died_waits_until_it_is_completed(
    directory: Path, archive_options: ArchiveOptions
) -> None:
    folder = await keep(directory, "rtc_1", state="live", end=None)
    await keep(directory, "rtc_2")

    async with uploading(directory, archive_options) as store:
        await until_async(in_state(store, "rtc_2", "uploaded"))
        assert await state_of(store, "rtc_1") == "none"

        await asyncio.to_thread(folder.update_session, {"state": "unfinished"})
        store.tell_finished(folder)
        await until_async(in_state(store, "rtc_1", "uploaded"))


@pytest.mark.parametrize("work", ["mix", "waveform"])
async def test_uploader_when_a_rendering_waits_does_so_too(
    directory: Path, archive_options: ArchiveOptions, work: str
) -> None:
    folder = await keep(directory, "rtc_1", **{work: {"state": "waiting"}})
    await keep(directory, "rtc_2")

    async with uploading(directory, archive_options) as store:
        await until_async(in_state(store, "rtc_2", "uploaded"))
        assert await state_of(store, "rtc_1") == "none"

        await asyncio.to_thread((folder.path / "waveform.json").write_text, "{}")
        await asyncio.to_thread(folder.update_session, {work: {"state": "done"}})
        store.tell_finished(folder)
        await until_async(in_state(store, "rtc_1", "uploaded"))
        assert store.archive is not None
        assert "waveform.json" in await names(store.archive, "rtc_1")


async def test_uploader_when_another_uses_the_folder_comes_back_to_it(
    directory: Path, archive_options: ArchiveOptions
) -> None:
    folder = await keep(directory, "rtc_1")
    async with locks.using(folder), uploading(directory, archive_options) as store:
        assert store.uploader is not None
        await until(lambda: store.uploader is not None and store.uploader.status().waiting == 1)
        assert await state_of(store, "rtc_1") == "none"
        held = store

    async with uploading(directory, archive_options) as store:
        await until_async(in_state(store, "rtc_1", "uploaded"))
    assert held is not store


async def test_uploader_when_given_up_is_at_rest_until_somebody_asks(
    directory: Path, tmp_path: Path
) -> None:
    target = tmp_path / "archive"
    target.write_text("a file where a folder should be")
    folder = await keep(directory, "rtc_1")
    options = dataclasses.replace(QUICK, give_up_s=0.0)

    async with uploading(directory, ArchiveOptions(target.as_uri()), options) as store:
        await until_async(in_state(store, "rtc_1", "failed"))
        known = await store.index.get("rtc_1")
        assert known is not None
        assert known.upload.error
        assert store.uploader is not None
        assert store.uploader.status().failing_state == "failed"
        target.unlink()

        await store.uploader.retry(folder)
        await until_async(in_state(store, "rtc_1", "uploaded"))

        assert store.uploader.status().failing is None


@pytest.mark.slow
async def test_uploader_when_credentials_are_refused_says_so_and_goes_on_when_they_work(
    directory: Path, s3: S3
) -> None:
    folder = await keep(directory, "rtc_1")
    target = s3.options(await asyncio.to_thread(s3.bucket))
    options = dataclasses.replace(QUICK, delete_after=True)
    async with s3.refusing(), uploading(directory, target, options) as store:
        await until_async(in_state(store, "rtc_1", "refused"))
        known = await store.index.get("rtc_1")
        assert known is not None
        assert "InvalidAccessKeyId" in (known.upload.error or "")
    assert await asyncio.to_thread(files_of, folder)

    async with uploading(directory, target, options) as store:
        await until_async(in_state(store, "rtc_1", "uploaded"))


@pytest.mark.slow
async def test_uploader_when_the_target_does_not_answer_keeps_everything(
    directory: Path, s3: S3
) -> None:
    folder = await keep(directory, "rtc_1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        unreachable = s3.options("bucket", port=closed.getsockname()[1])
        options = dataclasses.replace(QUICK, delete_after=True)

        async with uploading(directory, unreachable, options) as store:
            await until_async(in_state(store, "rtc_1", "waiting"))
            known = await store.index.get("rtc_1")

    assert known is not None
    assert known.upload.error
    assert await asyncio.to_thread(files_of, folder)
    record = await asyncio.to_thread(read_object, folder.path / "upload.json")
    assert record["attempts"] >= 1
    assert record["next_at"] is not None


async def test_uploader_when_restarted_waits_until_the_next_attempt_is_due(
    directory: Path, archive_options: ArchiveOptions
) -> None:
    folder = await keep(directory, "rtc_1")
    await keep(directory, "rtc_2")
    soon = datetime.now(UTC) + timedelta(hours=1)
    url = Archive(archive_options).url
    early = UploadRecord(url, "waiting", 3, "no answer", BEGAN, soon)
    await asyncio.to_thread(write_record, folder, early)

    async with uploading(directory, archive_options) as store:
        await until_async(in_state(store, "rtc_2", "uploaded"))

        assert await state_of(store, "rtc_1") == "waiting"


async def test_uploader_when_the_index_is_away_keeps_the_folder_until_it_is_back(
    directory: Path, archive_options: ArchiveOptions, tmp_path: Path
) -> None:
    folder: Folder = await keep(directory, "rtc_1")
    blocked = tmp_path / "db"
    blocked.write_text("a file where a folder should be")
    options = StoreOptions(
        directory,
        url=f"sqlite:///{blocked / 'index.db'}",
        upload=archive_options,
        uploader=dataclasses.replace(QUICK, delete_after=True),
    )
    async with running_store(options, lambda _: False) as store:

        def is_there() -> bool:
            return read_record(folder, Archive(archive_options).url).state == "uploaded"

        async def is_uploaded_there() -> bool:
            return await asyncio.to_thread(is_there)

        await until_async(is_uploaded_there)
        assert folder.path.is_dir()

        blocked.unlink()
        await until(lambda: store.failing is None)
        await until_async(is_remote(store, "rtc_1"))

    assert not await asyncio.to_thread(folder.path.exists)
