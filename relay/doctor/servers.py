"""STUN and TURN servers: each is asked as a call would ask it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from typing import Final

from relay.core.iceserver import IceServer
from relay.doctor.finding import Finding, Status
from relay.rtc import probe_stun, probe_turn

TIMEOUT_S: Final = 6.0


async def stun(server: IceServer) -> Finding:
    """What the server says our address is."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            address = await probe_stun(server)
    except (OSError, TimeoutError) as error:
        return Finding(
            "stun", Status.WARNING, f"{server.uri}: {error or 'no answer'}", "Is UDP open to it?"
        )
    detail = f"{server.uri}: this machine is {address[0]} port {address[1]}"
    return Finding("stun", Status.GOOD, detail, elapsed_ms=_ms(started))


async def turn(server: IceServer, ca: ssl.SSLContext | None) -> Finding:
    """Makes an allocation, and gives it back."""
    started = time.monotonic()
    name = f"turn_{'tls' if server.is_tls else server.transport}"
    try:
        async with asyncio.timeout(TIMEOUT_S):
            relayed = await probe_turn(server, ca, Counter())
    except (OSError, TimeoutError) as error:
        return Finding(
            name,
            Status.WARNING,
            f"{server.uri}: {error or 'no answer'}",
            "Check its address, credentials, certificate, and the way there.",
        )
    detail = f"{server.uri}: relays from {relayed[0]} port {relayed[1]}"
    return Finding(name, Status.GOOD, detail, elapsed_ms=_ms(started))


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
