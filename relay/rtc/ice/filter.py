"""Which of a client's candidates the relay sends checks to.

A relay that checks whatever a client lists is a port scanner for that client. Private addresses are
dropped unless allowed; a client behind one is found all the same, as a peer-reflexive candidate, by
the checks that it sends itself (RFC 8445 §7.3.1.3).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, ip_address

from relay.core.candidate import Candidate

_METADATA = frozenset(
    ip_address(address)
    for address in ("168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254")
)
"""Of Azure, Alibaba, AWS and Google; the usual 169.254.169.254 is link-local."""


def client_filter(
    *, allow_private: bool, limit: int, own: Collection[str] = ()
) -> Callable[[Candidate], bool]:
    """A predicate for one generation of one leg; it takes `limit` candidates at the most.

    `allow_private` for peers that the operator chose (the upstream) and where he says so; without
    it the relay's `own` addresses, and what else listens there, are not checked either.
    """
    taken = 0

    def accepts(candidate: Candidate) -> bool:
        nonlocal taken
        if taken >= limit or candidate.component != 1 or not candidate.port:
            return False
        if not is_reachable(candidate.address, allow_private=allow_private):
            return False
        if not allow_private and str(_embedded(ip_address(candidate.address))) in own:
            return False
        taken += 1
        return True

    return accepts


def is_reachable(address: str, *, allow_private: bool) -> bool:
    """False for what is no unicast address, for metadata services, and for what is not global
    unless `allow_private`."""
    host = _embedded(ip_address(address))
    if host.is_multicast or host.is_unspecified or host.is_link_local or host in _METADATA:
        return False
    if host.is_loopback or (host.version == 6 and host.is_site_local):
        return allow_private
    return not host.is_reserved and (host.is_global or allow_private)


def _embedded(host: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one leads to: ::ffff:0:0/96 and 6to4 (RFC 3056)."""
    if isinstance(host, IPv6Address):
        return host.ipv4_mapped or host.sixtofour or host
    return host
