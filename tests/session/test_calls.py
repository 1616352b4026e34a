"""A call from its offer to its end, each side vanishing, refusing or dawdling at each step."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from relay.core.errors import (
    InvalidOffer,
    InvalidRequest,
    Overloaded,
    RelayError,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from relay.core.lifecycle import End, Outcome, State
from relay.core.principal import Principal
from relay.core.sdp import Description, Setup
from relay.session.model import CallRequest, CallSnapshot
from tests.session.stage import ANYBODY, Stage, is_found, offer_text

Staged = Callable[..., Awaitable[Stage]]
Logs = list[Any]

RTP = bytes.fromhex("806f000100000064deadbeef") + b"opus"


def ended(logs: Logs) -> list[dict[str, Any]]:
    return [entry for entry in logs if entry["event"] == "session.ended"]


def end_of(snapshot: CallSnapshot) -> tuple[str, str]:
    assert snapshot.end is not None
    return str(snapshot.end.outcome), snapshot.end.reason


async def test_call_whole_carries_media_and_messages_both_ways(stage: Stage) -> None:
    live = await stage.live()
    heard_up: asyncio.Queue[bytes] = asyncio.Queue()
    heard_down: asyncio.Queue[bytes] = asyncio.Queue()
    live.far.leg.on_rtp = heard_up.put_nowait
    live.browser.leg.on_rtp = heard_down.put_nowait

    live.client.channel.send("up")
    live.upstream.channel.send("down")
    await live.browser.states.wait_for("connected")
    assert live.browser.leg.send_rtp(RTP)
    assert live.far.leg.send_rtp(RTP + b"!")

    assert await live.upstream.take() == "up"
    assert await live.client.take() == "down"
    assert await asyncio.wait_for(heard_up.get(), 5) == RTP
    assert await asyncio.wait_for(heard_down.get(), 5) == RTP + b"!"
    assert live.call.snapshot().state is State.LIVE


async def test_call_offer_goes_up_with_our_leg_in_it(stage: Stage) -> None:
    browser = stage.browser()

    await stage.open(browser)

    theirs = Description.parse((await stage.far.next_call()).offer)
    sent = Description.parse(await browser.offer())
    assert [s.kind for s in theirs.sections] == ["audio", "application"]
    assert theirs.sections[0].codecs == sent.sections[0].codecs
    assert theirs.transport.ice_ufrag != sent.transport.ice_ufrag
    assert theirs.transport.setup is Setup.ACTPASS
    assert theirs.transport.candidates == ()
    assert theirs.sctp is not None
    assert theirs.sctp.max_message_size == 16 * 1024 * 1024


async def test_call_answer_is_the_upstreams_with_our_leg_in_it(stage: Stage) -> None:
    call = await stage.open(stage.browser())

    answer = Description.parse(call.answer)
    assert "a=msid:realtimeapi audio\r\n" in call.answer
    assert "a=rtpmap:111 opus/48000/2\r\n" in call.answer
    assert call.answer.endswith("\r\n")
    assert answer.transport.setup is Setup.ACTIVE
    assert not answer.transport.ice_lite
    assert [c.transport for c in answer.transport.candidates] == ["udp"]
    assert answer.transport.end_of_candidates
    assert answer.sctp is not None
    assert answer.sctp.max_message_size == 16 * 1024 * 1024
    assert call.ice.etag == answer.transport.ice_ufrag


async def test_call_id_is_ours_and_unguessable(stage: Stage) -> None:
    calls = [await stage.open(stage.browser()) for _ in range(3)]

    assert len({call.id for call in calls}) == 3
    for call in calls:
        assert call.id.startswith("rtc_")
        assert len(call.id) == 26
        assert call.id[4:].isalnum()
        assert call.snapshot().upstream_call_id not in (None, call.id)


async def test_call_answer_leaves_before_any_leg_is_connected(stage: Stage) -> None:
    stage.far.connects.clear()

    call = await asyncio.wait_for(stage.open(stage.browser()), 2)

    assert call.snapshot().state is State.CONNECTING


@pytest.mark.parametrize("client", [Setup.ACTPASS, Setup.ACTIVE, Setup.PASSIVE])
@pytest.mark.parametrize("upstream", [Setup.ACTIVE, Setup.PASSIVE])
async def test_call_connects_in_every_dtls_role(
    stage: Stage, client: Setup, upstream: Setup
) -> None:
    stage.far.setup = upstream

    live = await stage.live(setup=client)
    live.client.channel.send("up")

    assert await live.upstream.take() == "up"
    ours = Description.parse(live.call.answer).transport.setup
    assert ours is (Setup.PASSIVE if client is Setup.ACTIVE else Setup.ACTIVE)


async def test_call_with_video_off_goes_on_without(stage: Stage) -> None:
    browser = stage.browser()

    call = await stage.open(browser, video=True)
    answer = await browser.connect(call.answer)

    far = await stage.far.next_call()
    assert [s.kind for s in Description.parse(far.offer).sections] == ["audio", "application"]
    assert [(s.kind, s.rejected) for s in answer.sections] == [
        ("audio", False),
        ("video", True),
        ("application", False),
    ]


async def test_call_with_video_on_passes_it(staged: Staged) -> None:
    stage = await staged(video=True)
    browser = stage.browser()

    call = await stage.open(browser, video=True)
    answer = await browser.connect(call.answer)

    assert [(s.kind, s.rejected) for s in answer.sections] == [
        ("audio", False),
        ("video", False),
        ("application", False),
    ]
    assert "a=rtpmap:96 VP8/90000\r\n" in call.answer


async def test_call_without_data_channels_carries_media(stage: Stage) -> None:
    browser = stage.browser()
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    call = await stage.open(browser, data_bytes=None)
    await browser.connect(call.answer)
    far = await stage.far.next_call()
    await far.states.wait_for("connected")
    far.leg.on_rtp = heard.put_nowait
    browser.leg.send_rtp(RTP)

    assert await asyncio.wait_for(heard.get(), 5) == RTP
    assert not far.inbox.done()


# What is asked for wrongly


@pytest.mark.parametrize(
    "offer",
    ["", "v=0\r\n", offer_text(audio=False), offer_text().replace("a=ice-pwd", "a=x"), "\0" * 9999],
)
async def test_call_with_a_broken_offer_costs_no_upstream_call(stage: Stage, offer: str) -> None:
    with pytest.raises(InvalidOffer):
        await stage.calls.create(CallRequest(offer, ANYBODY))

    assert stage.far.posts == 0
    assert stage.calls.live_count() == 0


@pytest.mark.parametrize("dcid", [-1, 65_535])
async def test_call_with_an_impossible_dcid_is_refused(stage: Stage, dcid: int) -> None:
    with pytest.raises(InvalidRequest, match="dcid"):
        await stage.open(stage.browser(), dcid=dcid)

    assert stage.far.posts == 0


async def test_call_beyond_max_sessions_is_refused_until_one_ends(staged: Staged) -> None:
    stage = await staged(max_sessions=1)
    first = await stage.open(stage.browser())

    with pytest.raises(Overloaded):
        await stage.open(stage.browser())
    await stage.hang_up(first)
    await stage.open(stage.browser())

    assert stage.far.posts == 2


async def test_call_while_draining_is_refused_and_the_others_go_on(stage: Stage) -> None:
    live = await stage.live()

    stage.calls.drain()
    with pytest.raises(Overloaded):
        await stage.open(stage.browser())
    live.client.channel.send("still here")

    assert await live.upstream.take() == "still here"


# What the upstream does wrongly


def answering(**response: Any) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(**response)

    return answer


@pytest.mark.parametrize(
    ("response", "error", "code"),
    [
        ({"status": 429, "text": "{}"}, UpstreamRefused, "upstream_refused"),
        ({"status": 201, "text": "<html>"}, UpstreamInvalid, "upstream_invalid"),
        ({"status": 201, "text": "v=0\r\nnonsense"}, UpstreamInvalid, "upstream_invalid"),
        ({"status": 201, "text": offer_text(video=True)}, UpstreamInvalid, "upstream_invalid"),
        ({"status": 201, "text": offer_text()}, UpstreamInvalid, "upstream_invalid"),  # actpass
    ],
)
async def test_call_that_the_upstream_does_not_answer_well_leaves_nothing(
    stage: Stage, logs: Logs, response: dict[str, Any], error: type[RelayError], code: str
) -> None:
    stage.far.before_answer = answering(headers={"Location": "/calls/rtc_far"}, **response)

    with pytest.raises(error):
        await stage.open(stage.browser())
    await stage.until_empty()

    (line,) = ended(logs)
    assert (line["outcome"], line["reason"]) == ("refused", code)
    assert line.get("upstream_status") == (429 if response["status"] == 429 else None)
    assert stage.counted.outcomes == ["refused"]
    if response["status"] == 201 and "html" not in response["text"]:
        # It answered, so there is a call at the upstream, and it must not be left there.
        assert await stage.far.next_hang_up() == "rtc_far"


async def test_call_that_the_upstream_never_answers_is_a_timeout(
    staged: Staged, logs: Logs
) -> None:
    async def never(_request: web.Request) -> None:
        await asyncio.Event().wait()

    stage = await staged(connect_timeout_s=0.1)
    stage.far.before_answer = never

    with pytest.raises(UpstreamTimeout):
        await stage.open(stage.browser())
    await stage.until_empty()

    assert ended(logs)[0]["reason"] == "upstream_timeout"


async def test_call_to_nobody_is_unreachable(staged: Staged, unused_tcp_port: int) -> None:
    stage = await staged(f"http://127.0.0.1:{unused_tcp_port}/v1")

    with pytest.raises(UpstreamUnreachable):
        await stage.open(stage.browser())
    await stage.until_empty()

    assert stage.counted.outcomes == ["refused"]


async def test_call_that_breaks_the_relay_says_so_and_leaves_nothing(
    stage: Stage, logs: Logs
) -> None:
    request = CallRequest(await stage.browser().offer(), ANYBODY, session={"tools": object()})

    with pytest.raises(TypeError):
        await stage.calls.create(request)
    await stage.until_empty()

    assert ended(logs)[0]["reason"] == "internal_error"
    broken = [entry for entry in logs if entry["log_level"] == "error"]
    assert [entry["event"] for entry in broken] == ["session.broke"]
    logs.remove(broken[0])


async def test_call_whose_upstream_never_connects_ends_and_is_hung_up(staged: Staged) -> None:
    stage = await staged(connect_timeout_s=1.0)
    stage.far.connects.clear()
    browser = stage.browser()
    inbox = browser.channel()

    call = await stage.open(browser)
    await browser.connect(call.answer)
    snapshot = await stage.until_over(call)

    assert end_of(snapshot) == ("failed", "upstream_connect_timeout")
    assert '"upstream_connect_timeout"' in str(await inbox.take())
    assert await stage.far.next_hang_up() == snapshot.upstream_call_id
    await browser.states.wait_for("closed")


async def test_call_without_location_ends_without_a_hang_up(stage: Stage) -> None:
    stage.far.location = ""
    live = await stage.live()

    await stage.hang_up(live.call)

    await live.far.states.wait_for("closed")
    assert stage.far.hung_up.empty()


@pytest.mark.parametrize("status", [404, 500])
async def test_call_that_the_upstream_does_not_hang_up_ends_all_the_same(
    stage: Stage, logs: Logs, status: int
) -> None:
    stage.far.before_hang_up = answering(status=status)
    live = await stage.live()

    await stage.hang_up(live.call)

    failures = [entry for entry in logs if entry["event"] == "upstream.hang_up_failed"]
    assert len(failures) == (1 if status == 500 else 0)
    await live.far.states.wait_for("closed")


async def test_call_with_a_hang_up_that_hangs_ends_within_its_deadline(staged: Staged) -> None:
    async def never(_request: web.Request) -> None:
        await asyncio.Event().wait()

    stage = await staged(hang_up_timeout_s=0.1)
    stage.far.before_hang_up = never
    live = await stage.live()

    await asyncio.wait_for(stage.hang_up(live.call), 2)

    assert stage.calls.live_count() == 0


@pytest.mark.parametrize("how", ["channel", "leg"])
async def test_call_that_the_upstream_closes_tells_the_client_why(stage: Stage, how: str) -> None:
    live = await stage.live()

    if how == "channel":
        live.upstream.channel.close()
    else:
        await live.far.leg.close()
    snapshot = await stage.until_over(live.call)

    assert end_of(snapshot) == ("completed", "upstream_closed")
    assert '"upstream_closed"' in str(await live.client.take())
    await live.browser.states.wait_for("closed")
    assert await stage.far.next_hang_up() == live.far.id


# What the client does


async def test_call_whose_request_is_given_up_early_makes_no_call(stage: Stage) -> None:
    creating = asyncio.create_task(stage.open(stage.browser()))
    while not stage.calls.live_count():  # noqa: ASYNC110
        await asyncio.sleep(0)

    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    await stage.until_empty()

    assert stage.counted.outcomes == ["abandoned"]
    assert stage.far.hung_up.qsize() == stage.far.posts


async def test_call_whose_request_is_given_up_is_hung_up_when_it_comes(
    stage: Stage, logs: Logs
) -> None:
    release = asyncio.Event()

    async def late(_request: web.Request) -> None:
        await release.wait()

    stage.far.before_answer = late
    creating = asyncio.create_task(stage.open(stage.browser()))
    await stage.far.posted.wait()

    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    release.set()

    assert await stage.far.next_hang_up() == "rtc_far_1"
    await stage.until_empty()
    assert ended(logs)[0]["reason"] == "client_vanished"


async def test_call_whose_request_is_given_up_does_not_wait_for_ever(staged: Staged) -> None:
    async def never(_request: web.Request) -> None:
        await asyncio.Event().wait()

    stage = await staged(hang_up_timeout_s=0.1)
    stage.far.before_answer = never
    creating = asyncio.create_task(stage.open(stage.browser()))
    await stage.far.posted.wait()

    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating

    await asyncio.wait_for(stage.until_empty(), 2)


async def test_call_whose_client_never_connects_ends_and_is_hung_up(staged: Staged) -> None:
    stage = await staged(connect_timeout_s=1.0)

    call = await stage.open(stage.browser())
    snapshot = await stage.until_over(call)

    assert end_of(snapshot) == ("failed", "client_connect_timeout")
    assert snapshot.phases_ms.upstream_connected is not None
    assert await stage.far.next_hang_up() == snapshot.upstream_call_id


@pytest.mark.parametrize("how", ["channel", "leg"])
async def test_call_that_the_client_closes_is_hung_up(stage: Stage, how: str) -> None:
    live = await stage.live()

    if how == "channel":
        live.client.channel.close()
    else:
        await live.browser.leg.close()
    snapshot = await stage.until_over(live.call)

    assert end_of(snapshot) == ("completed", "client_closed")
    assert await stage.far.next_hang_up() == live.far.id
    await live.far.states.wait_for("closed")


async def test_call_whose_client_vanishes_ends_after_the_grace(staged: Staged) -> None:
    stage = await staged(disconnect_grace_s=0.2)
    browser, link = stage.browser(), stage.link()
    browser.reach = link.hide
    live = await stage.live(browser)

    link.cut()
    snapshot = await stage.until_over(live.call)

    assert end_of(snapshot) == ("failed", "client_lost")
    assert snapshot.leg_reasons["client"] == "no_consent_answer"
    assert await stage.far.next_hang_up() == live.far.id


async def test_call_whose_client_comes_back_in_time_goes_on(staged: Staged) -> None:
    stage = await staged(disconnect_grace_s=30)
    browser, link = stage.browser(), stage.link()
    browser.reach = link.hide
    live = await stage.live(browser)

    link.cut()
    async with asyncio.timeout(5):
        while "client" not in live.call.snapshot().leg_reasons:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    link.mend()
    live.client.channel.send("I was away")

    assert await live.upstream.take() == "I was away"
    assert live.call.snapshot().state is State.LIVE


async def test_call_whose_certificate_is_another_carries_nothing(stage: Stage) -> None:
    """CVE-2021-28681's case: the DTLS peer is not the one of the offer."""
    browser = stage.browser()
    browser.channel()
    right = await browser.offer()
    fingerprint = Description.parse(right).transport.fingerprints[0].value
    wrong = right.replace(fingerprint, fingerprint[-2:] + fingerprint[2:])
    if wrong == right:
        wrong = right.replace(fingerprint, "00" + fingerprint[2:])

    call = await stage.calls.create(CallRequest(wrong, ANYBODY))
    connecting = asyncio.create_task(browser.connect(call.answer))
    snapshot = await stage.until_over(call)

    assert end_of(snapshot) == ("failed", "client_connect_failed")
    assert snapshot.leg_reasons["client"] == "dtls_failed"
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)


