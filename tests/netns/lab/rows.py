"""The reach matrix: one row a network that a call has to get through.

A firewall drops; it does not refuse. It lies in the router, between the two ends that it parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.netns.lab.topology import (
    CLIENT,
    CLIENT_LATER,
    RELAY,
    RELAY_6,
    RELAY_BEHIND_NAT,
    RELAY_TOO,
    ROUTER_TO_RELAY,
    ROUTER_TO_RELAY_LATER,
    UPSTREAM_6,
)

SIGNALING = 8080
HTTPS = 443
MEDIA = 40000
TURN_USER = "relay"
TURN_CREDENTIAL = "north"
DARK = "203.0.113.99"
"""Nobody is there."""


@dataclass(frozen=True, slots=True)
class Row:
    """One network and what the call has to be like in it.

    `settings` are the relay's, `simulator` the upstream's, `call` the options of relay.js's
    connect(), `rules` the router's nftables; `proxy` and `turn` are servers that the router has.
    `moves` are what happens in mid-call, commands within `moved`; `online` tells the page that its
    network is back, as a browser does that notices. `path` is the browser's first hop in the words
    of relay.rtc's PathTransport, `upstream_path` the relay's to the upstream.
    """

    name: str
    network: str
    path: str
    upstream_path: str = "udp"
    settings: Mapping[str, str] = field(default_factory=dict)
    simulator: Mapping[str, Any] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    rules: str = ""
    origin: str = f"http://{RELAY}:{SIGNALING}"
    relay_address: str = RELAY
    ipv6: bool = False
    two_networks: bool = False
    tls: bool = False
    proxy: bool = False
    turn: bool = False
    moves: tuple[tuple[str, ...], ...] = ()
    moved: Literal["client", "router"] = "client"
    online: bool = False
    first_packet_within_ms: float = 400.0
    gap_within_ms: float = 0.0


def _client_may(*rules: str) -> str:
    """A firewall around the client: out goes what `rules` let, and in comes what was asked for."""
    lets = "\n".join(f'    iifname "client" {rule} accept' for rule in rules)
    return f"""
