"""A whole server before a real simulator, a caller, and the operator's side of it."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from relay.app import Prepared, prepare, serving
from relay.rtc import CertificateStore, Leg, Sockets
from relay.simulator import Simulator, SimulatorOptions
from tests.session.stage import LOOPBACK, Browser, Inbox
from tests.web.conftest import settings_with

TOKEN = "operator-0123456789"
TIMEOUT_S = 15.0


def prepared_for(directory: Path, overrides: dict[str, object] | None = None) -> Prepared:
    """Not on a loop: it reads files."""
    return prepare(
        settings_with(
            {
                "http.port": 0,
                "ice.bind": ["127.0.0.1"],
                "ice.allow_private_candidates": True,
                "upstream.provider": "simulator",
                "admin.token": TOKEN,
                "recording.mode": "audio",
                "recording.directory": directory,
                **(overrides or {}),
            }
        )
    )


def prepared_unread(directory: Path) -> Prepared:
    """A server that cannot keep anything, nor index it: its directory is a file's."""
    blocked = directory / "file"
    blocked.write_text("")
    return prepared_for(blocked / "recordings")


@dataclass
class Caller:
    """A browser in its call."""

    id: str
    browser: Browser
    inbox: Inbox

    async def event(self, wanted: str) -> dict[str, Any]:
        """The next event of that type; others are passed over."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                found = json.loads(await self.inbox.messages.get())
                if found["type"] == wanted:
                    assert isinstance(found, dict)
                    return found

    def send(self, **event: Any) -> None:
        self.inbox.channel.send(json.dumps(event))

    async def ask(self, text: str) -> dict[str, Any]:
        """Has a text answered aloud; returns when all of it is generated."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        self.send(type="conversation.item.create", item=item)
        self.send(type="response.create")
        return await self.event("response.done")

    async def speak(self, payloads: Sequence[bytes]) -> None:
        """Opus packets, one each 20 ms."""
        loop, ssrc = asyncio.get_running_loop(), 0x1234
        begins = loop.time()
        for n, payload in enumerate(payloads):
            header = struct.pack("!BBHII", 0x80, 111, n & 0xFFFF, n * 960, ssrc)
            self.browser.leg.send_rtp(header + payload)
            await asyncio.sleep(max(0.0, begins + 0.02 * (n + 1) - loop.time()))


class OperatorStage:
    """Everything of one test; closes with it."""

    def __init__(self, stack: AsyncExitStack, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http
        self._stack = stack
        self._certificates = CertificateStore()

    def _sockets(self) -> Sockets:
        sockets = Sockets(LOOPBACK)
        sockets.open()
        self._stack.callback(sockets.close)
        return sockets

    async def call(self) -> Caller:
        """A call whose session has been created."""
        browser = Browser(self._sockets(), self._certificates)
        self._stack.push_async_callback(browser.leg.close)
        inbox = browser.channel()
        headers = {"Content-Type": "application/sdp"}
        async with self.http.post(
            "/v1/realtime/calls", data=await browser.offer(), headers=headers
        ) as response:
            assert response.status == 201, await response.text()
            answer, location = await response.text(), response.headers["Location"]
        await browser.connect(answer)
        await inbox.open()
        caller = Caller(location.rpartition("/")[2], browser, inbox)
        await caller.event("session.created")
        return caller

    def listening_leg(self) -> Leg:
        leg = Leg("upstream", self._sockets(), self._certificates.current(), offers=True)
        self._stack.push_async_callback(leg.close)
        return leg

    async def hang_up(self, caller: Caller) -> None:
        async with self.http.delete(f"/v1/realtime/calls/{caller.id}") as response:
            assert response.status == 200

    async def admin(self, path: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
        """A request's status, and its body: JSON parsed, else bytes."""
        async with self.request(path, method, **options) as response:
            body = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(body) if is_json else body

    def request(self, path: str, method: str = "GET", **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}", **options.pop("headers", {})}
        return self.http.request(method, f"/admin/v1/{path}", headers=headers, **options)

    async def until(self, path: str, holds: Callable[[Any], bool]) -> Any:
        """Asks until the answer is as wanted: what another thread does is told by nobody."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                status, body = await self.admin(path)
                if status == 200 and holds(body):
                    return body
                await asyncio.sleep(0.02)


@asynccontextmanager
async def operating(prepared: Prepared) -> AsyncIterator[OperatorStage]:
    """A server within the block."""
    async with AsyncExitStack() as stack:
        upstream_url = await stack.enter_async_context(Simulator(SimulatorOptions()))
        upstream = prepared.settings.upstream.model_copy(update={"url": upstream_url})
        settings = prepared.settings.model_copy(update={"upstream": upstream})
        server = await stack.enter_async_context(serving(replace(prepared, settings=settings)))
        http = await stack.enter_async_context(aiohttp.ClientSession(server.url))
        yield OperatorStage(stack, server.url, http)