# Limits and requests that end a call


async def test_call_at_its_longest_duration_ends_and_the_client_knows(staged: Staged) -> None:
    stage = await staged(max_duration_s=1.0)
    live = await stage.live()

    snapshot = await stage.until_over(live.call)

    assert end_of(snapshot) == ("limited", "max_duration")
    assert '"max_duration"' in str(await live.client.take())


async def test_call_without_a_message_is_idle_and_one_with_is_not(staged: Staged) -> None:
    stage = await staged(idle_timeout_s=0.8)
    quiet, busy = await stage.live(), await stage.live()

    while stage.calls.live_count() == 2:
        busy.client.channel.send("here")
        await asyncio.sleep(0.02)

    assert end_of(quiet.call.snapshot()) == ("limited", "idle_timeout")
    assert busy.call.is_up
    assert end_of(await stage.until_over(busy.call)) == ("limited", "idle_timeout")


async def test_call_without_a_channel_is_idle_without_packets(staged: Staged) -> None:
    stage = await staged(idle_timeout_s=0.5)
    browser = stage.browser()
    call = await stage.open(browser, data_bytes=None)
    await browser.connect(call.answer)

    for sequence in range(50):
        browser.leg.send_rtp(RTP[:3] + bytes([sequence]) + RTP[4:])
        await asyncio.sleep(0.02)
    assert call.is_up
    snapshot = await stage.until_over(call)

    assert end_of(snapshot) == ("limited", "idle_timeout")


