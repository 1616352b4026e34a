"""Whose address a request came from, behind proxies that the operator trusts."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAX_HOPS: Final = 16


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The nearest address that is no trusted proxy's.

    `forwarded` are the `X-Forwarded-For` headers in their order. Each proxy appends the address it
    saw, so they are read from the end, and only as far as those who wrote them are trusted: what
    stands before was written by the client. Text that is no address ends the walk.
    """
    address = peer or ""
    hops = [hop.strip() for header in forwarded for hop in header.split(",")]
    for hop in reversed(hops[-_MAX_HOPS:]):
        if not _is_in(address, trusted) or not _is_address(hop):
            break
        address = hop
    return address


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_in(address: str, networks: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)
