"""Session descriptions of a translator: what is a leg's is replaced, what is the media's passes.

The relay sends the browser's media description upstream and the upstream's back, byte for byte, so
that payload types, parameters, header extensions and feedback are negotiated end to end. ICE, DTLS
and addresses belong to one leg: `Description.parse` reads them into `Transport`, and
`Description.render` writes another leg's in their place.

Sources: RFC 8866 (SDP), RFC 9429 (JSEP), RFC 8839 (ICE), RFC 8122 and RFC 8842 (DTLS), RFC 8841
(SCTP), RFC 9143 (BUNDLE). In scope: one bundled transport, RTP and RTCP multiplexed, at most one
association for data channels. Out of scope: several transports, SDES, separate RTCP, encodings
other than UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from relay.core.candidate import Candidate
from relay.core.errors import InvalidOffer, UpstreamInvalid

MAX_BYTES: Final = 64 * 1024
MAX_LINES: Final = 2000
MAX_LINE_CHARS: Final = 8 * 1024
MAX_SECTIONS: Final = 3
MAX_CANDIDATES: Final = 50
"""For one media section."""

AUDIO_LEVEL_URI: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
"""RFC 6464."""

DEFAULT_MAX_MESSAGE_SIZE: Final = 65536
"""RFC 8841 §6.1."""

_HASH_BYTES: Final = {
    "md5": 16,
    "sha-1": 20,
    "sha-224": 28,
    "sha-256": 32,
    "sha-384": 48,
    "sha-512": 64,
}
_SUPPORTED_HASHES: Final = frozenset({"sha-256", "sha-384", "sha-512"})

_LEG_ATTRIBUTES: Final = frozenset(
    {
        # ICE: RFC 8839, RFC 8840
        "candidate",
        "end-of-candidates",
        "ice-lite",
        "ice-mismatch",
        "ice-options",
        "ice-pacing",
        "ice-pwd",
        "ice-ufrag",
        "remote-candidates",
        # DTLS: RFC 8122, RFC 8842; an identity assertion (RFC 8827 §7) signs the fingerprints
        "connection",
        "dtls-id",
        "fingerprint",
        "identity",
        "setup",
        "tls-id",
        # keys in the open: SDES, RFC 4568
        "crypto",
        # SNAP: an SCTP INIT chunk of the peer's own association
        "sctp-init",
    }
)

_LINE = re.compile(r"[a-z]=.*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MEDIA = re.compile(r"m=([a-z]+) ([0-9]{1,5}) ([A-Za-z0-9/\-]{1,64}) (\S.*)")
_ORIGIN = re.compile(r"(o=\S+ \S+ \S+) IN (IP4|IP6) (\S+)")
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PWD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]{1,255}")
_HASH = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){7,127}")
_RTPMAP = re.compile(r"([0-9]{1,3}) ([^\s/]+)/([0-9]{1,9})(?:/([0-9]{1,3}))?")
_EXTMAP = re.compile(r"([0-9]{1,5})(?:/[a-z]+)? (\S+)(?: .*)?")
_SCTPMAP = re.compile(r"([0-9]{1,5}) webrtc-datachannel(?: [0-9]+)?", re.IGNORECASE)

_HARMLESS_ORIGINS: Final = frozenset({"127.0.0.1", "0.0.0.0", "::1", "::"})  # noqa: S104  # as text


class Setup(StrEnum):
    """Who opens the DTLS handshake (RFC 4145 §4, RFC 8842 §5.2)."""

    ACTPASS = "actpass"
    ACTIVE = "active"
    PASSIVE = "passive"


class Direction(StrEnum):
    """A media section's direction, as its author sees it."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A certificate's hash: `algorithm` in lower case, `value` as "AB:CD:…" in upper case."""

    algorithm: str
    value: str


@dataclass(frozen=True, slots=True)
class Transport:
    """What belongs to a leg, never to the media."""

    ice_ufrag: str
    ice_pwd: str = field(repr=False)
    fingerprints: tuple[Fingerprint, ...]
    setup: Setup
    candidates: tuple[Candidate, ...] = ()
    end_of_candidates: bool = False
    ice_lite: bool = False
    ice_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sctp:
    """The data channels' association; `max_message_size` in bytes, 0 for any (RFC 8841 §6.1)."""

    port: int
    max_message_size: int


@dataclass(frozen=True, slots=True)
class Codec:
    """One payload type's meaning; `name` in the writing of the SDP ("opus"), `clock_rate` in Hz."""

    payload_type: int
    name: str
    clock_rate: int
    channels: int = 1


