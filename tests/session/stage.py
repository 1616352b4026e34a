"""A relay's calls between browsers and a far end, all real: HTTP, ICE, DTLS, SCTP on loopback.

The far end speaks as OpenAI does (the simulator's own answer, ICE-lite, `setup:active`), but what
it says and when is the test's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from relay.core.consent import ConsentTiming
from relay.core.errors import NotFound
from relay.core.lifecycle import HungUpBy
from relay.core.principal import Principal
from relay.core.sdp import Description, Setup, Transport
from relay.rtc import CertificateStore, Channel, IceOptions, Leg, LegFailed, Sockets
from relay.session.call import Call
from relay.session.calls import Calls
from relay.session.model import CallRequest, CallSnapshot, SessionOptions
from relay.simulator.answer import read_offer, render_answer
from relay.upstream.http import HttpOptions
from relay.upstream.openai import OpenAIOptions, OpenAIUpstream
from tests.rtc.network import Link

LOOPBACK = IceOptions(bind=("127.0.0.1",), allow_private_candidates=True)
QUICK_CONSENT = ConsentTiming(check_interval_s=0.1, disconnected_after_s=0.3, expired_after_s=60)
RELAY_ICE = replace(LOOPBACK, consent=QUICK_CONSENT)
ANYBODY = Principal(kind="anonymous", owner="anonymous")
TIMEOUT_S = 5.0
KEY = "sk-test-0123456789"

_LEG_LINES = [
    "c=IN IP4 0.0.0.0",
    "a=ice-ufrag:placeholder",
    "a=ice-pwd:placeholderplaceholder",
    f"a=fingerprint:sha-256 {':'.join(['00'] * 32)}",
    "a=setup:actpass",
]
_VIDEO = [
    "m=video 9 UDP/TLS/RTP/SAVPF 96",
    *_LEG_LINES,
    "a=mid:v",
    "a=sendrecv",
    "a=rtcp-mux",
    "a=rtpmap:96 VP8/90000",
]
_AUDIO = [
    "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    *_LEG_LINES,
    "a=mid:a",
    "a=sendrecv",
    "a=rtcp-mux",
    "a=rtpmap:111 opus/48000/2",
]


def offer_text(*, audio: bool = True, video: bool = False, data_bytes: int | None = 262_144) -> str:
    """A browser's offer, its leg's lines still placeholders. `data_bytes` None: no data channel."""
    sections = {"a": _AUDIO if audio else [], "v": _VIDEO if video else [], "d": []}
    if data_bytes is not None:
        sections["d"] = [
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            *_LEG_LINES,
            "a=mid:d",
            "a=sctp-port:5000",
            f"a=max-message-size:{data_bytes}",
        ]
    mids = " ".join(mid for mid, lines in sections.items() if lines)
    session = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", f"a=group:BUNDLE {mids}"]
    lines = [*session, *(line for lines in sections.values() for line in lines)]
    return "".join(f"{line}\r\n" for line in lines)


class Inbox:
    """What a channel received, in order, and whether it is over."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.messages: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.opened = asyncio.Event()
        channel.on_message = self.messages.put_nowait
        channel.on_close = self.closed.set
        channel.on_open = self.opened.set
        if channel.state == "open":
            self.opened.set()

    async def take(self) -> str | bytes:
        return await asyncio.wait_for(self.messages.get(), TIMEOUT_S)

    async def open(self) -> Channel:
        await asyncio.wait_for(self.opened.wait(), TIMEOUT_S)
        return self.channel


class States:
    """The states of a leg, to be waited for."""

    def __init__(self, leg: Leg) -> None:
        self._events: dict[str, asyncio.Event] = {}
        leg.on_state = lambda state, _reason: self._event(state).set()

    async def wait_for(self, state: str) -> None:
        await asyncio.wait_for(self._event(state).wait(), TIMEOUT_S)

    def _event(self, state: str) -> asyncio.Event:
        return self._events.setdefault(str(state), asyncio.Event())


