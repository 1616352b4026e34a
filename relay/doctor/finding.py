"""What was found, one line each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """`fatal`: no call can work. `warning`: some will not. `off`: not configured, or not tried."""

    GOOD = "good"
    WARNING = "warning"
    FATAL = "fatal"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is its name on the wire, `detail` what was seen, `advice` what to do about it."""

    check: str
    status: Status
    detail: str
    advice: str = ""
    elapsed_ms: float | None = None
