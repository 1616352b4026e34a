"""The price table: what it holds, how an entry is found, what a sum is."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.pricing import (
    NANO,
    Cost,
    InvalidPrices,
    Price,
    PriceTable,
    Rates,
    cost_of_seconds,
    cost_of_tokens,
)
from relay.core.tokens import MODALITIES, Tokens, TokenUsage

BUILT_IN = Path(__file__).parents[2] / "relay" / "core" / "prices.toml"
TODAY = date(2026, 11, 23)


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return PriceTable.parse(BUILT_IN.read_text())


def rates(text: str) -> Rates:
    """`input / cached / output`, a dash for what there is not."""
    return Rates(*(None if part == "-" else Decimal(part) for part in text.split(" / ")))


@pytest.mark.parametrize(
    ("model", "text", "audio", "image"),
    [
        ("gpt-realtime-2.1", "4 / 0.40 / 24", "32 / 0.40 / 64", "5 / 0.50 / -"),
        ("gpt-realtime-2", "4 / 0.40 / 24", "32 / 0.40 / 64", "5 / 0.50 / -"),
        ("gpt-realtime-2.1-mini", "0.60 / 0.06 / 2.40", "10 / 0.30 / 20", "0.80 / 0.08 / -"),
        ("gpt-realtime-1.5", "4 / 0.40 / 16", "32 / 0.40 / 64", "5 / 0.50 / -"),
        ("gpt-realtime", "4 / 0.40 / 16", "32 / 0.40 / 64", "5 / 0.50 / -"),
        ("gpt-realtime-mini", "0.60 / 0.06 / 2.40", "10 / 0.30 / 20", "- / - / -"),
        ("gpt-4o-mini-realtime-preview", "0.60 / 0.30 / 2.40", "10 / 0.30 / 20", "- / - / -"),
    ],
)
def test_prices_built_in_by_tokens_are_openais(
    table: PriceTable, model: str, text: str, audio: str, image: str
) -> None:
    price = table.find(model, TODAY)

    assert price is not None
    assert (price.text, price.audio, price.image) == (rates(text), rates(audio), rates(image))
    assert price.per_minute is None


@pytest.mark.parametrize(
    ("model", "per_minute"),
    [
        ("gpt-realtime-whisper", "0.017"),
        ("gpt-realtime-translate", "0.034"),
        ("gpt-live-1", "0.05"),
        ("gpt-transcribe", "0.0045"),
    ],
)
def test_prices_built_in_by_minutes_are_openais(
    table: PriceTable, model: str, per_minute: str
) -> None:
    price = table.find(model, TODAY)

    assert price is not None
    assert price.per_minute == Decimal(per_minute)
    assert price.text == price.audio == price.image == Rates()


def test_prices_built_in_that_nobody_confirmed_say_so(table: PriceTable) -> None:
    approximate = {price.model for price in table.prices if price.is_approximate}

    assert approximate == {"gpt-realtime", "gpt-transcribe"}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("gpt-realtime-2025-08-28", "gpt-realtime"),
        ("gpt-realtime-mini-2025-12-15", "gpt-realtime-mini"),
        ("gpt-4o-mini-realtime-preview-2024-12-17", "gpt-4o-mini-realtime-preview"),
        ("gpt-realtime-2.1-mini", "gpt-realtime-2.1-mini"),
        ("gpt-realtime-2.2", None),
        ("gpt-realtime-2.1-maxi", None),
        ("gpt-realtime-2025-08", None),
        ("gpt-realtime-2025-08-28-eu", None),
        ("my-deployment", None),
        ("", None),
        (None, None),
    ],
)
def test_price_of_a_snapshot_is_its_models_and_of_a_stranger_none(
    table: PriceTable, asked: str | None, found: str | None
) -> None:
    price = table.find(asked, TODAY)

    assert (price.model if price else None) == found


DATED = """
[[price]]
model = "m"
per_minute = 1

[[price]]
model = "m"
valid_from = 2026-06-01
per_minute = 2

[[price]]
model = "m"
valid_from = 2026-09-01
per_minute = 3

[[price]]
model = "late"
valid_from = 2026-06-01
per_minute = 7

