"""Client events: text, functions, items, and everything that can be wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.client_events import SUPPORTED
from relay.simulator.outbox import Cut, Play
from tests.simulator.stage import HELLO, TOOL, WEATHER, Stage

TEXT = {"output_modalities": ["text"]}


def test_text_message_when_text_is_asked_for_is_answered_in_text() -> None:
    stage = Stage(TEXT)
    stage.say("Hello?")

    stage.send("response.create")
    stage.wait(3.0)

    deltas = "".join(event["delta"] for event in stage.all("response.output_text.delta"))
    assert deltas == stage.only("response.output_text.done")["text"] == HELLO.text
    done = stage.only("response.done")["response"]
    assert done["output"][0]["content"] == [{"type": "output_text", "text": HELLO.text}]
    assert done["usage"]["output_token_details"] == {"text_tokens": 6, "audio_tokens": 0}
    assert stage.audio == []


def test_text_message_in_an_audio_session_is_answered_aloud() -> None:
    stage = Stage()
    stage.say("Hello?")

    stage.send("response.create", response={"metadata": {"topic": "greeting"}})
    stage.wait(3.0)

    assert stage.audio == [Play(HELLO)]
    assert stage.only("response.done")["response"]["metadata"] == {"topic": "greeting"}


def test_response_asked_for_out_of_band_leaves_the_conversation_alone() -> None:
    stage = Stage(TEXT)

    stage.send("response.create", response={"conversation": "none"})
    stage.wait(3.0)

    done = stage.only("response.done")["response"]
    assert done["status"] == "completed"
    assert done["conversation_id"] is None
    assert "conversation.item.added" not in stage.kinds
    assert stage.conversation.history.last is None


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_response_over_its_token_limit_is_incomplete(modality: str) -> None:
    stage = Stage({"output_modalities": [modality]})

    stage.send("response.create", response={"max_output_tokens": 3})
    stage.wait(3.0)

    done = stage.only("response.done")["response"]
    assert done["status"] == "incomplete"
    assert done["status_details"]["reason"] == "max_output_tokens"


def test_tool_named_in_a_text_is_called_and_its_output_answered() -> None:
    stage = Stage({"tools": [WEATHER]})
    stage.say("Please get weather for me.")
    stage.send("response.create")
    stage.wait(3.0)
    call = stage.only("response.function_call_arguments.done")
    pieces = "".join(e["delta"] for e in stage.all("response.function_call_arguments.delta"))
    assert pieces == call["arguments"]
    assert json.loads(call["arguments"]) == {"city": "Paris", "unit": "celsius"}
    assert stage.only("response.done")["response"]["output"][0]["name"] == "get_weather"

    stage.forget()
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    stage.send("conversation.item.create", item=output)
    stage.send("response.create")
    stage.wait(3.0)

    assert stage.audio == [Play(TOOL)]
    assert stage.only("response.output_audio_transcript.done")["transcript"] == TOOL.text


def test_tool_that_is_forced_is_called_once_and_its_output_answered_in_words() -> None:
    stage = Stage({"tools": [WEATHER], "tool_choice": "required", **TEXT})
    stage.send("response.create")
    stage.wait(3.0)
    call = stage.only("response.function_call_arguments.done")

    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    stage.send("conversation.item.create", item=output)
    stage.send("response.create")
    stage.wait(3.0)

    assert stage.only("response.output_text.done")["text"] == TOOL.text


def test_tools_in_a_voice_session_are_called_every_second_turn() -> None:
    stage = Stage({"tools": [WEATHER]})

    for _ in range(4):
        stage.take_turn(1.0)
        stage.wait(11.0)

    outputs = [done["response"]["output"][0]["type"] for done in stage.all("response.done")]
    assert outputs == ["message", "function_call", "message", "function_call"]


def test_tool_choice_none_never_calls() -> None:
    stage = Stage({"tools": [WEATHER], "tool_choice": "none", **TEXT})
    stage.say("get_weather")

    stage.send("response.create")
    stage.wait(3.0)

    assert stage.only("response.output_text.done")


def test_response_create_while_one_is_active_is_refused() -> None:
    stage = Stage()
    stage.send("response.create")

    stage.send("response.create", event_id="second")

    error = stage.error()
    assert error["code"] == "conversation_already_has_active_response"
    assert error["event_id"] == "second"
    assert stage.only("response.created")["response"]["id"] in error["message"]


def test_response_cancel_ends_generation_but_not_what_is_buffered() -> None:
    stage = Stage()
    stage.send("response.create")
    stage.wait(1.2)
    stage.forget()

    stage.send("response.cancel")
    stage.wait(1.0)

    done = stage.only("response.done")["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert stage.audio == [Cut(1200)]
    assert stage.kinds[-1] == "output_audio_buffer.stopped"
    assert round(stage.at("output_audio_buffer.stopped"), 3) == 1.4


def test_response_cancel_and_buffer_clear_as_the_sdk_interrupts_stops_at_once() -> None:
    stage = Stage()
    stage.send("response.create")
    stage.wait(1.2)
    stage.forget()

    stage.send("response.cancel")
    stage.send("output_audio_buffer.clear")
    stage.wait(2.0)

    assert stage.audio[-1] == Cut(1000)
    assert stage.only("conversation.item.truncated")["audio_end_ms"] == 1000
    assert "output_audio_buffer.stopped" not in stage.kinds


def test_output_buffer_clear_alone_also_ends_the_response() -> None:
    stage = Stage()
    stage.send("response.create")
    stage.wait(1.2)

    stage.send("output_audio_buffer.clear")

    assert stage.only("response.done")["response"]["status"] == "cancelled"
    assert stage.only("output_audio_buffer.cleared")


def test_response_cancelled_while_it_thinks_leaves_no_item() -> None:
    stage = Stage()
    stage.send("response.create")

    stage.send("response.cancel")
    stage.wait(3.0)

    assert stage.only("response.done")["response"]["output"] == []
    assert stage.audio == []


def test_response_cancel_when_none_is_active_is_refused() -> None:
    stage = Stage()

    stage.send("response.cancel")

    assert stage.error()["code"] == "response_cancel_not_active"


def test_items_can_be_inserted_retrieved_and_deleted() -> None:
    stage = Stage()
    stage.say("second")
    item = {
        "id": "first",
        "type": "message",
        "role": "system",
        "content": [{"type": "input_text", "text": "Be kind."}],
    }

    stage.send("conversation.item.create", item=item, previous_item_id="root")
    stage.send("conversation.item.retrieve", item_id="first")
    stage.send("conversation.item.delete", item_id="first")

    assert stage.all("conversation.item.added")[1]["previous_item_id"] is None
    retrieved = stage.only("conversation.item.retrieved")["item"]
    assert retrieved["content"] == item["content"]
    assert stage.only("conversation.item.deleted")["item_id"] == "first"
    assert [item.text.strip() for item in stage.conversation.history] == ["second"]


@pytest.mark.parametrize(("limit", "comes_with_audio"), [(0, True), (262144, True), (65536, False)])
def test_retrieved_voice_item_has_its_audio_where_the_client_can_take_it(
    limit: int, comes_with_audio: bool
) -> None:
    stage = Stage(max_message_bytes=limit)
    stage.take_turn(1.0)
    item_id = stage.only("input_audio_buffer.committed")["item_id"]

    stage.send("conversation.item.retrieve", item_id=item_id)

    (part,) = stage.only("conversation.item.retrieved")["item"]["content"]
    assert ("audio" in part) == comes_with_audio
    if comes_with_audio:
        assert len(part["audio"]) == 1500 * 64
    assert limit == 0 or len(json.dumps(stage.events[-1])) < limit


def test_item_truncated_by_the_client_costs_less() -> None:
    stage = Stage({"instructions": ""})
    stage.send("response.create")
    stage.wait(3.0)
    item_id = stage.all("conversation.item.added")[0]["item"]["id"]

    stage.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=500)
    stage.send("response.create")
    stage.wait(12.0)

    assert stage.only("conversation.item.truncated")["audio_end_ms"] == 500
    usage = stage.all("response.done")[1]["response"]["usage"]
    assert usage["input_token_details"]["audio_tokens"] == 10


@pytest.mark.parametrize(
    ("type_", "code"),
    [
        ("conversation.item.truncate", "item_truncate_invalid_item_id"),
        ("conversation.item.delete", "item_delete_invalid_item_id"),
        ("conversation.item.retrieve", "item_retrieve_invalid_item_id"),
    ],
)
def test_item_that_does_not_exist_is_named_with_openais_code(type_: str, code: str) -> None:
    stage = Stage()

    stage.send(type_, item_id="item_nowhere", content_index=0, audio_end_ms=1)

    assert stage.error()["code"] == code
    assert stage.error()["param"] == "item_id"


def test_truncation_beyond_the_audio_is_refused() -> None:
    stage = Stage()
    stage.send("response.create")
    stage.wait(3.0)
    item_id = stage.all("conversation.item.added")[0]["item"]["id"]

    stage.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=9000)

    assert "already shorter than 9000ms" in stage.error()["message"]


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("", "invalid_json", None),
        ("{", "invalid_json", None),
        ("[" * 100_000, "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        ("1" * 5000, "invalid_json", None),
        ("[]", "invalid_type", "event"),
        ("{}", "missing_required_parameter", "type"),
        ('{"type":"session.updat"}', "invalid_value", "type"),
        ('{"type":["a"]}', "invalid_value", "type"),
        ('{"type":"session.update"}', "missing_required_parameter", "session"),
        ('{"type":"session.update","session":[]}', "invalid_type", "session"),
        ('{"type":"conversation.item.create"}', "missing_required_parameter", "item"),
        (
            '{"type":"conversation.item.create","item":{"type":"msg"}}',
            "invalid_value",
            "item.type",
        ),
        (
            '{"type":"conversation.item.create","item":{"type":"message","role":"user","content":'
            '[{"type":"text","text":"beta"}]}}',
            "invalid_value",
            "item.content[0].type",
        ),
        ('{"type":"conversation.item.delete"}', "missing_required_parameter", "item_id"),
        ('{"type":"input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type":"response.create","response":1}', "invalid_type", "response"),
        (
            '{"type":"response.create","response":{"modalities":["text"]}}',
            "unknown_parameter",
            "response.modalities",
        ),
    ],
)
def test_client_event_that_is_wrong_gets_an_error_event(
    message: str | bytes, code: str, param: str | None
) -> None:
    stage = Stage()

    stage.send_raw(message)

    assert (stage.error()["code"], stage.error()["param"]) == (code, param)
    assert stage.error()["type"] == "invalid_request_error"


def test_item_ids_that_collide_or_lead_nowhere_are_refused() -> None:
    stage = Stage()
    item = {"id": "a", "type": "message", "role": "user", "content": []}
    stage.send("conversation.item.create", item=item)

    stage.send("conversation.item.create", item=item)
    stage.send("conversation.item.create", item={**item, "id": "b"}, previous_item_id="nowhere")

    codes = [event["error"]["code"] for event in stage.all("error")]
    assert codes == ["item_create_duplicate_item_id", "item_create_invalid_previous_item_id"]


def test_history_when_too_long_forgets_the_oldest() -> None:
    stage = Stage()

    for n in range(1100):
        stage.say(str(n))

    remembered = [item.text.strip() for item in stage.conversation.history]
    assert len(remembered) == 1000
    assert (remembered[0], remembered[-1]) == ("100", "1099")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["session", "item", "item_id", "response", "audio", "audio_end_ms", "event_id",
         "previous_item_id", "response_id", "content_index"]
    ),
    JSON
    | st.just({"type": "realtime"})
    | st.just({"type": "message", "role": "user", "content": []})
    | st.just("item_1"),
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(SUPPORTED), FIELDS), max_size=8))
def test_conversation_whatever_a_client_sends_answers_and_goes_on(
    sent: list[tuple[str, dict[str, Any]]],
) -> None:
    stage = Stage(TEXT)

    for type_, fields in sent:
        stage.send(type_, **fields)
        stage.wait(0.3)
    stage.wait(20.0)

    assert len(stage.all("response.created")) == len(stage.all("response.done"))
    for event in stage.events:
        json.dumps(event)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_conversation_given_garbage_answers_with_one_error(message: str | bytes) -> None:
    stage = Stage()

    stage.send_raw(message)

    assert stage.kinds == ["session.created", "error"]
