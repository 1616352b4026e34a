"""Trickle and ICE restarts of calls on real legs: what is lost, what goes on, what ends."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from relay.core.candidate import Candidate
from relay.core.errors import NotFound, PreconditionFailed
from relay.core.lifecycle import State
from relay.core.sdp import Transport
from relay.core.sdpfrag import SdpFragment, render
from relay.rtc.ice.sockets import host_candidate
from relay.session.call import Call
from relay.session.client_ice import RestartAnswer
from tests.rtc.network import Link
from tests.rtc.packets import rtp, sequence_of
from tests.session.stage import QUICK_CONSENT, RELAY_ICE, TIMEOUT_S, Browser, Live, Stage

Staged = Callable[..., Awaitable[Stage]]
Reach = Callable[[Transport], Transport]
EXPIRING = replace(RELAY_ICE, consent=replace(QUICK_CONSENT, expired_after_s=0.7))
ANY = frozenset({"*"})
MID = "a"
SEQUENCE = itertools.count(1)


def without_candidates(transport: Transport) -> Transport:
    return replace(transport, candidates=(), end_of_candidates=False)


async def candidate_of(browser: Browser) -> Candidate:
    """Where the browser's leg listens, once it has begun to connect."""
    async with asyncio.timeout(TIMEOUT_S):
        while not browser.leg._ice._owned:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    port = browser.leg._ice._owned[0].local[1]  # type: ignore[attr-defined]
    return host_candidate("127.0.0.1", port, 1)


def trickle(call: Call, transport: Transport, *candidates: Candidate, end: bool = False) -> None:
    told = replace(transport, candidates=candidates, end_of_candidates=end)
    assert call.patch(render(told, MID), frozenset({call.ice.etag})) is None


def restart(live: Live, reach: Reach = lambda transport: transport) -> RestartAnswer:
    """restartIce(), the PATCH, and its answer, which the browser takes through `reach`."""
    leg = live.browser.leg
    answer = live.call.patch(render(without_candidates(leg.renew()), MID), ANY)
    assert answer is not None
    theirs = SdpFragment.parse(answer.fragment, [MID])
    remote = replace(
        leg.local,
        ice_ufrag=theirs.ice_ufrag or "",
        ice_pwd=theirs.ice_pwd or "",
        candidates=theirs.candidates,
    )
    leg.restart(reach(remote))
    return answer