[[price]]
model = "late-2026-07-01"
per_minute = 9
"""


@pytest.mark.parametrize(
    ("day", "per_minute"),
    [
        (date(2020, 1, 1), 1),
        (date(2026, 5, 31), 1),
        (date(2026, 6, 1), 2),
        (date(2026, 8, 31), 2),
        (date(2026, 9, 1), 3),
        (date(2030, 1, 1), 3),
    ],
)
def test_price_of_a_day_is_the_newest_that_held_then(day: date, per_minute: int) -> None:
    price = PriceTable.parse(DATED).find("m", day)

    assert price is not None
    assert price.per_minute == per_minute


def test_price_before_its_first_day_is_unknown() -> None:
    assert PriceTable.parse(DATED).find("late", date(2026, 5, 31)) is None


def test_price_of_a_snapshot_with_one_of_its_own_is_that() -> None:
    price = PriceTable.parse(DATED).find("late-2026-07-01", TODAY)

    assert price is not None
    assert price.per_minute == 9


def test_prices_of_an_operator_replace_all_of_a_model_and_add_others() -> None:
    own = PriceTable.parse(
        '[[price]]\nmodel = "m"\nvalid_from = 2026-10-01\nper_minute = 0.5\n'
        '[[price]]\nmodel = "my-deployment"\ntext = {input = 1.25}\n'
    )

    table = PriceTable.parse(DATED).overridden_by(own)

    assert table.find("m", date(2026, 9, 30)) is None
    assert table.find("m", TODAY) == Price("m", date(2026, 10, 1), per_minute=Decimal("0.5"))
    assert table.find("late", TODAY) is not None
    mine = table.find("my-deployment", TODAY)
    assert mine is not None
    assert mine.text == Rates(Decimal("1.25"), None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[price", "no TOML"),
        ("prices = []", "[[price]] entries and nothing else"),
        ("price = 3", "[[price]] entries and nothing else"),
        ("price = [3]", "Entry 1"),
        ("[[price]]\nper_minute = 1", "Entry 1 of the price table has no model"),
        ('[[price]]\nmodel = ""', "no model"),
        ("[[price]]\nmodel = 7", "no model"),
        ('[[price]]\nmodel = "m"\nper_hour = 1', "'m': unknown key 'per_hour'"),
        ('[[price]]\nmodel = "m"\ntext = {inputs = 1}', "'m': text: unknown key 'inputs'"),
        ('[[price]]\nmodel = "m"\ntext = 3', "text has input, cached and output"),
        ('[[price]]\nmodel = "m"\ntext = {input = -1}', "text.input is an amount"),
        ('[[price]]\nmodel = "m"\ntext = {input = nan}', "text.input is an amount"),
        ('[[price]]\nmodel = "m"\ntext = {input = inf}', "text.input is an amount"),
        ('[[price]]\nmodel = "m"\ntext = {input = true}', "text.input is an amount"),
        ('[[price]]\nmodel = "m"\ntext = {input = "4"}', "text.input is an amount"),
        ('[[price]]\nmodel = "m"\nper_minute = 1e9', "per_minute is an amount"),
        ('[[price]]\nmodel = "m"\nvalid_from = "2026-01-01"', "valid_from is a date"),
        ('[[price]]\nmodel = "m"\nvalid_from = 2026-01-01T00:00:00', "valid_from is a date"),
        ('[[price]]\nmodel = "m"\napproximate = 1', "approximate is true or false"),
        ('[[price]]\nmodel = "m"\n[[price]]\nmodel = "m"', "twice"),
    ],
)
def test_price_table_that_is_wrong_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(InvalidPrices) as refused:
        PriceTable.parse(text)

    assert message in str(refused.value)


@given(st.text(max_size=200))
def test_price_table_of_any_text_is_read_or_refused(text: str) -> None:
    try:
        table = PriceTable.parse(text)
    except InvalidPrices:
        return
    assert all(price.model for price in table.prices)


def test_cost_of_a_response_takes_the_cached_share_per_modality(table: PriceTable) -> None:
    usage = TokenUsage(
        input=Tokens(text=1000, audio=2000, image=100),
        cached=Tokens(text=640, audio=1920, image=64),
        output=Tokens(text=50, audio=300),
    )

    cost = cost_of_tokens(table.find("gpt-realtime-2.1", TODAY), usage)

    by_hand = 360 * 4 + 640 * 0.4 + 80 * 32 + 1920 * 0.4 + 36 * 5 + 64 * 0.5 + 50 * 24 + 300 * 64
    assert cost == Cost(Decimal(str(by_hand / 1e6)).quantize(NANO))
    assert cost.usd == Decimal("0.025636")
    assert cost.is_complete


def test_cost_where_a_modality_has_no_price_tells_the_tokens(table: PriceTable) -> None:
    usage = TokenUsage(input=Tokens(text=100, image=85), cached=Tokens(image=64))

    cost = cost_of_tokens(table.find("gpt-realtime-mini", TODAY), usage)

    assert cost == Cost(Decimal("0.00006"), unpriced_tokens=85)
    assert not cost.is_complete


def test_cost_without_a_price_is_nothing_and_all_unpriced() -> None:
    usage = TokenUsage(Tokens(10, 20, 30), Tokens(5), Tokens(1, 2), unknown=7)

    assert cost_of_tokens(None, usage) == Cost(unpriced_tokens=70)
    assert cost_of_seconds(None, Decimal(90)) == Cost(unpriced_s=Decimal(90))


def test_cost_of_tokens_of_a_model_that_is_paid_by_the_minute_is_unpriced(
    table: PriceTable,
) -> None:
    price = table.find("gpt-realtime-whisper", TODAY)

    assert cost_of_tokens(price, TokenUsage(Tokens(audio=25))) == Cost(unpriced_tokens=25)
    assert cost_of_seconds(price, Decimal("2.5")) == Cost(Decimal("0.000708333"))


def test_cost_of_seconds_of_a_model_that_is_paid_by_tokens_is_unpriced(table: PriceTable) -> None:
    price = table.find("gpt-realtime-2.1", TODAY)

    assert cost_of_seconds(price, Decimal(60)) == Cost(unpriced_s=Decimal(60))


def test_cost_with_cached_tokens_of_no_modality_is_the_most_it_can_be(table: PriceTable) -> None:
    usage = TokenUsage(Tokens(text=100, audio=100), unknown_cached=64)

    cost = cost_of_tokens(table.find("gpt-realtime-2.1", TODAY), usage)

    assert cost == Cost(Decimal("0.0036"), is_approximate=True)


COUNTS = st.integers(0, 10**9)
MODALITY_TOKENS = st.builds(Tokens, COUNTS, COUNTS, COUNTS)
AMOUNTS = st.none() | st.decimals(0, 999, places=3)
RATES = st.builds(Rates, AMOUNTS, AMOUNTS, AMOUNTS)


@given(
    st.builds(Price, st.just("m"), text=RATES, audio=RATES, image=RATES),
    st.builds(TokenUsage, MODALITY_TOKENS, output=MODALITY_TOKENS, unknown=COUNTS),
    st.floats(0, 1),
)
def test_cost_of_any_usage_is_never_negative_and_leaves_nothing_out(
    price: Price, given_usage: TokenUsage, share: float
) -> None:
    cached = Tokens(*(int(given_usage.input.of(name) * share) for name in MODALITIES))
    usage = TokenUsage(given_usage.input, cached, given_usage.output, given_usage.unknown)

    cost = cost_of_tokens(price, usage)

    assert cost.usd >= 0
    assert given_usage.unknown <= cost.unpriced_tokens <= usage.total
    if all(None not in (price.of(m).input, price.of(m).cached, price.of(m).output)
           for m in MODALITIES):  # fmt: skip
        assert cost.unpriced_tokens == given_usage.unknown


@given(st.decimals(0, 10**6, places=9), COUNTS, st.decimals(0, 10**6, places=3), st.booleans())
def test_cost_through_json_is_the_same(
    usd: Decimal, tokens: int, duration_s: Decimal, approximate: bool
) -> None:
    cost = Cost(usd, tokens, duration_s, approximate)

    assert Cost.from_json(cost.to_json()) == cost
