"""The index made again of what there is: the folders, and the target."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from relay.stores.archive import ArchiveOptions
from relay.stores.feed import BATCH
from relay.stores.query import Query
from relay.stores.reindex import reindex
from relay.stores.store import Store, StoreOptions, prepared_store
from relay.stores.upload import upload
from tests.stores.conversations import BEGAN, entry, keep
from tests.stores.objectstore import S3


@pytest.fixture
async def store(tmp_path: Path, places: tuple[str, ArchiveOptions]) -> AsyncIterator[Store]:
    url, target = places
    options = StoreOptions(tmp_path / "calls", url=url, upload=target)
    async with prepared_store(options, lambda _: False) as store:
        yield store


async def ids(store: Store, q: str | None = None) -> list[str]:
    page = await store.index.search(Query(q=q))
    return sorted(found.id for found in page.conversations)


async def put_remote(store: Store, conversation_id: str, *texts: str) -> None:
    """One that is at the target alone, and in no index."""
    assert store.archive is not None
    folder = await keep(store.folders, conversation_id, *texts)
    await upload(folder, store.archive, BEGAN)
    await asyncio.to_thread(store.folders.delete, folder)


async def test_reindex_of_an_empty_index_has_all_that_the_folders_and_the_target_have(
    store: Store,
) -> None:
    await keep(store.folders, "rtc_1", "apples here")
    await keep(store.folders, "rtc_2", "pears here", started_at=BEGAN + timedelta(days=3))
    await put_remote(store, "rtc_3", "apples there")

    done = await reindex(store.feed, store.archive)

    assert (done.local.folders, done.local.indexed, done.remote) == (2, 2, 1)
    assert await ids(store, "apples") == ["rtc_1", "rtc_3"]
    remote = await store.index.get("rtc_3")
    assert remote is not None
    assert (remote.is_local, remote.upload.state, remote.audio) == (
        False,
        "uploaded",
        ("client.ogg",),
    )
    assert remote.bytes > 2000


async def test_reindex_when_done_twice_changes_nothing(store: Store) -> None:
    await keep(store.folders, "rtc_1", "apples")
    await put_remote(store, "rtc_2", "pears")
    await reindex(store.feed, store.archive)
    before = await store.index.search(Query()), await store.index.usage(["day", "key", "model"])

    await reindex(store.feed, store.archive)

    after = await store.index.search(Query()), await store.index.usage(["day", "key", "model"])
    assert after == before


async def test_reindex_when_the_index_says_wrong_things_puts_them_right(store: Store) -> None:
    await keep(store.folders, "rtc_1", "apples")
    await reindex(store.feed)
    (known,) = (await store.index.known(BEGAN.date())).values()
    # The same source: nothing tells that this row is wrong.
    await store.index.put([entry("rtc_1", "lies", source=known.source, model="lie")])
    await store.index.put([entry("rtc_ghost"), entry("rtc_gone", is_local=False)])

    done = await reindex(store.feed, store.archive)

    assert await ids(store) == ["rtc_1"]
    assert await ids(store, "lies") == []
    assert (done.local.removed, done.forgotten) == (1, 1)


async def test_reindex_when_folders_are_bad_reports_them_and_goes_on(store: Store) -> None:
    await keep(store.folders, "rtc_1", "apples")
    bad = await keep(store.folders, "rtc_2", "pears")
    await asyncio.to_thread((bad.path / "session.json").write_text, '{"id": "rtc_')
    day = store.folders.directory / "2026-03-14"
    await asyncio.to_thread((day / "not an id").mkdir)
    await asyncio.to_thread((day / "rtc_file").write_text, "no folder")
    await asyncio.to_thread((store.folders.directory / "2026-13-99").mkdir)

    done = await reindex(store.feed)

    assert await ids(store) == ["rtc_1"]
    assert (done.local.bad, done.local.indexed) == (1, 1)
    assert [found.name for found in done.local.examples] == ["2026-03-14/rtc_2"]


async def test_reindex_when_what_is_at_the_target_is_spoilt_reports_it(store: Store) -> None:
    await put_remote(store, "rtc_1", "apples")
    folder = await keep(store.folders, "rtc_2", "pears")
    assert store.archive is not None
    await upload(folder, store.archive, BEGAN)
    await asyncio.to_thread((folder.path / "session.json").write_text, json.dumps({"id": "x"}))
    await upload(folder, store.archive, BEGAN)
    await asyncio.to_thread(store.folders.delete, folder)

    done = await reindex(store.feed, store.archive)

    assert await ids(store) == ["rtc_1"]
    assert len(done.bad) == 1
    assert "rtc_2" in done.bad[0].name


async def test_reindex_tells_its_progress(store: Store) -> None:
    count = BATCH + 5
    for n in range(count):
        await keep(store.folders, f"rtc_{n}")
    told: list[tuple[int, int]] = []

    done = await reindex(store.feed, progress=lambda at, of: told.append((at, of)))

    assert done.local.indexed == count
    assert told[-1] == (count, count)
    assert [at for at, _ in told] == sorted(at for at, _ in told)
    assert len(told) > 2


@pytest.mark.slow
async def test_reindex_when_the_target_is_away_forgets_nothing_and_says_so(
    tmp_path: Path, s3: S3
) -> None:
    target = s3.options(await asyncio.to_thread(s3.bucket))
    options = StoreOptions(tmp_path / "calls", upload=target)
    async with prepared_store(options, lambda _: False) as store:
        await keep(store.folders, "rtc_1", "apples")
        await put_remote(store, "rtc_2", "pears")
        await reindex(store.feed, store.archive)

        async with s3.refusing():
            done = await reindex(store.feed, store.archive)

        assert done.failing is not None
        assert await ids(store) == ["rtc_1", "rtc_2"]
