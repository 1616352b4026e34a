"""Ephemeral keys: minted, remembered in memory, gone when they expire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.simulator.checks import fields, number, object_, one_of, optional
from relay.simulator.errors import RejectedError
from relay.simulator.session_config import check_session

DEFAULT_TTL_S = 600
MIN_TTL_S = 10
MAX_TTL_S = 7200
MAX_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `owner` is the API key behind it, `session` what an ephemeral key carries."""

    owner: str = field(repr=False)
    session: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A checked body of `POST /client_secrets`."""

    session: Mapping[str, Any]
    ttl_s: int


def read_ask(body: Any) -> Ask:
    """Raises RejectedError."""
    _ASK(body, "body")
    session = body.get("session")
    if session is None:
        session = {"type": "realtime"}
    check_session(session)
    expires_after = body.get("expires_after") or {}
    return Ask(session, expires_after.get("seconds") or DEFAULT_TTL_S)


_ASK = fields(
    {
        "session": optional(object_),
        "expires_after": optional(
            fields(
                {
                    "anchor": one_of("created_at"),
                    "seconds": optional(number(MIN_TTL_S, MAX_TTL_S, whole=True)),
                }
            )
        ),
    }
)


class Tokens:
    """Every ephemeral key that is still good. Times in seconds since 1970."""

    def __init__(self) -> None:
        self._callers: dict[str, tuple[float, Caller]] = {}

    def mint(self, value: str, caller: Caller, expires_at: float) -> None:
        while len(self._callers) >= MAX_TOKENS:
            del self._callers[next(iter(self._callers))]
        self._callers[value] = (expires_at, caller)

    def authenticate(self, authorization: str | None, now: float) -> Caller:
        """Reads an Authorization header. Raises RejectedError (401)."""
        scheme, _, value = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not value:
            raise RejectedError(
                "Missing bearer authentication in header", code="invalid_api_key", status=401
            )
        if value.startswith("sk-"):
            return Caller(value)
        expires_at, caller = self._callers.get(value, (0.0, None))
        if caller is None or expires_at <= now:
            self._callers.pop(value, None)
            raise RejectedError("Incorrect API key provided.", code="invalid_api_key", status=401)
        return caller
