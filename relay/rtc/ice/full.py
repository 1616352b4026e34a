"""The transport of a full ICE agent: generations over the process's wires or wires of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from relay.core import stun
from relay.core.candidate import Candidate
from relay.core.consent import ConsentState
from relay.core.iceserver import IceServer
from relay.core.sdp import Transport
from relay.rtc.ice.agent import Agent
from relay.rtc.ice.dial import dial
from relay.rtc.ice.feed import CandidateFeed
from relay.rtc.ice.reflexive import Reflexive
from relay.rtc.ice.sockets import Sockets, host_candidate
from relay.rtc.ice.tcp import TcpWire
from relay.rtc.ice.transport import IceTransport, SelectedPair
from relay.rtc.ice.turn import TurnWire
from relay.rtc.ice.udp import OwnedUdpWire
from relay.rtc.ice.wire import Address, Wire

UDP_HEAD_START_S = 0.3
"""How long UDP is tried alone (RFC 8305 §8 has 250 ms for the same purpose)."""

DIAL_TIMEOUT_S = 10.0
GATHERING_TIMEOUT_S = 5.0
RETIRE_AFTER_S = 2.0
"""How long an old generation answers checks after the new one has taken over."""

log = structlog.get_logger(__name__)


class FullIceTransport(IceTransport):
    """`shared`: on the process's client-side port, controlled; else from sockets of its own,
    controlling, as the one that made the offer."""

    def __init__(
        self,
        sockets: Sockets,
        drops: Counter[str],
        *,
        shared: bool,
        accepts: Callable[[], Callable[[Candidate], bool]],
    ) -> None:
        super().__init__(drops, sockets.options.consent)
        self.role = "controlled" if shared else "controlling"
        self._sockets = sockets
        self._shared = shared
        self._accepts = accepts
        self._owned: list[Wire] = []
        self._relayed: list[TurnWire] = []
        self._pending = 0
        self.feed = CandidateFeed(sockets.candidates if shared else ())
        self._tasks: set[asyncio.Task[None]] = set()
        self._first_pair = asyncio.Event()
        self._agent = self._new_agent()
        self._agents = [self._agent]
        self._carrier = self._agent

    @property
    def ufrag(self) -> str:
        return self._agent.ufrag

    @property
    def pwd(self) -> str:
        return self._agent.pwd

    async def connect(self, remote: Transport) -> None:
        agent = self._agent
        if not self._shared:
            self._open_wires(agent, remote.candidates)
            if not agent.has_wires:
                raise ConnectionError("There is no socket to check from")
        try:
            await agent.connect(remote)
        except ConnectionError:
            if agent is self._agent:
                raise
            await self._first_pair.wait()  # a restart came before there was a pair
            if self.selected is None:
                raise
        self.role = "controlling" if self._carrier.is_controlling else "controlled"

    def add_candidates(self, candidates: Iterable[Candidate]) -> None:
        """The peer's candidates, at any time."""
        self._agent.add_candidates(candidates)

    # -- generations (RFC 8445 §9)

    def renew(self) -> None:
        """New credentials for a restart of ours: tell the peer, then restart() with its answer.

        A generation that carries nothing makes room: there are two at a time, and the third of a
        moment ago."""
        older = self._agent
        self._agent = self._new_agent()
        self._agents.append(self._agent)
        if older is not self._carrier or self.selected is None:
            self._agents.remove(older)
            self._carrier = self._agents[0]
            self._spawn(self._retire(older))

    def restart(self, remote: Transport) -> None:
        """The peer has new credentials: a new generation checks its paths while the old one carries
        the call, takes over with its first selected pair, and the old one retires."""
        if self._shared:
            self.renew()
        self._spawn(self._take_over(self._agent, remote))

    async def _take_over(self, agent: Agent, remote: Transport) -> None:
        if agent not in self._agents:
            return  # another restart replaced it already
        if not self._shared:
            self._open_wires(agent, remote.candidates)
        try:
            await agent.connect(remote)
        except ConnectionError:
            return  # another restart replaced it, or the call is over
        await asyncio.sleep(RETIRE_AFTER_S)
        older = self._agents[: self._agents.index(agent)]
        del self._agents[: len(older)]
        for old in older:
            await self._retire(old)
        for wire in [w for w in self._owned if not any(a.uses(w) for a in self._agents)]:
            self._owned.remove(wire)
            wire.close()

    def nominated(self, agent: Agent, pair: SelectedPair) -> None:
        """An old generation changes nothing once a newer one carries the call."""
        if agent not in self._agents:
            return
        if agent is self._carrier and self._has_expired(pair):
            return
        if self._agents.index(agent) >= self._agents.index(self._carrier):
            self._carrier = agent
            self.select(pair)
            self._first_pair.set()

    def _has_expired(self, pair: SelectedPair) -> bool:
        """RFC 7675 §5.1: a pair whose consent was lost needs new credentials."""
        lost = self.selected
        return (
            self._contact is ConsentState.EXPIRED
            and lost is not None
            and (lost.wire, lost.address) == (pair.wire, pair.address)
        )

    def receive_stun(self, message: stun.Message, address: Address, wire: Wire) -> None:
        """A check on a wire of this leg's own: which generation is meant?"""
        ufrag = (message.username or "").partition(":")[0]
        for agent in self._agents:
            if agent.ufrag == ufrag:
                agent.receive_stun(message, address, wire)
                return
        self.drops["unknown_ufrag"] += 1

    def _new_agent(self) -> Agent:
        agent = Agent(self, self.drops, controlling=not self._shared, accepts=self._accepts())
        if self._shared:
            self._sockets.registry.register(agent.ufrag, agent)
            if self._sockets.options.client_policy == "all":
                for wire in self._sockets.shared:
                    agent.add_wire(wire, self._sockets.candidate_of(wire))
        for relayed in self._relayed:
            agent.add_wire(relayed, relayed.candidate)
        return agent

    async def _retire(self, agent: Agent) -> None:
        self._sockets.registry.unregister(agent.ufrag)
        await agent.close()
        for shared in self._sockets.shared:
            shared.abandon(agent)

    # -- gathering (RFC 8445 §5.1.1): nothing waits for it, what comes late trickles

    def gather(self) -> None:
        """Starts what takes time: the STUN answer, TURN allocations."""
        options = self._sockets.options
        late = [
            self._allocate(server)
            for server in (options.client_servers if self._shared else options.upstream_servers)
            if server.is_turn
        ]
        if self._shared and self._sockets.reflexive is not None:
            late.append(self._reflect(self._sockets.reflexive))
        self._pending = len(late)
        for work in late:
            self._spawn(self._gathering(work))
        if not late:
            self.feed.end()

    async def _gathering(self, work: Coroutine[Any, Any, None]) -> None:
        agent = self._agent
        agent.expect_wire()
        try:
            async with asyncio.timeout(GATHERING_TIMEOUT_S):
                await work
        except (OSError, TimeoutError) as error:
            log.warning("ice.gathering_failed", error=str(error) or "timed out")
        finally:
            agent.wire_came()
            self._pending -= 1
            if not self._pending:
                self.feed.end()

    async def _reflect(self, reflexive: Reflexive) -> None:
        await reflexive.asked.wait()
        for candidate in reflexive.candidates:
            self.feed.add(candidate)

    async def _allocate(self, server: IceServer) -> None:
        options = self._sockets.options
        policy = options.client_policy if self._shared else options.upstream_policy
        wire = await TurnWire.allocate(
            server,
            self._sockets.drops,
            self,
            self,
            ca=options.turn_ca,
            hide_related=policy == "relay",
        )
        self._owned.append(wire)
        self._relayed.append(wire)
        for agent in self._agents:
            agent.add_wire(wire, wire.candidate)
        self.feed.add(wire.candidate)

    # -- wires of its own

    def _open_wires(self, agent: Agent, candidates: Iterable[Candidate]) -> None:
        """A UDP socket for each version of the Internet Protocol that the peer speaks, and a
        connection to each of its passive TCP candidates, a moment later."""
        options = self._sockets.options
        if options.upstream_policy == "relay":
            return
        if options.upstream_transport != "tcp":
            for version in _versions(candidates):
                self._open_udp(agent, version)
        if options.upstream_transport != "udp":
            for candidate in candidates:
                if candidate.transport == "tcp" and candidate.tcptype == "passive":
                    agent.expect_wire()
                    self._spawn(self._dial(agent, candidate))

    def _open_udp(self, agent: Agent, version: int) -> None:
        try:
            sock = self._sockets.open_owned(version)
        except OSError as error:  # no descriptor left, or a host without IPv6
            log.warning("ice.no_socket", version=version, error=str(error))
            self.drops["no_socket"] += 1
            return
        self._adopt(agent, OwnedUdpWire(sock, self._sockets.drops, self, self), None)

    def _adopt(self, agent: Agent, wire: Wire, candidate: Candidate | None) -> None:
        self._owned.append(wire)
        agent.add_wire(wire, candidate)

    async def _dial(self, agent: Agent, candidate: Candidate) -> None:
        address = (candidate.address, candidate.port)
        options = self._sockets.options
        try:
            if options.upstream_transport == "auto":
                await asyncio.sleep(UDP_HEAD_START_S)
            if self.selected is None and candidate.is_ip:
                async with asyncio.timeout(DIAL_TIMEOUT_S):
                    sock = await dial(address, options.proxy)
                wire = TcpWire(
                    sock,
                    self._sockets.drops,
                    agent=self,
                    receiver=self,
                    leads_to=address,
                    on_closed=agent.remove_wire,
                )
                local = host_candidate(wire.local[0], 9, 1, tcptype="active")
                self._adopt(agent, wire, local)
        except (OSError, TimeoutError) as error:
            log.debug("ice.tcp_failed", port=candidate.port, error=str(error))
        finally:
            agent.wire_came()

    # -- life

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        await super().close()
        self._first_pair.set()
        tasks, agents = list(self._tasks), list(self._agents)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for agent in agents:
            await self._retire(agent)
        await asyncio.gather(*(wire.release() for wire in self._relayed))
        self._sockets.invalidate(self)
        for wire in self._owned:
            wire.close()
        self.feed.end()


def _versions(candidates: Iterable[Candidate]) -> list[int]:
    found = {6 if ":" in c.address else 4 for c in candidates if c.transport == "udp" and c.is_ip}
    return sorted(found) or [4]
