"""The shared port's address as the world sees it: server-reflexive candidates.

RFC 8445 §5.1.1.2. One port serves all calls, so its mapping is learned once and kept alive, not
asked for by each call.
"""

from __future__ import annotations

import asyncio
import socket
from binascii import crc32
from collections.abc import Callable, Sequence

import structlog

from relay.core import stun
from relay.core.candidate import Candidate
from relay.core.iceserver import IceServer
from relay.rtc.ice.credentials import new_transaction_id
from relay.rtc.ice.udp import SharedUdpWire
from relay.rtc.ice.wire import Address, Wire

REFRESH_S = 20.0
"""Shorter than a NAT's UDP binding lives (RFC 4787 §4.3: 2 minutes, often 30 s)."""

_RETRANSMIT_S = (0.5, 1.0, 2.0)
_TYPE_PREFERENCE = 100

log = structlog.get_logger(__name__)


class Reflexive:
    """`candidates` are the mappings known now; `on_change` is called when they change."""

    def __init__(self, wires: Sequence[SharedUdpWire], servers: Sequence[IceServer]) -> None:
        self.candidates: tuple[Candidate, ...] = ()
        self.on_change: Callable[[], None] = lambda: None
        self.asked = asyncio.Event()
        """Set after the first round, whatever came of it."""
        self._wires = wires
        self._servers = servers
        self._answers: dict[bytes, asyncio.Future[stun.Message]] = {}

    async def run(self) -> None:
        """Asks for ever; its owner cancels it."""
        while True:
            pairs = [(wire, server) for wire in self._wires for server in self._servers]
            answers = await asyncio.gather(*(self._query(*pair) for pair in pairs))
            found = [candidate for candidate in answers if candidate is not None]
            fresh = tuple({(c.address, c.port): c for c in reversed(found)}.values())
            changed = {(c.address, c.port) for c in fresh} != {
                (c.address, c.port) for c in self.candidates
            }
            self.candidates = fresh
            self.asked.set()
            if changed:
                log.info("ice.mapping_changed", addresses=[f"{c.address}:{c.port}" for c in fresh])
                self.on_change()
            await asyncio.sleep(REFRESH_S)

    async def _query(self, wire: SharedUdpWire, server: IceServer) -> Candidate | None:
        address = await _resolve(server, wire.version)
        if address is None:
            return None
        transaction_id = new_transaction_id()
        answer: asyncio.Future[stun.Message] = asyncio.get_running_loop().create_future()
        self._answers[transaction_id] = answer
        wire.expect(transaction_id, self)
        try:
            for timeout_s in _RETRANSMIT_S:
                wire.sendto(stun.binding_request(transaction_id), address)
                done, _ = await asyncio.wait((answer,), timeout=timeout_s)
                if done:
                    return _candidate(answer.result(), wire)
            log.warning("ice.stun_silent", server=server.uri)
            return None
        finally:
            wire.forget(transaction_id)
            del self._answers[transaction_id]

    def receive_stun(self, message: stun.Message, _address: Address, _wire: Wire) -> None:
        answer = self._answers.get(message.transaction_id)
        if answer is not None and not answer.done() and message.type == stun.BINDING_SUCCESS:
            answer.set_result(message)


async def _resolve(server: IceServer, version: int) -> Address | None:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        async with asyncio.timeout(sum(_RETRANSMIT_S)):
            found = await asyncio.get_running_loop().getaddrinfo(
                server.host, server.port, family=family, type=socket.SOCK_DGRAM
            )
    except (OSError, TimeoutError):
        return None
    return str(found[0][4][0]), int(found[0][4][1])


def _candidate(answer: stun.Message, wire: SharedUdpWire) -> Candidate | None:
    mapped = stun.mapped_address(answer)
    if mapped is None or mapped == wire.local:
        return None
    return Candidate(
        foundation=str(crc32(f"srflx {wire.local[0]}".encode())),
        component=1,
        transport="udp",
        priority=(_TYPE_PREFERENCE << 24) + (65535 << 8) + 255,
        address=mapped[0],
        port=mapped[1],
        type="srflx",
        related_address=wire.local[0],
        related_port=wire.local[1],
    )
