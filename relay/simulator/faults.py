"""Faults on demand: what shall go wrong with a call."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from relay.simulator.errors import RejectedError


class Fail(StrEnum):
    """How the POST of an offer ends, or what the answer is worth."""

    REFUSE = "refuse"  # the connection is dropped before any answer
    NEVER_ANSWER = "never-answer"  # the request hangs until the client gives up
    SLOW = "slow"  # the answer comes late: `delay_s`, or 5 s
    GARBAGE = "garbage"  # 201 with a body that is no SDP
    NO_ICE = "no-ice"  # a good answer, but nothing ever answers at its candidates
    NO_UDP = "no-udp"  # the answer's UDP candidates lead nowhere, only ICE-TCP does
    NO_LOCATION = "no-location"  # a good answer without Location
    BAD_REQUEST = "400"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    RATE_LIMITED = "429"
    SERVER_ERROR = "500"
    UNAVAILABLE = "503"


SLOW_S = 5.0

_REFUSALS = {
    Fail.BAD_REQUEST: RejectedError("The request is refused.", code="invalid_value"),
    Fail.UNAUTHORIZED: RejectedError(
        "Incorrect API key provided.", code="invalid_api_key", status=401
    ),
    Fail.FORBIDDEN: RejectedError(
        "You are not allowed to use this resource.", code="unsupported_country", status=403
    ),
    Fail.NOT_FOUND: RejectedError(
        "The model does not exist or you do not have access to it.",
        code="model_not_found",
        status=404,
    ),
    Fail.RATE_LIMITED: RejectedError(
        "You exceeded your current quota, please check your plan and billing details.",
        code="insufficient_quota",
        type_="insufficient_quota",
        status=429,
    ),
    Fail.SERVER_ERROR: RejectedError(
        "The server had an error while processing your request.", type_="server_error", status=500
    ),
    Fail.UNAVAILABLE: RejectedError(
        "The server is overloaded.", type_="server_error", code="overloaded", status=503
    ),
}


@dataclass(frozen=True, slots=True)
class Faults:
    """What shall go wrong; None and 0 mean nothing.

    `drop_percent` is 0 to 100, of the media packets each way. `close_after_s` counts from the
    connection, which it closes without a word; `expire_after_s` counts from the offer and ends the
    call as OpenAI does at the longest duration, with `session_expired`.
    """

    fail: Fail | None = None
    delay_s: float = 0.0
    drop_percent: float = 0.0
    close_after_s: float | None = None
    expire_after_s: float | None = None

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Reads `429`, `slow`, `delay=2`, or several: `drop=5,close-after=3`.

        Raises RejectedError (param "fault").
        """
        faults = cls()
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, is_setting, value = part.partition("=")
            if is_setting:
                setting: dict[str, Any] = {_field(name): _seconds_or_percent(name, value)}
                faults = replace(faults, **setting)
            else:
                faults = replace(faults, fail=_fail(name))
        return faults

    def overridden_by(self, other: Faults) -> Faults:
        """These faults, with what `other` names in their place."""
        default = Faults()
        changed = {
            field.name: getattr(other, field.name)
            for field in fields(self)
            if getattr(other, field.name) != getattr(default, field.name)
        }
        return replace(self, **changed)

    @property
    def answer_delay_s(self) -> float:
        return self.delay_s or (SLOW_S if self.fail is Fail.SLOW else 0.0)

    @property
    def refusal(self) -> RejectedError | None:
        return _REFUSALS.get(self.fail) if self.fail else None


_FIELDS = {
    "delay": "delay_s",
    "drop": "drop_percent",
    "close-after": "close_after_s",
    "expire-after": "expire_after_s",
}


def _field(name: str) -> str:
    if name not in _FIELDS:
        raise RejectedError(f"Unknown fault '{name}'.", code="invalid_value", param="fault")
    return _FIELDS[name]


def _seconds_or_percent(name: str, value: str) -> float:
    limit = 100.0 if name == "drop" else 86_400.0
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= limit:
        raise RejectedError(
            f"The fault '{name}' takes 0 to {limit:g}.", code="invalid_value", param="fault"
        )
    return number


def _fail(name: str) -> Fail:
    try:
        return Fail(name)
    except ValueError:
        raise RejectedError(
            f"Unknown fault '{name}'.", code="invalid_value", param="fault"
        ) from None
