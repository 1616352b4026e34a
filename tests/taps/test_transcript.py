"""A transcript that is watched, and the file it becomes."""

from __future__ import annotations

import json
from pathlib import Path

from relay.core.transcript import Change
from relay.stores.folders import Folder
from relay.taps.facts import CallFacts
from relay.taps.transcript import TranscriptTap, store_transcript
from tests.core.talk import message
from tests.taps.call import FACTS
from tests.taps.transcripts import load_transcript


def user(item_id: str, text: str) -> dict[str, object]:
    item = message(item_id, "user", {"type": "input_text", "text": text})
    return {"type": "conversation.item.added", "item": item}


def test_transcript_tap_tells_what_is_new_when_it_is_published() -> None:
    told: list[tuple[str, tuple[Change, ...]]] = []

    def note(facts: CallFacts, changes: tuple[Change, ...]) -> None:
        told.append((facts.id, changes))

    tap = TranscriptTap(FACTS, note)
    tap.handle("down", user("a", "one"), 100)
    tap.handle("down", user("b", "two"), 200)
    assert tap.latest.turns == ()

    tap.publish()
    tap.publish()
    tap.handle("down", user("c", "three"), 300)
    tap.finish(400)
    tap.publish()

    assert [[change.turn.text for change in changes] for _, changes in told] == [
        ["one", "two"], ["three"],
    ]  # fmt: skip
    assert told[0][0] == FACTS.id
    assert tap.latest.is_final


def test_transcript_is_stored_as_one_file_that_is_read_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "2026-11-23" / "rtc_1")
    tap = TranscriptTap(FACTS)
    tap.handle("down", user("a", "<script>alert('é')</script>\x00\ud800"), 100)
    tap.finish(400)
    tap.publish()

    store_transcript(folder, tap.latest)

    assert [path.name for path in folder.path.iterdir()] == ["transcript.json"]
    told = json.loads((folder.path / "transcript.json").read_bytes())
    assert told["turns"][0]["text"] == "<script>alert('é')</script>\x00\N{REPLACEMENT CHARACTER}"
    assert load_transcript(folder) == tap.latest


def test_transcript_that_is_missing_or_spoilt_is_none(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "2026-11-23" / "rtc_1")
    assert load_transcript(folder) is None

    folder.make()
    (folder.path / "transcript.json").write_text('{"version": 1, "turns": [')

    assert load_transcript(folder) is None
