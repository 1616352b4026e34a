"""The index of all conversations: what is stored where, searched and added up.

It is made of the folders and can be made of them again at any time (`reindex`). Several processes
may share one; the rows of a directory are that directory's alone (`origin`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from relay.core.usage import CallUsage, UsageLine
from relay.core.usagetotals import GroupBy, UsageRow
from relay.stores import query as sql
from relay.stores.conversation import Conversation, Entry, State, Turn, UploadState
from relay.stores.database import Database
from relay.stores.query import MAX_LIMIT, Page, Query
from relay.stores.rows import charge_values, conversation_of, conversation_values
from relay.stores.schema import CHARGES, CONVERSATIONS, TRANSCRIPTS
from relay.stores.search import Hit, body_of, hits_of, marked

MAX_BATCH: Final = 200
"""Conversations in one transaction."""

_PORTION: Final = 100
_REHEARSED: Final = Entry(
    Conversation(".rehearsed", date(2000, 1, 1), "ended", datetime(2000, 1, 1, tzinfo=UTC)),
    CallUsage((UsageLine("response", None),)),
    (Turn("", None, "rehearsed"),),
    "",
)


@dataclass(frozen=True, slots=True)
class Known:
    """What the index has of a conversation, to be compared with its folder."""

    id: str
    day: date
    source: str
    state: State
    upload: UploadState
    is_local: bool


class Index:
    """Queries and changes. Everything raises IndexUnavailable where the database does not answer
    in time; `origin` names the directory whose conversations are put in."""

    def __init__(self, database: Database, origin: str) -> None:
        self.database = database
        self.origin = origin
        self._is_sqlite = database.is_sqlite

    # -- asking

    async def get(self, conversation_id: str) -> Conversation | None:
        """One conversation."""
        select = sa.select(CONVERSATIONS).where(CONVERSATIONS.c.id == conversation_id)
        async with self.database.reading() as connection:
            row = (await connection.execute(select)).mappings().first()
        return None if row is None else conversation_of(row)

    async def origin_of(self, conversation_id: str) -> str | None:
        """The directory that has its folder; None: it is unknown, or is in none any more."""
        columns = CONVERSATIONS.c
        select = sa.select(columns.origin).where(columns.id == conversation_id, columns.is_local)
        async with self.database.reading() as connection:
            return (await connection.execute(select)).scalar()

    async def search(self, query: Query, *, cursor: str | None = None, limit: int = 50) -> Page:
        """A page of at most `limit` (1 to MAX_LIMIT) conversations. Raises InvalidRequest for a
        cursor that is none."""
        limit = min(max(limit, 1), MAX_LIMIT)
        select = sql.page(query, cursor, limit, is_sqlite=self._is_sqlite)
        async with self.database.reading() as connection:
            rows = (await connection.execute(select)).mappings().all()
            found = {row["num"]: conversation_of(row) for row in rows[:limit]}
            hits = await self._hits(connection, query, found)
        last = list(found.values())[-1] if len(rows) > limit else None
        return Page(
            conversations=tuple(found.values()),
            hits=hits,
            cursor=None if last is None else sql.cursor_after(last),
        )

    async def count(self, query: Query) -> int:
        """How many conversations a query finds."""
        conditions = sql.selection(query, is_sqlite=self._is_sqlite)
        select = sa.select(sa.func.count()).select_from(CONVERSATIONS).where(*conditions)
        async with self.database.reading() as connection:
            return int((await connection.execute(select)).scalar_one())

    async def usage(self, by: Sequence[GroupBy], query: Query | None = None) -> list[UsageRow]:
        """Sums as `core.usagetotals.aggregate` gives them, of the conversations of a query."""
        return await asyncio.to_thread(list, await self.usage_sums(by, query))

    async def usage_sums(self, by: Sequence[GroupBy], query: Query | None = None) -> sql.UsageSums:
        """The same, to be read by a thread, row by row."""
        query = query or Query()
        calls = sql.calls_by(query, by, is_sqlite=self._is_sqlite)
        charges = sql.charges_by(query, by, is_sqlite=self._is_sqlite)
        async with self.database.reading() as connection:
            return sql.UsageSums(
                await _groups(connection, calls, by), await _groups(connection, charges, by)
            )

    async def _hits(
        self, connection: AsyncConnection, query: Query, found: Mapping[int, Conversation]
    ) -> dict[str, tuple[Hit, ...]]:
        terms = query.terms
        if not found or all(term.is_excluded for term in terms):
            return {}
        select = marked(terms, list(found), is_sqlite=self._is_sqlite)
        rows = (await connection.execute(select)).all()
        return await asyncio.to_thread(
            lambda: {found[num].id: hits_of(body, outline) for num, body, outline in rows}
        )

    # -- what it is compared by

    async def days(self) -> list[date]:
        """The days of this directory's conversations, the newest first."""
        columns = CONVERSATIONS.c
        select = sa.select(columns.day).distinct().where(self._own()).order_by(columns.day.desc())
        async with self.database.reading() as connection:
            return list((await connection.execute(select)).scalars())

    async def known(self, day: date) -> dict[str, Known]:
        """This directory's conversations of a day, by id."""
        columns = CONVERSATIONS.c
        select = sa.select(
            columns.id, columns.day, columns.source, columns.state, columns.upload_state,
            columns.is_local,
        ).where(self._own(), columns.day == day)  # fmt: skip
        async with self.database.reading() as connection:
            rows = (await connection.execute(select)).all()
        return {row.id: Known(*row) for row in rows}

    async def uploaded_before(self, day: date, limit: int = MAX_BATCH) -> list[Conversation]:
        """The oldest conversations from before a day that are in no directory any more."""
        columns = CONVERSATIONS.c
        select = (
            sa.select(CONVERSATIONS)
            .where(columns.day < day, sa.not_(columns.is_local))
            .order_by(columns.day, columns.id)
            .limit(limit)
        )
        async with self.database.reading() as connection:
            return [conversation_of(row) for row in (await connection.execute(select)).mappings()]

    # -- changing

    async def put(self, entries: Sequence[Entry]) -> None:
        """Puts conversations in, or in the place of what there was of them; all or none."""
        latest = {entry.conversation.id: entry for entry in entries}
        for at in range(0, len(latest), MAX_BATCH):
            async with self.database.writing() as connection:
                await self._put(connection, list(latest.values())[at : at + MAX_BATCH])

    async def rehearse(self) -> None:
        """Puts something in and takes it back: shows that the database can be written to, and has
        SQLAlchemy do what it does once, for 50 ms, before there are calls that would wait."""
        async with self.database.writing() as connection, connection.begin_nested() as rehearsal:
            await self._put(connection, [_REHEARSED])
            await rehearsal.rollback()

    async def _put(self, connection: AsyncConnection, entries: Sequence[Entry]) -> None:
        bodies = {entry.conversation.id: body_of(entry.turns) for entry in entries}
        values = [
            conversation_values(entry, self.origin, bodies[entry.conversation.id][1])
            for entry in entries
        ]
        result = await connection.execute(self._upsert(), values)
        nums = {row.id: row.num for row in result}
        await self._remove_parts(connection, list(nums.values()))
        charges = [
            row for entry in entries for row in charge_values(nums[entry.conversation.id], entry)
        ]
        if charges:
            await connection.execute(sa.insert(CHARGES), charges)
        texts = [
            {"rowid": nums[conversation_id], "body": body}
            for conversation_id, (body, _) in bodies.items()
            if body
        ]
        if texts:
            await connection.execute(sa.insert(TRANSCRIPTS), texts)

    def _upsert(self) -> sa.Insert:
        insert: Any = (sqlite if self._is_sqlite else postgresql).insert(CONVERSATIONS)
        columns = CONVERSATIONS.c
        changed = {
            column.name: insert.excluded[column.name]
            for column in columns
            if column.name not in ("num", "id")
        }
        upsert: sa.Insert = insert.on_conflict_do_update(index_elements=["id"], set_=changed)
        return upsert.returning(columns.id, columns.num)

    async def set_remote(self, conversation_id: str) -> None:
        """Its folder is gone from its directory; it is where it was uploaded to."""
        columns = CONVERSATIONS.c
        change = sa.update(CONVERSATIONS).where(columns.id == conversation_id)
        async with self.database.writing() as connection:
            await connection.execute(change.values(is_local=False))

    async def remove(self, ids: Sequence[str]) -> int:
        """Takes conversations out, and says how many there were."""
        removed = 0
        for at in range(0, len(ids), MAX_BATCH):
            async with self.database.writing() as connection:
                removed += await self._remove(connection, ids[at : at + MAX_BATCH])
        return removed

    async def _remove(self, connection: AsyncConnection, ids: Sequence[str]) -> int:
        select = sa.select(CONVERSATIONS.c.num).where(CONVERSATIONS.c.id.in_(ids))
        nums = list((await connection.execute(select)).scalars())
        await self._remove_parts(connection, nums)
        await connection.execute(sa.delete(CONVERSATIONS).where(CONVERSATIONS.c.num.in_(nums)))
        return len(nums)

    async def scrub(self) -> None:
        """Takes what was removed out of the database's own files, where that can be done.

        FTS5 keeps deleted words until it rewrites its index: a second per 10,000 conversations.
        PostgreSQL's own vacuum does so in its time.
        """
        if self._is_sqlite:
            optimize = "INSERT INTO transcripts(transcripts) VALUES('optimize')"
            async with self.database.writing() as connection:
                await connection.exec_driver_sql(optimize)
            await self.database.truncate_log()

    async def _remove_parts(self, connection: AsyncConnection, nums: Sequence[int]) -> None:
        for table, column in ((CHARGES, CHARGES.c.num), (TRANSCRIPTS, TRANSCRIPTS.c.rowid)):
            await connection.execute(sa.delete(table).where(column.in_(nums)))

    def _own(self) -> sa.ColumnElement[bool]:
        return CONVERSATIONS.c.origin == self.origin


async def _groups(
    connection: AsyncConnection, select: sa.Select[Any], by: Sequence[GroupBy]
) -> dict[sql.Group, tuple[Any, ...]]:
    """Thousands of rows, in portions: each takes the event loop for a ms."""
    found: dict[sql.Group, tuple[Any, ...]] = {}
    result = await connection.stream(select, execution_options={"max_row_buffer": _PORTION})
    async for portion in result.partitions(_PORTION):
        found.update(sql.group_of(row, by) for row in portion)
        await asyncio.sleep(0)
    return found
