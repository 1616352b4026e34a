"""The seed article's client.js, line for line: seed_client.js is its text as it was published.

Three things are put in: our origin for the base URL, and code for the two comments that ask for it.
"""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Page, Route

from tests.browser import sound, watch
from tests.browser.conftest import OpenPage
from tests.browser.server import Server

ARTICLE = (Path(__file__).parent / "seed_client.js").read_text()
EAR = (Path(__file__).parent / "js" / "ear.js").read_text()

FILLED_IN = (
    ('"https://api.openai.com/v1/realtime"', "`${location.origin}/v1/realtime`"),
    (
        "pc.ontrack = () => {\n// add the logic to set the audio track to your application\n",
        "pc.ontrack = ({ streams }) => {\nwindow.heard = listen(streams[0], [880, 1320]);\n",
    ),
    (
        "/* add the local tracks to the peer connections */",
        "(await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0]",
    ),
)


def seed_page() -> str:
    script = ARTICLE
    for gap, code in FILLED_IN:
        assert script.count(gap) == 1
        script = script.replace(gap, code)
    status = "window.connected = { post: sdpResponse.status, state: () => pc.connectionState };"
    return f'<!doctype html><script type="module">{EAR}\n{script}\n{status}</script>'


async def open_seed_page(page: Page, server: Server) -> None:
    """Serves the page on the relay's own origin, as the article's server.js would."""

    async def serve(route: Route) -> None:
        await route.fulfill(content_type="text/html", body=seed_page())

    await page.route(f"{server.url}/article", serve)
    await page.goto(f"{server.url}/article")
    await page.wait_for_function("window.connected")


async def test_seed_article_when_its_client_runs_unchanged_hears_the_answer(
    open_page: OpenPage, demo_server: Server
) -> None:
    page = await open_page(microphone=[0.5, "weather", 20.0])

    await open_seed_page(page, demo_server)
    answered = await watch.chime(page)
    await page.wait_for_timeout(1500)

    assert await page.evaluate("connected.post") == 201
    assert await page.evaluate("connected.state()") == "connected"
    assert sound.audible_ms(await watch.heard(page, since=answered)) > 1000


async def test_seed_article_when_its_page_is_left_ends_the_call(
    open_page: OpenPage, demo_server: Server
) -> None:
    page = await open_page(microphone=[0.5, "weather", 20.0])
    await open_seed_page(page, demo_server)
    await watch.chime(page)
    since = demo_server.log.stat().st_size

    await page.goto("about:blank")

    assert len(await watch.hung_up(demo_server, since)) == 1
