"""The index keeps up with the folders: at once, later, and after the database was away."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.stores import locks
from relay.stores.catalogue import Catalogue, CatalogueOptions
from relay.stores.database import Database, IndexUnavailable
from relay.stores.feed import Feed
from relay.stores.folders import Folders
from relay.stores.index import Index
from relay.stores.query import Query
from relay.stores.reading import origin_of
from tests.stores import postgresql
from tests.stores.conversations import BEGAN, keep
from tests.stores.waiting import WAIT_S, in_background, until, until_async

QUICK = CatalogueOptions(scan_interval_s=3600.0, min_pause_s=0.02, max_pause_s=0.1)
"""No look at all folders that nothing asks for."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "calls"


async def feed_of(
    directory: Path, database: Database, is_live: Callable[[str], bool] = lambda _: False
) -> Feed:
    origin = await asyncio.to_thread(origin_of, directory, make=True)
    return Feed(directory, Index(database, origin), is_live)


@asynccontextmanager
async def running(feed: Feed, options: CatalogueOptions = QUICK) -> AsyncIterator[Catalogue]:
    """A catalogue that has looked at all folders once."""
    catalogue = Catalogue(feed, options)
    async with in_background(catalogue.run()):
        await caught_up(catalogue)
        yield catalogue


async def caught_up(catalogue: Catalogue) -> None:
    async with asyncio.timeout(WAIT_S):
        await catalogue.current()


async def failing(catalogue: Catalogue) -> None:
    await until(lambda: catalogue.status().failing is not None)


def move(path: Path, target: Path) -> None:
    path.rename(target)


def take_away(path: Path, *, leave_empty: bool) -> None:
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink()
    if leave_empty:
        path.touch()


async def ids(feed: Feed, **query: str) -> list[str]:
    page = await feed.index.search(Query(**query))  # type: ignore[arg-type]
    return [conversation.id for conversation in page.conversations]


async def test_catalogue_when_it_starts_finds_the_folders_that_are_there(
    directory: Path, database: Database
) -> None:
    await keep(directory, "rtc_1", "Hello.")
    await keep(directory, "rtc_2", started_at=BEGAN + timedelta(days=40))
    feed = await feed_of(directory, database)

    async with running(feed) as catalogue:
        assert await ids(feed) == ["rtc_2", "rtc_1"]
        assert await ids(feed, q="hello") == ["rtc_1"]
        assert catalogue.status().bad == 0


async def test_catalogue_when_told_of_a_folder_by_another_thread_puts_it_in(
    directory: Path, database: Database
) -> None:
    feed = await feed_of(directory, database)
    async with running(feed) as catalogue:
        folder = await keep(directory, "rtc_1")
        thread = threading.Thread(target=catalogue.tell, args=(folder,))
        thread.start()
        await asyncio.to_thread(thread.join)

        await caught_up(catalogue)

        assert await ids(feed) == ["rtc_1"]


async def test_catalogue_when_told_again_has_the_latest(
    directory: Path, database: Database
) -> None:
    feed = await feed_of(directory, database)
    folder = await keep(directory, "rtc_1")
    async with running(feed) as catalogue:
        for n in range(20):
            await asyncio.to_thread(folder.update_session, {"model": f"model-{n}"})
            catalogue.tell(folder)
            await asyncio.sleep(0)
        await caught_up(catalogue)

        assert await ids(feed, model="model-19") == ["rtc_1"]


async def test_catalogue_when_more_is_told_than_may_wait_looks_at_all_folders(
    directory: Path, database: Database
) -> None:
    feed = await feed_of(directory, database)
    options = CatalogueOptions(scan_interval_s=3600.0, max_waiting=3)
    async with running(feed, options) as catalogue:
        for n in range(12):
            catalogue.tell(await keep(directory, f"rtc_{n}"))
        await asyncio.sleep(0)
        assert catalogue.status().waiting <= 3

        await caught_up(catalogue)

        assert len(await ids(feed)) == 12


