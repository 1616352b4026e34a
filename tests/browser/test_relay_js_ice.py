"""relay.js and ICE: trickle both ways, restarts, TURN servers, and servers that know none of it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Page, Request, Route

from tests.browser import demo_site
from tests.browser.conftest import OpenPage
from tests.browser.demo_site import CALL_PATH, Signalling, until

HERE = Path(__file__).parent
CALLER = (HERE / "demo_caller.js").read_text()
FAR_ICE = (HERE / "far_ice.js").read_text()
SDPFRAG = "application/trickle-ice-sdpfrag"
LINK = '<turn:192.0.2.7:3478?transport=tcp>; rel="ice-server"; username="9:u"; credential="a+/b="'


@dataclass
class WhipSignalling(Signalling):
    """A far end that takes PATCH: `statuses` are what the next restarts get instead of 200."""

    answer_headers: dict[str, str] = field(
        default_factory=lambda: {"ETag": '"first"', "Accept-Patch": SDPFRAG}
    )
    patches: list[Request] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    trickle_status: int = 204
    late_candidates: str = ""
    spoiled: bool = False
    """Whether the answer's password is wrong, so that no path is found."""

    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        await super().start()
        await self.page.add_init_script(FAR_ICE)
        await self.page.route(f"**{CALL_PATH}", self._patch)
        await self.page.route(f"**{CALL_PATH}/candidates", self._candidates)

    @property
    def restarts(self) -> list[Request]:
        return [patch for patch in self.patches if patch.headers["if-match"] == "*"]

    async def _answer(self, route: Route) -> None:
        self.offers.append(route.request)
        answer: str = await self.page.evaluate("(sdp) => far.answer(sdp)", route.request.post_data)
        if self.spoiled:
            answer = re.sub(r"(?m)^a=ice-pwd:.*$", "a=ice-pwd:" + "x" * 24, answer)
        headers = {"Content-Type": "application/sdp", "Location": CALL_PATH, **self.answer_headers}
        await route.fulfill(status=201, body=answer, headers=headers)

    async def _patch(self, route: Route) -> None:
        self.patches.append(route.request)
        if route.request.headers["if-match"] != "*":
            await route.fulfill(status=self.trickle_status)
        elif self.statuses:
            await route.fulfill(status=self.statuses.pop(0))
        else:
            frag = await self.page.evaluate("(f) => far.restart(f)", route.request.post_data)
            headers = {"Content-Type": SDPFRAG, "ETag": f'"{len(self.restarts)}. restart"'}
            await route.fulfill(status=200, body=frag, headers=headers)
        self.news.set()

    async def told(self, text: str, tag: str = '"first"') -> None:
        """Waits for a PATCH of that tag with `text` in it."""
        async with asyncio.timeout(10):
            while not any(
                text in (patch.post_data or "") and patch.headers["if-match"] == tag
                for patch in self.patches
            ):
                self.news.clear()
                await self.news.wait()

    async def _candidates(self, route: Route) -> None:
        headers = {"Content-Type": "text/event-stream"}
        await route.fulfill(status=200, body=self.late_candidates, headers=headers)


@pytest.fixture
async def far(open_page: OpenPage) -> AsyncIterator[WhipSignalling]:
    page = await open_page()
    signalling = WhipSignalling(page)
    await signalling.start()
    await page.add_init_script(CALLER)
    async with demo_site.serving() as site:
        await page.goto(site.origin)
        yield signalling
        await signalling.close()


async def states(page: Page) -> list[str]:
    told: list[str] = await page.evaluate("caller.states")
    return told


async def come_online(page: Page) -> None:
    await page.evaluate("window.dispatchEvent(new Event('online'))")


async def events_pass(far: WhipSignalling) -> bool:
    """Whether an event gets there, and one back."""
    await far.page.evaluate("far.events = []; caller.events = []; caller.send({ type: 'ping' })")
    await until(far.page, "far.events.length === 1")
    await far.say({"type": "pong"})
    await until(far.page, "caller.events.length === 1")
    return True


def ufrag(text: str) -> str:
    found = re.search(r"(?m)^a=ice-ufrag:(\S+)", text)
    assert found
    return found[1]


async def test_candidates_when_gathered_are_told_a_few_at_a_time(far: WhipSignalling) -> None:
    await far.page.evaluate("caller.connect({ token: 'ek_test' })")
    await far.told("a=end-of-candidates")

    bodies = [patch.post_data or "" for patch in far.patches]
    offer = far.offers[0].post_data or ""
    assert "a=candidate:" in "".join(bodies)
    assert bodies[-1].endswith("a=end-of-candidates\r\n")
    for patch, body in zip(far.patches, bodies, strict=True):
        assert patch.headers["content-type"] == SDPFRAG
        assert patch.headers["if-match"] == '"first"'
        assert patch.headers["authorization"] == "Bearer ek_test"
        assert ufrag(body) == ufrag(offer)
        assert "\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n" in body


async def test_candidates_when_not_wanted_are_kept_and_the_call_goes_on(
    far: WhipSignalling,
) -> None:
    far.trickle_status = 405

    await far.page.evaluate("caller.connect()")
    await until(far.page, "caller.call.pc.iceGatheringState === 'complete'")

    assert await events_pass(far)
    assert len(far.patches) == 1


async def test_candidates_of_the_server_that_come_late_are_heard(far: WhipSignalling) -> None:
    candidate = "candidate:1 1 udp 2130706431 192.0.2.9 9 typ host"
    far.late_candidates = (
        "event: candidates\r\ndata: m=audio 9 UDP/TLS/RTP/SAVPF 0\r\ndata: a=mid:0\r\n"
        f"data: a={candidate}\r\n\r\n"
        "data: a=end-of-candidates\r\n\r\n"
    )

    await far.page.evaluate("caller.connect()")

    await until(far.page, "caller.call.pc.remoteDescription.sdp.includes('192.0.2.9')")


