"""Where a conversation is found: in its folder, at the target, or in nobody's reach."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from relay.stores.archive import ArchiveOptions
from relay.stores.database import IndexUnavailable
from relay.stores.index import Index
from relay.stores.kept import Kept, KeptElsewhere, OutOfReach, RemoteFile
from relay.stores.store import Store, StoreOptions, prepared_store
from tests.stores.conversations import entry, keep

AUDIO = b"OggS" + bytes(range(256)) * 20


def nobody_is_live(_call_id: str) -> bool:
    return False


async def uploaded(
    store: Store, directory: Path, conversation_id: str, audio: bytes = AUDIO
) -> None:
    """A conversation that is only at the target."""
    folder = await keep(directory, conversation_id, "Good morning.", audio=audio)
    assert store.uploader is not None
    await store.uploader.retry(folder)
    assert await asyncio.to_thread(store.folders.find, conversation_id) is None


@pytest.fixture
def options(tmp_path: Path, archive_options: ArchiveOptions) -> StoreOptions:
    options = StoreOptions(tmp_path / "calls", upload=archive_options)
    uploader = dataclasses.replace(options.uploader, delete_after=True)
    return dataclasses.replace(options, uploader=uploader)


async def content_of(file: object, start: int = 0, end: int | None = None) -> bytes:
    assert isinstance(file, RemoteFile)
    end = file.size if end is None else end
    return b"".join([portion async for portion in file.read(start, end)])


async def test_find_of_an_uploaded_conversation_reads_all_of_it_at_the_target(
    options: StoreOptions,
) -> None:
    async with prepared_store(options, nobody_is_live) as store:
        await uploaded(store, options.directory, "rtc_1")
        kept = await store.find("rtc_1")
        assert kept is not None
        session, transcript = await kept.session(), await kept.transcript()
        sides = [await kept.audio(side) for side in ("client", "upstream", "mix")]
        audio = await kept.file("client.ogg")
        whole, part = await content_of(audio), await content_of(audio, 4, 260)
        missing = await kept.file("mix.ogg")

    assert (kept.id, session["id"], session["state"]) == ("rtc_1", "rtc_1", "ended")
    assert [turn["text"] for turn in transcript["turns"]] == ["Good morning."]
    assert sides == [("client.ogg",), (), ()]
    assert (whole, part) == (AUDIO, bytes(range(256)))
    assert missing is None


async def test_find_while_an_uploads_folder_is_taken_away_reads_at_the_target(
    options: StoreOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Kept | None] = []
    async with prepared_store(options, nobody_is_live) as store:
        set_remote = store.index.set_remote

        async def after_a_look(_: Index, conversation_id: str) -> None:
            found.append(await store.find(conversation_id))
            await set_remote(conversation_id)

        monkeypatch.setattr(Index, "set_remote", after_a_look)
        await uploaded(store, options.directory, "rtc_1")
        (kept,) = found
        assert kept is not None
        audio = await content_of(await kept.file("client.ogg"))

    assert audio == AUDIO


async def test_find_of_a_conversation_here_takes_its_folder(options: StoreOptions) -> None:
    async with prepared_store(options, nobody_is_live) as store:
        folder = await keep(options.directory, "rtc_1", "Good morning.")
        kept: Kept | None = await store.find("rtc_1")
        assert kept is not None
        found = await kept.session(), await kept.transcript(), await kept.audio("client")
        paths = await kept.file("client.ogg"), await kept.file("mix.ogg")

    assert found[0]["id"] == "rtc_1"
    assert found[1]["turns"][0]["text"] == "Good morning."
    assert found[2] == ("client.ogg",)
    assert paths == (folder.path / "client.ogg", None)


async def test_find_of_what_nobody_has_is_nothing(options: StoreOptions) -> None:
    async with prepared_store(options, nobody_is_live) as store:
        await uploaded(store, options.directory, "rtc_1")
        found = [await store.find(one) for one in ("rtc_", "rtc_11", "../rtc_1", "a\0b", "")]

    assert found == [None] * 5


async def test_find_of_what_is_gone_from_the_target_is_nothing(options: StoreOptions) -> None:
    async with prepared_store(options, nobody_is_live) as store:
        await uploaded(store, options.directory, "rtc_1")
        kept = await store.find("rtc_1")
        assert store.archive is not None
        assert kept is not None
        audio = await kept.file("client.ogg")
        keys = [found.key for found in await store.archive.list("2026-03-14/rtc_1")]
        await store.archive.delete(keys)
        found = await store.find("rtc_1")
        with pytest.raises(FileNotFoundError):
            await content_of(audio)

    assert found is None


async def test_find_in_another_relays_directory_says_whom_to_ask(tmp_path: Path) -> None:
    options = StoreOptions(tmp_path / "calls")
    async with prepared_store(options, nobody_is_live) as store:
        await Index(store.index.database, "elsewhere").put([entry("rtc_1")])

        with pytest.raises(KeptElsewhere):
            await store.find("rtc_1")


async def test_find_of_an_upload_without_a_target_says_what_to_set(tmp_path: Path) -> None:
    options = StoreOptions(tmp_path / "calls")
    async with prepared_store(options, nobody_is_live) as store:
        await store.index.put([entry("rtc_1", is_local=False)])

        with pytest.raises(OutOfReach, match="upload_url"):
            await store.find("rtc_1")


async def test_find_without_an_index_knows_of_no_uploads_and_says_so(
    options: StoreOptions, tmp_path: Path
) -> None:
    away = f"sqlite:///{tmp_path / 'file' / 'index.sqlite'}"
    (tmp_path / "file").write_text("")
    with_target = Store(dataclasses.replace(options, url=away), nobody_is_live)
    alone = Store(StoreOptions(options.directory, url=away), nobody_is_live)
    await with_target.open()
    await alone.open()

    with pytest.raises(IndexUnavailable):
        await with_target.find("rtc_1")
    assert await alone.find("rtc_1") is None


async def test_empty_file_at_the_target_is_read_as_nothing(options: StoreOptions) -> None:
    async with prepared_store(options, nobody_is_live) as store:
        await uploaded(store, options.directory, "rtc_1", audio=b"")
        kept = await store.find("rtc_1")
        assert kept is not None

        audio = await kept.file("client.ogg")

        assert await content_of(audio) == b""