async def test_catalogue_when_nobody_tells_it_finds_what_changed_at_its_next_look(
    directory: Path, database: Database
) -> None:
    folder = await keep(directory, "rtc_1", "apples")
    gone = await keep(directory, "rtc_2")
    feed = await feed_of(directory, database)
    async with running(feed, CatalogueOptions(scan_interval_s=0.05)):
        await asyncio.to_thread(folder.update_session, {"end": {"outcome": "failed"}})
        await keep(directory, "rtc_3")
        await asyncio.to_thread(Folders(directory).delete, gone)

        async def is_equal() -> bool:
            return await ids(feed) == ["rtc_3", "rtc_1"]

        async def is_changed() -> bool:
            return await ids(feed, outcome="failed") == ["rtc_1"]

        await until_async(is_equal)
        await until_async(is_changed)


async def test_catalogue_when_a_call_died_with_its_process_tells_that_it_is_unfinished(
    directory: Path, database: Database
) -> None:
    await keep(directory, "rtc_1", state="live", end=None)
    live = {"rtc_1"}
    async with running(await feed_of(directory, database, live.__contains__)):
        pass
    feed = await feed_of(directory, database)
    assert await ids(feed, state="live") == ["rtc_1"]

    async with running(feed):  # the next process: it has no such call
        assert await ids(feed, state="unfinished") == ["rtc_1"]


async def test_catalogue_when_a_folder_is_no_conversation_says_so_once_and_goes_on(
    directory: Path, database: Database
) -> None:
    await keep(directory, "rtc_1")
    bad = await keep(directory, "rtc_2")
    (bad.path / "session.json").write_text("half a li")
    feed = await feed_of(directory, database)

    with capture_logs() as logs:
        async with running(feed, CatalogueOptions(scan_interval_s=0.01)) as catalogue:
            first = catalogue.status().scanned_at
            await until(lambda: catalogue.status().scanned_at != first)
            assert catalogue.status().bad == 1

    assert await ids(feed) == ["rtc_1"]
    refused = [line for line in logs if line["event"] == "index.folder_refused"]
    assert [line["folder"] for line in refused] == ["2026-03-14/rtc_2"]


async def test_catalogue_when_the_disk_is_not_mounted_forgets_nothing(
    directory: Path, database: Database
) -> None:
    await keep(directory, "rtc_1")
    feed = await feed_of(directory, database)
    async with running(feed, CatalogueOptions(scan_interval_s=0.01, max_pause_s=0.05)) as catalogue:
        await asyncio.to_thread(move, directory, directory.with_name("elsewhere"))
        await asyncio.to_thread(directory.mkdir)  # the empty mount point

        await failing(catalogue)

        assert await ids(feed) == ["rtc_1"]
        assert not catalogue.status().is_current
        await asyncio.to_thread(directory.rmdir)
        await asyncio.to_thread(move, directory.with_name("elsewhere"), directory)
        await caught_up(catalogue)
        assert await ids(feed) == ["rtc_1"]


async def test_catalogue_when_two_directories_share_a_database_leaves_the_others_alone(
    tmp_path: Path, database: Database
) -> None:
    one, other = await feed_of(tmp_path / "a", database), await feed_of(tmp_path / "b", database)
    await keep(tmp_path / "a", "rtc_1")
    await keep(tmp_path / "b", "rtc_2")

    async with running(one), running(other):
        assert sorted(await ids(one)) == ["rtc_1", "rtc_2"]


# -- the database goes away and comes back


@pytest.mark.slow
async def test_catalogue_when_postgresql_stops_and_starts_catches_up(
    directory: Path, cluster: postgresql.Cluster
) -> None:
    await asyncio.to_thread(cluster.sql, "CREATE DATABASE relay_restarted")
    database = Database(cluster.url_of("relay_restarted"))
    feed = await feed_of(directory, database)
    await keep(directory, "rtc_0")
    try:
        async with running(feed) as catalogue:
            await asyncio.to_thread(cluster.stop)
            try:
                catalogue.tell(await keep(directory, "rtc_1"))
                await failing(catalogue)
                with pytest.raises(IndexUnavailable, match="index says"):
                    await feed.index.search(Query())
                catalogue.tell(await keep(directory, "rtc_2"))
                await keep(directory, "rtc_3")  # and nobody told
            finally:
                await asyncio.to_thread(cluster.start)
            await caught_up(catalogue)

            assert sorted(await ids(feed)) == ["rtc_0", "rtc_1", "rtc_2", "rtc_3"]
    finally:
        await database.close()


