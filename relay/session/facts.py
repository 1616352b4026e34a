"""A call's facts as the fields of its one closing log line, and of what is told of it before."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from relay.rtc import LegStats
from relay.session.model import CallSnapshot, MessageCounts


def facts(call: CallSnapshot) -> dict[str, Any]:
    """Numbers are rounded to what they are worth; what is not known is left out, and of a call that
    goes on so is its end."""
    drops: Counter[str] = Counter()
    for leg in (call.client, call.upstream):
        drops.update(leg.drops if leg else {})
    found = {
        "owner": call.owner,
        "upstream_call_id": call.upstream_call_id,
        "outcome": str(call.end.outcome) if call.end else None,
        "reason": call.end.reason if call.end else None,
        "upstream_status": call.upstream_status,
        "duration_s": round(call.duration_s, 3),
        "setup_ms": _known({k: _rounded(v, 1) for k, v in asdict(call.phases_ms).items()}),
        "restarts": call.restarts,
        "client": _leg(call.client, call.leg_reasons.get("client")),
        "upstream": _leg(call.upstream, call.leg_reasons.get("upstream")),
        "messages": {"up": _messages(call.up), "down": _messages(call.down)},
        "drops": dict(drops),
        "added_latency_ms": call.added_latency_ms.summary(),
    }
    return _known(found)


def _leg(stats: LegStats | None, reason: str | None) -> dict[str, Any] | None:
    if stats is None:
        return None
    return _known(
        {
            "reason": reason,
            "pair": "/".join(stats.pair_types) if stats.pair_types else None,
            "transport": stats.transport,
            "paths": stats.paths,
            "packets_received": stats.packets_received,
            "packets_sent": stats.packets_sent,
            "bytes_received": stats.bytes_received,
            "bytes_sent": stats.bytes_sent,
            "packets_lost": stats.packets_lost,
            "remote_packets_lost": stats.remote_packets_lost,
            "jitter_ms": _ms(stats.jitter_s),
            "round_trip_ms": _ms(stats.round_trip_s),
            "media_round_trip_ms": _ms(stats.media_round_trip_s),
        }
    )


def _messages(counts: MessageCounts) -> dict[str, int]:
    return asdict(counts)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else _rounded(seconds * 1000, 2)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
