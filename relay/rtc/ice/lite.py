"""An ICE-lite agent (RFC 8445 §2.5): it answers checks and lets the peer decide.

For a server that every peer can reach: the simulator. In scope: one component, controlled role,
peer-reflexive learning, nomination by USE-CANDIDATE. Out of scope: sending checks of any kind.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from relay.core import stun
from relay.core.sdp import Transport
from relay.rtc.ice.transport import IceTransport, SelectedPair
from relay.rtc.ice.udp import Address, SharedWire, Wire


class LiteIceTransport(IceTransport):
    """`require_use_candidate`: once nominated, checks without USE-CANDIDATE stay unanswered, as
    OpenAI's servers do it."""

    def __init__(
        self, wires: Sequence[SharedWire], drops: Counter[str], *, require_use_candidate: bool
    ) -> None:
        super().__init__(wires, drops)
        self._require_use_candidate = require_use_candidate
        self._username: str | None = None
        self._password = self.pwd.encode()
        self._nominated = asyncio.Event()
        for wire in wires:
            wire.register(self.ufrag, self)

    async def connect(self, remote: Transport) -> None:
        self._username = f"{self.ufrag}:{remote.ice_ufrag}"
        await self._nominated.wait()
        if self._closed:
            raise ConnectionError("The ICE transport is closed")

    def receive_stun(self, message: stun.Message, address: Address, wire: Wire) -> None:
        if message.type != stun.BINDING_REQUEST or self._username is None:
            self.drops["unexpected_stun"] += 1
            return
        if message.username != self._username or not message.authentic(self._password):
            self.drops["unauthentic_stun"] += 1
            wire.sendto(stun.binding_error(message.transaction_id, 401, "Unauthenticated"), address)
            return
        selected = self.selected
        if selected and self._require_use_candidate and not message.use_candidate:
            return
        wire.sendto(stun.binding_success(message.transaction_id, address, self._password), address)
        self._validated(wire, address)
        if message.use_candidate:
            self._select(SelectedPair(wire, address, "host", "prflx"))
            self._nominated.set()
        if self._consent is not None:
            self._consent.heard(time.monotonic())
            self._set_contact(self._consent.state(time.monotonic()))

    async def close(self) -> None:
        for wire in self.wires:
            assert isinstance(wire, SharedWire)
            wire.unregister(self.ufrag)
        await super().close()
        self._nominated.set()
