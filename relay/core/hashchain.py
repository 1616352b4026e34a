"""A chain of lines, each of which proves all before it.

A line is one JSON object whose last members are `prev` and `hash`. `hash` is the SHA-256 of the
line's bytes without its own member: cut `,"hash":"…"` out, and hash what is left. `prev` is the
hash of the line before, and of the first the SHA-256 of the conversation's id, so that no chain can
stand for another conversation's. Change, take out, put in or swap a line, and this or the next line
tells; what was cut off at the end is told by the missing end record alone.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

_HEX: Final = "[0-9a-f]{64}"
_TAIL: Final = re.compile(rf',"prev":"({_HEX})","hash":"({_HEX})"\}}'.encode())
_TAIL_BYTES: Final = len(',"prev":""') + len(',"hash":""}') + 2 * 64
_HASH_MEMBER_BYTES: Final = len(',"hash":""') + 64


@dataclass(frozen=True, slots=True)
class Link:
    """A place in the chain: the next line's number and what its `prev` is to be."""

    sequence: int
    prev: str

    @classmethod
    def first(cls, conversation_id: str) -> Link:
        return cls(0, hashlib.sha256(conversation_id.encode()).hexdigest())


def seal(link: Link, members: bytes) -> tuple[bytes, Link]:
    """The line, with its line feed, of `members`, and the link for the next.

    `members` are the inside of a JSON object, without braces and line feeds, not empty.
    """
    body = b'{%b,"prev":"%b"' % (members, link.prev.encode())
    digest = hashlib.sha256(body + b"}").hexdigest()
    return b'%b,"hash":"%b"}\n' % (body, digest.encode()), Link(link.sequence + 1, digest)


@dataclass(frozen=True, slots=True)
class Broken:
    """Why a line does not follow from the one before."""

    reason: str


def members_of(line: bytes) -> bytes | None:
    """What was sealed in a line (without its line feed); None where it is no line of a chain."""
    if not line.startswith(b"{") or not _TAIL.fullmatch(line, max(0, len(line) - _TAIL_BYTES)):
        return None
    return line[1 : len(line) - _TAIL_BYTES]


def follow(link: Link, line: bytes) -> Link | Broken:
    """Checks that `line` (without its line feed) is the one that follows."""
    tail = _TAIL.fullmatch(line, max(0, len(line) - _TAIL_BYTES))
    if tail is None or not line.startswith(b"{"):
        return Broken("it does not end with prev and hash")
    prev, told = tail[1].decode(), tail[2].decode()
    digest = hashlib.sha256(line[: -_HASH_MEMBER_BYTES - 1] + b"}").hexdigest()
    if digest != told:
        return Broken("its hash is not that of its content")
    if prev != link.prev:
        return Broken("its prev is not the hash of the line before")
    return Link(link.sequence + 1, digest)
