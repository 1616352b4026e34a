"""The process's ICE sockets: opened once for client legs, one a call for upstream legs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from binascii import crc32
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from relay.core.candidate import Candidate
from relay.core.consent import DEFAULT_TIMING, ConsentTiming
from relay.core.iceserver import IceServer
from relay.rtc.ice.addresses import LocalAddress, host_addresses, select
from relay.rtc.ice.reflexive import Reflexive
from relay.rtc.ice.tcp import TcpListener, listen_tcp
from relay.rtc.ice.udp import Registry, SharedUdpWire, open_udp
from relay.rtc.ice.wire import Receiver, Wire

_HOST_TYPE_PREFERENCE = 126  # RFC 8445 §5.1.2.1
_TCP_TYPE_PREFERENCE = 90  # what libwebrtc gives its own


@dataclass(frozen=True, slots=True)
class IceOptions:
    """`udp_port`: one port for all client legs, 0 = any free one. `tcp_port`: passive ICE-TCP for
    client legs, None = off, 0 = any. `bind`: addresses or interfaces. `public_addresses`: what a
    NAT 1:1 shows the world, advertised before the local addresses. `upstream_transport`: what
    upstream legs try; auto is UDP first and TCP a moment later. `proxy`: the URL (http, socks5)
    that TCP to the upstream goes through. `client_servers`, `upstream_servers`: STUN and TURN for
    each leg; `policy` relay uses nothing but TURN; `turn_ca` verifies turns: servers, the system's
    authorities where None.
    """

    udp_port: int = 0
    tcp_port: int | None = None
    bind: tuple[str, ...] = ()
    public_addresses: tuple[str, ...] = ()
    allow_private_candidates: bool = False
    max_remote_candidates: int = 50
    upstream_transport: Literal["auto", "udp", "tcp"] = "auto"
    proxy: str | None = field(default=None, repr=False)
    client_servers: tuple[IceServer, ...] = ()
    upstream_servers: tuple[IceServer, ...] = ()
    policy: Literal["all", "relay"] = "all"
    turn_ca: ssl.SSLContext | None = None
    consent: ConsentTiming = DEFAULT_TIMING


class Sockets:
    """Owns the shared sockets. `drops` counts what was not forwarded, by reason."""

    def __init__(self, options: IceOptions) -> None:
        self.options = options
        self.drops: Counter[str] = Counter()
        self.registry = Registry()
        self._shared: list[SharedUdpWire] = []
        self._listeners: list[TcpListener] = []
        self._candidates: tuple[Candidate, ...] = ()
        self._reflexive_task: asyncio.Task[None] | None = None
        self.reflexive: Reflexive | None = None

    def open(self) -> None:
        """Binds the shared sockets, in the running loop. Raises OSError that names the address."""
        addresses = select(host_addresses(), self.options.bind)
        if not addresses:
            raise OSError("ice.bind names no address of this host")
        try:
            self._open_udp(addresses)
            if self.options.tcp_port is not None:
                self._open_tcp(addresses, self.options.tcp_port)
        except OSError:
            self.close()
            raise
        self._candidates = self._advertise(addresses)
        stun_servers = [s for s in self.options.client_servers if s.scheme == "stun"]
        if stun_servers and self.options.policy == "all":
            self.reflexive = Reflexive(self._shared, stun_servers)
            self._reflexive_task = asyncio.ensure_future(self.reflexive.run())

    def _open_udp(self, addresses: Sequence[LocalAddress]) -> None:
        port = self.options.udp_port
        for address in addresses:
            with _naming("UDP", address.host, port):
                wire = SharedUdpWire(open_udp(address.host, port), self.drops, self.registry)
            self._shared.append(wire)
            port = wire.local[1]

    def _open_tcp(self, addresses: Sequence[LocalAddress], port: int) -> None:
        for address in addresses:
            with _naming("TCP", address.host, port):
                listener = TcpListener(listen_tcp(address.host, port), self.drops, self.registry)
            self._listeners.append(listener)
            port = listener.local[1]

    def _advertise(self, addresses: Sequence[LocalAddress]) -> tuple[Candidate, ...]:
        hosts = list(dict.fromkeys([*self.options.public_addresses, *(a.host for a in addresses)]))
        preferences = range(len(hosts), 0, -1)
        found = [host_candidate(h, self.port, p) for h, p in zip(hosts, preferences, strict=True)]
        if self._listeners:
            port = self._listeners[0].local[1]
            found += [
                host_candidate(h, port, p, tcptype="passive")
                for h, p in zip(hosts, preferences, strict=True)
            ]
        return tuple(found)

    @property
    def shared(self) -> Sequence[SharedUdpWire]:
        return self._shared

    @property
    def port(self) -> int:
        return self._shared[0].local[1] if self._shared else 0

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What client legs are told at once, the best first."""
        if self.options.policy == "relay":
            return ()
        return self._candidates + (self.reflexive.candidates if self.reflexive else ())

    def candidate_of(self, wire: Wire) -> Candidate | None:
        """The candidate that stands for a shared wire."""
        return next(
            (c for c in self._candidates if (c.address, c.transport) == (wire.local[0], "udp")),
            None,
        )

    def open_owned(self, version: int) -> socket.socket:
        """A socket for one leg, on any address and port; the kernel routes."""
        host = "0.0.0.0" if version == 4 else "::"  # noqa: S104  # the peer decides the route
        return open_udp(host, 0)

    def invalidate(self, receiver: Receiver) -> None:
        """Nothing more comes to this receiver."""
        for wire in self._shared:
            wire.invalidate(receiver)
        for listener in self._listeners:
            listener.invalidate(receiver)

    def close(self) -> None:
        if self._reflexive_task is not None:
            self._reflexive_task.cancel()
        for listener in self._listeners:
            listener.close()
        for wire in self._shared:
            wire.close()
        self._listeners.clear()
        self._shared.clear()


@contextlib.contextmanager
def _naming(transport: str, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{transport} {host} port {port}: {error.strerror}"
        raise OSError(error.errno, message) from None


def host_candidate(
    host: str, port: int, preference: int, *, tcptype: str | None = None
) -> Candidate:
    """A host candidate; `preference` (1..256) orders the addresses of one agent.

    TCP has a lower type preference than UDP (RFC 6544 §4.2): it carries voice only where UDP fails.
    """
    type_preference = _HOST_TYPE_PREFERENCE if tcptype is None else _TCP_TYPE_PREFERENCE
    transport = "udp" if tcptype is None else "tcp"
    local_preference = 65535 - 256 + min(preference, 256)
    return Candidate(
        foundation=str(crc32(f"host {transport} {host}".encode())),
        component=1,
        transport=transport,
        priority=(type_preference << 24) + (local_preference << 8) + 255,
        address=host,
        port=port,
        type="host",
        tcptype=tcptype,
    )
