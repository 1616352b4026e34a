"""Usage added up over calls."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from relay.core.pricing import Cost
from relay.core.tokens import Tokens, TokenUsage
from relay.core.usage import CallUsage, Kind, UsageLine
from relay.core.usagetotals import CallTotals, GroupBy, aggregate

MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)
VOICE, WRITER = "gpt-realtime-2.1", "gpt-transcribe"


def line(model: str | None, tokens: int, usd: str) -> UsageLine:
    kind: Kind = "transcription" if model == WRITER else "response"
    return UsageLine(kind, model, 1, TokenUsage(Tokens(tokens)), cost=Cost(Decimal(usd)))


def call(day: date, key: str | None, *lines: UsageLine, duration_s: float = 60.0) -> CallTotals:
    return CallTotals(day, key, VOICE, duration_s, CallUsage(lines))


CALLS = [
    call(MONDAY, "key_a", line(VOICE, 100, "0.1"), line(WRITER, 10, "0.01")),
    call(MONDAY, "key_b", line(VOICE, 200, "0.2")),
    call(TUESDAY, "key_a", line(VOICE, 400, "0.4"), duration_s=30.5),
    call(TUESDAY, None),
]


def test_totals_by_day_have_the_newest_first() -> None:
    rows = aggregate(CALLS, ["day"])

    assert [(row.day, row.key, row.calls, row.duration_s, row.cost.usd) for row in rows] == [
        (TUESDAY, None, 2, 90.5, Decimal("0.4")),
        (MONDAY, None, 2, 120.0, Decimal("0.31")),
    ]


def test_totals_by_key_have_calls_without_one_under_none() -> None:
    rows = aggregate(CALLS, ["key"])

    assert [(row.key, row.calls, row.tokens.total) for row in rows] == [
        (None, 1, 0),
        ("key_a", 2, 510),
        ("key_b", 1, 200),
    ]


def test_totals_by_model_charge_each_model_and_count_a_call_once() -> None:
    rows = aggregate(CALLS, ["model"])

    assert [(row.model, row.calls, row.duration_s, row.cost.usd) for row in rows] == [
        (VOICE, 4, 210.5, Decimal("0.7")),
        (WRITER, 0, 0.0, Decimal("0.01")),
    ]


def test_totals_by_nothing_are_one_row() -> None:
    (row,) = aggregate(CALLS, [])

    assert row.to_json() == {
        "day": None,
        "key": None,
        "model": None,
        "calls": 4,
        "duration_s": 210.5,
        "tokens": TokenUsage(Tokens(710)).to_json(),
        "seconds": 0.0,
        "cost_usd": 0.71,
        "unpriced_tokens": 0,
        "unpriced_seconds": 0.0,
        "approximate": False,
    }


def test_totals_of_no_calls_are_no_rows() -> None:
    assert aggregate([], ["day", "key", "model"]) == []


LINES = st.builds(
    line,
    st.sampled_from([VOICE, WRITER, "other", None]),
    st.integers(0, 1000),
    st.integers(0, 10**9).map(lambda n: str(Decimal(n).scaleb(-9))),
)
ANY_CALLS = st.lists(
    st.builds(
        lambda day, key, lines: call(day, key, *lines),
        st.sampled_from([MONDAY, TUESDAY]),
        st.sampled_from(["key_a", "key_b", None]),
        st.lists(LINES, max_size=3),
    ),
    max_size=8,
)
GROUPS = st.lists(st.sampled_from(["day", "key", "model"]), unique=True)


@given(ANY_CALLS, GROUPS)
def test_totals_however_grouped_are_the_same_sum(
    calls: list[CallTotals], by: list[GroupBy]
) -> None:
    rows = aggregate(calls, by)

    assert sum(row.calls for row in rows) == len(calls)
    assert sum((row.cost for row in rows), Cost()) == sum(
        (call.usage.cost for call in calls), Cost()
    )
    assert sum((row.tokens for row in rows), TokenUsage()) == sum(
        (call.usage.tokens for call in calls), TokenUsage()
    )
    assert len({(row.day, row.key, row.model) for row in rows}) == len(rows)
