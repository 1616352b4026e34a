"""Conversations for tests: entries of the index, and folders as a recorder leaves them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from relay.core.pricing import Cost
from relay.core.tokens import Tokens, TokenUsage
from relay.core.usage import CallUsage, UsageLine
from relay.stores.conversation import Conversation, Entry, Turn
from relay.stores.folders import Folder, Folders

BEGAN = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
MODEL = "gpt-realtime-2.1"


def usage(tokens: int = 100, usd: str = "0.0125", model: str | None = MODEL) -> CallUsage:
    """Of one response, and of one transcription by seconds."""
    spent = TokenUsage(Tokens(tokens, 2 * tokens), Tokens(tokens // 2), Tokens(3, 4 * tokens), 7, 1)
    transcription = UsageLine(
        "transcription", "whisper", 2, seconds=Decimal("3.25"), cost=Cost(Decimal("0.0003"))
    )
    return CallUsage(
        (UsageLine("response", model, 1, spent, cost=Cost(Decimal(usd))), transcription)
    )


def entry(
    conversation_id: str,
    *texts: str,
    minutes: float = 0,
    source: str = "1",
    used: CallUsage | None = None,
    **changes: Any,
) -> Entry:
    """A conversation of 90 s that began `minutes` after BEGAN, in which those texts were said."""
    used = usage() if used is None else used
    started_at = BEGAN + timedelta(minutes=minutes)
    members: dict[str, Any] = {
        "id": conversation_id,
        "day": started_at.date(),
        "state": "ended",
        "started_at": started_at,
        "ended_at": started_at + timedelta(seconds=90),
        "duration_s": 90.0,
        "outcome": "completed",
        "reason": "client hung up",
        "owner": "shop",
        "key_id": "shop",
        "model": MODEL,
        "mode": "audio",
        "audio": ("client.ogg", "upstream.ogg"),
        "bytes": 1234,
        "events": 20,
        "turns": len(texts),
        "tokens": used.tokens.total,
        "cost": used.cost,
    }
    speakers = ("user", "assistant")
    turns = tuple(Turn(speakers[at % 2], 2.5 * at, text) for at, text in enumerate(texts))
    return Entry(Conversation(**{**members, **changes}), used, turns, source)


def session_json(conversation_id: str, started_at: datetime, **changes: Any) -> dict[str, Any]:
    """As the recorder and the session leave it."""
    return {
        "version": 1,
        "id": conversation_id,
        "state": "ended",
        "started_at": iso(started_at),
        "ended_at": iso(started_at + timedelta(seconds=90)),
        "duration_s": 90.0,
        "owner": "shop",
        "key_id": "shop",
        "model": MODEL,
        "upstream_call_id": "rtc_up",
        "end": {"outcome": "completed", "reason": "client hung up"},
        "recording": {"mode": "audio", "events": 20, "lost": {"packets": 2, "events": 1}},
        "usage": usage().to_json(),
        **changes,
    }


def transcript_json(*texts: str) -> dict[str, Any]:
    """As `core.transcript` writes it."""
    turns = [
        {
            "id": f"item_{at}",
            "speaker": ("user", "assistant")[at % 2],
            "kind": "speech",
            "status": "completed",
            "start_ms": 2500 * at,
            "text": text,
        }
        for at, text in enumerate(texts)
    ]
    return {"version": 1, "started_at": iso(BEGAN), "final": True, "revision": 1, "turns": turns}


def make_folder(
    folders: Folders | Path,
    conversation_id: str,
    *texts: str,
    started_at: datetime = BEGAN,
    audio: bytes = b"OggS" + bytes(2000),
    **changes: Any,
) -> Folder:
    """A folder that is complete; `changes` are members of its `session.json`."""
    if isinstance(folders, Path):
        folders = Folders(folders)
    folder = folders.at(started_at.date(), conversation_id)
    folder.make()
    (folder.path / "client.ogg").write_bytes(audio)
    (folder.path / "events.jsonl").write_text('{"seq":0}\n')
    (folder.path / "transcript.json").write_text(json.dumps(transcript_json(*texts)))
    folder.update_session(session_json(conversation_id, started_at, **changes))
    return folder


def iso(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def day_of(at: datetime) -> date:
    return at.astimezone(UTC).date()


async def keep(folders: Folders | Path, conversation_id: str, *texts: str, **how: Any) -> Folder:
    """`make_folder`, off the event loop."""
    return await asyncio.to_thread(make_folder, folders, conversation_id, *texts, **how)
