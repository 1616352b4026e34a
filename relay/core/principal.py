"""Who is asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from relay.core.ids import KeyId


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    `owner` decides whose calls are whose: equal owners may act on each other's calls. It is the
    minting key for a key and for every `ek_` token minted with it, one constant where
    `auth.mode` is none.
    `session` is the session configuration an `ek_` token carries (verbatim wire JSON), else None.
    `upstream_credential` is the client's own upstream token, to be passed through instead of the
    server's key, else None. `safety_identifier` is the end user's, as a token was minted with it.
    """

    kind: Literal["anonymous", "key", "token", "passthrough"]
    owner: str
    key_id: KeyId | None = None
    session: Mapping[str, Any] | None = None
    upstream_credential: str | None = field(default=None, repr=False)
    safety_identifier: str | None = None
