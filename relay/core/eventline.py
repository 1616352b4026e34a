"""One event as one line of `events.jsonl`, and back, to the last character.

`{"seq":0,"at":"2026-01-31T12:00:00.000000Z","direction":"up","event":…,"prev":"…","hash":"…"}`

`event` is the message itself where that is JSON on one line. What is not JSON, or not on one line,
or nested too deeply to be read everywhere, is a JSON string, and `"as":"text"` stands before it;
bytes are a base64 string with `"as":"base64"`, and so is a text that is too much to look into, in
UTF-8, with `"as":"utf-8"`.

Long base64 in a member for audio, or in a data URL, is taken out, so that the same audio is kept
once however often it is sent. `"moved":[{"at":…,"chars":…,"sha256":"…"}]` before `event` says at
which character of `event` how many characters of base64 belong, and the SHA-256 of the bytes they
stand for: the name of the file that has them. In their place stands nothing.

A direction of `null` is the relay's own: an event that names what the record lacks, or its end.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from relay.core.ids import Direction
from relay.core.rfc3339 import rfc3339

Message = str | bytes

MIN_MOVED_CHARS: Final = 4096
"""Shorter base64 stays in its line; a multiple of 4."""

MAX_DEPTH: Final = 100
MAX_JSON_CHARS: Final = 1 << 20
MAX_JSON_MEMBERS: Final = 50_000
"""What is longer (base64 left out), or has more in it, is not looked into: nobody else runs while
JSON is read."""
MAX_STRINGS: Final = 20_000
"""Of so many strings in a message each is looked at."""

_STEP: Final = 1 << 16
"""What is long is gone through in portions: others run in between. A multiple of 4."""

_BEFORE_AUDIO: Final = re.compile(r'"(?:audio|delta|data)"[ \t]{0,8}:[ \t]{0,8}"\Z')
_LOOK_BACK: Final = 32
_DATA_URL: Final = "base64,"
_PREFIX: Final = re.compile(
    rb'"seq":(\d{1,15}),"at":"([0-9TZ:.\-]{27})","direction":(null|"up"|"down")'
    rb'(?:,"as":"(text|base64|utf-8)")?(?:,"moved":(\[[^\]]{1,10000000}\]))?,"event":'
)

_CHARS: Final = re.compile(rb'"chars":(\d{1,15})')


@dataclass(frozen=True, slots=True)
class Moved:
    """Base64 that was taken out of a message: `chars` characters for the bytes in `data`."""

    at: int
    chars: int
    sha256: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message as a line's members have it, and what was taken out of it."""

    members: bytes = field(repr=False)
    moved: tuple[Moved, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A line as it was read. `message` is what was sent, verbatim."""

    sequence: int
    at: datetime
    direction: Direction | None
    message: Message = field(repr=False)


class MalformedLine(ValueError):  # named by the situation
    """The line is sealed but says nothing that can be read; or its moved bytes are not its own."""


FindMoved = Callable[[str], bytes]
"""The bytes of a SHA-256. Raises LookupError or OSError."""


def encode(sequence: int, at: datetime, direction: Direction | None, message: Message) -> Encoded:
    """Writes a message down; `at` is aware."""
    kind, value, moved = _written(message)
    prefix = [f'"seq":{sequence},"at":"{rfc3339(at)}"']
    prefix.append(f'"direction":"{direction}"' if direction else '"direction":null')
    if kind:
        prefix.append(f'"as":"{kind}"')
    if moved:
        told = [{"at": part.at, "chars": part.chars, "sha256": part.sha256} for part in moved]
        prefix.append(f'"moved":{json.dumps(told, separators=(",", ":"))}')
    prefix.append(f'"event":{value}')
    return Encoded(",".join(prefix).encode(), moved)


Kind = Literal["text", "base64", "utf-8"]


def _written(message: Message) -> tuple[Kind | None, str, tuple[Moved, ...]]:
    if isinstance(message, bytes):
        return ("base64", *_as_base64(message))
    value: str = message
    moved: tuple[Moved, ...] = ()
    if len(message) >= MIN_MOVED_CHARS and message.count('"') <= 2 * MAX_STRINGS:
        value, moved = _move(message)
    if _is_plain(value):
        return None, value, moved
    if len(message) <= MAX_JSON_CHARS:
        return "text", json.dumps(message), ()
    portions = range(0, len(message), _STEP)
    data = b"".join(message[at : at + _STEP].encode(errors="surrogatepass") for at in portions)
    return ("utf-8", *_as_base64(data))


def _as_base64(data: bytes) -> tuple[str, tuple[Moved, ...]]:
    """A JSON string of all of it, which is moved out where it is long."""
    chars = (len(data) + 2) // 3 * 4
    if chars < MIN_MOVED_CHARS:
        return f'"{binascii.b2a_base64(data, newline=False).decode()}"', ()
    return '""', (Moved(1, chars, hashlib.sha256(data).hexdigest(), data),)


@dataclass(frozen=True, slots=True)
class Glance:
    """A line's members as they stand there, none of them looked into.

    `at` is RFC 3339 in UTC, `value` the JSON of `event`, `is_json` False where that is a string in
    the message's place, `moved` the JSON of what was taken out of it.
    """

    sequence: int
    at: str
    direction: Direction | None
    kind: bytes | None
    moved: bytes | None
    value: bytes = field(repr=False)

    @property
    def is_json(self) -> bool:
        return self.kind is None

    @property
    def moved_chars(self) -> int:
        """How many characters of base64 were taken out."""
        return sum(map(int, _CHARS.findall(self.moved or b"")))


def glance(members: bytes) -> Glance:
    """Takes a line apart, in a few microseconds whatever its event is. Raises MalformedLine."""
    match = _PREFIX.match(members)
    if match is None:
        raise MalformedLine("it has not the members of an event")
    sequence, at, direction, kind, moved = match.groups()
    value = members[match.end() :]
    return Glance(int(sequence), at.decode(), _DIRECTIONS[direction], kind, moved, value)


def decode(members: bytes, find: FindMoved) -> Recorded:
    """Reads what `encode` wrote. Raises MalformedLine, and what `find` raises."""
    line = glance(members)
    try:
        value = line.value.decode()
        if line.moved:
            value = _put_back(value, json.loads(line.moved), find)
        return Recorded(
            sequence=line.sequence,
            at=datetime.fromisoformat(line.at),
            direction=line.direction,
            message=_message(value, line.kind),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedLine(str(error)) from error


def moved_of(members: bytes) -> tuple[str, ...]:
    """The SHA-256 of all that was taken out of a line."""
    match = _PREFIX.match(members)
    if match is None or match[5] is None:
        return ()
    return tuple(re.findall(r'"sha256":"([0-9a-f]{64})"', match[5].decode()))


_DIRECTIONS: Final[dict[bytes, Direction | None]] = {
    b"null": None,
    b'"up"': "up",
    b'"down"': "down",
}


def _message(value: str, kind: bytes | None) -> Message:
    if kind is None:
        return value
    text = json.loads(value)
    if not isinstance(text, str):
        raise MalformedLine("its text is no string")
    if kind == b"text":
        return text
    data = binascii.a2b_base64(text, strict_mode=True)
    return data if kind == b"base64" else data.decode(errors="surrogatepass")


# JSON that may stand in a line as it came


def _is_plain(text: str) -> bool:
    if not 0 < len(text) <= MAX_JSON_CHARS or "\n" in text or "\r" in text:
        return False
    if text.count(",") + text.count(":") > MAX_JSON_MEMBERS:
        return False
    try:
        text.encode()
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    # Counting is quick, and enough nearly always.
    return text.count("{") + text.count("[") <= MAX_DEPTH or _depth(value) <= MAX_DEPTH


def _refuse(constant: str) -> Any:
    raise ValueError(constant)  # NaN and Infinity are Python's, not JSON's


def _depth(value: Any) -> int:
    """How many arrays and objects lie in one another; no more than MAX_DEPTH + 1 are counted."""
    depth, level = 0, [value]
    while depth <= MAX_DEPTH:
        inner = [item for item in level if isinstance(item, (dict, list))]
        if not inner:
            break
        depth += 1
        level = [
            member
            for item in inner
            for member in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


# Base64


def _move(value: str) -> tuple[str, tuple[Moved, ...]]:
    """Takes long base64 strings out of a JSON text, valid or not."""
    moved: list[Moved] = []
    kept: list[str] = []
    done = removed = 0
    for start, end in _long_strings(value):
        data = _decoded(value, start, end)
        if data is None:
            continue
        digest = hashlib.sha256(data).hexdigest()
        moved.append(Moved(start - removed, end - start, digest, data))
        kept.append(value[done:start])
        done, removed = end, removed + end - start
    kept.append(value[done:])
    return "".join(kept), tuple(moved)


def _long_strings(value: str) -> Iterator[tuple[int, int]]:
    """Long strings that may be audio, and the data of data URLs."""
    end = value.find('"')
    while end >= 0:
        start = end + 1
        end = value.find('"', start)
        if end - start < MIN_MOVED_CHARS:
            continue
        if value.startswith("data:", start):
            data_at = value.find(_DATA_URL, start, start + 256)
            if data_at >= 0:
                yield data_at + len(_DATA_URL), end
        elif _BEFORE_AUDIO.search(value, max(0, start - _LOOK_BACK), start):
            yield start, end


def _decoded(value: str, start: int, end: int) -> bytes | None:
    """The bytes, if encoding them again gives the very same characters."""
    if (end - start) % 4 or end - start < MIN_MOVED_CHARS:
        return None
    portions: list[bytes] = []
    for at in range(start, end, _STEP):
        portion = value[at : min(at + _STEP, end)]
        try:
            data = binascii.a2b_base64(portion, strict_mode=True)
        except ValueError:  # binascii.Error, or not ASCII
            return None
        if binascii.b2a_base64(data, newline=False).decode() != portion:
            return None
        portions.append(data)
    return b"".join(portions)


def _put_back(value: str, moved: list[dict[str, Any]], find: FindMoved) -> str:
    parts: list[str] = []
    done = 0
    for part in moved:
        at, data = int(part["at"]), find(str(part["sha256"]))
        if hashlib.sha256(data).hexdigest() != part["sha256"]:
            raise MalformedLine("moved bytes are not what their name says")
        text = binascii.b2a_base64(data, newline=False).decode()
        if len(text) != part["chars"] or not done <= at <= len(value):
            raise MalformedLine("moved bytes do not fit their place")
        parts += value[done:at], text
        done = at
    return "".join([*parts, value[done:]])
