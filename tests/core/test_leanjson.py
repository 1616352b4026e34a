"""Messages read for their words."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.leanjson import MAX_CHARS, MIN_LEAN_CHARS, read_event

AUDIO = base64.b64encode(bytes(range(256)) * 400).decode()  # 136 kB
EVENT = {"type": "conversation.item.retrieved", "item": {"id": "i", "content": [{"text": "hi"}]}}


@pytest.mark.parametrize("as_bytes", [False, True])
def test_event_that_is_short_is_read_in_full(as_bytes: bool) -> None:
    text = json.dumps(EVENT)

    assert read_event(text.encode() if as_bytes else text) == EVENT


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,", "data:audio/wav;rate=8;base64,"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_event_with_base64_is_read_without_it(prefix: str, as_bytes: bool) -> None:
    text = json.dumps({**EVENT, "audio": prefix + AUDIO, "more": [AUDIO, "end"]})

    event = read_event(text.encode() if as_bytes else text)

    assert event == {**EVENT, "audio": "", "more": ["", "end"]}


def test_event_of_sixteen_megabytes_of_base64_is_read_quickly() -> None:
    text = json.dumps({**EVENT, "audio": AUDIO * 120})
    assert len(text) > 16_000_000

    began = time.perf_counter()
    event = read_event(text)

    assert event == {**EVENT, "audio": ""}
    assert time.perf_counter() - began < 0.5  # 5 ms, and slow machines


@pytest.mark.parametrize(
    "said",
    [
        "word " * 5_000,  # a long text is text
        "x" * 100 + " " + AUDIO,
        AUDIO + "!",
        "\\u00e9" * 4_000,
    ],
)
def test_event_with_a_long_text_keeps_it(said: str) -> None:
    text = json.dumps({"type": "x", "text": said})
    assert len(text) > MIN_LEAN_CHARS

    assert read_event(text) == {"type": "x", "text": said}


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"type": 7}',
        b"\xff\xfe",
        b"\xff" * (MIN_LEAN_CHARS + 1),
        "[" * 200_000,
        '{"a":' * 200_000,
        '{"type":"x","text":"' + "a b " * MAX_CHARS + '"}',
        '{"type":"x","all":[' + '"",' * 200_000 + '""]}',
        '"' * 1_000_000,
    ],
)
def test_message_that_is_no_event_or_endless_is_none(message: str | bytes) -> None:
    assert read_event(message) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just(AUDIO[:20_000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_event_of_any_members_is_the_same_but_for_its_base64(members: dict[str, object]) -> None:
    text = json.dumps({**members, "type": "x"})

    lean = json.dumps(read_event(text))

    assert lean.replace(AUDIO[:20_000], "") == text.replace(AUDIO[:20_000], "")


@given(st.text(max_size=50), st.integers(0, 2_000))
def test_message_of_anything_is_read_or_not(text: str, times: int) -> None:
    for message in (text * times, (text * times).encode("utf-8", "surrogatepass")):
        event = read_event(message)
        assert event is None or isinstance(event["type"], str)
