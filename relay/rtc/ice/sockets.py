"""The process's ICE sockets: opened once for client legs, one a call for upstream legs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from binascii import crc32
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
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

Policy = Literal["all", "relay"]
"""RTCIceTransportPolicy (W3C WebRTC §4.2.2)."""


@dataclass(frozen=True, slots=True)
class IceOptions:
    """`udp_port`: one port for all client legs, 0 = any free one, a range: its first free one.
    `tcp_port`: passive ICE-TCP for client legs, None = off, 0 = any. `bind`: addresses or
    interfaces. `public_addresses`: what a NAT 1:1 shows the world, advertised before the bound
    addresses, or instead of them without `advertise_bound`. `upstream_transport`: what upstream
    legs try; auto is UDP first and TCP a moment later. `proxy`: the URL (http, socks5) that TCP to
    the upstream goes through. `client_servers`, `upstream_servers`: STUN and TURN for each leg; a
    policy of relay uses nothing but TURN on it; `turn_ca` verifies turns: servers, the system's
    authorities where None.
    """

    udp_port: int | range = 0
    tcp_port: int | None = None
    bind: tuple[str, ...] = ()
    public_addresses: tuple[str, ...] = ()
    advertise_bound: bool = True
    allow_private_candidates: bool = False
    max_remote_candidates: int = 50
    upstream_transport: Literal["auto", "udp", "tcp"] = "auto"
    proxy: str | None = field(default=None, repr=False)
    client_servers: tuple[IceServer, ...] = ()
    upstream_servers: tuple[IceServer, ...] = ()
    client_policy: Policy = "all"
    upstream_policy: Policy = "all"
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
        self.own_addresses: frozenset[str] = frozenset()
        """This host's, bound or not, and those that lead to it."""

    def open(self) -> None:
        """Binds the shared sockets, in the running loop. Raises OSError that names the address."""
        found = host_addresses()
        addresses = select(found, self.options.bind)
        hosts = [*(a.host for a in (*found, *addresses)), *self.options.public_addresses]
        self.own_addresses = frozenset(str(ip_address(host)) for host in hosts)
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
        if stun_servers and self.options.client_policy == "all":
            self.reflexive = Reflexive(self._shared, stun_servers)
            self._reflexive_task = asyncio.ensure_future(self.reflexive.run())

    def _open_udp(self, addresses: Sequence[LocalAddress]) -> None:
        wanted = self.options.udp_port
        ports = wanted if isinstance(wanted, range) else (wanted,)
        for port in ports:
            try:
                socks = _open_all_udp(addresses, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or port == ports[-1]:
                    raise
                continue
            self._shared = [SharedUdpWire(sock, self.drops, self.registry) for sock in socks]
            return

    def _open_tcp(self, addresses: Sequence[LocalAddress], port: int) -> None:
        for address in addresses:
            with _naming("TCP", address.host, port):
                listener = TcpListener(listen_tcp(address.host, port), self.drops, self.registry)
            self._listeners.append(listener)
            port = listener.local[1]

    def _advertise(self, addresses: Sequence[LocalAddress]) -> tuple[Candidate, ...]:
        public, bound = self.options.public_addresses, [address.host for address in addresses]
        if public and not self.options.advertise_bound:
            bound = []
        hosts = list(dict.fromkeys([*public, *bound]))
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
    def bound(self) -> tuple[str, ...]:
        """The addresses that are listened on."""
        return tuple(wire.local[0] for wire in self._shared)

    @property
    def port(self) -> int:
        return self._shared[0].local[1] if self._shared else 0

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What client legs are told at once, the best first."""
        if self.options.client_policy == "relay":
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


def _open_all_udp(addresses: Sequence[LocalAddress], port: int) -> list[socket.socket]:
    """One socket an address, all with one port number. Raises OSError, leaving none open."""
    socks: list[socket.socket] = []
    try:
        for address in addresses:
            with _naming("UDP", address.host, port):
                socks.append(open_udp(address.host, port))
            port = socks[-1].getsockname()[1]
    except OSError:
        for sock in socks:
            sock.close()
        raise
    return socks


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
