"""A transcript as WebVTT (W3C, https://www.w3.org/TR/webvtt1/) and as plain text.

WebVTT is to be followed while the recording plays: its times are the recording's, and it has what
is heard in it. So an interrupted speech ends where it was cut, tools are left out, and long
speeches are parted into cues of a readable length, whose times are estimated by their characters.
Plain text is to be read: it has everything, and what was said into the void is marked.

Whatever a text contains is text: markup is escaped, and control characters become spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from relay.core.transcript import Speaker, Transcript, Turn

CUE_CHARS: Final = 120
MIN_CUE_MS: Final = 500
WRITTEN_CUE_MS: Final = 3_000
"""So long a written message is shown."""

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")
_SPACES: Final = re.compile(r"\s+")
_SAFE_ID: Final = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

_NAMES: Final[dict[Speaker, str]] = {
    "user": "User",
    "assistant": "Assistant",
    "system": "System",
    "tool": "Tool",
}
_UNHEARD: Final = {"pending": "not transcribed yet", "partial": "not transcribed to its end",
                   "failed": "transcription failed", "missing": "not transcribed"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from `start_ms` until `end_ms`, which is later. `text` is not escaped."""

    id: str
    voice: str
    start_ms: int
    end_ms: int
    text: str


def cues(transcript: Transcript) -> list[Cue]:
    """What WebVTT shows, by the time it begins."""
    found = [cue for turn in transcript.turns for cue in _cues_of(turn)]
    return sorted(found, key=lambda cue: cue.start_ms)


def webvtt(transcript: Transcript) -> str:
    """`text/vtt`: a cue for each stretch of speech, with its speaker as the voice."""
    blocks = ["WEBVTT"]
    for cue in cues(transcript):
        times = f"{_clock(cue.start_ms)} --> {_clock(cue.end_ms)}"
        voice, text = _escaped(cue.voice), _escaped(cue.text)
        blocks.append(f"{cue.id}\n{times}\n<v {voice}>{text}")
    return "\n\n".join(blocks) + "\n"


def plain_text(transcript: Transcript) -> str:
    """`text/plain`: a paragraph for each turn, with its time and speaker."""
    lines = (_paragraph(turn) for turn in transcript.turns)
    return "".join(f"{line}\n" for line in lines if line)


# WebVTT


def _cues_of(turn: Turn) -> Iterator[Cue]:
    if turn.kind not in ("speech", "text") or turn.speaker == "system":
        return
    if turn.segments:
        yield from _segment_cues(turn)
        return
    text = _one_line(turn.audible_text)
    if not text and turn.transcription in ("failed", "missing"):
        text = f"[{_UNHEARD[turn.transcription]}]"
    if turn.images:
        text = f"{text} {_images(turn)}".strip()
    shortest_ms = MIN_CUE_MS if turn.kind == "speech" else WRITTEN_CUE_MS
    end_ms = max(turn.end_ms or 0, turn.start_ms + shortest_ms)
    yield from _parted(turn.id, _NAMES[turn.speaker], turn.start_ms, end_ms, text)


def _segment_cues(turn: Turn) -> Iterator[Cue]:
    for number, segment in enumerate(turn.segments, 1):
        voice = _one_line(segment.speaker)
        voice = f"{_NAMES[turn.speaker]} {voice}".strip()
        end_ms = max(segment.end_ms, segment.start_ms + MIN_CUE_MS)
        text = _one_line(segment.text)
        yield from _parted(f"{turn.id}-s{number}", voice, segment.start_ms, end_ms, text)


def _parted(cue_id: str, voice: str, start_ms: int, end_ms: int, text: str) -> Iterator[Cue]:
    cue_id = cue_id if _SAFE_ID.fullmatch(cue_id) else "turn"
    done, length = 0, len(text)
    for number, part in enumerate(_parts(text), 1):
        begin = start_ms + (end_ms - start_ms) * done // length
        done += len(part)
        end = start_ms + (end_ms - start_ms) * done // length
        yield Cue(f"{cue_id}-{number}", voice, begin, max(end, begin + 1), part.strip())


def _parts(text: str) -> Iterator[str]:
    """Parts of at most CUE_CHARS, which end with a sentence, or else with a word."""
    while len(text) > CUE_CHARS:
        window = text[:CUE_CHARS]
        end = max(window.rfind(mark) + 1 for mark in (". ", "? ", "! ", "; ", "。", "？", "！"))
        if end < CUE_CHARS // 3:
            end = window.rfind(" ") + 1 or CUE_CHARS
        yield text[:end]
        text = text[end:]
    if text.strip():
        yield text


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def _clock(ms: int) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"


# Plain text


def _paragraph(turn: Turn) -> str:
    said = " ".join(part for part in (_said(turn), _images(turn), *_remarks(turn)) if part)
    return f"[{_clock(turn.start_ms)[:8]}] {_NAMES[turn.speaker]}: {said}" if said else ""


def _said(turn: Turn) -> str:
    tool = turn.tool
    match turn.kind:
        case "tool_call" | "approval_request" if tool is not None:
            verb = "calls" if turn.kind == "tool_call" else "asks to call"
            answer = "" if tool.output is None else f" → {_one_line(tool.output)}"
            return f"{verb} {_one_line(tool.name)}({_one_line(tool.arguments or '')}){answer}"
        case "tool_result" if tool is not None:
            return f"answers {_one_line(tool.output or '')}"
        case "tools" if tool is not None:
            return f"offers {', '.join(tool.names)}"
        case "approval_response" if tool is not None:
            return _one_line(tool.output or "")
    if turn.heard is None:
        return _indented(turn.text)
    unheard = _indented(turn.text[len(turn.heard.text) :])
    return f"{_indented(turn.heard.text)} — [not heard: {unheard}]".strip()


def _remarks(turn: Turn) -> Iterator[str]:
    if turn.transcription in _UNHEARD and (not turn.text or turn.transcription == "partial"):
        yield f"[{_UNHEARD[turn.transcription]}]"
    if turn.status in ("incomplete", "cancelled", "failed"):
        yield f"[{turn.status}: {_one_line(turn.reason)}]" if turn.reason else f"[{turn.status}]"
    if turn.is_deleted:
        yield "[deleted from the conversation]"
    if turn.is_out_of_band:
        yield "[not part of the conversation]"


def _images(turn: Turn) -> str:
    return "" if not turn.images else "[image]" if turn.images == 1 else f"[{turn.images} images]"


def _clean(text: str) -> str:
    return _CONTROLS.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))


def _one_line(text: str) -> str:
    return _SPACES.sub(" ", _clean(text)).strip()


def _indented(text: str) -> str:
    lines = (line.strip() for line in _clean(text).split("\n"))
    return "\n    ".join(line for line in lines if line)
