"""One directory of conversations with its index, as a server has it: open as soon as it can be.

A directory that cannot be read or made, and a database that is away, are tried again and again;
meanwhile everything that needs them says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from relay.stores.catalogue import Catalogue
from relay.stores.database import Database, IndexUnavailable
from relay.stores.feed import Feed
from relay.stores.folders import Folder, Folders
from relay.stores.index import Index
from relay.stores.reading import origin_of

INDEX_FILE: Final = "index.sqlite"
RETRY_S: Final = 5.0
CURRENT_TIMEOUT_S: Final = 5.0

log = structlog.get_logger(__name__)


class Library:
    """`run` is its only task, and its owner's. Raises InvalidStoreUrl when it is made."""

    def __init__(
        self,
        directory: Path,
        url: str | None,
        is_live: Callable[[str], bool],
        *,
        retry_s: float = RETRY_S,
    ) -> None:
        self.folders = Folders(directory)
        self._database = Database(url or f"sqlite:///{directory.absolute() / INDEX_FILE}")
        self._is_live = is_live
        self._retry_s = retry_s
        self._index: Index | None = None
        self._catalogue: Catalogue | None = None
        self._opened = asyncio.Event()
        self._failing: str | None = "The index is not open yet"

    @property
    def index(self) -> Index:
        """Raises IndexUnavailable until it is open."""
        if self._index is None:
            raise IndexUnavailable(self._failing or "The index is not open yet")
        return self._index

    @property
    def failing(self) -> str | None:
        """What is wrong; None where nothing is."""
        return self._failing if self._catalogue is None else self._catalogue.status().failing

    @property
    def waiting(self) -> int:
        """Folders that are not in the index yet."""
        return 0 if self._catalogue is None else self._catalogue.status().waiting

    def tell(self, folder: Folder) -> None:
        """A folder is new or has changed. From any thread; waits for nothing."""
        if self._catalogue is not None:  # else the first look at all folders finds it
            self._catalogue.tell(folder)

    async def current(self) -> None:
        """Until the index has all that the folders have; its caller gives the deadline."""
        await self._opened.wait()
        assert self._catalogue is not None
        await self._catalogue.current()

    async def run(self) -> None:
        """Until it is cancelled."""
        origin = await self._origin()
        self._index = Index(self._database, origin)
        catalogue = Catalogue(Feed(self.folders.directory, self._index, self._is_live))
        running = asyncio.create_task(catalogue.run())
        self._catalogue = catalogue
        self._opened.set()
        try:
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def close(self) -> None:
        """Closes the connections; `run` is over by then."""
        await self._database.close()

    async def _origin(self) -> str:
        while True:
            try:
                return await asyncio.to_thread(origin_of, self.folders.directory, make=True)
            except OSError as error:
                reason = f"{self.folders.directory}: {error.strerror or error}"
                if self._failing != reason:
                    log.warning("index.failed", reason=reason)
                self._failing = reason
                await asyncio.sleep(self._retry_s)
