"""Recorded files in a real browser: finished ones, and what a process that died left behind."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.browser import chromium
from tests.taps.stage import Stage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]

TYPES = {".ogg": "audio/ogg", ".wav": "audio/wav"}

PLAY = """async ([data, type]) => {
    const bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
    const audio = new Audio(URL.createObjectURL(new Blob([bytes], {type})));
    const played = new Promise((resolve, reject) => {
        audio.onended = () => resolve(audio.currentTime);
        audio.onerror = () => reject(audio.error.message);
    });
    audio.playbackRate = 8;
    await audio.play();
    const ended = await played;
    const decoded = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(bytes.buffer);
    const samples = decoded.getChannelData(0);
    const loud = [];
    for (let at = 0; at + 480 <= samples.length; at += 480) {
        const part = samples.subarray(at, at + 480);
        if (part.some(value => Math.abs(value) > 0.1)) loud.push(at / 48000);
    }
    return {duration: audio.duration, ended, decoded: decoded.duration, loud};
}"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium.executable(), args=list(chromium.FLAGS)
        )
        yield await browser.new_page()
        await browser.close()


async def play(page: Page, data: bytes, suffix: str) -> dict[str, object]:
    found = await page.evaluate(PLAY, [base64.b64encode(data).decode(), TYPES[suffix]])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", ["client.ogg", "upstream.pcmu.wav", "client.pcma.wav"])
@pytest.mark.parametrize("cut", [0, 7])
async def test_file_of_a_call_that_has_not_ended_plays_in_chromium(
    page: Page, running: Stage, name: str, cut: int
) -> None:
    data = (running.folder.path / name).read_bytes()

    found = await play(page, data[: len(data) - cut], Path(name).suffix)

    for length in ("duration", "ended", "decoded"):
        assert found[length] == pytest.approx(6.0, abs=0.25)  # a page is cut off
    loud = found["loud"]
    assert isinstance(loud, list)
    first = [at for at in loud if at < 3]
    second = [at for at in loud if at >= 3]
    assert min(first) == pytest.approx(1.0, abs=0.04)
    assert max(first) == pytest.approx(2.0, abs=0.13)  # a decoder lets it fade
    assert min(second) == pytest.approx(4.0, abs=0.04)
