"""A relay's calls between browsers and a far end, all real: SDP, HTTP, ICE, DTLS, SCTP on loopback.

The far end speaks as OpenAI does (the simulator's own answer, ICE-lite, `setup:active`), but what it
says and when is the test's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from relay.core.errors import NotFound
from relay.core.principal import Principal
from relay.core.sdp import Description, Transport
from relay.rtc import CertificateStore, Channel, IceOptions, Leg, Sockets
from relay.session.call import Call
from relay.session.calls import Calls
from relay.session.model import CallRequest, SessionOptions
from relay.simulator.answer import read_offer, render_answer
from relay.upstream.http import HttpOptions
from relay.upstream.openai import OpenAIOptions, OpenAIUpstream

LOOPBACK = IceOptions(bind=("127.0.0.1",), allow_private_candidates=True)
ANYBODY = Principal(kind="anonymous", owner="anonymous")
TIMEOUT_S = 5.0
KEY = "sk-test-0123456789"

_PLACEHOLDERS = Transport(
    ice_ufrag="placeholder", ice_pwd="placeholderplaceholder", fingerprints=(), setup=None  # type: ignore[arg-type]
)
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
        self._changed = asyncio.Condition()
        self._leg = leg
        self._seen: list[str] = []
        leg.on_state = self._note

    def _note(self, state: Any, _reason: str) -> None:
        self._seen.append(str(state))
        self._task = asyncio.ensure_future(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, state: str) -> None:
        async with asyncio.timeout(TIMEOUT_S), self._changed:
            await self._changed.wait_for(lambda: state in self._seen)


class Browser:
    """A client as seen from the network: its leg offers, sends no candidate, and waits for nothing."""

    def __init__(self, sockets: Sockets, certificates: CertificateStore) -> None:
        self.leg = Leg("upstream", sockets, certificates.current(), offers=True)
        self.states = States(self.leg)
        self.inbox: Inbox | None = None
        self._offer: Description | None = None

    def channel(self, label: str = "oai-events", *, negotiated_id: int | None = None) -> Inbox:
        self.inbox = Inbox(self.leg.create_channel(label, negotiated_id=negotiated_id))
        return self.inbox

    async def offer(self, **sections: Any) -> str:
        ours = await self.leg.gather()
        description = Description.parse(offer_text(**sections))
        text = description.render(ours, max_message_size=None)
        self._offer = Description.parse(text)
        return text

    async def connect(self, answer: str) -> None:
        """Takes the answer; returns when the leg is connected. Raises LegFailed."""
        assert self._offer is not None
        parsed = Description.parse_answer(answer, self._offer)
        await self.leg.connect(parsed.transport, parsed.sctp, timeout_s=TIMEOUT_S)


@dataclass(slots=True)
class FarCall:
    """One call at the far end. `release` it to let its leg connect."""

    id: str
    leg: Leg
    states: States
    offer: str
    session: bytes
    inbox: asyncio.Future[Inbox] = field(repr=False)
    connecting: asyncio.Task[None] | None = None

    async def channel(self) -> Inbox:
        return await asyncio.wait_for(asyncio.shield(self.inbox), TIMEOUT_S)


Answering = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class FarEnd:
    """The upstream's HTTP and media. `before_answer` may answer otherwise, or wait."""

    def __init__(self, sockets: Sockets, certificates: CertificateStore) -> None:
        self._sockets = sockets
        self._certificates = certificates
        self.calls: asyncio.Queue[FarCall] = asyncio.Queue()
        self.all: list[FarCall] = []
        self.posts = 0
        self.posted = asyncio.Event()
        self.hung_up: asyncio.Queue[str] = asyncio.Queue()
        self.before_answer: Answering | None = None
        self.connects = True
        self.url = ""

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
        form = await request.post()
        offer, session = form["sdp"], form["session"]
        assert isinstance(offer, bytearray | str)
        text = offer if isinstance(offer, str) else offer.decode()
        call = await self._new_call(text, bytes(session) if isinstance(session, bytearray) else b"")
        negotiation = read_offer(text, audio_ssrc=1, video_ssrc=2)
        answer = render_answer(negotiation, await call.leg.gather(), session_id=7)
        if self.connects:
            remote = negotiation.offer
            call.connecting = asyncio.create_task(
                call.leg.connect(remote.transport, remote.sctp, timeout_s=TIMEOUT_S)
            )
        self.all.append(call)
        self.calls.put_nowait(call)
        return web.Response(
            status=201,
            body=answer.encode(),
            content_type="application/sdp",
            headers={"Location": f"/v1/realtime/calls/{call.id}"},
        )

    async def _new_call(self, offer: str, session: bytes) -> FarCall:
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

    async def _hang_up(self, request: web.Request) -> web.Response:
        self.hung_up.put_nowait(request.match_info["id"])
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

    def call_answered(self, setup_s: float) -> None:
        self.setups.append(setup_s)

    def call_ended(self, outcome: str) -> None:
        self.outcomes.append(outcome)


class Stage:
    """Everything of one test; closes with it."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._certificates = CertificateStore()
        self.counted = Counted()
        self.calls: Calls

    async def start(self, options: SessionOptions, upstream_url: str | None = None) -> None:
        self.far = FarEnd(self.sockets(), self._certificates)
        self._stack.push_async_callback(self.far.close)
        runner = web.AppRunner(
            self.far.application(), handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.far.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        http = HttpOptions(upstream_url or self.far.url, warm_interval_s=None)
        upstream = OpenAIUpstream(OpenAIOptions(KEY, http))
        self._stack.push_async_callback(upstream.close)
        self.relay_sockets = self.sockets()
        self.calls = Calls(
            upstream, self.relay_sockets, self._certificates, options, self.counted
        )
        self._stack.push_async_callback(self.calls.close)

    def sockets(self) -> Sockets:
        sockets = Sockets(LOOPBACK)
        sockets.open()
        self._stack.callback(sockets.close)
        return sockets

    def browser(self) -> Browser:
        browser = Browser(self.sockets(), self._certificates)
        self._stack.push_async_callback(browser.leg.close)
        return browser

    async def open(self, browser: Browser, *, dcid: int | None = None, **sections: Any) -> Call:
        request = CallRequest(await browser.offer(**sections), ANYBODY, dcid=dcid)
        return await self.calls.create(request)

    async def live(self, **sections: Any) -> Live:
        """A whole call, channels open."""
        browser = self.browser()
        inbox = browser.channel()
        call = await self.open(browser, **sections)
        far = await self.far.next_call()
        await browser.connect(call.answer)
        await inbox.open()
        theirs = await far.channel()
        await far.states.wait_for("connected")
        return Live(call, browser, inbox, far, theirs)

    async def over(self, call: Call) -> None:
        """Until nothing of the call is left."""
        await asyncio.wait_for(self.calls.hang_up(call, "admin"), TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Live:
    call: Call
    browser: Browser
    client: Inbox
    far: FarCall
    upstream: Inbox


def is_gone(calls: Calls, call: Call) -> bool:
    try:
        calls.find(call.id, ANYBODY)
    except NotFound:
        return True
    return False


def with_setup(transport: Transport, **changes: Any) -> Transport:
    return replace(transport, **changes)
