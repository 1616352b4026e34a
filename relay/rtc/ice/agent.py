"""One generation of ICE: aioice's checks and nomination over our wires (RFC 8445).

In scope: trickled remote candidates, one component, UDP and TCP pairs. What is aioice's own: the
check list, pacing, triggered checks, role conflicts, nomination. What is ours: wires, which remote
candidates are taken, when a pair is reported, and consent (`relay.rtc.ice.transport`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from aioice import ice
from aioice import stun as aioice_stun
from aioice.candidate import Candidate as AioiceCandidate
from aioice.candidate import candidate_priority

from relay.core import stun
from relay.core.candidate import Candidate
from relay.core.sdp import Transport
from relay.rtc.ice.credentials import new_pwd, new_transaction_id, new_ufrag
from relay.rtc.ice.transport import SelectedPair
from relay.rtc.ice.wire import Address, Wire

MAX_REMOTE_ADDRESSES = 256
"""That one generation has to do with: listed candidates and addresses that checks came from."""

ROLE_CONFLICT = 487

MAX_ROLE_CONFLICTS = 8
"""That are repaired; a peer that finds one in each of our checks wants to keep us busy."""


class Owner(Protocol):
    """The transport that an agent works for."""

    selected: SelectedPair | None

    def validated(self, wire: Wire, address: Address) -> None: ...
    def nominated(self, agent: Agent, pair: SelectedPair) -> None: ...
    def consent_answered(self, transaction_id: bytes) -> bool: ...


class Agent:
    """A user fragment, a password and a check list. `accepts` says which of the peer's candidates
    are checked at all."""

    def __init__(
        self,
        owner: Owner,
        drops: Counter[str],
        *,
        controlling: bool,
        accepts: Callable[[Candidate], bool],
    ) -> None:
        self.ufrag, self.pwd = new_ufrag(), new_pwd()
        self.drops = drops
        self._owner = owner
        self._accepts = accepts
        self._key = self.pwd.encode()
        self._found = asyncio.Event()
        self._checks: asyncio.Future[None] | None = None
        self._connection = _Connection(self, controlling=controlling)
        self._protocols: dict[Wire, _WireProtocol] = {}
        self._remote_username = ""
        self._remote_key = b""
        self._request: stun.BindingRequest | None = None
        self.role_conflicts = 0

    @property
    def is_controlling(self) -> bool:
        return bool(self._connection.ice_controlling)

    def add_wire(self, wire: Wire, candidate: Candidate | None = None) -> None:
        """A wire to check from, before or during connect(); `candidate` is what it is known as."""
        protocol = _WireProtocol(self._connection, wire, _local_candidate(wire, candidate))
        self._protocols[wire] = protocol
        self._connection.adopt(protocol)

    def uses(self, wire: Wire) -> bool:
        return wire in self._protocols

    @property
    def has_wires(self) -> bool:
        """Some, or the prospect of one."""
        return bool(self._protocols) or self._connection.late_wires > 0

    def expect_wire(self) -> None:
        """A wire may come later: the checks do not fail before."""
        self._connection.late_wires += 1

    def wire_came(self) -> None:
        """It came, or never will."""
        self._connection.late_wires -= 1
        if self._connection._early_checks_done:
            self._connection._check_list_maybe_fail()

    def remove_wire(self, wire: Wire) -> None:
        """The wire is lost: no more checks by it."""
        protocol = self._protocols.pop(wire, None)
        if protocol is not None:
            self._connection.abandon(protocol)

    async def connect(self, remote: Transport) -> None:
        """Returns when a pair is selected; raises ConnectionError when none can be."""
        connection = self._connection
        connection.remote_is_lite = remote.ice_lite
        connection.remote_username, connection.remote_password = remote.ice_ufrag, remote.ice_pwd
        self._remote_username = f"{self.ufrag}:{remote.ice_ufrag}"
        self._remote_key = remote.ice_pwd.encode()
        if remote.ice_lite and not connection.ice_controlling:
            connection.switch_role(ice_controlling=True)  # RFC 8445 §6.1.1: the full agent controls
        self.add_candidates(remote.candidates)
        # aioice's connect() looks for its result every 20 ms; a pair is reported the moment it is
        # selected, so the checks run on behind this wait. close() ends them.
        self._checks = asyncio.ensure_future(connection.connect())
        found = asyncio.ensure_future(self._found.wait())
        try:
            await asyncio.wait((self._checks, found), return_when=asyncio.FIRST_COMPLETED)
        finally:
            found.cancel()
        if not self._found.is_set():
            await self._checks  # raises why
        if connection._nominated.get(1) is None:
            raise ConnectionError("ICE ended without a pair")

    def add_candidates(self, candidates: Iterable[Candidate]) -> None:
        """The peer's candidates, at any time."""
        for candidate in candidates:
            usable = candidate.is_ip and candidate.tcptype in (None, "passive")
            if usable and self._accepts(candidate):
                self._connection.add_candidate(candidate)
            else:
                self.drops["candidate_ignored"] += 1

    def receive_stun(self, message: stun.Message, address: Address, wire: Wire) -> None:
        pair = self._owner.selected
        is_selected = pair is not None and address == pair.address and wire is pair.wire
        if is_selected and (
            self._answer_check(message, address, wire) or self._take_consent(message, wire)
        ):
            return
        if message.type == stun.BINDING_REQUEST and not self._connection.has_room_for(address):
            self.drops["too_many_addresses"] += 1
            return
        if wire not in self._protocols:
            self.add_wire(wire)  # a TCP connection that the peer opened
        try:
            self._protocols[wire].datagram_received(message.raw, address)
        except Exception:  # aioice reads attributes that it did not check
            self.drops["agent_error"] += 1

    def _answer_check(self, message: stun.Message, address: Address, wire: Wire) -> bool:
        """A check on the selected pair changes nothing: answer it without aioice's machinery."""
        if self._request is None or message.type != stun.BINDING_REQUEST:
            return False
        if message.username != self._remote_username or not message.authentic(self._key):
            return False
        wire.sendto(stun.binding_success(message.transaction_id, address, self._key), address)
        return True

    def _take_consent(self, message: stun.Message, wire: Wire) -> bool:
        if message.type != stun.BINDING_SUCCESS or not message.authentic(self._remote_key):
            return False
        if not self._owner.consent_answered(message.transaction_id):
            return False
        wire.forget(message.transaction_id)
        return True

    def pair_changed(self, pair: ice.CandidatePair) -> None:
        """aioice's news: a check ended, and a pair may have been nominated."""
        if pair.state is ice.CandidatePair.State.SUCCEEDED:
            self._owner.validated(_wire(pair), pair.remote_addr)
        chosen = self._connection._nominated.get(1)
        if chosen is None:
            return
        wire, local, remote = _wire(chosen), chosen.local_candidate, chosen.remote_candidate
        self._request = self._consent_request()
        self._owner.nominated(
            self,
            SelectedPair(
                wire,
                chosen.remote_addr,
                local.type,
                remote.type,
                partial(self._next_request, wire, self._request),
            ),
        )
        self._found.set()

    def _consent_request(self) -> stun.BindingRequest:
        # Consent checks repeat the nomination: OpenAI's ICE-lite servers answer no other (F1), and
        # RFC 7675 §5.1 asks for nothing else.
        connection = self._connection
        return stun.BindingRequest(
            username=f"{connection.remote_username}:{self.ufrag}",
            password=connection.remote_password or "",
            priority=candidate_priority(1, "prflx"),
            controlling=connection.ice_controlling,
            tie_breaker=connection._tie_breaker,
            use_candidate=connection.ice_controlling,
        )

    def _next_request(self, wire: Wire, request: stun.BindingRequest) -> bytes:
        transaction_id = new_transaction_id()
        wire.expect(transaction_id, self)
        return request.encode(transaction_id)

    async def close(self) -> None:
        """Ends the checks. The wires are its owner's."""
        self._found.set()
        if self._checks is not None:
            self._checks.cancel()
            await asyncio.gather(self._checks, return_exceptions=True)
        await self._connection.close()


