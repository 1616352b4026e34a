"""When the simulator calls a function, and with what: deterministic, since it understands nothing.

A response calls a function when tools are set and
- `tool_choice` forces it (`required`: the first tool; an object: the one it names), or
- the text of the last user message contains a tool's name (case ignored, `_` as good as a space),
- or the response answers a voice turn, for every second one (the 2nd, 4th, …): the first tool.
It never does when `tool_choice` is `none`, nor when the last item is a function's output: that is
answered in words, or a forced choice would never end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from relay.simulator.history import History, Item

_MAX_DEPTH = 8


def tool_to_call(
    tools: Sequence[Mapping[str, Any]], choice: Any, history: History, voice_turns: int
) -> Mapping[str, Any] | None:
    """The tool that this response calls, or None; `voice_turns` counts the committed ones."""
    functions = [tool for tool in tools if tool["type"] == "function"]
    last = history.last
    answers_a_tool = last is not None and last.wire["type"] == "function_call_output"
    if not functions or choice == "none" or answers_a_tool:
        return None
    if isinstance(choice, Mapping):
        return next((tool for tool in functions if tool["name"] == choice.get("name")), None)
    if choice == "required":
        return functions[0]
    return _named(functions, last) or _every_second_voice_turn(functions, last, voice_turns)


def _named(functions: Sequence[Mapping[str, Any]], last: Item | None) -> Mapping[str, Any] | None:
    if last is None or last.wire.get("role") != "user" or last.audio_ms:
        return None
    said = last.text.lower()
    return next(
        (
            tool
            for tool in functions
            if tool["name"].lower() in said or tool["name"].lower().replace("_", " ") in said
        ),
        None,
    )


def _every_second_voice_turn(
    functions: Sequence[Mapping[str, Any]], last: Item | None, voice_turns: int
) -> Mapping[str, Any] | None:
    is_voice = last is not None and last.wire.get("role") == "user" and last.audio_ms > 0
    return functions[0] if is_voice and voice_turns % 2 == 0 else None


def example_arguments(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Arguments that fit an object's JSON schema: each required property, the first enum value."""
    value = _example(schema or {}, 0)
    return value if isinstance(value, dict) else {}


def _example(schema: Mapping[str, Any], depth: int) -> Any:
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    kind = schema.get("type", "object" if depth == 0 else "string")
    if kind == "object" and depth < _MAX_DEPTH:
        return _example_object(schema, depth)
    plain = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "null": None, "object": {}}
    return plain.get(kind, "Paris") if isinstance(kind, str) else "Paris"


def _example_object(schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    required = schema.get("required")
    if not isinstance(properties, Mapping) or not isinstance(required, list):
        return {}
    wanted = (
        name
        for name in required
        if isinstance(name, str) and isinstance(properties.get(name), Mapping)
    )
    return {name: _example(properties[name], depth + 1) for name in wanted}
