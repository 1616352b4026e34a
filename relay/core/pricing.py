"""What tokens and minutes cost, by a price table that is data.

A table is TOML: `[[price]]` entries with `model`, `text`, `audio`, `image` (each of `input`,
`cached`, `output`: USD per million tokens), or `per_minute` (USD), and `valid_from`, the first UTC
day of that price; without it the price has always held. `approximate = true` marks a price that
nobody has confirmed. A model is found by its name, or by its name without the date of a snapshot.
What has no price is told, and costs nothing: no price is guessed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from relay.core.tokens import MODALITIES, Modality, TokenUsage, count, seconds

NANO: Final = Decimal("1e-9")
"""Amounts are whole nano-dollars, so that sums are exact and travel as JSON numbers."""

_MILLION: Final = 1_000_000
_MOST_USD: Final = 1e9
_SNAPSHOT: Final = re.compile(r"-\d{4}-\d{2}-\d{2}\Z")
_RATES: Final = ("input", "cached", "output")
_KEYS: Final = {"model", "valid_from", "per_minute", "approximate", *MODALITIES}
_ZERO: Final = Decimal(0)


class InvalidPrices(ValueError):  # named by the situation
    """A price table that cannot be read; the message names the entry."""


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens of one modality; None: there is no such price."""

    input: Decimal | None = None
    cached: Decimal | None = None
    output: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """One entry. `per_minute` is of audio, in USD; `valid_from` None: always."""

    model: str
    valid_from: date | None = None
    text: Rates = Rates()
    audio: Rates = Rates()
    image: Rates = Rates()
    per_minute: Decimal | None = None
    is_approximate: bool = False

    def of(self, modality: Modality) -> Rates:
        rates: Rates = getattr(self, modality)
        return rates


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount, and what it does not contain because it has no price.

    `is_approximate`: some price is not confirmed, or what was cached is not known, and then counted
    as if it was not.
    """

    usd: Decimal = _ZERO
    unpriced_tokens: int = 0
    unpriced_s: Decimal = _ZERO
    is_approximate: bool = False

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.usd + other.usd,
            self.unpriced_tokens + other.unpriced_tokens,
            self.unpriced_s + other.unpriced_s,
            self.is_approximate or other.is_approximate,
        )

    @property
    def is_complete(self) -> bool:
        return not self.unpriced_tokens and not self.unpriced_s

    def to_json(self) -> dict[str, Any]:
        return {
            "cost_usd": float(self.usd),
            "unpriced_tokens": self.unpriced_tokens,
            "unpriced_seconds": float(self.unpriced_s),
            "approximate": self.is_approximate,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Cost:
        """Reads what `to_json` wrote; what is missing is 0."""
        usd = value.get("cost_usd")
        is_number = isinstance(usd, int | float) and not isinstance(usd, bool)
        return cls(
            usd=_usd(usd) if is_number and usd is not None else _ZERO,
            unpriced_tokens=count(value.get("unpriced_tokens")),
            unpriced_s=seconds(value.get("unpriced_seconds")),
            is_approximate=value.get("approximate") is True,
        )


NO_COST: Final = Cost()


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Every price, of every time."""

    prices: tuple[Price, ...] = ()

    @classmethod
    def parse(cls, text: str) -> PriceTable:
        """Raises InvalidPrices."""
        try:
            found = tomllib.loads(text, parse_float=Decimal)
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise InvalidPrices(f"The price table is no TOML: {error}") from error
        entries = found.get("price", [])
        if set(found) - {"price"} or not isinstance(entries, list):
            raise InvalidPrices("A price table has [[price]] entries and nothing else.")
        prices = tuple(_price(entry, number) for number, entry in enumerate(entries, 1))
        _check_unique(prices)
        return cls(prices)

    def overridden_by(self, other: PriceTable) -> PriceTable:
        """With all that `other` says of a model in the place of what this table says of it."""
        named = {price.model for price in other.prices}
        kept = (price for price in self.prices if price.model not in named)
        return PriceTable((*kept, *other.prices))

    def find(self, model: str | None, day: date) -> Price | None:
        """The price of a model on a UTC day; None where there is none."""
        if model is None:
            return None
        return self._find(model, day) or self._find(_SNAPSHOT.sub("", model), day)

    def _find(self, name: str, day: date) -> Price | None:
        valid = (
            price
            for price in self.prices
            if price.model == name and (price.valid_from or date.min) <= day
        )
        return max(valid, key=lambda price: price.valid_from or date.min, default=None)


def cost_of_tokens(price: Price | None, usage: TokenUsage) -> Cost:
    """`price` None: nothing of it has one."""
    if price is None:
        return Cost(unpriced_tokens=usage.total)
    total, unpriced = _ZERO, usage.unknown
    for name in MODALITIES:
        rates, cached = price.of(name), usage.cached.of(name)
        for number, rate in (
            (usage.input.of(name) - cached, rates.input),
            (cached, rates.cached),
            (usage.output.of(name), rates.output),
        ):
            if rate is None:
                unpriced += number
            else:
                total += number * rate
    usd = (total / _MILLION).quantize(NANO)
    is_approximate = price.is_approximate or bool(usage.unknown_cached)
    return Cost(usd, unpriced, is_approximate=bool(usd) and is_approximate)


def cost_of_seconds(price: Price | None, duration_s: Decimal) -> Cost:
    """`duration_s` is not negative."""
    if price is None or price.per_minute is None:
        return Cost(unpriced_s=duration_s)
    usd = (duration_s * price.per_minute / 60).quantize(NANO)
    return Cost(usd, is_approximate=bool(usd) and price.is_approximate)


def _usd(value: float) -> Decimal:
    return Decimal(str(round(value, 9))) if 0 <= value < _MOST_USD else _ZERO


def _price(entry: Any, number: int) -> Price:
    model = entry.get("model") if isinstance(entry, dict) else None
    if not isinstance(model, str) or not model:
        raise InvalidPrices(f"Entry {number} of the price table has no model.")
    where = f"The price of {model!r}"
    _check_keys(entry, _KEYS, where)
    valid_from = entry.get("valid_from")
    if valid_from is not None and type(valid_from) is not date:
        raise InvalidPrices(f"{where}: valid_from is a date such as 2026-01-31.")
    approximate = entry.get("approximate", False)
    if not isinstance(approximate, bool):
        raise InvalidPrices(f"{where}: approximate is true or false.")
    return Price(
        model,
        valid_from,
        **{name: _rates(entry.get(name, {}), f"{where}: {name}") for name in MODALITIES},
        per_minute=_amount(entry.get("per_minute"), f"{where}: per_minute"),
        is_approximate=approximate,
    )


def _rates(value: Any, where: str) -> Rates:
    if not isinstance(value, dict):
        raise InvalidPrices(f"{where} has input, cached and output.")
    _check_keys(value, _RATES, where)
    return Rates(**{name: _amount(value.get(name), f"{where}.{name}") for name in _RATES})


def _amount(value: Any, where: str) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        amount = Decimal(value)
        if amount.is_finite() and 0 <= amount < _MILLION:
            return amount
    raise InvalidPrices(f"{where} is an amount in USD, 0 or more.")


def _check_keys(entry: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    unknown = sorted(set(entry) - set(known))
    if unknown:
        raise InvalidPrices(f"{where}: unknown key {unknown[0]!r}.")


def _check_unique(prices: tuple[Price, ...]) -> None:
    seen: set[tuple[str, date | None]] = set()
    for price in prices:
        if (price.model, price.valid_from) in seen:
            raise InvalidPrices(f"The price of {price.model!r} is there twice for one day.")
        seen.add((price.model, price.valid_from))
