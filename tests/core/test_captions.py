"""WebVTT that players take, and plain text that people read."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.captions import CUE_CHARS, cues, plain_text, webvtt
from relay.core.transcript import Heard, Segment, Transcript, Turn
from tests.core.talk import STARTED_AT

USER = Turn("item_1", "user", "speech", "completed", "Where is it?", 1500, 2750)
ASSISTANT = Turn("item_2", "assistant", "speech", "completed", "Over there.", 3_603_004, 3_605_000)


def of(*turns: Turn) -> Transcript:
    return Transcript(STARTED_AT, turns, is_final=True)


def test_webvtt_of_a_dialogue_has_cues_with_voices_and_the_recordings_times() -> None:
    assert webvtt(of(USER, ASSISTANT)) == (
        "WEBVTT\n\n"
        "item_1-1\n00:00:01.500 --> 00:00:02.750\n<v User>Where is it?\n\n"
        "item_2-1\n01:00:03.004 --> 01:00:05.000\n<v Assistant>Over there.\n"
    )


def test_webvtt_of_nothing_is_a_header() -> None:
    assert webvtt(of()) == "WEBVTT\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a --> b & c", "a --&gt; b &amp; c"),
        ("one\n\ntwo\r\nthree", "one two three"),
        ("NOTE\x00\x1b[31mred\u2028end", "NOTE [31mred end"),
    ],
)
def test_webvtt_of_a_text_with_markup_shows_it_as_text(text: str, shown: str) -> None:
    assert webvtt(of(replace(USER, text=text))).endswith(f"<v User>{shown}\n")


def test_webvtt_of_a_turn_with_an_id_that_is_no_word_names_it_otherwise() -> None:
    for hostile in ("a --> b", "x\n\n00:00", "", "<i>"):
        assert "\n\nturn-1\n00:00:01.500 -->" in webvtt(of(replace(USER, id=hostile)))


def test_webvtt_of_an_interrupted_speech_has_what_was_heard() -> None:
    heard = Heard("Over", 400, is_estimate=True)
    turn = replace(ASSISTANT, heard=heard, end_ms=ASSISTANT.start_ms + 400)

    (cue,) = cues(of(turn))

    assert (cue.text, cue.end_ms - cue.start_ms) == ("Over", 500)  # long enough to be seen


def test_webvtt_leaves_out_what_is_not_heard() -> None:
    silent = [
        replace(USER, kind="tool_result"),
        replace(USER, kind="tool_call"),
        replace(USER, speaker="system", kind="text"),
        replace(USER, text=""),
        replace(USER, text="", transcription="pending"),
        replace(ASSISTANT, heard=Heard("", 0, is_estimate=True)),
    ]

    assert cues(of(*silent)) == []


@pytest.mark.parametrize(
    ("transcription", "shown"),
    [("missing", "[not transcribed]"), ("failed", "[transcription failed]")],
)
def test_webvtt_of_a_speech_without_transcript_says_so(transcription: str, shown: str) -> None:
    turn = replace(USER, text="", transcription=transcription)  # type: ignore[arg-type]

    assert [cue.text for cue in cues(of(turn))] == [shown]


def test_webvtt_of_a_written_message_shows_it_for_a_while() -> None:
    turn = replace(USER, kind="text", end_ms=1500, images=2)

    (cue,) = cues(of(turn))

    assert (cue.start_ms, cue.end_ms, cue.text) == (1500, 4500, "Where is it? [2 images]")


def test_webvtt_is_in_the_order_of_time_where_the_conversation_is_not() -> None:
    late = replace(USER, id="item_3", start_ms=9000, end_ms=9500)

    assert [cue.id for cue in cues(of(late, USER))] == ["item_1-1", "item_3-1"]


def test_webvtt_of_a_long_speech_has_cues_at_its_sentences() -> None:
    sentences = ["It begins like this, and takes its time to come to an end." for _ in range(4)]
    turn = replace(ASSISTANT, text=" ".join(sentences), start_ms=0, end_ms=23_500)

    found = cues(of(turn))

    # Two of the sentences are 117 characters.
    assert [cue.text for cue in found] == [" ".join(sentences[:2])] * 2
    assert [(cue.start_ms, cue.end_ms) for cue in found] == [(0, 11_700), (11_700, 23_500)]


def test_webvtt_of_a_speech_without_spaces_is_parted_all_the_same() -> None:
    found = cues(of(replace(ASSISTANT, text="字" * (CUE_CHARS * 2 + 1))))

    assert [len(cue.text) for cue in found] == [CUE_CHARS, CUE_CHARS, 1]


def test_webvtt_of_segments_has_a_voice_for_each() -> None:
    segments = (Segment("A", 1500, 2000, "Where"), Segment("B <b>", 2100, 2700, "is it?"))

    text = webvtt(of(replace(USER, segments=segments)))

    assert "00:00:01.500 --> 00:00:02.000\n<v User A>Where" in text
    assert "00:00:02.100 --> 00:00:02.700\n<v User B &lt;b&gt;>is it?" in text


def test_plain_text_has_everything_in_order() -> None:
    turns = (
        replace(USER, text="", transcription="missing"),
        replace(ASSISTANT, heard=Heard("Over", 400, is_estimate=True), status="interrupted"),
        replace(USER, kind="text", text="first\x1b[2J\n\n  second", images=1),
        replace(ASSISTANT, kind="response", text="", status="failed", reason="quota\nexceeded"),
        replace(USER, text="half", transcription="partial", is_deleted=True),
        replace(USER, text="", kind="other"),
        replace(ASSISTANT, text="Aside.", is_out_of_band=True),
    )

    assert plain_text(of(*turns)) == (
        "[00:00:01] User: [not transcribed]\n"
        "[01:00:03] Assistant: Over — [not heard: there.]\n"
        "[00:00:01] User: first [2J\n    second [image]\n"
        "[01:00:03] Assistant: [failed: quota exceeded]\n"
        "[00:00:01] User: half [not transcribed to its end] [deleted from the conversation]\n"
        "[01:00:03] Assistant: Aside. [not part of the conversation]\n"
    )


TEXTS = st.text(max_size=300)
TURNS = st.builds(
    lambda id_, text, start, length, kind, speaker: Turn(
        id_, speaker, kind, "completed", text, start, start + length
    ),
    TEXTS,
    TEXTS,
    st.integers(0, 10**7),
    st.integers(0, 10**5),
    st.sampled_from(["speech", "text", "tool_call"]),
    st.sampled_from(["user", "assistant", "system"]),
)
BLOCK = re.compile(
    r"[A-Za-z0-9_\-]+\n"
    r"(\d{2,}:[0-5]\d:[0-5]\d\.\d{3}) --> (\d{2,}:[0-5]\d:[0-5]\d\.\d{3})\n"
    r"<v (User|Assistant)>[^\n\r<>\x00]+"
)


@given(st.lists(TURNS, max_size=5))
def test_webvtt_of_any_turns_is_well_formed(turns: list[Turn]) -> None:
    head, *blocks = webvtt(of(*turns)).removesuffix("\n").split("\n\n")

    assert head == "WEBVTT"
    begins = []
    for block in blocks:
        match = BLOCK.fullmatch(block)
        assert match is not None
        assert match[1] < match[2] or len(match[1]) < len(match[2])
        begins.append(match[1])
    assert begins == sorted(begins)


@given(st.lists(TURNS, max_size=5))
def test_cues_of_any_turns_have_all_that_is_heard(turns: list[Turn]) -> None:
    shown = "".join(cue.text for turn in turns for cue in cues(of(turn)))
    heard = "".join(turn.text for turn in turns
                    if turn.kind != "tool_call" and turn.speaker != "system")  # fmt: skip

    # But for spaces and control characters, nothing is lost where it is parted.
    assert re.sub(r"[\s\x00-\x1f\x7f-\x9f]", "", shown) == re.sub(
        r"[\s\x00-\x1f\x7f-\x9f]", "", heard
    )


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_webvtt_is_read_by_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "call.vtt"
    path.write_text(webvtt(of(replace(USER, text="1 < 2 & 3 --> 4"), ASSISTANT)))

    srt = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", path, "-f", "srt", "-"], check=True, capture_output=True
    ).stdout.decode()

    assert "00:00:01,500 --> 00:00:02,750\n1 < 2 & 3 --> 4" in srt
    assert "01:00:03,004 --> 01:00:05,000\nOver there." in srt
