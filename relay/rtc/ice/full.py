"""The transport of a full ICE agent: generations over the process's wires or wires of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from relay.core.candidate import Candidate
from relay.core.sdp import Transport
from relay.rtc.ice.agent import Agent
from relay.rtc.ice.sockets import Sockets
from relay.rtc.ice.transport import IceTransport
from relay.rtc.ice.udp import OwnedUdpWire
from relay.rtc.ice.wire import Wire


class FullIceTransport(IceTransport):
    """`shared`: on the process's client-side port, controlled; else from sockets of its own,
    controlling, as the one that made the offer."""

    def __init__(
        self,
        sockets: Sockets,
        drops: Counter[str],
        *,
        shared: bool,
        accepts: Callable[[Candidate], bool],
    ) -> None:
        super().__init__(drops)
        self.role = "controlled" if shared else "controlling"
        self._sockets = sockets
        self._shared = shared
        self._accepts = accepts
        self._owned: list[Wire] = []
        self._agent = self._new_agent()

    @property
    def ufrag(self) -> str:
        return self._agent.ufrag

    @property
    def pwd(self) -> str:
        return self._agent.pwd

    async def connect(self, remote: Transport) -> None:
        if not self._shared:
            self._open_wires(remote.candidates)
        await self._agent.connect(remote)
        self.role = "controlling" if self._agent.is_controlling else "controlled"

    def add_candidates(self, candidates: Iterable[Candidate]) -> None:
        """The peer's candidates, at any time."""
        self._agent.add_candidates(candidates)

    def _new_agent(self) -> Agent:
        agent = Agent(self, self.drops, controlling=not self._shared, accepts=self._accepts)
        if self._shared:
            for wire in self._sockets.shared:
                agent.add_wire(wire, self._sockets.candidate_of(wire))
            self._sockets.registry.register(agent.ufrag, agent)
        return agent

    def _open_wires(self, candidates: Iterable[Candidate]) -> None:
        """A UDP socket for each version of the Internet Protocol that the peer speaks."""
        for version in _versions(candidates):
            sock = self._sockets.open_owned(version)
            wire = OwnedUdpWire(sock, self._sockets.drops, self, self._agent)
            self._owned.append(wire)
            self._agent.add_wire(wire)

    async def close(self) -> None:
        agent = self._agent
        self._sockets.registry.unregister(agent.ufrag)
        await super().close()
        await agent.close()
        for shared in self._sockets.shared:
            shared.invalidate(self)
            shared.abandon(agent)
        for wire in self._owned:
            wire.close()


def _versions(candidates: Iterable[Candidate]) -> list[int]:
    found = {6 if ":" in c.address else 4 for c in candidates if c.transport == "udp" and c.is_ip}
    return sorted(found) or [4]
