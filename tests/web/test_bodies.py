"""JSON from outside, and what Python's parser would let pass."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import InvalidRequest
from relay.web.bodies import MAX_JSON_DEPTH, parse_json_object

pieces = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"a"',
        b":",
        b",",
        b"1",
        b"NaN",
        b"1e999",
        b"-Infinity",
        b'"\\ud800"',
        b"\xff",
    ]
)


@given(st.lists(pieces, max_size=12).map(b"".join) | st.binary())
def test_json_any_bytes_end_in_an_object_that_can_be_sent_or_in_a_typed_error(data: bytes) -> None:
    try:
        value = parse_json_object(data, name="session")
    except InvalidRequest:
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(("depth", "taken"), [(MAX_JSON_DEPTH, True), (MAX_JSON_DEPTH + 1, False)])
def test_json_has_a_bound_of_depth(depth: int, taken: bool) -> None:
    data = b'{"a":' * depth + b"1" + b"}" * depth

    if taken:
        assert "a" in parse_json_object(data, name="session")
    else:
        with pytest.raises(InvalidRequest, match="deeply"):
            parse_json_object(data, name="session")


@pytest.mark.parametrize("value", [b"9" * 5000, b"1e999", b"-1e999", b"NaN", b'"\\ud800"', b"1."])
def test_json_value_that_could_not_be_sent_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_json_object(b'{"a":' + value + b"}", name="session")
