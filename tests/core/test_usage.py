"""What a call used: counted once, priced by the day, told in full."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.ids import Direction
from relay.core.pricing import Cost, PriceTable
from relay.core.tokens import Tokens, TokenUsage
from relay.core.usage import (
    MAX_LINES,
    MAX_REMEMBERED,
    CallUsage,
    Charge,
    MalformedUsage,
    UsageLine,
    UsageMeter,
)
from tests.taps.rehearsal import Rehearsal, everything

PRICES = PriceTable.parse(
    (Path(__file__).parents[2] / "relay" / "core" / "prices.toml").read_text()
)
TODAY = date(2026, 11, 23)


def meter(model: str | None = "gpt-realtime-2.1") -> UsageMeter:
    return UsageMeter(PRICES, model)


def response(response_id: object = "resp_1", text: int = 100, **more: Any) -> dict[str, Any]:
    usage = {
        "total_tokens": text,
        "input_tokens": text,
        "input_token_details": {"text_tokens": text},
    }
    return {"type": "response.done", "response": {"id": response_id, "usage": usage, **more}}


def transcription(item_id: str, usage: Any, content_index: int = 0) -> dict[str, Any]:
    return {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": item_id,
        "content_index": content_index,
        "transcript": "hello",
        "usage": usage,
    }


def session(**fields: Any) -> dict[str, Any]:
    return {"type": "session.updated", "session": fields}


def transcribing(model: str) -> dict[str, Any]:
    return session(audio={"input": {"transcription": {"model": model}}})


def play(stage: Rehearsal, counted: UsageMeter) -> list[Charge]:
    charges = [counted.handle(way, event, at_ms, TODAY) for way, event, at_ms in stage.spoken]
    return [charge for charge in charges if charge is not None]


def test_usage_of_a_whole_call_is_the_sum_of_what_the_upstream_told() -> None:
    stage, counted = everything(), meter(None)

    charges = play(stage, counted)

    told = [event["response"]["usage"] for event in stage.all("response.done")]
    assert [charge.kind for charge in charges].count("response") == len(told) == 6
    responses, transcriptions = sorted(counted.usage.lines, key=lambda line: line.kind)
    assert (responses.model, responses.count) == ("gpt-realtime-2.1", 6)
    assert responses.tokens.total == sum(usage["total_tokens"] for usage in told)
    assert responses.tokens.cached.total == sum(
        usage["input_token_details"]["cached_tokens"] for usage in told
    )
    assert responses.cost.is_complete
    # By hand: every token of the six responses at the prices of gpt-realtime-2.1.
    nano = 0
    for usage in told:
        given, made = usage["input_token_details"], usage["output_token_details"]
        cached = given["cached_tokens_details"]
        nano += 4000 * (given["text_tokens"] - cached["text_tokens"])
        nano += 32000 * (given["audio_tokens"] - cached["audio_tokens"])
        nano += 400 * (cached["text_tokens"] + cached["audio_tokens"])
        nano += 24000 * made["text_tokens"] + 64000 * made["audio_tokens"]
    assert responses.cost.usd == Decimal(nano).scaleb(-9)
    # gpt-transcribe is priced by the minute, and told its tokens here: no price is guessed.
    assert (transcriptions.model, transcriptions.count) == ("gpt-transcribe", 3)
    assert transcriptions.cost == Cost(unpriced_tokens=transcriptions.tokens.total)


def test_usage_of_a_call_told_twice_is_counted_once() -> None:
    stage, counted = everything(), meter()
    play(stage, counted)
    once = counted.usage

    again = play(stage, counted)

    assert again == []
    assert counted.usage == once


def test_usage_that_a_client_tells_is_nothing() -> None:
    counted = meter()

    charge = counted.handle("up", response(), 0.0, TODAY)

    assert charge is None
    assert counted.usage == CallUsage()


def test_usage_of_a_session_that_follows_another_is_added_under_its_model() -> None:
    counted = meter()
    counted.handle("down", session(model="gpt-realtime-2.1"), 0.0, TODAY)
    counted.handle("down", response("resp_1"), 0.0, TODAY)
    counted.handle("down", session(model="gpt-realtime-mini"), 0.0, TODAY)

    counted.handle("down", response("resp_1"), 0.0, TODAY)  # replayed
    counted.handle("down", response("resp_2"), 0.0, TODAY)

    assert [(line.model, line.count) for line in counted.usage.lines] == [
        ("gpt-realtime-2.1", 1),
        ("gpt-realtime-mini", 1),
    ]
    assert counted.model == "gpt-realtime-mini"


def test_usage_of_a_failed_response_without_usage_is_a_response_that_costs_nothing() -> None:
    counted = meter()

    charge = counted.handle("down", response(usage=None, status="failed"), 0.0, TODAY)

    assert charge == Charge("response", "gpt-realtime-2.1")
    assert counted.usage.lines[0].count == 1


def test_usage_of_an_unknown_model_is_told_as_unpriced() -> None:
    counted = meter("my-deployment")

    counted.handle("down", response(text=100), 0.0, TODAY)

    assert counted.usage.cost == Cost(unpriced_tokens=100)


def test_usage_of_a_transcription_by_seconds_is_priced_by_its_own_model() -> None:
    counted = meter()
    counted.handle("down", transcribing("gpt-realtime-whisper"), 0.0, TODAY)

    charge = counted.handle(
        "down", transcription("item_1", {"type": "duration", "seconds": 30}), 0.0, TODAY
    )

    assert charge is not None
    assert (charge.model, charge.seconds) == ("gpt-realtime-whisper", Decimal(30))
    assert charge.cost == Cost(Decimal("0.0085"))


def test_usage_of_two_parts_of_an_item_is_both() -> None:
    counted = meter()
    counted.handle("down", transcribing("gpt-transcribe"), 0.0, TODAY)
    told = {"type": "duration", "seconds": 60}

    for part in (0, 1, 1):
        counted.handle("down", transcription("item_1", told, part), 0.0, TODAY)

    (line,) = counted.usage.lines
    assert (line.count, line.seconds) == (2, Decimal(120))
    assert line.cost == Cost(Decimal("0.009"), is_approximate=True)


def test_usage_after_a_session_update_that_leaves_audio_out_keeps_the_transcriber() -> None:
    counted = meter()
    counted.handle("down", transcribing("gpt-transcribe"), 0.0, TODAY)
    counted.handle("down", session(model="gpt-realtime-2.1"), 0.0, TODAY)

    counted.handle("down", transcription("item_1", {"type": "duration", "seconds": 1}), 0.0, TODAY)

    assert counted.usage.lines[0].model == "gpt-transcribe"


def test_usage_of_a_translation_is_the_time_it_lasted_once() -> None:
    counted = meter("gpt-realtime-translate")
    counted.handle("down", session(type="translation", model="gpt-realtime-translate"), 250, TODAY)
    counted.handle("down", session(type="translation"), 9000, TODAY)

    charge = counted.finish(120_250, TODAY)
    again = counted.finish(500_000, TODAY)

    assert charge is not None
    assert (charge.kind, charge.seconds, charge.cost) == (
        "session", Decimal(120), Cost(Decimal("0.068")),
    )  # fmt: skip
    assert again is None


def test_usage_of_a_voice_session_has_no_price_for_its_time() -> None:
    counted = meter()
    counted.handle("down", session(type="realtime", model="gpt-realtime-2.1"), 0, TODAY)

    assert counted.finish(60_000, TODAY) is None


def test_usage_remembers_a_bounded_number_of_ids() -> None:
    counted = meter()

    for n in range(MAX_REMEMBERED + 1):
        counted.handle("down", response(f"resp_{n}", text=1), 0.0, TODAY)
    counted.handle("down", response(f"resp_{MAX_REMEMBERED}", text=1), 0.0, TODAY)
    assert counted.usage.lines[0].count == MAX_REMEMBERED + 1

    counted.handle("down", response("resp_0", text=1), 0.0, TODAY)  # forgotten
    assert counted.usage.lines[0].count == MAX_REMEMBERED + 2


def test_usage_of_endless_models_has_bounded_lines_and_loses_nothing() -> None:
    counted = meter()

    for n in range(MAX_LINES * 3):
        counted.handle("down", session(model=f"model-{n}" + "x" * 10_000), 0.0, TODAY)
        counted.handle("down", response(f"resp_{n}", text=1), 0.0, TODAY)

    assert len(counted.usage.lines) == MAX_LINES + 1
    assert counted.usage.tokens.total == MAX_LINES * 3
    assert all(len(line.model or "") <= 128 for line in counted.usage.lines)


def test_usage_as_json_has_totals_and_lines() -> None:
    counted = meter()
    counted.handle("down", response(text=250), 0.0, TODAY)

    told = json.loads(json.dumps(counted.usage.to_json()))

    assert told["cost_usd"] == 0.001
    assert told["tokens"]["input"] == {"text": 250, "audio": 0, "image": 0}
    assert told["lines"][0]["kind"] == "response"
    assert CallUsage.from_json(told) == counted.usage


@pytest.mark.parametrize(
    "value", [None, [], {}, {"lines": {}}, {"lines": [3]}, {"lines": [{"kind": "gift"}]}]
)
def test_usage_from_something_else_is_refused(value: object) -> None:
    with pytest.raises(MalformedUsage):
        CallUsage.from_json(value)


NUMBERS = st.integers(-5, 1000) | st.none() | st.floats() | st.text(max_size=3)
DETAILS = st.dictionaries(
    st.sampled_from(["text_tokens", "audio_tokens", "image_tokens", "cached_tokens"]), NUMBERS
)
USAGE = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["tokens", "duration"]),
        "seconds": NUMBERS,
        "input_tokens": NUMBERS,
        "output_tokens": NUMBERS,
        "input_token_details": DETAILS | NUMBERS,
        "output_token_details": DETAILS | NUMBERS,
    },
)
IDS = st.sampled_from(["a", "b", "c"]) | NUMBERS
MODELS = st.sampled_from(["gpt-realtime-2.1", "gpt-transcribe", "gpt-realtime-whisper", "else", 3])
EVENTS = st.one_of(
    st.builds(lambda i, u: {"type": "response.done", "response": {"id": i, "usage": u}},
              IDS, USAGE | NUMBERS),
    st.builds(lambda i, u: transcription(i, u), IDS, USAGE | NUMBERS),
    st.builds(lambda m: session(model=m), MODELS),
    st.builds(lambda m: session(audio={"input": {"transcription": {"model": m}}}), MODELS),
    st.builds(lambda v: {"type": "session.created", "session": v}, NUMBERS | DETAILS),
    st.builds(lambda v: {"type": "response.done", "response": v}, NUMBERS),
    st.fixed_dictionaries({"type": NUMBERS}),
)  # fmt: skip
WAYS = st.sampled_from(["up", "down", "down", "down"])


@given(st.lists(st.tuples(WAYS, EVENTS), max_size=40))
def test_usage_of_any_events_is_the_sum_of_its_charges(
    events: list[tuple[Direction, dict[str, Any]]],
) -> None:
    counted, charges = meter(), []

    for way, event in events:
        charge = counted.handle(way, event, 0.0, TODAY)
        if charge is not None:
            charges.append(charge)

    usage = counted.usage
    assert usage.tokens == sum((charge.tokens for charge in charges), TokenUsage())
    assert usage.cost == sum((charge.cost for charge in charges), Cost())
    assert sum(line.count for line in usage.lines) == len(charges)
    assert all(charge.cost.usd >= 0 for charge in charges)
    assert CallUsage.from_json(json.loads(json.dumps(usage.to_json()))) == usage


def test_usage_line_of_a_line_adds_its_count() -> None:
    line = UsageLine("response", "m", 3, TokenUsage(Tokens(5)))

    assert CallUsage((line,)).plus(line).lines == (
        UsageLine("response", "m", 6, TokenUsage(Tokens(10))),
    )
