"""Deletion everywhere, with proof; retention; and what must never be deleted."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.core.errors import NotFound
from relay.stores import delete as module
from relay.stores import locks
from relay.stores.archive import Archive, ArchiveOptions, ArchiveRefused
from relay.stores.conversation import Upload
from relay.stores.delete import Eraser, StillLive
from relay.stores.feed import Feed
from relay.stores.folders import Folder
from relay.stores.index import Index
from relay.stores.kept import KeptElsewhere, OutOfReach
from relay.stores.query import Query
from relay.stores.retention import Retention, RetentionOptions
from relay.stores.store import Store, StoreOptions, prepared_store, running_store
from relay.stores.upload import upload
from tests.stores.conversations import BEGAN, entry, keep
from tests.stores.objectstore import S3
from tests.stores.waiting import until_async

LIVE = "rtc_live"
NEEDLE = "xylophonist"


def is_live(conversation_id: str) -> bool:
    return conversation_id == LIVE


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.fixture
async def store(directory: Path, places: tuple[str, ArchiveOptions]) -> AsyncIterator[Store]:
    """On each database and each target; nothing happens by itself."""
    url, target = places
    options = StoreOptions(directory, url=url, upload=target)
    async with prepared_store(options, is_live) as store:
        yield store


async def kept(store: Store, conversation_id: str, *texts: str, **how: Any) -> Folder:
    """A conversation with its folder, indexed."""
    folder = await keep(store.folders, conversation_id, *texts, **how)
    await store.feed.put([folder])
    return folder


async def uploaded(store: Store, conversation_id: str, *texts: str, **how: Any) -> Folder:
    """One that is uploaded, too."""
    folder = await keep(store.folders, conversation_id, *texts, **how)
    assert store.archive is not None
    await upload(folder, store.archive, BEGAN)
    await store.feed.put([folder])
    return folder


async def everything(store: Store) -> list[str]:
    """What is in the directory, at the target and in the index."""
    assert store.archive is not None
    found = await asyncio.to_thread(lambda: [*store.folders.directory.rglob("*")])
    paths = [str(path.relative_to(store.folders.directory)) for path in found if path.is_file()]
    objects = [one.key for day in await store.archive.days()
               for one in await store.archive.list(day.isoformat())]  # fmt: skip
    rows = [one.id for one in (await store.index.search(Query())).conversations]
    return [path for path in paths if not path.startswith((".", "index."))] + objects + rows


# -- one conversation


async def test_delete_when_done_leaves_nothing_anywhere_and_proves_it(store: Store) -> None:
    folder = await uploaded(store, "rtc_1", "Hello.")
    await asyncio.to_thread(folder.put_blob, "a" * 64, b"later")

    with capture_logs() as logs:
        deletion = await store.eraser.delete("rtc_1", by="alice", reason="she asked")

    assert await everything(store) == []
    assert deletion.is_complete
    assert set(deletion.files) == {
        f"blobs/{'a' * 64}", "client.ogg", "events.jsonl", "transcript.json", "session.json"
    }  # fmt: skip
    assert set(deletion.objects) == {
        f"2026-03-14/rtc_1/{name}"
        for name in ("client.ogg", "events.jsonl", "transcript.json", "session.json")
    }
    assert deletion.rows == 1
    assert json.loads(json.dumps(deletion.to_json()))["complete"] is True
    (line,) = [line for line in logs if line["event"] == "conversation.deleted"]
    assert line["session_id"] == "rtc_1"
    assert (line["by"], line["reason"], line["remains"]) == ("alice", "she asked", [])


async def test_delete_when_others_are_there_leaves_them_alone(store: Store) -> None:
    for name in ("rtc_1", "rtc_11", "rtc_2"):
        await uploaded(store, name, "Hello.")

    await store.eraser.delete("rtc_1", by="alice")

    left = await everything(store)
    assert len([name for name in left if "rtc_11" in name or "rtc_2" in name]) == len(left)
    assert len(left) == 2 * (5 + 4 + 1)  # files with upload.json, objects, a row


async def test_delete_when_only_uploaded_deletes_it_there(store: Store) -> None:
    folder = await uploaded(store, "rtc_1", "Hello.")
    await store.feed.leave(folder)

    deletion = await store.eraser.delete("rtc_1", by="alice")

    assert await everything(store) == []
    assert (deletion.files, len(deletion.objects), deletion.rows) == ({}, 4, 1)


async def test_delete_when_the_index_knows_nothing_finds_it_at_the_target(store: Store) -> None:
    folder = await uploaded(store, "rtc_1")
    await store.feed.leave(folder)
    await store.index.remove(["rtc_1"])

    deletion = await store.eraser.delete("rtc_1", by="alice")

    assert await everything(store) == []
    assert len(deletion.objects) == 4


async def test_delete_when_it_was_cut_off_before_can_be_done_again(store: Store) -> None:
    await uploaded(store, "rtc_1")
    assert store.archive is not None
    keys = [one.key for one in await store.archive.list("2026-03-14/rtc_1")]
    await store.archive.delete(keys[:2])

    deletion = await store.eraser.delete("rtc_1", by="alice")

    assert deletion.is_complete
    assert await everything(store) == []


@pytest.mark.parametrize(
    "conversation_id",
    ["rtc_unknown", "", ".", "..", "../rtc_1", "2026-03-14/rtc_1", "a/../../etc", "rtc_1\x00", "*"],
)
async def test_delete_of_what_is_no_conversation_is_not_found(
    store: Store, conversation_id: str
) -> None:
    await uploaded(store, "rtc_1")
    before = await everything(store)

    with pytest.raises(NotFound):
        await store.eraser.delete(conversation_id, by="mallory")

    assert await everything(store) == before


async def test_delete_when_the_call_is_live_refuses(store: Store) -> None:
    await kept(store, LIVE, state="live", end=None)
    before = await everything(store)

    with pytest.raises(StillLive):
        await store.eraser.delete(LIVE, by="alice")

    assert await everything(store) == before


async def test_delete_when_an_upload_does_not_end_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_USE_TIMEOUT_S", 0.05)
    folder = await kept(store, "rtc_1")

    async with locks.using(folder):
        with pytest.raises(locks.FolderInUse):
            await store.eraser.delete("rtc_1", by="alice")

    assert (await store.eraser.delete("rtc_1", by="alice")).is_complete


async def test_delete_when_the_folder_is_another_relays_refuses(
    store: Store, tmp_path: Path
) -> None:
    await Index(store.index.database, "another").put([entry("rtc_1")])

    with pytest.raises(KeptElsewhere):
        await store.eraser.delete("rtc_1", by="alice")

    assert await store.index.get("rtc_1") is not None


async def test_delete_when_it_was_uploaded_to_another_target_refuses(
    store: Store, tmp_path: Path
) -> None:
    folder = await keep(store.folders, "rtc_1")
    other = Archive(ArchiveOptions((tmp_path / "other").as_uri()))
    await upload(folder, other, BEGAN)
    await store.feed.put([folder])

    with pytest.raises(OutOfReach, match=r"upload_url"):
        await store.eraser.delete("rtc_1", by="alice")

    assert await asyncio.to_thread(folder.path.is_dir)


async def test_delete_when_uploads_are_off_and_it_is_remote_refuses(store: Store) -> None:
    await store.index.put([entry("rtc_1", is_local=False, upload=Upload("uploaded"))])
    eraser = Eraser(store.feed, None, is_live=is_live)

    with pytest.raises(OutOfReach):
        await eraser.delete("rtc_1", by="alice")

    assert await store.index.get("rtc_1") is not None


async def test_delete_when_the_directory_has_more_than_the_relays_files_deletes_all(
    store: Store,
) -> None:
    folder = await kept(store, "rtc_1")
    await asyncio.to_thread((folder.path / "notes.txt").write_text, "somebody's")

    deletion = await store.eraser.delete("rtc_1", by="alice")

    assert "notes.txt" in deletion.files
    assert deletion.is_complete


async def test_delete_when_something_stays_says_what(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await uploaded(store, "rtc_1")

    async def keep_it(_keys: object) -> None:
        """A target that says yes and does nothing."""

    assert store.archive is not None
    monkeypatch.setattr(store.archive, "delete", keep_it)

    with capture_logs() as logs:
        deletion = await store.eraser.delete("rtc_1", by="alice")

    assert not deletion.is_complete
    assert len(deletion.remains) == 4
    assert all("2026-03-14/rtc_1/" in name for name in deletion.remains)
    assert logs[-1]["log_level"] == "error"


@pytest.mark.slow
async def test_delete_when_the_target_refuses_deletes_nothing_here(directory: Path, s3: S3) -> None:
    target = s3.options(await asyncio.to_thread(s3.bucket))
    async with prepared_store(StoreOptions(directory, upload=target), is_live) as store:
        folder = await uploaded(store, "rtc_1")
        async with s3.refusing():
            with pytest.raises(ArchiveRefused):
                await store.eraser.delete("rtc_1", by="alice")

        assert await asyncio.to_thread(folder.path.is_dir)
        assert await store.index.get("rtc_1") is not None
        assert (await store.eraser.delete("rtc_1", by="alice")).is_complete


async def test_delete_when_scrubbed_leaves_no_word_in_the_files_of_sqlite(directory: Path) -> None:
    options = StoreOptions(directory)
    async with prepared_store(options, is_live) as store:
        for n in range(30):
            await kept(store, f"rtc_{n}", f"Some words, number {n}.", f"More of them {n}.")
        await kept(store, "rtc_x", f"I am a {NEEDLE}.", model=f"{NEEDLE}-model")
        assert NEEDLE.encode() in await asyncio.to_thread(bytes_of_index, directory)

        await store.eraser.delete("rtc_x", by="alice")

        assert NEEDLE.encode() not in await asyncio.to_thread(bytes_of_index, directory)
        assert await store.index.count(Query(q="words")) == 30
    with closing(sqlite3.connect(directory / "index.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone()


def bytes_of_index(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.glob("index.sqlite*")))


# -- retention


def retention(store: Store, days: int, *, uploads: bool = True) -> Retention:
    return Retention(store.feed, store.eraser, RetentionOptions(days, uploads))


async def test_retention_when_days_have_passed_deletes_what_is_older(store: Store) -> None:
    for age in (0, 1, 2, 3, 40):
        await uploaded(store, f"rtc_{age}", "Hello.", started_at=BEGAN - timedelta(days=age))

    swept = await retention(store, 2).sweep(BEGAN.date())

    assert (swept.deleted, swept.failed) == (2, 0)
    left = await everything(store)
    assert {name for name in left if name.startswith("rtc_")} == {"rtc_0", "rtc_1", "rtc_2"}
    assert not any("rtc_3" in name or "rtc_40" in name for name in left)


async def test_retention_when_uploads_are_to_stay_deletes_here_alone(store: Store) -> None:
    await uploaded(store, "rtc_1", "Hello.")
    await kept(store, "rtc_2", "Hello.")
    later = BEGAN.date() + timedelta(days=30)

    swept = await retention(store, 2, uploads=False).sweep(later)

    assert swept.deleted == 2
    left = await everything(store)
    assert not any("rtc_2" in name for name in left)
    assert [name for name in left if name.startswith("2026-03-14/rtc_1/")]
    page = await store.index.search(Query(q="hello"))
    assert [(found.id, found.is_local) for found in page.conversations] == [("rtc_1", False)]
    assert (await retention(store, 2, uploads=False).sweep(later)).deleted == 0


async def test_retention_when_it_is_uploaded_only_deletes_it_there(store: Store) -> None:
    folder = await uploaded(store, "rtc_1")
    await store.feed.leave(folder)

    swept = await retention(store, 2).sweep(BEGAN.date() + timedelta(days=3))

    assert swept.deleted == 1
    assert await everything(store) == []


async def test_retention_when_a_call_is_live_passes_it_over_and_goes_on(store: Store) -> None:
    await kept(store, LIVE, state="live", end=None)
    await kept(store, "rtc_x")

    swept = await retention(store, 0).sweep(BEGAN.date() + timedelta(days=1))

    assert (swept.deleted, swept.failed) == (1, 1)
    assert swept.reason is not None
    assert LIVE in swept.reason
    assert {one.id for one in (await store.index.search(Query())).conversations} == {LIVE}


async def test_retention_when_the_target_is_away_deletes_no_pointer_to_it(
    directory: Path, tmp_path: Path
) -> None:
    target = tmp_path / "archive"
    options = StoreOptions(directory, upload=ArchiveOptions(target.as_uri()))
    async with prepared_store(options, is_live) as store:
        await store.feed.leave(await uploaded(store, "rtc_1"))
        eraser = Eraser(store.feed, None, is_live=is_live)
        without = Retention(store.feed, eraser, RetentionOptions(1))

        swept = await without.sweep(BEGAN.date() + timedelta(days=9))

        assert (swept.deleted, swept.failed) == (0, 1)
        assert await store.index.get("rtc_1") is not None


async def test_retention_when_it_runs_sweeps_by_itself(directory: Path) -> None:
    await keep(directory, "rtc_old", started_at=BEGAN - timedelta(days=1000))
    options = StoreOptions(directory, retention=RetentionOptions(365, interval_s=0.05))
    async with running_store(options, is_live) as store:

        async def is_swept() -> bool:
            gone = not (directory / f"{day_before(1000)}" / "rtc_old").exists()
            return gone and store.failing is None and await store.index.get("rtc_old") is None

        await until_async(is_swept)


def day_before(days: int) -> date:
    return BEGAN.date() - timedelta(days=days)


# -- the feed's own end of it


async def test_feed_when_a_folder_leaves_keeps_what_was_said_searchable(store: Store) -> None:
    folder = await uploaded(store, "rtc_1", "Hello.")

    await store.feed.leave(folder)

    known = await store.index.get("rtc_1")
    assert known is not None
    assert not known.is_local
    assert [c.id for c in (await store.index.search(Query(q="hello"))).conversations] == ["rtc_1"]
    assert isinstance(store.feed, Feed)
