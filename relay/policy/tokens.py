"""Our own `ek_` tokens: short-lived, stateless, and sealed.

A token carries who minted it and the session configuration to call with. It is encrypted and
authenticated (Fernet), so a browser that holds it can neither read the instructions nor change
them. Any process with the same secret takes it; nothing is stored.
"""

from __future__ import annotations

import base64
import json
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from relay.core.errors import InvalidRequest, Unauthenticated
from relay.core.ids import KeyId

TOKEN_PREFIX: Final = "ek_relay_"  # noqa: S105  (no secret: it tells our tokens from the upstream's)
MAX_TOKEN_BYTES: Final = 60_000
"""A token travels in a header; the server takes headers a little longer than this."""

MIN_LIFE_S: Final = 10
MAX_LIFE_S: Final = 7200
DEFAULT_LIFE_S: Final = 600


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token lets its bearer do.

    `owner` and `key_id` are the minter's, see `Principal`. `session` is wire JSON in GA shape.
    `expires_at` is in seconds of Unix time. `origin`, if there is one, is the only web origin that
    may use the token. `safety_identifier` goes upstream with each call.
    """

    owner: str
    expires_at: int
    key_id: KeyId | None = None
    session: Mapping[str, Any] = field(default_factory=dict)
    origin: str | None = None
    safety_identifier: str | None = None


class TokenMint:
    """Seals grants into tokens and opens them again.

    Without a secret it makes one, and its tokens die with it. `old_secrets` open, but never seal.
    """

    def __init__(self, secret: str | None = None, old_secrets: Sequence[str] = ()) -> None:
        all_secrets = (secret or secrets.token_urlsafe(32), *old_secrets)
        self._box = MultiFernet([Fernet(_key_from(text)) for text in all_secrets])

    def mint(self, grant: Grant, now: float) -> str:
        """The token; raises InvalidRequest if the session is too large to travel in a header."""
        payload = zlib.compress(json.dumps(asdict(grant)).encode())
        sealed = self._box.encrypt_at_time(payload, int(now)).decode("ascii")
        if len(sealed) > MAX_TOKEN_BYTES:
            raise InvalidRequest(
                f"The session is too large for a token ({len(sealed)} bytes sealed, at most "
                f"{MAX_TOKEN_BYTES}); shorten its instructions or tools.",
                code="session_too_large",
                param="session",
            )
        return TOKEN_PREFIX + sealed

    def open(self, token: str, now: float) -> Grant:
        """What the token grants; raises Unauthenticated if it is forged, foreign or expired."""
        try:
            payload = self._box.decrypt(token.removeprefix(TOKEN_PREFIX).encode())
        except (InvalidToken, UnicodeEncodeError):
            raise Unauthenticated("The token is not one of this relay's.") from None
        grant = Grant(**json.loads(zlib.decompress(payload)))
        if grant.expires_at <= now:
            raise Unauthenticated("The token has expired; get a new one.", code="token_expired")
        return grant


def _key_from(secret: str) -> bytes:
    # The format's version is in the key: a token of another one opens as little as a forged one.
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"relay ek_ token v1")
    return base64.urlsafe_b64encode(derived.derive(secret.encode()))
