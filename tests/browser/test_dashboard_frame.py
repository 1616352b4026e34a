"""The dashboard's frame: who gets in, by what keys, in which colours, on what screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from relay.app import Prepared
from relay.web.admin_login import TRIES_A_MINUTE
from tests.browser.conftest import OpenPage
from tests.browser.dashboard import PHONE, Kept, dashboard, keep_all
from tests.web.operator_stage import prepared_for

VIEWS = {"#/live": "Live calls", "#/sessions": "Calls", "#/usage": "Usage"}


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    keep_all(tmp_path / "recordings", [Kept(f"rtc_{n}", ("Hello.",), n) for n in range(3)])
    return prepared_for(tmp_path / "recordings")


@pytest.fixture
def open_to_all(tmp_path: Path) -> Prepared:
    """A server that asks for no token: it listens on loopback alone."""
    return prepared_for(tmp_path / "recordings", {"admin.token": None})


async def test_sign_in_with_the_right_token_lasts_until_signed_out(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        await shown.open("#/usage", sign_in=False)
        await shown.sign_in("operator-wrong")
        await expect(shown.page.get_by_role("alert")).to_have_text(
            "That is not this relay’s token."
        )
        await shown.sign_in()
        await shown.shows("Usage")
        await shown.page.reload()
        await shown.shows("Usage")
        cookies = await shown.page.context.cookies()

        await shown.page.get_by_role("button", name="Sign out").click()

        await shown.shows("Sign in")
        await shown.page.reload()
        await shown.shows("Sign in")
        assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [
            (True, "Strict")
        ]
        assert await shown.page.evaluate("Object.values({...localStorage}).join()") == ""


async def test_sign_in_tried_too_often_says_when_to_come_again(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        shown.expected.add(429)
        await shown.open(sign_in=False)
        for _ in range(TRIES_A_MINUTE + 1):
            async with shown.page.expect_response("**/admin/v1/login"):
                await shown.sign_in("operator-wrong")

        await expect(shown.page.get_by_role("alert")).to_have_text(
            re.compile(r"^Too many tries\. Try again in \d+ s\.$")
        )


async def test_sign_in_that_has_run_out_is_asked_for_again_where_one_was(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        await shown.page.clock.install()
        await shown.open("#/live")
        await shown.shows("Live calls")

        await shown.page.context.clear_cookies()
        await shown.page.clock.fast_forward(5_000)  # more than from one poll to the next

        await shown.shows("Sign in")
        await shown.sign_in()
        await shown.shows("Live calls")


async def test_server_without_a_token_asks_for_none(
    open_to_all: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(open_to_all, open_page) as shown:
        await shown.open(sign_in=False)

        await shown.shows("Live calls")
        await expect(shown.page.get_by_role("button", name="Sign out")).to_be_hidden()


async def test_keyboard_alone_reaches_every_view(prepared: Prepared, open_page: OpenPage) -> None:
    async with dashboard(prepared, open_page) as shown:
        await shown.open()
        await shown.shows("Live calls")
        await shown.page.reload()
        await shown.shows("Live calls")
        press = shown.page.keyboard.press
        await press("Tab")
        await expect(shown.page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await press("Enter")
        await expect(shown.page.locator("main")).to_be_focused()

        await press("/")

        await shown.shows("Calls")
        await expect(shown.page.get_by_label("Search transcripts")).to_be_focused()
        await expect(shown.page.locator(".result")).to_have_count(3)
        await press("ArrowDown")
        await expect(shown.page.get_by_role("link", name="rtc_0")).to_be_focused()
        await press("End")
        await expect(shown.page.get_by_role("link", name="rtc_2")).to_be_focused()
        await press("ArrowUp")
        await press("Enter")
        await expect(shown.page).to_have_url(re.compile("#/sessions/rtc_1$"))
        await shown.page.get_by_role("link", name="Usage").focus()
        await press("Enter")
        await shown.shows("Usage")


async def test_colours_follow_the_system_until_they_are_chosen(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        await shown.page.emulate_media(color_scheme="dark")
        await shown.open()
        await shown.shows("Live calls")
        by_system = await ground(shown.page)

        await shown.page.get_by_role("button", name="Light colours").click()

        by_choice = await ground(shown.page)
        await shown.page.reload()
        await shown.shows("Live calls")
        assert (by_system, by_choice) == ("rgb(18, 19, 21)", "rgb(245, 243, 238)")
        assert await ground(shown.page) == by_choice


async def ground(page: Page) -> str:
    found: str = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return found


async def test_views_fit_a_phone_and_are_readable(
    prepared: Prepared, open_page: OpenPage, tmp_path: Path
) -> None:
    async with dashboard(prepared, open_page) as shown:
        await shown.page.set_viewport_size(PHONE)
        await shown.page.emulate_media(color_scheme="light", reduced_motion="reduce")
        await shown.open()
        for where, heading in VIEWS.items():
            await shown.go(where)
            await shown.shows(heading)
            light = await faint(shown.page)
            await shown.page.emulate_media(color_scheme="dark")
            await shown.page.screenshot(path=tmp_path / f"{heading}.png")

            assert await shown.overflow_px() <= 0, where
            assert (light, await faint(shown.page)) == ([], []), where
            await shown.page.emulate_media(color_scheme="light")


async def faint(page: Page) -> list[str]:
    """Texts of less than 4.5:1 against what is behind them (WCAG 1.4.3)."""
    found: list[str] = await page.evaluate(
        """() => {
          const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
          const light = (colour) => {
            const [r, g, b] = numbers(colour).slice(0, 3).map((c) => c / 255)
              .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const behind = (element) => {
            for (let at = element; at; at = at.parentElement) {
              const colour = getComputedStyle(at).backgroundColor;
              if ((numbers(colour)[3] ?? 1) === 1) return colour;
            }
            return "rgb(255, 255, 255)";
          };
          const says = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
          return [...document.body.querySelectorAll("*")]
            .filter((e) => says(e) && e.checkVisibility() && !e.closest("noscript, option, .skip"))
            .filter((e) => {
              const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
              return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
            })
            .map((e) => `${e.className}: ${e.textContent.trim()}`);
        }"""
    )
    return found


async def test_address_of_no_call_says_so_and_leads_on(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        shown.expected.add(404)
        await shown.open()
        await shown.shows("Live calls")
        for call_id in ("%E0%A4%A", "..%2Fnodes"):
            await shown.go(f"#/sessions/{call_id}")
            alert = shown.page.get_by_role("alert")
            await expect(alert).to_contain_text("There is no such session.")

            await shown.page.get_by_role("link", name="All calls").click()

            await expect(shown.page.locator(".result")).to_have_count(3)


async def test_view_that_does_not_load_says_so_and_is_tried_again(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        await shown.open()
        await shown.shows("Live calls")

        async def refuse(route: Route) -> None:
            await route.fulfill(status=503, body="{}", content_type="application/json")

        shown.expected.add(503)
        await shown.page.route("**/admin/v1/usage*", refuse)
        await shown.go("#/usage")
        await expect(shown.page.get_by_role("alert")).to_contain_text("The relay answered 503.")
        await shown.page.unroute("**/admin/v1/usage*")

        await shown.page.get_by_role("button", name="Try again").click()

        await expect(shown.page.locator("canvas").first).to_be_visible()
