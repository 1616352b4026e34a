"""One call: two legs, what joins them, and the task that owns it all from offer to end.

What happens is fed to `core.lifecycle`, which alone decides; here its actions are carried out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import structlog

from relay.core.errors import Conflict, NotFound, Overloaded, RelayError, UpstreamRefused
from relay.core.ids import CallId, LegName
from relay.core.lifecycle import (
    Active,
    Answered,
    Broke,
    End,
    Event,
    HangUpUpstream,
    HungUp,
    HungUpBy,
    LegChange,
    LegChanged,
    Lifecycle,
    OpeningFailed,
    Released,
    Restarted,
    State,
    TellClient,
    TimePassed,
)
from relay.core.quality import Histogram
from relay.core.sdp import Codec, Sctp, Transport
from relay.rtc import (
    CertificateStore,
    Leg,
    LegFailed,
    LegState,
    Path,
    Sockets,
    Translator,
    join,
)
from relay.session.bridge import UPSTREAM_LABEL, ChannelBridge
from relay.session.client_ice import ClientIce, RestartAnswer, told_to_client
from relay.session.facts import facts
from relay.session.model import CallObserver, CallRequest, CallSnapshot, Phases, SessionOptions
from relay.session.opening import Answer, Offer
from relay.session.watching import Watcher, Watches
from relay.taps.facts import CallFacts, EndFacts
from relay.upstream.provider import Upstream, UpstreamOffer

LAST_WORD_TIMEOUT_S: Final = 1.0
LEG_TIMEOUT_SLACK_S: Final = 1.0
"""The life cycle's deadline comes first and names the leg; the leg's own is a backstop."""

_CHANGES: Final[dict[LegState, LegChange]] = {
    LegState.CONNECTED: "connected",
    LegState.DISCONNECTED: "disconnected",
    LegState.FAILED: "failed",
    LegState.CLOSED: "closed",
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Resources:
    """What the calls of a process share; `app` owns them."""

    upstream: Upstream
    sockets: Sockets
    certificates: CertificateStore
    options: SessionOptions
    observer: CallObserver | None = None
    watchers: tuple[Watcher, ...] = ()


class Call:
    """Made by `Calls`, which owns its `run()`. `answer` and `ice` are there once `answered()` has
    returned."""

    def __init__(
        self, call_id: CallId, owner: str, credential: str | None, resources: Resources
    ) -> None:
        self.id: CallId = call_id
        self.owner = owner
        self.answer = ""
        self._ice: ClientIce | None = None
        self._credential = credential
        self._resources = resources
        self._options = resources.options
        self._log = log.bind(session_id=call_id)
        self._started = self._answered_at = time.monotonic()
        self._started_at = datetime.now(UTC)
        self._phases = Phases()
        self._lifecycle = Lifecycle(self._started, self._options.timeouts)
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None
        self._bridge = ChannelBridge(self._options.channel, self._handle, self._log)
        self._legs: dict[LegName, Leg] = {}
        self._leg_reasons: dict[LegName, str] = {}
        self._seen_packets = 0
        self._upstream_call_id: str | None = None
        self._upstream_status: int | None = None
        self._last_word: TellClient | None = None
        self._hangs_up = False
        self._final: CallSnapshot | None = None
        self._over = asyncio.Event()
        self._answering: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._steps: list[asyncio.Task[None]] = []
        self._tasks = asyncio.TaskGroup()
        self._watches = Watches()
        self._translator: Translator | None = None
        self._codecs: Mapping[int, Codec] = {}

    # -- what `Calls` and requests do with it

    async def answered(self) -> None:
        """Until the answer is there. Raises why there is none; cancelled, it ends the call."""
        try:
            await self._answering
        except asyncio.CancelledError:
            self._handle(OpeningFailed("client_vanished", abandoned=True))
            raise

    @property
    def ice(self) -> ClientIce:
        assert self._ice is not None, "there is an answer"
        return self._ice

    def patch(self, text: str, tags: Collection[str] | None) -> RestartAnswer | None:
        """Trickle, or an ICE restart: see `ClientIce.patch`. Raises NotFound, too: it is over."""
        if not self.is_up:
            raise NotFound("There is no such call.")
        before = self.ice.restarts
        answer = self.ice.patch(text, tags)
        if self.ice.restarts > before:
            self._log.info("leg.restarted", leg="client", restarts=self.ice.restarts)
            self._handle(Restarted("client"))
        return answer

    def hang_up(self, by: HungUpBy) -> None:
        """Starts the end, which is over when `run()` is. Again, or too late, is fine."""
        self._handle(HungUp(by))

    def inject(self, message: str) -> None:
        """Sends the upstream an event of the operator's, in turn with the client's. Raises Conflict
        where the call has no channel for it."""
        if not self.is_up or not self._bridge.takes_events:
            raise Conflict("The call takes no event now: it has no open data channel.")
        self._bridge.inject(message)

    @property
    def voices(self) -> tuple[Translator, Mapping[int, Codec]]:
        """The packet path and what its payload types mean, for who listens in. Raises Conflict
        where there is nothing to hear."""
        if self._translator is None or not self._codecs:
            raise Conflict("There is no voice in this call.")
        return self._translator, self._codecs

    @property
    def is_up(self) -> bool:
        """Whether it has an answer and no end yet."""
        return self._lifecycle.state in (State.CONNECTING, State.LIVE)

    def snapshot(self) -> CallSnapshot:
        """What is known of the call at this moment; an ended one stays as it was at its end."""
        if self._final is not None:
            return replace(self._final, state=self._lifecycle.state)
        stats = {name: leg.stats() for name, leg in self._legs.items()}
        up, down = self._bridge.counts
        return CallSnapshot(
            id=self.id,
            owner=self.owner,
            upstream_call_id=self._upstream_call_id,
            upstream_status=self._upstream_status,
            state=self._lifecycle.state,
            end=self._lifecycle.end,
            started_at=self._started_at,
            duration_s=time.monotonic() - self._started,
            phases_ms=self._measured(),
            leg_reasons=dict(self._leg_reasons),
            restarts=self._ice.restarts if self._ice else 0,
            client=stats.get("client"),
            upstream=stats.get("upstream"),
            up=replace(up),
            down=replace(down),
            added_latency_ms=self._timed_ms(),
        )

    def _timed_ms(self) -> Histogram:
        return Histogram() if self._translator is None else self._translator.added_latency_ms.copy()

    # -- its life

    async def run(self, request: CallRequest, offer: Offer) -> None:
        """The whole call. Returns when nothing of it is left; cancelling hurries the end."""
        try:
            async with self._tasks:
                opening = self._spawn(self._open(request, offer))
                await self._over.wait()
                await asyncio.gather(self._leave_client(), self._leave_upstream(opening))
                for step in self._steps:
                    step.cancel()
        finally:
            self._handle(HungUp("shutdown"))  # where it was cancelled before it was over
            self._bridge.close()
            await asyncio.gather(*(leg.close() for leg in self._legs.values()))
            self._handle(Released())
            self._log.info("session.ended", **facts(self.snapshot()))

    def _spawn(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(self._guarded(step))
        self._steps.append(task)
        return task

    async def _guarded(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except Exception as error:
            self._log.exception("session.broke")
            self._fail(error, Broke())

    def _fail(self, error: Exception, event: OpeningFailed | Broke) -> None:
        if not self._answering.done():
            self._answering.set_exception(error)
        self._handle(event)

    # Opening

    async def _open(self, request: CallRequest, offer: Offer) -> None:
        try:
            await self._exchange(request, offer)
        except RelayError as error:
            if isinstance(error, UpstreamRefused):
                self._upstream_status = error.status
            self._fail(error, OpeningFailed(error.code))

    async def _exchange(self, request: CallRequest, offer: Offer) -> None:
        """The offer goes up, and while the upstream thinks, the client's leg is made."""
        if self._over.is_set():
            return
        limit = self._options.channel.max_message_bytes
        upstream = self._new_leg("upstream", offers=True)
        if offer.has_channel:
            self._bridge.join_upstream(upstream.create_channel(UPSTREAM_LABEL))
        sdp = offer.for_upstream(await upstream.gather(), max_message_bytes=limit)
        posting = asyncio.create_task(self._post(request, sdp))
        try:
            await asyncio.sleep(0)  # the POST leaves first
            client = self._client_leg(request.dcid if offer.has_channel else None)
            await client.gather()
            self._phases.gather = self._ms_since(self._started)
            answer = offer.answered(await posting)
        finally:
            posting.cancel()
            await asyncio.wait({posting})
        self._answer_client(client, answer)
        if not self._over.is_set():
            self._connect(request, answer)

    def _answer_client(self, leg: Leg, answer: Answer) -> None:
        """What takes time to be gathered, and was not meanwhile, trickles."""
        limit = self._options.channel.max_message_bytes
        self.answer = answer.for_client(told_to_client(leg), max_message_bytes=limit)
        mids = [section.mid for section in answer.client.sections if section.mid is not None]
        carrier = answer.client.carrier.mid or ""
        self._ice = ClientIce(leg, answer.client_transport, mids, carrier)

    async def _post(self, request: CallRequest, sdp: str) -> str:
        offer = UpstreamOffer(
            sdp, request.model, request.session, self._credential, request.headers
        )
        answered = await self._resources.upstream.open_call(
            offer, timeout_s=self._options.connect_timeout_s
        )
        self._upstream_call_id = answered.call_id
        self._phases.upstream = answered.elapsed_s * 1000
        return answered.sdp

    def _new_leg(self, name: LegName, *, offers: bool) -> Leg:
        resources = self._resources
        leg = Leg(name, resources.sockets, resources.certificates.current(), offers=offers)
        leg.on_state = partial(self._leg_changed, name)
        leg.on_path = partial(self._path_changed, name)
        self._legs[name] = leg
        return leg

    def _client_leg(self, dcid: int | None) -> Leg:
        leg = self._new_leg("client", offers=False)
        leg.on_channel = self._bridge.join_client
        if dcid is not None:
            self._bridge.join_client(leg.create_channel(UPSTREAM_LABEL, negotiated_id=dcid))
        return leg

    # Connecting

    def _connect(self, request: CallRequest, answer: Answer) -> None:
        """The client has what it needs; both legs connect side by side, and nobody waits."""
        client, upstream = self._legs["client"], self._legs["upstream"]
        for leg in (client, upstream):
            leg.packets.inbound.clock_rates = answer.clock_rates
        self._translator = join(client, upstream)
        self._codecs = answer.audio_codecs["up"]
        self._answered_at = time.monotonic()
        self._phases.answered = self._ms_since(self._started)
        self._begin_watching(request, answer)
        self._handle(Answered())
        if not self._answering.done():
            self._answering.set_result(None)
        # The upstream first: its `session.created` is what a client waits for.
        self._spawn(self._connect_leg(upstream, answer.upstream.transport, answer.upstream.sctp))
        self._spawn(self._connect_leg(client, answer.client_transport, answer.client_sctp))

    def _begin_watching(self, request: CallRequest, answer: Answer) -> None:
        assert self._translator is not None
        facts = CallFacts(
            id=self.id,
            started_s=self._started,
            started_at=self._started_at,
            codecs=answer.audio_codecs,
            owner=self.owner,
            key_id=request.principal.key_id,
            model=request.model,
            upstream_call_id=self._upstream_call_id,
        )
        for tap in self._watches.begin(self._resources.watchers, facts):
            self._translator.add_tap(tap)
        self._bridge.watch(self._watches.event)

    async def _connect_leg(self, leg: Leg, remote: Transport, sctp: Sctp | None) -> None:
        timeout_s = self._options.connect_timeout_s + LEG_TIMEOUT_SLACK_S
        with suppress(LegFailed):  # on_state has told
            await leg.connect(remote, sctp, timeout_s=timeout_s)

    def _leg_changed(self, name: LegName, state: LegState, reason: str) -> None:
        if self._over.is_set():
            return
        self._log.debug("leg.changed", leg=name, state=state, reason=reason)
        if reason:
            self._leg_reasons[name] = reason
        if state is LegState.CONNECTED:
            self._phases.connected(name, self._ms_since(self._answered_at))
        if state is LegState.FAILED and reason == "consent_expired":
            self._handle(LegChanged(name, "expired"))
        elif state in _CHANGES:
            self._handle(LegChanged(name, _CHANGES[state]))

    def _path_changed(self, name: LegName, path: Path) -> None:
        types = f"{path.local_type}/{path.remote_type}"
        self._log.info("leg.path_changed", leg=name, pair=types, transport=path.transport)
        if self._resources.observer is not None:
            self._resources.observer.path_selected(name, types, path.transport)

    # Events, actions and the clock

    def _handle(self, event: Event) -> None:
        now = time.monotonic()
        for action in self._lifecycle.handle(event, now):
            match action:
                case TellClient():
                    self._last_word = action
                case HangUpUpstream():
                    self._hangs_up = True
                case End():
                    self._finish()
        self._arm(now)

    def _finish(self) -> None:
        if not self._answering.done():
            self._answering.set_exception(
                Overloaded("The relay is shutting down.", retry_after_s=5.0)
            )
        self._final = self.snapshot()
        self._end_watching(self._final)
        self._over.set()

    def _end_watching(self, final: CallSnapshot) -> None:
        assert final.end is not None
        details = facts(final)
        self._watches.end(
            EndFacts(time.monotonic(), str(final.end.outcome), final.end.reason, details)
        )

    def _arm(self, now: float) -> None:
        deadline = self._lifecycle.deadline
        if deadline == self._armed_for:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, deadline - now), self._deadline_reached)
        self._armed_for = deadline

    def _deadline_reached(self) -> None:
        self._armed_for = None  # a timer may be early by its clock's resolution
        active_at = self._last_activity()
        if active_at is not None:
            self._lifecycle.handle(Active(), active_at)
        self._handle(TimePassed())

    def _last_activity(self) -> float | None:
        """When the call was last in use, as far as is known: messages, or packets without them."""
        if self._bridge.active_at is not None:
            return self._bridge.active_at
        packets = self._legs["client"].packets.inbound.packets
        seen, self._seen_packets = self._seen_packets, packets
        return time.monotonic() if packets > seen else None

    def _measured(self) -> Phases:
        """The phases, with what only the legs know: when their first packet came."""
        phases = replace(self._phases)
        for name, leg in self._legs.items():
            at = leg.packets.inbound.first_packet_at
            if at is not None:
                phases.heard(name, (at - self._answered_at) * 1000)
        return phases

    @staticmethod
    def _ms_since(started: float) -> float:
        return (time.monotonic() - started) * 1000

    # The end

    async def _leave_client(self) -> None:
        word = self._last_word
        if word is not None:
            await self._bridge.tell_client(word.code, word.message, timeout_s=LAST_WORD_TIMEOUT_S)
        self._bridge.close()
        if "client" in self._legs:
            await self._legs["client"].close()

    async def _leave_upstream(self, opening: asyncio.Task[None]) -> None:
        timeout_s = self._options.hang_up_timeout_s
        if not opening.done():
            # A call that is just being opened has no id yet; given up now, it would stay there.
            await asyncio.wait({opening}, timeout=timeout_s)
        closing = [leg.close() for name, leg in self._legs.items() if name == "upstream"]
        await asyncio.gather(self._hang_up(timeout_s), *closing)

    async def _hang_up(self, timeout_s: float) -> None:
        if not self._hangs_up or self._upstream_call_id is None:
            return
        try:
            await self._resources.upstream.hang_up(
                self._upstream_call_id, credential=self._credential, timeout_s=timeout_s
            )
        except RelayError as error:
            self._log.warning("upstream.hang_up_failed", error=error.message)