class Browser:
    """A client as seen from the network: its leg offers, without candidates."""

    def __init__(self, sockets: Sockets, certificates: CertificateStore) -> None:
        self.leg = Leg("upstream", sockets, certificates.current(), offers=True)
        self.states = States(self.leg)
        self.reach: Callable[[Transport], Transport] = lambda transport: transport
        self._offer: Description | None = None

    def channel(self, label: str = "oai-events", *, negotiated_id: int | None = None) -> Inbox:
        return Inbox(self.leg.create_channel(label, negotiated_id=negotiated_id))

    async def offer(self, *, setup: Setup = Setup.ACTPASS, **sections: Any) -> str:
        ours = replace(await self.leg.gather(), setup=setup)
        description = Description.parse(offer_text(**sections))
        text = description.render(ours, max_message_size=None)
        self._offer = Description.parse(text)
        return text

    async def connect(self, answer: str) -> Description:
        """Takes the answer; returns it when the leg is connected. Raises LegFailed."""
        assert self._offer is not None
        parsed = Description.parse_answer(answer, self._offer)
        remote = self.reach(parsed.transport)
        await self.leg.connect(remote, parsed.sctp, timeout_s=TIMEOUT_S)
        return parsed


@dataclass(slots=True)
class FarCall:
    """One call at the far end."""

    id: str
    leg: Leg
    states: States
    offer: str
    session: str
    inbox: asyncio.Future[Inbox] = field(repr=False)
    connecting: asyncio.Task[None] | None = None

    async def channel(self) -> Inbox:
        return await asyncio.wait_for(asyncio.shield(self.inbox), TIMEOUT_S)


Answering = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class FarEnd:
    """The upstream's HTTP and media.

    `before_answer` and `before_hang_up` may answer otherwise, or wait; legs connect once `connects`
    is set; `location` "" leaves the header out.
    """

    def __init__(self, sockets: Sockets, certificates: CertificateStore) -> None:
        self._sockets = sockets
        self._certificates = certificates
        self.calls: asyncio.Queue[FarCall] = asyncio.Queue()
        self.all: list[FarCall] = []
        self.posts = 0
        self.posted = asyncio.Event()
        self.hung_up: asyncio.Queue[str] = asyncio.Queue()
        self.before_answer: Answering | None = None
        self.before_hang_up: Answering | None = None
        self.connects = asyncio.Event()
        self.connects.set()
        self.setup = Setup.ACTIVE
        self.max_message_bytes: int | None = None
        self.location = "/v1/realtime/calls/"

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/realtime/calls", self._create)
        app.router.add_post("/v1/realtime/calls/{id}/hangup", self._hang_up)
        return app

    async def next_call(self) -> FarCall:
        return await asyncio.wait_for(self.calls.get(), TIMEOUT_S)

    async def next_hang_up(self) -> str:
        return await asyncio.wait_for(self.hung_up.get(), TIMEOUT_S)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        self.posts += 1
        self.posted.set()
        if self.before_answer is not None:
            response = await self.before_answer(request)
            if response is not None:
                return response
        text, session = await _read(request)
        call = self._new_call(text, session)
        negotiation = read_offer(text, audio_ssrc=1, video_ssrcs=(2, 3))
        ours = replace(await call.leg.gather(), setup=self.setup)
        answer = render_answer(negotiation, ours, session_id=7)
        if self.max_message_bytes is not None:
            answer = answer.replace("1073741823", str(self.max_message_bytes))
        call.connecting = asyncio.create_task(self._connect(call, negotiation.offer))
        self.all.append(call)
        self.calls.put_nowait(call)
        headers = {"Location": f"{self.location}{call.id}"} if self.location else {}
        return web.Response(
            status=201, body=answer.encode(), content_type="application/sdp", headers=headers
        )

    def _new_call(self, offer: str, session: str) -> FarCall:
        leg = Leg(
            "client",
            self._sockets,
            self._certificates.current(),
            offers=False,
            lite=True,
            require_use_candidate=True,
        )
        inbox: asyncio.Future[Inbox] = asyncio.get_running_loop().create_future()
        leg.on_channel = lambda channel: inbox.set_result(Inbox(channel))
        return FarCall(f"rtc_far_{self.posts}", leg, States(leg), offer, session, inbox)

    async def _connect(self, call: FarCall, offer: Description) -> None:
        await self.connects.wait()
        # The leg takes the other role than what it reads of its peer.
        theirs = Setup.ACTIVE if self.setup is Setup.PASSIVE else Setup.PASSIVE
        remote = replace(offer.transport, setup=theirs)
        with suppress(LegFailed):
            await call.leg.connect(remote, offer.sctp, timeout_s=TIMEOUT_S)

    async def _hang_up(self, request: web.Request) -> web.StreamResponse:
        self.hung_up.put_nowait(request.match_info["id"])
        if self.before_hang_up is not None:
            response = await self.before_hang_up(request)
            if response is not None:
                return response
        return web.Response()

    async def close(self) -> None:
        for call in self.all:
            if call.connecting is not None:
                call.connecting.cancel()
                await asyncio.gather(call.connecting, return_exceptions=True)
            await call.leg.close()


