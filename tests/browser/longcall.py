"""An hour of conversation in a folder, recorded in virtual time by the recorder itself."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from relay.core.ids import Direction
from relay.core.quality import LegSample, Quality
from relay.loadtest.speech import stored_payloads
from relay.stores.folders import Folder
from relay.taps.restore import restore
from relay.taps.usage import load_prices
from relay.taps.waveform import WAVEFORM
from tests.taps.sounds import rtp
from tests.taps.stage import Stage

SECONDS = 3600
EXCHANGES = 240
EXCHANGE_S = SECONDS / EXCHANGES
"""A question of 3 s, a wait of 0.6 s (now and then 2.4 s), an answer of 8 s, silence."""

ASKED_S, ANSWERED_S = 3.0, 8.0
FRAME_S = 0.02
DELTAS = 78
"""Pieces of an answer's transcript."""

WORDS = "and then we looked at the weather over the sea, which was calm for most of the day, "
SAMPLE_S = 5.0

Spoken = tuple[float, Direction, dict[str, Any] | bytes]
"""When (seconds of the call), from whom, and an event or an RTP packet."""


def record_hour(directory: Path) -> Folder:
    """240 exchanges, 21,600 events, both voices; what is read of them; quality every 5 s; the
    waveform. Blocks for some seconds."""
    stage = _recorded(directory, EXCHANGES)
    restore(stage.folder, load_prices())
    stage.folder.update_session({"quality": _quality().to_json()})
    waveform = json.dumps(_waveform(directory.with_name("exchange")))
    (stage.folder.path / WAVEFORM).write_text(waveform)
    return stage.folder


def _recorded(directory: Path, exchanges: int) -> Stage:
    stage = Stage(directory)
    payloads = stored_payloads()
    for n in range(exchanges):
        spoken = [*_packets(n, payloads), *_events(n)]
        for at_s, direction, message in sorted(spoken, key=lambda one: one[0]):
            if isinstance(message, bytes):
                stage.packet(at_s, direction, message)
            else:
                stage.event(at_s, direction, json.dumps(message))
    stage.end(exchanges * EXCHANGE_S)
    assert not stage.failures
    return stage


def _waveform(directory: Path) -> dict[str, Any]:
    """One exchange's as the relay makes it, as often as there are exchanges: they sound alike, and
    to decode an hour takes longer than all the rest of the test."""
    folder = _recorded(directory, 1).folder
    made = [sys.executable, "-m", "relay.taps.render", str(folder.path), "waveform"]
    subprocess.run(made, check=True, timeout=60)
    one: dict[str, Any] = json.loads((folder.path / WAVEFORM).read_text())
    return {**one, "length": one["length"] * EXCHANGES, "data": one["data"] * EXCHANGES}


def _wait_s(n: int) -> float:
    return 2.4 if n % 40 == 7 else 0.6


def _packets(n: int, payloads: Sequence[bytes]) -> Iterator[Spoken]:
    asked_s, answered_s = 0.5 + n * EXCHANGE_S, 0.5 + n * EXCHANGE_S + ASKED_S + _wait_s(n)
    yield from _voice("up", asked_s, ASKED_S, payloads)
    yield from _voice("down", answered_s, ANSWERED_S, payloads)


def _voice(
    direction: Direction, begins_s: float, seconds: float, payloads: Sequence[bytes]
) -> Iterator[Spoken]:
    speech = itertools.cycle(payloads)
    first = round(begins_s / FRAME_S)
    for n in range(first, first + round(seconds / FRAME_S)):
        yield n * FRAME_S, direction, rtp(n, next(speech))


def _events(n: int) -> Iterator[Spoken]:
    asked_s = 0.5 + n * EXCHANGE_S
    stopped_s = asked_s + ASKED_S
    yield from _question(n, asked_s, stopped_s)
    yield from _answer(n, stopped_s + 0.05, stopped_s + _wait_s(n))


def _question(n: int, asked_s: float, stopped_s: float) -> Iterator[Spoken]:
    item = f"item_u{n}"
    buffer, message = "input_audio_buffer", {"id": item, "type": "message", "role": "user"}
    content = [{"type": "input_audio", "transcript": None}]
    told = "conversation.item.input_audio_transcription.completed"
    yield _down(asked_s, f"{buffer}.speech_started", item_id=item, audio_start_ms=asked_s * 1000)
    yield _down(stopped_s, f"{buffer}.speech_stopped", item_id=item, audio_end_ms=stopped_s * 1000)
    yield _down(stopped_s + 0.01, f"{buffer}.committed", item_id=item)
    yield _down(stopped_s + 0.01, "conversation.item.added", item={**message, "content": content})
    text = f"Question number {n}: what was the weather like?"
    yield _down(stopped_s + 0.2, told, item_id=item, content_index=0, transcript=text)


def _answer(n: int, created_s: float, audible_s: float) -> Iterator[Spoken]:
    response, item = f"resp_{n}", f"item_a{n}"
    of = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
    message = {"id": item, "type": "message", "role": "assistant", "content": []}
    delta, done = "response.output_audio_transcript.delta", "response.output_audio_transcript.done"
    begun = {"id": response, "status": "in_progress", "conversation_id": "conv_1"}
    yield _down(created_s, "response.created", response=begun)
    yield _down(created_s, "response.output_item.added", response_id=response, item=message)
    yield _down(created_s, "conversation.item.added", previous_item_id=f"item_u{n}", item=message)
    yield _down(audible_s, "output_audio_buffer.started", response_id=response)
    for piece in range(DELTAS):
        at_s = audible_s + piece * 0.05
        yield _down(at_s, delta, **of, delta=WORDS[piece % len(WORDS) :][:6])
    yield _down(audible_s + 4.0, done, **of, transcript=f"Answer number {n}: {WORDS * 2}")
    used = {"input_tokens": 300 + n, "input_token_details": {"text_tokens": 100, "audio_tokens": n}}
    spent = {"output_tokens": 210, "output_token_details": {"audio_tokens": 160, "text_tokens": 50}}
    ended = {**begun, "status": "completed", "usage": {**used, **spent}}
    yield _down(audible_s + 4.1, "response.done", response=ended)
    yield _down(audible_s + ANSWERED_S, "output_audio_buffer.stopped", response_id=response)


def _down(at_s: float, kind: str, **members: Any) -> Spoken:
    return at_s, "down", {"type": kind, "event_id": f"event_{at_s * 1000:.0f}", **members}


def _quality() -> Quality:
    """Paths that get worse in the middle of the hour."""
    quality = Quality({"answered": 180.0, "client_connected": 90.0, "upstream_connected": 120.0})
    for n in range(round(SECONDS / SAMPLE_S)):
        bad = 1 + 4 * (abs(n - 360) < 30)
        for leg in quality.legs.values():
            trip_s, packets = 0.03 * bad + (n % 7) / 1000, 250 * n
            sample = LegSample(trip_s, trip_s, 0.004 * bad, packets, n * bad // 5, packets)
            leg.add(n * SAMPLE_S * 1000, sample)
    return quality
