"""A full ICE agent: aioice's checks and nomination over our wires, consent by RFC 7675.

In scope: RFC 8445 with trickled remote candidates, one component, UDP. What is aioice's own: the
check list, pacing, triggered checks, role conflicts, nomination. What is ours: sockets, which
remote candidates are taken, consent, and when the transport is told of a pair.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aioice import ice
from aioice import stun as aioice_stun
from aioice.candidate import Candidate as AioiceCandidate
from aioice.candidate import candidate_priority

from relay.core import stun
from relay.core.candidate import Candidate
from relay.core.consent import ConsentState
from relay.core.sdp import Transport
from relay.rtc.ice.transport import IceTransport, SelectedPair, new_transaction_id
from relay.rtc.ice.udp import Address, SharedWire, Wire


class FullIceTransport(IceTransport):
    """`accepts` says which of the peer's candidates are checked at all."""

    def __init__(
        self,
        wires: Sequence[Wire],
        drops: Counter[str],
        *,
        controlling: bool,
        candidates: Sequence[Candidate],
        accepts: Callable[[Candidate], bool],
    ) -> None:
        super().__init__(wires, drops)
        self.role = "controlling" if controlling else "controlled"
        self._accepts = accepts
        self._found = asyncio.Event()
        self._checks: asyncio.Future[None] | None = None
        self._agent = _Agent(self, controlling=controlling)
        self._protocols: dict[Wire, _WireProtocol] = {}
        self._remote_username = ""
        self._remote_password = b""
        self._request: stun.BindingRequest | None = None
        for wire in wires:
            self.add_wire(wire, _find(wire, candidates))

    def add_wire(self, wire: Wire, candidate: Candidate | None = None) -> None:
        """A socket to check from; an owned one is closed with this transport."""
        if wire not in self.wires:
            self.wires.append(wire)
        protocol = _WireProtocol(self._agent, wire, _local_candidate(wire, candidate))
        self._protocols[wire] = protocol
        self._agent.adopt(protocol)
        if isinstance(wire, SharedWire):
            wire.register(self.ufrag, self)

    async def connect(self, remote: Transport) -> None:
        agent = self._agent
        agent.remote_is_lite = remote.ice_lite
        agent.remote_username, agent.remote_password = remote.ice_ufrag, remote.ice_pwd
        self._remote_username = f"{self.ufrag}:{remote.ice_ufrag}"
        self._remote_password = remote.ice_pwd.encode()
        if remote.ice_lite and not agent.ice_controlling:
            agent.switch_role(ice_controlling=True)  # RFC 8445 §6.1.1: the full agent controls
        self.role = "controlling" if agent.ice_controlling else "controlled"
        self.add_candidates(remote.candidates)
        # aioice's connect() looks for its result every 20 ms; a pair is reported the moment it is
        # selected, so the checks run on behind this wait. close() ends them.
        self._checks = asyncio.ensure_future(agent.connect())
        found = asyncio.ensure_future(self._found.wait())
        try:
            await asyncio.wait((self._checks, found), return_when=asyncio.FIRST_COMPLETED)
        finally:
            found.cancel()
        if self.selected is None:
            await self._checks  # raises why
            raise ConnectionError("ICE ended without a pair")

    def add_candidates(self, candidates: Iterable[Candidate]) -> None:
        for candidate in candidates:
            if candidate.transport == "udp" and candidate.is_ip and self._accepts(candidate):
                self._agent.add_candidate(candidate)
            else:
                self.drops["candidate_ignored"] += 1

    def receive_stun(self, message: stun.Message, address: Address, wire: Wire) -> None:
        pair = self.selected
        is_selected = pair is not None and address == pair.address and wire is pair.wire
        if is_selected and (
            self._answer_check(message, address, wire) or self._take_consent(message, wire)
        ):
            return
        try:
            self._protocols[wire].datagram_received(message.raw, address)
        except Exception:  # an authentic check without PRIORITY raises KeyError there
            self.drops["agent_error"] += 1

    def _answer_check(self, message: stun.Message, address: Address, wire: Wire) -> bool:
        """A check on the selected pair changes nothing: answer it without aioice's machinery."""
        if message.type != stun.BINDING_REQUEST or message.username != self._remote_username:
            return False
        password = self.pwd.encode()
        if not message.authentic(password):
            return False
        wire.sendto(stun.binding_success(message.transaction_id, address, password), address)
        return True

    def _take_consent(self, message: stun.Message, wire: Wire) -> bool:
        if message.type != stun.BINDING_SUCCESS or self._consent is None:
            return False
        if not message.authentic(self._remote_password):
            return False
        now = time.monotonic()
        if not self._consent.answered(message.transaction_id, now):
            return False
        wire.forget(message.transaction_id)
        self._set_contact(ConsentState.FRESH)
        return True

    def _consent_request(self) -> bytes:
        assert self._request is not None
        return self._request.encode(new_transaction_id())

    def pairs_changed(self, pairs: Iterable[ice.CandidatePair]) -> None:
        """The agent's news: which pairs are valid, and which one is selected."""
        for pair in pairs:
            if pair.state is ice.CandidatePair.State.SUCCEEDED:
                self._validated(_wire(pair), pair.remote_addr)
        chosen = self._agent._nominated.get(1)
        if chosen is None:
            return
        agent = self._agent
        # Consent checks repeat the nomination: OpenAI's ICE-lite servers answer no other (F1), and
        # RFC 7675 §5.1 asks for nothing else.
        self._request = stun.BindingRequest(
            username=f"{agent.remote_username}:{self.ufrag}",
            password=agent.remote_password or "",
            priority=candidate_priority(1, "prflx"),
            controlling=agent.ice_controlling,
            tie_breaker=agent._tie_breaker,
            use_candidate=agent.ice_controlling,
        )
        local, remote = chosen.local_candidate, chosen.remote_candidate
        self._select(SelectedPair(_wire(chosen), chosen.remote_addr, local.type, remote.type))
        self._found.set()

    async def close(self) -> None:
        for wire in self.wires:
            if isinstance(wire, SharedWire):
                wire.unregister(self.ufrag)
        await super().close()
        self._found.set()
        if self._checks is not None:
            self._checks.cancel()
            await asyncio.gather(self._checks, return_exceptions=True)
        await self._agent.close()
        for wire in self.wires:
            if not isinstance(wire, SharedWire):
                wire.close()


