"""What browsers are told of the relay's addresses, and whether one elsewhere could use them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from relay.core.candidate import Candidate
from relay.settings import Settings


def advertised(candidates: Sequence[Candidate]) -> list[str]:
    """Candidates as people read them: "udp 192.0.2.7 8081"."""
    return [f"{c.transport} {c.address} {c.port}" for c in candidates]


def reach_problems(settings: Settings, candidates: Sequence[Candidate]) -> Iterator[str]:
    """Why a browser elsewhere could not reach the media, each with what to do.

    There are none while the pages themselves are for this machine alone: `http.host` is loopback
    and `http.public_url` unset.
    """
    if settings.http.is_loopback and settings.http.public_url is None:
        return
    if settings.ice.policy == "relay":
        return
    addresses = {c.address: ip_address(c.address) for c in candidates}
    named = ", ".join(addresses)
    if all(address.is_loopback for address in addresses.values()):
        yield (
            f"Only this machine reaches the media ({named}): set ice.bind to an address that "
            "browsers reach, or ice.public_addresses behind NAT 1:1."
        )
    elif not any(address.is_global for address in addresses.values()) and not _asks_stun(settings):
        yield (
            f"Only its own network reaches the media ({named}): behind NAT 1:1 set "
            "ice.public_addresses, or a stun: server in ice.servers."
        )
    if settings.ice.udp_port == 0:
        yield (
            "The media's UDP port is another one after each start: set ice.udp_port, and open it "
            "in the firewall."
        )


def _asks_stun(settings: Settings) -> bool:
    return any(server.scheme == "stun" for server in settings.ice.for_clients)