_STATIC_CODECS: Final = {  # RFC 3551 §6: the audio ones that WebRTC stacks know
    0: Codec(0, "PCMU", 8000),
    8: Codec(8, "PCMA", 8000),
    9: Codec(9, "G722", 8000),
    13: Codec(13, "CN", 8000),
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

    @property
    def rejected(self) -> bool:
        """Port 0, unless that only says "in the bundle or not at all" (RFC 9143 §6)."""
        return self.port == 0 and not self.bundle_only

    @property
    def is_rtp(self) -> bool:
        return "RTP/" in self.protocol

    @property
    def is_sctp(self) -> bool:
        return self.kind == "application" and "SCTP" in self.protocol

    @property
    def codecs(self) -> dict[int, Codec]:
        """Payload type → codec, for statistics; unreadable rtpmap lines are left out."""
        codecs = {
            int(text): _STATIC_CODECS[int(text)]
            for text in self.formats
            if text in ("0", "8", "9", "13") and self.is_rtp
        }
        for value in _values(self.lines, "rtpmap"):
            if match := _RTPMAP.fullmatch(value):
                payload_type, name, clock_rate, channels = match.groups()
                codecs[int(payload_type)] = Codec(
                    int(payload_type), name, int(clock_rate), int(channels or 1)
                )
        return codecs

    def extension_id(self, uri: str) -> int | None:
        """The id of an RTP header extension in this section (RFC 8285 §5), None where absent."""
        for value in _values(self.lines, "extmap"):
            match = _EXTMAP.fullmatch(value)
            if match and match[2] == uri:
                return int(match[1])
        return None


@dataclass(frozen=True, slots=True)
class Description:
    """An offer or an answer.

    `lines` is the session level, verbatim. `transport` is that of the section which carries the
    bundle (the first active one of the BUNDLE group, RFC 9143 §7.2), with the session level as
    fallback: after `without` it may be another section's, so take it from the description that
    is really negotiated. `sctp` is None where there is no active section for data channels.
    """

    lines: tuple[str, ...] = field(repr=False)
    sections: tuple[MediaSection, ...]
    transport: Transport
    sctp: Sctp | None

    @classmethod
    def parse(cls, text: str) -> Description:
        """Reads an offer; CRLF or LF, the last one may be missing.

        Raises InvalidOffer with the attribute at fault as `param`. Time and memory are linear in
        the input, which is bounded (`MAX_BYTES`, …). No message repeats the input: it carries
        secrets.
        """
        description = cls._parse(text, default_setup=Setup.ACTPASS)
        if not any(section.kind == "audio" for section in description.sections):
            # The upstream's own words: it insists even for a call of text only.
            raise InvalidOffer("Offer did not have an audio media section.", param="sdp")
        return description

    @classmethod
    def parse_answer(cls, text: str, offer: Description) -> Description:
        """Reads the upstream's answer to `offer`. Raises UpstreamInvalid."""
        try:
            # RFC 4145 §4: passive is an answer's default
            answer = cls._parse(text, default_setup=Setup.PASSIVE)
        except InvalidOffer as error:
            message = f"The upstream's answer cannot be used: {error.message}"
            raise UpstreamInvalid(message, param=error.param) from error
        if not answer.answers(offer):
            raise UpstreamInvalid("The upstream's answer has other media sections than the offer.")
        if answer.transport.setup is Setup.ACTPASS:
            raise UpstreamInvalid("The upstream's answer leaves the DTLS role open.", param="setup")
        return answer

    @classmethod
    def _parse(cls, text: str, default_setup: Setup) -> Description:
        lines = _lines(text)
        starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
        if len(starts) > MAX_SECTIONS:
            raise InvalidOffer(f"There are more than {MAX_SECTIONS} media sections.", param="m")
        ends = [*starts[1:], len(lines)]
        session = lines[: starts[0]] if starts else lines
        sections = tuple(
            _section(lines[start:end], session) for start, end in zip(starts, ends, strict=True)
        )
        _check_mids(sections)
        return _described(session, sections, default_setup)

    def render(self, transport: Transport, *, max_message_size: int | None) -> str:
        """The description as another leg sends it: every line verbatim but the leg's own.

        ICE and DTLS lines are written into each active section, candidates into the one that
        carries the bundle. `max_message_size` (bytes) takes the place of the peer's; None keeps
        it. Every line ends in CRLF, the last one too.
        """
        carrier = _carrier(self.lines, self.sections)
        lines = [_neutral_origin(line) for line in self.lines if not _is_leg_line(line)]
        if transport.ice_lite:
            lines.append("a=ice-lite")
        for section in self.sections:
            leg_lines = [] if section.rejected else _leg_lines(transport)
            if section is carrier:
                leg_lines += _candidate_lines(transport)
            lines += _rendered(section, leg_lines, max_message_size)
        return "".join(f"{line}\r\n" for line in lines)

    def without(self, kind: str) -> Description:
        """This offer with no section of that kind: what the upstream sees when video is off.

        Raises InvalidOffer when no active section is left.
        """
        removed = [section for section in self.sections if section.kind == kind]
        if not removed:
            return self
        mids = {section.mid for section in removed if section.mid is not None}
        lines = tuple(_ungrouped(self.lines, mids))
        sections = tuple(section for section in self.sections if section.kind != kind)
        return _described(lines, sections, Setup.ACTPASS)

    def answers(self, offer: Description) -> bool:
        """Whether this has the offer's sections: number, kinds and mids, in their order."""
        return [(section.kind, section.mid) for section in self.sections] == [
            (section.kind, section.mid) for section in offer.sections
        ]

    def rejecting(self, offer: Description) -> Description:
        """This answer with the sections that `offer` had more put back in their place, at port 0.

        Raises UpstreamInvalid where the rest does not answer `offer`.
        """
        own = list(self.sections)
        sections = []
        for offered in offer.sections:
            if own and (own[0].kind, own[0].mid) == (offered.kind, offered.mid):
                sections.append(own.pop(0))
            else:
                sections.append(_rejection(offered))
        if own:
            raise UpstreamInvalid("The upstream's answer has other media sections than the offer.")
        return replace(self, sections=tuple(sections))


# Reading


def _lines(text: str) -> tuple[str, ...]:
    """Splits and bounds the text; what comes out is well-formed lines without their ends."""
    # The count of characters first: encoding a huge text is work already.
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise InvalidOffer(f"The SDP is larger than {MAX_BYTES} bytes.", param="sdp")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) > MAX_LINES:
        raise InvalidOffer(f"The SDP has more than {MAX_LINES} lines.", param="sdp")
    for number, line in enumerate(lines, 1):
        _check_line(number, line)
    # RFC 9429 §5.8.1: these three lines come first
    if [line[:2] for line in lines[:3]] != ["v=", "o=", "s="] or lines[0] != "v=0":
        raise InvalidOffer("The SDP does not begin with the lines v=0, o= and s=.", param="sdp")
    return tuple(lines)


