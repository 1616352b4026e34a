"""The dashboard's usage: figures added up right, and really drawn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from relay.app import Prepared
from tests.browser.conftest import OpenPage
from tests.browser.dashboard import Kept, dashboard, keep_all
from tests.browser.demo_site import until
from tests.stores.conversations import usage
from tests.web.operator_stage import prepared_for

MINI = "gpt-realtime-2.1-mini"


def used(key: str, tokens: int, usd: str, **changes: Any) -> dict[str, Any]:
    return {"key_id": key, "usage": usage(tokens, usd, **changes).to_json()}


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """5 tokens for each that `usage` is told, besides the whisper's; and 90 s a call."""
    kept = [
        Kept("rtc_1", days=0, changes=used("shop", 1000, "0.50")),
        Kept("rtc_2", days=2, changes=used("shop", 3000, "1.25")),
        Kept("rtc_3", days=2, changes={**used("kiosk", 200, "0.75", model=MINI), "model": MINI}),
        Kept("rtc_4", days=60, changes=used("kiosk", 10_000, "4.00")),
    ]
    keep_all(tmp_path / "recordings", kept)
    return prepared_for(tmp_path / "recordings")


@pytest.fixture
def unused(tmp_path: Path) -> Prepared:
    return prepared_for(tmp_path / "recordings")


async def table(page: Page) -> dict[str, list[str]]:
    """The sums, by what they are of."""
    rows: list[list[str]] = await page.locator(".sums tr").evaluate_all(
        "rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return {title: cells for title, *cells in rows}


async def painted(page: Page) -> list[int]:
    """How many of each plot's pixels have the first series' colour."""
    found: list[int] = await page.locator("canvas").evaluate_all(
        """canvases => canvases.map((canvas) => {
          const style = getComputedStyle(document.documentElement);
          const wanted = style.getPropertyValue("--plot-1").match(/\\d+/g).map(Number);
          const copy = new OffscreenCanvas(canvas.width, canvas.height);
          const context = copy.getContext("2d", { willReadFrequently: true });
          context.drawImage(canvas, 0, 0);
          const { data } = context.getImageData(0, 0, copy.width, copy.height);
          let found = 0;
          for (let at = 0; at < data.length; at += 4) {
            if (wanted.every((value, n) => data[at + n] === value)) found += 1;
          }
          return found;
        })"""
    )
    return found


async def test_usage_is_added_up_by_key_and_by_model(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        await shown.stage.until("sessions", lambda body: len(body["sessions"]) == 4)
        await shown.open("#/usage")
        await expect(shown.page.locator(".sums tbody tr")).to_have_count(2)
        by_key = await table(shown.page)
        await shown.page.get_by_label("Model", exact=True).check()
        await expect(shown.page.get_by_role("rowheader", name=MINI)).to_be_visible()
        by_model = await table(shown.page)
        await shown.page.get_by_label("90 days").check()
        await expect(shown.page.locator(".sums tfoot")).to_contain_text("$6.50")

        longer = await table(shown.page)

        names = ["Calls", "Minutes", "Tokens in", "of it cached", "Tokens out", "Cost"]
        assert by_key["Key"] == names
        assert by_key["shop"] == ["2", "3", "12,000", "2,000", "16,006", "$1.75"]
        assert by_key["All"][0] == "3"
        assert by_key["All"][-1] == "$2.50"
        assert by_model[MINI][0] == "1"
        assert by_model[MINI][-1] == "$0.75"
        assert "whisper" in by_model
        assert longer["All"][0] == "4"
        await expect(shown.page).to_have_url(re.compile("#/usage.by=model"))


async def test_usage_plots_are_painted_in_both_themes_and_follow_the_width(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        await shown.stage.until("sessions", lambda body: len(body["sessions"]) == 4)
        await shown.open("#/usage")
        await expect(shown.page.locator("canvas")).to_have_count(4)
        light = await painted(shown.page)

        await shown.page.get_by_role("button", name="Dark colours").click()

        assert min(light) > 100
        assert min(await painted(shown.page)) > 100
        await shown.page.set_viewport_size({"width": 390, "height": 800})
        await until(shown.page, "document.querySelector('canvas').clientWidth < 350")
        assert await shown.overflow_px() <= 0
        assert min(await painted(shown.page)) > 100


async def test_usage_plot_tells_its_values_by_keyboard_and_in_a_table(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        await shown.stage.until("sessions", lambda body: len(body["sessions"]) == 4)
        await shown.open("#/usage")
        plot = shown.page.get_by_role("img", name=re.compile("^Cost by day"))
        await plot.focus()
        card = shown.page.locator(".chart").filter(has_text="Cost")

        await shown.page.keyboard.press("End")

        await expect(card.locator(".tip")).to_contain_text("$0.50")
        await shown.page.keyboard.press("ArrowLeft")
        await expect(card.locator(".tip")).to_contain_text("nothing")
        await shown.page.keyboard.press("ArrowLeft")
        await expect(card.locator(".tip")).to_contain_text("kiosk$0.75")
        await expect(card.get_by_role("img")).to_have_attribute(
            "aria-label", re.compile(r"shop \$1\.25, kiosk \$0\.75$")
        )
        await shown.page.keyboard.press("Escape")
        await expect(card.locator(".tip")).to_be_hidden()
        await card.get_by_text("Values").click()
        await expect(card.get_by_role("row")).to_have_count(31)
        await expect(card.get_by_role("row").last).to_contain_text("$0.50")


async def test_usage_of_a_year_is_plotted_by_weeks(prepared: Prepared, open_page: OpenPage) -> None:
    async with dashboard(prepared, open_page) as shown:
        await shown.stage.until("sessions", lambda body: len(body["sessions"]) == 4)
        await shown.open("#/usage")

        await shown.page.get_by_label("Year").check()

        plot = shown.page.get_by_role("img", name=re.compile("^Cost by week"))
        await expect(plot).to_have_attribute("aria-label", re.compile(r"kiosk at most \$4\.00"))
        card = shown.page.locator(".chart").filter(has=plot)
        await card.get_by_text("Values").click()
        await expect(card.get_by_role("row")).to_have_count(1 + 53)
        await expect(shown.page.get_by_text("Each bar is a week")).to_be_visible()


async def test_usage_of_nothing_says_what_would_be_here(
    unused: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(unused, open_page) as shown:
        await shown.open("#/usage")

        await expect(shown.page.get_by_text("Nothing was used in this time.")).to_be_visible()
        await expect(shown.page.locator("canvas")).to_have_count(0)
