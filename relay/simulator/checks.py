"""Checks of wire JSON: each takes a value and its path; they speak OpenAI's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from relay.simulator.errors import RejectedError, invalid_type, invalid_value, missing, unknown

MAX_ENTRIES = 128

Check = Callable[[Any, str], None]


def object_(value: Any, path: str) -> None:
    if not isinstance(value, Mapping):
        raise invalid_type(path, "an object")


def text(value: Any, path: str) -> None:
    if not isinstance(value, str):
        raise invalid_type(path, "a string")


def flag(value: Any, path: str) -> None:
    if not isinstance(value, bool):
        raise invalid_type(path, "a boolean")


def anything(_value: Any, _path: str) -> None:
    """Not looked into."""


def number(low: float, high: float, *, whole: bool = False) -> Check:
    def check(value: Any, path: str) -> None:
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise invalid_type(path, "an integer" if whole else "a decimal")
        if not low <= value <= high:
            bound, side = (low, "above") if value < low else (high, "below")
            code = "decimal_below_min_value" if value < low else "decimal_above_max_value"
            raise RejectedError(
                f"Invalid '{path}': expected a value {side} or equal to {bound:g}, "
                f"but got {str(value)[:32]} instead.",
                code=code.replace("decimal", "integer") if whole else code,
                param=path,
            )

    return check


def one_of(*supported: str) -> Check:
    def check(value: Any, path: str) -> None:
        text(value, path)
        if value not in supported:
            raise invalid_value(path, value, supported)

    return check


def optional(check: Check) -> Check:
    return lambda value, path: None if value is None else check(value, path)


def list_of(check: Check, *, at_most: int = MAX_ENTRIES) -> Check:
    def check_all(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise invalid_type(path, "an array")
        if len(value) > at_most:
            raise RejectedError(
                f"Invalid '{path}': array too long.", code="array_above_max_length", param=path
            )
        for n, entry in enumerate(value):
            check(entry, f"{path}[{n}]")

    return check_all


def fields(known: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    def check(value: Any, path: str) -> None:
        object_(value, path)
        for name in required:
            if name not in value:
                raise missing(f"{path}.{name}")
        for name, entry in value.items():
            if name not in known:
                raise unknown(f"{path}.{name}")
            known[name](entry, f"{path}.{name}")

    return check