def _check_line(number: int, line: str) -> None:
    if len(line) > MAX_LINE_CHARS:
        raise InvalidOffer(f"Line {number} of the SDP is too long.", param="sdp")
    if not _LINE.fullmatch(line) and not _CONTROL.search(line):
        raise InvalidOffer(f"Line {number} of the SDP is not of the form x=….", param="sdp")
    try:
        line.encode()
    except UnicodeEncodeError:
        pass
    else:
        if not _CONTROL.search(line):
            return
    raise InvalidOffer(f"Line {number} of the SDP has a control character.", param="sdp")


def _section(lines: tuple[str, ...], session: tuple[str, ...]) -> MediaSection:
    match = _MEDIA.fullmatch(lines[0])
    if not match or int(match[2]) > 0xFFFF:
        raise InvalidOffer("A media line is malformed.", param="m")
    kind, port, protocol, formats = match.groups()
    if kind not in ("audio", "video", "application"):
        raise InvalidOffer("A media section is not audio, video or application.", param="m")
    section = MediaSection(
        kind=kind,
        mid=_single(lines, "mid"),
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


def _direction(lines: Sequence[str]) -> Direction | None:
    names = {f"a={direction}": direction for direction in Direction}
    return next((names[line] for line in lines if line in names), None)


def _check_mids(sections: Sequence[MediaSection]) -> None:
    mids = [section.mid for section in sections if section.mid is not None]
    if len(set(mids)) != len(mids) or not all(_TOKEN.fullmatch(mid) for mid in mids):
        raise InvalidOffer("An a=mid is malformed or used twice.", param="mid")


def _described(
    session: tuple[str, ...], sections: tuple[MediaSection, ...], default_setup: Setup
) -> Description:
    active = [section for section in sections if not section.rejected]
    associations = [section for section in active if section.is_sctp]
    if len(associations) > 1:
        raise InvalidOffer("There are two sections for data channels.", param="m")
    return Description(
        lines=session,
        sections=sections,
        transport=_transport(session, sections, default_setup),
        sctp=_sctp(associations[0]) if associations else None,
    )


def _carrier(session: Sequence[str], sections: Sequence[MediaSection]) -> MediaSection:
    """The section whose transport all active ones share."""
    active = [section for section in sections if not section.rejected]
    if not active:
        if not any(section.kind == "audio" for section in sections):
            raise InvalidOffer("Offer did not have an audio media section.", param="sdp")
        raise InvalidOffer("Every media section is rejected.", param="m")
    if len(active) == 1:
        return active[0]
    by_mid = {section.mid: section for section in active if section.mid is not None}
    for group in _bundles(session):
        bundled = [by_mid[mid] for mid in group if mid in by_mid]
        if len(bundled) == len(active):
            return bundled[0]
    raise InvalidOffer(
        "The media sections are not in one a=group:BUNDLE; one transport is supported.",
        param="group",
    )


def _bundles(session: Sequence[str]) -> Iterator[list[str]]:
    for value in _values(session, "group"):
        semantics, *mids = value.split(" ")
        if semantics == "BUNDLE":
            if len(set(mids)) != len(mids):
                raise InvalidOffer("An a=group:BUNDLE names a section twice.", param="group")
            yield mids


def _transport(
    session: Sequence[str], sections: Sequence[MediaSection], default_setup: Setup
) -> Transport:
    carrier = _carrier(session, sections)
    levels = (carrier.lines, session)
    setup = _inherited(levels, "setup")
    try:
        role = default_setup if setup is None else Setup(setup)
    except ValueError:
        raise InvalidOffer("a=setup is not actpass, active or passive.", param="setup") from None
    return Transport(
        ice_ufrag=_required(levels, "ice-ufrag", _UFRAG),
        ice_pwd=_required(levels, "ice-pwd", _PWD),
        fingerprints=_fingerprints(levels),
        setup=role,
        candidates=_candidates(carrier),
        end_of_candidates=any("a=end-of-candidates" in level for level in levels),
        ice_lite=any("a=ice-lite" in level for level in levels),
        ice_options=tuple((_inherited(levels, "ice-options") or "").split()),
    )


def _fingerprints(levels: Sequence[Sequence[str]]) -> tuple[Fingerprint, ...]:
    values = next((found for level in levels if (found := list(_values(level, "fingerprint")))), [])
    fingerprints = tuple(_fingerprint(value) for value in values)
    if not any(fingerprint.algorithm in _SUPPORTED_HASHES for fingerprint in fingerprints):
        raise InvalidOffer("There is no a=fingerprint of SHA-256 or better.", param="fingerprint")
    return fingerprints


def _fingerprint(value: str) -> Fingerprint:
    algorithm, _, digest = value.partition(" ")
    algorithm = algorithm.lower()
    length = (len(digest) + 1) // 3
    if (
        not _TOKEN.fullmatch(algorithm)
        or not _HASH.fullmatch(digest)
        or length != _HASH_BYTES.get(algorithm, length)
    ):
        raise InvalidOffer("An a=fingerprint is malformed.", param="fingerprint")
    return Fingerprint(algorithm, digest.upper())


def _candidates(section: MediaSection) -> tuple[Candidate, ...]:
    lines = [line for line in section.lines if line.startswith("a=candidate:")]
    if len(lines) > MAX_CANDIDATES:
        raise InvalidOffer(f"There are more than {MAX_CANDIDATES} candidates.", param="candidate")
    candidates = (Candidate.parse(line) for line in lines)
    # Component 2 is separate RTCP, which a=rtcp-mux rules out.
    return tuple(candidate for candidate in candidates if candidate.component == 1)


def _sctp(section: MediaSection) -> Sctp:
    port = _single(section.lines, "sctp-port")
    if port is None:
        # The form before RFC 8841: a=sctpmap, whose port is also the m-line's format.
        sctpmap = _SCTPMAP.fullmatch(_single(section.lines, "sctpmap") or "")
        port = sctpmap[1] if sctpmap else "5000"
    size = _single(section.lines, "max-message-size")
    return Sctp(
        port=_number(port, "sctp-port", 0xFFFF),
        max_message_size=DEFAULT_MAX_MESSAGE_SIZE
        if size is None
        else _number(size, "max-message-size", 2**64 - 1),
    )


def _number(value: str, name: str, high: int) -> int:
    if not re.fullmatch(r"[0-9]{1,20}", value) or int(value) > high:
        raise InvalidOffer(f"a={name} is not a number in its range.", param=name)
    return int(value)


def _required(levels: Sequence[Sequence[str]], name: str, pattern: re.Pattern[str]) -> str:
    value = _inherited(levels, name)
    if value is None or not pattern.fullmatch(value):
        raise InvalidOffer(f"a={name} is missing or malformed.", param=name)
    return value


def _inherited(levels: Sequence[Sequence[str]], name: str) -> str | None:
    """The attribute's value in the media section, else at session level."""
    return next(
        (value for level in levels if (value := _single(level, name)) is not None),
        None,
    )


def _single(lines: Sequence[str], name: str) -> str | None:
    return next(_values(lines, name), None)


def _values(lines: Sequence[str], name: str) -> Iterator[str]:
    prefix = f"a={name}:"
    return (line[len(prefix) :] for line in lines if line.startswith(prefix))


# Writing


def _is_leg_line(line: str) -> bool:
    if line.startswith("c="):
        return True
    return line.startswith("a=") and line[2:].partition(":")[0] in _LEG_ATTRIBUTES


def _neutral_origin(line: str) -> str:
    """`o=` is the endpoint's own, but an address in it that says where it lives goes no further."""
    match = _ORIGIN.fullmatch(line)
    if not match or match[3] in _HARMLESS_ORIGINS:
        return line
    return f"{match[1]} IN IP4 0.0.0.0"


def _leg_lines(transport: Transport) -> list[str]:
    lines = [f"a=ice-ufrag:{transport.ice_ufrag}", f"a=ice-pwd:{transport.ice_pwd}"]
    if transport.ice_options:
        lines.append(f"a=ice-options:{' '.join(transport.ice_options)}")
    lines += [
        f"a=fingerprint:{fingerprint.algorithm} {fingerprint.value}"
        for fingerprint in transport.fingerprints
    ]
    lines.append(f"a=setup:{transport.setup}")
    return lines


def _candidate_lines(transport: Transport) -> list[str]:
    lines = [f"a={candidate.render()}" for candidate in transport.candidates]
    if transport.end_of_candidates:
        lines.append("a=end-of-candidates")
    return lines


def _rendered(
    section: MediaSection, leg_lines: Sequence[str], max_message_size: int | None
) -> list[str]:
    """The section's lines with the leg's own before its first attribute."""
    port = 9 if section.port else 0
    lines = [f"m={section.kind} {port} {section.protocol} {' '.join(section.formats)}"]
    kept = [line for line in section.lines[1:] if not _is_leg_line(line)]
    titles = [line for line in kept if line.startswith("i=")]
    bandwidths = [line for line in kept if not line.startswith(("i=", "a="))]
    attributes = [_neutral_rtcp(line) for line in kept if line.startswith("a=")]
    if section.is_sctp and not section.rejected and max_message_size is not None:
        attributes = _with_max_message_size(attributes, max_message_size)
    return [*lines, *titles, "c=IN IP4 0.0.0.0", *bandwidths, *leg_lines, *attributes]


def _neutral_rtcp(line: str) -> str:
    # RFC 9429 §5.2.1: a dummy, for RTCP comes with RTP
    return "a=rtcp:9 IN IP4 0.0.0.0" if line.startswith("a=rtcp:") else line


def _with_max_message_size(attributes: Iterable[str], size: int) -> list[str]:
    ours = f"a=max-message-size:{size}"
    lines = [ours if line.startswith("a=max-message-size:") else line for line in attributes]
    return lines if ours in lines else [*lines, ours]


def _ungrouped(lines: Iterable[str], mids: set[str]) -> Iterator[str]:
    """The session's lines without these mids in any a=group; a group left empty goes."""
    for line in lines:
        if not line.startswith("a=group:"):
            yield line
            continue
        semantics, *members = line.split(" ")
        left = [member for member in members if member not in mids]
        if left:
            yield " ".join([semantics, *left])


def _rejection(offered: MediaSection) -> MediaSection:
    mid = [] if offered.mid is None else [f"a=mid:{offered.mid}"]
    formats = " ".join(offered.formats)
    return replace(
        offered,
        port=0,
        direction=Direction.INACTIVE,
        bundle_only=False,
        lines=(
            f"m={offered.kind} 0 {offered.protocol} {formats}",
            "c=IN IP4 0.0.0.0",
            "a=inactive",
            *mid,
        ),
    )
