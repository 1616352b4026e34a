from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.tools import example_arguments


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (None, {}),
        ({"type": "string"}, {}),
        ({"type": "object", "properties": {"a": {}}}, {}),
        (
            {
                "properties": {
                    "n": {"type": "integer"},
                    "b": {"type": "boolean"},
                    "l": {"type": "array"},
                    "o": {"type": "object", "properties": {"s": {}}, "required": ["s"]},
                    "both": {"type": ["string", "null"]},
                },
                "required": ["n", "b", "l", "o", "both", "absent", []],
            },
            {"n": 1, "b": True, "l": [], "o": {"s": "Paris"}, "both": "Paris"},
        ),
    ],
)
def test_example_arguments_fit_their_schema(
    schema: dict[str, Any] | None, arguments: dict[str, Any]
) -> None:
    assert example_arguments(schema) == arguments


SCHEMAS = st.recursive(
    st.none() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from(["type", "properties", "required", "enum", "a", "b"]), inner
    ),
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "required", "enum"]), SCHEMAS))
def test_example_arguments_of_any_schema_are_an_object(schema: dict[str, Any]) -> None:
    assert isinstance(example_arguments(schema), dict)
