"""What was said in a call: turns in the order of the conversation, as values.

`core.transcriber` makes them of events, `core.captions` writes them as WebVTT and plain text; the
JSON of `transcript.json` is here, and described in docs/transcript.md. All times are ms since the
call's beginning, which is the beginning of its recording, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, get_args

VERSION: Final = 1

Speaker = Literal["user", "assistant", "system", "tool"]
Kind = Literal[
    "speech",  # by voice; text is its transcript
    "text",  # written, perhaps with images
    "tool_call",  # of a function, or over MCP
    "tool_result",  # what the client gave back for a function
    "tools",  # what an MCP server offers
    "approval_request",  # of a call over MCP
    "approval_response",
    "response",  # one that failed before it said anything
    "other",  # an item of a type that is not known here
]
Status = Literal["live", "completed", "interrupted", "incomplete", "cancelled", "failed"]
Transcription = Literal["pending", "partial", "done", "failed", "missing"]
"""Of a user's speech: pending turns into missing when the call ends without one."""

_SPEAKERS: Final = get_args(Speaker)
_KINDS: Final = get_args(Kind)
_STATUSES: Final = get_args(Status)
_TRANSCRIPTIONS: Final = get_args(Transcription)
_MAX_MS: Final = 10**9


class MalformedTranscript(ValueError):  # named by the situation
    """Not what `Transcript.to_json` wrote."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a listener heard of a speech that was cut short: the beginning of the turn's text.

    `ms` of its audio were played. `is_estimate`: the upstream told no text, so the text was cut in
    the proportion of the audio, at a word's end.
    """

    text: str
    ms: int
    is_estimate: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a user's speech, by one voice, as the transcriber tells them apart."""

    speaker: str
    start_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A call's or a result's: `call_id` joins both. `server` is the label of an MCP server, and
    `names` what it offers. A call over MCP has its own output."""

    name: str = ""
    call_id: str | None = None
    server: str | None = None
    arguments: str | None = None
    output: str | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One item of the conversation. `id` is the upstream's.

    `text` is everything that was said or written; `heard` is not None where a listener heard less.
    `end_ms` is None while it is not over. `reason` says why it is not completed, or why it has no
    transcript. `is_out_of_band`: of a response that is no part of the conversation. `revision`
    grows with every change.
    """

    id: str
    speaker: Speaker
    kind: Kind
    status: Status
    text: str
    start_ms: int
    end_ms: int | None = None
    heard: Heard | None = None
    transcription: Transcription | None = None
    reason: str | None = None
    images: int = 0
    segments: tuple[Segment, ...] = ()
    tool: Tool | None = None
    response_id: str | None = None
    is_deleted: bool = False
    is_out_of_band: bool = False
    revision: int = field(default=0, compare=False)

    @property
    def audible_text(self) -> str:
        """What is to be heard in the recording."""
        return self.text if self.heard is None else self.heard.text


