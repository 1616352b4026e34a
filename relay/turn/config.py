"""coturn's configuration: all that is not needed is off, every peer but the relay is denied.

A TURN server that relays to anywhere is a proxy into the network it stands in. Ours relays to the
relay's own media addresses and to nothing else: not to loopback, private, link-local or metadata
addresses, in no spelling (RFC 8656 §21; CVE-2020-26262, CVE-2026-27624).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final

# The whole of both address spaces: an allowed-peer-ip is an exception to it.
DENIED: Final = (
    "0.0.0.0-255.255.255.255",
    "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
)


@dataclass(frozen=True, slots=True)
class CoturnOptions:
    """`listen` and `external` as coturn takes them; `peers` are the relay's media addresses.

    `port` serves UDP and TCP; `tls_port` is None without a certificate. Quotas count allocations.
    `min_port` to `max_port` are the relayed addresses' ports.
    """

    secret: str = field(repr=False)
    peers: tuple[str, ...]
    port: int = 3478
    listen: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    realm: str = "relay"
    tls_port: int | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    min_port: int = 49152
    max_port: int = 65535
    user_quota: int = 4
    total_quota: int = 2000
    max_bytes_per_second: int = 64_000


def render(options: CoturnOptions) -> str:
    """The text of a turnserver.conf. It holds the secret: for a file that nobody else reads."""
    return "".join(f"{line}\n" for line in _lines(options))


def _lines(options: CoturnOptions) -> Iterator[str]:
    yield f"listening-port={options.port}"
    yield from (f"listening-ip={address}" for address in options.listen)
    yield from (f"external-ip={address}" for address in options.external)
    yield f"realm={options.realm}"
    yield "use-auth-secret"
    yield f"static-auth-secret={options.secret}"
    yield "fingerprint"
    yield "stale-nonce=600"
    yield f"min-port={options.min_port}"
    yield f"max-port={options.max_port}"
    yield f"user-quota={options.user_quota}"
    yield f"total-quota={options.total_quota}"
    yield f"max-bps={options.max_bytes_per_second}"
    yield from _tls(options)
    yield from _off()
    yield from (f"denied-peer-ip={network}" for network in DENIED)
    yield from (f"allowed-peer-ip={address}" for address in options.peers)
    if any(ip_address(address).is_loopback for address in options.peers):
        yield "allow-loopback-peers"  # coturn's own rule comes first; all but the named stay denied


def _tls(options: CoturnOptions) -> Iterator[str]:
    if options.tls_port is None:
        yield "no-tls"
        yield "no-dtls"
        return
    yield f"tls-listening-port={options.tls_port}"
    yield f"cert={options.tls_cert}"
    yield f"pkey={options.tls_key}"
    yield "no-tlsv1"
    yield "no-tlsv1_1"


def _off() -> Iterator[str]:
    """Amplifiers, fingerprints and doors that nobody needs."""
    yield "no-cli"
    yield "no-tcp-relay"
    yield "no-multicast-peers"
    yield "no-rfc5780"
    yield "no-stun-backward-compatibility"
    yield "response-origin-only-with-rfc5780"
    yield "no-software-attribute"
    yield "no-dynamic-ip-list"
    yield "no-dynamic-realms"
    yield "simple-log"
    yield "log-file=stdout"