class _WireProtocol(ice.StunProtocol):
    """aioice's view of a wire. Its transport, a socket's, is replaced by the wire."""

    def __init__(self, agent: _Agent, wire: Wire, candidate: AioiceCandidate) -> None:
        super().__init__(agent)
        self.wire = wire
        self.owner = agent.owner
        self.local_candidate = candidate
        self.transport = wire  # type: ignore[assignment]  # only sendto() is called on it

    async def request(self, request: aioice_stun.Message, *args: Any, **kwargs: Any) -> Any:
        """Tells the wire whose answer to expect. Source of the rule: RFC 8489 §6.3.3."""
        self.wire.expect(request.transaction_id, self.owner)
        try:
            return await super().request(request, *args, **kwargs)
        finally:
            self.wire.forget(request.transaction_id)

    async def close(self) -> None:
        """The wire outlives its agents, or is closed by the transport."""


class _Agent(ice.Connection):
    """aioice's agent with its sockets, its consent and its receive queue taken away."""

    def __init__(self, owner: FullIceTransport, *, controlling: bool) -> None:
        super().__init__(
            ice_controlling=controlling, local_username=owner.ufrag, local_password=owner.pwd
        )
        self.owner = owner

    def adopt(self, protocol: _WireProtocol) -> None:
        # In place of gather_candidates(): our sockets are there already. An argument of Connection
        # would remove this.
        self._protocols.append(protocol)
        self._local_candidates.append(protocol.local_candidate)
        self._local_candidates_start = self._local_candidates_end = True

    def add_candidate(self, candidate: Candidate) -> None:
        # The public add_remote_candidate() is a coroutine for the sake of mDNS look-ups only.
        if self._closing:
            return
        self._add_remote_candidate(_to_aioice(candidate), candidate.address)

    def check_complete(self, pair: ice.CandidatePair) -> None:
        # aioice has no event for a valid or a nominated pair.
        super().check_complete(pair)
        self.owner.pairs_changed((pair,))

    async def query_consent(self) -> None:
        """Ours is in IceTransport: aioice closes the connection at the sixth slow answer (F4)."""

    def data_received(self, _data: bytes, _component: int) -> None:
        """Only STUN comes here; what aioice cannot parse is counted."""
        self.owner.drops["bad_stun"] += 1


def _wire(pair: ice.CandidatePair) -> Wire:
    assert isinstance(pair.protocol, _WireProtocol)
    return pair.protocol.wire


def _find(wire: Wire, candidates: Sequence[Candidate]) -> Candidate | None:
    return next((c for c in candidates if c.address == wire.local[0]), None)


def _local_candidate(wire: Wire, candidate: Candidate | None) -> AioiceCandidate:
    if candidate is not None:
        return _to_aioice(candidate)
    return AioiceCandidate(
        foundation=f"any{wire.version}",
        component=1,
        transport="udp",
        priority=candidate_priority(1, "host"),
        host=wire.local[0],
        port=wire.local[1],
        type="host",
    )


def _to_aioice(candidate: Candidate) -> AioiceCandidate:
    return AioiceCandidate(
        foundation=candidate.foundation,
        component=candidate.component,
        transport=candidate.transport,
        priority=candidate.priority,
        host=candidate.address,
        port=candidate.port,
        type=candidate.type,
    )
