"""Time-limited TURN credentials: a username that is its own expiry, and its HMAC.

draft-uberti-behave-turn-rest-00 §2.2, as coturn's `use-auth-secret` checks them.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TurnCredentials:
    """For RTCIceServer; `expires_at` in Unix seconds, None for what does not expire."""

    username: str
    credential: str = field(repr=False)
    expires_at: int | None = None


def time_limited(secret: str, user: str, *, now: float, ttl_s: int) -> TurnCredentials:
    """`user` names whom they are for (a call's id) and has no colon; `now` in Unix seconds."""
    assert ":" not in user
    expires_at = int(now) + ttl_s
    username = f"{expires_at}:{user}"
    digest = hmac.digest(secret.encode(), username.encode(), "sha1")
    return TurnCredentials(username, base64.b64encode(digest).decode(), expires_at)
