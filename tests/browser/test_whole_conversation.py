"""One conversation from end to end: spoken, answered, overheard, kept, proven, and found again.

A recorded voice calls `relay demo` by the demo page; an operator watches by the dashboard in
another browser, and afterwards finds the call by clicking.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import wave
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from relay.core import opus
from relay.simulator.lines import Line, load_script
from relay.stores.audio import opus_packets
from relay.stores.audio import sound as sound_of
from relay.stores.folders import Folder
from tests.browser import server, sound, watch
from tests.browser.conftest import OpenPage
from tests.browser.demo_page import DemoPage
from tests.browser.demo_site import until
from tests.browser.server import Server

FRAME = 480  # 10 ms
SAID = "weather"
MICROPHONE: list[float | str] = [1.0, SAID, 30.0]


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Server]:
    with server.running(tmp_path) as running:
        yield running


@pytest.fixture
def line() -> Line:
    """What the simulator answers first."""
    return load_script().answer(0)


@dataclass(frozen=True, slots=True)
class Operator:
    """The dashboard in a browser of its own."""

    page: Page
    relay: Server

    async def open(self) -> None:
        await self.page.add_init_script(sound.OVERHEAR)
        await self.page.goto(f"{self.relay.url}/admin/")

    async def listen_in(self) -> None:
        calls = self.page.get_by_role("list", name="Live calls")
        await calls.get_by_role("button", name="Listen in").click(timeout=15_000)
        await until(self.page, "ears.length === 2")

    async def chime(self) -> float:
        """Waits until an answer of the simulator's is to be heard from the upstream's side."""
        async with asyncio.timeout(watch.TIMEOUT_MS / 1000):
            while not (found := sound.chimes(await self.heard(1))):
                await self.page.wait_for_timeout(100)
        return found[0]

    async def heard(self, ear: int) -> list[sound.Heard]:
        """0 is the client's side, 1 the upstream's."""
        return sound.heard(await self.page.evaluate(f"ears[{ear}]"))

    async def find(self, words: str) -> None:
        """Clicks its way to the one call in which these words were said."""
        await self.page.get_by_role("link", name="Calls", exact=True).click()
        await self.page.get_by_label("Search transcripts").fill(words)
        await expect(self.page.locator("mark").first).to_be_visible(timeout=15_000)
        await self.page.locator("li.result a").first.click()


# --- sounds ---


def envelope(samples: array[int]) -> list[float]:
    """The loudness of each 10 ms."""
    return [
        sum(abs(value) for value in samples[at : at + FRAME : 4])
        for at in range(0, len(samples) - FRAME + 1, FRAME)
    ]


def microphone(file: Path) -> list[float]:
    with wave.open(str(file)) as recording:
        return envelope(array("h", recording.readframes(recording.getnframes())))


def recorded(file: Path) -> list[float]:
    return envelope(array("h", b"".join(sound_of(file))))


def likeness(part: Sequence[float], whole: Sequence[float]) -> tuple[float, int]:
    """The best correlation (Pearson) of a part with any stretch of the whole, and where that is."""
    best = (-1.0, 0)
    for at in range(len(whole) - len(part) + 1):
        found = correlation(part, whole[at : at + len(part)])
        best = max(best, (found, at))
    return best


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    spread = sum((x - mean_x) ** 2 for x in xs) * sum((y - mean_y) ** 2 for y in ys)
    return float(covariance / spread**0.5) if spread else 0.0


def place_of(part: Sequence[bytes], whole: Sequence[bytes]) -> int:
    """Where packets stand in a row, to the last byte; -1 where they do not."""
    places = range(len(whole) - len(part) + 1)
    return next((at for at in places if whole[at : at + len(part)] == list(part)), -1)


# --- the conversation ---


async def test_conversation_is_overheard_kept_proven_and_found_again(
    open_page: OpenPage, relay: Server, line: Line, tmp_path: Path
) -> None:
    operator = Operator(await open_page(), relay)
    await operator.open()
    caller = DemoPage(await open_page(microphone=MICROPHONE))
    await caller.open(relay.url)
    since = relay.log.stat().st_size

    await caller.start(sample=False)
    await operator.listen_in()
    await operator.chime()
    await caller.quiet("them", for_ms=1500)
    client, upstream = await operator.heard(0), await operator.heard(1)
    await caller.page.get_by_role("button", name="Hang up").click()
    (ended,) = await watch.hung_up(relay, since)

    # What the listener heard: an answer, and a caller whose voice is not in it.
    assert sound.audible_ms(upstream) > 1000
    assert sound.audible_ms(client) > 500
    assert sound.chimes(client) == []

    # It is found again, and heard.
    await operator.find(line.text.split()[-1].strip(".,!?"))
    await expect(operator.page.get_by_text(line.text)).to_be_visible(timeout=15_000)
    await operator.page.get_by_role("button", name="Play", exact=True).click()
    await played(operator.page, 1.0)

    # What was kept is what was said and answered, and holds.
    kept = await asyncio.to_thread(look, tmp_path, line)
    assert kept.id == ended["session_id"]
    assert kept.likeness_of_voice > 0.8
    assert 0 < kept.said_at_s < kept.answered_at_s
    assert kept.loudness_before_answer < 0.05
    assert kept.verdict.startswith(f"{kept.id}  holds")
    assert kept.turns[0][0] == "user"
    assert kept.turns[1] == ("assistant", line.text)


async def played(page: Page, seconds: float) -> None:
    """Waits until both sides have been played for so long."""
    sides = "[...document.querySelectorAll('audio')].filter(({ duration }) => duration > 0)"
    await until(page, f"({sides}.length === 2) && {sides}.every((a) => a.currentTime > {seconds})")


# --- what was kept ---


@dataclass(frozen=True, slots=True)
class Kept:
    """What the folder of the one conversation tells.

    `likeness_of_voice` is how much what was recorded of the caller is what the microphone heard,
    `answered_at_s` where the simulator's own packets begin, byte for byte, and
    `loudness_before_answer` how loud the upstream was before, as a part of its loudest.
    """

    id: str
    likeness_of_voice: float
    said_at_s: float
    answered_at_s: float
    loudness_before_answer: float
    verdict: str
    turns: list[tuple[str, str]]


def look(directory: Path, line: Line) -> Kept:
    folder = kept_in(directory)
    said = microphone(sound.record(directory / "said.wav", [SAID]))
    alike, said_at = likeness(said, recorded(folder.path / "client.ogg"))
    packets = list(opus_packets(folder.path / "upstream.ogg"))
    place = place_of(line.packets, packets)
    assert place >= 0, "the answer's packets are not in the record"
    answered_at = sum(map(opus.samples, packets[:place])) // FRAME
    answer = recorded(folder.path / "upstream.ogg")
    transcript = json.loads((folder.path / "transcript.json").read_text())
    return Kept(
        id=folder.id,
        likeness_of_voice=alike,
        said_at_s=said_at / 100,
        answered_at_s=answered_at / 100,
        loudness_before_answer=max(answer[: answered_at - 5]) / max(answer),
        verdict=command(directory, "recordings", "verify", folder.id),
        turns=[(turn["speaker"], turn["text"]) for turn in transcript["turns"]],
    )


def kept_in(directory: Path) -> Folder:
    """The one conversation below a directory."""
    (found,) = directory.glob("*/????-??-??/*/session.json")
    return Folder(found.parent)


def command(directory: Path, *arguments: str) -> str:
    """What `relay …` says to the operator of the server in `directory`."""
    done = subprocess.run(
        [sys.executable, "-m", "relay", *arguments],
        cwd=directory,
        env={"PYTHONPATH": str(server.ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout if done.returncode == 0 else done.stderr
