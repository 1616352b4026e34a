"""This machine: ports, and what would be advertised."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from relay.app.options import ice_options
from relay.app.reach import advertised, reach_problems
from relay.doctor.finding import Finding, Status
from relay.rtc import Sockets
from relay.settings import Settings


def http_port(settings: Settings) -> Finding:
    """Whether the server could listen. A relay that runs already holds the port."""
    host, port = settings.http.host, settings.http.port
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
    except OSError as error:
        return Finding(
            "http_port",
            Status.WARNING,
            f"{host} port {port}: {error.strerror or error}",
            "Fine if a relay runs here already; else set http.host or http.port.",
        )
    return Finding("http_port", Status.GOOD, f"{host} port {port} is free")


def media(settings: Settings) -> Iterator[Finding]:
    """The media sockets and what browsers would be told; opens them for a moment."""
    sockets = Sockets(ice_options(settings, None))
    try:
        sockets.open()
    except OSError as error:
        yield Finding(
            "media_port",
            Status.FATAL,
            error.strerror or str(error),
            "Set ice.udp_port, ice.tcp_port or ice.bind; a relay that runs here holds its ports.",
        )
        return
    candidates = sockets.candidates
    sockets.close()
    if settings.ice.policy == "relay":
        yield Finding("addresses", Status.GOOD, "none but TURN's: ice.policy is relay")
        return
    yield Finding("addresses", Status.GOOD, ", ".join(advertised(candidates)))
    for problem in reach_problems(settings, candidates):
        yield Finding("addresses", Status.WARNING, problem)
