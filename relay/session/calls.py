"""Every live call of this process: how they are opened, found, counted and ended."""

from __future__ import annotations

import asyncio
import secrets
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from relay.core.errors import InvalidRequest, NotFound, Overloaded
from relay.core.ids import CallId, Direction, LegName
from relay.core.lifecycle import HungUpBy
from relay.core.principal import Principal
from relay.core.quality import Histogram
from relay.rtc import CertificateStore, Sockets
from relay.session.call import Call, Resources
from relay.session.model import CallObserver, CallRequest, CallSnapshot, SessionOptions
from relay.session.opening import Offer
from relay.session.watching import Watcher
from relay.upstream.provider import Upstream

MAX_DCID: Final = 65_534
"""RFC 8832 §6: stream 65535 is not to be used."""

RETRY_AFTER_S: Final = 5.0

_ALPHABET: Final = string.digits + string.ascii_letters
_ID_LENGTH: Final = 22  # 62^22 > 2^128

log = structlog.get_logger(__name__)

PacketTotals = Counter[tuple[LegName, Direction]]


class Calls:
    """Owns the calls and their tasks; what they share is its maker's."""

    def __init__(
        self,
        upstream: Upstream,
        sockets: Sockets,
        certificates: CertificateStore,
        options: SessionOptions,
        observer: CallObserver | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self._resources = Resources(
            upstream, sockets, certificates, options, observer, tuple(watchers)
        )
        self._observer = observer
        self._calls: dict[CallId, Call] = {}
        self._tasks: dict[CallId, asyncio.Task[None]] = {}
        self._packets: PacketTotals = Counter()
        self._drops: Counter[str] = Counter()
        self._added_latency_ms = Histogram()
        self._draining = False

    async def create(self, request: CallRequest) -> Call:
        """Answers an offer; both legs then connect on their own.

        Raises InvalidOffer (before anything else is done), Overloaded, or what the upstream's
        adapter raises. Cancelled, it leaves nothing behind, the call at the upstream included.
        """
        if request.dcid is not None and not 0 <= request.dcid <= MAX_DCID:
            raise InvalidRequest(f"dcid should be a number from 0 to {MAX_DCID}.", param="dcid")
        options = self._resources.options
        offer = Offer.parse(request.offer, video=options.video)
        self._admit()
        principal = request.principal
        call = Call(_new_id(), principal.owner, principal.upstream_credential, self._resources)
        self._calls[call.id] = call
        task = asyncio.create_task(call.run(request, offer), name=f"call {call.id}")
        self._tasks[call.id] = task
        task.add_done_callback(partial(self._ended, call))
        await call.answered()
        answered_ms = call.snapshot().phases_ms.answered
        if self._observer is not None and answered_ms is not None:
            self._observer.call_answered(answered_ms / 1000)
        return call

    def find(self, call_id: str, principal: Principal) -> Call:
        """A call with an answer and no end. Raises NotFound, for another owner's too."""
        call = self._calls.get(CallId(call_id))
        if call is None or not call.is_up or call.owner != principal.owner:
            raise NotFound("There is no such call.")
        return call

    def live(self, call_id: str) -> Call:
        """The same for the operator: whoever's it is."""
        call = self._calls.get(CallId(call_id))
        if call is None or not call.is_up:
            raise NotFound("There is no such live call.")
        return call

    def up(self) -> list[Call]:
        """All calls with an answer and no end."""
        return [call for call in self._calls.values() if call.is_up]

    async def hang_up(self, call: Call, by: HungUpBy) -> None:
        """Returns when both legs are down and the upstream knows. A call that is over is fine."""
        call.hang_up(by)
        await self.finished(call)

    async def finished(self, call: Call) -> None:
        """Until nothing of the call is left, however it ends."""
        task = self._tasks.get(call.id)
        if task is not None:
            await asyncio.wait({task})  # not awaited itself: a cancelled request must not end it

    def drain(self) -> None:
        """No more calls are taken; those that are go on."""
        self._draining = True

    async def close(self) -> None:
        """Ends all calls side by side, within `close_timeout_s` and a few seconds."""
        self.drain()
        for call in list(self._calls.values()):
            call.hang_up("shutdown")
        tasks = list(self._tasks.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._resources.options.close_timeout_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what is told of them

    def __iter__(self) -> Iterator[CallSnapshot]:
        return iter([call.snapshot() for call in self._calls.values()])

    def live_count(self) -> int:
        """Calls that hold something: opening, up, or just ending."""
        return len(self._calls)

    def packet_totals(self) -> Mapping[tuple[LegName, Direction], int]:
        """RTP and RTCP packets a leg received or sent, of all calls ever."""
        totals = self._packets.copy()
        for snapshot in self:
            totals += _packets_of(snapshot)
        return totals

    def drop_totals(self) -> Mapping[str, int]:
        """Packets that were not forwarded, by reason, of all calls ever."""
        totals = self._drops + self._resources.sockets.drops
        for snapshot in self:
            totals += _drops_of(snapshot)
        return totals

    def added_latency_totals_ms(self) -> Histogram:
        """Of the packets that were timed, in all calls ever."""
        totals = self._added_latency_ms.copy()
        for snapshot in self:
            totals.merge(snapshot.added_latency_ms)
        return totals

    # -- their ends

    def _admit(self) -> None:
        if self._draining:
            raise Overloaded("The relay is shutting down.", retry_after_s=RETRY_AFTER_S)
        if len(self._calls) >= self._resources.options.max_sessions:
            raise Overloaded("The relay has no room for a call.", retry_after_s=RETRY_AFTER_S)

    def _ended(self, call: Call, task: asyncio.Task[None]) -> None:
        del self._calls[call.id], self._tasks[call.id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("session.end_failed", session_id=call.id, exc_info=error)
        snapshot = call.snapshot()
        self._packets += _packets_of(snapshot)
        self._drops += _drops_of(snapshot)
        self._added_latency_ms.merge(snapshot.added_latency_ms)
        if self._observer is not None and snapshot.end is not None:
            self._observer.call_ended(snapshot.end.outcome)


def _new_id() -> CallId:
    return CallId("rtc_" + "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH)))


def _packets_of(snapshot: CallSnapshot) -> PacketTotals:
    packets: PacketTotals = Counter()
    if snapshot.client is not None:
        packets["client", "up"] = snapshot.client.packets_received
        packets["client", "down"] = snapshot.client.packets_sent
    if snapshot.upstream is not None:
        packets["upstream", "up"] = snapshot.upstream.packets_sent
        packets["upstream", "down"] = snapshot.upstream.packets_received
    return packets


def _drops_of(snapshot: CallSnapshot) -> Counter[str]:
    drops: Counter[str] = Counter()
    for leg in (snapshot.client, snapshot.upstream):
        drops.update(leg.drops if leg is not None else {})
    return drops
