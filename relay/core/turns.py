"""Items and responses as events tell of them, bit by bit, and the turns that they make.

`core.dialogue` keeps them, `core.transcriber` fills them in; `turn` says what is known of an item
at any moment. How much of an interrupted speech was heard is told in ms of its audio, hardly ever
in words, and the text is ahead of the audio. So the text is cut as its audio was: in proportion to
the whole length, which the response's output tokens tell (one is 50 ms); else to the length that so
many characters have at the pace of the speeches before, or at CHARS_PER_S.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from relay.core.transcript import Heard, Kind, Segment, Speaker, Status, Tool, Transcription, Turn

MS_PER_AUDIO_TOKEN: Final = 50
"""Of an assistant's speech (OpenAI's pricing page)."""

CHARS_PER_S: Final = 15.0
"""How fast a voice reads, before the call's own pace is known."""

_MAX_WORD: Final = 32
"""What is longer is cut anywhere."""

_BROKEN_WORD: Final = re.compile(r"[^\s\u2e80-\U0010ffff]+\Z")
"""Of a script that parts words by spaces: East Asian ones come from U+2E80 on."""

PartKind = Literal["audio", "text", "image"]


@dataclass(slots=True)
class Part:
    """One content part: its pieces until its whole text is told."""

    kind: PartKind
    pieces: list[str] = field(default_factory=list)
    whole: str | None = None
    heard_ms: int | None = None
    """What `conversation.item.truncated` says."""
    heard_text: str | None = None
    """What the upstream has left of a text that it cut."""

    @property
    def text(self) -> str:
        return "".join(self.pieces) if self.whole is None else self.whole

    def add(self, piece: str) -> None:
        """The next piece; nothing once the whole is told."""
        if self.whole is None:
            self.pieces.append(piece)

    def tell(self, text: str) -> None:
        """The whole text; of two of which one begins with the other, the longer is what was said,
        and the shorter what is left of it."""
        known = self.text
        if known.startswith(text) and text != known:
            if text:
                self.heard_text = text
            text = known
        elif self.heard_text and not text.startswith(self.heard_text):
            self.heard_text = None
        self.replace(text)

    def replace(self, text: str) -> None:
        """The whole text, whatever was known."""
        self.whole = text
        self.pieces.clear()


@dataclass(slots=True, eq=False)
class Reply:
    """A response: its end and its playback. Times in ms of the call."""

    id: str
    ms_per_char: float = 1000 / CHARS_PER_S
    """The pace of the speeches before."""
    status: str = "in_progress"
    reason: str | None = None
    playing_since_ms: int | None = None
    played_until_ms: int | None = None
    was_cut: bool = False
    done_ms: int | None = None
    audio_tokens: int = 0
    items: list[Item] = field(default_factory=list, repr=False)

    @property
    def speeches(self) -> list[Item]:
        return [item for item in self.items if item.is_speech]

    @property
    def is_playing(self) -> bool:
        return self.playing_since_ms is not None and self.played_until_ms is None

    def duration_ms(self, item: Item) -> int:
        """Of all that was generated of an item's speech; at least 1."""
        if self.audio_tokens and len(self.speeches) == 1:
            return self.audio_tokens * MS_PER_AUDIO_TOKEN
        return max(1, round(len(item.text) * self.ms_per_char))

    def stop(self, at_ms: int, *, was_cut: bool) -> None:
        """The playback is over: because all was played, or because it was cut."""
        if self.played_until_ms is None:
            self.played_until_ms = at_ms
            self.was_cut = was_cut


@dataclass(slots=True, eq=False)
class Item:
    """An item, or a user's speech that is going to be one. Times in ms of the call."""

    id: str
    created_ms: int
    speaker: Speaker = "user"
    fixed_kind: Kind | None = None
    """None: a message, by voice or written, as its parts are."""
    reply: Reply | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    status: Status = "live"
    reason: str | None = None
    parts: dict[int, Part] = field(default_factory=dict)
    transcription: Transcription | None = None
    segments: dict[str, Segment] = field(default_factory=dict)
    tool: Tool | None = None
    pieces: list[str] = field(default_factory=list)
    """Of a tool call's arguments."""
    audio_start_ms: int | None = None
    """On the upstream's own clock of input audio."""
    is_placed: bool = False
    is_deleted: bool = False
    is_out_of_band: bool = False
    revision: int = 0
    built: Turn | None = None

    @property
    def is_speech(self) -> bool:
        return any(part.kind == "audio" for part in self.parts.values())

    @property
    def is_in_conversation(self) -> bool:
        return self.is_placed and not self.is_deleted

    @property
    def is_assistants(self) -> bool:
        return self.speaker == "assistant" and self.fixed_kind is None

    @property
    def text(self) -> str:
        said = "\n".join(text for part in self.in_order() if (text := part.text))
        return said or " ".join(segment.text.strip() for segment in self.segments.values())

    def part(self, index: int, kind: PartKind) -> Part:
        """The part of that index, made where there is none yet."""
        if index not in self.parts:
            self.parts[index] = Part(kind)
        return self.parts[index]

    def in_order(self) -> list[Part]:
        return [self.parts[index] for index in sorted(self.parts)]

    @property
    def images(self) -> int:
        return sum(part.kind == "image" for part in self.parts.values())


