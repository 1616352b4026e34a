"""Which local addresses a relay listens on and tells its clients (RFC 8445 §5.1.1.1)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ifaddr

CONTAINER_BRIDGES = ("docker", "br-", "veth", "virbr", "cni", "podman", "lxc", "flannel", "cali")
"""Interfaces that lead to containers of this host only; `ice.bind` may name them all the same."""


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of this host and the interface that has it."""

    host: str
    interface: str

    @property
    def version(self) -> int:
        return ipaddress.ip_address(self.host).version


def host_addresses() -> list[LocalAddress]:
    """All addresses of this host but IPv6 link-local ones. Reads the system: start-up only."""
    found: list[LocalAddress] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            host = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            if not ipaddress.ip_address(host).is_link_local:
                found.append(LocalAddress(host, adapter.nice_name))
    return found


def select(addresses: Sequence[LocalAddress], bind: Iterable[str]) -> list[LocalAddress]:
    """The addresses to listen on: those that `bind` names (addresses or interfaces), else all but
    loopback and container bridges, and loopback where nothing else is left."""
    wanted = set(bind)
    if wanted:
        chosen = [a for a in addresses if a.host in wanted or a.interface in wanted]
        known = {a.host for a in chosen}
        return chosen + [
            LocalAddress(name, "") for name in sorted(wanted) if _is_ip(name) and name not in known
        ]
    public = [
        a
        for a in addresses
        if not ipaddress.ip_address(a.host).is_loopback
        and not a.interface.startswith(CONTAINER_BRIDGES)
    ]
    return public or [a for a in addresses if ipaddress.ip_address(a.host).is_loopback]


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