async def test_catalogue_when_the_database_is_not_there_at_first_waits_for_it(
    directory: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "db"
    blocked.write_text("a file where a folder should be")
    database = Database(f"sqlite:///{blocked / 'index.db'}")
    feed = await feed_of(directory, database)
    await keep(directory, "rtc_1")
    catalogue = Catalogue(feed, QUICK)
    async with in_background(catalogue.run()):
        with pytest.raises(IndexUnavailable):
            await feed.index.search(Query())
        await failing(catalogue)

        blocked.unlink()
        await caught_up(catalogue)

        assert await ids(feed) == ["rtc_1"]
    await database.close()


@asynccontextmanager
async def sqlite_index(tmp_path: Path) -> AsyncIterator[tuple[Path, Database]]:
    path = tmp_path / "index.db"
    database = Database(f"sqlite:///{path}", timeout_s=8.0)
    try:
        yield path, database
    finally:
        await database.close()


async def test_catalogue_when_sqlite_is_locked_by_another_waits_and_catches_up(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.stores.connections.BUSY_TIMEOUT_S", 0.1)
    async with sqlite_index(tmp_path) as (path, database):
        feed = await feed_of(directory, database)
        async with running(feed) as catalogue:
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            catalogue.tell(await keep(directory, "rtc_1"))
            await failing(catalogue)
            assert "locked" in (catalogue.status().failing or "")
            assert await ids(feed) == []  # who reads is not held up
            other.execute("ROLLBACK")
            other.close()

            await caught_up(catalogue)

            assert await ids(feed) == ["rtc_1"]


@pytest.mark.parametrize("after", ["nothing", "an empty file"])
async def test_catalogue_when_the_sqlite_file_is_taken_away_makes_it_again(
    directory: Path, tmp_path: Path, after: str
) -> None:
    await keep(directory, "rtc_1", "Hello.")
    async with sqlite_index(tmp_path) as (path, database):
        feed = await feed_of(directory, database)
        async with running(feed) as catalogue:
            await asyncio.to_thread(take_away, path, leave_empty=after != "nothing")
            catalogue.tell(await keep(directory, "rtc_2"))
            await until(lambda: path.exists() and path.stat().st_size > 0)
            await caught_up(catalogue)

            assert sorted(await ids(feed)) == ["rtc_1", "rtc_2"]
            assert await ids(feed, q="hello") == ["rtc_1"]


async def test_catalogue_when_the_sqlite_file_is_garbage_says_so_and_leaves_it(
    directory: Path, tmp_path: Path
) -> None:
    async with sqlite_index(tmp_path) as (path, database):
        path.write_bytes(b"precious notes, no database. " * 100)
        catalogue = Catalogue(await feed_of(directory, database), QUICK)

        async with in_background(catalogue.run()):
            await failing(catalogue)

        assert "not a database" in (catalogue.status().failing or "")
        assert path.read_bytes().startswith(b"precious")


async def test_catalogue_when_told_after_its_end_does_nothing(
    directory: Path, database: Database
) -> None:
    async with running(await feed_of(directory, database)) as catalogue:
        pass

    catalogue.tell(await keep(directory, "rtc_1"))

    assert catalogue.status().waiting == 0


# -- a race that must not be lost


async def test_feed_when_a_folder_leaves_meanwhile_does_not_bring_it_back(
    directory: Path, database: Database
) -> None:
    feed = await feed_of(directory, database)
    folder = await keep(directory, "rtc_1")

    async def put() -> None:
        for _ in range(10):
            await feed.put([folder])

    async def delete() -> None:
        async with locks.removing(directory):
            await asyncio.to_thread(shutil.rmtree, folder.path)
            await feed.index.remove([folder.id])

    works: list[Callable[[], Awaitable[None]]] = [put, put, delete]
    await asyncio.gather(*(work() for work in works))

    assert await ids(feed) == []