async def until(condition: Callable[[], object]) -> None:
    """For what tells nobody that it happened."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def generations(leg: Any) -> int:
    return len(leg._ice._agents)


async def linked(stage: Stage) -> tuple[Live, Link]:
    """A call whose browser comes by way of a link."""
    browser, link = stage.browser(), stage.link()
    browser.reach = link.hide
    return await stage.live(browser), link


async def works(live: Live) -> None:
    """A message passes each way, and packets do from some moment on."""
    up, down = asyncio.Event(), asyncio.Event()
    live.far.leg.on_rtp = lambda _: up.set()
    live.browser.leg.on_rtp = lambda _: down.set()
    live.client.channel.send("up")
    live.upstream.channel.send("down")
    async with asyncio.timeout(TIMEOUT_S):
        while not (up.is_set() and down.is_set()):
            live.browser.leg.send_rtp(rtp(next(SEQUENCE)))
            live.far.leg.send_rtp(rtp(next(SEQUENCE)))
            await asyncio.sleep(0.01)
    assert await live.upstream.take() == "up"
    assert await live.client.take() == "down"


# --- trickle ---


async def test_trickle_alone_connects_a_browser_that_cannot_see_us(stage: Stage) -> None:
    browser = stage.browser()
    browser.reach = without_candidates
    inbox = browser.channel()
    call = await stage.open(browser)
    connecting = asyncio.ensure_future(browser.connect(call.answer))

    trickle(call, browser.leg.local, await candidate_of(browser), end=True)
    await asyncio.wait_for(connecting, TIMEOUT_S)

    await inbox.open()
    client = call.snapshot().client
    assert client is not None
    assert client.pair_types == ("host", "host")


async def test_trickle_after_the_connection_changes_nothing(stage: Stage) -> None:
    live = await stage.live()

    for port in range(40000, 40010):
        trickle(live.call, live.browser.leg.local, host_candidate("127.0.0.1", port, 1))
    trickle(live.call, live.browser.leg.local, end=True)

    await works(live)
    snapshot = live.call.snapshot()
    assert snapshot.state is State.LIVE
    assert snapshot.client is not None
    assert snapshot.client.paths == 1


async def test_trickle_of_thousands_checks_a_few(stage: Stage) -> None:
    live = await stage.live()

    for first in range(20000, 22000, 50):
        candidates = (host_candidate("127.0.0.1", first + n, 1) for n in range(50))
        trickle(live.call, live.browser.leg.local, *candidates)

    await works(live)
    client = live.call.snapshot().client
    assert client is not None
    assert client.drops["candidate_ignored"] == 2000 - 50


# --- restarts ---


async def test_restart_loses_no_message_and_no_packet(
    stage: Stage, record_property: Callable[[str, object], None]
) -> None:
    live, old = await linked(stage)
    heard: list[tuple[float, int]] = []
    live.far.leg.on_rtp = lambda packet: heard.append((time.monotonic(), sequence_of(packet)))
    client = live.call._legs["client"]
    etag = live.call.ice.etag

    answer = restart(live)
    sent = 0
    while generations(client) > 1 or generations(live.browser.leg) > 1:
        live.browser.leg.send_rtp(rtp(sent))
        live.client.channel.send(f"{sent}")
        live.upstream.channel.send(f"{sent}")
        sent += 1
        await asyncio.sleep(0.01)
    old.cut()
    live.browser.leg.send_rtp(rtp(sent))

    expected = [f"{n}" for n in range(sent)]
    assert [await live.upstream.take() for _ in expected] == expected
    assert [await live.client.take() for _ in expected] == expected
    await until(lambda: len(heard) == sent + 1)
    assert [sequence for _, sequence in heard] == list(range(sent + 1))
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(heard)]
    record_property("longest_gap_ms", round(max(gaps) * 1000, 1))
    snapshot = live.call.snapshot()
    assert answer.etag == live.call.ice.etag != etag
    assert (snapshot.state, snapshot.restarts) == (State.LIVE, 1)
    assert snapshot.client is not None
    assert snapshot.client.paths == 2


async def test_restart_brings_back_a_call_that_lost_its_path(stage: Stage) -> None:
    live, old = await linked(stage)
    old.cut()
    await until(lambda: live.call.snapshot().leg_reasons.get("client") == "no_consent_answer")
    live.client.channel.send("said while nobody heard")

    restart(live)

    assert await live.upstream.take() == "said while nobody heard"
    await works(live)
    assert live.far.leg.state == "connected"


async def test_restart_brings_back_a_call_whose_consent_expired(staged: Staged) -> None:
    stage = await staged(ice=EXPIRING, disconnect_grace_s=30.0)
    live, old = await linked(stage)
    old.cut()
    await until(lambda: live.call.snapshot().leg_reasons.get("client") == "consent_expired")
    assert live.call.snapshot().state is State.LIVE

    restart(live)

    await works(live)
    assert live.call.snapshot().state is State.LIVE


async def test_restarts_in_a_row_end_with_the_last(stage: Stage) -> None:
    live = await stage.live()

    for _ in range(5):
        restart(live)
    await works(live)

    client = live.call._legs["client"]
    await until(lambda: generations(client) == 1)
    assert live.call.snapshot().restarts == 5
    await works(live)


async def test_restart_whose_answer_is_lost_keeps_the_old_path(stage: Stage) -> None:
    live = await stage.live()
    fragment = render(without_candidates(live.browser.leg.renew()), MID)

    live.call.patch(fragment, ANY)
    await works(live)

    assert live.call.patch(fragment, ANY) is not None
    assert live.call.snapshot().restarts == 1


async def test_restart_before_the_call_is_connected_connects_it(stage: Stage) -> None:
    browser = stage.browser()
    inbox = browser.channel()
    call = await stage.open(browser)
    first = call.answer
    fragment = render(without_candidates(browser.leg.renew()), MID)

    answer = call.patch(fragment, ANY)
    assert answer is not None
    theirs = SdpFragment.parse(answer.fragment, [MID])
    browser.reach = lambda transport: replace(
        transport, ice_ufrag=theirs.ice_ufrag or "", ice_pwd=theirs.ice_pwd or ""
    )
    await browser.connect(first)

    await inbox.open()


async def test_restart_of_a_call_that_is_over_does_nothing(stage: Stage) -> None:
    live = await stage.live()
    renewed = render(without_candidates(live.browser.leg.renew()), MID)
    await stage.hang_up(live.call)

    with pytest.raises(NotFound):
        live.call.patch(renewed, ANY)


async def test_stale_tag_starts_nothing(stage: Stage) -> None:
    live = await stage.live()
    before = live.call.ice.etag
    restart(live)

    with pytest.raises(PreconditionFailed):
        live.call.patch(render(live.browser.leg.local, MID), frozenset({before}))

    assert live.call.snapshot().restarts == 1
    await works(live)


# --- the grace ---


async def test_browser_that_is_gone_leaves_the_upstream_leg_for_its_grace(staged: Staged) -> None:
    stage = await staged(ice=EXPIRING, disconnect_grace_s=1.0)
    live, old = await linked(stage)
    far = live.far.leg
    old.cut()

    await until(lambda: live.call.snapshot().leg_reasons.get("client") == "consent_expired")
    assert far.state == "connected"
    snapshot = await stage.until_over(live.call)

    assert snapshot.end is not None
    assert snapshot.end.reason == "client_lost"
    assert await stage.far.next_hang_up() == live.far.id


async def test_restart_renews_the_grace(staged: Staged) -> None:
    stage = await staged(disconnect_grace_s=0.5)
    live, old = await linked(stage)
    old.cut()
    await until(lambda: "client" in live.call.snapshot().leg_reasons)
    lost_at = time.monotonic()

    for _ in range(3):  # each leads nowhere, and yet somebody is there
        await asyncio.sleep(0.3)
        live.call.patch(render(without_candidates(live.browser.leg.renew()), MID), ANY)
    snapshot = await stage.until_over(live.call)

    assert snapshot.end is not None
    assert snapshot.end.reason == "client_lost"
    assert time.monotonic() - lost_at > 0.9


async def test_upstream_that_is_lost_has_the_same_grace(staged: Staged) -> None:
    stage = await staged(disconnect_grace_s=0.3)
    live = await stage.live()
    upstream = live.call._legs["upstream"]

    await live.far.leg._ice.close()  # it vanishes: no alert, no answer to checks
    snapshot = await stage.until_over(live.call)

    assert upstream.state == "closed"
    assert snapshot.end is not None
    assert snapshot.end.reason == "upstream_lost"
    assert snapshot.leg_reasons["upstream"] == "no_consent_answer"


# --- what is told ---


async def test_call_tells_its_paths_and_restarts(stage: Stage, logs: list[Any]) -> None:
    live = await stage.live()
    restart(live)
    await until(lambda: len(stage.counted.paths) == 3)
    await stage.hang_up(live.call)

    assert sorted(stage.counted.paths) == [
        ("client", "host/prflx", "udp"),
        ("client", "host/prflx", "udp"),
        ("upstream", "host/host", "udp"),
    ]
    events = [entry["event"] for entry in logs]
    assert events.count("leg.path_changed") == 3
    (told,) = [entry for entry in logs if entry["event"] == "leg.restarted"]
    assert (told["leg"], told["restarts"]) == ("client", 1)
    (ended,) = [entry for entry in logs if entry["event"] == "session.ended"]
    assert ended["restarts"] == 1
    assert ended["client"]["pair"] == "host/prflx"
    assert (ended["client"]["transport"], ended["client"]["paths"]) == ("udp", 2)
    assert (ended["upstream"]["transport"], ended["upstream"]["paths"]) == ("udp", 1)
