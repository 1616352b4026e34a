"""Sessions in a list, live and stored: the same members for both."""

from __future__ import annotations

from typing import Any

from relay.core.rfc3339 import rfc3339
from relay.session.model import CallSnapshot
from relay.stores.conversation import Conversation
from relay.stores.search import Hit
from relay.taps.observer import Watched


def row_of(stored: Conversation, hits: tuple[Hit, ...] = ()) -> dict[str, Any]:
    """A stored conversation in a list; `hits` are where what was looked for was found."""
    return {
        "id": stored.id,
        "state": stored.state,
        "started_at": rfc3339(stored.started_at),
        "ended_at": stored.ended_at and rfc3339(stored.ended_at),
        "duration_s": stored.duration_s,
        "outcome": stored.outcome,
        "reason": stored.reason,
        "owner": stored.owner,
        "key_id": stored.key_id,
        "model": stored.model,
        "mode": stored.mode,
        "audio": list(stored.audio),
        "bytes": stored.bytes,
        "events": stored.events,
        "turns": stored.turns,
        "losses": stored.losses,
        "tokens": stored.tokens,
        **stored.cost.to_json(),
        "upload": stored.upload.state,
        "local": stored.is_local,
        "hits": [_hit(hit) for hit in hits],
    }


def live_row_of(call: CallSnapshot, watched: Watched | None) -> dict[str, Any]:
    """A live call in the same list: what is not known yet is null or nothing."""
    usage = None if watched is None else watched.read.usage
    facts = None if watched is None else watched.facts
    return {
        "id": call.id,
        "state": "live",
        "started_at": rfc3339(call.started_at),
        "ended_at": None,
        "duration_s": round(call.duration_s, 3),
        "outcome": None,
        "reason": None,
        "owner": call.owner,
        "key_id": facts and facts.key_id,
        "model": watched and (watched.read.reading.usage.model or watched.facts.model),
        "mode": None,
        "audio": [],
        "bytes": 0,
        "events": 0 if watched is None else watched.live.next_sequence,
        "turns": 0 if watched is None else len(watched.read.transcript.turns),
        "losses": 0,
        "tokens": usage.tokens.total if usage else 0,
        **(usage.cost.to_json() if usage else {}),
        "upload": "none",
        "local": True,
        "hits": [],
    }


def says(watched: Watched | None, q: str) -> bool:
    """Whether a live call's transcript has all words of `q`, as far as a plain look tells."""
    if watched is None:
        return False
    text = " ".join(turn.text for turn in watched.read.transcript.turns).lower()
    return all(word.strip('"*').lower() in text for word in q.split())


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "turn": hit.turn,
        "speaker": hit.speaker,
        "at_s": hit.at_s,
        "snippet": [{"text": one.text, "match": one.is_match} for one in hit.snippet],
    }
