"""Times as they are written everywhere: RFC 3339, in UTC, to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(at: datetime) -> str:
    """`2026-01-31T12:00:00.000000Z`; `at` is aware."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
