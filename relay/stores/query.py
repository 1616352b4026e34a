"""What can be asked of the index: filters, pages, sums; and the SQL of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from relay.core.errors import InvalidRequest
from relay.core.tokens import MODALITIES
from relay.core.usagetotals import GroupBy, UsageRow
from relay.stores import search
from relay.stores.breathing import breathing
from relay.stores.conversation import Conversation, State, UploadState
from relay.stores.rows import cost_of, seconds_of, tokens_of
from relay.stores.schema import CHARGES, CONVERSATIONS

MAX_LIMIT: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Query:
    """Which conversations: those for which all that is given holds.

    They began at `since` or later and before `until` (aware). `q` is what a person looks for in
    transcripts (`search.parse`); with nothing in it that can be looked for, it finds nothing.
    """

    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    key_id: str | None = None
    owner: str | None = None
    outcome: str | None = None
    state: State | None = None
    upload: UploadState | None = None
    q: str | None = None

    @property
    def terms(self) -> tuple[search.Term, ...]:
        return () if self.q is None else search.parse(self.q)


@dataclass(frozen=True, slots=True)
class Page:
    """Conversations, the latest first, and where in their transcripts something was found, by id.

    `cursor` leads to the next page; None: this is the last.
    """

    conversations: tuple[Conversation, ...]
    hits: Mapping[str, tuple[search.Hit, ...]] = field(default_factory=dict)
    cursor: str | None = None


# -- pages


def selection(query: Query, *, is_sqlite: bool) -> list[sa.ColumnElement[bool]]:
    """The conditions of a query on CONVERSATIONS."""
    columns = CONVERSATIONS.c
    found: list[sa.ColumnElement[bool]] = [
        column == value
        for column, value in (
            (columns.model, query.model),
            (columns.key_id, query.key_id),
            (columns.owner, query.owner),
            (columns.outcome, query.outcome),
            (columns.state, query.state),
            (columns.upload_state, query.upload),
        )
        if value is not None
    ]
    if query.since is not None:
        found.append(columns.started_at >= query.since)
    if query.until is not None:
        found.append(columns.started_at < query.until)
    if query.q is not None:
        terms = query.terms
        found += search.conditions(terms, is_sqlite=is_sqlite) if terms else [sa.false()]
    return found


def page(query: Query, cursor: str | None, limit: int, *, is_sqlite: bool) -> sa.Select[Any]:
    """Selects what comes after the cursor, one more than `limit`. Raises InvalidRequest."""
    columns = CONVERSATIONS.c
    chosen = [column for column in columns if column is not columns.outline]
    select = sa.select(*chosen).where(*selection(query, is_sqlite=is_sqlite))
    if cursor is not None:
        at, conversation_id = read_cursor(cursor)
        # Not a comparison of tuples: SQLite does not use the index of times for it.
        select = select.where(
            columns.started_at <= at,
            sa.or_(columns.started_at < at, columns.id < conversation_id),
        )
    return select.order_by(columns.started_at.desc(), columns.id.desc()).limit(limit + 1)


def cursor_after(conversation: Conversation) -> str:
    """An opaque text: the place behind this conversation."""
    us = (conversation.started_at - _EPOCH) // _MICROSECOND
    text = json.dumps([us, conversation.id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """Raises InvalidRequest for what no page gave."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        us, conversation_id = json.loads(base64.urlsafe_b64decode(padded))
        return _EPOCH + timedelta(microseconds=us), str(conversation_id)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise InvalidRequest("`cursor` is none that a page gave.", param="cursor") from None


# -- sums

_TOKEN_COLUMNS: Final = tuple(
    f"{kind}_{modality}" for kind in ("input", "cached", "output") for modality in MODALITIES
)
_SUMMED: Final = (*_TOKEN_COLUMNS, "unknown", "unknown_cached", "ms")
_COST_COLUMNS: Final = ("cost_nano_usd", "unpriced_tokens", "unpriced_ms")
_CHARGE_SUMS: Final = (*_SUMMED, *_COST_COLUMNS, "is_approximate")
_GROUPS: Final[tuple[GroupBy, ...]] = ("day", "key", "model")

