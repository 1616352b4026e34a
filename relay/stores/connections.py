"""Connections to the index's database, each opened and closed by a task of ours.

Whoever is cancelled while he uses one goes at once and leaves nothing half open: what he began is
ended without him, and `close` waits for that. Drivers do not do it: a SQLite file that is being
opened as its opener is cancelled stays with its thread, and a connection that is in use as its pool
is disposed of is closed by nobody.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from relay.stores.appendfile import FILE_MODE
from relay.stores.folders import FOLDER_MODE

POOL_SIZE: Final = 4
BUSY_TIMEOUT_S: Final = 5.0
"""For another process's write to a SQLite file."""

CONNECT_TIMEOUT_S: Final = 5.0
_BEGIN: Final = "relay_begin"


class Connections:
    """A few connections to one database. `timeout_s` is for a free one, and for a statement."""

    def __init__(self, url: URL, *, timeout_s: float) -> None:
        self._engine = _create_engine(url, timeout_s)
        self._timeout_s = timeout_s
        self._holding: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def begin(self, statement: str) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction: committed at the block's end, rolled back by an error.

        `statement` begins it where SQLite does not do so by itself. Raises what SQLAlchemy raises.
        """
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[AsyncConnection] = loop.create_future()
        commits: asyncio.Future[bool] = loop.create_future()
        holder = asyncio.create_task(self._hold(statement, opened, commits))
        self._holding.add(holder)
        holder.add_done_callback(self._let_go)
        try:
            await asyncio.wait((holder, opened), return_when=asyncio.FIRST_COMPLETED)
            if holder.done():
                holder.result()  # why there is none
            yield opened.result()
        except BaseException as error:
            commits.set_result(False)
            if not isinstance(error, asyncio.CancelledError):
                await asyncio.wait((holder,))
            raise
        commits.set_result(True)
        await asyncio.shield(holder)

    async def close(self) -> None:
        """Closes them, those in use as soon as they are not; waits no longer than `timeout_s`."""
        if self._holding:
            await asyncio.wait(self._holding, timeout=self._timeout_s)
        await self._engine.dispose()

    async def _hold(
        self,
        statement: str,
        opened: asyncio.Future[AsyncConnection],
        commits: asyncio.Future[bool],
    ) -> None:
        engine = self._engine.execution_options(**{_BEGIN: statement})
        async with engine.connect() as connection, connection.begin() as transaction:
            opened.set_result(connection)
            if not await commits:
                await transaction.rollback()

    def _let_go(self, holder: asyncio.Task[None]) -> None:
        self._holding.discard(holder)
        if not holder.cancelled():
            holder.exception()  # who began it was told, or has gone


def make_sqlite_file(path: Path) -> None:
    """Makes it, or leaves it as it is; afterwards it has a write-ahead log. Blocks for at most
    BUSY_TIMEOUT_S; raises OSError and sqlite3.Error."""
    path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    with closing(sqlite3.connect(path, timeout=0)) as connection:
        # Of two that turn it to WAL at once one is refused, whatever timeout it has.
        while not _has_log(connection, deadline):
            time.sleep(0.01)


def _has_log(connection: sqlite3.Connection, deadline: float) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError:
        if time.monotonic() > deadline:
            raise
        return False
    return True


def _create_engine(url: URL, timeout_s: float) -> AsyncEngine:
    is_sqlite = url.get_backend_name() == "sqlite"
    arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S}
    if not is_sqlite:
        arguments = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": timeout_s}
    engine = create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=timeout_s,
        pool_pre_ping=not is_sqlite,
        hide_parameters=True,  # what was said in a call belongs into no error message
        connect_args=arguments,
    )
    if is_sqlite:
        sa.event.listen(engine.sync_engine, "connect", _prepare_connection)
        sa.event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _prepare_connection(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy begins, not the driver
    cursor = connection.cursor()
    for pragma in (
        "synchronous = NORMAL",  # what a power cut takes, the folders give back
        "foreign_keys = ON",
        "secure_delete = ON",  # what is deleted is overwritten
        "temp_store = MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
