"""A store as a server has it: locks, disks that misbehave, a directory that comes late."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import stat
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from relay.stores import locks
from relay.stores.archive import ArchiveOptions
from relay.stores.catalogue import CatalogueOptions
from relay.stores.database import Database, IndexUnavailable, NotStorable
from relay.stores.feed import Feed
from relay.stores.index import Index
from relay.stores.locks import FolderInUse
from relay.stores.query import Query
from relay.stores.reading import origin_of
from relay.stores.store import Store, StoreOptions, prepared_store, running_store
from relay.stores.uploader import UploaderOptions
from tests.stores.conversations import entry, keep
from tests.stores.disk import fill, make_read_only, small_disk
from tests.stores.waiting import until, until_async

QUICK = CatalogueOptions(scan_interval_s=0.05, min_pause_s=0.02, max_pause_s=0.1)


def never(_conversation_id: str) -> bool:
    return False


def add_rule(connection: sa.Connection) -> None:
    """A database that refuses one model, as it would refuse what we did not think of."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            "CREATE TRIGGER refused BEFORE INSERT ON conversations WHEN NEW.model = 'evil' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    else:
        connection.exec_driver_sql(
            "ALTER TABLE conversations ADD CONSTRAINT refused CHECK (model <> 'evil')"
        )


# -- what a database does not take


async def test_index_when_a_number_is_too_large_refuses_that_alone(index: Index) -> None:
    said = "-".join(("what", "was", "said"))  # not in the source that a traceback shows
    with pytest.raises(NotStorable) as raised:
        await index.put([entry("rtc_1", said, bytes=2**70, model=said)])
    assert said not in "".join(traceback.format_exception(raised.value))

    await index.put([entry("rtc_1")])
    assert await index.count(Query()) == 1


async def test_feed_when_one_folder_is_not_storable_puts_the_others_in(
    tmp_path: Path, database: Database
) -> None:
    origin = await asyncio.to_thread(origin_of, tmp_path / "calls", make=True)
    feed = Feed(tmp_path / "calls", Index(database, origin), never)
    async with database.writing() as connection:
        await connection.run_sync(add_rule)
    folders = [
        await keep(feed.directory, "rtc_1"),
        await keep(feed.directory, "rtc_2", model="evil"),
        await keep(feed.directory, "rtc_3"),
    ]

    bad = await feed.put(folders)

    assert [found.name for found in bad] == ["2026-03-14/rtc_2"]
    page = await feed.index.search(Query())
    assert {found.id for found in page.conversations} == {"rtc_1", "rtc_3"}


# -- locks


async def test_lock_when_held_by_another_is_waited_for_and_then_had(tmp_path: Path) -> None:
    folder = await keep(tmp_path, "rtc_1")
    got = asyncio.Event()

    async def second() -> None:
        async with locks.using(folder, timeout_s=10.0):
            got.set()

    async with locks.using(folder):
        with pytest.raises(FolderInUse, match="rtc_1"):
            async with locks.using(folder):
                pass
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        assert not got.is_set()
    await waiting

    assert got.is_set()


async def test_lock_when_the_folder_was_deleted_meanwhile_says_there_is_none(
    tmp_path: Path,
) -> None:
    folder = await keep(tmp_path, "rtc_1")

    async def second() -> None:
        async with locks.using(folder, timeout_s=10.0):
            pass

    async with locks.using(folder):
        waiting = asyncio.create_task(second())
        await asyncio.to_thread(os.rename, folder.path, folder.path.with_name(".deleted-1"))
    with pytest.raises(FileNotFoundError):
        await waiting


async def test_lock_when_its_waiter_is_cancelled_is_free(tmp_path: Path) -> None:
    folder = await keep(tmp_path, "rtc_1")

    async def forever() -> None:
        async with locks.using(folder, timeout_s=10.0):
            await asyncio.Event().wait()

    for _ in range(20):
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    async with locks.using(folder, timeout_s=5.0):
        pass


async def test_index_of_a_directory_is_fed_by_many_and_left_alone(tmp_path: Path) -> None:
    async with locks.feeding(tmp_path), locks.feeding(tmp_path):
        pass
    async with locks.removing(tmp_path):
        task = asyncio.create_task(enter_feeding(tmp_path))
        await asyncio.sleep(0.05)
        assert not task.done()
    await asyncio.wait_for(task, 10)


async def enter_feeding(directory: Path) -> None:
    async with locks.feeding(directory):
        pass


# -- the directory


