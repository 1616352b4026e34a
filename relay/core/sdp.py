"""Session descriptions of a translator: what is a leg's is replaced, what is the media's passes.

The relay sends the browser's media description upstream and the upstream's back, byte for byte, so
that payload types, parameters, header extensions and feedback are negotiated end to end. ICE, DTLS
and addresses belong to one leg: `Description.parse` reads them into a `Transport`, and
`Description.render` writes another leg's in their place.

Sources: RFC 8866 (SDP), RFC 9429 (JSEP), RFC 9143 (BUNDLE). In scope: one bundled transport, RTP
and RTCP multiplexed, at most one association for data channels. Out of scope: several transports,
SDES, separate RTCP, other text than UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from relay.core.errors import InvalidOffer, UpstreamInvalid
from relay.core.sdplines import split_lines, values
from relay.core.sdpmedia import AUDIO_LEVEL_URI, Codec, Direction, MediaSection
from relay.core.sdptransport import (
    Fingerprint,
    Sctp,
    Setup,
    Transport,
    candidate_lines,
    is_leg_line,
    read_sctp,
    read_transport,
    transport_lines,
    with_max_message_size,
)

__all__ = [
    "AUDIO_LEVEL_URI",
    "Codec",
    "Description",
    "Direction",
    "Fingerprint",
    "MediaSection",
    "Sctp",
    "Setup",
    "Transport",
]

MAX_SECTIONS: Final = 3

_NO_AUDIO: Final = "Offer did not have an audio media section."
"""OpenAI's own words: it wants one even for a call of text only."""

_ORIGIN = re.compile(r"(o=\S+ \S+ \S+) IN IP[46] (\S+)")
_ADDRESSES_OF_NOBODY: Final = frozenset({"127.0.0.1", "0.0.0.0", "::1", "::"})  # noqa: S104  # as text


@dataclass(frozen=True, slots=True)
class Description:
    """An offer or an answer.

    `lines` is the session level, verbatim. `transport` is that of the section which carries the
    bundle (the first active one of the BUNDLE group, RFC 9143 §7.2), with the session level as
    fallback. `sctp` is None where there is no active section for data channels.

    Where a section is kept from the upstream, the browser's leg still takes `transport` from the
    offer as it came, which carries the same bundle:

        forwarded = offer.without("video")
        answer = Description.parse_answer(text, forwarded).rejecting(offer)
    """

    lines: tuple[str, ...] = field(repr=False)
    sections: tuple[MediaSection, ...]
    transport: Transport
    sctp: Sctp | None

    @classmethod
    def parse(cls, text: str) -> Description:
        """Reads an offer; CRLF or LF, the last one may be missing.

        Raises InvalidOffer with the attribute at fault as `param`; its message never repeats the
        input, which carries secrets. Time and memory are linear in the input, which is bounded
        (`relay.core.sdplines`).
        """
        # RFC 8842 §5.2 asks for actpass, and so do we where nothing is said.
        description = _parsed(text, Setup.ACTPASS)
        if description.section("audio") is None:
            raise InvalidOffer(_NO_AUDIO, param="sdp")
        return description

    @classmethod
    def parse_answer(cls, text: str, offer: Description) -> Description:
        """Reads the upstream's answer to `offer`, which is the one it was sent.

        Raises UpstreamInvalid where it cannot be read or does not answer `offer`.
        """
        try:
            answer = _parsed(text, Setup.PASSIVE)  # RFC 4145 §4: an answer's default
        except InvalidOffer as error:
            message = f"The upstream's answer cannot be used: {error.message}"
            raise UpstreamInvalid(message, param=error.param) from error
        if not answer.answers(offer):
            raise UpstreamInvalid("The upstream's answer has other media sections than the offer.")
        if answer.transport.setup is Setup.ACTPASS:
            raise UpstreamInvalid("The upstream's answer leaves the DTLS role open.", param="setup")
        return answer

    def section(self, kind: str) -> MediaSection | None:
        """The first section of that kind, an active one before a rejected one."""
        found = sorted(
            (section for section in self.sections if section.kind == kind),
            key=lambda section: section.rejected,
        )
        return found[0] if found else None

    @property
    def carrier(self) -> MediaSection:
        """The section that carries the bundle's transport."""
        return _carrier(self.lines, self.sections)

    def render(self, transport: Transport, *, max_message_size: int | None) -> str:
        """The description as another leg sends it: every line verbatim but the leg's own.

        ICE and DTLS lines are written into each active section, candidates into the one that
        carries the bundle. `max_message_size` (bytes) takes the place of the peer's; None keeps
        it. Every line ends in CRLF, the last one too.
        """
        lines = [_neutral_origin(line) for line in self.lines if not is_leg_line(line)]
        if transport.ice_lite:
            lines.append("a=ice-lite")
        carrier = self.carrier
        for section in self.sections:
            leg_lines = [] if section.rejected else transport_lines(transport)
            if section is carrier:
                leg_lines += candidate_lines(transport)
            lines += _section_lines(section, leg_lines, max_message_size)
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
        return [_identity(section) for section in self.sections] == [
            _identity(section) for section in offer.sections
        ]

    def rejecting(self, offer: Description) -> Description:
        """This answer with the sections that `offer` had more put back in their place, refused.

        That is at port 0. Only the section that carries the offer's bundle stays in it, inactive:
        Chromium's max-bundle does not take an answer that rejects it ("Failed to setup RTCP mux"),
        though RFC 9143 §7.3 has the next section take over. Raises UpstreamInvalid where the rest
        does not answer `offer`.
        """
        carrier = _carrier(offer.lines, offer.sections)
        lines = self.lines
        own = list(self.sections)
        sections = []
        for offered in offer.sections:
            if own and _identity(own[0]) == _identity(offered):
                sections.append(own.pop(0))
            elif offered is carrier:
                sections.append(offered.silenced())
                lines = _bundled_first(lines, offered, self.sections)
            else:
                sections.append(offered.rejection())
        if own:
            raise UpstreamInvalid("The upstream's answer has other media sections than the offer.")
        return replace(self, lines=lines, sections=tuple(sections))


