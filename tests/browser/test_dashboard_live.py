"""The dashboard's live calls: they come and go, are seen to speak, are heard, and hung up."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, Request, expect

from relay.app import Prepared
from relay.loadtest.speech import stored_payloads
from tests.browser.conftest import OpenPage
from tests.browser.dashboard import Dashboard, dashboard
from tests.browser.demo_site import until
from tests.web.operator_stage import Caller, prepared_for

SPEECH_S = 20.0
POLL_MS = 2000

# Before any script of the page: its peer connections, and what it plays.
_WATCH_SOUND = """
window.connections = [];
window.players = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) { super(...given); connections.push(this); }
};
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () { players.push(this); return play.call(this); };
"""

# The loudest a player's mixed sound gets within two seconds, as RMS.
_LOUDNESS = """
async () => {
  const context = new AudioContext();
  const source = context.createMediaStreamSource(players.at(-1).srcObject);
  const analyser = context.createAnalyser();
  source.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let loudest = 0;
  for (let looks = 0; looks < 40; looks++) {
    await new Promise((done) => setTimeout(done, 50));
    analyser.getFloatTimeDomainData(samples);
    const energy = samples.reduce((sum, value) => sum + value * value, 0);
    loudest = Math.max(loudest, Math.sqrt(energy / samples.length));
  }
  await context.close();
  return loudest;
}
"""

# The energy of what was received, by the order of the audio sections: client, upstream.
_ENERGY = """
async () => [...(await connections.at(-1).getStats()).values()]
  .filter(({ type, kind }) => type === "inbound-rtp" && kind === "audio")
  .sort((a, b) => a.mid - b.mid)
  .map(({ totalAudioEnergy }) => totalAudioEnergy)
"""


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return prepared_for(tmp_path / "recordings")


@pytest.fixture
def unwritable(tmp_path: Path) -> Prepared:
    """A server whose directory is a file's."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    return prepared_for(blocked / "recordings")


@pytest.fixture
def speech() -> list[bytes]:
    """Opus packets of 20 ms, more than a test listens to."""
    return list(itertools.islice(itertools.cycle(stored_payloads()), round(SPEECH_S / 0.02)))


@asynccontextmanager
async def speaking(caller: Caller, speech: list[bytes]) -> AsyncIterator[None]:
    """The caller speaks within the block; nobody takes turns, so answers are not interrupted."""
    no_turns = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    caller.send(type="session.update", session=no_turns)
    task = asyncio.create_task(caller.speak(speech))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def row(shown: Dashboard, caller: Caller) -> Locator:
    return shown.page.locator(f'[data-id="{caller.id}"]')


def loud(caller: Caller, voice: str) -> str:
    """A condition: the meter of a voice shows more than -50 dBFS."""
    meter = f'[data-id="{caller.id}"] [aria-label^="{voice}"]'
    return f"Number(document.querySelector({json.dumps(meter)})?.ariaValueNow ?? -60) > -50"


async def test_live_call_appears_is_seen_to_speak_and_goes(
    prepared: Prepared, open_page: OpenPage, speech: list[bytes]
) -> None:
    async with dashboard(prepared, open_page) as shown:
        await shown.page.clock.install()
        await shown.open()
        await expect(shown.page.get_by_text("No call is running.")).to_be_visible()

        caller = await shown.stage.call()
        await shown.page.clock.fast_forward(POLL_MS)

        await expect(row(shown, caller)).to_contain_text("gpt-realtime-2.1")
        await expect(shown.page.get_by_role("heading", level=1)).to_have_text("Live calls1")
        async with speaking(caller, speech):
            await asyncio.gather(
                caller.ask("Say something long."),
                until(shown.page, loud(caller, "Client")),
                until(shown.page, loud(caller, "Upstream")),
            )
        peak = row(shown, caller).locator(".them .peak")
        assert float(await peak.evaluate("one => one.style.getPropertyValue('--level')")) > 0.15
        await expect(row(shown, caller).locator("dl > div").nth(1)).to_have_text(
            re.compile(r"^tokens[1-9][\d,]*$")
        )
        await shown.stage.hang_up(caller)
        await shown.page.clock.fast_forward(POLL_MS)
        await expect(row(shown, caller)).to_have_count(0)
        await expect(shown.page.get_by_text("No call is running.")).to_be_visible()


