"""The dashboard's search: found by words and filters, opened at the second, deleted with proof."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from relay.app import Prepared
from relay.stores.folders import Folders
from tests.browser.conftest import OpenPage
from tests.browser.dashboard import HOSTILE, Dashboard, Kept, dashboard, keep_all
from tests.web.operator_stage import prepared_for, prepared_unread

ORDER = ("I would like to change my order.", "Sure, what is the order’s number?", "Four two seven.")
FOLLOW_MS = 3000  # as search.js has it
FAILED = {"end": {"outcome": "failed", "reason": "upstream_lost"}}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def prepared(directory: Path) -> Prepared:
    kept = [
        Kept("rtc_order", ORDER, 0.01),
        Kept("rtc_weather", ("What is the weather?", "Sunny."), 2, {"key_id": "kiosk"}),
        Kept("rtc_lost", ("Hello?",), 40, {"model": "gpt-realtime-other", **FAILED}),
        Kept("rtc_hostile", (f"zebra {HOSTILE}",), 3, {"model": HOSTILE, "key_id": HOSTILE}),
    ]
    keep_all(directory, kept)
    return prepared_for(directory)


@pytest.fixture
def many(directory: Path) -> Prepared:
    """More than a page."""
    keep_all(directory, [Kept(f"rtc_{n:03}", ("Hello.",), n / 100) for n in range(75)])
    return prepared_for(directory)


@pytest.fixture
def unread(tmp_path: Path) -> Prepared:
    return prepared_unread(tmp_path)


def results(page: Page) -> Locator:
    return page.locator(".result")


@asynccontextmanager
async def calls_of(
    prepared: Prepared, open_page: OpenPage, count: int, where: str = "#/sessions"
) -> AsyncIterator[Dashboard]:
    """The list of a server that knows of the `count` calls that were there before it."""
    async with dashboard(prepared, open_page) as shown:
        await shown.stage.until("sessions?limit=200", lambda body: len(body["sessions"]) == count)
        await shown.open(where)
        yield shown


async def test_search_for_words_shows_where_they_were_said_and_opens_the_call_there(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with calls_of(prepared, open_page, 4) as shown:
        await expect(results(shown.page)).to_have_count(4)

        await shown.page.get_by_label("Search transcripts").press_sequentially("order number")

        await expect(results(shown.page)).to_have_count(1)
        await expect(shown.page.locator("mark").first).to_have_text("order")
        hit = shown.page.get_by_role("link").filter(has_text="number?")
        shown.expected.add(404)  # what is stored here is no whole recording
        await expect(hit).to_contain_text("Assistant0:02")
        await hit.click()
        await expect(shown.page).to_have_url(re.compile(r"#/sessions/rtc_order\?at=2\.5$"))
        await expect(shown.page.locator("main")).to_contain_text("Four two seven.")
        await shown.page.go_back()
        await expect(shown.page.get_by_label("Search transcripts")).to_have_value("order number")
        await expect(results(shown.page)).to_have_count(1)
        await shown.page.get_by_label("Search transcripts").press("Escape")
        await expect(results(shown.page)).to_have_count(4)


async def test_search_with_filters_keeps_them_in_the_address(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with calls_of(prepared, open_page, 4) as shown:
        await shown.page.get_by_label("Outcome").select_option("failed")
        await expect(results(shown.page)).to_have_count(1)
        await shown.page.get_by_label("Model").fill("gpt-realtime-other")
        await expect(shown.page).to_have_url(re.compile("outcome=failed&model=gpt-realtime-other"))

        await shown.page.reload()

        await expect(results(shown.page)).to_have_count(1)
        await expect(shown.page.get_by_role("link", name="rtc_lost")).to_be_visible()
        await shown.page.get_by_label("From").fill(days_ago(10))
        await expect(shown.page.get_by_text("Nothing is found.")).to_be_visible()
        await shown.page.get_by_role("button", name="Clear").click()
        await expect(results(shown.page)).to_have_count(4)
        await shown.page.get_by_label("To", exact=True).fill(days_ago(10))
        await expect(results(shown.page)).to_have_count(1)


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).date().isoformat()


async def test_search_shows_hostile_text_as_text(prepared: Prepared, open_page: OpenPage) -> None:
    async with calls_of(prepared, open_page, 4, "#/sessions?q=zebra") as shown:
        row = results(shown.page)
        await expect(row.locator(".model")).to_have_text(HOSTILE)
        await expect(row.locator(".owner")).to_have_text(HOSTILE)
        await expect(row.locator("q")).to_contain_text(HOSTILE[:40])
        assert await row.locator("img, script").count() == 0
        assert await shown.page.title() == "Calls · relay"


async def test_search_of_more_than_a_page_goes_on_where_it_ended(
    many: Prepared, open_page: OpenPage
) -> None:
    async with calls_of(many, open_page, 75) as shown:
        await expect(results(shown.page)).to_have_count(50)
        await expect(shown.page.get_by_text("50 calls, and more")).to_be_visible()

        await shown.page.get_by_role("button", name="Show more").click()

        await expect(results(shown.page)).to_have_count(75)
        await expect(shown.page.get_by_role("link", name="rtc_050")).to_be_focused()
        await expect(shown.page.get_by_role("button", name="Show more")).to_be_hidden()
        ids = await results(shown.page).evaluate_all("rows => rows.map((row) => row.dataset.id)")
        assert ids == [f"rtc_{n:03}" for n in range(75)]


async def test_deletion_is_asked_for_once_more_and_proven(
    prepared: Prepared, open_page: OpenPage, directory: Path
) -> None:
    async with calls_of(prepared, open_page, 4) as shown:
        delete = shown.page.get_by_role("button", name="Delete rtc_order")
        await delete.click()
        await expect(shown.page.get_by_role("dialog")).to_contain_text("rtc_order")
        await shown.page.keyboard.press("Escape")
        await expect(shown.page.get_by_role("dialog")).to_have_count(0)
        assert await asyncio.to_thread(Folders(directory).find, "rtc_order") is not None
        await delete.click()

        await shown.page.get_by_role("dialog").get_by_role("button", name="Delete").click()

        proof = shown.page.get_by_role("dialog", name="Deleted")
        await expect(proof).to_contain_text("client.ogg")
        await expect(proof).to_contain_text("A look around found nothing that is left of it.")
        await proof.get_by_role("button", name="Close").click()
        await expect(results(shown.page)).to_have_count(3)
        await expect(shown.page.get_by_role("link", name="rtc_weather")).to_be_focused()
        assert await asyncio.to_thread(Folders(directory).find, "rtc_order") is None


async def test_list_keeps_up_with_calls_and_leaves_the_reader_where_he_was(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with calls_of(prepared, open_page, 4) as shown:
        focused = shown.page.get_by_role("button", name="Delete rtc_weather")
        await focused.focus()

        caller = await shown.stage.call()
        row = results(shown.page).filter(has_text=caller.id)
        await expect(row).to_contain_text("live")
        await shown.stage.hang_up(caller)

        await expect(row).to_contain_text("completed")
        await expect(focused).to_be_focused()


async def test_list_is_not_filled_anew_while_some_of_it_is_marked(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with calls_of(prepared, open_page, 4) as shown:
        row = results(shown.page).filter(has_text="rtc_weather")
        await row.evaluate("row => getSelection().selectAllChildren(row)")

        caller = await shown.stage.call()
        await shown.page.wait_for_timeout(FOLLOW_MS + 1000)

        assert "rtc_weather" in await shown.page.evaluate("getSelection().toString()")
        await shown.page.evaluate("getSelection().removeAllRanges()")
        await expect(results(shown.page).filter(has_text=caller.id)).to_be_visible()


async def test_search_without_an_index_says_why(unread: Prepared, open_page: OpenPage) -> None:
    async with dashboard(unread, open_page) as shown:
        await shown.open("#/sessions")

        await expect(shown.page.get_by_role("alert")).to_contain_text("Stored calls are missing:")
        await expect(shown.page.get_by_text("Nothing can be shown.")).to_be_visible()
