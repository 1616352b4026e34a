"""What a call has used and cost so far, and the prices that are loaded at the start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from relay.core.ids import Direction
from relay.core.pricing import InvalidPrices, PriceTable
from relay.core.usage import CallUsage, Charge, UsageMeter
from relay.taps.facts import CallFacts

OnCharge = Callable[[CallFacts, Charge, CallUsage], None]
"""A response or a transcription was charged for; the call's usage with it."""


class UsageTap:
    """One call's, fed by one thread. `usage` may be read by any: it is replaced, never changed."""

    def __init__(
        self, facts: CallFacts, prices: PriceTable, on_charge: OnCharge | None = None
    ) -> None:
        self._facts = facts
        self._on_charge = on_charge
        self._meter = UsageMeter(prices, facts.model)

    @property
    def usage(self) -> CallUsage:
        return self._meter.usage

    @property
    def model(self) -> str | None:
        """The session's, as the upstream tells it."""
        return self._meter.model

    def handle(self, direction: Direction, event: Mapping[str, Any], at_ms: float) -> None:
        """Takes an event."""
        self._tell(self._meter.handle(direction, event, at_ms, self._day(at_ms)))

    def finish(self, at_ms: float) -> None:
        """The call is over."""
        self._tell(self._meter.finish(at_ms, self._day(at_ms)))

    def _day(self, at_ms: float) -> date:
        return self._facts.utc(self._facts.started_s + at_ms / 1000).date()

    def _tell(self, charge: Charge | None) -> None:
        if charge is not None and self._on_charge is not None:
            self._on_charge(self._facts, charge, self._meter.usage)


def load_prices(operators: Path | None = None) -> PriceTable:
    """The prices that come with the relay, overridden by the operator's file.

    For the start: it waits for the disk. Raises InvalidPrices, whose message names the file, and
    OSError.
    """
    built_in = (resources.files("relay.core") / "prices.toml").read_text(encoding="utf-8")
    table = PriceTable.parse(built_in)
    if operators is None:
        return table
    try:
        return table.overridden_by(PriceTable.parse(operators.read_text(encoding="utf-8")))
    except (InvalidPrices, UnicodeDecodeError) as error:
        raise InvalidPrices(f"{operators}: {error}") from error
