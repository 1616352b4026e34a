"""Chromium with a recorded voice as its microphone, and a running relay for it to call."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Page, async_playwright

from tests.browser import chromium, server, sound

BUNDLES = Path(__file__).parents[2] / ".cache" / "js"

OpenPage = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture
async def open_page(tmp_path: Path) -> AsyncIterator[OpenPage]:
    """Starts Chromium with an empty profile: `page = await open_page(microphone=[0.5, "weather"])`.

    `microphone` is a recording's parts (tests/browser/sound.py), None for Chromium's own beeps;
    more flags may follow it. What the page logs is shown when the test fails.
    """
    executable = chromium.executable()
    number = itertools.count()
    async with async_playwright() as playwright, contextlib.AsyncExitStack() as stack:

        async def open_page(*flags: str, microphone: list[float | str] | None = None) -> Page:
            profile = tmp_path / f"chromium-{next(number)}"
            if microphone is not None:
                file = sound.record(profile.with_suffix(".wav"), microphone)
                flags = (*flags, f"--use-file-for-fake-audio-capture={file}")
            context = await playwright.chromium.launch_persistent_context(
                profile, executable_path=executable, headless=True, args=[*chromium.FLAGS, *flags]
            )
            stack.push_async_callback(context.close)
            page = context.pages[0]
            stack.push_async_callback(leave, page)
            page.on("console", lambda message: print(f"[console.{message.type}] {message.text}"))
            page.on("pageerror", lambda error: print(f"[page error] {error}"))
            return page

        yield open_page


async def leave(page: Page) -> None:
    """Ends the page's calls as a person would, so that no later test waits for their time-outs."""
    if not page.is_closed():
        await page.goto("about:blank")


@pytest.fixture
async def client_origin() -> AsyncIterator[str]:
    """Where the stock clients' pages live: another origin than the relay's, as an application's is.

    `/NAME` runs the bundle that scripts/bundle-clients made of tests/browser/js/NAME.js.
    """
    if not (BUNDLES / ".bundled").exists():
        chromium.missing("no JavaScript bundles: `make test` makes them")

    async def page(request: web.Request) -> web.Response:
        script = f'<!doctype html><script src="/js/{request.match_info["name"]}.js"></script>'
        return web.Response(text=script, content_type="text/html")

    app = web.Application()
    app.router.add_static("/js", BUNDLES)
    app.router.add_get("/{name}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    with server.running(tmp_path_factory.mktemp("relay")) as running:
        yield running


@pytest.fixture
def demo_server(shared_server: server.Server) -> Iterator[server.Server]:
    """`relay demo`, one for all tests; what it logged meanwhile is shown when the test fails."""
    shared_server.wait_until_idle()  # the last test's browser is gone; its call must be, too
    since = shared_server.log.stat().st_size
    yield shared_server
    logged = shared_server.logged(since)
    print(logged)
    assert '"level": "error"' not in logged, "the relay or the simulator ran into a defect"
