"""What a test waits for: events in a page, and the relay's own account of its calls."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from playwright.async_api import Page

from tests.browser import sound
from tests.browser.server import Server

CHIME = json.dumps(sound.CHIME_HZ)
TIMEOUT_MS = 30_000


async def event(page: Page, kind: str, nth: int = 1) -> dict[str, Any]:
    """Waits for the page's `nth` event of a kind, as the bundles of tests/browser/js note them."""
    found = await page.wait_for_function(
        "([kind, nth]) => events.filter(({ type }) => type === kind)[nth - 1]",
        arg=[kind, nth],
        timeout=TIMEOUT_MS,
    )
    noted: dict[str, Any] = await found.json_value()
    return noted


async def kinds(page: Page) -> list[str]:
    noted: list[str] = await page.evaluate("events.map(({ type }) => type)")
    return noted


async def heard(page: Page, since: float = 0, until: float = float("inf")) -> list[sound.Heard]:
    """What the page heard in a span of its own clock, in milliseconds."""
    windows = sound.heard(await page.evaluate("heard"))
    return [window for window in windows if since <= window.at <= until]


async def chime(page: Page, nth: int = 1) -> float:
    """Waits until the simulator's `nth` answer is to be heard, and says when it began."""
    async with asyncio.timeout(TIMEOUT_MS / 1000):
        while True:
            await page.wait_for_function(
                "n => heard.length > n", arg=await page.evaluate("heard.length + 8")
            )
            if len(starts := sound.chimes(await heard(page))) >= nth:
                return starts[nth - 1]


async def hung_up(server: Server, since: int) -> list[dict[str, Any]]:
    """Waits until the relay has no call left; the `session.ended` lines since a byte of its log."""
    await asyncio.to_thread(server.wait_until_idle)
    lines = [json.loads(line) for line in server.logged(since).splitlines() if line[:1] == "{"]
    return [line for line in lines if line.get("event") == "session.ended"]
