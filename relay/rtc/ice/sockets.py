"""The process's ICE sockets: opened once for client legs, one a call for upstream legs."""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from relay.core.candidate import Candidate
from relay.rtc.ice.addresses import LocalAddress, host_addresses, select
from relay.rtc.ice.udp import Registry, SharedUdpWire, open_udp
from relay.rtc.ice.wire import Wire

_HOST_TYPE_PREFERENCE = 126  # RFC 8445 §5.1.2.1


@dataclass(frozen=True, slots=True)
class IceOptions:
    """`udp_port`: one port for all client legs, 0 = any free one. `bind`: addresses or interfaces.
    `public_addresses`: what a NAT 1:1 shows the world, advertised before the local addresses.
    """

    udp_port: int = 0
    bind: tuple[str, ...] = ()
    public_addresses: tuple[str, ...] = ()
    allow_private_candidates: bool = False
    max_remote_candidates: int = 50


class Sockets:
    """Owns the shared sockets. `drops` counts what was not forwarded, by reason."""

    def __init__(self, options: IceOptions) -> None:
        self.options = options
        self.drops: Counter[str] = Counter()
        self.registry = Registry()
        self._shared: list[SharedUdpWire] = []
        self._candidates: tuple[Candidate, ...] = ()

    def open(self) -> None:
        """Binds the shared sockets, in the running loop. Raises OSError that names the address."""
        addresses = select(host_addresses(), self.options.bind)
        if not addresses:
            raise OSError("ice.bind names no address of this host")
        port = self.options.udp_port
        try:
            for address in addresses:
                wire = SharedUdpWire(open_udp(address.host, port), self.drops, self.registry)
                self._shared.append(wire)
                port = wire.local[1]
        except OSError as error:
            self.close()
            raise OSError(
                error.errno, f"UDP {address.host} port {port}: {error.strerror}"
            ) from None
        self._candidates = tuple(_advertise(addresses, self.options.public_addresses, port))

    @property
    def shared(self) -> Sequence[SharedUdpWire]:
        return self._shared

    @property
    def port(self) -> int:
        return self._shared[0].local[1] if self._shared else 0

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What client legs are told: host candidates, the best first."""
        return self._candidates

    def candidate_of(self, wire: Wire) -> Candidate | None:
        """The candidate that stands for a shared wire."""
        return next((c for c in self._candidates if c.address == wire.local[0]), None)

    def open_owned(self, version: int) -> socket.socket:
        """A socket for one leg, on any address and port; the kernel routes."""
        host = "0.0.0.0" if version == 4 else "::"  # noqa: S104  # the peer decides the route
        return open_udp(host, 0)

    def close(self) -> None:
        for wire in self._shared:
            wire.close()
        self._shared.clear()


def _advertise(
    addresses: Sequence[LocalAddress], public: Sequence[str], port: int
) -> list[Candidate]:
    hosts = list(dict.fromkeys([*public, *(a.host for a in addresses)]))
    return [host_candidate(host, port, len(hosts) - i) for i, host in enumerate(hosts)]


def host_candidate(host: str, port: int, preference: int) -> Candidate:
    """A UDP host candidate; `preference` (1..65535) orders the addresses of one agent."""
    local_preference = 65535 - 256 + min(preference, 256)
    return Candidate(
        foundation=str(int(ipaddress.ip_address(host)) % 10**8),
        component=1,
        transport="udp",
        priority=(_HOST_TYPE_PREFERENCE << 24) + (local_preference << 8) + 255,
        address=host,
        port=port,
        type="host",
    )