async def test_call_hung_up_is_over_for_everybody(stage: Stage) -> None:
    live = await stage.live()

    await stage.hang_up(live.call)
    await stage.hang_up(live.call)

    assert live.call.snapshot().state is State.ENDED
    assert live.call.snapshot().end == End(Outcome.COMPLETED, "client_hung_up")
    assert await stage.far.next_hang_up() == live.far.id
    assert stage.far.hung_up.empty()
    await live.browser.states.wait_for("closed")
    await live.far.states.wait_for("closed")
    assert not is_found(stage.calls, live.call)


async def test_call_is_found_by_its_owner_alone(stage: Stage) -> None:
    owner = Principal(kind="key", owner="key:a")
    call = await stage.open(stage.browser(), principal=owner)

    assert is_found(stage.calls, call, owner)
    assert is_found(stage.calls, call, Principal(kind="token", owner="key:a"))
    assert not is_found(stage.calls, call, Principal(kind="key", owner="key:b"))
    assert not is_found(stage.calls, call)


async def test_call_of_a_client_with_its_own_token_is_opened_and_hung_up_with_it(
    stage: Stage,
) -> None:
    seen: list[str] = []

    async def note(request: web.Request) -> None:
        seen.append(request.headers["Authorization"])

    stage.far.before_answer = stage.far.before_hang_up = note
    owner = Principal(kind="passthrough", owner="upstream:x", upstream_credential="ek_client")

    call = await stage.open(stage.browser(), principal=owner)
    await stage.hang_up(call)

    assert seen == ["Bearer ek_client"] * 2
    assert (await stage.far.next_call()).session == ""


