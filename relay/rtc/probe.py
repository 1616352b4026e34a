"""Asks one STUN or TURN server, outside of any call."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable

from relay.core import stun
from relay.core.iceserver import IceServer
from relay.rtc.ice.credentials import new_transaction_id
from relay.rtc.ice.turn import TurnWire
from relay.rtc.ice.wire import Address, Wire

_RETRANSMIT_S = 0.5


async def probe_stun(server: IceServer) -> Address:
    """Our address as the server sees it. Raises OSError; no deadline of its own."""
    loop = asyncio.get_running_loop()
    answers: asyncio.Queue[bytes] = asyncio.Queue(8)
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Answers(answers), remote_addr=(server.host, server.port)
    )
    try:
        transaction_id = new_transaction_id()
        while True:
            transport.sendto(stun.binding_request(transaction_id))
            try:
                async with asyncio.timeout(_RETRANSMIT_S):
                    message = stun.parse(await answers.get())
            except TimeoutError:
                continue
            if message is not None and message.transaction_id == transaction_id:
                mapped = stun.mapped_address(message)
                if mapped is not None:
                    return mapped
    finally:
        transport.close()


async def probe_turn(server: IceServer, ca: ssl.SSLContext | None, drops: Counter[str]) -> Address:
    """Makes an allocation and gives it back; the relayed address. Raises OSError."""
    nobody = _Nobody()
    wire = await TurnWire.allocate(server, drops, nobody, nobody, ca=ca, hide_related=False)
    try:
        return wire.local
    finally:
        await wire.release()


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, answers: asyncio.Queue[bytes]) -> None:
        self._answers = answers

    def datagram_received(self, data: bytes, _addr: object) -> None:
        if not self._answers.full():
            self._answers.put_nowait(data)


class _Nobody:
    """Who takes nothing of what an allocation receives."""

    def __init__(self) -> None:
        self.receive_rtp: Callable[[int], None] = lambda _: None

    def receive_dtls(self, data: bytes, address: Address) -> None: ...
    def wire_lost(self, wire: Wire) -> None: ...
    def receive_stun(self, message: stun.Message, address: Address, wire: Wire) -> None: ...
