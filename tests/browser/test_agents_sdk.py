"""The stock @openai/agents-realtime, with only its URL changed, in a call with the simulator."""

from __future__ import annotations

from tests.browser import sound, watch
from tests.browser.conftest import OpenPage
from tests.browser.server import Server

ONE_TURN = [0.5, "weather", 20.0]
"""The caller asks, and waits for the answer."""

TALKING_OVER = [0.5, "weather", 4.5, "weather", 3.0, "weather", 20.0]
"""The second answer is a long one; the caller speaks into it, without a pause in what it says."""

STOPS_WITHIN_MS = 800
"""From the event to silence: the browser still plays what its jitter buffer holds."""


async def test_agents_sdk_when_the_caller_asks_hears_the_answer_and_hangs_up_clean(
    open_page: OpenPage, client_origin: str, demo_server: Server
) -> None:
    since = demo_server.log.stat().st_size
    page = await open_page(microphone=ONE_TURN)
    await page.goto(f"{client_origin}/agents")

    call = await page.evaluate(f"connect('{demo_server.url}', {watch.CHIME})")
    answered = await watch.chime(page)
    await watch.event(page, "output_audio_buffer.stopped")
    history = await page.evaluate("session.history")
    kinds = await watch.kinds(page)
    spoken = await watch.heard(page, since=answered)
    await page.evaluate("session.close()")
    ended = await watch.hung_up(demo_server, since)

    assert call["apiKey"].startswith("ek_")
    assert call["callId"].startswith("rtc_")
    assert call["took"] < 5000, "connect() gave up waiting for session.updated"
    turn = [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "response.created",
        "output_audio_buffer.started",
        "response.done",
        "output_audio_buffer.stopped",
    ]
    assert [kind for kind in kinds if kind in turn] == turn
    assert [item["role"] for item in history] == ["user", "assistant"]
    assert all(item["content"][0]["transcript"] for item in history)
    stopped = await watch.event(page, "input_audio_buffer.speech_stopped")
    assert answered > stopped["at"]
    assert sound.audible_ms(spoken) > 1000
    assert "sdk.error" not in kinds
    assert [line["session_id"] for line in ended] == [call["callId"]]


async def test_agents_sdk_when_interrupt_is_called_falls_silent(
    open_page: OpenPage, client_origin: str, demo_server: Server
) -> None:
    page = await open_page(microphone=[5.0])
    await page.goto(f"{client_origin}/agents")
    await page.evaluate(f"connect('{demo_server.url}', {watch.CHIME})")
    await page.evaluate("session.sendMessage('Hello!')")
    await watch.event(page, "output_audio_buffer.stopped")
    await page.evaluate("session.sendMessage('Tell me a story.')")
    await watch.chime(page, nth=2)

    await page.evaluate("session.interrupt()")

    cleared = await watch.event(page, "output_audio_buffer.cleared")
    await page.wait_for_timeout(2 * STOPS_WITHIN_MS)
    quiet = await watch.heard(page, cleared["at"] + STOPS_WITHIN_MS)
    assert len(quiet) > 10
    assert not any(window.audible for window in quiet)


async def test_agents_sdk_when_the_caller_speaks_into_the_answer_it_is_cut_short(
    open_page: OpenPage, client_origin: str, demo_server: Server
) -> None:
    page = await open_page(microphone=TALKING_OVER)
    await page.goto(f"{client_origin}/agents")
    await page.evaluate(f"connect('{demo_server.url}', {watch.CHIME})")

    long_answer = await watch.chime(page, nth=2)
    cleared = await watch.event(page, "output_audio_buffer.cleared")

    third = await watch.event(page, "input_audio_buffer.speech_started", nth=3)
    assert long_answer < third["at"] <= cleared["at"]
    next_answer = await watch.event(page, "output_audio_buffer.started", nth=3)
    quiet = await watch.heard(page, cleared["at"] + STOPS_WITHIN_MS, next_answer["at"])
    assert len(quiet) > 10
    assert not any(window.audible for window in quiet)