class _WireProtocol(ice.StunProtocol):
    """aioice's view of a wire. Its transport, a socket's, is replaced by the wire."""

    def __init__(self, connection: _Connection, wire: Wire, candidate: AioiceCandidate) -> None:
        super().__init__(connection)
        self.wire = wire
        self.agent = connection.agent
        self.local_candidate = candidate
        self.transport = wire  # type: ignore[assignment]  # only sendto() is called on it

    async def request(self, request: aioice_stun.Message, *args: Any, **kwargs: Any) -> Any:
        """Tells the wire whose answer to expect. Source of the rule: RFC 8489 §6.3.3."""
        self.wire.expect(request.transaction_id, self.agent)
        try:
            return await super().request(request, *args, **kwargs)
        except aioice_stun.TransactionFailed as failure:
            self._count_conflict(failure)
            raise
        finally:
            self.wire.forget(request.transaction_id)

    def _count_conflict(self, failure: aioice_stun.TransactionFailed) -> None:
        """aioice checks again at once after each 487, one call deeper."""
        if failure.response.error_code == ROLE_CONFLICT:
            self.agent.role_conflicts += 1
            if self.agent.role_conflicts > MAX_ROLE_CONFLICTS:
                raise aioice_stun.TransactionTimeout from failure

    async def close(self) -> None:
        """The wire outlives its agents, or is closed by the transport."""


