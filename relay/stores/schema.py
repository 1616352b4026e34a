"""The index's tables. `migrations/` makes them; a test holds the two together.

Amounts of money are whole billionths of a USD and durations whole ms: sums are exact everywhere.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final, cast

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NANO_USD: Final = 1_000_000_000


class Utc(sa.types.TypeDecorator[datetime]):
    """An aware time, in UTC, to the µs; SQLite keeps it as text that sorts."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """What `migrations/` has to make."""

    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy's own way of declaring it)
        str: sa.Text,
        datetime: Utc,
        int: sa.BigInteger,
    }


class ConversationRow(Base):
    """One conversation. `num` is the database's own and says nothing outside of it.

    `origin` is the directory it was read from, `source` the files' state when it was read.
    `outline` has a pair [speaker, seconds] for each line of its transcript's body.
    """

    __tablename__ = "conversations"
    __table_args__ = (
        sa.Index("conversations_by_time", "started_at", "id"),
        sa.Index("conversations_by_model", "model", "started_at"),
        sa.Index("conversations_by_key", "key_id", "started_at"),
        sa.Index("conversations_by_outcome", "outcome", "started_at"),
        sa.Index("conversations_by_day", "day"),
    )

    num: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True
    )
    id: Mapped[str] = mapped_column(unique=True)
    day: Mapped[date]
    origin: Mapped[str]
    source: Mapped[str]
    is_local: Mapped[bool]
    state: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    duration_ms: Mapped[int | None]
    outcome: Mapped[str | None]
    reason: Mapped[str | None]
    owner: Mapped[str | None]
    key_id: Mapped[str | None]
    model: Mapped[str | None]
    upstream_call_id: Mapped[str | None]
    mode: Mapped[str | None]
    audio: Mapped[str]
    bytes: Mapped[int]
    events: Mapped[int]
    turns: Mapped[int]
    losses: Mapped[int]
    tokens: Mapped[int]
    cost_nano_usd: Mapped[int]
    unpriced_tokens: Mapped[int]
    unpriced_ms: Mapped[int]
    is_approximate: Mapped[bool]
    upload_state: Mapped[str]
    upload_attempts: Mapped[int]
    upload_error: Mapped[str | None]
    uploaded_at: Mapped[datetime | None]
    outline: Mapped[str]  # last: SQLite does not read so far for a list


class ChargeRow(Base):
    """Usage of one kind and model within a conversation, as `core.usage.UsageLine` has it."""

    __tablename__ = "charges"

    num: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey("conversations.num", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    model: Mapped[str | None]
    count: Mapped[int]
    input_text: Mapped[int]
    input_audio: Mapped[int]
    input_image: Mapped[int]
    cached_text: Mapped[int]
    cached_audio: Mapped[int]
    cached_image: Mapped[int]
    output_text: Mapped[int]
    output_audio: Mapped[int]
    output_image: Mapped[int]
    unknown: Mapped[int]
    unknown_cached: Mapped[int]
    ms: Mapped[int]
    cost_nano_usd: Mapped[int]
    unpriced_tokens: Mapped[int]
    unpriced_ms: Mapped[int]
    is_approximate: Mapped[bool]


class TranscriptRow(Base):
    """What was said in a conversation, a turn a line. On SQLite this is an FTS5 table, on
    PostgreSQL a table with a tsvector that the database makes of `body`."""

    __tablename__ = "transcripts"

    rowid: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[str]


CONVERSATIONS: Final = cast("sa.Table", ConversationRow.__table__)
CHARGES: Final = cast("sa.Table", ChargeRow.__table__)
TRANSCRIPTS: Final = cast("sa.Table", TranscriptRow.__table__)
