"""The settings of ICE: the relay's own addresses and servers, and the TURN that browsers get."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from relay.core.errors import InvalidRequest
from relay.core.iceserver import IceServer
from relay.settings.values import (
    Addresses,
    ExistingFile,
    Names,
    Port,
    Ports,
    Printable,
    PrintableSecret,
    Section,
    json_from_text,
    ports_of,
)


class IceServerEntry(Section):
    """One STUN or TURN server, as RTCIceServer names it; `urls` is one URI or several."""

    urls: Names = Field(min_length=1)
    username: Printable | None = None
    credential: PrintableSecret | None = None

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        for server in self.parsed():
            if server.is_turn and (self.username is None or self.credential is None):
                raise ValueError("a turn: server needs username and credential")
            if server.scheme == "stuns":
                raise ValueError("stuns: is not supported; a stun: server does the same")
        return self

    def parsed(self) -> Iterator[IceServer]:
        credential = self.credential.get_secret_value() if self.credential else None
        for url in self.urls:
            yield _parsed(url, self.username, credential)


def _parsed(url: str, username: str | None = None, credential: str | None = None) -> IceServer:
    try:
        return IceServer.parse(url, username=username, credential=credential)
    except InvalidRequest as error:
        raise ValueError(error.message) from None


IceServers = Annotated[tuple[IceServerEntry, ...], NoDecode, BeforeValidator(json_from_text)]


class IceSettings(Section):
    """Addresses and candidates of the relay."""

    udp_port: Ports = Field(
        default=0,
        description="One UDP port for all browsers' calls; 0 = any free one, a range "
        "(`40000-40099`) = its first free one, for more than one process on a host.",
    )
    tcp_port: Port | None = Field(
        default=None,
        description="TCP port for browsers that UDP does not reach (ICE-TCP); 0 = any free one, "
        "unset = none.",
    )
    bind: Names = Field(
        default=(),
        description="Addresses or interface names to use; empty = all but loopback, and loopback "
        "where there is nothing else.",
    )
    public_addresses: Addresses = Field(
        default=(),
        description="Addresses under which the world reaches the bound ones (NAT 1:1): "
        "advertised before them.",
    )
    advertise_bound: bool = Field(
        default=True,
        description="Whether the bound addresses are advertised beside `ice.public_addresses`.",
    )
    servers: IceServers = Field(
        default=(),
        description="STUN and TURN servers that the relay itself uses, "
        "`{urls, username, credential}` each.",
    )
    client_servers: IceServers | None = Field(
        default=None, description="The same for the browsers' side alone; unset = `ice.servers`."
    )
    upstream_servers: IceServers | None = Field(
        default=None, description="The same for the upstream's side alone; unset = `ice.servers`."
    )
    policy: Literal["all", "relay"] = Field(
        default="all", description="`relay` uses nothing but TURN servers, on both sides."
    )
    ca_bundle: ExistingFile | None = Field(
        default=None,
        description="PEM file with authorities that are trusted for `turns:` servers beside the "
        "system's.",
    )
    allow_private_candidates: bool = Field(
        default=False,
        description="Whether a browser's private, loopback and link-local candidates are checked. "
        "Such a browser connects without, too: its own checks tell its address.",
    )
    max_remote_candidates: int = Field(
        default=32, ge=0, le=50, description="Most candidates of one browser that are checked."
    )

    @property
    def udp_ports(self) -> int | range:
        return ports_of(self.udp_port)

    @property
    def for_clients(self) -> tuple[IceServer, ...]:
        """The relay's own servers on the browsers' side."""
        servers = self.servers if self.client_servers is None else self.client_servers
        return tuple(server for entry in servers for server in entry.parsed())

    @property
    def for_upstream(self) -> tuple[IceServer, ...]:
        servers = self.servers if self.upstream_servers is None else self.upstream_servers
        return tuple(server for entry in servers for server in entry.parsed())


class TurnSettings(Section):
    """What browsers are handed to reach the relay by, and the server that may be run for it."""

    urls: Names = Field(
        default=(),
        description="STUN and TURN URIs that browsers are handed; with `turn.managed` unset = "
        "those of the managed server.",
    )
    secret: PrintableSecret | None = Field(
        default=None,
        description="Secret of the TURN servers' time-limited credentials (coturn: "
        "`use-auth-secret`); with `turn.managed` unset = a random one.",
    )
    ttl_s: int = Field(
        default=600,
        ge=60,
        le=86_400,
        description="Seconds for which handed credentials open an allocation.",
    )
    username: Printable | None = Field(
        default=None, description="A static username, where the servers have no shared secret."
    )
    credential: PrintableSecret | None = Field(
        default=None, description="The credential of `turn.username`."
    )
    managed: bool = Field(
        default=False,
        description="Runs and supervises a coturn on this host (Debian package `coturn`), which "
        "relays to the relay's own media addresses and to nothing else.",
    )
    host: Printable | None = Field(
        default=None,
        description="Name or address by which browsers reach the managed server; unset = the first "
        "of `turn.external_addresses` and the relay's media addresses. TLS needs the name of the "
        "certificate.",
    )
    listen: Addresses = Field(
        default=(),
        description="Addresses that the managed server listens on; empty = the media addresses.",
    )
    external_addresses: Addresses = Field(
        default=(),
        description="Addresses under which the world reaches the managed server (NAT 1:1); empty = "
        "`ice.public_addresses`.",
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=3478, description="The managed server's port, UDP and TCP."
    )
    tls_port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=5349,
        description="The managed server's TLS port, where there is a certificate; 443 passes where "
        "nothing but HTTPS does.",
    )
    tls_cert: ExistingFile | None = Field(
        default=None,
        description="PEM file with the managed server's certificate chain; unset = "
        "`http.tls_cert`, without either there is no TLS.",
    )
    tls_key: ExistingFile | None = Field(
        default=None, description="PEM file with its private key; unset = `http.tls_key`."
    )
    realm: Printable = Field(default="relay", description="The managed server's realm.")
    min_port: Annotated[int, Field(ge=1024, le=65535)] = Field(
        default=49_152, description="First UDP port of the managed server's relayed addresses."
    )
    max_port: Annotated[int, Field(ge=1024, le=65535)] = Field(
        default=65_535, description="Last UDP port of the managed server's relayed addresses."
    )

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        servers = [_parsed(url) for url in self.urls]
        if (self.username is None) != (self.credential is None):
            raise ValueError("username and credential go together; set both or neither")
        if self.secret is not None and self.username is not None:
            raise ValueError("secret and username exclude each other; set one of them")
        if self.managed and self.username is not None:
            raise ValueError("the managed server takes no static username; set turn.secret or none")
        has_credentials = self.managed or self.secret is not None or self.username is not None
        if any(server.is_turn for server in servers) and not has_credentials:
            raise ValueError("a turn: URI needs secret, or username and credential")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together; set both or neither")
        if self.min_port > self.max_port:
            raise ValueError("min_port is above max_port")
        return self
