"""multipart/form-data (RFC 7578) of a body that is already read and bounded.

aiohttp's reader wants a stream and puts some parts into files; the email parser of the standard
library takes quadratic time for nested parts. In scope: named parts, byte for byte. Out of scope:
nested parts, transfer encodings and charsets, all of which RFC 7578 has deprecated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from relay.core.errors import InvalidRequest

MAX_PARTS: Final = 16

_BOUNDARY: Final = re.compile(
    r";\s*boundary=(?:\"([^\"]{1,70})\"|([^\s;,\"]{1,70}))", re.IGNORECASE
)
_NAME: Final = re.compile(rb";\s*name=(?:\"([^\"]*)\"|([^\s;,\"]+))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """`content_type` is in lower case, without parameters; None where the part has none."""

    content: bytes
    content_type: str | None


def parse_form(body: bytes, content_type: str) -> dict[str, Part]:
    """The named parts of `body`; raises InvalidRequest if it is no complete form."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise _invalid("The content type names no boundary.")
    boundary = (found[1] or found[2]).encode("utf-8", "surrogateescape")
    # RFC 2046 §5.1.1: the line break before a delimiter belongs to it; the first may lack it.
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, MAX_PARTS + 2)
    if len(pieces) > MAX_PARTS + 2:
        raise _invalid(f"The form has more than {MAX_PARTS} parts.")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise _invalid("The form is not closed by its boundary.")
    parts: dict[str, Part] = {}
    for piece in pieces[1:-1]:
        name, part = _parse_part(piece)
        if name in parts:
            raise _invalid(f"The part {name!r} comes twice.", param=name)
        parts[name] = part
    return parts


def _parse_part(piece: bytes) -> tuple[str, Part]:
    padding, _, rest = piece.partition(b"\r\n")
    head, separator, content = (b"\r\n" + rest).partition(b"\r\n\r\n")
    if padding.strip(b" \t") or not separator:
        raise _invalid("A part of the form has no head.")
    name = content_type = None
    for line in head.split(b"\r\n"):
        field, _, value = line.partition(b":")
        match field.strip().lower():
            case b"content-disposition":
                name = _NAME.search(value)
            case b"content-type":
                content_type = value.partition(b";")[0].strip().lower().decode("ascii", "replace")
    if name is None:
        raise _invalid("A part of the form has no name.")
    return (name[1] or name[2] or b"").decode("utf-8", "replace"), Part(content, content_type)


def _invalid(message: str, *, param: str | None = None) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_multipart", param=param)
