"""Conversations as rows of the index, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, cast

import sqlalchemy as sa

from relay.core.pricing import Cost
from relay.core.tokens import MODALITIES, Tokens, TokenUsage
from relay.stores.conversation import Conversation, Entry, Upload
from relay.stores.schema import NANO_USD

MAX_NUMBER: Final = 10**15
"""What one conversation can add to a sum: a million USD, and far more than any call has."""


def conversation_values(entry: Entry, origin: str, outline: str) -> dict[str, Any]:
    """The columns of CONVERSATIONS but `num`."""
    found = entry.conversation
    return {
        "id": found.id,
        "day": found.day,
        "origin": origin,
        "source": entry.source,
        "is_local": found.is_local,
        "state": found.state,
        "started_at": found.started_at,
        "ended_at": found.ended_at,
        "duration_ms": None if found.duration_s is None else _whole(found.duration_s * 1000),
        "outcome": found.outcome,
        "reason": found.reason,
        "owner": found.owner,
        "key_id": found.key_id,
        "model": found.model,
        "upstream_call_id": found.upstream_call_id,
        "mode": found.mode,
        "audio": json.dumps(found.audio),
        "bytes": found.bytes,
        "events": found.events,
        "turns": found.turns,
        "losses": found.losses,
        "tokens": _whole(found.tokens),
        **_cost_values(found.cost),
        "upload_state": found.upload.state,
        "upload_attempts": found.upload.attempts,
        "upload_error": found.upload.error,
        "uploaded_at": found.upload.uploaded_at,
        "outline": outline,
    }


def charge_values(num: int, entry: Entry) -> Iterator[dict[str, Any]]:
    """The rows of CHARGES."""
    for position, line in enumerate(entry.usage.lines):
        tokens = line.tokens
        yield {
            "num": num,
            "position": position,
            "kind": line.kind,
            "model": line.model,
            "count": _whole(line.count),
            **{
                f"{kind}_{modality}": _whole(counts.of(modality))
                for kind, counts in _by_kind(tokens).items()
                for modality in MODALITIES
            },
            "unknown": _whole(tokens.unknown),
            "unknown_cached": _whole(tokens.unknown_cached),
            "ms": _whole(line.seconds * 1000),
            **_cost_values(line.cost),
        }


def conversation_of(row: sa.RowMapping) -> Conversation:
    """A row of CONVERSATIONS as a conversation."""
    duration_ms = row["duration_ms"]
    return Conversation(
        id=row["id"],
        day=row["day"],
        state=row["state"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        duration_s=None if duration_ms is None else duration_ms / 1000,
        outcome=row["outcome"],
        reason=row["reason"],
        owner=row["owner"],
        key_id=row["key_id"],
        model=row["model"],
        upstream_call_id=row["upstream_call_id"],
        mode=row["mode"],
        audio=tuple(json.loads(row["audio"])),
        bytes=row["bytes"],
        events=row["events"],
        turns=row["turns"],
        losses=row["losses"],
        tokens=row["tokens"],
        cost=cost_of(row),
        upload=Upload(
            state=row["upload_state"],
            attempts=row["upload_attempts"],
            error=row["upload_error"],
            uploaded_at=row["uploaded_at"],
        ),
        is_local=row["is_local"],
    )


def tokens_of(row: Mapping[Any, Any]) -> TokenUsage:
    """The tokens of a row, or of the sums, of CHARGES."""
    given, cached, output = (
        Tokens(*(int(row[f"{kind}_{modality}"]) for modality in MODALITIES))
        for kind in ("input", "cached", "output")
    )
    return TokenUsage(given, cached, output, int(row["unknown"]), int(row["unknown_cached"]))


def cost_of(row: Mapping[Any, Any]) -> Cost:
    """The cost of a row, or of the sums, of CONVERSATIONS or CHARGES."""
    return Cost(
        usd=Decimal(int(row["cost_nano_usd"])) / NANO_USD,
        unpriced_tokens=int(row["unpriced_tokens"]),
        unpriced_s=seconds_of(row["unpriced_ms"]),
        is_approximate=bool(row["is_approximate"]),
    )


def seconds_of(ms: int) -> Decimal:
    return Decimal(int(ms)) / 1000


def _cost_values(cost: Cost) -> dict[str, Any]:
    return {
        "cost_nano_usd": _whole(cost.usd * NANO_USD),
        "unpriced_tokens": _whole(cost.unpriced_tokens),
        "unpriced_ms": _whole(cost.unpriced_s * 1000),
        "is_approximate": cost.is_approximate,
    }


def _by_kind(tokens: TokenUsage) -> dict[str, Tokens]:
    return {"input": tokens.input, "cached": tokens.cached, "output": tokens.output}


def _whole(number: float | Decimal) -> int:
    """What comes from a file is a number, but may be an absurd one."""
    if isinstance(number, Decimal) and not number.is_finite():
        return 0
    return round(cast("float", min(max(number, 0), MAX_NUMBER)))
