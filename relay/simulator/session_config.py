"""The GA session object: its defaults, its validation and `session.update`'s merge.

In scope: realtime sessions, every documented field, the error codes that public logs show.
Out of scope: transcription-only sessions, which are accepted and behave as realtime ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from relay.simulator.checks import (
    Check,
    anything,
    fields,
    flag,
    list_of,
    number,
    object_,
    one_of,
    optional,
    text,
)
from relay.simulator.errors import RejectedError, missing

SESSION_TYPES = ("realtime", "transcription")
VOICES = (
    "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar",
)  # fmt: skip
TURN_DETECTIONS = ("server_vad", "semantic_vad")
EAGERNESS = ("low", "medium", "high", "auto")
MODALITIES = ("audio", "text")

_Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """How turns are told apart. `threshold` is 0 to 1, as the API has it."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: int | None = None


_SEMANTIC_SILENCE_MS = {"low": 1000, "medium": 500, "auto": 500, "high": 300}
"""A stand-in for semantics: how long a silence must last before the turn counts as finished."""


def new_session(session_id: str, model: str, given: _Json | None = None) -> dict[str, Any]:
    """The effective session at the start; raises RejectedError for what `given` has wrong.

    `given` is what the client or its token brought, checked with `check_session` rules.
    """
    session: dict[str, Any] = {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "You are the upstream simulator of relay.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": 0,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": _turn_detection_defaults("server_vad"),
            },
            "output": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "voice": "alloy",
                "speed": 1.0,
            },
        },
        "include": None,
    }
    return session if given is None else updated(session, given)


def updated(session: _Json, patch: _Json, *, audio_was_spoken: bool = False) -> dict[str, Any]:
    """The session after a `session.update`: only what `patch` names changes.

    The model of a session never changes: another one is ignored, since official clients always
    send theirs. Raises RejectedError and changes nothing.
    """
    check_session(patch)
    result = deepcopy(dict(session))
    for name, value in patch.items():
        if name == "audio":
            _merge_audio(result["audio"], value or {})
        elif name not in ("type", "model"):
            result[name] = deepcopy(value)
    voice = result["audio"]["output"]["voice"]
    if audio_was_spoken and voice != session["audio"]["output"]["voice"]:
        raise RejectedError(
            "Cannot update a conversation's voice if assistant audio is present.",
            code="cannot_update_voice",
        )
    return result


def turn_detection_of(session: _Json) -> TurnDetection | None:
    """None: the client commits and asks for responses by itself."""
    wire = session["audio"]["input"]["turn_detection"]
    if wire is None:
        return None
    common = TurnDetection(
        create_response=wire["create_response"], interrupt_response=wire["interrupt_response"]
    )
    if wire["type"] == "semantic_vad":
        silence_ms = _SEMANTIC_SILENCE_MS[wire["eagerness"]]
        return TurnDetection(
            silence_duration_ms=silence_ms,
            create_response=common.create_response,
            interrupt_response=common.interrupt_response,
        )
    return TurnDetection(
        threshold=wire["threshold"],
        prefix_padding_ms=wire["prefix_padding_ms"],
        silence_duration_ms=wire["silence_duration_ms"],
        create_response=common.create_response,
        interrupt_response=common.interrupt_response,
        idle_timeout_ms=wire["idle_timeout_ms"],
    )


def check_session(session: Any, path: str = "session") -> None:
    """Raises RejectedError where OpenAI would: unknown names, wrong types, values out of range."""
    object_(session, path)
    if "type" not in session:
        raise missing(f"{path}.type")
    fields(_SESSION)(session, path)


def _turn_detection_defaults(kind: str) -> dict[str, Any]:
    common = {"create_response": True, "interrupt_response": True}
    if kind == "semantic_vad":
        return {"type": kind, "eagerness": "auto", **common}
    return {
        "type": kind,
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "idle_timeout_ms": None,
        **common,
    }


def _merge_audio(audio: dict[str, Any], patch: _Json) -> None:
    for side, changes in patch.items():
        for name, value in (changes or {}).items():
            if name == "turn_detection" and value is not None:
                audio[side][name] = _merged_turn_detection(audio[side][name], value)
            else:
                audio[side][name] = deepcopy(value)


def _merged_turn_detection(current: _Json | None, patch: _Json) -> dict[str, Any]:
    kind = patch.get("type") or (current or {}).get("type") or "server_vad"
    base = current if current and current["type"] == kind else _turn_detection_defaults(kind)
    # A null means the default, except where null is a value of its own.
    set_ = {k: v for k, v in patch.items() if v is not None or k == "idle_timeout_ms"}
    return {**base, **set_, "type": kind}


