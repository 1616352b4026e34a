"""A call's transcript while it runs, and as `transcript.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from relay.core.ids import Direction
from relay.core.transcriber import Transcriber
from relay.core.transcript import Change, Transcript
from relay.stores.folders import Folder, write_whole
from relay.stores.reading import TRANSCRIPT
from relay.taps.facts import CallFacts

OnTurns = Callable[[CallFacts, tuple[Change, ...]], None]
"""What is new in a call's transcript (`Transcript.since`)."""


class TranscriptTap:
    """One call's, fed by one thread. `latest` may be read by any: it is replaced, never changed."""

    def __init__(self, facts: CallFacts, on_turns: OnTurns | None = None) -> None:
        self._facts = facts
        self._on_turns = on_turns
        self._transcriber = Transcriber(facts.started_at)
        self.latest: Transcript = self._transcriber.transcript

    def handle(self, direction: Direction, event: Mapping[str, Any], at_ms: float) -> None:
        """Takes an event; `publish` shows what it changed."""
        self._transcriber.handle(direction, event, at_ms)

    def finish(self, at_ms: float) -> None:
        """The call is over."""
        self._transcriber.finish(at_ms)

    def publish(self) -> None:
        """To be called after a few events: makes `latest` of them, and tells what is new."""
        before = self.latest
        latest = self.latest = self._transcriber.transcript
        if self._on_turns is not None and latest.revision > before.revision:
            self._on_turns(self._facts, latest.since(before.revision))


def store_transcript(folder: Folder, transcript: Transcript) -> None:
    """Writes `transcript.json`, at once and whole. For a thread: it waits for the disk, and raises
    OSError."""
    folder.make()
    text = json.dumps(transcript.to_json(), ensure_ascii=False, separators=(",", ":"))
    write_whole(folder.path / TRANSCRIPT, text.encode())
