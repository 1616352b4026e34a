"""Credentials → Principal: nobody, a relay key, a token of ours, or the upstream's own token."""

from __future__ import annotations

import hashlib
from typing import Final, Literal

from relay.core.errors import Forbidden, Unauthenticated
from relay.core.ids import KeyId
from relay.core.principal import Principal
from relay.policy.keys import KeyRing
from relay.policy.tokens import TOKEN_PREFIX, TokenMint

ANONYMOUS: Final = Principal(kind="anonymous", owner="anonymous")

_UPSTREAM_TOKEN_PREFIX: Final = "ek_"  # noqa: S105  (a name, no secret)


class Authenticator:
    """Judges the `Authorization` header of a request.

    `max_call_s` is how long a call may last. With `mode` none, a credential that is not a token is
    ignored: clients send some dummy key, for their SDK wants one.
    """

    def __init__(
        self,
        mode: Literal["none", "keys"],
        keys: KeyRing,
        mint: TokenMint,
        *,
        passthrough: bool,
        max_call_s: float = 0.0,
    ) -> None:
        self._mode = mode
        self._keys = keys
        self._mint = mint
        self._passthrough = passthrough
        self._max_call_s = max_call_s

    def principal_of(
        self, authorization: str | None, origin: str | None, now: float, *, opens_calls: bool = True
    ) -> Principal:
        """Who sent these headers; `now` is Unix time. Raises Unauthenticated or Forbidden.

        Unless it `opens_calls`, a token is good for as long as a call opened with it can last.
        """
        credential = _bearer(authorization)
        if credential is not None and credential.startswith(TOKEN_PREFIX):
            used_at = now if opens_calls else now - self._max_call_s
            return self._of_token(credential, origin, used_at)
        if (
            self._passthrough
            and credential is not None
            and credential.startswith(_UPSTREAM_TOKEN_PREFIX)
        ):
            return _passing_through(credential)
        if self._mode == "none":
            return ANONYMOUS
        if credential is None:
            raise Unauthenticated(
                "A relay key or token is needed: send it as `Authorization: Bearer …`.",
                code="missing_api_key",
            )
        key_id = self._keys.find(credential)
        if key_id is None:
            raise Unauthenticated("The key is not one of this relay's.")
        return Principal(kind="key", owner=_owner_of(key_id), key_id=key_id)

    def _of_token(self, token: str, origin: str | None, now: float) -> Principal:
        grant = self._mint.open(token, now)
        if self._mode == "keys" and (grant.key_id is None or grant.key_id not in self._keys):
            raise Unauthenticated("The key that minted this token is no longer valid.")
        if grant.origin is not None and grant.origin != origin:
            raise Forbidden("The token belongs to another origin.", code="origin_not_allowed")
        return Principal(
            kind="token",
            owner=grant.owner,
            key_id=grant.key_id,
            session=grant.session,
            safety_identifier=grant.safety_identifier,
        )


def _bearer(authorization: str | None) -> str | None:
    scheme, _, credential = (authorization or "").strip().partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None


def _owner_of(key_id: KeyId) -> str:
    return f"key:{key_id}"


def _passing_through(token: str) -> Principal:
    # The owner is written to logs and compared; the token itself must not be.
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
    return Principal(kind="passthrough", owner=f"upstream:{digest[:32]}", upstream_credential=token)
