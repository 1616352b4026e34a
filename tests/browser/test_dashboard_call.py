"""One call's page: its voices on one clock, its words, events and figures; live, too."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from relay.app import Prepared
from tests.browser import callpage
from tests.browser.callpage import CallPage
from tests.browser.conftest import OpenPage
from tests.browser.dashboard import HOSTILE, PHONE, dashboard
from tests.stores.conversations import make_folder, usage
from tests.taps.sounds import PCMA, PCMU, g711_tone, rtp
from tests.taps.stage import Stage
from tests.web.operator_stage import prepared_for

LOCKED_S = 0.06
G711 = "rtc_1"

# Puts the upstream's side behind by so many seconds, as a browser that has too much to do does.
_DISTURB = "(s) => { document.querySelector('audio[data-side=upstream]').currentTime -= s; }"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module")
def recorded(recordings: Path) -> str:
    """A real call that was recorded; its id."""
    return callpage.record(recordings)


@pytest.fixture
def prepared(recordings: Path, recorded: str) -> Prepared:
    assert recorded
    return prepared_for(recordings)


@pytest.fixture
def empty_handed(tmp_path: Path) -> Prepared:
    """A server that has no recordings yet."""
    return prepared_for(tmp_path / "recordings")


@pytest.fixture
def spoken() -> list[bytes]:
    return callpage.voice()


@pytest.fixture
def telephone(tmp_path: Path) -> Prepared:
    """A server with a call of 12 s in G.711: A-law one way, mu-law the other."""
    stage = Stage(tmp_path / "recordings")
    up, down = (g711_tone(440, 10.0, law=law) for law in ("pcm_alaw", "pcm_mulaw"))
    for n in range(500):
        part = slice(n * 160, n * 160 + 160)
        stage.packet(1 + n * 0.02, "up", rtp(n, up[part], payload_type=PCMA, frame=160))
        stage.packet(1 + n * 0.02, "down", rtp(n, down[part], payload_type=PCMU, frame=160))
    stage.end(12.0)
    return prepared_for(tmp_path / "recordings")


@pytest.fixture
def refused(tmp_path: Path) -> Prepared:
    """A server with a call whose upload was given up."""
    folder = make_folder(tmp_path / "recordings", "rtc_refused", "Hello")
    (folder.path / "upload.json").write_text('{"state": "failed", "attempts": 9}')
    return prepared_for(tmp_path / "recordings")


@pytest.fixture
def spoilt(tmp_path: Path) -> Prepared:
    """A server with a call of which much is missing, and whose words are hostile."""
    make_folder(
        tmp_path / "recordings",
        "rtc_spoilt",
        HOSTILE,
        model=HOSTILE,
        owner=HOSTILE,
        state="live",
        end=None,
        usage=usage(model=HOSTILE).to_json(),
        recording={"mode": "events", "events": 0, "lost": {"packets": 7, "events": 2}},
    )
    return prepared_for(tmp_path / "recordings")


# The player


async def test_recorded_call_plays_both_sides_on_one_clock_with_its_words(
    prepared: Prepared, recorded: str, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        call = CallPage(shown)
        await call.open(recorded)

        drawn = await call.ink()
        await call.page.get_by_role("button", name="Play", exact=True).click()
        await call.played_to(1.5)
        first = await call.current.inner_text()
        await call.page.evaluate(_DISTURB, 0.1)
        await call.played_to(3.0)
        await call.page.evaluate(_DISTURB, 0.5)
        client, upstream = await call.played_to(4.5)  # it began at 0: after 3 s and more

        assert len(drawn) == 2
        assert all(0.02 < share < 0.9 for share in drawn)
        assert abs(client - upstream) < LOCKED_S
        assert "User" in first
        assert "of speech" in first  # what the simulator transcribes
        await expect(call.current).to_have_count(1)
        await expect(call.current).to_contain_text("Hello! I can hear you well.")
        await expect(call.page.locator(".deck .time b")).to_have_text(re.compile("0:0[45]"))


async def test_call_is_sought_by_its_words_its_waveform_and_the_address(
    prepared: Prepared, recorded: str, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        call = CallPage(shown)

        await call.open(recorded, "?at=4.25")
        await call.sought(4.25)
        answer = call.turns.filter(has_text="Assistant").first
        await answer.locator(".speech").click()
        await expect(answer).to_have_attribute("aria-current", "true")
        by_words = await call.times()
        await call.page.get_by_role("slider").click(position={"x": 2, "y": 20})
        await call.page.wait_for_function("() => document.querySelector('audio').currentTime < 0.2")

        assert by_words[0] == pytest.approx(by_words[1], abs=0.001)
        assert 3.0 < by_words[0] < 6.0


async def test_call_page_by_keyboard_plays_moves_and_changes_its_panel(
    prepared: Prepared, recorded: str, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        call = CallPage(shown)
        await call.open(recorded)
        await call.page.get_by_role("slider").focus()

        await call.page.keyboard.press("ArrowRight")
        await call.sought(5.0)
        await call.page.keyboard.press("ArrowLeft")
        await call.sought(0.0)
        await call.page.keyboard.press("Space")
        await call.played_to(0.5)
        await call.page.keyboard.press("Space")
        await expect(call.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
        await call.page.get_by_role("tab", name="Responses").focus()
        await call.page.keyboard.press("ArrowRight")
        await call.page.get_by_role("listbox", name="Events").focus()
        await call.page.keyboard.press("ArrowDown")

        await expect(call.page.locator(".detail h3")).to_have_text("session.created")
        stopped = await call.times()
        assert stopped[0] == pytest.approx(stopped[1], abs=0.001)


async def test_side_is_muted_heard_alone_and_played_faster(
    prepared: Prepared, recorded: str, open_page: OpenPage
) -> None:
    muted = "[...document.querySelectorAll('audio[data-side]')].map((one) => one.muted)"
    async with dashboard(prepared, open_page) as shown:
        call = CallPage(shown)
        await call.open(recorded)

        await call.page.get_by_role("button", name="Mute client").click()
        without_client = await call.page.evaluate(muted)
        await call.page.get_by_role("button", name="Mute client").click()
        await call.page.get_by_role("button", name="Client alone").click()
        client_alone = await call.page.evaluate(muted)
        await call.page.get_by_label("Speed").select_option("2×")
        await call.page.get_by_role("button", name="Play", exact=True).click()
        await call.played_to(2.0)
        client, upstream = await call.played_to(4.0)
        rates = await call.page.evaluate(
            "[...document.querySelectorAll('audio[data-side]')].map((one) => one.playbackRate)"
        )

        assert without_client == [True, False]
        assert client_alone == [False, True]
        assert abs(client - upstream) < 2 * LOCKED_S
        assert rates == pytest.approx([2, 2], rel=0.07)


async def test_telephone_call_in_g711_plays_on_one_clock(
    telephone: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(telephone, open_page) as shown:
        call = CallPage(shown)
        await shown.open(f"#/sessions/{G711}")
        await expect(call.page.locator(".deck[data-drawn=true]")).to_be_visible(timeout=15_000)

        await call.page.get_by_role("button", name="Play", exact=True).click()
        client, upstream = await call.played_to(1.5)

        assert abs(client - upstream) < LOCKED_S
        sources = await call.page.evaluate(
            "[...document.querySelectorAll('audio[data-side]')].map((one) => one.src)"
        )
        assert [source.rpartition("codec=")[2] for source in sources] == ["pcma", "pcmu"]
        shown.problems.clear()  # a call that was never read has no transcript: 404


# What is beside it


async def test_words_show_what_was_heard_and_tools_with_their_results(
    prepared: Prepared, recorded: str, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        call = CallPage(shown)
        await call.open(recorded)

        cut = call.turns.filter(has_text="interrupted after")
        tool = call.turns.filter(has=call.page.locator(".tool"))

        await expect(cut).to_have_count(1)
        await expect(cut.locator("s")).not_to_be_empty()
        await expect(tool).to_have_count(1)
        await expect(tool.locator("code")).to_have_text("get_weather")
        await expect(tool.locator("pre").last).to_contain_text('"sky": "clear"')


async def test_hostile_words_are_text_everywhere(
    prepared: Prepared, recorded: str, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        call = CallPage(shown)
        await call.open(recorded)

        await expect(call.turns.filter(has_text=HOSTILE).first).to_be_visible()
        await call.tab("Events")
        await call.page.get_by_label("Text in the event").fill("<script>")
        await expect(call.events.first).to_contain_text("conversation.item.create")
        await call.events.first.click()
        await expect(call.page.locator(".detail pre")).to_contain_text("<script>")
        for name in ("Quality", "Cost", "Responses"):
            await call.tab(name)

        assert await call.page.title() == "Call · relay"
        assert await call.page.locator("main script, main img").count() == 0


async def test_events_are_filtered_by_type_direction_and_text(
    prepared: Prepared, recorded: str, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        call = CallPage(shown)
        await call.open(recorded)
        await call.tab("Events")
        await expect(call.events.first).to_contain_text("session.created")

        await call.page.get_by_label("Type begins with").fill("response.done")
        await expect(call.page.locator(".filter [role=status]")).to_have_text("4 events")
        by_type = await call.events.locator("code").all_text_contents()
        await call.page.get_by_label("Type begins with").fill("")
        await call.page.get_by_label("↑ Up").check()
        await expect(call.events.first).to_contain_text("session.update")
        ways = await call.events.locator(".way").all_text_contents()
        await call.page.get_by_label("Text in the event").fill("function_call_output")
        await expect(call.page.locator(".filter [role=status]")).to_have_text("1 event")
        await call.events.first.click()
        detail = json.loads(await call.page.locator(".detail pre").inner_text())
        await call.events.first.locator(".at").click()

        assert by_type == ["response.done"] * 4
        assert set(ways) == {"↑"}
        assert detail["item"]["type"] == "function_call_output"
        client, _ = await call.times()
        assert client > 3


async def test_panels_show_latency_quality_and_cost(
    prepared: Prepared, recorded: str, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        call = CallPage(shown)
        await call.open(recorded)
        _, session = await shown.stage.admin(f"sessions/{recorded}")

        waits = await call.page.locator(".responses .wait").all_text_contents()
        await expect(call.page.locator(".setup dt").first).to_have_text("Both descriptions ready")
        await call.tab("Quality")
        await expect(call.page.locator(".quality canvas").first).to_be_visible()
        await expect(call.page.locator(".quality code").first).to_have_text(re.compile("^host/"))
        await call.tab("Cost")
        rows = call.page.locator(".spending table").last.locator("tbody tr")
        await expect(rows).to_have_count(4)

        timings = session["responses"]["timings"]
        spoken = next(timing for timing in timings if timing["trigger"] == "speech")
        assert waits[0] == f"{spoken['latency_ms'] / 1000:.2f} s"
        total = call.page.locator(".spending tfoot td").last
        assert float((await total.inner_text()).strip("$")) == pytest.approx(
            session["usage"]["cost_usd"], abs=0.0006
        )


async def test_spoilt_call_says_what_is_missing(spoilt: Prepared, open_page: OpenPage) -> None:
    async with dashboard(spoilt, open_page) as shown:
        await shown.open("#/sessions/rtc_spoilt")

        notices = shown.page.locator(".notices")
        await expect(notices).to_contain_text("The record lacks 2 events and 7 packets")
        await expect(notices).to_contain_text("The relay's process ended during this call")
        await expect(shown.page.locator(".facts")).to_contain_text(HOSTILE)

        assert await shown.page.title() == "Call · relay"
        assert await shown.page.locator("main script, main img").count() == 0
        shown.problems.clear()  # its audio is none, and has no waveform


async def test_call_whose_upload_failed_says_so(refused: Prepared, open_page: OpenPage) -> None:
    async with dashboard(refused, open_page) as shown:
        await shown.stage.until("sessions", lambda found: len(found["sessions"]) == 1)

        await shown.open("#/sessions/rtc_refused")

        await expect(shown.page.locator(".notices")).to_contain_text("The upload of this call")
        await expect(shown.page.locator(".facts")).to_contain_text("Kepthere")
        shown.problems.clear()  # its audio is none


async def test_call_that_is_not_there_is_said_to_be_none(
    empty_handed: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(empty_handed, open_page) as shown:
        await shown.open("#/sessions/rtc_none")

        await expect(shown.page.get_by_role("alert")).to_contain_text("There is no such session.")

        assert all(problem.startswith("404 ") for problem in shown.problems)
        shown.problems.clear()


async def test_call_page_on_a_phone_and_in_the_dark_fits(
    prepared: Prepared, recorded: str, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        call = CallPage(shown)
        await call.page.set_viewport_size(PHONE)
        await call.page.emulate_media(color_scheme="dark")
        await call.open(recorded)

        for name in ("Events", "Quality", "Cost", "Responses"):
            await call.tab(name)
            assert await shown.overflow_px() <= 0, name

        light = await call.page.evaluate("getComputedStyle(document.body).colorScheme")
        assert "dark" in light
        assert all(share > 0.02 for share in await call.ink())


# A call that runs


async def test_live_call_shows_its_words_takes_an_event_and_is_hung_up(
    empty_handed: Prepared, open_page: OpenPage, spoken: list[bytes]
) -> None:
    async with dashboard(empty_handed, open_page) as shown:
        call, caller = CallPage(shown), await shown.stage.call()
        await shown.open(f"#/sessions/{caller.id}")
        await call.tab("Events")
        page = call.page

        await callpage.Mouth(caller).say(spoken)
        await expect(call.turns.filter(has_text="Hello! I can hear you well.")).to_be_visible()
        await page.get_by_label("Type begins with").fill("input_audio_buffer.speech_stopped")
        await expect(call.events).to_have_count(1)
        await page.get_by_label("Type begins with").fill("")
        await page.get_by_text("Send an event into the call").click()
        await page.get_by_label("Event as JSON").fill("{")
        await page.get_by_role("button", name="Send event").click()
        await expect(page.locator("#injected")).to_contain_text("This is not JSON")
        injected: dict[str, Any] = {"type": "conversation.item.create"}
        injected["item"] = callpage.written("From the operator.")
        await page.get_by_label("Event as JSON").fill(json.dumps(injected))
        await page.get_by_role("button", name="Send event").click()

        await expect(page.locator("#injected")).to_have_text("Sent: conversation.item.create")
        await expect(call.turns.filter(has_text="From the operator.")).to_be_visible()
        await page.get_by_label("Type begins with").fill("conversation.item.create")
        await expect(call.events).to_have_count(1)
        await expect(call.events.locator(".way")).to_have_text("↑")
        await page.get_by_role("button", name="Hang up").click()
        await page.get_by_role("dialog").get_by_role("button", name="Hang up").click()
        await call.drawn()  # it is a stored call by now
        await expect(page.locator(".state-chip")).to_have_text("Ended")
        await expect(page.locator(".facts")).to_contain_text("completed, hung up")


async def test_stored_call_is_deleted_after_a_question(
    tmp_path: Path, open_page: OpenPage, empty_handed: Prepared
) -> None:
    async with dashboard(empty_handed, open_page) as shown:
        kept = await asyncio.to_thread(make_folder, tmp_path / "recordings", "rtc_old", "Hello")
        await shown.open("#/sessions/rtc_old")

        await shown.page.get_by_role("button", name="Delete").click()
        await shown.page.get_by_role("button", name="Cancel").click()
        assert kept.path.exists()
        await shown.page.get_by_role("button", name="Delete").click()
        await shown.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await shown.shows("Calls")

        assert not kept.path.exists()
        shown.problems.clear()  # its audio was none


# What needs no call


async def test_clock_lock_takes_up_little_and_seeks_far(
    empty_handed: Prepared, open_page: OpenPage
) -> None:
    given = [
        (10, 10.005, 1),
        (10, 10.03, 1),
        (10, 9.97, 2),
        (10, 9.75, 1),
        (10, 9, 1),
        (10, 9.5, 2),
    ]
    async with dashboard(empty_handed, open_page) as shown:
        await shown.open()

        found = await shown.page.evaluate(
            """async (given) => {
                const { correction } = await import("/admin/call/clocklock.js");
                return given.map((one) => correction(...one));
            }""",
            given,
        )

        assert [one["seek"] for one in found] == [False, False, False, False, True, False]
        rates = [one["rate"] for one in found]
        assert rates == pytest.approx([1, 0.955, 2.09, 1.06, 1, 2.12])


async def test_clock_lock_is_led_by_who_goes_on(
    empty_handed: Prepared, open_page: OpenPage
) -> None:
    short, long = {"duration": 5, "ended": False}, {"duration": 9, "ended": False}
    over = {"duration": 9, "ended": True}
    async with dashboard(empty_handed, open_page) as shown:
        await shown.open()

        found = await shown.page.evaluate(
            """async (given) => {
                const { leaderOf } = await import("/admin/call/clocklock.js");
                return given.map((one) => leaderOf(...one));
            }""",
            [[[short, long], 0], [[over, short, long], 0], [[over, over], 1], [[], 0]],
        )

        assert found == [0, 2, None, None]
