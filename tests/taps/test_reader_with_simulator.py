"""Real calls to the simulator, their packets and events read as they come."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from relay.simulator import Simulator, SimulatorOptions
from relay.taps.facts import EndFacts
from relay.taps.reader import Reader, ReaderTap
from relay.taps.reading import CallReading
from relay.taps.usage import load_prices
from tests.simulator.caller import TIMEOUT_S, Caller, voice
from tests.taps.call import FACTS

PRICES = load_prices()
THINK_S = 0.1
TRANSCRIBED = {
    "type": "realtime",
    "audio": {"input": {"transcription": {"model": "gpt-realtime-whisper"}}},
}


class WatchedCaller(Caller):
    """A caller whose call is read, from the client's side of the wire."""

    tap: ReaderTap

    def send(self, type_: str, **fields: Any) -> None:
        self.tap.event("up", json.dumps({"type": type_, **fields}), time.monotonic())
        super().send(type_, **fields)

    def _receive_event(self, message: str | bytes) -> None:
        self.tap.event("down", message, time.monotonic())
        super()._receive_event(message)

    def _receive_rtp(self, packet: bytes) -> None:
        self.tap.packet("down", False, packet)
        super()._receive_rtp(packet)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """structlog's default renderer would block the loop."""
    with structlog.testing.capture_logs() as entries:
        yield entries
    assert [entry for entry in entries if entry["event"].startswith("reading.")] == []


@pytest.fixture
async def caller() -> AsyncIterator[WatchedCaller]:
    """Connected, and ready to speak."""
    reader, simulator = Reader(PRICES), Simulator(SimulatorOptions(think_s=THINK_S))
    async with contextlib.AsyncExitStack() as stack:
        reader.start()
        stack.push_async_callback(asyncio.to_thread, reader.close, TIMEOUT_S)
        url = await simulator.start()
        stack.push_async_callback(simulator.stop)
        caller = WatchedCaller(url)
        stack.push_async_callback(caller.close)
        caller.tap = reader.begin(
            replace(FACTS, started_s=time.monotonic(), started_at=datetime.now(UTC))
        )
        await caller.call()
        caller.send("session.update", session=TRANSCRIBED)
        await caller.event("session.updated")
        yield caller


async def ended(caller: WatchedCaller) -> CallReading:
    over = EndFacts(time.monotonic(), "completed", "hung_up")
    async with asyncio.timeout(TIMEOUT_S):
        return await asyncio.wrap_future(caller.tap.end(over))


def first_packet_ms(caller: WatchedCaller, found: CallReading) -> float:
    """The loop's clock is the monotonic one, as the tap's."""
    return (caller.media[0].at - found.facts.started_s) * 1000


async def test_call_by_voice_is_read_with_what_its_user_waited_for(caller: WatchedCaller) -> None:
    await caller.speak(voice("weather"))
    await caller.event("output_audio_buffer.stopped")

    found = await ended(caller)

    question, answer = found.transcript.turns
    assert (question.speaker, question.transcription) == ("user", "done")
    assert question.text.endswith("s of speech)")
    said = caller.all("response.output_audio_transcript.done")[0]["transcript"]
    assert (answer.speaker, answer.text, answer.heard) == ("assistant", said, None)
    # What it plays is counted, and it plays as long as it says.
    assert answer.end_ms is not None
    usage = caller.all("response.done")[0]["response"]["usage"]
    audio_ms = usage["output_token_details"]["audio_tokens"] * 50
    assert answer.end_ms - answer.start_ms == pytest.approx(audio_ms, abs=150)
    # The line begins with a chime: its first packet is to be heard.
    (timing,) = found.timeline.responses
    assert timing.audible_ms == pytest.approx(first_packet_ms(caller, found), abs=41)
    assert timing.latency_ms is not None
    # It thinks for so long, but its event may come late and its packet early, by some ms.
    assert THINK_S * 500 <= timing.latency_ms < 1_000
    kinds = {line.kind: line for line in found.usage.lines}
    assert kinds["response"].tokens.total == usage["total_tokens"]
    assert kinds["transcription"].seconds > 0
    assert found.usage.cost.usd > 0
    assert found.usage.cost.is_complete


async def test_call_that_is_interrupted_is_read_with_what_was_heard(caller: WatchedCaller) -> None:
    await caller.speak(voice("weather"))
    await caller.event("response.output_audio_transcript.delta", nth=2)

    await caller.speak(voice("weather"))
    truncated = await caller.event("conversation.item.truncated")
    await caller.event("output_audio_buffer.started", nth=2)
    found = await ended(caller)

    answer = found.transcript.turns[1]
    assert answer.id == truncated["item_id"]
    assert (answer.status, answer.reason) == ("interrupted", "turn_detected")
    assert answer.heard is not None
    assert answer.heard.ms == truncated["audio_end_ms"]
    assert answer.text.startswith(answer.heard.text)
    # The second answer was under way when the call ended.
    assert [turn.speaker for turn in found.transcript.turns] == [
        "user", "assistant", "user", "assistant",
    ]  # fmt: skip
    first, second = found.timeline.responses
    assert (first.status, second.status) == ("cancelled", "in_progress")
    assert second.created_ms > first.created_ms
