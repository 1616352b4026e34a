"""User fragments, passwords and transaction ids (RFC 8445 §5.3, RFC 8489 §5)."""

from __future__ import annotations

import os
import secrets
import string

_ICE_CHARS = string.ascii_letters + string.digits


def new_ufrag() -> str:
    """8 characters: unique among the calls of a process with a shared port."""
    return "".join(secrets.choice(_ICE_CHARS) for _ in range(8))


def new_pwd() -> str:
    """24 characters, 142 bits."""
    return "".join(secrets.choice(_ICE_CHARS) for _ in range(24))


def new_transaction_id() -> bytes:
    return os.urandom(12)