def _modalities(value: Any, path: str) -> None:
    list_of(one_of(*MODALITIES))(value, path)
    if len(value) != 1:
        raise RejectedError(
            f"Invalid modalities: {value}. Supported combinations are: ['text'] and ['audio'].",
            code="invalid_value",
            param=path,
        )


def _voice(value: Any, path: str) -> None:
    if isinstance(value, Mapping):
        fields({"id": text}, required=("id",))(value, path)
    else:
        one_of(*VOICES)(value, path)


def _tool(value: Any, path: str) -> None:
    fields({**_TOOL, **_MCP}, required=("type",))(value, path)
    if value["type"] == "function" and "name" not in value:
        raise missing(f"{path}.name")


def _tool_choice(value: Any, path: str) -> None:
    if isinstance(value, Mapping):
        fields({"type": one_of("function", "mcp"), "name": text, "server_label": text})(value, path)
    else:
        one_of("none", "auto", "required")(value, path)


def _max_output_tokens(value: Any, path: str) -> None:
    if value != "inf":
        number(1, 32_000, whole=True)(value, path)


_TOOL: dict[str, Check] = {
    "type": one_of("function", "mcp"),
    "name": text,
    "description": optional(text),
    "parameters": optional(object_),
    "strict": optional(flag),
}
_MCP: dict[str, Check] = dict.fromkeys(
    ("server_label", "server_url", "server_description", "connector_id", "authorization",
     "headers", "allowed_tools", "require_approval", "defer_loading"),
    anything,
)  # fmt: skip
_TRANSCRIPTION: dict[str, Check] = {
    "model": text,
    "language": optional(text),
    "prompt": optional(text),
    "delay": anything,
    "keywords": anything,
    "languages": anything,
}
_TURN_DETECTION: dict[str, Check] = {
    "type": one_of(*TURN_DETECTIONS),
    "threshold": optional(number(0, 1)),
    "prefix_padding_ms": optional(number(0, 5_000, whole=True)),
    "silence_duration_ms": optional(number(0, 10_000, whole=True)),
    "create_response": optional(flag),
    "interrupt_response": optional(flag),
    "idle_timeout_ms": optional(number(5_000, 30_000, whole=True)),
    "eagerness": optional(one_of(*EAGERNESS)),
}
_FORMAT = fields(
    {
        "type": one_of("audio/pcm", "audio/pcmu", "audio/pcma"),
        "rate": optional(number(8_000, 48_000)),
    }
)
_INPUT: dict[str, Check] = {
    "format": optional(_FORMAT),
    "transcription": optional(fields(_TRANSCRIPTION)),
    "noise_reduction": optional(fields({"type": text, "strength": anything})),
    "turn_detection": optional(fields(_TURN_DETECTION)),
}
_OUTPUT: dict[str, Check] = {
    "format": optional(_FORMAT),
    "voice": _voice,
    "speed": number(0.25, 1.5),
}
_SESSION: dict[str, Check] = {
    "type": one_of(*SESSION_TYPES),
    "model": text,
    "instructions": text,
    "output_modalities": _modalities,
    "audio": optional(
        fields({"input": optional(fields(_INPUT)), "output": optional(fields(_OUTPUT))})
    ),
    "tools": list_of(_tool),
    "tool_choice": _tool_choice,
    "parallel_tool_calls": flag,
    "reasoning": optional(fields({"effort": optional(text)})),
    "max_output_tokens": _max_output_tokens,
    "tracing": anything,
    "truncation": anything,
    "prompt": anything,
    "include": optional(list_of(text)),
    "safety_identifier": optional(text),
}
_RESPONSE: dict[str, Check] = {
    "conversation": one_of("auto", "none"),
    "instructions": optional(text),
    "output_modalities": _modalities,
    "audio": optional(fields({"output": optional(fields(_OUTPUT))})),
    "tools": list_of(_tool),
    "tool_choice": _tool_choice,
    "parallel_tool_calls": flag,
    "reasoning": optional(fields({"effort": optional(text)})),
    "max_output_tokens": _max_output_tokens,
    "metadata": optional(object_),
    "prompt": anything,
    "input": optional(list_of(object_, at_most=1000)),
}


def check_response(response: Any) -> None:
    """Checks `response.create`'s `response`; raises RejectedError."""
    fields(_RESPONSE)(response, "response")
