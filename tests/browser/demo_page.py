"""The demo page as its reader works it, and all it complains about meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.async_api import ConsoleMessage, Page, expect

from tests.browser.demo_site import until

# Before any script of the page: what its own content security policy has refused.
_WATCH_POLICY = """
window.violations = [];
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
  violations.push(`${violatedDirective} ${blockedURI}`);
});
"""


@dataclass
class DemoPage:
    """`problems` are the errors and warnings of console and scripts since the page was opened."""

    page: Page
    problems: list[str] = field(default_factory=list)

    async def open(self, origin: str) -> None:
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        await self.page.add_init_script(_WATCH_POLICY)
        await self.page.goto(origin)
        await self.shows("Ready")

    async def start(self, *, sample: bool = True) -> None:
        """Starts a call and waits until it is connected."""
        if sample:
            await self.page.get_by_label("Sample voice").check()
        await self.page.get_by_role("button", name="Start call").click()
        await self.shows("Connected")

    async def shows(self, status: str) -> None:
        await expect(self.page.get_by_role("status")).to_have_text(status, timeout=15_000)

    async def tab(self, name: str) -> None:
        await self.page.get_by_role("tab", name=name).click()

    async def loud(self, voice: str, above: float = 0.2) -> None:
        """Waits until the level meter of "you" or "them" shows more than `above` of its width."""
        await until(self.page, f"{self._level(voice)} > {above}")

    async def quiet(self, voice: str, for_ms: int = 800) -> None:
        """Waits until the level meter has been empty for longer than a pause within a phrase."""
        await self.page.evaluate("window.soundedAt = performance.now()")
        sounding = f"{self._level(voice)} > 0.01"
        await until(
            self.page,
            f"({sounding} && (soundedAt = performance.now()), "
            f"performance.now() - soundedAt > {for_ms})",
        )

    async def complaints(self) -> list[str]:
        """Everything that a clean run has nothing of."""
        violations: list[str] = await self.page.evaluate("violations")
        return self.problems + violations

    @staticmethod
    def _level(voice: str) -> str:
        return f"Number(document.getElementById('{voice}-level').style.getPropertyValue('--level'))"

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(message.text)
