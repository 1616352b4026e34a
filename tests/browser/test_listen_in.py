"""Listening in on a live call from its page: what the listener's own browser receives and plays."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from relay.app import Prepared
from tests.browser import callpage, sound, watch
from tests.browser.callpage import CallPage
from tests.browser.conftest import OpenPage
from tests.browser.dashboard import dashboard
from tests.web.operator_stage import prepared_for

ANSWERED_MS = 6_000
"""Within so much of the question's end the answer has begun."""


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return prepared_for(tmp_path / "recordings", {"recording.mode": "off"})


@pytest.fixture
def spoken() -> list[bytes]:
    return callpage.voice()


async def ear(page: Page, track: int) -> list[sound.Heard]:
    """All that came by one of the listener's tracks: the client's, the upstream's."""
    return sound.heard(await page.evaluate(f"ears[{track}]"))


async def chimed(page: Page) -> None:
    """Waits until the upstream's track has the second tone that leads the simulator's answers."""
    await page.wait_for_function(
        "() => ears[1].some(({rms, tones}) => rms > 0.01 && tones[1] > 0.7)",
        timeout=watch.TIMEOUT_MS,
    )


async def test_listener_hears_the_client_then_the_simulators_answer_and_no_echo(
    prepared: Prepared, open_page: OpenPage, spoken: list[bytes]
) -> None:
    async with dashboard(prepared, open_page) as shown:
        call, caller = CallPage(shown), await shown.stage.call()
        await shown.page.add_init_script(sound.OVERHEAR)
        await shown.open(f"#/sessions/{caller.id}")
        listen = shown.page.get_by_role("button", name="Listen in")
        await listen.click()
        await expect(shown.page.get_by_role("button", name="Listening")).to_be_visible()
        await shown.page.wait_for_function("() => ears.length === 2")

        await callpage.Mouth(caller).say(spoken)
        asked = await shown.page.evaluate("performance.now()")
        await chimed(shown.page)
        await caller.event("output_audio_buffer.stopped")
        client, upstream = await ear(shown.page, 0), await ear(shown.page, 1)

        (chime,) = sound.chimes(upstream)
        assert sound.audible_ms(client) > 1_000
        assert sound.audible_ms(upstream) > 1_000
        assert not sound.chimes(client)
        assert sound.audible_ms([one for one in client if one.at > chime + 500]) < 100
        assert sound.audible_ms([one for one in upstream if one.at < chime - 200]) < 100
        assert chime < asked + ANSWERED_MS
        await expect(call.page.locator(".facts")).to_contain_text("Listeners1")
        await shown.page.get_by_role("button", name="Listening").click()
        await shown.stage.until(f"sessions/{caller.id}", lambda found: found["listeners"] == 0)
        await shown.stage.hang_up(caller)
        await expect(shown.page.get_by_text("Nothing is kept of it")).to_be_visible()
        shown.problems.clear()  # that it is gone was a 404