table inet filter {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
{lets}
    iifname "relay" oifname "upstream" accept
  }}
}}
"""


# A firewall that looks at what passes: nothing does before a TLS handshake has begun. @ih is what
# follows the TCP header; a packet without it, a mere ACK, matches neither rule.
LOOKS_LIKE_TLS = """
table inet filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    iifname "client" tcp dport 443 ct mark 0 @ih,0,16 0x1603 ct mark set 1
    iifname "client" tcp dport 443 ct mark 0 @ih,0,16 != 0x1603 drop
    ct state established,related accept
    iifname "client" tcp dport 443 tcp flags & (syn | ack) == syn accept
    iifname "relay" oifname "upstream" accept
  }
}
"""

CLIENT_NAT = f"""
table inet filter {{
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname "client" ct state new drop
  }}
}}
table ip nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {CLIENT}/24 masquerade random,fully-random
  }}
}}
"""

RELAY_NAT = f"""
table inet filter {{
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ct original ip daddr {RELAY_BEHIND_NAT} drop
  }}
}}
table ip nat {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr {RELAY} dnat to {RELAY_BEHIND_NAT}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {RELAY_BEHIND_NAT} snat to {RELAY}
  }}
}}
"""

OFFICE = """
table inet filter {
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "relay" oifname "upstream" drop
  }
}
"""

# The client's paths until now can be told from those that come later.
MARKED = """
table inet filter {
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "client" meta l4proto udp ct state new ct mark set 1
  }
}
"""

RELAY_IS_SHUT = """
table inet filter {
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "relay" meta l4proto udp drop
    oifname "relay" meta l4proto udp drop
  }
}
"""

TURN = {"turn.managed": "true", "turn.listen": RELAY_TOO, "turn.host": RELAY_TOO}

ROWS = (
    Row(
        name="open",
        network="open",
        path="udp",
    ),
    Row(
        name="stock",
        network="open, a client of one POST and nothing more",
        path="udp",
        call={"stock": True},
    ),
    Row(
        name="dead-servers",
        network="open, the relay's STUN and TURN servers are dead",
        path="udp",
        settings={
            "ice.servers": f'[{{"urls": ["stun:{DARK}"]}}, {{"urls": ["turn:{DARK}", '
            f'"turn:{DARK}?transport=tcp"], "username": "relay", "credential": "north"}}]',
        },
    ),
    Row(
        name="client-nat",
        network="NAT with fully random ports on the client's side",
        path="udp",
        rules=CLIENT_NAT,
    ),
    Row(
        name="relay-nat",
        network="NAT 1:1 on the relay's side",
        path="udp",
        relay_address=RELAY_BEHIND_NAT,
        settings={"ice.public_addresses": RELAY, "ice.bind": RELAY_BEHIND_NAT},
        rules=RELAY_NAT,
    ),
    Row(
        name="ice-tcp",
        network="UDP closed, TCP 443 open: ICE-TCP",
        path="tcp",
        settings={"ice.tcp_port": str(HTTPS)},
        rules=_client_may(f"tcp dport {{ {HTTPS}, {SIGNALING} }}"),
        first_packet_within_ms=2500.0,
    ),
    Row(
        name="turn-tcp",
        network="UDP closed, TCP 443 open: TURN over TCP",
        path="turn-tcp",
        settings={**TURN, "turn.port": str(HTTPS)},
        rules=_client_may(f"tcp dport {{ {HTTPS}, {SIGNALING} }}"),
        first_packet_within_ms=2500.0,
    ),
    Row(
        name="turn-tls",
        network="only TLS that looks like HTTPS: TURN over TLS",
        path="turn-tls",
        origin=f"https://{RELAY}",
        tls=True,
        settings={**TURN, "turn.tls_port": str(HTTPS), "http.host": RELAY, "http.port": str(HTTPS)},
        rules=LOOKS_LIKE_TLS,
        first_packet_within_ms=2500.0,
    ),
    Row(
        name="turn-only",
        network="open, the browser uses nothing but TURN",
        path="turn-udp",
        settings={**TURN, "turn.urls": f"turn:{RELAY_TOO}?transport=udp"},
        call={"iceServers": "relay", "rtc": {"iceTransportPolicy": "relay"}},
    ),
    Row(
        name="upstream-proxy",
        network="UDP closed on the relay's side, an HTTP proxy (CONNECT, Basic) the only way out",
        path="udp",
        upstream_path="tcp",
        proxy=True,
        simulator={"tcp_port": HTTPS},
        rules=OFFICE,
        first_packet_within_ms=2500.0,
    ),
    Row(
        name="relay-turn",
        network="UDP closed on the relay's side, both legs by a TURN server of its own",
        path="udp",
        upstream_path="turn-udp",
        turn=True,
        settings={
            "ice.policy": "relay",
            # A TURN server lets in whom the relay has sent to: it must know the browser's address,
            # which the documentation's ranges make a private one.
            "ice.allow_private_candidates": "true",
            "ice.servers": f'[{{"urls": ["turn:{ROUTER_TO_RELAY}"], '
            f'"username": "{TURN_USER}", "credential": "{TURN_CREDENTIAL}"}}]',
        },
        rules=RELAY_IS_SHUT,
    ),
    Row(
        name="ipv6",
        network="IPv6 only",
        path="udp",
        ipv6=True,
        origin=f"http://[{RELAY_6}]:{SIGNALING}",
        settings={
            "http.host": "::",
            "upstream.url": f"http://[{UPSTREAM_6}]:8090/v1",
            "ice.bind": RELAY_6,
        },
        simulator={"host": UPSTREAM_6},
    ),
    Row(
        name="restart",
        network="the path dies in mid-call, and the browser restarts ICE at once",
        path="udp",
        rules=MARKED,
        moved="router",
        moves=(
            ("nft", "flush chain inet filter forward; add rule inet filter forward ct mark 1 drop"),
        ),
        online=True,
        gap_within_ms=1000.0,
    ),
    Row(
        name="walk",
        network="the client has two networks, and the better one ends in mid-call",
        path="udp",
        two_networks=True,
        moves=(("ip", "link", "set", "eth0", "down"),),
        gap_within_ms=4500.0,
    ),
    Row(
        name="walk-stock",
        network="the same, a client of one POST and nothing more",
        path="udp",
        two_networks=True,
        call={"stock": True},
        moves=(("ip", "link", "set", "eth0", "down"),),
        gap_within_ms=8000.0,
    ),
    Row(
        name="moved",
        network="the client's address changes in mid-call, and the browser notices",
        path="udp",
        moves=(
            ("ip", "link", "set", "eth0", "down"),
            ("ip", "addr", "flush", "dev", "eth0"),
            ("ip", "addr", "add", f"{CLIENT_LATER}/24", "dev", "eth0"),
            ("ip", "link", "set", "eth0", "up"),
            ("ip", "route", "add", "default", "via", "192.168.8.1"),
        ),
        gap_within_ms=6000.0,  # the browser offers no candidate before
    ),
    Row(
        name="moved-silently",
        network="the client's address changes in mid-call, and the browser is told nothing",
        path="udp",
        moves=(
            ("ip", "addr", "add", f"{CLIENT_LATER}/24", "dev", "eth0"),
            ("ip", "addr", "del", f"{CLIENT}/24", "dev", "eth0"),
            ("ip", "route", "replace", "default", "via", "192.168.8.1"),
        ),
        gap_within_ms=6000.0,
    ),
    Row(
        name="nat-moved",
        network="the client's NAT has another address in mid-call",
        path="udp",
        rules=CLIENT_NAT,
        moved="router",
        moves=(
            ("ip", "addr", "add", f"{ROUTER_TO_RELAY_LATER}/24", "dev", "relay"),
            ("ip", "addr", "del", f"{ROUTER_TO_RELAY}/24", "dev", "relay"),
            ("ip", "addr", "add", f"{ROUTER_TO_RELAY}/24", "dev", "relay"),
        ),
        gap_within_ms=6000.0,
    ),
)
