"""Which session configuration a call gets: the server's, the token's, the client's, and the locks.

The session object is verbatim wire JSON in GA shape (`core.beta` brings older ones into it); only
the paths named here are looked into, everything else passes for the upstream to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from relay.core.errors import InvalidRequest

Path = tuple[str, ...]

SHORT_NAMES: Final[dict[str, Path]] = {
    "voice": ("audio", "output", "voice"),
    "transcription": ("audio", "input", "transcription"),
    "turn_detection": ("audio", "input", "turn_detection"),
}
"""Settings and locks call these by their last word."""

# Below these a value is one whole: half of one turn detection and half of another make none.
_MERGED: Final[frozenset[Path]] = frozenset(
    {(), ("audio",), ("audio", "input"), ("audio", "output")}
)


@dataclass(frozen=True, slots=True)
class SessionRules:
    """What the operator decided: the model, `defaults` in GA shape, the paths no client may set."""

    model: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    locked: tuple[Path, ...] = ()


def path_of(name: str) -> Path:
    """`voice` or `audio.output.voice` as a path."""
    return SHORT_NAMES.get(name) or tuple(name.split("."))


def session_for(
    rules: SessionRules,
    *,
    token: Mapping[str, Any] | None = None,
    client: Mapping[str, Any] | None = None,
    model: str | None = None,
) -> dict[str, Any]:
    """The session object to open a call with.

    Later wins: the server's defaults, what the token carries, what the client sent, the `model` it
    asked for in the URL; a locked path falls back to what the server and the token say. A session
    that is not of type `realtime` (`transcription`) takes no default and no model of ours.
    Raises InvalidRequest for a `type` or `model` that is no text.
    """
    asked = overlaid(token or {}, client or {})
    if model is not None:
        asked["model"] = model
    for name in ("type", "model"):
        if not isinstance(asked.get(name, ""), str):
            raise InvalidRequest(f"session.{name} should be a string", param=f"session.{name}")
    ours: dict[str, Any] = {"type": "realtime"}
    if asked.get("type", "realtime") == "realtime":
        ours = overlaid({**ours, "model": rules.model}, rules.defaults)
    trusted = overlaid(ours, token or {})
    result = overlaid(ours, asked)
    for path in rules.locked:
        _restore(result, trusted, path)
    return result


def overlaid(base: Mapping[str, Any], over: Mapping[str, Any], at: Path = ()) -> dict[str, Any]:
    """`base` with what `over` says; neither is changed, though values may be shared."""
    result = dict(base)
    for name, value in over.items():
        below, old = (*at, name), base.get(name)
        if below in _MERGED and isinstance(value, Mapping):
            # An empty base copies the branch, so that no later `put` reaches into `over`.
            result[name] = overlaid(old if isinstance(old, Mapping) else {}, value, below)
        else:
            result[name] = value
    return result


def without(session: Mapping[str, Any], paths: Iterable[Path]) -> dict[str, Any]:
    """`session` without what stands at `paths`."""
    result = dict(session)
    for path in paths:
        _remove(result, path)
    return result


def put(session: dict[str, Any], path: Path, value: Any) -> None:
    """Sets `path`, making the objects on the way."""
    *way, last = path
    for name in way:
        inner = session.get(name)
        session[name] = session = dict(inner) if isinstance(inner, Mapping) else {}
    session[last] = value


def _restore(session: dict[str, Any], trusted: Mapping[str, Any], path: Path) -> None:
    value: Any = trusted
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            _remove(session, path)
            return
        value = value[name]
    put(session, path, value)


def _remove(session: dict[str, Any], path: Path) -> None:
    *way, last = path
    for name in way:
        inner = session.get(name)
        if not isinstance(inner, Mapping):
            return
        session[name] = session = dict(inner)
    session.pop(last, None)
