"""coturn's user database: why it is there before coturn is."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from aioice import turn

from relay.core.turncredentials import time_limited
from relay.turn import Coturn, CoturnOptions, userdb

HOST = "127.0.0.1"
SECRET = "north"


def options() -> CoturnOptions:
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind((HOST, 0))
        port = udp.getsockname()[1]
    return CoturnOptions(secret=SECRET, peers=(HOST,), port=port, listen=(HOST,))


async def allocate_and_delete(options: CoturnOptions, user: str) -> None:
    """Raises aioice's TransactionFailed where the server refuses."""
    credentials = time_limited(SECRET, user, now=time.time(), ttl_s=60)
    endpoint, _ = await turn.create_turn_endpoint(
        asyncio.DatagramProtocol,
        server_addr=(HOST, options.port),
        username=credentials.username,
        password=credentials.credential,
    )
    await endpoint._TurnTransport__inner_protocol.delete()  # type: ignore[attr-defined]


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed")
async def test_first_requests_that_come_together_are_all_served() -> None:
    wanted = options()

    async with Coturn.running(wanted):
        await asyncio.gather(*(allocate_and_delete(wanted, f"user{n}") for n in range(6)))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed")
async def test_database_lacks_no_table_that_coturn_would_make(tmp_path: Path) -> None:
    wanted = options()
    await asyncio.to_thread(userdb.make, tmp_path / "ours.db")

    async with Coturn.running(wanted) as coturn:
        await allocate_and_delete(wanted, "user")
        used = await asyncio.to_thread(tables, coturn._folder / "nobody.db")

    assert used == await asyncio.to_thread(tables, tmp_path / "ours.db")


def test_database_that_is_there_is_kept(tmp_path: Path) -> None:
    userdb.make(tmp_path / "ours.db")

    userdb.make(tmp_path / "ours.db")

    assert "turn_secret" in tables(tmp_path / "ours.db")
