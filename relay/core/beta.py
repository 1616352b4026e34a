"""The beta's flat session object as the GA API spells it.

OpenAI ended the beta in 2026, but its clients live on: they send `voice`, `modalities` and models
that no longer exist. In scope: session objects in HTTP requests. Out of scope: events on the data
channel, which pass as they are. What is GA already, or unknown, passes verbatim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from relay.core.session_config import Path, overlaid, put

CURRENT_MINI_MODEL: Final = "gpt-realtime-2.1-mini"

_RETIRED_MODEL: Final = "gpt-4o-realtime-preview"
_RETIRED_MINI_MODEL: Final = "gpt-4o-mini-realtime-preview"

_MOVED: Final[dict[str, Path]] = {
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "output_audio_format": ("audio", "output", "format"),
    "input_audio_format": ("audio", "input", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "modalities": ("output_modalities",),
    "max_response_output_tokens": ("max_output_tokens",),
}
_DROPPED: Final = frozenset({"temperature", "client_secret"})

_FORMATS: Final[dict[str, dict[str, Any]]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}


def ga_session(session: Mapping[str, Any], *, current_model: str) -> dict[str, Any]:
    """`session` in GA shape; a field that comes in both shapes keeps the GA one.

    `current_model` takes the place of a retired one.
    """
    translated: dict[str, Any] = {}
    for name, path in _MOVED.items():
        if name in session:
            put(translated, path, _ga_value(name, session[name]))
    rest = {k: v for k, v in session.items() if k not in _MOVED and k not in _DROPPED}
    if isinstance(model := rest.get("model"), str):
        rest["model"] = ga_model(model, current=current_model)
    return overlaid(translated, rest)


def ga_model(model: str, *, current: str) -> str:
    """`model`, or for a retired preview the one that takes its place: `current`, or a mini one."""
    if model.startswith(_RETIRED_MINI_MODEL):
        return CURRENT_MINI_MODEL
    return current if model.startswith(_RETIRED_MODEL) else model


def _ga_value(name: str, value: Any) -> Any:
    if name == "modalities" and isinstance(value, list) and "audio" in value:
        return ["audio"]  # the beta wanted both; GA takes one, and audio has its transcript
    if name.endswith("_audio_format") and isinstance(value, str):
        return _FORMATS.get(value, value)
    return value
