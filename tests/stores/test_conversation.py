"""What is read of a folder: all that is there, and of spoilt files what can be."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.stores.conversation import (
    MAX_NAME_CHARS,
    Conversation,
    Entry,
    FolderFacts,
    NoConversation,
    Turn,
    Upload,
    entry_of,
    turns_of,
)
from relay.stores.folders import Folders
from relay.stores.reading import UPLOAD, files_of, read_entry, source_of
from tests.stores.conversations import (
    BEGAN,
    MODEL,
    make_folder,
    session_json,
    transcript_json,
    usage,
)

FACTS = FolderFacts("rtc_1", BEGAN.date(), False, (), 0, "")

NAMES = sorted(
    {"uploaded_at", "lines", "kind", "count", "tokens", "input", "tool", "name", "lost", "packets"}
    | set(session_json("rtc_1", BEGAN))
    | set(transcript_json())
    | set(transcript_json("hello")["turns"][0])
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["live", "ended", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


def test_folder_when_complete_is_read_whole(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "rtc_1", "Hello.", "Good day.")

    entry = read_entry(folder, is_live=False)

    assert entry == Entry(
        Conversation(
            id="rtc_1",
            day=date(2026, 3, 14),
            state="ended",
            started_at=BEGAN,
            ended_at=BEGAN + timedelta(seconds=90),
            duration_s=90.0,
            outcome="completed",
            reason="client hung up",
            owner="shop",
            key_id="shop",
            model=MODEL,
            upstream_call_id="rtc_up",
            mode="audio",
            audio=("client.ogg",),
            bytes=sum(path.stat().st_size for path in folder.path.iterdir()),
            events=20,
            turns=2,
            losses=3,
            tokens=usage().tokens.total,
            cost=usage().cost,
        ),
        usage(),
        (Turn("user", 0.0, "Hello."), Turn("assistant", 2.5, "Good day.")),
        source_of(folder),
    )
    assert entry.conversation.cost.usd == Decimal("0.0128")


def test_folder_when_a_file_is_replaced_has_another_source(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "rtc_1", "Hello.")
    sources = {source_of(folder)}

    folder.update_session({"reason": "other"})
    sources.add(source_of(folder))
    (folder.path / UPLOAD).write_text("{}")
    sources.add(source_of(folder))
    (folder.path / "transcript.json").unlink()
    sources.add(source_of(folder))

    assert len(sources) == 4
    assert source_of(folder) in sources


@pytest.mark.parametrize(("is_live", "state"), [(True, "live"), (False, "unfinished")])
def test_folder_without_an_end_is_live_or_unfinished(
    tmp_path: Path, is_live: bool, state: str
) -> None:
    folder = make_folder(tmp_path, "rtc_1", state="live", ended_at=None, end=None)

    found = read_entry(folder, is_live=is_live).conversation

    assert (found.state, found.ended_at, found.outcome) == (state, None, None)


def test_folder_when_it_was_uploaded_says_so(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "rtc_1")
    upload = {"state": "uploaded", "attempts": 2, "uploaded_at": "2026-03-15T00:00:00Z"}
    (folder.path / UPLOAD).write_text(json.dumps(upload))

    found = read_entry(folder, is_live=False).conversation

    assert found.upload == Upload("uploaded", 2, None, datetime(2026, 3, 15, tzinfo=UTC))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"turns":[', "[" * 100_000, "\xff"])
def test_folder_when_its_transcript_is_spoilt_keeps_the_rest(tmp_path: Path, text: str) -> None:
    folder = make_folder(tmp_path, "rtc_1", "Hello.")
    (folder.path / "transcript.json").write_bytes(text.encode("latin-1"))

    entry = read_entry(folder, is_live=False)

    assert entry.turns == ()
    assert entry.conversation.outcome == "completed"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id":"rtc_2"}', "{}", '{"id":["rtc_1"]}'])
def test_folder_when_its_session_is_spoilt_is_no_conversation(tmp_path: Path, text: str) -> None:
    folder = make_folder(tmp_path, "rtc_1", "Hello.")
    (folder.path / "session.json").write_text(text)

    with pytest.raises(NoConversation, match=r"session\.json"):
        read_entry(folder, is_live=False)


def test_folder_that_is_not_there_raises_an_os_error(tmp_path: Path) -> None:
    folder = Folders(tmp_path).at(BEGAN.date(), "rtc_1")

    with pytest.raises(FileNotFoundError):
        read_entry(folder, is_live=False)


def test_files_of_a_folder_leave_out_what_is_not_part_of_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "rtc_1", "Hello.")
    folder.put_blob("a" * 64, b"audio")
    (folder.path / UPLOAD).write_text("{}")
    (folder.path / ".session.json.1234").write_text("half")
    (folder.path / "link").symlink_to("/etc/passwd")
    (folder.path / "other").mkdir()
    os.mkfifo(folder.path / "pipe")

    names = [file.name for file in files_of(folder)]

    blob = f"blobs/{'a' * 64}"
    assert names == [blob, "client.ogg", "events.jsonl", "transcript.json", "session.json"]


def test_turns_when_a_tool_was_called_have_its_words() -> None:
    turn = {
        "speaker": "assistant",
        "kind": "tool_call",
        "text": "",
        "start_ms": 1500,
        "tool": {"name": "find_flight", "arguments": '{"to": "Lisbon"}', "output": "none"},
    }

    assert turns_of({"turns": [turn]}) == (
        Turn("assistant", 1.5, 'find_flight {"to": "Lisbon"} none'),
    )


def test_turns_when_one_is_spoilt_are_the_others() -> None:
    transcript = transcript_json("one", "two", "three")
    transcript["turns"][1] = {"text": 5}
    transcript["turns"][2]["start_ms"] = "late"

    assert turns_of(transcript) == (Turn("user", 0.0, "one"), Turn("user", None, "three"))


@given(JSON, JSON, JSON)
def test_entry_of_any_json_is_one_or_is_refused(session: Any, transcript: Any, upload: Any) -> None:
    session = {**session, "id": "rtc_1"} if isinstance(session, dict) else {"id": "rtc_1"}

    entry = entry_of(FACTS, session, transcript, upload if isinstance(upload, dict) else {})

    assert entry.conversation.started_at.tzinfo is UTC
    assert entry.conversation.losses >= 0
    assert all(turn.text for turn in entry.turns)


def test_entry_of_a_name_without_an_end_has_its_beginning() -> None:
    session = {"id": "rtc_1", "model": "m" * 1_000_000, "owner": "a\x00\x1b[31mb\ud800"}

    found = entry_of(FACTS, session, None, {}).conversation

    assert found.model == "m" * MAX_NAME_CHARS
    assert found.owner == "a [31mb?"
