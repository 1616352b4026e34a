"""The index on both databases: what is put in comes out, page by page, and adds up."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import InvalidRequest
from relay.core.pricing import Cost
from relay.core.usage import CallUsage
from relay.core.usagetotals import CallTotals, GroupBy, aggregate
from relay.stores.conversation import Entry, Upload
from relay.stores.database import Database, InvalidStoreUrl, parse_url
from relay.stores.index import MAX_BATCH, Index
from relay.stores.query import Query, read_cursor
from relay.stores.schema import Base
from tests.stores.conversations import BEGAN, MODEL, entry, usage


async def ids(index: Index, query: Query | None = None, limit: int = 50) -> list[str]:
    page = await index.search(query or Query(), limit=limit)
    return [conversation.id for conversation in page.conversations]


# -- the schema


async def test_database_when_prepared_has_the_tables_that_the_models_describe(
    database: Database,
) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"include_object": is_ours})
        return list(compare_metadata(context, Base.metadata))

    async with database.reading() as connection:
        found = await connection.run_sync(differences)

    assert found == []


def is_ours(
    thing: sa.schema.SchemaItem, name: str | None, kind: str, _reflected: bool, _to: object
) -> bool:
    """All but what FTS5 and the tsvector bring with them."""
    table = name if kind == "table" else getattr(getattr(thing, "table", None), "name", "")
    return not str(table).startswith("transcripts") or name in ("rowid", "body")


async def test_database_when_prepared_by_two_at_once_is_made_once(store_url: str) -> None:
    one, other = Database(store_url), Database(store_url)
    try:
        await asyncio.gather(one.prepare(), other.prepare(), one.prepare())
        await Index(one, "a").put([entry("rtc_1")])

        assert await ids(Index(other, "b")) == ["rtc_1"]
    finally:
        await one.close()
        await other.close()


async def test_database_when_a_newer_relay_made_it_says_so(database: Database) -> None:
    async with database.writing() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(Exception, match="newer relay"):
        await database.prepare()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://host/db", "sqlite://h/f"]
)
def test_store_url_when_it_names_no_database_of_ours_is_refused(url: str) -> None:
    with pytest.raises(InvalidStoreUrl, match=r"store\.url"):
        parse_url(url)


def test_store_url_when_its_driver_is_left_out_gets_ours() -> None:
    assert parse_url("sqlite:///x.db").drivername == "sqlite+aiosqlite"
    assert parse_url("postgresql://u:p@h/d").drivername == "postgresql+asyncpg"


def test_database_when_shown_hides_the_password() -> None:
    assert "hunter2" not in Database("postgresql://u:hunter2@127.0.0.1/d").shown


# -- putting and getting


async def test_index_when_a_conversation_is_put_gives_it_back_whole(index: Index) -> None:
    upload = Upload("refused", 3, "no access", BEGAN)
    cost = Cost(Decimal("1.234567891"), 5, Decimal("2.5"), is_approximate=True)
    put = entry("rtc_1", "hello", upload=upload, cost=cost, losses=3, is_local=False)

    await index.put([put])

    assert await index.get("rtc_1") == put.conversation


async def test_index_when_only_the_least_is_known_gives_it_back(index: Index) -> None:
    least = entry(
        "rtc_1", state="unfinished", ended_at=None, duration_s=None, outcome=None, reason=None,
        owner=None, key_id=None, model=None, mode=None, audio=(), used=CallUsage(),
    )  # fmt: skip

    await index.put([least])

    assert await index.get("rtc_1") == least.conversation


async def test_index_when_an_id_is_unknown_has_none(index: Index) -> None:
    assert await index.get("rtc_unknown") is None
    assert await index.origin_of("rtc_unknown") is None
    assert await index.remove(["rtc_unknown"]) == 0


async def test_index_when_a_conversation_is_put_again_has_only_what_was_put_last(
    index: Index,
) -> None:
    await index.put([entry("rtc_1", "apples")])

    await index.put([entry("rtc_1", "pears", used=usage(tokens=1)), entry("rtc_2", "plums")])

    assert await ids(index, Query(q="apples")) == []
    assert await ids(index, Query(q="pears")) == ["rtc_1"]
    (row,) = await index.usage(["key"], Query(q="pears"))
    assert (row.calls, row.tokens.input.text) == (1, 1)


async def test_index_when_one_put_has_a_conversation_twice_takes_the_last(index: Index) -> None:
    await index.put([entry("rtc_1", "apples"), entry("rtc_1", "pears")])

    assert await ids(index, Query(q="apples")) == []
    assert await ids(index, Query(q="pears")) == ["rtc_1"]


async def test_index_when_more_than_a_batch_is_put_and_removed_takes_all(index: Index) -> None:
    many = [entry(f"rtc_{n}", "word", minutes=n) for n in range(MAX_BATCH + 3)]

    await index.put(many)
    count = await index.count(Query(q="word"))
    removed = await index.remove([one.conversation.id for one in many])

    assert count == removed == MAX_BATCH + 3
    assert await index.count(Query()) == 0


async def test_index_when_a_conversation_is_removed_finds_nothing_of_it(index: Index) -> None:
    await index.put([entry("rtc_1", "apples"), entry("rtc_2", "apples", minutes=1)])

    assert await index.remove(["rtc_1"]) == 1

    assert await ids(index, Query(q="apples")) == ["rtc_2"]
    assert await index.get("rtc_1") is None
    (row,) = await index.usage([])
    assert row.calls == 1


async def test_index_when_a_text_tries_to_be_sql_takes_it_as_text(index: Index) -> None:
    evil = "'); DROP TABLE conversations; --"
    await index.put([entry("rtc_1", evil, model=evil, reason=evil)])

    assert await ids(index, Query(model=evil)) == ["rtc_1"]
    assert await ids(index, Query(q=evil)) == ["rtc_1"]


async def test_index_when_rehearsed_is_as_it_was(index: Index) -> None:
    await index.put([entry("rtc_1", "hello")])

    await index.rehearse()

    assert await ids(index) == ["rtc_1"]
    assert await ids(index, Query(q="rehearsed")) == []


# -- pages


async def test_list_without_a_filter_gives_the_latest_first(index: Index) -> None:
    await index.put([entry(f"rtc_{n}", minutes=n) for n in (2, 0, 1)])

    assert await ids(index) == ["rtc_2", "rtc_1", "rtc_0"]


async def test_list_page_by_page_gives_each_conversation_once(index: Index) -> None:
    # Groups of equal times, and pages that end within them.
    put = [entry(f"rtc_{n:02}", minutes=n // 4) for n in range(23)]
    await index.put(put)

    found: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor:
        page = await index.search(Query(), cursor=cursor, limit=5)
        found += [conversation.id for conversation in page.conversations]
        cursor, pages = page.cursor, pages + 1

    wanted = sorted(put, key=lambda e: (e.conversation.started_at, e.conversation.id), reverse=True)
    assert found == [one.conversation.id for one in wanted]
    assert pages == 5


async def test_list_when_one_more_is_put_meanwhile_goes_on_where_it_was(index: Index) -> None:
    await index.put([entry(f"rtc_{n}", minutes=n) for n in range(4)])
    first = await index.search(Query(), limit=2)

    await index.put([entry("rtc_new", minutes=9)])
    second = await index.search(Query(), cursor=first.cursor, limit=2)

    assert [c.id for c in second.conversations] == ["rtc_1", "rtc_0"]
    assert second.cursor is None


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (Query(since=BEGAN + timedelta(minutes=1)), ["rtc_2", "rtc_1"]),
        (Query(until=BEGAN + timedelta(minutes=1)), ["rtc_0"]),
        (Query(since=BEGAN, until=BEGAN), []),
        (Query(model="other"), ["rtc_1"]),
        (Query(key_id="bank"), ["rtc_2"]),
        (Query(owner="bank"), ["rtc_2"]),
        (Query(outcome="failed"), ["rtc_0"]),
        (Query(state="live"), ["rtc_1"]),
        (Query(upload="failed"), ["rtc_2"]),
        (Query(model=MODEL, q="apples"), ["rtc_0"]),
    ],
)
async def test_list_with_a_filter_gives_what_fulfils_it(
    index: Index, query: Query, wanted: list[str]
) -> None:
    await index.put(
        [
            entry("rtc_0", "apples", outcome="failed"),
            entry("rtc_1", "apples", minutes=1, model="other", state="live"),
            entry("rtc_2", minutes=2, key_id="bank", owner="bank", upload=Upload("failed")),
        ]
    )

    assert await ids(index, query) == wanted
    assert await index.count(query) == len(wanted)


async def test_list_when_times_are_of_another_zone_compares_moments(index: Index) -> None:
    await index.put([entry("rtc_1")])
    east = datetime.fromisoformat("2026-03-14T18:30:00+09:00")  # BEGAN in Tokyo

    found = await index.get("rtc_1")

    assert found is not None
    assert found.started_at == east
    assert found.started_at.tzinfo is UTC
    assert await ids(index, Query(since=east)) == ["rtc_1"]
    assert await ids(index, Query(until=east)) == []


@pytest.mark.parametrize(
    "cursor", ["", "x", "💥", "W10", "WzEsMl0x", "bnVsbA", "eyJhIjoxfQ", "WzFlNDAsImEiXQ"]
)
async def test_list_with_a_cursor_that_no_page_gave_refuses(index: Index, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await index.search(Query(), cursor=cursor)

    assert raised.value.param == "cursor"


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda data: data.decode("latin-1")))
def test_cursor_of_any_text_is_a_place_or_refused(text: str) -> None:
    try:
        at, conversation_id = read_cursor(text)
    except InvalidRequest:
        return

    assert at.tzinfo is UTC
    assert isinstance(conversation_id, str)


# -- sums


def priced(conversation_id: str, minutes: float, key: str, model: str, tokens: int) -> Entry:
    used = usage(tokens=tokens, usd=f"0.{tokens:09}", model=model)
    return entry(conversation_id, minutes=minutes, key_id=key, model=model, used=used)


@pytest.mark.parametrize(
    "by", [[], ["day"], ["key"], ["model"], ["day", "key"], ["day", "key", "model"]]
)
async def test_usage_by_anything_is_what_core_adds_up(index: Index, by: list[GroupBy]) -> None:
    put = [
        priced("rtc_1", 0, "shop", MODEL, 10),
        priced("rtc_2", 5, "shop", "mini", 20),
        priced("rtc_3", 24 * 60, "bank", MODEL, 40),
        priced("rtc_4", 24 * 60 + 1, "bank", MODEL, 80),
        entry("rtc_5", minutes=2, used=CallUsage(), duration_s=None, model=None),
    ]
    await index.put(put)

    rows = await index.usage(by)

    totals = [
        CallTotals(
            one.conversation.day, one.conversation.key_id, one.conversation.model,
            one.conversation.duration_s or 0.0, one.usage,
        )
        for one in put
    ]  # fmt: skip
    assert [row.to_json() for row in rows] == [row.to_json() for row in aggregate(totals, by)]


async def test_usage_of_a_filter_adds_up_what_fulfils_it(index: Index) -> None:
    await index.put([entry(f"rtc_{n}", minutes=n, key_id=f"key{n % 2}") for n in range(5)])

    (row,) = await index.usage(["key"], Query(key_id="key1"))

    assert (row.key, row.calls, row.duration_s) == ("key1", 2, 180.0)
    assert row.cost.usd == 2 * Decimal("0.0128")


async def test_usage_of_nothing_has_no_row_by_day(index: Index) -> None:
    assert await index.usage(["day"]) == []


async def test_usage_when_numbers_are_absurd_still_adds_up(index: Index) -> None:
    line = dataclasses.replace(usage().lines[0], cost=Cost(Decimal("1e30")), count=10**30)
    await index.put([entry(f"rtc_{n}", used=CallUsage((line,))) for n in range(3)])

    (row,) = await index.usage(["day"])

    assert row.cost.usd == 3 * Decimal(1_000_000)


# -- what it is compared by


async def test_index_when_two_directories_share_it_tells_each_its_own(
    index: Index, database: Database
) -> None:
    other = Index(database, "there")
    await index.put([entry("rtc_1", source="a")])
    await other.put([entry("rtc_2", minutes=24 * 60)])

    known = await index.known(BEGAN.date())

    assert await index.days() == [BEGAN.date()]
    assert {one.id: one.source for one in known.values()} == {"rtc_1": "a"}
    assert await index.origin_of("rtc_2") == "there"
    assert await ids(index) == ["rtc_2", "rtc_1"]


async def test_index_when_a_folder_left_knows_that_it_is_elsewhere(index: Index) -> None:
    await index.put([entry("rtc_1", upload=Upload("uploaded", 1, None, BEGAN)), entry("rtc_2")])

    await index.set_remote("rtc_1")

    known = await index.known(BEGAN.date())
    assert {one.id: one.is_local for one in known.values()} == {"rtc_1": False, "rtc_2": True}
    assert await index.origin_of("rtc_1") is None
    later = BEGAN.date() + timedelta(days=1)
    assert [c.id for c in await index.uploaded_before(later)] == ["rtc_1"]
    assert await index.uploaded_before(BEGAN.date()) == []
