"""Numbers that came as text."""

from __future__ import annotations


def whole_number(text: str, max_digits: int = 15) -> int | None:
    """What ASCII digits say, at most so many; None for everything else: `int` takes signs, blanks,
    underscores, and digits of any script."""
    is_one = text.isascii() and text.isdecimal() and len(text) <= max_digits
    return int(text) if is_one else None
