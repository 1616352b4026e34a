"""Which of a client's candidates the relay sends checks to.

A relay that checks whatever a client lists is a port scanner for that client. Private addresses are
dropped unless allowed; a client behind one is found all the same, as a peer-reflexive candidate, by
the checks that it sends itself (RFC 8445 §7.3.1.3).
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from relay.core.candidate import Candidate


def client_filter(*, allow_private: bool, limit: int) -> Callable[[Candidate], bool]:
    """A predicate for one generation of one leg; it takes `limit` candidates at the most.

    `allow_private` for peers that the operator chose (the upstream) and where he says so.
    """
    taken = 0

    def accepts(candidate: Candidate) -> bool:
        nonlocal taken
        if taken >= limit or candidate.component != 1 or not candidate.port:
            return False
        if not is_reachable(candidate.address, allow_private=allow_private):
            return False
        taken += 1
        return True

    return accepts


def is_reachable(address: str, *, allow_private: bool) -> bool:
    """False for what is no unicast address, and for what is not global unless `allow_private`."""
    host = ip_address(address)
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    if host.is_multicast or host.is_unspecified or host.is_reserved:
        return False
    if host.is_link_local:  # metadata services live here
        return False
    return host.is_global or allow_private
