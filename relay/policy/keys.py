"""Relay API keys: made once, stored as hashes.

A key is 256 random bits, so a plain SHA-256 is enough: there is no dictionary to try.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final

from relay.core.ids import KeyId

KEY_PREFIX: Final = "sk-relay-"


def create_key() -> str:
    """A new key, to be shown once."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """What is stored of a key: SHA-256, in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class KeyRing:
    """The keys that may call, by their ids."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = {KeyId(key_id): known.encode("ascii") for key_id, known in hashes.items()}

    def find(self, key: str) -> KeyId | None:
        """The id of `key`, None if it is unknown. Takes the same time whichever it is."""
        presented = hash_of(key).encode("ascii")
        found = None
        for key_id, known in self._hashes.items():
            if hmac.compare_digest(presented, known):
                found = key_id
        return found

    def __contains__(self, key_id: KeyId) -> bool:
        return key_id in self._hashes