@dataclass(frozen=True, slots=True)
class Change:
    """A turn that is new or different, and the turn that it stands behind; None: it is first."""

    turn: Turn
    after: str | None


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcript at one moment. `omitted` turns and texts found no room."""

    started_at: datetime
    turns: tuple[Turn, ...] = ()
    revision: int = 0
    is_final: bool = False
    omitted: int = 0

    def since(self, revision: int) -> tuple[Change, ...]:
        """What makes this transcript of the one that had `revision`.

        The changes are in order: take each turn out, if it is there, and put it behind the other.
        """
        changes = []
        after = None
        for turn in self.turns:
            if turn.revision > revision:
                changes.append(Change(turn, after))
            after = turn.id
        return tuple(changes)

    def to_json(self) -> dict[str, Any]:
        """The content of `transcript.json`."""
        return {
            "version": VERSION,
            "started_at": _iso(self.started_at, 0),
            "final": self.is_final,
            "revision": self.revision,
            "omitted": self.omitted,
            "turns": [turn_json(turn, self.started_at) for turn in self.turns],
        }

    @classmethod
    def from_json(cls, value: object) -> Transcript:
        """Raises MalformedTranscript."""
        if not isinstance(value, Mapping) or value.get("version") != VERSION:
            raise MalformedTranscript("not a transcript of this version")
        try:
            return cls(
                started_at=datetime.fromisoformat(value["started_at"]).astimezone(UTC),
                turns=tuple(_turn(turn) for turn in value["turns"]),
                revision=int(value.get("revision", 0)),
                is_final=value.get("final") is True,
                omitted=int(value.get("omitted", 0)),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise MalformedTranscript(f"{type(error).__name__}: {error}") from error


def turn_json(turn: Turn, started_at: datetime) -> dict[str, Any]:
    """A turn as JSON; what does not apply is left out."""
    heard, tool = turn.heard, turn.tool
    members: dict[str, Any] = {
        "id": turn.id,
        "speaker": turn.speaker,
        "kind": turn.kind,
        "status": turn.status,
        "start_ms": turn.start_ms,
        "end_ms": turn.end_ms,
        "started_at": _iso(started_at, turn.start_ms),
        "ended_at": None if turn.end_ms is None else _iso(started_at, turn.end_ms),
        "text": turn.text,
        "heard": heard and {"text": heard.text, "ms": heard.ms, "estimate": heard.is_estimate},
        "transcription": turn.transcription,
        "reason": turn.reason,
        "images": turn.images or None,
        "segments": [_segment_json(segment) for segment in turn.segments] or None,
        "tool": tool and _tool_json(tool),
        "response_id": turn.response_id,
        "deleted": turn.is_deleted or None,
        "out_of_band": turn.is_out_of_band or None,
    }
    return {name: value for name, value in members.items() if value is not None}


def _tool_json(tool: Tool) -> dict[str, Any]:
    members = {
        "name": tool.name or None,
        "call_id": tool.call_id,
        "server": tool.server,
        "arguments": tool.arguments,
        "output": tool.output,
        "names": list(tool.names) or None,
    }
    return {name: value for name, value in members.items() if value is not None}


def _segment_json(segment: Segment) -> dict[str, Any]:
    return {
        "speaker": segment.speaker,
        "start_ms": segment.start_ms,
        "end_ms": segment.end_ms,
        "text": segment.text,
    }


def _turn(value: Mapping[str, Any]) -> Turn:
    heard, tool, end_ms = value.get("heard"), value.get("tool"), value.get("end_ms")
    return Turn(
        id=str(value["id"]),
        speaker=_one_of(_SPEAKERS, value["speaker"]),
        kind=_one_of(_KINDS, value["kind"]),
        status=_one_of(_STATUSES, value["status"]),
        text=str(value["text"]),
        start_ms=_ms(value["start_ms"]),
        end_ms=None if end_ms is None else max(_ms(end_ms), _ms(value["start_ms"])),
        heard=None if heard is None else _heard(heard),
        transcription=_one_of((None, *_TRANSCRIPTIONS), value.get("transcription")),
        reason=_text(value.get("reason")),
        images=int(value.get("images", 0)),
        segments=tuple(_segment(segment) for segment in value.get("segments", ())),
        tool=None if tool is None else _tool(tool),
        response_id=_text(value.get("response_id")),
        is_deleted=value.get("deleted") is True,
        is_out_of_band=value.get("out_of_band") is True,
    )


def _heard(value: Mapping[str, Any]) -> Heard:
    return Heard(str(value["text"]), _ms(value["ms"]), value["estimate"] is True)


def _tool(value: Mapping[str, Any]) -> Tool:
    return Tool(
        name=str(value.get("name", "")),
        call_id=_text(value.get("call_id")),
        server=_text(value.get("server")),
        arguments=_text(value.get("arguments")),
        output=_text(value.get("output")),
        names=tuple(map(str, value.get("names", ()))),
    )


def _segment(value: Mapping[str, Any]) -> Segment:
    start_ms = _ms(value["start_ms"])
    end_ms = max(start_ms, _ms(value["end_ms"]))
    return Segment(str(value["speaker"]), start_ms, end_ms, str(value["text"]))


def _one_of(known: tuple[Any, ...], value: Any) -> Any:
    if value not in known:
        raise ValueError(f"{value!r} is none of {known}")
    return value


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _ms(value: Any) -> int:
    return min(_MAX_MS, max(0, int(value)))


def _iso(started_at: datetime, ms: int) -> str:
    at = started_at.astimezone(UTC) + timedelta(milliseconds=ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
