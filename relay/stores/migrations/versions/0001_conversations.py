"""Conversations, their charges and their transcripts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _conversations()
    _charges()
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE transcripts USING fts5("
            "body, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3')"
        )
    else:
        _transcripts_of_postgresql()


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("num", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("is_local", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.Column("duration_ms", sa.BigInteger()),
        *(
            sa.Column(name, sa.Text())
            for name in (
                "outcome",
                "reason",
                "owner",
                "key_id",
                "model",
                "upstream_call_id",
                "mode",
            )
        ),
        sa.Column("audio", sa.Text(), nullable=False),
        *(
            _number(name)
            for name in (
                "bytes",
                "events",
                "turns",
                "losses",
                "tokens",
                "cost_nano_usd",
                "unpriced_tokens",
                "unpriced_ms",
            )
        ),
        sa.Column("is_approximate", sa.Boolean(), nullable=False),
        sa.Column("upload_state", sa.Text(), nullable=False),
        _number("upload_attempts"),
        sa.Column("upload_error", sa.Text()),
        sa.Column("uploaded_at", _TIME),
        sa.Column("outline", sa.Text(), nullable=False),
    )
    for name, columns in {
        "time": ["started_at", "id"],
        "model": ["model", "started_at"],
        "key": ["key_id", "started_at"],
        "outcome": ["outcome", "started_at"],
        "day": ["day"],
    }.items():
        op.create_index(f"conversations_by_{name}", "conversations", columns)


def _charges() -> None:
    op.create_table(
        "charges",
        sa.Column(
            "num",
            sa.BigInteger(),
            sa.ForeignKey("conversations.num", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("position", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model", sa.Text()),
        _number("count"),
        *(
            _number(f"{kind}_{modality}")
            for kind in ("input", "cached", "output")
            for modality in ("text", "audio", "image")
        ),
        *(
            _number(name)
            for name in (
                "unknown",
                "unknown_cached",
                "ms",
                "cost_nano_usd",
                "unpriced_tokens",
                "unpriced_ms",
            )
        ),
        sa.Column("is_approximate", sa.Boolean(), nullable=False),
    )


def _transcripts_of_postgresql() -> None:
    op.create_table(
        "transcripts",
        sa.Column("rowid", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    # "simple": transcripts are of many languages, and words are looked for as they were said.
    op.execute(
        "ALTER TABLE transcripts ADD COLUMN words tsvector "
        "GENERATED ALWAYS AS (to_tsvector('simple', body)) STORED"
    )
    op.execute("CREATE INDEX transcripts_by_words ON transcripts USING gin (words)")


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)
