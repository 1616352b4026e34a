"""The lab: a client, a relay and an upstream, each behind the router that lies between them.

        client ─── router ─── relay
                     └─────── upstream

Addresses are of the documentation's ranges (RFC 5737, RFC 3849), the client's of a home network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.netns.lab.namespaces import Namespace, link, sweep

CLIENT = "192.168.7.2"
CLIENT_LATER = "192.168.8.2"
"""Where the client is once it has moved."""

CLIENT_ELSEWHERE = "192.168.9.2"
CLIENT_ELSEWHERE_GATEWAY = "192.168.9.1"

RELAY = "198.51.100.10"
RELAY_TOO = "198.51.100.11"
"""A second address of the relay, for a second server on port 443."""

RELAY_BEHIND_NAT = "10.20.0.10"
UPSTREAM = "203.0.113.20"
ROUTER_TO_RELAY = "198.51.100.1"
ROUTER_TO_RELAY_LATER = "198.51.100.2"

CLIENT_6 = "2001:db8:7::2"
RELAY_6 = "2001:db8:100::10"
UPSTREAM_6 = "2001:db8:203::20"


@dataclass(frozen=True, slots=True)
class Lab:
    """The four namespaces. The router's devices are named after what they lead to."""

    client: Namespace
    router: Namespace
    relay: Namespace
    upstream: Namespace

    @classmethod
    @contextlib.contextmanager
    def built(
        cls, *, ipv6: bool = False, relay_address: str = RELAY, two_networks: bool = False
    ) -> Iterator[Lab]:
        """A lab in which everybody reaches everybody, by one version of the Internet Protocol."""
        sweep()
        with contextlib.ExitStack() as stack:
            names = ("client", "router", "relay", "upstream")
            lab = cls(*(stack.enter_context(Namespace.made(name)) for name in names))
            for end in (lab.client, lab.relay, lab.upstream):
                link(end, "eth0", lab.router, end.name.rpartition("-")[2])
            lab._address_6() if ipv6 else lab._address_4(relay_address)
            if two_networks:
                lab._add_network()
            yield lab

    def filter(self, rules: str) -> None:
        """Loads a ruleset of nftables into the router."""
        self.router.run("nft", "-f", "-", stdin=rules)

    def _address_4(self, relay_address: str) -> None:
        self.router.set("net.ipv4.ip_forward", 1)
        self.router.set("net.ipv4.conf.all.promote_secondaries", 1)
        at_relay = ("10.20.0.1",) if relay_address == RELAY_BEHIND_NAT else (ROUTER_TO_RELAY,)
        ends = (
            (self.client, (CLIENT,), ("192.168.7.1", "192.168.8.1")),
            (
                self.relay,
                (relay_address, RELAY_TOO) if relay_address == RELAY else (relay_address,),
                at_relay,
            ),
            (self.upstream, (UPSTREAM,), ("203.0.113.1",)),
        )
        for end, addresses, gateways in ends:
            device = end.name.rpartition("-")[2]
            for gateway in gateways:
                self.router.run("ip", "addr", "add", f"{gateway}/24", "dev", device)
            for address in addresses:
                end.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
            end.run("ip", "route", "add", "default", "via", gateways[0])

    def _add_network(self) -> None:
        """A second way out for the client, worse than the first: a phone's LTE beside its Wi-Fi."""
        link(self.client, "eth1", self.router, "client2")
        self.router.run("ip", "addr", "add", f"{CLIENT_ELSEWHERE_GATEWAY}/24", "dev", "client2")
        self.client.run("ip", "addr", "add", f"{CLIENT_ELSEWHERE}/24", "dev", "eth1")
        way = ("default", "via", CLIENT_ELSEWHERE_GATEWAY, "metric", "600")
        self.client.run("ip", "route", "add", *way)

    def _address_6(self) -> None:
        self.router.set("net.ipv6.conf.all.forwarding", 1)
        for end, address in (
            (self.client, CLIENT_6),
            (self.relay, RELAY_6),
            (self.upstream, UPSTREAM_6),
        ):
            gateway = address[: address.rindex(":")] + ":1"
            device = end.name.rpartition("-")[2]
            self.router.run("ip", "addr", "add", f"{gateway}/64", "dev", device, "nodad")
            end.run("ip", "addr", "add", f"{address}/64", "dev", "eth0", "nodad")
            end.run("ip", "route", "add", "default", "via", gateway)