async def test_call_session_and_model_go_up_with_the_offer(stage: Stage) -> None:
    session = {"type": "realtime", "instructions": "Be brief."}
    offer = await stage.browser().offer()

    await stage.calls.create(CallRequest(offer, ANYBODY, model="gpt-x", session=session))

    sent = json.loads((await stage.far.next_call()).session)
    assert sent == {**session, "model": "gpt-x"}


async def test_calls_closed_end_all_side_by_side(stage: Stage) -> None:
    lives = [await stage.live() for _ in range(5)]

    await asyncio.wait_for(stage.calls.close(), 3)

    assert stage.calls.live_count() == 0
    for live in lives:
        assert '"server_shutdown"' in str(await live.client.take())
        assert end_of(live.call.snapshot()) == ("drained", "server_shutdown")
    assert stage.far.hung_up.qsize() == 5


async def test_calls_closed_while_one_is_opening_tell_its_request(staged: Staged) -> None:
    async def never(_request: web.Request) -> None:
        await asyncio.Event().wait()

    stage = await staged(hang_up_timeout_s=0.1)
    stage.far.before_answer = never
    creating = asyncio.create_task(stage.open(stage.browser()))
    await stage.far.posted.wait()

    await asyncio.wait_for(stage.calls.close(), 3)

    with pytest.raises(Overloaded):
        await creating


