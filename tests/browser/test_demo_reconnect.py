"""The demo page on a real relay whose path changes in mid-call."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser import watch
from tests.browser.conftest import OpenPage
from tests.browser.demo_page import DemoPage
from tests.browser.demo_site import until
from tests.browser.server import Server

# A restart on loopback is over before anybody could look.
_NOTE_STATUS = """
window.statuses = [];
new MutationObserver(() => statuses.push(document.getElementById("status").textContent))
  .observe(document.getElementById("status"), { childList: true });
"""


async def test_demo_page_whose_network_comes_back_reconnects_and_talks_on(
    open_page: OpenPage, demo_server: Server
) -> None:
    demo = DemoPage(await open_page())
    await demo.open(demo_server.url)
    await demo.start()
    await demo.loud("them")
    await demo.page.evaluate(_NOTE_STATUS)

    await demo.page.evaluate("window.dispatchEvent(new Event('online'))")
    await until(demo.page, "statuses.length === 2")
    await demo.quiet("them")
    await demo.page.get_by_role("button", name="Say").click()

    await demo.loud("them")
    assert await demo.page.evaluate("statuses") == ["Reconnecting…", "Connected"]
    await demo.tab("Path")
    changes = demo.page.locator("#path dl > div").filter(has_text="Path changes")
    await expect(changes.locator("dd")).to_have_text("1")
    since = demo_server.log.stat().st_size
    await demo.page.get_by_role("button", name="Hang up").click()
    await demo.shows("Call ended")
    (ended,) = await watch.hung_up(demo_server, since)
    assert ended["restarts"] == 1
    assert await demo.complaints() == []