def heard_prefix(text: str, heard_ms: int, duration_ms: int) -> str:
    """The beginning of a text that was heard, whole words; `duration_ms` is positive."""
    if heard_ms >= duration_ms or not text:
        return text
    end = len(text) * heard_ms // duration_ms
    prefix = text[:end]
    broken = _BROKEN_WORD.search(prefix[-_MAX_WORD:])
    if broken and len(broken[0]) < _MAX_WORD and _BROKEN_WORD.match(text[end]):
        prefix = prefix[: len(prefix) - len(broken[0])]
    return prefix.rstrip()


def turn(item: Item) -> Turn:
    """What is known of an item now."""
    text = item.text
    heard = _heard(item, text)
    start_ms = _start_ms(item)
    end_ms = _end_ms(item, heard)
    kind: Kind = item.fixed_kind or ("speech" if item.is_speech else "text")
    return Turn(
        id=item.id,
        speaker=item.speaker,
        kind=kind,
        status=_status(item, heard),
        text=text,
        start_ms=start_ms,
        end_ms=None if end_ms is None else max(start_ms, end_ms),
        heard=heard,
        transcription=item.transcription if item.speaker == "user" and item.is_speech else None,
        reason=item.reason or _reply_reason(item),
        images=item.images,
        segments=tuple(sorted(item.segments.values(), key=lambda segment: segment.start_ms)),
        tool=_tool(item),
        response_id=item.reply.id if item.reply else None,
        is_deleted=item.is_deleted,
        is_out_of_band=item.is_out_of_band,
        revision=item.revision,
    )


def _tool(item: Item) -> Tool | None:
    if item.tool is None or item.tool.arguments is not None or not item.pieces:
        return item.tool
    return replace(item.tool, arguments="".join(item.pieces))


# What was heard


def _heard(item: Item, text: str) -> Heard | None:
    """None where all of it was heard, or nothing is known to be cut."""
    reply = item.reply
    if reply is None or not (item.is_assistants and item.is_speech):
        return None
    duration_ms = reply.duration_ms(item)
    for index in sorted(item.parts):
        part = item.parts[index]
        if part.heard_ms is not None:
            return _cut(text, _before(item, index), part, part.heard_ms, duration_ms)
    if not reply.was_cut or reply.played_until_ms is None:
        return None
    ms = max(0, reply.played_until_ms - _start_ms(item))
    first = next(part for part in item.in_order() if part.kind == "audio")
    return _cut(text, "", first, ms, duration_ms)


def _before(item: Item, index: int) -> str:
    """The text of the parts before that one, which were heard in full."""
    texts = [item.parts[at].text for at in sorted(item.parts) if at < index]
    return "".join(f"{text}\n" for text in texts if text)


def _cut(text: str, before: str, part: Part, ms: int, duration_ms: int) -> Heard | None:
    told = part.heard_text
    heard = heard_prefix(text[len(before) :], ms, duration_ms) if told is None else told
    heard = (before + heard).rstrip()
    if len(heard) >= len(text.rstrip()) or not text.startswith(heard):
        return None
    return Heard(heard, ms, is_estimate=told is None)


# Status and times


def _status(item: Item, heard: Heard | None) -> Status:
    if heard is not None:
        return "interrupted"
    reply = item.reply
    if reply is None or item.status not in ("live", "incomplete"):
        return item.status
    match reply.status:
        case "cancelled" | "failed" | "incomplete":
            return reply.status
        case "completed" if item.status == "live" and not reply.is_playing:
            return "completed"
    return item.status


def _reply_reason(item: Item) -> str | None:
    if item.reply is None or item.status == "completed":
        return None
    return item.reply.reason


def _start_ms(item: Item) -> int:
    if item.start_ms is not None:
        return item.start_ms
    reply = item.reply
    if reply is None or reply.playing_since_ms is None or not item.is_speech:
        return item.created_ms
    if reply.speeches[0] is item:
        return reply.playing_since_ms
    return max(item.created_ms, reply.playing_since_ms)


def _end_ms(item: Item, heard: Heard | None) -> int | None:
    reply = item.reply
    if reply is None or not (item.is_assistants and item.is_speech):
        return item.end_ms
    if heard is not None:
        return _start_ms(item) + heard.ms
    if reply.speeches[-1] is not item:
        return _start_ms(item) + reply.duration_ms(item)
    if reply.playing_since_ms is not None:
        return reply.played_until_ms
    if reply.done_ms is None:
        return item.end_ms
    # Nobody tells of the playback.
    return _start_ms(item) + reply.duration_ms(item)
