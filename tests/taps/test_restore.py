"""Conversations whose process died before it could write what was said."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from relay.core.quality import Quality
from relay.stores.folders import Folder
from relay.stores.reading import read_entry
from relay.taps.eventlog import EventLog
from relay.taps.restore import keep, restore
from relay.taps.usage import load_prices
from tests.taps.call import FACTS
from tests.taps.rehearsal import everything
from tests.taps.transcripts import load_transcript

PRICES = load_prices()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """As a process leaves it that is killed in the middle of a line."""
    folder = Folder(tmp_path / "2026-11-23" / FACTS.id)
    folder.make()
    started_at = FACTS.started_at.isoformat().replace("+00:00", "Z")
    folder.update_session({"id": FACTS.id, "state": "live", "started_at": started_at})
    log = EventLog(folder)
    for way, event, at_ms in everything().spoken:
        log.add(FACTS.started_at + timedelta(milliseconds=at_ms), way, json.dumps(event))
    log.flush()
    log.close()
    with folder.events.open("ab") as file:
        file.write(b'{"seq":99999,"at":"2026-')
    return folder


def test_conversation_that_was_cut_off_gets_its_transcript_and_usage(folder: Folder) -> None:
    found = restore(folder, PRICES)

    assert found is not None
    assert len(found.transcript.turns) == 12
    assert load_transcript(folder) == found.transcript
    entry = read_entry(folder, is_live=False)
    assert entry.usage == found.usage
    assert entry.conversation.turns == 12
    assert entry.conversation.model == "gpt-realtime-2.1"
    assert entry.conversation.state == "unfinished"


def test_reading_that_is_kept_stands_beside_what_others_wrote(folder: Folder) -> None:
    found, quality = restore(folder, PRICES), Quality(setup_ms={"answered": 210.0})
    assert found is not None
    folder.update_session({"recording": {"mode": "audio"}})

    keep(folder, found, quality)

    session = folder.session()
    assert session["recording"] == {"mode": "audio"}
    assert session["quality"]["setup_ms"] == {"answered": 210.0}
    assert session["usage"]["cost_usd"] == float(found.usage.cost.usd) > 0
    assert session["responses"]["count"] == 6


def test_conversation_whose_record_is_spoilt_gets_what_is_before(folder: Folder) -> None:
    data = folder.events.read_bytes()
    at = data.index(b"Please get weather")
    folder.events.write_bytes(data[:at] + b"Cheese" + data[at + 6 :])

    found = restore(folder, PRICES)

    assert found is not None
    assert [turn.kind for turn in found.transcript.turns] == ["speech"] * 6


@pytest.mark.parametrize("started_at", [None, "yesterday", "2026-11-23T12:00:00", 7])
def test_conversation_that_does_not_say_when_it_began_is_left_alone(
    folder: Folder, started_at: object
) -> None:
    folder.update_session({"started_at": started_at})

    assert restore(folder, PRICES) is None
    assert load_transcript(folder) is None


def test_conversation_without_events_is_left_alone(folder: Folder) -> None:
    folder.events.unlink()

    assert restore(folder, PRICES) is None
