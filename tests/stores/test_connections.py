"""Connections: whoever uses one may be cancelled at any moment, and nothing stays open."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from relay.stores.connections import Connections, make_sqlite_file
from relay.stores.database import Database, parse_url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def connections(file: Path) -> Connections:
    return Connections(parse_url(f"sqlite:///{file}"), timeout_s=5)


@pytest.fixture
async def database(file: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{file}", timeout_s=5)
    await database.prepare()
    yield database
    await database.close()


def assert_all_closed() -> None:
    """No connection has its thread any more; that of one that was closed ends by itself."""
    for thread in threading.enumerate():
        if "connection_worker" in thread.name:
            thread.join(0.1)
            assert not thread.is_alive()


async def test_connections_when_their_user_is_cancelled_while_one_is_opened_close_it(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    opening = threading.Event()

    def connect_slowly(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        opening.set()
        time.sleep(0.3)
        return connect(*args, **kwargs)

    monkeypatch.setattr("sqlite3.connect", connect_slowly)

    async def use() -> None:
        async with connections.begin("BEGIN"):
            pass

    task = asyncio.create_task(use())
    await asyncio.to_thread(opening.wait)
    task.cancel()
    await asyncio.wait([task], timeout=0.1)
    assert task.cancelled()

    await connections.close()
    await asyncio.to_thread(assert_all_closed)


async def test_connections_when_their_user_is_cancelled_roll_back(database: Database) -> None:
    entered = asyncio.Event()

    async def write() -> None:
        async with database.writing() as connection:
            await connection.execute(sa.text("CREATE TABLE a (b)"))
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await entered.wait()
    task.cancel()
    await asyncio.wait([task])

    async with database.writing() as connection:
        await connection.execute(sa.text("CREATE TABLE a (b)"))  # it is not there


async def test_database_whose_file_is_replaced_under_a_reader_closes_what_he_read(
    database: Database, file: Path
) -> None:
    async with database.reading() as connection:
        await connection.execute(sa.text("SELECT 1"))
        await asyncio.to_thread(file.unlink)
        again = asyncio.create_task(database.prepare())
        await asyncio.sleep(0.05)
        await connection.execute(sa.text("SELECT 1"))
    await again

    assert await database.is_the_same()
    await database.close()
    await asyncio.to_thread(assert_all_closed)


async def test_database_that_is_closed_under_a_reader_waits_for_him(database: Database) -> None:
    async with database.reading() as connection:
        closing = asyncio.create_task(database.close())
        await asyncio.sleep(0.05)
        await connection.execute(sa.text("SELECT 1"))
    await closing

    await asyncio.to_thread(assert_all_closed)


def test_sqlite_file_that_several_make_at_once_is_made_for_all(tmp_path: Path) -> None:
    several = 6
    barrier = threading.Barrier(several)

    def make(file: Path) -> str:
        barrier.wait(5)
        make_sqlite_file(file)
        with closing(sqlite3.connect(file)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        return str(mode)

    with ThreadPoolExecutor(several) as threads:
        for n in range(20):
            assert set(threads.map(make, [tmp_path / f"{n}.sqlite"] * several)) == {"wal"}
