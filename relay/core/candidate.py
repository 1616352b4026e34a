"""ICE candidates as they are written in SDP, in sdpfrags and in `RTCIceCandidate.candidate`.

RFC 8839 §5.1, and RFC 6544 §4.5 for TCP. A candidate is a fact about one leg: the relay never
passes one on, it only reads the peer's and writes its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from relay.core.errors import InvalidOffer

MAX_CANDIDATE_CHARS = 1024

_FOUNDATION = re.compile(r"[A-Za-z0-9+/]{1,32}", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]{1,64}", re.ASCII)
_ADDRESS = re.compile(r"[0-9A-Za-z.:%_\-]{1,255}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
_VISIBLE = re.compile(r"[!-~\u00a1-\U0010ffff]+")

_MIN_FIELDS = 8
"""foundation, component, transport, priority, address, port, "typ", type."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to reach a peer.

    `component` is 1 to 256, `priority` 0 to 2³²−1 (RFC 8445 stops at 2³¹−1, some stacks do not),
    `port` and `related_port` 0 to 65535. `transport` is in lower case. `address` is text: an IP
    address, or a name (mDNS) that is kept and never looked up here. `extensions` are the other
    name and value pairs, verbatim and in their order: (("generation", "0"), ("ufrag", "x")).
    """

    foundation: str
    component: int
    transport: str
    priority: int
    address: str
    port: int
    type: str
    related_address: str | None = None
    related_port: int | None = None
    tcptype: str | None = None
    extensions: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, line: str) -> Candidate:
        """Reads `candidate:…`, with or without `a=` before it.

        Raises InvalidOffer (param "candidate"); its message never repeats the input.
        """
        fields = _fields(line)
        foundation, component, transport, priority, address, port, typ, kind = fields[:_MIN_FIELDS]
        if typ != "typ":
            raise _invalid("has no type")
        known, extensions = _pairs(fields[_MIN_FIELDS:])
        related_port = known.get("rport")
        return cls(
            foundation=_matched(_FOUNDATION, foundation, "foundation"),
            component=_number(component, "component", 1, 256),
            transport=_matched(_TOKEN, transport, "transport").lower(),
            priority=_number(priority, "priority", 0, 0xFFFFFFFF),
            address=_matched(_ADDRESS, address, "address"),
            port=_number(port, "port", 0, 0xFFFF),
            type=_matched(_TOKEN, kind, "type"),
            related_address=known.get("raddr"),
            related_port=None
            if related_port is None
            else _number(related_port, "related port", 0, 0xFFFF),
            tcptype=known.get("tcptype"),
            extensions=extensions,
        )

    def render(self) -> str:
        """`candidate:…`, without `a=` and line end."""
        parts = [
            f"candidate:{self.foundation} {self.component} {self.transport} {self.priority}"
            f" {self.address} {self.port} typ {self.type}"
        ]
        if self.related_address is not None:
            parts.append(f"raddr {self.related_address}")
        if self.related_port is not None:
            parts.append(f"rport {self.related_port}")
        if self.tcptype is not None:
            parts.append(f"tcptype {self.tcptype}")
        parts.extend(f"{name} {value}" for name, value in self.extensions)
        return " ".join(parts)

    @property
    def is_ip(self) -> bool:
        """Whether `address` is an IPv4 or IPv6 address, and so needs no look-up."""
        try:
            ip_address(self.address)
        except ValueError:
            return False
        return True

    @property
    def is_mdns(self) -> bool:
        """Whether `address` is a name of multicast DNS (RFC 6762), as browsers hide addresses."""
        return self.address.lower().endswith(".local")


def _fields(line: str) -> list[str]:
    if len(line) > MAX_CANDIDATE_CHARS:
        raise _invalid("is too long")
    text = line.removeprefix("a=")
    if not text.startswith("candidate:"):
        raise _invalid('does not start with "candidate:"')
    fields = text.removeprefix("candidate:").strip(" ").split(" ")
    if len(fields) < _MIN_FIELDS:
        raise _invalid("has too few fields")
    if not all(_VISIBLE.fullmatch(field) for field in fields):
        raise _invalid("has an empty or unprintable field")
    return fields


def _pairs(fields: list[str]) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    """Splits what follows the type into the attributes we know and the rest."""
    if len(fields) % 2:
        raise _invalid("has an extension without a value")
    known: dict[str, str] = {}
    extensions = []
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if name in ("raddr", "rport", "tcptype") and name not in known:
            known[name] = value
        else:
            extensions.append((name, value))
    if "raddr" in known:
        _matched(_ADDRESS, known["raddr"], "related address")
    if "tcptype" in known:
        _matched(_TOKEN, known["tcptype"], "tcptype")
    return known, tuple(extensions)


def _matched(pattern: re.Pattern[str], value: str, name: str) -> str:
    if not pattern.fullmatch(value):
        raise _invalid(f"has an invalid {name}")
    return value


def _number(value: str, name: str, low: int, high: int) -> int:
    if not _NUMBER.fullmatch(value) or not low <= int(value) <= high:
        raise _invalid(f"has an invalid {name}")
    return int(value)


def _invalid(what: str) -> InvalidOffer:
    return InvalidOffer(f"An ICE candidate {what}.", param="candidate")
