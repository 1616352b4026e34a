"""Relayed candidates: a TURN allocation as a wire (RFC 8656).

In scope: UDP allocations over UDP, TCP and TLS, with long-term credentials. aioice's client does
the protocol: allocation, permissions, channels, refresh. What is ours: the packet path, which makes
no task a packet once a channel is bound; channels refreshed before their permission ends; and a
close that does not wait for a dead server (aioice's waits 63 s).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from binascii import crc32
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from aioice import turn
from aioice.stun import TransactionError

from relay.core.candidate import Candidate
from relay.core.iceserver import IceServer
from relay.rtc.buffer import SIZE_BYTES, VIEW
from relay.rtc.ice.wire import Address, OwnedWire, PathTransport, Receiver, StunReceiver

CHANNEL_REFRESH_S = 240
"""A permission lives for 300 s (RFC 8656 §9) and is renewed by a channel's binding only."""

RELEASE_TIMEOUT_S = 2.0
RETRY_AFTER_S = 0.25


class TurnWire(OwnedWire):
    """One allocation. `candidate` is what the peer is told."""

    candidate: Candidate

    def __init__(
        self, drops: Counter[str], receiver: Receiver, agent: StunReceiver, server: IceServer
    ) -> None:
        super().__init__(drops, receiver, agent)
        self.server = server
        self._transport: turn.TurnTransport | None = None
        self._client: turn.TurnClientProtocol | None = None
        self._selected: Address | None = None

    @classmethod
    async def allocate(
        cls,
        server: IceServer,
        drops: Counter[str],
        receiver: Receiver,
        agent: StunReceiver,
        *,
        ca: ssl.SSLContext | None,
        hide_related: bool,
    ) -> TurnWire:
        """Raises OSError; no deadline of its own. `ca` verifies turns: servers."""
        wire = cls(drops, receiver, agent, server)
        try:
            transport = await wire._open(ca)
        except TransactionError:
            # coturn 4.6 opens its data base for its first client, which takes 50 ms, and says 401
            # to the good credentials of whoever comes meanwhile.
            await asyncio.sleep(RETRY_AFTER_S)
            try:
                transport = await wire._open(ca)
            except TransactionError as error:
                raise ConnectionError(f"{server.uri}: {error}") from None
        wire._adopt(transport, hide_related=hide_related)
        return wire

    async def _open(self, ca: ssl.SSLContext | None) -> turn.TurnTransport:
        server = self.server
        transport, _ = await turn.create_turn_endpoint(
            lambda: _Datagrams(self),
            server_addr=(server.host, server.port),
            username=server.username,
            password=server.credential,
            channel_refresh_time=CHANNEL_REFRESH_S,
            ssl=(ca or ssl.create_default_context()) if server.is_tls else None,
            transport=server.transport,
        )
        return transport

    def _adopt(self, transport: turn.TurnTransport, *, hide_related: bool) -> None:
        self._transport = transport
        # Private: a public `send_nowait` on the transport would do; sendto() makes a task a packet.
        self._client = cast(turn.TurnClientProtocol, transport._TurnTransport__inner_protocol)  # type: ignore[attr-defined]
        host, port = transport.get_extra_info("sockname")
        related = transport.get_extra_info("related_address")
        if hide_related:  # RFC 9429 §3.5.3
            related = ("0.0.0.0" if ":" not in host else "::", 9)  # noqa: S104  # RFC 8839 §5.1
        self.local = (host, port)
        self.candidate = Candidate(
            foundation=str(crc32(f"relay {self.server.uri} {host}".encode())),
            component=1,
            transport="udp",
            priority=(65535 << 8) + 255 - (0 if self.server.transport == "udp" else 1 << 8),
            address=host,
            port=port,
            type="relay",
            related_address=related[0],
            related_port=related[1],
        )

    @property
    def first_hop(self) -> PathTransport:
        if self.server.is_tls:
            return "turn-tls"
        return "turn-udp" if self.server.transport == "udp" else "turn-tcp"

    def sendto(self, data: bytes | memoryview, address: Address) -> None:
        if self._transport is not None:
            self._transport.sendto(bytes(data), address)

    def sender(self, address: Address) -> Callable[[memoryview | bytes], int]:
        self._selected = address
        client = self._client
        assert client is not None

        def send(data: memoryview | bytes) -> int:
            channel = client.peer_to_channel.get(address)
            if channel is None or time.time() > client.channel_refresh_at[channel]:
                self.sendto(data, address)  # binds the channel, then sends
                return len(data)
            if client.transport.is_closing():
                raise ConnectionResetError("The TURN allocation is gone")
            client._send(b"".join((_channel_header(channel, len(data)), data)))
            return len(data)

        return send

    def received(self, data: bytes, address: Address) -> None:
        """A datagram of a peer."""
        if len(data) > SIZE_BYTES:
            self._drops["bad_length"] += 1
            return
        VIEW[: len(data)] = data
        self._dispatch(len(data), address, is_selected=address == self._selected)

    def lost(self) -> None:
        """The server refused a refresh, or its connection ended."""
        if self._transport is not None:
            self._receiver.wire_lost(self)

    def close(self) -> None:
        """Drops the allocation at once; release() asks the server to."""
        if self._client is not None:
            self._transport = None
            self._client.receiver = None
            self._client.transport.close()
            if self._client.refresh_task is not None:
                self._client.refresh_task.cancel()

    async def release(self) -> None:
        """Deletes the allocation (RFC 8656 §7.4), within RELEASE_TIMEOUT_S."""
        client = self._client
        if client is None or self._transport is None:
            return
        client.receiver = None
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await client.delete()
        except (TimeoutError, OSError):
            self._drops["turn_release_failed"] += 1
        self.close()


class _Datagrams(asyncio.DatagramProtocol):
    """What aioice gives a peer's datagrams to."""

    def __init__(self, wire: TurnWire) -> None:
        self._wire = wire

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._wire.received(data, (addr[0], addr[1]))

    def error_received(self, _exc: Exception) -> None:
        self._wire._drops["turn_send_failed"] += 1

    def connection_lost(self, _exc: Exception | None) -> None:
        self._wire.lost()


def _channel_header(channel: int, size: int) -> bytes:
    """RFC 8656 §12.4; aioice pads for TCP."""
    return channel.to_bytes(2, "big") + size.to_bytes(2, "big")