class _Connection(ice.Connection):
    """aioice's agent with its sockets, its consent and its receive queue taken away."""

    def __init__(self, agent: Agent, *, controlling: bool) -> None:
        super().__init__(
            ice_controlling=controlling, local_username=agent.ufrag, local_password=agent.pwd
        )
        self.agent = agent
        self.late_wires = 0
        # In place of gather_candidates(): our sockets are there already, or come on their own. An
        # argument of Connection would remove this.
        self._local_candidates_start = self._local_candidates_end = True

    def _remote_candidates_expected(self) -> bool:
        return self.late_wires > 0 or super()._remote_candidates_expected()

    def adopt(self, protocol: _WireProtocol) -> None:
        self._protocols.append(protocol)
        self._local_candidates.append(protocol.local_candidate)
        if self._early_checks_done:
            for candidate in self._remote_candidates:
                self._pair_remote_candidate(candidate)
            self.sort_check_list()

    def abandon(self, protocol: _WireProtocol) -> None:
        if protocol in self._protocols:
            self._protocols.remove(protocol)

    def add_candidate(self, candidate: Candidate) -> None:
        # The public add_remote_candidate() is a coroutine for the sake of mDNS look-ups only.
        if not self._closing:
            self._add_remote_candidate(_to_aioice(candidate), candidate.address)

    def _pair_remote_candidate(self, remote_candidate: AioiceCandidate) -> None:
        # A TCP connection leads to one remote candidate, so it pairs with no other (RFC 6544 §6.2).
        super()._pair_remote_candidate(remote_candidate)
        address = (remote_candidate._network_host, remote_candidate.port)
        self._check_list = [
            pair
            for pair in self._check_list
            if pair.remote_candidate is not remote_candidate or _wire(pair).peer in (None, address)
        ]

    def has_room_for(self, address: Address) -> bool:
        """Whether a check from there may add a pair, if it does not have one."""
        known = self._remote_candidates
        return len(known) < MAX_REMOTE_ADDRESSES or any(
            (candidate._network_host, candidate.port) == address for candidate in known
        )

    def check_incoming(
        self, message: aioice_stun.Message, addr: Address, protocol: ice.StunProtocol
    ) -> None:
        # RFC 8445 §7.1.1 wants a PRIORITY; aioice raises out of connect() where there is none.
        message.attributes.setdefault("PRIORITY", candidate_priority(1, "prflx"))
        super().check_incoming(message, addr, protocol)

    def check_complete(self, pair: ice.CandidatePair) -> None:
        # aioice has no event for a valid or a nominated pair.
        super().check_complete(pair)
        self.agent.pair_changed(pair)

    async def query_consent(self) -> None:
        """Ours is in IceTransport: aioice closes the connection at the sixth slow answer (F4)."""

    def data_received(self, _data: bytes, _component: int) -> None:
        """Only STUN comes here; what aioice cannot parse is counted."""
        self.agent.drops["bad_stun"] += 1


def _wire(pair: ice.CandidatePair) -> Wire:
    assert isinstance(pair.protocol, _WireProtocol)
    return pair.protocol.wire


def _local_candidate(wire: Wire, candidate: Candidate | None) -> AioiceCandidate:
    if candidate is not None:
        return _to_aioice(candidate)
    return AioiceCandidate(
        foundation=f"any{wire.transport}{wire.version}",
        component=1,
        transport=wire.transport,
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
        tcptype=candidate.tcptype,
    )