async def test_calls_closed_with_one_that_does_not_end_are_cut_off(staged: Staged) -> None:
    async def never(_request: web.Request) -> None:
        await asyncio.Event().wait()

    stage = await staged(hang_up_timeout_s=60, close_timeout_s=0.2)
    stage.far.before_hang_up = never
    await stage.live()

    await asyncio.wait_for(stage.calls.close(), 3)

    assert stage.calls.live_count() == 0


# What is told


async def test_call_leaves_one_line_with_its_facts(stage: Stage, logs: Logs) -> None:
    live = await stage.live()
    live.browser.leg.on_rtp = lambda _packet: None
    heard = asyncio.Event()
    live.far.leg.on_rtp = lambda _packet: heard.set()
    live.client.channel.send("grüße")
    await live.upstream.take()
    live.browser.leg.send_rtp(RTP)
    await asyncio.wait_for(heard.wait(), 5)

    await stage.hang_up(live.call)

    (line,) = ended(logs)
    assert line["session_id"] == live.call.id
    assert (line["outcome"], line["reason"]) == ("completed", "client_hung_up")
    assert line["upstream_call_id"] == live.far.id
    assert line["owner"] == "anonymous"
    assert line["messages"]["up"] == {"messages": 1, "bytes": 7, "too_large": 0}
    assert line["client"]["packets_received"] == line["upstream"]["packets_sent"] == 1
    assert set(line["setup_ms"]) == {
        "gather",
        "upstream",
        "answered",
        "client_connected",
        "upstream_connected",
        "client_first_packet",
    }
    assert all(ms >= 0 for ms in line["setup_ms"].values())