async def test_server_without_patch_gets_one_post(far: WhipSignalling) -> None:
    far.answer_headers = {"ETag": '"first"', "Link": LINK}

    await far.page.evaluate("caller.connect()")
    await until(far.page, "caller.call.pc.iceGatheringState === 'complete'")
    await come_online(far.page)

    assert await events_pass(far)
    assert far.patches == []
    assert await states(far.page) == ["calling", "connecting", "connected"]


async def test_call_that_comes_online_restarts_and_goes_on(far: WhipSignalling) -> None:
    await far.page.evaluate("caller.connect({ token: 'ek_test' })")
    before = await far.page.evaluate("caller.call.pc.remoteDescription.sdp")

    await come_online(far.page)
    await until(far.page, "caller.states.at(-1) === 'connected' && caller.states.length === 5")

    assert await states(far.page) == [
        "calling",
        "connecting",
        "connected",
        "reconnecting",
        "connected",
    ]
    (restart,) = far.restarts
    assert restart.headers["authorization"] == "Bearer ek_test"
    assert ufrag(restart.post_data or "") != ufrag(far.offers[0].post_data or "")
    after = await far.page.evaluate("caller.call.pc.remoteDescription.sdp")
    assert ufrag(after) != ufrag(before)
    assert await far.page.evaluate("caller.call.pc.signalingState") == "stable"
    assert await events_pass(far)
    await far.told("a=end-of-candidates", '"1. restart"')


async def test_restart_when_the_server_is_busy_is_tried_again(far: WhipSignalling) -> None:
    far.statuses = [503, 429]
    await far.page.evaluate("caller.connect()")

    await come_online(far.page)
    await until(far.page, "caller.states.at(-1) === 'connected' && caller.states.length === 5")

    assert len({ufrag(restart.post_data or "") for restart in far.restarts}) == 3
    assert await events_pass(far)


@pytest.mark.parametrize("status", [404, 405, 422, 501])
async def test_restart_when_refused_leaves_the_call_as_it_is(
    far: WhipSignalling, status: int
) -> None:
    far.statuses = [status]
    await far.page.evaluate("caller.connect()")

    await come_online(far.page)
    await until(far.page, "caller.states.at(-1) === 'connected' && caller.states.length === 5")
    await come_online(far.page)

    assert await events_pass(far)
    assert len(far.restarts) == 1
    assert await far.page.evaluate("caller.call.pc.signalingState") == "stable"


async def test_restart_that_never_succeeds_ends_the_call(far: WhipSignalling) -> None:
    far.statuses = [503] * 100
    await far.page.clock.install()
    await far.page.evaluate("caller.connect()")

    await come_online(far.page)
    for attempt in range(8):
        async with asyncio.timeout(10):
            while len(far.restarts) == attempt:
                far.news.clear()
                await far.news.wait()
        await far.page.evaluate("fetch('/')")  # its answer comes after that to the attempt
        await far.page.clock.run_for(4000)

    await far.page.evaluate("caller.call.hangUp()")
    assert (await states(far.page))[-2:] == ["reconnecting", "failed: connection_failed"]
    assert len(far.restarts) == 8


async def test_restart_when_hung_up_meanwhile_ends_with_the_call(far: WhipSignalling) -> None:
    far.statuses = [503] * 8
    await far.page.evaluate("caller.connect()")
    await come_online(far.page)
    await until(far.page, "caller.states.at(-1) === 'reconnecting'")

    await far.page.evaluate("caller.call.hangUp()")

    assert (await states(far.page))[-1] == "closed"
    assert len(far.hang_ups) == 1


async def test_ice_servers_of_the_answer_are_used_where_there_is_no_other_path(
    far: WhipSignalling,
) -> None:
    far.spoiled = True
    far.answer_headers |= {"Link": f"{LINK}, <stun:192.0.2.8>; rel=ice-server"}

    error = await far.page.evaluate("caller.connect()")

    assert error is None
    assert len(far.restarts) == 1
    assert await states(far.page) == ["calling", "connecting", "connected"]
    servers = await far.page.evaluate("caller.call.pc.getConfiguration().iceServers")
    assert servers[0]["urls"] == ["turn:192.0.2.7:3478?transport=tcp"]
    assert (servers[0]["username"], servers[0]["credential"]) == ("9:u", "a+/b=")
    assert servers[1]["urls"] == ["stun:192.0.2.8"]


async def test_ice_servers_when_asked_for_come_before_the_call(far: WhipSignalling) -> None:
    server = {"urls": ["turn:192.0.2.7"], "username": "9:u", "credential": "c"}
    asked: list[Request] = []

    async def answer(route: Route) -> None:
        assert far.offers == []
        asked.append(route.request)
        await route.fulfill(status=200, body=json.dumps({"iceServers": [server]}))

    await far.page.route("**/v1/realtime/ice_servers", answer)
    await far.page.evaluate("caller.connect({ iceServers: 'relay', token: 'ek_test' })")

    assert asked[0].headers["authorization"] == "Bearer ek_test"
    servers = await far.page.evaluate("caller.call.pc.getConfiguration().iceServers")
    assert servers[0]["urls"] == server["urls"]


async def test_ice_servers_when_there_are_none_are_done_without(far: WhipSignalling) -> None:
    assert await far.page.evaluate("caller.connect({ iceServers: 'relay' })") is None  # 404
