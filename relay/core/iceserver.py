"""STUN and TURN servers by their URIs (RFC 7064, RFC 7065), as RTCIceServer names them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, cast

from relay.core.errors import InvalidRequest

_URI = re.compile(
    r"(?P<scheme>stuns?|turns?):(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]{1,253})"
    r"(?::(?P<port>[0-9]{1,5}))?(?:\?transport=(?P<transport>udp|tcp))?",
    re.IGNORECASE | re.ASCII,
)
_PORTS = {"stun": 3478, "turn": 3478, "stuns": 5349, "turns": 5349}


@dataclass(frozen=True, slots=True)
class IceServer:
    """`host` is a name or an address without brackets. TURN servers have both credentials."""

    scheme: Literal["stun", "stuns", "turn", "turns"]
    host: str
    port: int
    transport: Literal["udp", "tcp"]
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

    @classmethod
    def parse(
        cls, uri: str, *, username: str | None = None, credential: str | None = None
    ) -> IceServer:
        """Raises InvalidRequest (param "urls"). The transport's default: udp, tcp for TLS."""
        found = _URI.fullmatch(uri)
        if found is None or not 0 < int(found["port"] or 1) < 65536:
            raise InvalidRequest(f"{uri!r} is no STUN or TURN URI.", param="urls")
        scheme = found["scheme"].lower()
        transport = (found["transport"] or ("tcp" if scheme.endswith("s") else "udp")).lower()
        if scheme.startswith("stun") and found["transport"]:
            raise InvalidRequest("A STUN URI has no transport.", param="urls")
        return cls(
            scheme=cast(Literal["stun", "stuns", "turn", "turns"], scheme),
            host=found["host"].strip("[]"),
            port=int(found["port"] or _PORTS[scheme]),
            transport=cast(Literal["udp", "tcp"], transport),
            username=username,
            credential=credential,
        )

    @property
    def is_turn(self) -> bool:
        return self.scheme.startswith("turn")

    @property
    def is_tls(self) -> bool:
        return self.scheme.endswith("s")

    @property
    def uri(self) -> str:
        """As it was given, with the defaults spelled out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = f"?transport={self.transport}" if self.is_turn else ""
        return f"{self.scheme}:{host}:{self.port}{query}"