async def test_calls_totals_keep_what_ended_calls_counted(stage: Stage) -> None:
    live = await stage.live()
    heard = asyncio.Event()
    live.far.leg.on_rtp = lambda _packet: heard.set()
    live.browser.leg.send_rtp(RTP)
    await asyncio.wait_for(heard.wait(), 5)

    while_live = dict(stage.calls.packet_totals())
    await stage.hang_up(live.call)

    assert while_live["client", "up"] == while_live["upstream", "up"] == 1
    assert dict(stage.calls.packet_totals()) == while_live
    assert stage.counted.outcomes == ["completed"]
    assert len(stage.counted.setups) == 1
    assert 0 < stage.counted.setups[0] < 5


async def test_calls_drops_are_counted_by_reason_and_kept(stage: Stage) -> None:
    stage.far.connects.clear()
    browser = stage.browser()
    call = await stage.open(browser)
    await browser.connect(call.answer)

    browser.leg.send_rtp(RTP)
    async with asyncio.timeout(5):
        while not stage.calls.drop_totals().get("not_ready"):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
    while_live = dict(stage.calls.drop_totals())
    await stage.hang_up(call)

    assert stage.calls.drop_totals()["not_ready"] >= while_live["not_ready"]
    assert [snapshot.id for snapshot in stage.calls] == []


async def test_calls_one_after_the_other_leave_nothing(stage: Stage) -> None:
    async def one() -> None:
        browser = stage.browser()
        inbox = browser.channel()
        call = await stage.open(browser)
        await browser.connect(call.answer)
        await inbox.open()
        await stage.hang_up(call)
        await browser.states.wait_for("closed")
        await browser.leg.close()
        await (await stage.far.next_call()).leg.close()

    await one()
    loop_tasks, threads = len(asyncio.all_tasks()), threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        await one()

    assert stage.calls.live_count() == 0
    assert len(asyncio.all_tasks()) <= loop_tasks
    assert threading.active_count() <= threads
    # A browser's own shared socket, one a call, is closed with the stage.
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 100
