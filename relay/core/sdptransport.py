"""The half of a session description that belongs to one leg: ICE, DTLS, addresses.

RFC 8839 (ICE), RFC 8122 and RFC 8842 (DTLS), RFC 8841 (SCTP). The other half, the media's, is
`relay.core.sdpmedia`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from relay.core.candidate import Candidate
from relay.core.errors import InvalidOffer
from relay.core.sdplines import TOKEN, inherited, number, single, values

MAX_CANDIDATES: Final = 50
"""For one transport."""

DEFAULT_SCTP_PORT: Final = 5000
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
        # ICE: RFC 8839 §5, RFC 8840
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
        # SNAP: the SCTP INIT chunk of the peer's own association
        "sctp-init",
    }
)

ICE_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
ICE_PWD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")
_HASH = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){7,127}")
_SCTPMAP = re.compile(r"([0-9]{1,5}) webrtc-datachannel(?: [0-9]+)?", re.IGNORECASE)


class Setup(StrEnum):
    """Who opens the DTLS handshake (RFC 4145 §4, RFC 8842 §5.2)."""

    ACTPASS = "actpass"
    ACTIVE = "active"
    PASSIVE = "passive"


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


def read_transport(
    section: Sequence[str], session: Sequence[str], *, default_setup: Setup
) -> Transport:
    """The transport of a media section, with the session level as fallback.

    Raises InvalidOffer with the attribute at fault as `param`.
    """
    levels = (section, session)
    return Transport(
        ice_ufrag=_required(levels, "ice-ufrag", ICE_UFRAG),
        ice_pwd=_required(levels, "ice-pwd", ICE_PWD),
        fingerprints=_fingerprints(levels),
        setup=_setup(inherited(levels, "setup"), default_setup),
        candidates=_candidates(section),
        end_of_candidates=any("a=end-of-candidates" in level for level in levels),
        ice_lite=any("a=ice-lite" in level for level in levels),
        ice_options=tuple((inherited(levels, "ice-options") or "").split()),
    )


def read_sctp(section: Sequence[str]) -> Sctp:
    """The association of an application section. Raises InvalidOffer."""
    port = single(section, "sctp-port")
    if port is None:
        # The form before RFC 8841, which Firefox 62 and old native stacks write.
        sctpmap = _SCTPMAP.fullmatch(single(section, "sctpmap") or "")
        port = sctpmap[1] if sctpmap else str(DEFAULT_SCTP_PORT)
    size = single(section, "max-message-size")
    return Sctp(
        port=number(port, "sctp-port", 0xFFFF),
        max_message_size=DEFAULT_MAX_MESSAGE_SIZE
        if size is None
        else number(size, "max-message-size", 2**64 - 1),
    )


def is_leg_line(line: str) -> bool:
    """Whether the line says something about one leg, at either level, so that it never passes."""
    if line.startswith(("c=", "k=")):
        return True
    return line.startswith("a=") and line[2:].partition(":")[0] in _LEG_ATTRIBUTES


def transport_lines(transport: Transport) -> list[str]:
    """What each active section says of its transport; `a=ice-lite` stands at session level."""
    lines = [f"a=ice-ufrag:{transport.ice_ufrag}", f"a=ice-pwd:{transport.ice_pwd}"]
    if transport.ice_options:
        lines.append(f"a=ice-options:{' '.join(transport.ice_options)}")
    lines += [
        f"a=fingerprint:{fingerprint.algorithm} {fingerprint.value}"
        for fingerprint in transport.fingerprints
    ]
    lines.append(f"a=setup:{transport.setup}")
    return lines


def candidate_lines(transport: Transport) -> list[str]:
    """The candidates, for the section that carries the bundle."""
    lines = [f"a={candidate.render()}" for candidate in transport.candidates]
    if transport.end_of_candidates:
        lines.append("a=end-of-candidates")
    return lines


def with_max_message_size(attributes: Iterable[str], size: int) -> list[str]:
    """An application section's attributes with our own limit, in the place of the peer's."""
    ours = f"a=max-message-size:{size}"
    lines = [ours if line.startswith("a=max-message-size:") else line for line in attributes]
    return lines if ours in lines else [*lines, ours]


def _required(levels: Sequence[Sequence[str]], name: str, pattern: re.Pattern[str]) -> str:
    value = inherited(levels, name)
    if value is None or not pattern.fullmatch(value):
        raise InvalidOffer(f"a={name} is missing or malformed.", param=name)
    return value


def _setup(value: str | None, default: Setup) -> Setup:
    try:
        return default if value is None else Setup(value)
    except ValueError:
        raise InvalidOffer("a=setup is not actpass, active or passive.", param="setup") from None


def _fingerprints(levels: Sequence[Sequence[str]]) -> tuple[Fingerprint, ...]:
    found = (list(values(level, "fingerprint")) for level in levels)
    fingerprints = tuple(_fingerprint(value) for value in next(filter(None, found), []))
    if not any(fingerprint.algorithm in _SUPPORTED_HASHES for fingerprint in fingerprints):
        raise InvalidOffer("There is no a=fingerprint of SHA-256 or better.", param="fingerprint")
    return fingerprints


def _fingerprint(value: str) -> Fingerprint:
    algorithm, _, digest = value.partition(" ")
    algorithm = algorithm.lower()
    length = (len(digest) + 1) // 3
    if (
        not TOKEN.fullmatch(algorithm)
        or not _HASH.fullmatch(digest)
        or length != _HASH_BYTES.get(algorithm, length)
    ):
        raise InvalidOffer("An a=fingerprint is malformed.", param="fingerprint")
    return Fingerprint(algorithm, digest.upper())


def _candidates(section: Sequence[str]) -> tuple[Candidate, ...]:
    lines = [line for line in section if line.startswith("a=candidate:")]
    if len(lines) > MAX_CANDIDATES:
        raise InvalidOffer(f"There are more than {MAX_CANDIDATES} candidates.", param="candidate")
    candidates = (Candidate.parse(line) for line in lines)
    # Component 2 is separate RTCP, which a=rtcp-mux rules out.
    return tuple(candidate for candidate in candidates if candidate.component == 1)