Group = tuple[date | None, str | None, str | None]


def calls_by(query: Query, by: Sequence[GroupBy], *, is_sqlite: bool) -> sa.Select[Any]:
    """Sums of calls and their duration."""
    groups = _groups(by, CONVERSATIONS.c.model)
    return (
        sa.select(
            *groups,
            sa.func.count().label("calls"),
            sa.func.coalesce(sa.func.sum(CONVERSATIONS.c.duration_ms), 0).label("duration_ms"),
        )
        .where(*selection(query, is_sqlite=is_sqlite))
        .group_by(*groups)
    )


def charges_by(query: Query, by: Sequence[GroupBy], *, is_sqlite: bool) -> sa.Select[Any]:
    """Sums of what was charged; by model, by the one that was charged for."""
    groups = _groups(by, CHARGES.c.model)
    sums = (sa.func.sum(CHARGES.c[name]).label(name) for name in (*_SUMMED, *_COST_COLUMNS))
    is_approximate = sa.func.max(sa.cast(CHARGES.c.is_approximate, sa.Integer))
    return (
        sa.select(*groups, *sums, is_approximate.label("is_approximate"))
        .select_from(CHARGES)
        .join(CONVERSATIONS, CONVERSATIONS.c.num == CHARGES.c.num)
        .where(*selection(query, is_sqlite=is_sqlite))
        .group_by(*groups)
    )


@dataclass(frozen=True, slots=True)
class UsageSums:
    """Both sums, by group (day, key, model; None where it was not grouped by).

    As plain numbers, for there may be thousands of groups: as rows, all at once, they would have
    Python's garbage collector look at everything there is, and calls wait for that.
    """

    calls: dict[Group, tuple[Any, ...]]
    charges: dict[Group, tuple[Any, ...]]

    def __iter__(self) -> Iterator[UsageRow]:
        """The newest day first, then by key and model. For a thread: it breathes."""
        for group in _ordered({**self.calls, **self.charges}):
            yield self._row(group)

    def _row(self, group: Group) -> UsageRow:
        calls, duration_ms = self.calls.get(group, (0, 0))
        row = UsageRow(*group, calls=int(calls), duration_s=float(seconds_of(duration_ms)))
        charged = self.charges.get(group)
        if charged is None:
            return row
        sums = dict(zip(_CHARGE_SUMS, charged, strict=True))
        return replace(
            row, tokens=tokens_of(sums), seconds=seconds_of(sums["ms"]), cost=cost_of(sums)
        )


def group_of(row: Sequence[Any], by: Sequence[GroupBy]) -> tuple[Group, tuple[Any, ...]]:
    """A row of `calls_by` or `charges_by`: its group, and its sums."""
    values = iter(row)
    day, key, model = (next(values) if name in by else None for name in _GROUPS)
    return (day, key, model), tuple(values)


def _groups(by: Sequence[GroupBy], model: sa.ColumnElement[Any]) -> list[sa.Label[Any]]:
    known = {"day": CONVERSATIONS.c.day, "key": CONVERSATIONS.c.key_id, "model": model}
    return [known[name].label(f"group_{name}") for name in _GROUPS if name in by]


def _ordered(groups: Iterable[Group]) -> Iterator[Group]:
    """Sorted a day at a time: a sort lets go of the interpreter at its end alone."""
    days: dict[date | None, list[Group]] = {}
    for group in breathing(groups):
        days.setdefault(group[0], []).append(group)
    newest_first = sorted(days, key=lambda day: 0 if day is None else -day.toordinal())
    for day in newest_first:
        yield from breathing(sorted(days[day], key=lambda group: (group[1] or "", group[2] or "")))
