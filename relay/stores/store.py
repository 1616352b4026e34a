"""What is kept of conversations, as one thing: for the server, and for the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy.engine import URL

from relay.stores.archive import Archive, ArchiveOptions
from relay.stores.catalogue import Catalogue, CatalogueOptions
from relay.stores.conversation import Conversation
from relay.stores.database import Database, IndexUnavailable
from relay.stores.delete import Eraser
from relay.stores.feed import Feed
from relay.stores.folders import Folder, Folders
from relay.stores.index import Index
from relay.stores.kept import Kept, KeptElsewhere, KeptHere, OutOfReach, kept_there
from relay.stores.reading import is_id, origin_of
from relay.stores.retention import Retention, RetentionOptions
from relay.stores.uploader import Uploader, UploaderOptions, UploaderStatus

INDEX_FILE: Final = "index.sqlite"
RETRY_S: Final = 5.0
_NOT_OPEN: Final = "The index is not open yet"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """`url` of the index; empty: a SQLite file in `directory`. `upload` None: nothing is uploaded;
    `retention` None: everything is kept for ever."""

    directory: Path
    url: str = field(default="", repr=False)
    upload: ArchiveOptions | None = None
    uploader: UploaderOptions = field(default_factory=UploaderOptions)
    catalogue: CatalogueOptions = field(default_factory=CatalogueOptions)
    retention: RetentionOptions | None = None
    retry_s: float = RETRY_S

    @property
    def database_url(self) -> str | URL:
        """With a relative directory, asks where we are."""
        if self.url:
            return self.url
        return URL.create("sqlite", database=str(self.directory.absolute() / INDEX_FILE))


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """At one moment. `failing` is what is wrong with the index or its directory, None where nothing
    is; `waiting` folders are not in it yet. `upload` None: nothing is uploaded."""

    failing: str | None
    waiting: int
    bad: int
    upload: UploaderStatus | None


class Store:
    """One directory with its index, its target and its rules. A directory that cannot be made, and
    a database that is away, are tried again and again; meanwhile all that needs them says so.

    `run` is its only task, and its owner's. `is_live` says which calls run in this process, and is
    asked by any thread. Raises InvalidStoreUrl and InvalidUploadUrl when it is made.
    """

    def __init__(self, options: StoreOptions, is_live: Callable[[str], bool]) -> None:
        self.folders = Folders(options.directory)
        self.archive = None if options.upload is None else Archive(options.upload)
        self._options = options
        self._is_live = is_live
        self._database = Database(options.database_url)
        self._parts: _Parts | None = None
        self._opened = asyncio.Event()
        self._failing: str | None = _NOT_OPEN

    @property
    def index(self) -> Index:
        """Raises IndexUnavailable until the directory is there."""
        return self._open_parts.index

    @property
    def feed(self) -> Feed:
        """Raises IndexUnavailable until the directory is there."""
        return self._open_parts.feed

    @property
    def eraser(self) -> Eraser:
        """Raises IndexUnavailable until the directory is there."""
        return self._open_parts.eraser

    @property
    def uploader(self) -> Uploader | None:
        """None where nothing is uploaded. Raises IndexUnavailable until the directory is there."""
        return self._open_parts.uploader

    @property
    def failing(self) -> str | None:
        """What is wrong with the index or its directory; None where nothing is."""
        return self.status().failing

    @property
    def waiting(self) -> int:
        """Folders that are not in the index yet."""
        return self.status().waiting

    def status(self) -> StoreStatus:
        if self._parts is None:
            return StoreStatus(self._failing, 0, 0, None)
        uploader = self._parts.uploader
        found = self._parts.catalogue.status()
        upload = None if uploader is None else uploader.status()
        return StoreStatus(found.failing, found.waiting, found.bad, upload)

    def tell(self, folder: Folder) -> None:
        """A conversation's folder is new or has changed. From any thread; waits for nothing."""
        if self._parts is not None:  # else the first look at all folders finds it
            self._parts.catalogue.tell(folder)

    def tell_finished(self, folder: Folder) -> None:
        """All of a conversation is written. From any thread; waits for nothing."""
        self.tell(folder)
        if self._parts is not None and self._parts.uploader is not None:
            self._parts.uploader.tell(folder)

    async def find(self, conversation_id: str) -> Kept | None:
        """Where a conversation is kept: here, or where it was uploaded to. None: nowhere.

        Raises KeptElsewhere, OutOfReach, and, where it is not here, IndexUnavailable and
        ArchiveUnavailable.
        """
        folder = await asyncio.to_thread(self.folders.find, conversation_id)
        if folder is not None:
            return KeptHere(folder)
        known = await self._known(conversation_id)
        if known is None:
            return None
        if known.is_local:
            if await self.index.origin_of(conversation_id) not in (None, self.index.origin):
                raise KeptElsewhere(f"{known.id} is in another relay's directory; ask that one")
            if known.upload.state != "uploaded":
                return None  # it was deleted just now; else it may be that only its folder was
        if self.archive is None:
            raise OutOfReach(f"{known.id} is where it was uploaded to: set recording.upload_url")
        return await kept_there(self.archive, known.day, conversation_id)

    async def _known(self, conversation_id: str) -> Conversation | None:
        if not is_id(conversation_id):
            return None
        try:
            return await self.index.get(conversation_id)
        except IndexUnavailable:
            if self.archive is not None:  # it may be there
                raise
            return None

    async def current(self) -> None:
        """Until the index has all that the folders have; its caller gives the deadline."""
        await self._opened.wait()
        await self._open_parts.catalogue.current()

    async def open(self) -> None:
        """Makes the directory, if there is none. Again is fine. Raises OSError."""
        if self._parts is None:
            origin = await asyncio.to_thread(origin_of, self.folders.directory, make=True)
            self._parts = self._build(origin)
            self._opened.set()

    async def prepare(self) -> None:
        """Opens it for one task, without `run`. Raises OSError, IndexUnavailable."""
        await self.open()
        await self._database.prepare()

    async def run(self) -> None:
        """Keeps the index, uploads and deletes, until it is cancelled."""
        while self._parts is None:
            try:
                await self.open()
            except OSError as error:
                self._tell_failing(f"{self.folders.directory}: {error.strerror or error}")
                await asyncio.sleep(self._options.retry_s)
        parts = self._open_parts
        async with asyncio.TaskGroup() as tasks:
            for part in (parts.catalogue, parts.uploader, parts.retention):
                if part is not None:
                    tasks.create_task(part.run())

    async def close(self) -> None:
        """Closes the connections; `run` is over by then. Twice is fine."""
        await self._database.close()

    @property
    def _open_parts(self) -> _Parts:
        if self._parts is None:
            raise IndexUnavailable(self._failing or _NOT_OPEN)
        return self._parts

    def _tell_failing(self, reason: str) -> None:
        if self._failing != reason:
            log.warning("index.failed", reason=reason)
        self._failing = reason

    def _build(self, origin: str) -> _Parts:
        options, index = self._options, Index(self._database, origin)
        feed = Feed(options.directory, index, self._is_live)
        catalogue = Catalogue(feed, options.catalogue)
        eraser = Eraser(feed, self.archive, is_live=self._is_live)
        uploader = retention = None
        if self.archive is not None:
            uploader = Uploader(
                feed,
                self.archive,
                options.uploader,
                is_live=self._is_live,
                on_changed=catalogue.tell,
            )
        if options.retention is not None:
            retention = Retention(feed, eraser, options.retention)
        return _Parts(index, feed, catalogue, eraser, uploader, retention)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What there is once the directory is known."""

    index: Index
    feed: Feed
    catalogue: Catalogue
    eraser: Eraser
    uploader: Uploader | None
    retention: Retention | None


@asynccontextmanager
async def prepared_store(
    options: StoreOptions, is_live: Callable[[str], bool]
) -> AsyncIterator[Store]:
    """A store that answers within the block, and does nothing by itself. Raises what `Store` and
    `prepare` raise."""
    store = Store(options, is_live)
    try:
        await store.prepare()
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def running_store(
    options: StoreOptions, is_live: Callable[[str], bool]
) -> AsyncIterator[Store]:
    """A store that is at work within the block. Raises what `Store` raises, and, at its end, what
    ended its work before."""
    store = Store(options, is_live)
    task = asyncio.create_task(store.run(), name="store")
    try:
        yield store
    finally:
        task.cancel()
        await asyncio.wait([task])
        await store.close()
    if not task.cancelled():
        task.result()
