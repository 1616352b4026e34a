"""The transport of a full ICE agent: generations over the process's wires or wires of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from relay.core.candidate import Candidate
from relay.core.sdp import Transport
from relay.rtc.ice.agent import Agent
from relay.rtc.ice.dial import dial
from relay.rtc.ice.sockets import Sockets, host_candidate
from relay.rtc.ice.tcp import TcpWire
from relay.rtc.ice.transport import IceTransport, SelectedPair
from relay.rtc.ice.udp import OwnedUdpWire
from relay.rtc.ice.wire import Wire

UDP_HEAD_START_S = 0.3
"""How long UDP is tried alone (RFC 8305 §8 has 250 ms for the same purpose)."""

DIAL_TIMEOUT_S = 10.0
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
        self._tasks: set[asyncio.Task[None]] = set()
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
        await agent.connect(remote)
        self.role = "controlling" if agent.is_controlling else "controlled"

    def add_candidates(self, candidates: Iterable[Candidate]) -> None:
        """The peer's candidates, at any time."""
        self._agent.add_candidates(candidates)

    # -- generations (RFC 8445 §9)

    def restart(self, remote: Transport) -> None:
        """The peer has new credentials: a new generation checks its paths while the old one carries
        the call, takes over with its first selected pair, and the old one retires."""
        assert self._shared, "an upstream takes one offer"
        agent = self._new_agent()
        self._agent = agent
        self._agents.append(agent)
        self._spawn(self._take_over(agent, remote))

    async def _take_over(self, agent: Agent, remote: Transport) -> None:
        try:
            await agent.connect(remote)
        except ConnectionError:
            return  # another restart replaced it, or the call is over
        await asyncio.sleep(RETIRE_AFTER_S)
        older = self._agents[: self._agents.index(agent)]
        del self._agents[: len(older)]
        for old in older:
            await self._retire(old)

    def nominated(self, agent: Agent, pair: SelectedPair) -> None:
        """An old generation changes nothing once a newer one carries the call."""
        if agent not in self._agents:
            return
        if self._agents.index(agent) >= self._agents.index(self._carrier):
            self._carrier = agent
            self.select(pair)

    def _new_agent(self) -> Agent:
        agent = Agent(self, self.drops, controlling=not self._shared, accepts=self._accepts())
        if self._shared:
            for wire in self._sockets.shared:
                agent.add_wire(wire, self._sockets.candidate_of(wire))
            self._sockets.registry.register(agent.ufrag, agent)
        return agent

    async def _retire(self, agent: Agent) -> None:
        self._sockets.registry.unregister(agent.ufrag)
        await agent.close()
        for shared in self._sockets.shared:
            shared.abandon(agent)

    # -- wires of its own

    def _open_wires(self, agent: Agent, candidates: Iterable[Candidate]) -> None:
        """A UDP socket for each version of the Internet Protocol that the peer speaks, and a
        connection to each of its passive TCP candidates, a moment later."""
        options = self._sockets.options
        if options.upstream_transport != "tcp":
            for version in _versions(candidates):
                sock = self._sockets.open_owned(version)
                self._adopt(agent, OwnedUdpWire(sock, self._sockets.drops, self, agent), None)
        if options.upstream_transport != "udp":
            for candidate in candidates:
                if candidate.transport == "tcp" and candidate.tcptype == "passive":
                    agent.expect_wire()
                    self._spawn(self._dial(agent, candidate))

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
                    agent=agent,
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
        tasks, agents = list(self._tasks), list(self._agents)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for agent in agents:
            await self._retire(agent)
        self._sockets.invalidate(self)
        for wire in self._owned:
            wire.close()


def _versions(candidates: Iterable[Candidate]) -> list[int]:
    found = {6 if ":" in c.address else 4 for c in candidates if c.transport == "udp" and c.is_ip}
    return sorted(found) or [4]
