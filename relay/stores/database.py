"""The index's database: transactions with a deadline, its newest version.

SQLite by default, one file in WAL mode; PostgreSQL by asyncpg. Nothing is lost with it: it can be
made again from the folders.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from sqlalchemy.ext.asyncio import AsyncConnection

from relay.stores import migrations
from relay.stores.connections import Connections, make_sqlite_file

TIMEOUT_S: Final = 15.0
"""For a transaction, the wait for a free connection included."""

_REFUSED: Final = "The index does not take what it was given"
"""Without the database's own words, for they may have what was said in a call."""


class InvalidStoreUrl(ValueError):  # named by the situation
    """`store.url` names no database that can be used; the message says what would."""


class IndexUnavailable(Exception):  # named by the situation
    """The database does not answer, or not as it should; the message is one line."""


def parse_url(url: str | URL) -> URL:
    """`sqlite:///FILE` or `postgresql+asyncpg://…`, the driver may be left out. Raises
    InvalidStoreUrl."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidStoreUrl("store.url is no URL of a database") from None
    match parsed.drivername:
        case "sqlite" | "sqlite+aiosqlite":
            if parsed.database in (None, "", ":memory:") or parsed.host:
                raise InvalidStoreUrl("store.url needs a file: sqlite:///relative or ////absolute")
            return parsed.set(drivername="sqlite+aiosqlite")
        case "postgresql" | "postgres" | "postgresql+asyncpg":
            if find_spec("asyncpg") is None:
                raise InvalidStoreUrl("store.url needs a driver: install relay[postgresql]")
            return parsed.set(drivername="postgresql+asyncpg")
    raise InvalidStoreUrl("store.url begins with sqlite:// or postgresql+asyncpg://")


class NotStorable(Exception):  # named by the situation
    """The database answers, and does not take what it was given; the message is one line."""


class Database:
    """One database, for one event loop."""

    def __init__(self, url: str | URL, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._timeout_s = timeout_s
        self._connections: Connections | None = None
        self._scripts: ScriptDirectory | None = None
        self._file: tuple[int, int] | None = None
        self._preparing = asyncio.Lock()

    @property
    def shown(self) -> str:
        """Its URL, without a password."""
        return self.url.render_as_string(hide_password=True)

    async def prepare(self) -> None:
        """Makes it, or brings it to the newest version. Raises IndexUnavailable.

        Again is fine, and quick. A SQLite file that was taken away or replaced is made anew.
        """
        async with self._preparing:
            await self._prepare()

    async def _prepare(self) -> None:
        if self._scripts is None:
            self._scripts = await asyncio.to_thread(migrations.load)
        await self._connect()
        if self.is_sqlite:
            await self._prepare_file()
        try:
            async with self.writing() as connection:
                await connection.run_sync(migrations.upgrade, self._scripts)
        except migrations.NewerDatabase as error:
            raise IndexUnavailable(str(error)) from None
        if self.is_sqlite:
            self._file = await asyncio.to_thread(_identity, self._path)

    async def probe(self) -> None:
        """Shows that it answers and takes writes; changes nothing. Raises IndexUnavailable."""
        await self._connect()
        async with self.writing() as connection:
            await connection.execute(sa.select(1))

    async def is_the_same(self) -> bool:
        """Whether it is still what `prepare` prepared; False if its file was taken away."""
        if self._file is None:
            return not self.is_sqlite
        return await asyncio.to_thread(_identity, self._path) == self._file

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction. Raises IndexUnavailable, NotStorable."""
        async with self._transaction("BEGIN") as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """The same, to write: committed at its end."""
        # A transaction that turns from reading to writing is refused when another has written.
        async with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    async def truncate_log(self) -> None:
        """Takes what was deleted out of SQLite's write-ahead log, if no other is reading it."""
        if self.is_sqlite:
            async with self.reading() as connection:
                await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    async def close(self) -> None:
        """Closes all connections. Twice is fine."""
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.close()

    async def _connect(self) -> None:
        if self._connections is None:
            self._connections = await asyncio.to_thread(
                Connections, self.url, timeout_s=self._timeout_s
            )

    @asynccontextmanager
    async def _transaction(self, begin: str) -> AsyncIterator[AsyncConnection]:
        if self._connections is None:
            raise IndexUnavailable("The index is not open")
        async with self._deadline(), self._connections.begin(begin) as connection:
            yield connection

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except (OSError, NoFreeConnection) as error:  # TimeoutError is an OSError
            raise IndexUnavailable(_line(error)) from error
        except OverflowError as error:  # SQLite's driver knows integers of 64 bits
            raise NotStorable(_REFUSED) from error
        except DBAPIError as error:
            if _is_about_data(error):
                raise NotStorable(_REFUSED) from error
            raise IndexUnavailable(_line(error.orig or error)) from error
        except StatementError as error:  # it did not even get to the driver
            raise NotStorable(_REFUSED) from error

    # -- SQLite's file

    @property
    def _path(self) -> Path:
        assert self.url.database is not None
        return Path(self.url.database)

    async def _prepare_file(self) -> None:
        if self._file is not None and not await self.is_the_same():
            await self.close()  # its connections hold a file nobody sees any more
            await self._connect()
        try:
            await asyncio.to_thread(make_sqlite_file, self._path)
        except (OSError, sqlite3.Error) as error:
            raise IndexUnavailable(_line(error)) from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_about_data(error: DBAPIError) -> bool:
    """Whether something was wrong with what was written, not with the database."""
    if isinstance(error, sa.exc.DataError | sa.exc.IntegrityError):
        return True
    # asyncpg's own checks are ValueErrors; what PostgreSQL itself says comes with its SQLSTATE:
    # data exception, constraint violation, program limit (a word that is too long for an index).
    sqlstate = str(getattr(error.orig, "sqlstate", None) or "")
    cause = None if error.orig is None else error.orig.__cause__
    return isinstance(cause, ValueError) or sqlstate[:2] in ("22", "23", "54")


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return f"The index says: {text}"[:300]
