"""relay.js, the browser helper: its POST, its states, its errors, and that it cleans up."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.browser import demo_site
from tests.browser.conftest import OpenPage
from tests.browser.demo_site import CALL_PATH, Signalling, until

CALLER = (Path(__file__).parent / "demo_caller.js").read_text()
BIG = 300_000  # bytes: over the 262,144 that Chromium takes


@pytest.fixture
async def far(open_page: OpenPage) -> AsyncIterator[Signalling]:
    """A page with relay.js and a far end that answers."""
    page = await open_page()
    signalling = Signalling(page)
    await signalling.start()
    await page.add_init_script(CALLER)
    async with demo_site.serving() as site:
        await page.goto(site.origin)
        yield signalling
        await signalling.close()


async def states(page: Page) -> list[str]:
    told: list[str] = await page.evaluate("caller.states")
    return told


async def test_connect_when_answered_resolves_with_an_open_call(far: Signalling) -> None:
    error = await far.page.evaluate("caller.connect()")

    assert error is None
    assert await states(far.page) == ["calling", "connecting", "connected"]
    assert await far.page.evaluate("[caller.call.state, caller.call.id]") == [
        "connected",
        "rtc_test",
    ]


async def test_connect_without_a_voice_offers_to_listen(far: Signalling) -> None:
    await far.page.evaluate("caller.connect()")

    offer = far.offers[0].post_data or ""
    assert offer.endswith("\r\n")
    assert "a=recvonly" in offer
    assert far.offers[0].headers["content-type"] == "application/sdp"
    assert "authorization" not in far.offers[0].headers


async def test_connect_with_a_stream_sends_its_track(far: Signalling) -> None:
    await far.page.evaluate(
        "navigator.mediaDevices.getUserMedia({ audio: true })"
        ".then((stream) => caller.connect({ stream }))"
    )

    assert "a=sendrecv" in (far.offers[0].post_data or "")
    await until(far.page, "caller.call.stream.getAudioTracks().length === 1")


async def test_connect_with_model_and_token_sends_both(far: Signalling) -> None:
    await far.page.evaluate("caller.connect({ model: 'gpt-realtime-2.1', token: 'ek_test' })")

    offer = far.offers[0]
    assert offer.url.endswith("/v1/realtime/calls?model=gpt-realtime-2.1")
    assert offer.headers["authorization"] == "Bearer ek_test"


async def test_connect_with_a_session_posts_a_form(far: Signalling) -> None:
    session = {"type": "realtime", "instructions": "Be brief."}

    await far.page.evaluate("(session) => caller.connect({ session })", session)

    offer = far.offers[0]
    assert offer.headers["content-type"].startswith("multipart/form-data")
    assert json.dumps(session, separators=(",", ":")) in (offer.post_data or "")
    assert await far.page.evaluate("caller.call.state") == "connected"


async def test_events_when_sent_and_received_keep_their_order(far: Signalling) -> None:
    await far.page.evaluate("caller.connect()")

    await far.page.evaluate(
        "for (let n = 0; n < 50; n += 1) caller.call.send({ type: 'client', n })"
    )
    await until(far.page, "far.events.length === 50")
    await far.say(*({"type": "server", "n": n} for n in range(50)))
    await until(far.page, "caller.events.length === 50")

    assert [event["n"] for event in await far.heard()] == list(range(50))
    assert await far.page.evaluate("caller.events.map(({ n }) => n)") == list(range(50))


async def test_events_when_some_are_none_hands_on_the_others(far: Signalling) -> None:
    await far.page.evaluate("caller.connect()")

    await far.page.evaluate("far.say(['{', 'null', '[]', '{\"type\": 1}', { type: 'good' }])")
    await until(far.page, "caller.events.length > 0")

    assert await far.page.evaluate("caller.events") == [{"type": "good"}]


async def test_send_when_larger_than_the_peer_takes_raises_and_keeps_the_call(
    far: Signalling,
) -> None:
    await far.page.evaluate("caller.connect()")

    event = "{ type: 'big', text: 'ä'.repeat(%d) }"
    assert await far.page.evaluate(f"caller.send({event % (BIG // 2)})") == "too_large"
    assert await far.page.evaluate(f"caller.send({event % (BIG // 4)})") is None
    await until(far.page, "far.events.length === 1")


async def test_hang_up_tells_the_server_and_closes(far: Signalling) -> None:
    await far.page.evaluate("caller.connect({ token: 'ek_test' })")

    await far.page.evaluate("Promise.all([caller.call.hangUp(), caller.call.hangUp()])")

    (hang_up,) = far.hang_ups
    assert hang_up.method == "POST"
    assert hang_up.url.endswith(f"{CALL_PATH}/hangup")
    assert hang_up.headers["authorization"] == "Bearer ek_test"
    assert (await states(far.page))[-1] == "closed"
    assert await far.page.evaluate("caller.call.pc.connectionState") == "closed"
    assert await far.page.evaluate("caller.send({ type: 'late' })") == "closed"


async def test_hang_up_when_the_location_is_elsewhere_keeps_the_token(far: Signalling) -> None:
    far.location = "https://elsewhere.example/v1/realtime/calls/rtc_x"
    await far.page.evaluate("caller.connect({ token: 'ek_test' })")

    await far.page.evaluate("caller.call.hangUp()")

    assert far.hang_ups == []
    assert await far.page.evaluate("caller.call.id") is None


async def test_abort_when_connected_hangs_up(far: Signalling) -> None:
    await far.page.evaluate("caller.connect()")

    await far.page.evaluate("caller.controller.abort()")
    await until(far.page, "caller.call.state === 'closed'")

    assert len(far.hang_ups) == 1


async def test_abort_while_calling_rejects_and_closes(far: Signalling) -> None:
    far.silent = True

    calling = far.page.evaluate("caller.attempt = caller.connect()")
    async with far.page.expect_request("**/v1/realtime/calls"):
        await far.page.evaluate("setTimeout(() => caller.controller.abort(), 300)")
        error = await calling

    assert error["kind"] == "aborted"
    assert await states(far.page) == ["calling", "closed: aborted"]


async def test_abort_beforehand_posts_nothing(far: Signalling) -> None:
    error = await far.page.evaluate("(caller.controller.abort(), caller.connect())")

    assert error["kind"] == "aborted"
    assert far.offers == []


async def test_connect_when_never_answered_times_out(far: Signalling) -> None:
    far.silent = True

    error = await far.page.evaluate("caller.connect({ timeoutMs: 300 })")

    assert (error["kind"], error["message"]) == (
        "timeout",
        "The call did not connect within 0.3 s.",
    )
    assert await states(far.page) == ["calling", "failed: timeout"]


async def test_connect_when_refused_carries_the_servers_error(far: Signalling) -> None:
    body = {
        "message": "Slow down.",
        "type": "requests",
        "code": "rate_limit_exceeded",
        "param": "x",
    }
    far.refusal = (429, json.dumps({"error": body}), {"Retry-After": "7"})

    error = await far.page.evaluate("caller.connect()")

    assert error == {
        "name": "CallError",
        "kind": "refused",
        "status": 429,
        "retryAfterS": 7,
        **body,
    }
    assert await states(far.page) == ["calling", "failed: refused"]


@pytest.mark.parametrize("body", ["<h1>Bad gateway</h1>", "", "[]", '{"error": "no"}', "null"])
async def test_connect_when_refused_without_an_error_object_tells_the_status(
    far: Signalling, body: str
) -> None:
    far.refusal = (502, body, {})

    error = await far.page.evaluate("caller.connect()")

    assert error["message"] == "The server refused the call with status 502."


async def test_connect_when_the_answer_is_no_sdp_says_so(far: Signalling) -> None:
    far.refusal = (201, "<h1>Hello</h1>", {"Location": CALL_PATH})

    error = await far.page.evaluate("caller.connect()")

    assert error["kind"] == "invalid_answer"
    await until(far.page, "caller.states.at(-1) === 'failed: invalid_answer'")
    assert len(far.hang_ups) == 1  # the server thinks there is a call


async def test_connect_when_unreachable_is_a_network_error(far: Signalling) -> None:
    error = await far.page.evaluate("caller.connect({ url: 'http://127.0.0.1:9/calls' })")

    assert error["kind"] == "network"
    assert error["message"] == "The server could not be reached."


async def test_call_when_the_far_end_closes_the_channel_ends(far: Signalling) -> None:
    await far.page.evaluate("caller.connect()")

    await far.page.evaluate("far.channel.close()")
    await until(far.page, "caller.call.state === 'closed'")

    assert (await states(far.page))[-1] == "closed: closed"
    assert await far.page.evaluate("caller.call.pc.connectionState") == "closed"
    assert far.hang_ups == []  # it knows