class Counted:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.setups: list[float] = []
        self.outcomes: list[str] = []
        self.paths: list[tuple[str, str, str]] = []

    def call_answered(self, setup_s: float) -> None:
        self.setups.append(setup_s)

    def call_ended(self, outcome: str) -> None:
        self.outcomes.append(outcome)

    def path_selected(self, leg: str, types: str, transport: str) -> None:
        self.paths.append((leg, types, transport))


class Stage:
    """Everything of one test; closes with it."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._certificates = CertificateStore()
        self.counted = Counted()
        self.calls: Calls

    async def start(
        self,
        options: SessionOptions,
        upstream_url: str | None = None,
        ice: IceOptions = RELAY_ICE,
    ) -> None:
        self.far = FarEnd(self.sockets(), self._certificates)
        self._stack.push_async_callback(self.far.close)
        runner = web.AppRunner(
            self.far.application(), handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        http = HttpOptions(upstream_url or url, warm_interval_s=None)
        upstream = OpenAIUpstream(OpenAIOptions(KEY, http))
        self._stack.push_async_callback(upstream.close)
        sockets = self.sockets(ice)
        self.calls = Calls(upstream, sockets, self._certificates, options, self.counted)
        self._stack.push_async_callback(self.calls.close)

    def sockets(self, options: IceOptions = LOOPBACK) -> Sockets:
        sockets = Sockets(options)
        sockets.open()
        self._stack.callback(sockets.close)
        return sockets

    def browser(self) -> Browser:
        browser = Browser(self.sockets(), self._certificates)
        self._stack.push_async_callback(browser.leg.close)
        return browser

    def link(self) -> Link:
        """A path that can be cut; `browser.reach = link.hide` puts it in between."""
        link = Link()
        self._stack.callback(link.close)
        return link

    async def open(
        self,
        browser: Browser,
        *,
        dcid: int | None = None,
        principal: Principal = ANYBODY,
        **sections: Any,
    ) -> Call:
        offer = await browser.offer(**sections)
        return await self.calls.create(CallRequest(offer, principal, dcid=dcid))

    async def live(self, browser: Browser | None = None, **sections: Any) -> Live:
        """A whole call, channels open."""
        browser = browser or self.browser()
        inbox = browser.channel()
        call = await self.open(browser, **sections)
        far = await self.far.next_call()
        await browser.connect(call.answer)
        await inbox.open()
        theirs = await far.channel()
        await far.states.wait_for("connected")
        return Live(call, browser, inbox, far, theirs)

    async def hang_up(self, call: Call, by: HungUpBy = "client") -> None:
        await asyncio.wait_for(self.calls.hang_up(call, by), TIMEOUT_S)

    async def until_over(self, call: Call) -> CallSnapshot:
        """Until the call has ended by itself and nothing of it is left."""
        await asyncio.wait_for(self.calls.finished(call), TIMEOUT_S)
        return call.snapshot()

    async def until_empty(self) -> None:
        """Until no call is left, answered or not."""
        async with asyncio.timeout(TIMEOUT_S):
            while self.calls.live_count():  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.005)


@dataclass(frozen=True, slots=True)
class Live:
    call: Call
    browser: Browser
    client: Inbox
    far: FarCall
    upstream: Inbox


async def _read(request: web.Request) -> tuple[str, str]:
    """The offer and the session; a client's own token carries its session."""
    if request.content_type == "application/sdp":
        return await request.text(), ""
    form = await request.post()
    return _text(form["sdp"]), _text(form["session"])


def _text(field: Any) -> str:
    assert isinstance(field, bytearray)  # what aiohttp makes of a part that has a type
    return field.decode()


def is_found(calls: Calls, call: Call, principal: Principal = ANYBODY) -> bool:
    try:
        return calls.find(call.id, principal) is call
    except NotFound:
        return False
