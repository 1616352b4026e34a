"""What the demo page makes of a conversation: a far end in the page says what the test wants."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser import demo_site
from tests.browser.conftest import OpenPage
from tests.browser.demo_page import DemoPage
from tests.browser.demo_site import Signalling, Site, until

ANSWER = "Follow the river past the old mill, then take the second bridge on your left."


@pytest.fixture
async def far(open_page: OpenPage) -> Signalling:
    signalling = Signalling(await open_page())
    await signalling.start()
    return signalling


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with demo_site.serving() as site:
        yield site


@pytest.fixture
async def demo(far: Signalling, site: Site) -> AsyncIterator[DemoPage]:
    """The page, open and idle; a test that makes it complain takes what it expects away."""
    demo = DemoPage(far.page)
    await demo.open(site.origin)
    yield demo
    assert await demo.complaints() == []
    await far.close()


def speech(item: str, *, text: str) -> list[dict[str, Any]]:
    """The events of one spoken turn of the user."""
    return [
        {"type": "input_audio_buffer.speech_started", "item_id": item, "audio_start_ms": 0},
        {"type": "input_audio_buffer.speech_stopped", "item_id": item, "audio_end_ms": 900},
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": item,
            "content_index": 0,
            "transcript": text,
        },
    ]


def answer(response: str, item: str, *, text: str = ANSWER) -> list[dict[str, Any]]:
    """The events of an answer that is being made and played."""
    message = {"id": item, "type": "message", "role": "assistant", "content": []}
    place = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
    return [
        {"type": "response.created", "response": {"id": response, "status": "in_progress"}},
        {"type": "response.output_item.added", "response_id": response, "item": message},
        {"type": "output_audio_buffer.started", "response_id": response},
        {"type": "response.output_audio_transcript.delta", "delta": text[:10], **place},
        {"type": "response.output_audio_transcript.delta", "delta": text[10:], **place},
    ]


def done(response: str, status: str = "completed") -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": response, "status": status}}


def turns(page: Page) -> Locator:
    return page.get_by_role("log").get_by_role("listitem")


async def types_heard(far: Signalling) -> list[str]:
    return [event["type"] for event in await far.heard()]


async def test_transcript_when_both_have_spoken_shows_both_turns(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()

    await far.say(*speech("item_1", text="Which way?"), *answer("resp_1", "item_2"))

    await expect(turns(far.page)).to_have_text(
        [re.compile(r"^You.*Which way\?$"), re.compile(rf"^Assistant.*{ANSWER}$")]
    )


async def test_transcript_when_words_come_late_keeps_the_conversations_order(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    started, stopped, transcribed = speech("item_1", text="Which way?")
    first = {"id": "item_0", "type": "message", "role": "user", "content": [{"text": "Hello"}]}

    await far.say(started, stopped, *answer("resp_1", "item_2"), transcribed)
    await far.say({"type": "conversation.item.added", "previous_item_id": "item_1", "item": first})

    await expect(turns(far.page).locator(".said")).to_have_text(["Which way?", "Hello", ANSWER])


async def test_transcript_when_interrupted_marks_and_cuts_the_answer(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()

    await far.say(*speech("item_1", text="Which way?"), *answer("resp_1", "item_2"))
    await far.say(
        {"type": "output_audio_buffer.cleared", "response_id": "resp_1"},
        {"type": "conversation.item.truncated", "item_id": "item_2", "audio_end_ms": 1200},
        done("resp_1", "cancelled"),
    )

    answered = turns(far.page).last
    await expect(answered).to_contain_text("interrupted after 1.2 s")
    cut = await answered.locator("s").inner_text()
    assert ANSWER.endswith(cut)
    assert 0 < len(cut) < len(ANSWER)


async def test_transcript_when_nobody_transcribes_says_so(demo: DemoPage, far: Signalling) -> None:
    await demo.start()
    started, stopped, _ = speech("item_1", text="")

    await far.say(started)
    await expect(turns(far.page).first).to_contain_text("listening…")
    await far.say(stopped, *answer("resp_1", "item_2"), done("resp_1"))

    await expect(turns(far.page).first).to_contain_text("spoken, not transcribed")


async def test_transcript_when_a_model_writes_markup_shows_it_as_text(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    markup = "<img src=x onerror=alert(1)>"

    await far.say(*answer("resp_1", "item_1", text=markup))

    await expect(turns(far.page).last.locator(".said")).to_have_text(markup)
    assert await far.page.locator("main img").count() == 0


async def test_transcript_when_a_tool_is_called_shows_the_call(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    call = {"id": "item_1", "type": "function_call", "name": "weather", "call_id": "call_1"}

    await far.say(
        {"type": "response.created", "response": {"id": "resp_1"}},
        {"type": "response.output_item.added", "response_id": "resp_1", "item": call},
        {
            "type": "response.function_call_arguments.done",
            "response_id": "resp_1",
            "item_id": "item_1",
            "arguments": '{"city":"Lisbon"}',
        },
    )

    await expect(turns(far.page).last).to_contain_text('weather({"city":"Lisbon"})')


async def test_latency_when_the_answer_sounds_is_the_wait_until_then(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()

    waited_ms: float = await far.page.evaluate(
        """async ([question, answer]) => {
             far.say(question);
             const from = performance.now();
             far.say(answer);
             await new Promise((done) => setTimeout(done, 700));
             return far.play(true) - from;
           }""",
        [speech("item_1", text="Which way?"), answer("resp_1", "item_2")],
    )
    await demo.tab("Latency")
    await expect(far.page.locator("#latency-last")).not_to_have_text("–")

    shown_ms = 1000 * float((await far.page.inner_text("#latency-last")).removesuffix(" s"))
    # What the tone needs through encoder, network and jitter buffer comes on top.
    assert waited_ms - 10 < shown_ms < waited_ms + 400
    await expect(far.page.locator("#answers li")).to_have_text(
        re.compile(r"after you spoke.*response created.*audio started.*heard here", re.DOTALL)
    )


async def test_latency_when_nothing_was_heard_shows_none(demo: DemoPage, far: Signalling) -> None:
    await demo.start()

    await far.say(*speech("item_1", text="Which way?"), *answer("resp_1", "item_2"))
    await far.say(done("resp_1"))
    await demo.tab("Latency")

    await expect(far.page.locator("#answers li")).to_have_count(1)
    await expect(far.page.locator("#latency-last")).to_have_text("–")


async def test_meters_follow_each_voice_alone(demo: DemoPage, far: Signalling) -> None:
    await demo.start()
    await demo.loud("you")
    await demo.quiet("you")

    await far.page.evaluate("far.play(true)")
    await demo.loud("them")
    assert (
        await far.page.locator("#you-level").evaluate("e => e.style.getPropertyValue('--level')")
        == "0.000"
    )
    await far.page.evaluate("far.play(false)")
    await demo.quiet("them")


async def test_mute_when_the_sample_speaks_keeps_it_off_the_line(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    await demo.loud("you")
    mute = far.page.get_by_role("button", name="Mute")

    await mute.click()
    await demo.quiet("you")
    await far.page.get_by_role("button", name="Say it").click()
    await demo.quiet("you", for_ms=1000)
    await expect(far.page.get_by_role("button", name="Muted")).to_have_attribute(
        "aria-pressed", "true"
    )
    await far.page.get_by_role("button", name="Muted").click()

    await demo.loud("you")


async def test_sample_voice_between_phrases_sends_silence(demo: DemoPage, far: Signalling) -> None:
    await demo.start()
    await demo.loud("you")
    await demo.quiet("you")

    before = await far.packets()
    await far.page.wait_for_timeout(1000)

    # 50 a second; a server that gets none hears no end of the phrase.
    assert await far.packets() - before > 25


async def test_interrupt_when_the_answer_is_made_and_played_stops_both(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    interrupt = far.page.get_by_role("button", name="Interrupt")
    await expect(interrupt).to_be_disabled()

    await far.say(*answer("resp_1", "item_1"))
    await interrupt.click()

    await until(far.page, "far.events.at(-1)?.type === 'output_audio_buffer.clear'")
    assert (await types_heard(far))[-2:] == ["response.cancel", "output_audio_buffer.clear"]


async def test_interrupt_when_the_answer_is_only_played_cancels_nothing(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()

    await far.say(*answer("resp_1", "item_1"), done("resp_1"))
    await far.page.get_by_role("button", name="Interrupt").click()

    await until(far.page, "far.events.at(-1)?.type === 'output_audio_buffer.clear'")
    assert "response.cancel" not in await types_heard(far)


async def test_message_when_sent_asks_for_an_answer(demo: DemoPage, far: Signalling) -> None:
    await demo.start()

    await far.page.get_by_label("Message", exact=True).fill("And by night?")
    await far.page.keyboard.press("Enter")

    await until(far.page, "far.events.at(-1)?.type === 'response.create'")
    item = (await far.heard())[-2]["item"]
    assert item == {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "And by night?"}],
    }
    await expect(far.page.get_by_label("Message", exact=True)).to_have_value("")


async def test_message_while_an_answer_is_made_asks_once_that_is_over(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    await far.say(*answer("resp_1", "item_1"))
    await expect(far.page.get_by_role("button", name="Interrupt")).to_be_enabled()

    await far.page.get_by_label("Message", exact=True).fill("Stop. And by night?")
    await far.page.keyboard.press("Enter")
    await until(far.page, "far.events.at(-1)?.type === 'conversation.item.create'")
    before = await types_heard(far)
    await far.say(done("resp_1", "cancelled"))
    await until(far.page, "far.events.at(-1)?.type === 'response.create'")

    assert before[-3:] == [
        "response.cancel",
        "output_audio_buffer.clear",
        "conversation.item.create",
    ]


async def test_session_without_a_transcription_model_is_given_one(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    session = {"type": "realtime", "model": "gpt-realtime-2.1", "audio": {"input": {}}}

    await far.say({"type": "session.created", "session": session})
    await until(far.page, "far.events.length === 1")

    (update,) = await far.heard()
    assert update["type"] == "session.update"
    assert update["session"]["audio"]["input"]["transcription"]["model"]
    await expect(far.page.locator("#model")).to_have_text("gpt-realtime-2.1")


async def test_session_with_a_transcription_model_is_left_alone(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    transcription = {"transcription": {"model": "gpt-live-transcribe"}}

    await far.say({"type": "session.created", "session": {"audio": {"input": transcription}}})
    await far.page.get_by_label("Message", exact=True).fill("Hello")
    await far.page.keyboard.press("Enter")
    await until(far.page, "far.events.length === 2")

    assert await types_heard(far) == ["conversation.item.create", "response.create"]


async def test_session_when_chosen_goes_with_the_offer_and_can_change(
    demo: DemoPage, far: Signalling
) -> None:
    await far.page.get_by_label("Voice", exact=True).select_option("marin")
    await far.page.get_by_label("Instructions").fill("Be brief.")
    await demo.start()
    await demo.tab("Session")
    await far.page.get_by_label("Instructions").fill("Be long.")
    await far.page.get_by_role("button", name="Apply to this call").click()
    await until(far.page, "far.events.length === 1")

    chosen = {
        "type": "realtime",
        "instructions": "Be brief.",
        "audio": {"output": {"voice": "marin"}},
    }
    assert json.dumps(chosen, separators=(",", ":")) in (far.offers[0].post_data or "")
    (update,) = await far.heard()
    assert update["session"] == {**chosen, "instructions": "Be long."}


async def test_events_when_there_are_too_many_keep_the_last_500(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    await demo.tab("Events")

    await far.say(*({"type": "rate_limits.updated", "n": n} for n in range(620)))

    rows = far.page.get_by_label("Events", exact=True).get_by_role("listitem")
    await expect(far.page.locator("#events-count")).to_have_text(
        "500 of 500 shown, 120 older ones dropped"
    )
    await expect(rows).to_have_count(500)


async def test_events_when_filtered_show_what_matches(demo: DemoPage, far: Signalling) -> None:
    await demo.start()
    await demo.tab("Events")
    rows = far.page.locator("#events li:visible")

    await far.say(*answer("resp_1", "item_1"), {"type": "error", "error": {"message": "No luck."}})
    await expect(rows).to_have_count(4)  # deltas are hidden until asked for
    await far.page.get_by_label("Deltas").check()
    await expect(rows).to_have_count(6)
    await far.page.get_by_label("Filter events").fill("LUCK")

    await expect(rows).to_have_count(1)
    await rows.locator("summary").click()
    await expect(rows.locator("pre")).to_contain_text('"message": "No luck."')
    await expect(far.page.get_by_role("alert")).to_contain_text("No luck.")


async def test_events_when_one_is_huge_show_its_beginning(demo: DemoPage, far: Signalling) -> None:
    await demo.start()
    await demo.tab("Events")

    await far.say({"type": "conversation.item.retrieved", "audio": "A" * 200_000})
    row = far.page.locator("#events li")
    await row.locator("summary").click()

    assert len(await row.locator("pre").inner_text()) < 21_000


async def test_path_when_connected_shows_the_pair_and_its_packets(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    await demo.tab("Path")

    facts = far.page.locator("#path dl > div")
    await expect(facts.filter(has_text="Here")).to_have_text(re.compile(r"host udp \S+:\d+"))
    await expect(facts.filter(has_text="Relay")).to_have_text(
        re.compile(r"(host|prflx) udp \S+:\d+")
    )
    await expect(facts.filter(has_text="Packets").first).to_have_text(re.compile(r"[1-9]"))
    await expect(facts.filter(has_text="Name")).to_contain_text("rtc_test")


async def test_hang_up_tells_the_server_and_keeps_the_words(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    await far.say(*answer("resp_1", "item_1"))
    await expect(turns(far.page)).to_have_count(1)

    await far.page.get_by_role("button", name="Hang up").click()

    await demo.shows("Call ended")
    assert len(far.hang_ups) == 1
    await expect(turns(far.page)).to_have_count(1)
    await expect(far.page.get_by_role("alert")).to_be_hidden()
    await demo.start()  # and again
    await expect(turns(far.page)).to_have_count(0)


async def test_page_when_left_hangs_up(demo: DemoPage, far: Signalling, site: Site) -> None:
    await demo.start()

    await far.page.goto("about:blank")

    # Playwright does not see what a page sends while it goes; the server does.
    await asyncio.wait_for(site.hung_up.wait(), timeout=5)


async def test_page_when_the_far_end_hangs_up_says_so(demo: DemoPage, far: Signalling) -> None:
    await demo.start()

    await far.page.evaluate("far.channel.close()")

    await demo.shows("Call ended")
    await expect(far.page.get_by_role("alert")).to_contain_text("The other side ended the call.")


async def test_page_when_a_key_is_wanted_asks_for_it_and_keeps_it_in_the_tab(
    demo: DemoPage, far: Signalling
) -> None:
    error = {"message": "Unknown key.", "type": "invalid_request_error", "code": "invalid_api_key"}
    far.refusal = (401, json.dumps({"error": error}), {})
    key = far.page.get_by_label("Relay key")
    await far.page.get_by_label("Sample voice").check()

    await far.page.get_by_role("button", name="Start call").click()
    await demo.shows("Call failed")
    await expect(far.page.get_by_role("alert")).to_contain_text("This relay asks for a key.")
    await expect(key).to_be_focused()
    await key.fill("rk-test")
    await far.page.get_by_role("button", name="Start call").click()
    await expect(far.page.get_by_role("alert")).to_contain_text("Unknown key. Check the relay key")
    far.refusal = None
    await demo.start()

    assert far.offers[-1].headers["authorization"] == "Bearer rk-test"
    assert await far.page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]
    assert [problem for problem in demo.problems if "401" not in problem] == []
    demo.problems.clear()


async def test_page_when_the_server_fails_shows_its_message(
    demo: DemoPage, far: Signalling
) -> None:
    error = {"message": "The server is full.", "type": "server_error", "code": "server_overloaded"}
    far.refusal = (503, json.dumps({"error": error}), {"Retry-After": "5"})
    await far.page.get_by_label("Sample voice").check()

    await far.page.get_by_role("button", name="Start call").click()

    await demo.shows("Call failed")
    alert = far.page.get_by_role("alert")
    await expect(alert).to_contain_text("The server is full. Try again in 5 s.")
    await far.page.get_by_label("Dismiss this message").click()
    await expect(alert).to_be_hidden()
    demo.problems.clear()


async def test_page_when_cancelled_while_connecting_is_ready_again(
    demo: DemoPage, far: Signalling
) -> None:
    far.silent = True
    await far.page.get_by_label("Sample voice").check()
    async with far.page.expect_request("**/v1/realtime/calls"):
        await far.page.get_by_role("button", name="Start call").click()

    await far.page.get_by_role("button", name="Cancel").click()

    await demo.shows("Call ended")
    await expect(far.page.get_by_role("alert")).to_be_hidden()
    await expect(far.page.get_by_role("button", name="Start call")).to_be_focused()


async def test_page_by_keyboard_alone_calls_and_hangs_up(demo: DemoPage, far: Signalling) -> None:
    press = far.page.keyboard.press

    await far.page.get_by_label("Microphone").focus()
    for key in ("ArrowRight", "Tab", "Enter"):
        await press(key)
    await demo.shows("Connected")
    await expect(far.page.get_by_role("button", name="Mute")).to_be_focused()
    await far.page.get_by_role("tab", selected=True).focus()
    await press("End")
    await expect(far.page.get_by_role("tab", name="Events")).to_be_focused()
    await expect(far.page.get_by_role("tabpanel", name="Events")).to_be_visible()
    await far.page.get_by_role("button", name="Hang up").focus()
    await press("Enter")

    await demo.shows("Call ended")


async def test_page_at_each_width_needs_no_sideways_scrolling(
    demo: DemoPage, far: Signalling
) -> None:
    await demo.start()
    await far.say(*answer("resp_1", "item_1", text="x" * 300))

    for width in (320, 360, 768, 1280):
        await far.page.set_viewport_size({"width": width, "height": 640})
        for tab in ("Session", "Latency", "Path", "Events"):
            await demo.tab(tab)
            assert await far.page.evaluate("document.documentElement.scrollWidth") <= width


async def test_page_with_the_microphone_sends_its_voice(demo: DemoPage, far: Signalling) -> None:
    await demo.start(sample=False)

    await demo.loud("you")  # Chromium's own beeps

    await expect(far.page.get_by_role("button", name="Say it")).to_be_hidden()
    await far.page.get_by_role("button", name="Hang up").click()
    await demo.shows("Call ended")
