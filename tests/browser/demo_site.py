"""The demo page and relay.js without a relay: their own server, and a far end within the page.

What a call needs of a server, one answer to one POST, the test gives itself; so it can be anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import Error, Page, Request, Route

from relay.web.pages import PageRoutes, load_assets

FAR_END = (Path(__file__).parent / "demo_far_end.js").read_text()
CALL_PATH = "/v1/realtime/calls/rtc_test"


@dataclass(frozen=True, slots=True)
class Site:
    """A server with the pages, and with nothing behind them but an ear for the last request."""

    origin: str
    hung_up: asyncio.Event


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Site]:
    """The pages as the relay serves them."""
    hung_up = asyncio.Event()

    async def hang_up(request: web.Request) -> web.Response:
        hung_up.set()
        return web.Response()

    app = web.Application()
    app.add_routes(PageRoutes(await asyncio.to_thread(load_assets)).routes())
    app.router.add_post(f"{CALL_PATH}/hangup", hang_up)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield Site(f"http://{host}:{port}", hung_up)
    await runner.cleanup()


@dataclass  # no slots: Playwright puts an attribute on what has a handler
class Signalling:
    """Answers the page's POSTs with the far end that lives in the same page.

    `refusal`, where set, is the status, body and headers that every offer gets instead; `silent`
    leaves offers without any answer.
    """

    page: Page
    refusal: tuple[int, str, dict[str, str]] | None = None
    silent: bool = False
    location: str | None = CALL_PATH
    offers: list[Request] = field(default_factory=list)
    hang_ups: list[Request] = field(default_factory=list)
    held: list[Route] = field(default_factory=list)

    async def start(self) -> None:
        await self.page.add_init_script(FAR_END)
        await self.page.route("**/v1/realtime/calls*", self._answer)
        await self.page.route("**/v1/realtime/calls/*/hangup", self._hang_up)

    async def packets(self) -> int:
        """How many RTP packets the far end has received."""
        count: int = await self.page.evaluate("far.packets()")
        return count

    async def close(self) -> None:
        """Leaves the page, so that it holds no connection, and lets go what was not answered."""
        await self.page.goto("about:blank")
        for route in self.held:
            with contextlib.suppress(Error):  # the page has given it up
                await route.abort()

    async def _answer(self, route: Route) -> None:
        self.offers.append(route.request)
        if self.silent:
            self.held.append(route)
            return
        if self.refusal is not None:
            status, body, headers = self.refusal
            await route.fulfill(status=status, body=body, headers=headers)
            return
        answer: str = await self.page.evaluate("(body) => far.answer(body)", _sdp(route.request))
        location = {"Location": self.location} if self.location else {}
        headers = {"Content-Type": "application/sdp", **location}
        await route.fulfill(status=201, body=answer, headers=headers)

    async def _hang_up(self, route: Route) -> None:
        self.hang_ups.append(route.request)
        await route.fulfill(status=200)

    async def say(self, *events: dict[str, Any]) -> None:
        """Sends events from the far end, in order."""
        await self.page.evaluate("(events) => far.say(events)", list(events))

    async def heard(self) -> list[dict[str, Any]]:
        """The client events that have reached the far end."""
        events: list[dict[str, Any]] = await self.page.evaluate("far.events")
        return events


def _sdp(request: Request) -> str:
    """The offer: the body, or the part `sdp` of a form."""
    body = request.post_data or ""
    if not body.startswith("--"):
        return body
    return (
        next(part for part in body.split('name="') if part.startswith("sdp"))
        .partition("\r\n\r\n")[2]
        .rpartition("\r\n--")[0]
    )


async def until(page: Page, condition: str, timeout_ms: int = 15_000) -> None:
    """Waits until a JavaScript expression is true.

    `wait_for_function` is for pages whose policy allows `eval`; the relay's does not.
    """
    await page.evaluate(
        """([timeout, condition]) => new Promise((done, fail) => {
             const start = performance.now();
             const look = setInterval(() => {
               const late = performance.now() - start > timeout;
               if (!late && !CONDITION) return;
               clearInterval(look);
               late ? fail(new Error(`not within ${timeout} ms: ${condition}`)) : done();
             }, 20);
           })""".replace("CONDITION", f"({condition})"),
        [timeout_ms, condition],
    )