def test_origin_is_the_same_for_all_who_ask_and_another_for_each_directory(tmp_path: Path) -> None:
    here = origin_of(tmp_path / "a", make=True)

    assert len(here) == 32
    assert origin_of(tmp_path / "a") == origin_of(tmp_path / "a", make=True) == here
    assert origin_of(tmp_path / "b", make=True) != here
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".origin"]
    with pytest.raises(FileNotFoundError):
        origin_of(tmp_path / "c")


async def test_store_when_its_directory_cannot_be_made_waits_for_it(tmp_path: Path) -> None:
    blocked = tmp_path / "calls"
    blocked.write_text("a file where a directory should be")
    options = StoreOptions(blocked, catalogue=QUICK, retry_s=0.02)

    async with running_store(options, never) as store:
        await until(lambda: "calls" in (store.failing or ""))
        with pytest.raises(IndexUnavailable, match="calls"):
            _ = store.index
        store.tell(await keep(tmp_path / "elsewhere", "rtc_x"))  # and waits for nothing
        blocked.unlink()

        async with asyncio.timeout(20):
            await store.current()

        assert await store.index.count(Query()) == 0
        assert store.failing is None


async def test_store_when_prepared_twice_and_closed_twice_is_fine(tmp_path: Path) -> None:
    store = Store(StoreOptions(tmp_path / "calls"), never)
    with pytest.raises(IndexUnavailable, match="not open"):
        _ = store.feed
    await store.prepare()
    await store.prepare()
    await store.close()
    await store.close()


async def test_store_in_a_directory_with_odd_signs_keeps_its_index_there(tmp_path: Path) -> None:
    directory = tmp_path / "a?b#c%20d & é"
    async with prepared_store(StoreOptions(directory), never) as store:
        await store.feed.put([await keep(directory, "rtc_1")])

    assert (directory / "index.sqlite").is_file()
    assert stat.S_IMODE((directory / "index.sqlite").stat().st_mode) == 0o600


# -- the disk


async def test_store_on_a_read_only_disk_indexes_what_is_there(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4096) as disk:
        await asyncio.to_thread(origin_of, disk, make=True)
        await keep(disk, "rtc_1", "Hello.")
        await asyncio.to_thread(make_read_only, disk, read_only=True)
        options = StoreOptions(disk, url=f"sqlite:///{tmp_path / 'index.db'}", catalogue=QUICK)

        async with running_store(options, never) as store:
            async with asyncio.timeout(20):
                await store.current()

            assert await store.index.count(Query(q="hello")) == 1


async def test_store_when_the_disk_is_full_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2048) as disk:
        target = ArchiveOptions((tmp_path / "archive").as_uri())
        quick = UploaderOptions(scan_interval_s=0.05, rest_s=0.0, min_pause_s=0.05, max_pause_s=0.1)
        options = StoreOptions(disk, upload=target, uploader=quick, catalogue=QUICK)
        await asyncio.to_thread(origin_of, disk, make=True)
        await keep(disk, "rtc_1", "Hello.")
        ballast = await asyncio.to_thread(fill, disk)

        with capture_logs() as logs:
            async with running_store(options, never) as store:
                await until(lambda: "index says" in (store.failing or ""))
                await asyncio.to_thread(ballast.unlink)

                async def is_done() -> bool:
                    try:
                        known = await store.index.get("rtc_1")
                    except IndexUnavailable:
                        return False
                    return known is not None and known.upload.state == "uploaded"

                await until_async(is_done)

        assert "index.failed" in {line["event"] for line in logs}


async def test_uploader_when_its_record_cannot_be_written_says_so_and_tries_again(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", 2048) as disk:
        quick = UploaderOptions(scan_interval_s=0.05, rest_s=0.0, min_pause_s=0.05, max_pause_s=0.1)
        options = StoreOptions(
            disk,
            url=f"sqlite:///{tmp_path / 'index.db'}",
            upload=ArchiveOptions((tmp_path / "archive").as_uri()),
            uploader=dataclasses.replace(quick, parallel=1),
            catalogue=QUICK,
        )
        await asyncio.to_thread(origin_of, disk, make=True)
        await keep(disk, "rtc_1")
        ballast = await asyncio.to_thread(fill, disk)
        with capture_logs() as logs:
            async with running_store(options, never) as store:
                await until(lambda: "upload.record_failed" in {one["event"] for one in logs})
                async with asyncio.timeout(20):
                    await store.current()
                assert await store.index.count(Query(upload="uploaded")) == 0
                await asyncio.to_thread(ballast.unlink)

                async def is_uploaded() -> bool:
                    return await store.index.count(Query(upload="uploaded")) == 1

                await until_async(is_uploaded)
