"""One call's page as its reader works it, and recorded calls for it to show."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from playwright.async_api import Locator, Page, expect

from relay.app import Prepared
from tests.browser import sound
from tests.browser.dashboard import HOSTILE, Dashboard
from tests.web.operator_stage import Caller, OperatorStage, operating, prepared_for

FRAME_S = 0.02
SAMPLES = 960
VOICED = slice(40, 200)
"""Of the recording `weather`: the words, and enough silence for the end to be heard."""

TRANSCRIBED = {"audio": {"input": {"transcription": {"model": "gpt-transcribe"}}}}
TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CUT_AFTER_S = 1.5


def voice(name: str = "weather", part: slice = VOICED) -> list[bytes]:
    """A recorded voice as Opus packets of 20 ms."""
    with av.open(str(sound.VOICES / f"{name}.opus")) as container:
        found = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    return found[part]


class Mouth:
    """One outgoing stream of a caller, silent between what it says."""

    def __init__(self, caller: Caller) -> None:
        self._leg = caller.browser.leg
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._sequence = 0

    async def say(self, payloads: Sequence[bytes]) -> None:
        """In real time; returns when all of it is said."""
        begins = self._loop.time()
        first = round((begins - self._began) / FRAME_S) * SAMPLES
        for n, payload in enumerate(payloads):
            timestamp = first + n * SAMPLES & 0xFFFFFFFF
            sequence, self._sequence = self._sequence & 0xFFFF, self._sequence + 1
            self._leg.send_rtp(struct.pack("!BBHII", 0x80, 111, sequence, timestamp, 7) + payload)
            await asyncio.sleep(max(0.0, begins + FRAME_S * (n + 1) - self._loop.time()))


async def converse(caller: Caller, spoken: Sequence[bytes]) -> None:
    """A spoken question with its answer, a long answer that is cut off, a tool, hostile texts."""
    caller.send(type="session.update", session={"type": "realtime", **TRANSCRIBED})
    await Mouth(caller).say(spoken)
    await caller.event("output_audio_buffer.stopped")
    caller.send(type="conversation.item.create", item=written(HOSTILE))
    caller.send(type="response.create")
    await caller.event("output_audio_buffer.started")
    await asyncio.sleep(CUT_AFTER_S)  # so much of it is heard
    caller.send(type="response.cancel")
    caller.send(type="output_audio_buffer.clear")
    await caller.event("output_audio_buffer.cleared")
    caller.send(type="session.update", session={"type": "realtime", "tools": [TOOL]})
    caller.send(type="conversation.item.create", item=written("Please get weather for me."))
    caller.send(type="response.create")
    called = await caller.event("response.function_call_arguments.done")
    await caller.event("response.done")
    result = {"call_id": called["call_id"], "output": json.dumps({"sky": "clear", "note": HOSTILE})}
    caller.send(type="conversation.item.create", item={"type": "function_call_output", **result})
    caller.send(type="response.create")
    await caller.event("output_audio_buffer.stopped")


def written(text: str) -> dict[str, Any]:
    """A user's message."""
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content}


async def until_drawn(stage: OperatorStage, session_id: str) -> None:
    """Waits until the server has made a stored call's waveform."""
    await stage.until(f"sessions/{session_id}/waveform", lambda found: "data" in found)


async def _record(prepared: Prepared) -> str:
    spoken = await asyncio.to_thread(voice)
    async with operating(prepared) as stage:
        caller = await stage.call()
        await converse(caller, spoken)
        await stage.hang_up(caller)
        await until_drawn(stage, caller.id)
        return caller.id


def record(directory: Path) -> str:
    """Holds a call and keeps it in `directory`; its id. Blocks for as long as they talk."""
    with ThreadPoolExecutor(1) as thread:  # it may be called where a loop runs
        return thread.submit(asyncio.run, _record(prepared_for(directory))).result()


@dataclass(frozen=True, slots=True)
class CallPage:
    """What a call's page shows, by its own words."""

    shown: Dashboard

    @property
    def page(self) -> Page:
        return self.shown.page

    async def open(self, session_id: str, query: str = "") -> None:
        """Returns when the page is complete."""
        await self.shown.open(f"#/sessions/{session_id}{query}")
        await self.drawn()

    async def drawn(self) -> None:
        await expect(self.page.locator(".deck[data-drawn=true]")).to_be_visible(timeout=15_000)
        await expect(self.turns.first).to_be_visible()

    @property
    def turns(self) -> Locator:
        return self.page.get_by_role("list", name="Transcript").locator(".turn")

    @property
    def current(self) -> Locator:
        return self.page.locator(".turn[aria-current]")

    @property
    def events(self) -> Locator:
        return self.page.get_by_role("listbox", name="Events").locator(".row")

    async def tab(self, name: str) -> None:
        await self.page.get_by_role("tab", name=name).click()

    async def times(self) -> list[float]:
        """Where each side's element is, in seconds, at one moment."""
        found: list[float] = await self.page.evaluate(
            "[...document.querySelectorAll('audio[data-side]')].map((one) => one.currentTime)"
        )
        return found

    async def played_to(self, at_s: float) -> list[float]:
        """Waits until the player is there; where its elements are at that moment."""
        found = await self.page.wait_for_function(
            """(at) => {
                const times = [...document.querySelectorAll("audio[data-side]")];
                const all = times.map((one) => one.currentTime);
                return Math.max(...all) >= at && all;
            }""",
            arg=at_s,
        )
        return [float(time) for time in await found.json_value()]

    async def sought(self, at_s: float) -> None:
        """Waits until all elements have gone there."""
        await self.page.wait_for_function(
            """(at) => [...document.querySelectorAll("audio[data-side]")]
                .every((one) => !one.seeking && Math.abs(one.currentTime - at) < 0.06)""",
            arg=at_s,
        )

    async def ink(self) -> list[float]:
        """Of each lane of the waveform, how much of its canvas is drawn on, from 0 to 1."""
        found: list[float] = await self.page.evaluate(
            """() => {
                const root = document.querySelector(".wave > div").shadowRoot;
                return [...root.querySelectorAll(".canvases canvas")].map((canvas) => {
                    const { data } = canvas.getContext("2d")
                        .getImageData(0, 0, canvas.width, canvas.height);
                    let drawn = 0;
                    for (let at = 3; at < data.length; at += 4) drawn += data[at] > 0;
                    return drawn / (data.length / 4);
                });
            }"""
        )
        return found
