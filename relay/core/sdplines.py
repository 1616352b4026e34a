"""The lines of a session description: limits, form, and the look-up of attributes (RFC 8866 §5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from relay.core.errors import InvalidOffer

MAX_BYTES: Final = 64 * 1024
MAX_LINES: Final = 2000
MAX_LINE_CHARS: Final = 8 * 1024

TOKEN: Final = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]{1,255}")

_LINE = re.compile(r"[a-z]=.*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def split_lines(text: str) -> tuple[str, ...]:
    """The lines without their ends; CRLF or LF, the last one may be missing or followed by blanks.

    Raises InvalidOffer (param "sdp") where the text is over a limit or a line is malformed.
    """
    if _byte_length(text) > MAX_BYTES:
        raise InvalidOffer(f"The SDP is larger than {MAX_BYTES} bytes.", param="sdp")
    # Not splitlines(): it knows a dozen line ends that SDP does not.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) > MAX_LINES:
        raise InvalidOffer(f"The SDP has more than {MAX_LINES} lines.", param="sdp")
    for number, line in enumerate(lines, 1):
        _check_line(number, line)
    return tuple(lines)


def _byte_length(text: str) -> int:
    if len(text) > MAX_BYTES:  # encoding a huge text would be work already
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidOffer("The SDP is not valid Unicode.", param="sdp") from None


def _check_line(number: int, line: str) -> None:
    if len(line) > MAX_LINE_CHARS:
        raise InvalidOffer(f"Line {number} of the SDP is too long.", param="sdp")
    if _CONTROL.search(line):
        raise InvalidOffer(f"Line {number} of the SDP has a control character.", param="sdp")
    if not _LINE.fullmatch(line):
        raise InvalidOffer(f"Line {number} of the SDP is not of the form x=….", param="sdp")


def values(lines: Sequence[str], name: str) -> Iterator[str]:
    """The values of all `a=name:…`, in their order."""
    prefix = f"a={name}:"
    return (line[len(prefix) :] for line in lines if line.startswith(prefix))


def single(lines: Sequence[str], name: str) -> str | None:
    """The value of the first `a=name:…`."""
    return next(values(lines, name), None)


def inherited(levels: Sequence[Sequence[str]], name: str) -> str | None:
    """The value of `a=name:…` in the first level that has it: the media section, the session."""
    found = (single(level, name) for level in levels)
    return next((value for value in found if value is not None), None)


def number(value: str, name: str, high: int) -> int:
    """`value` as a number from 0 to `high`. Raises InvalidOffer with `name` as its param."""
    if not re.fullmatch(r"[0-9]{1,20}", value) or int(value) > high:
        raise InvalidOffer(f"a={name} is not a number in its range.", param=name)
    return int(value)
