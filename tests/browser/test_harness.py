"""The harness itself, on two peer connections of one page: nothing of ours is between."""

from __future__ import annotations

from tests.browser import sound
from tests.browser.conftest import OpenPage


async def test_harness_when_the_microphone_speaks_hears_the_voice(
    open_page: OpenPage, client_origin: str
) -> None:
    page = await open_page(microphone=[0.5, "weather", 2.0])
    await page.goto(f"{client_origin}/loopback")

    await page.evaluate("connect([880, 1320])")
    await page.wait_for_function("heard.filter(({ rms }) => rms > 0.01).length > 20")

    windows = sound.heard(await page.evaluate("heard"))
    assert sound.audible_ms(windows) > 400
    assert not sound.chimes(windows)


async def test_harness_when_the_microphone_is_silent_hears_nothing(
    open_page: OpenPage, client_origin: str
) -> None:
    page = await open_page(microphone=[2.0])
    await page.goto(f"{client_origin}/loopback")

    await page.evaluate("connect([880, 1320])")
    await page.wait_for_function("heard.length > 60")

    assert not any(window.audible for window in sound.heard(await page.evaluate("heard")))