async def test_live_call_is_hung_up_when_asked_twice(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        first, second = await shown.stage.call(), await shown.stage.call()
        await shown.open()
        button = row(shown, second).get_by_role("button", name="Hang up")
        await button.click()
        await shown.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        await expect(row(shown, second)).to_be_visible()
        await button.click()

        await shown.page.get_by_role("dialog").get_by_role("button", name="Hang up").click()

        await expect(row(shown, second)).to_have_count(0)
        await expect(row(shown, first)).to_be_visible()
        await expect(shown.page.get_by_role("link", name=first.id)).to_be_focused()
        status, session = await shown.stage.admin(f"sessions/{second.id}")
        assert (status, session["end"]["reason"]) == (200, "hung_up")


async def test_listen_in_plays_both_voices_until_the_call_ends(
    prepared: Prepared, open_page: OpenPage, speech: list[bytes]
) -> None:
    async with dashboard(prepared, open_page) as shown:
        caller = await shown.stage.call()
        await shown.page.add_init_script(_WATCH_SOUND)
        await shown.open()
        async with speaking(caller, speech):
            await row(shown, caller).get_by_role("button", name="Listen in").click()
            await until(shown.page, "players.at(-1)?.currentTime > 0.2")
            loudness, _ = await asyncio.gather(
                shown.page.evaluate(_LOUDNESS), caller.ask("Say something long.")
            )
            energy = await shown.page.evaluate(_ENERGY)
            listeners = await listening_to(shown, caller)

        button = row(shown, caller).get_by_role("button", name="Listening")
        await expect(button).to_have_attribute("aria-pressed", "true")
        await shown.stage.hang_up(caller)

        await until(shown.page, "connections.at(-1).connectionState === 'closed'")
        await until(shown.page, "players.at(-1).srcObject === null")
        assert loudness > 0.01
        assert len(energy) == 2
        assert min(energy) > 1e-4
        assert listeners == 1


async def listening_to(shown: Dashboard, caller: Caller) -> int:
    _, session = await shown.stage.admin(f"sessions/{caller.id}")
    found: int = session["listeners"]
    return found


async def test_listen_in_ends_when_it_is_switched_off_or_left(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        caller = await shown.stage.call()
        await shown.open()
        button = row(shown, caller).get_by_role("button", name="Listen")
        path = f"sessions/{caller.id}"
        await button.click()
        await listeners_are(shown, path, 1)

        await button.click()

        await listeners_are(shown, path, 0)
        await button.click()
        await listeners_are(shown, path, 1)
        await shown.go("#/usage")
        await listeners_are(shown, path, 0)


async def listeners_are(shown: Dashboard, path: str, count: int) -> None:
    await shown.stage.until(path, lambda session: session["listeners"] == count)


async def test_hidden_page_asks_for_nothing(prepared: Prepared, open_page: OpenPage) -> None:
    async with dashboard(prepared, open_page) as shown:
        asked: list[str] = []
        await shown.page.clock.install()
        await shown.open()
        await expect(shown.page.get_by_text("No call is running.")).to_be_visible()

        shown.page.on("request", lambda request: asked.append(request.url))
        async with shown.page.expect_event("requestfailed", is_levels):
            await set_hidden(shown.page, hidden=True)
        before = len(asked)  # a poll may have been under way
        caller = await shown.stage.call()
        await shown.page.clock.fast_forward(60_000)
        meanwhile = asked[before:]
        levels_by_then = [url for url in asked if url.endswith("/levels")]
        await set_hidden(shown.page, hidden=False)

        await expect(row(shown, caller)).to_be_visible()
        assert meanwhile == []
        assert levels_by_then == []
        assert any(url.endswith("/levels") for url in asked)


def is_levels(request: Request) -> bool:
    return request.url.endswith("/levels")


async def set_hidden(page: Page, *, hidden: bool) -> None:
    """As a browser does for a tab that is not in front; headless ones always are."""
    await page.evaluate(
        """hidden => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


async def test_server_that_cannot_write_says_so(unwritable: Prepared, open_page: OpenPage) -> None:
    async with dashboard(unwritable, open_page) as shown:
        await shown.page.clock.install()
        await shown.open()

        state = shown.page.get_by_role("list", name="Server")
        await expect(state.locator(".bad")).to_contain_text("Index: ")
        await shown.stage.admin("drain", "POST")
        await shown.page.clock.fast_forward(POLL_MS)
        await expect(state).to_contain_text("Draining: no new calls")


async def test_server_that_goes_away_is_missed_and_found_again(
    prepared: Prepared, open_page: OpenPage
) -> None:
    async with dashboard(prepared, open_page) as shown:
        caller = await shown.stage.call()
        await shown.page.clock.install()
        await shown.open()
        await expect(row(shown, caller)).to_be_visible()
        await shown.page.context.set_offline(True)
        await shown.page.clock.fast_forward(POLL_MS)
        await expect(shown.page.get_by_role("alert").first).to_contain_text(
            "The relay does not answer."
        )
        await expect(row(shown, caller)).to_be_visible()

        await shown.page.context.set_offline(False)
        await shown.page.clock.fast_forward(POLL_MS)

        await expect(shown.page.get_by_role("alert").first).to_be_hidden()
