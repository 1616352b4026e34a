"""Usage of a call that runs, and the prices it is counted by."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from relay.core.pricing import InvalidPrices, PriceTable
from relay.core.usage import CallUsage, Charge
from relay.taps.facts import CallFacts
from relay.taps.usage import UsageTap, load_prices
from tests.taps.call import FACTS


def response(response_id: str) -> dict[str, Any]:
    usage = {"input_tokens": 1000, "input_token_details": {"text_tokens": 1000}}
    return {"type": "response.done", "response": {"id": response_id, "usage": usage}}


def test_usage_tap_tells_each_charge_with_the_calls_sum() -> None:
    told: list[tuple[CallFacts, Charge, CallUsage]] = []
    tap = UsageTap(FACTS, load_prices(), lambda *charged: told.append(charged))

    for response_id in ("r1", "r1", "r2"):
        tap.handle("down", response(response_id), 100)

    assert [(facts.key_id, usage.cost.usd) for facts, _, usage in told] == [
        ("key_1", Decimal("0.004")), ("key_1", Decimal("0.008")),
    ]  # fmt: skip
    assert tap.usage == told[-1][2]
    assert tap.model == "gpt-realtime-2.1"


def test_usage_tap_takes_the_price_of_the_day_it_is_used() -> None:
    prices = PriceTable.parse(
        '[[price]]\nmodel = "gpt-realtime-2.1"\ntext = {input = 1}\n'
        '[[price]]\nmodel = "gpt-realtime-2.1"\nvalid_from = 2026-11-24\ntext = {input = 2}\n'
    )
    tap = UsageTap(FACTS, prices)  # a call that begins ten seconds before midnight

    tap.handle("down", response("r1"), 9_999)
    before = tap.usage.cost.usd
    tap.handle("down", response("r2"), 10_001)

    assert before == Decimal("0.001")
    assert tap.usage.cost.usd == Decimal("0.003")


def test_usage_tap_charges_a_translation_when_the_call_ends() -> None:
    tap = UsageTap(FACTS, load_prices())
    session = {"type": "translation", "model": "gpt-realtime-translate"}
    tap.handle("down", {"type": "session.created", "session": session}, 0)

    tap.finish(60_000)

    assert tap.usage.cost.usd == Decimal("0.034")


def test_prices_come_with_the_package_and_an_operators_file_overrides_them(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text('[[price]]\nmodel = "gpt-realtime-2.1"\ntext = {input = 3.5}\n')

    table = load_prices(own)

    price = table.find("gpt-realtime-2.1", date(2026, 11, 23))
    other = table.find("gpt-realtime-mini", date(2026, 11, 23))
    assert price is not None
    assert (price.text.input, price.audio.input) == (Decimal("3.5"), None)
    assert other is not None


@pytest.mark.parametrize("content", [b"[[price]]\nmodel = 3\n", b"\xff\xfe"])
def test_prices_of_an_operator_that_are_wrong_are_refused_with_their_file(
    tmp_path: Path, content: bytes
) -> None:
    own = tmp_path / "prices.toml"
    own.write_bytes(content)

    with pytest.raises(InvalidPrices, match=r"prices\.toml: "):
        load_prices(own)
