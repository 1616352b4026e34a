"""The stock @openai/agents-realtime in Chromium, straight to the simulator: no relay between.

What fails here is the simulator's fault, whatever the relay does.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.async_api import Page

from relay.simulator import Simulator
from tests.browser import sound, watch
from tests.browser.conftest import OpenPage, client_origin, open_page
from tests.simulator.caller import KEY

__all__ = ["client_origin", "open_page"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

WITH_KEY = f"""
const plain = window.fetch;
window.fetch = (url, options) => plain(url, String(url).endsWith("/client_secrets")
  ? {{ ...options, headers: {{ ...options.headers, Authorization: "Bearer {KEY}" }} }}
  : options);
"""


async def connect(page: Page, simulator: Simulator, origin: str) -> None:
    url = (await simulator.start()).removesuffix("/v1")
    await page.goto(f"{origin}/agents")
    await page.evaluate(WITH_KEY)
    call = await page.evaluate(f"connect('{url}', {watch.CHIME})")
    assert call["callId"].startswith("rtc_")
    assert call["took"] < 5000, "connect() gave up waiting for session.updated"


async def test_agents_sdk_asks_and_hears_the_answer(
    open_page: OpenPage, client_origin: str, simulator: Simulator
) -> None:
    page = await open_page(microphone=[0.5, "weather", 20.0])

    await connect(page, simulator, client_origin)
    answered = await watch.chime(page)
    await watch.event(page, "output_audio_buffer.stopped")

    spoken = await watch.heard(page, since=answered)
    assert sound.audible_ms(spoken) > 1000
    kinds = await watch.kinds(page)
    assert "conversation.item.retrieved" in kinds  # the SDK asks for each item with its audio
    assert "error" not in kinds
    history = await page.evaluate("session.history")
    assert [item["role"] for item in history] == ["user", "assistant"]
    assert all(item["content"][0]["transcript"] for item in history)


async def test_agents_sdk_speaks_into_the_answer_and_silences_it(
    open_page: OpenPage, client_origin: str, simulator: Simulator
) -> None:
    simulator.options = replace(simulator.options, think_s=0.2)
    page = await open_page(microphone=[0.5, "weather", 4.5, "weather", 3.0, "interrupt", 20.0])

    await connect(page, simulator, client_origin)
    cleared = await watch.event(page, "output_audio_buffer.cleared")
    done = await watch.event(page, "response.done", nth=2)

    assert done["event"]["response"]["status_details"]["reason"] == "turn_detected"
    # The interrupting words may be over before the browser's own buffer is: listen until the next
    # answer begins.
    next_answer = await watch.event(page, "output_audio_buffer.started", nth=3)
    quiet = await watch.heard(page, cleared["at"] + 800, next_answer["at"])
    assert quiet
    assert not any(window.audible for window in quiet)
