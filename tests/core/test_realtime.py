"""The event envelope: known, unknown and broken messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.realtime import EventEnvelope, Unparsable, error_event


@pytest.mark.parametrize("as_bytes", [False, True])
def test_envelope_of_an_event_has_its_type_and_id(as_bytes: bool) -> None:
    text = '{"type":"response.create","event_id":"evt_1","response":{"x":1}}'

    envelope = EventEnvelope.parse(text.encode() if as_bytes else text)

    assert envelope == EventEnvelope("response.create", "evt_1", json.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"brand.new"}',
        '{"type":"brand.new","event_id":null}',
        '{"type":"brand.new","event_id":7}',
    ],
)
def test_envelope_of_an_unknown_event_without_id_is_read(text: str) -> None:
    envelope = EventEnvelope.parse(text)

    assert isinstance(envelope, EventEnvelope)
    assert (envelope.type, envelope.event_id) == ("brand.new", None)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ('{"type":"x"}'.encode("utf-16"), "not JSON"),
        ("[" * 200_000, "not JSON"),
        ('{"a":' * 200_000, "not JSON"),
        ('{"type":"x","n":' + "9" * 10_000 + "}", "not JSON"),
        ("[]", "not an object"),
        ("null", "not an object"),
        ('"type"', "not an object"),
        ("{}", "no type"),
        ('{"type":null}', "no type"),
        ('{"type":["x"]}', "no type"),
    ],
)
def test_envelope_of_what_is_no_event_says_why(message: str | bytes, reason: str) -> None:
    assert EventEnvelope.parse(message) == Unparsable(reason)


@given(st.text() | st.binary())
def test_envelope_of_anything_is_an_event_or_unparsable(message: str | bytes) -> None:
    assert isinstance(EventEnvelope.parse(message), EventEnvelope | Unparsable)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.text(), st.dictionaries(st.text(), JSON))
def test_envelope_of_any_event_keeps_all_of_it(event_type: str, fields: dict[str, Any]) -> None:
    event = {**fields, "type": event_type}

    envelope = EventEnvelope.parse(json.dumps(event))

    assert isinstance(envelope, EventEnvelope)
    assert envelope.type == event_type
    assert envelope.event == event


def test_error_event_is_shaped_as_the_upstreams() -> None:
    text = error_event(
        event_id="event_1",
        error_type="invalid_request_error",
        code="message_too_large",
        message="Too large: 5 bytes.",
        param="audio",
        cause_id="evt_9",
    )

    assert json.loads(text) == {
        "type": "error",
        "event_id": "event_1",
        "error": {
            "type": "invalid_request_error",
            "code": "message_too_large",
            "message": "Too large: 5 bytes.",
            "param": "audio",
            "event_id": "evt_9",
        },
    }


def test_error_event_without_a_cause_has_nulls() -> None:
    envelope = EventEnvelope.parse(
        error_event(event_id="event_1", error_type="server_error", code="x", message="y")
    )

    assert isinstance(envelope, EventEnvelope)
    assert envelope.event["error"] == {
        "type": "server_error",
        "code": "x",
        "message": "y",
        "param": None,
        "event_id": None,
    }
