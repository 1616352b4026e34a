"""The half of a session description that passes verbatim: media sections (RFC 8866 §5.14).

The relay reads of it what statistics need and changes nothing but the m-line's port and `c=`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from relay.core.errors import InvalidOffer
from relay.core.sdplines import TOKEN, single, values

AUDIO_LEVEL_URI: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
"""RFC 6464."""

_MEDIA = re.compile(r"m=([a-z]+) ([0-9]{1,5}) ([A-Za-z0-9/\-]{1,64}) (\S.*)")
_RTPMAP = re.compile(r"([0-9]{1,3}) ([^\s/]+)/([1-9][0-9]{0,8})(?:/([0-9]{1,3}))?")
_EXTMAP = re.compile(r"([0-9]{1,5})(?:/[a-z]+)? (\S+)(?: .*)?")


class Direction(StrEnum):
    """A media section's direction, as its author sees it."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class Codec:
    """One payload type's meaning; `name` in the writing of the SDP ("opus"), `clock_rate` in Hz."""

    payload_type: int
    name: str
    clock_rate: int
    channels: int = 1


_STATIC_CODECS: Final = {  # RFC 3551 §6: those that WebRTC stacks send, which need no rtpmap
    "0": Codec(0, "PCMU", 8000),
    "8": Codec(8, "PCMA", 8000),
    "9": Codec(9, "G722", 8000),
    "13": Codec(13, "CN", 8000),
}


@dataclass(frozen=True, slots=True)
class MediaSection:
    """One m-section. `lines` is all of it, verbatim, without line ends, the m-line first."""

    kind: str
    mid: str | None
    port: int
    protocol: str
    formats: tuple[str, ...]
    direction: Direction
    bundle_only: bool
    lines: tuple[str, ...] = field(repr=False)

    @classmethod
    def parse(cls, lines: tuple[str, ...], session: Sequence[str]) -> MediaSection:
        """Reads one section; `session` is the level it inherits from. Raises InvalidOffer."""
        match = _MEDIA.fullmatch(lines[0])
        if not match or int(match[2]) > 0xFFFF:
            raise InvalidOffer("A media line is malformed.", param="m")
        kind, port, protocol, formats = match.groups()
        if kind not in ("audio", "video", "application"):
            raise InvalidOffer("A media section is not audio, video or application.", param="m")
        section = cls(
            kind=kind,
            mid=_mid(lines),
            port=int(port),
            protocol=protocol,
            formats=tuple(formats.split(" ")),
            direction=_direction(lines) or _direction(session) or Direction.SENDRECV,
            bundle_only="a=bundle-only" in lines,
            lines=lines,
        )
        if section.is_rtp and not section.rejected and "a=rtcp-mux" not in lines:
            raise InvalidOffer("RTP without a=rtcp-mux is not supported.", param="rtcp-mux")
        return section

    @property
    def rejected(self) -> bool:
        """Port 0, unless that only says "in the bundle or not at all" (RFC 9143 §6)."""
        return self.port == 0 and not self.bundle_only

    @property
    def is_rtp(self) -> bool:
        """Whether it carries RTP, of whichever profile."""
        return "RTP/" in self.protocol

    @property
    def is_sctp(self) -> bool:
        """Whether it carries data channels."""
        return self.kind == "application" and "SCTP" in self.protocol

    @property
    def codecs(self) -> dict[int, Codec]:
        """Payload type → codec, for statistics; an rtpmap that cannot be read is left out."""
        static = [_STATIC_CODECS[text] for text in self.formats if text in _STATIC_CODECS]
        codecs = {codec.payload_type: codec for codec in static if self.is_rtp}
        for value in values(self.lines, "rtpmap"):
            if match := _RTPMAP.fullmatch(value):
                payload_type = int(match[1])
                codecs[payload_type] = Codec(
                    payload_type, match[2], int(match[3]), int(match[4] or 1)
                )
        return codecs

    def extension_id(self, uri: str) -> int | None:
        """The id of an RTP header extension in this section (RFC 8285 §5), None where absent."""
        for value in values(self.lines, "extmap"):
            match = _EXTMAP.fullmatch(value)
            if match and match[2] == uri:
                return int(match[1])
        return None

    def rejection(self) -> MediaSection:
        """The section that refuses this one in an answer (RFC 3264 §6)."""
        return self._refusal(port=0, attributes=())

    def silenced(self) -> MediaSection:
        """The section that takes this one in an answer but never sends or receives in it."""
        names = ("rtcp-mux", "rtcp-rsize", "rtpmap", "fmtp")
        attributes = [line for line in self.lines if line[2:].partition(":")[0] in names]
        return self._refusal(port=9, attributes=attributes)

    def _refusal(self, port: int, attributes: Sequence[str]) -> MediaSection:
        lines = [f"m={self.kind} {port} {self.protocol} {' '.join(self.formats)}"]
        lines += ["c=IN IP4 0.0.0.0", "a=inactive"]
        if self.mid is not None:
            lines.append(f"a=mid:{self.mid}")
        return replace(
            self,
            port=port,
            direction=Direction.INACTIVE,
            bundle_only=False,
            lines=(*lines, *attributes),
        )


def _mid(lines: Sequence[str]) -> str | None:
    mid = single(lines, "mid")
    if mid is not None and not TOKEN.fullmatch(mid):
        raise InvalidOffer("a=mid is malformed.", param="mid")
    return mid


def _direction(lines: Sequence[str]) -> Direction | None:
    names = {f"a={direction}": direction for direction in Direction}
    return next((names[line] for line in lines if line in names), None)
