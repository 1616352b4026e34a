"""The stock npm `openai`: its OpenAIRealtimeWebRTC with an exchangeSdp that posts to the relay."""

from __future__ import annotations

from tests.browser import sound, watch
from tests.browser.conftest import OpenPage
from tests.browser.server import Server


async def test_openai_client_when_the_caller_asks_hears_the_answer_and_hangs_up_clean(
    open_page: OpenPage, client_origin: str, demo_server: Server
) -> None:
    since = demo_server.log.stat().st_size
    page = await open_page(microphone=[0.5, "weather", 20.0])
    await page.goto(f"{client_origin}/openai")

    await page.evaluate(f"connect('{demo_server.url}', {watch.CHIME})")
    answered = await watch.chime(page)
    done = await watch.event(page, "response.done")
    await watch.event(page, "output_audio_buffer.stopped")
    spoken = await watch.heard(page, since=answered)
    kinds = await watch.kinds(page)
    await page.evaluate("realtime.close()")
    ended = await watch.hung_up(demo_server, since)

    assert "session.created" in kinds
    assert done["event"]["response"]["status"] == "completed"
    assert sound.audible_ms(spoken) > 1000
    assert "sdk.error" not in kinds
    assert len(ended) == 1


async def test_openai_client_when_an_event_is_sent_gets_its_answer(
    open_page: OpenPage, client_origin: str, demo_server: Server
) -> None:
    page = await open_page(microphone=[5.0])
    await page.goto(f"{client_origin}/openai")
    await page.evaluate(f"connect('{demo_server.url}', {watch.CHIME})")

    session = {"type": "realtime", "instructions": "Sing."}
    await page.evaluate(
        "session => realtime.send({ type: 'session.update', session })", arg=session
    )

    updated = await watch.event(page, "session.updated")
    assert updated["event"]["session"]["instructions"] == "Sing."
