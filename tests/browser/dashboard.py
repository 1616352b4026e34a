"""The dashboard as an operator works it, and all it complains about meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.async_api import ConsoleMessage, Page, Response, ViewportSize, expect

from relay.app import Prepared
from tests.stores.conversations import make_folder
from tests.web.operator_stage import TOKEN, OperatorStage, operating

PHONE: ViewportSize = {"width": 390, "height": 844}
HOSTILE = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
"""What must never be more than text; both parts would change the title."""

# Before any script of the page: what its own content security policy has refused.
_WATCH_POLICY = """
window.violations = [];
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
  violations.push(`${violatedDirective} ${blockedURI}`);
});
"""


@dataclass  # no slots: Playwright puts an attribute on what has a handler
class Dashboard:
    """`problems` are errors and warnings of console and scripts, and requests refused with a status
    that is not `expected`, since the page was opened."""

    page: Page
    stage: OperatorStage
    problems: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=lambda: {401})

    async def open(self, where: str = "#/live", *, sign_in: bool = True) -> None:
        """The page at a place; its sign-in is passed unless that is the test's."""
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("response", self._note_refusal)
        await self.page.add_init_script(_WATCH_POLICY)
        await self.page.goto(f"{self.stage.url}/admin/{where}")
        if sign_in:
            await self.sign_in()

    async def sign_in(self, token: str = TOKEN) -> None:
        await self.page.get_by_label("Operator’s token").fill(token)
        await self.page.keyboard.press("Enter")

    async def go(self, where: str) -> None:
        """To another view, as a link does."""
        await self.page.evaluate("where => { location.hash = where; }", where)

    async def shows(self, heading: str) -> None:
        await expect(self.page.get_by_role("heading", level=1)).to_contain_text(heading)

    async def complaints(self) -> list[str]:
        """Everything that a clean run has nothing of."""
        violations: list[str] = await self.page.evaluate("violations")
        return self.problems + violations

    async def overflow_px(self) -> int:
        """By how much the page is wider than its window."""
        found: int = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return found

    def _note(self, message: ConsoleMessage) -> None:
        # A refused request is a console error without its address: `_note_refusal` has it.
        if message.type in {"error", "warning"} and "Failed to load" not in message.text:
            self.problems.append(message.text)

    def _note_refusal(self, response: Response) -> None:
        # A 401 is how the page finds out that it has to ask for the token.
        if response.status >= 400 and response.status not in self.expected:
            self.problems.append(f"{response.status} {response.request.method} {response.url}")


@asynccontextmanager
async def dashboard(
    prepared: Prepared, open_page: Callable[..., Awaitable[Page]], *flags: str
) -> AsyncIterator[Dashboard]:
    """A server and a browser that has not opened its dashboard yet. At the end, without another
    error in between, there must be nothing to complain about."""
    async with operating(prepared) as stage:
        page = await open_page(*flags)
        shown = Dashboard(page, stage)
        try:
            yield shown
            assert await shown.complaints() == []
        finally:
            await page.goto("about:blank")  # its event streams would hold the server up


@dataclass(frozen=True, slots=True)
class Kept:
    """A conversation to be stored, `days` ago."""

    id: str
    texts: tuple[str, ...] = ()
    days: float = 0.0
    changes: dict[str, Any] = field(default_factory=dict)


def keep_all(directory: Path, kept: list[Kept]) -> None:
    """Stores them before a server starts, which then finds them. Blocks."""
    for one in kept:
        make_folder(
            directory,
            one.id,
            *one.texts,
            started_at=datetime.now(UTC) - timedelta(days=one.days),
            **one.changes,
        )