# Reading


def _parsed(text: str, default_setup: Setup) -> Description:
    lines = split_lines(text)
    # RFC 9429 §5.8.1: these three come first
    if lines[:1] != ("v=0",) or [line[:2] for line in lines[1:3]] != ["o=", "s="]:
        raise InvalidOffer("The SDP does not begin with the lines v=0, o= and s=.", param="sdp")
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    if len(starts) > MAX_SECTIONS:
        raise InvalidOffer(f"There are more than {MAX_SECTIONS} media sections.", param="m")
    bounds = [*starts, len(lines)]
    session = lines[: bounds[0]]
    sections = tuple(
        MediaSection.parse(lines[start:end], session) for start, end in pairwise(bounds)
    )
    mids = [section.mid for section in sections if section.mid is not None]
    if len(set(mids)) != len(mids):
        raise InvalidOffer("An a=mid is used twice.", param="mid")
    return _described(session, sections, default_setup)


def _described(
    session: tuple[str, ...], sections: tuple[MediaSection, ...], default_setup: Setup
) -> Description:
    channels = [section for section in sections if section.is_sctp and not section.rejected]
    if len(channels) > 1:
        raise InvalidOffer("There are two sections for data channels.", param="m")
    carrier = _carrier(session, sections)
    return Description(
        lines=session,
        sections=sections,
        transport=read_transport(carrier.lines, session, default_setup=default_setup),
        sctp=read_sctp(channels[0].lines) if channels else None,
    )


def _carrier(session: Sequence[str], sections: Sequence[MediaSection]) -> MediaSection:
    """The section whose transport all active ones share."""
    active = [section for section in sections if not section.rejected]
    if not active:
        no_audio = all(section.kind != "audio" for section in sections)
        raise InvalidOffer(_NO_AUDIO if no_audio else "No media section is active.", param="sdp")
    if len(active) == 1:
        return active[0]
    by_mid = {section.mid: section for section in active if section.mid is not None}
    for value in values(session, "group"):
        semantics, *mids = value.split(" ")
        bundled = [by_mid[mid] for mid in dict.fromkeys(mids) if mid in by_mid]
        if semantics == "BUNDLE" and len(bundled) == len(active):
            return bundled[0]
    raise InvalidOffer(
        "The media sections are not in one a=group:BUNDLE; only one transport is supported.",
        param="group",
    )


def _identity(section: MediaSection) -> tuple[str, str | None]:
    return section.kind, section.mid


# Writing


def _neutral_origin(line: str) -> str:
    """`o=` identifies the end point and passes, but no address in it that says where it lives."""
    match = _ORIGIN.fullmatch(line)
    if not match or match[2] in _ADDRESSES_OF_NOBODY:
        return line
    return f"{match[1]} IN IP4 0.0.0.0"


def _section_lines(
    section: MediaSection, leg_lines: Sequence[str], max_message_size: int | None
) -> list[str]:
    """The section with the leg's lines before its first attribute (RFC 8866 §5 orders i, c, b, a).

    `c=` and `a=rtcp` are the dummies of RFC 9429 §5.2.1: the candidates have the addresses.
    """
    port = 9 if section.port else 0
    kept = [line for line in section.lines[1:] if not is_leg_line(line)]
    attributes = [
        "a=rtcp:9 IN IP4 0.0.0.0" if line.startswith("a=rtcp:") else line
        for line in kept
        if line.startswith("a=")
    ]
    if section.is_sctp and not section.rejected and max_message_size is not None:
        attributes = with_max_message_size(attributes, max_message_size)
    return [
        f"m={section.kind} {port} {section.protocol} {' '.join(section.formats)}",
        *(line for line in kept if line.startswith("i=")),
        "c=IN IP4 0.0.0.0",
        *(line for line in kept if not line.startswith(("i=", "a="))),
        *leg_lines,
        *attributes,
    ]


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


def _bundled_first(
    lines: tuple[str, ...], carrier: MediaSection, others: Sequence[MediaSection]
) -> tuple[str, ...]:
    """The session's lines with `carrier` at the head of the one BUNDLE group."""
    left = [line for line in lines if not line.startswith("a=group:BUNDLE")]
    active = [section.mid for section in others if not section.rejected]
    mids = [mid for mid in (carrier.mid, *active) if mid is not None]
    return (*left, f"a=group:BUNDLE {' '.join(mids)}")
