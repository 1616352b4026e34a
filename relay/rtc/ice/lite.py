"""An ICE-lite agent (RFC 8445 §2.5): it answers checks and lets the peer decide.

For a server that every peer can reach: the simulator. In scope: one component, controlled role,
peer-reflexive learning, nomination by USE-CANDIDATE. Out of scope: sending checks of any kind.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from relay.core import stun
from relay.core.sdp import Transport
from relay.rtc.ice.credentials import new_pwd, new_ufrag
from relay.rtc.ice.feed import CandidateFeed
from relay.rtc.ice.sockets import Sockets
from relay.rtc.ice.transport import IceTransport, SelectedPair
from relay.rtc.ice.wire import Address, Wire


class LiteIceTransport(IceTransport):
    """`require_use_candidate`: once nominated, checks without USE-CANDIDATE stay unanswered, as
    OpenAI's servers do it."""

    def __init__(
        self, sockets: Sockets, drops: Counter[str], *, require_use_candidate: bool
    ) -> None:
        super().__init__(drops, sockets.options.consent)
        self._sockets = sockets
        self._require_use_candidate = require_use_candidate
        self._ufrag, self._pwd = new_ufrag(), new_pwd()
        self._key = self._pwd.encode()
        self._username: str | None = None
        self._nominated = asyncio.Event()
        self.feed = CandidateFeed(sockets.candidates)
        self.feed.end()
        sockets.registry.register(self._ufrag, self)

    @property
    def ufrag(self) -> str:
        return self._ufrag

    @property
    def pwd(self) -> str:
        return self._pwd

    def gather(self) -> None:
        """All is there."""

    async def connect(self, remote: Transport) -> None:
        self._username = f"{self._ufrag}:{remote.ice_ufrag}"
        await self._nominated.wait()
        if self.is_closed:
            raise ConnectionError("The ICE transport is closed")

    def receive_stun(self, message: stun.Message, address: Address, wire: Wire) -> None:
        if message.type != stun.BINDING_REQUEST or self._username is None:
            self.drops["unexpected_stun"] += 1
            return
        if message.username != self._username or not message.authentic(self._key):
            self.drops["unauthentic_stun"] += 1
            wire.sendto(stun.binding_error(message.transaction_id, 401, "Unauthenticated"), address)
            return
        if self.selected and self._require_use_candidate and not message.use_candidate:
            return
        wire.sendto(stun.binding_success(message.transaction_id, address, self._key), address)
        self.validated(wire, address)
        if message.use_candidate:
            self.select(SelectedPair(wire, address, "host", "prflx"))
            self._nominated.set()
        self.heard()

    async def close(self) -> None:
        self._sockets.registry.unregister(self._ufrag)
        self._sockets.invalidate(self)
        await super().close()
        self._nominated.set()
