"""The ids that leave the process. Values are made by the caller; `core` has no randomness."""

from __future__ import annotations

from typing import Literal, NewType

CallId = NewType("CallId", str)
"""`rtc_` and 128 random bits or more, base 62: the id in `Location`, as OpenAI shapes it."""

KeyId = NewType("KeyId", str)
"""A relay API key's public name; never the key."""

LegName = Literal["client", "upstream"]
Direction = Literal["up", "down"]
"""up: client → upstream; down: upstream → client."""
