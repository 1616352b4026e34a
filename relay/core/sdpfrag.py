"""Trickle ICE fragments: `application/trickle-ice-sdpfrag` (RFC 8840 §9, RFC 9725 §4.3).

A client PATCHes its late candidates, or a new user fragment and password, which is an ICE restart;
the relay answers a restart with a fragment of its own. In scope: one bundled transport. Sections of
mids that the call does not have are refused, those of the bundle's other members count as one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from relay.core.candidate import Candidate
from relay.core.errors import InvalidOffer, InvalidRequest
from relay.core.sdplines import inherited, single, split_lines
from relay.core.sdptransport import ICE_PWD, ICE_UFRAG, MAX_CANDIDATES, Transport, candidate_lines

MEDIA_TYPE: Final = "application/trickle-ice-sdpfrag"

_MAX_SECTIONS: Final = 8


@dataclass(frozen=True, slots=True)
class SdpFragment:
    """`ice_ufrag` and `ice_pwd` are both given or both None; `candidates` are of one transport."""

    ice_ufrag: str | None
    ice_pwd: str | None = field(repr=False)
    candidates: tuple[Candidate, ...] = ()
    end_of_candidates: bool = False

    @classmethod
    def parse(cls, text: str, mids: Collection[str]) -> SdpFragment:
        """Reads a fragment for a call whose media sections are `mids`.

        Raises InvalidRequest with the attribute at fault as `param`; its message never repeats the
        input, which carries a password. Bounded as a session description is.
        """
        try:
            return _parse(text, mids)
        except InvalidOffer as error:
            raise InvalidRequest(
                error.message, code="invalid_sdpfrag", param=error.param
            ) from error


def render(transport: Transport, mid: str) -> str:
    """The relay's own side as a fragment, CRLF after each line."""
    lines = [
        f"a=ice-ufrag:{transport.ice_ufrag}",
        f"a=ice-pwd:{transport.ice_pwd}",
        *([f"a=ice-options:{' '.join(transport.ice_options)}"] if transport.ice_options else ()),
        "m=audio 9 UDP/TLS/RTP/SAVPF 0",  # RFC 8840 §9.2: only its mid has a meaning
        f"a=mid:{mid}",
        *candidate_lines(transport),
    ]
    return "".join(f"{line}\r\n" for line in lines)


def _parse(text: str, mids: Collection[str]) -> SdpFragment:
    session, *sections = _levels(split_lines(text))
    if not session and not sections:
        raise InvalidOffer("The fragment is empty.", param="sdpfrag")
    if len(sections) > _MAX_SECTIONS:
        raise InvalidOffer(f"There are more than {_MAX_SECTIONS} media sections.", param="m")
    for section in sections:
        if single(section, "mid") not in mids:
            raise InvalidOffer("A media section is none of this call's.", param="mid")
    levels = [*sections, session]
    ufrag, pwd = inherited(levels, "ice-ufrag"), inherited(levels, "ice-pwd")
    if (ufrag is None) != (pwd is None):
        raise InvalidOffer("a=ice-ufrag and a=ice-pwd belong together.", param="ice-ufrag")
    if ufrag is not None and not ICE_UFRAG.fullmatch(ufrag):
        raise InvalidOffer("a=ice-ufrag is malformed.", param="ice-ufrag")
    if pwd is not None and not ICE_PWD.fullmatch(pwd):
        raise InvalidOffer("a=ice-pwd is malformed.", param="ice-pwd")
    return SdpFragment(
        ice_ufrag=ufrag,
        ice_pwd=pwd,
        candidates=_candidates(levels),
        end_of_candidates=any("a=end-of-candidates" in level for level in levels),
    )


def _levels(lines: tuple[str, ...]) -> Iterator[list[str]]:
    level: list[str] = []
    for line in lines:
        if line.startswith("m="):
            yield level
            level = []
        level.append(line)
    yield level


def _candidates(levels: list[list[str]]) -> tuple[Candidate, ...]:
    lines = [line for level in levels for line in level if line.startswith("a=candidate:")]
    if len(lines) > MAX_CANDIDATES:
        raise InvalidOffer(f"There are more than {MAX_CANDIDATES} candidates.", param="candidate")
    found = (Candidate.parse(line) for line in lines)
    return tuple(dict.fromkeys(candidate for candidate in found if candidate.component == 1))
