"""The demo page on `relay demo`: a whole call through the relay, as a newcomer makes it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser import watch
from tests.browser.conftest import OpenPage
from tests.browser.demo_page import DemoPage
from tests.browser.server import Server

SECONDS = re.compile(r"^\d\.\d\d s$")


@pytest.fixture
async def demo(open_page: OpenPage, demo_server: Server) -> AsyncIterator[DemoPage]:
    """The page of the running relay; when the test ends it must have nothing to complain about."""
    demo = DemoPage(await open_page())
    await demo.open(demo_server.url)
    yield demo
    assert await demo.complaints() == []


def answers(page: Page) -> Locator:
    return page.get_by_role("log").locator(".assistant")


async def hang_up(demo: DemoPage, server: Server) -> list[dict[str, object]]:
    """Hangs up by the page's button; the relay's closing lines."""
    since = server.log.stat().st_size
    await demo.page.get_by_role("button", name="Hang up").click()
    await demo.shows("Call ended")
    return await watch.hung_up(server, since)


async def test_demo_page_with_the_sample_voice_makes_a_whole_call(
    demo: DemoPage, demo_server: Server
) -> None:
    await demo.start()
    await demo.loud("you")
    await demo.loud("them")

    log = demo.page.get_by_role("log")
    await expect(log.locator(".user .said").first).to_have_text(re.compile(r"speech|\w"))
    await expect(answers(demo.page).first.locator(".said")).to_have_text(re.compile(r"\w{3}"))
    await expect(answers(demo.page).first.locator(".took")).to_have_text(SECONDS)
    await demo.tab("Latency")
    await expect(demo.page.locator("#latency-last")).to_have_text(SECONDS)
    await expect(demo.page.locator("#answers li").first).to_contain_text("heard here")
    await demo.tab("Path")
    here = demo.page.locator("#path dl > div").filter(has_text="Relay")
    await expect(here).to_have_text(re.compile(r"host udp 127\.0\.0\.1:\d+"))

    (ended,) = await hang_up(demo, demo_server)
    assert ended["reason"] == "client_hung_up"
    await expect(demo.page.get_by_role("alert")).to_be_hidden()


async def test_demo_page_when_interrupted_falls_silent_and_cuts_the_words(
    demo: DemoPage, demo_server: Server
) -> None:
    await demo.start()
    await demo.loud("them")

    await demo.page.get_by_role("button", name="Interrupt").click()

    await demo.quiet("them")
    await expect(answers(demo.page).last.locator(".cut")).to_have_text(
        re.compile(r"^interrupted after \d\.\d s$")
    )
    assert len(await hang_up(demo, demo_server)) == 1


async def test_demo_page_when_a_message_is_typed_hears_an_answer(
    demo: DemoPage, demo_server: Server
) -> None:
    await demo.start(sample=False)
    await demo.page.get_by_role("button", name="Mute").click()
    message = demo.page.get_by_label("Message", exact=True)

    await message.fill("And by night?")
    await message.press("Enter")

    await expect(demo.page.get_by_role("log").locator(".user .said").last).to_have_text(
        "And by night?"
    )
    await demo.loud("them")
    await demo.tab("Latency")
    await expect(demo.page.locator("#answers li").first).to_contain_text("after your message")
    assert len(await hang_up(demo, demo_server)) == 1


async def test_demo_page_when_closed_ends_the_call(demo: DemoPage, demo_server: Server) -> None:
    await demo.start()
    await demo.loud("you")
    since = demo_server.log.stat().st_size

    await demo.page.goto("about:blank")

    (ended,) = await watch.hung_up(demo_server, since)
    # The page's POST and the browser's own goodbye race each other.
    assert ended["reason"] in {"client_hung_up", "client_closed"}
