"""Pages of events: found by number, by direction, by type, by text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.core.ids import Direction
from relay.stores import eventpage
from relay.stores.eventpage import EventPage, EventQuery, event_page
from relay.stores.folders import Folder
from relay.taps.eventlog import EventLog
from tests.taps.test_eventlog import AT, folder_in

SOUND = "AAAA" * 4096


def write(folder: Folder, messages: list[tuple[Direction, str | bytes]]) -> Path:
    log = EventLog(folder)
    for direction, message in messages:
        log.add(AT, direction, message)
    log.flush()
    log.close()
    return folder.events


def message(n: int, **members: Any) -> tuple[Direction, str]:
    kind = "response.created" if n % 3 == 0 else "session.updated"
    return ("up" if n % 2 else "down"), json.dumps({"n": n, "type": kind, **members})


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 events, of which each 97th is long: far more than is read through."""
    padding = {True: "x" * 9_000, False: "x" * 100}
    folder = folder_in(tmp_path_factory.mktemp("many"))
    return write(folder, [message(n, text=padding[n % 97 == 0]) for n in range(2_000)])


def numbers(page: EventPage) -> list[int]:
    found = [json.loads(event) for event in page.events]
    assert all(event["seq"] == event["event"]["n"] for event in found)
    return [event["seq"] for event in found]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(after=st.integers(-1, 2_100), limit=st.integers(1, 500), last=st.integers(0, 2_100))
def test_page_behind_any_number_is_what_follows_it(
    many: Path, after: int, limit: int, last: int
) -> None:
    page = event_page(many, EventQuery(after, limit, last))

    wanted = list(range(after + 1, min(2_000, last + 1)))
    assert numbers(page) == wanted[:limit]
    assert page.next == (wanted[limit - 1] if len(wanted) > limit else None)


def test_page_after_page_is_everything_that_matches(many: Path) -> None:
    found, after, pages = [], -1, 0
    while True:
        page = event_page(many, EventQuery(after, 100, direction="up", type="response."))
        found += numbers(page)
        pages += 1
        if page.next is None:
            break
        after = page.next

    assert found == [n for n in range(2_000) if n % 2 and n % 3 == 0]
    assert pages == 4


def test_page_that_searches_for_too_long_says_how_far_it_came(many: Path) -> None:
    found, after, pages = [], -1, 0
    while pages <= 2_000:
        page = event_page(many, EventQuery(after, text='"n": 1777,'), search_s=0.0)
        found += numbers(page)
        pages += 1
        if page.next is None:
            break
        assert page.next > after
        after = page.next

    assert (found, pages) == ([1777], 2_000)


@pytest.mark.parametrize("text", ["grüße", "GRÜSSE".replace("SS", "ß"), "1<2", '\\"'])
def test_page_finds_text_in_whatever_case_and_however_it_was_escaped(
    tmp_path: Path, text: str
) -> None:
    said = 'Viele Grüße, "1<2"'
    path = write(
        folder_in(tmp_path),
        [("down", json.dumps({"a": said})), ("down", json.dumps({"a": said}, ensure_ascii=False))],
    )

    page = event_page(path, EventQuery(text=text))

    assert [json.loads(event)["event"]["a"] for event in page.events] == [said] * 2


def test_page_by_type_looks_at_the_events_own_type_alone(tmp_path: Path) -> None:
    path = write(
        folder_in(tmp_path),
        [
            ("down", '{"type": "error", "error": {"type": "invalid"}}'),
            ("down", '{"item": {"type": "error"}, "type": "item.added"}'),
            ("up", '["error"]'),
            ("up", "error"),
        ],
    )

    assert len(event_page(path, EventQuery(type="error")).events) == 1


def test_page_shows_what_is_no_json_as_text_and_tells_of_what_is_too_much(tmp_path: Path) -> None:
    large = json.dumps({"type": "large", "x": "y" * eventpage.MAX_EVENT_BYTES})
    sound = json.dumps({"type": "input_audio_buffer.append", "audio": SOUND})
    path = write(
        folder_in(tmp_path),
        [("up", "</script> {"), ("up", b"\x00\x01"), ("up", large), ("up", sound)],
    )

    events = [json.loads(event) for event in event_page(path, EventQuery()).events]

    assert events[0]["text"] == "</script> {"
    assert events[1]["text"] == "AAE="
    assert (events[2].keys() & {"text", "event"}, events[2]["bytes"]) == (set(), len(large))
    assert events[3]["moved"] == len(SOUND)
    assert events[3]["bytes"] == len(sound)
    assert events[3]["event"]["audio"] == ""


@pytest.mark.parametrize("tail", [b'{"seq":3,"at":"2026', b"no line\n", b'{"a":1}\n'])
def test_page_ends_at_a_line_that_is_none(tmp_path: Path, tail: bytes) -> None:
    path = write(folder_in(tmp_path), [message(n) for n in range(3)])
    with path.open("ab") as file:
        file.write(tail)

    page = event_page(path, EventQuery())

    assert (numbers(page), page.next) == ([0, 1, 2], None)


def test_page_of_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        event_page(tmp_path / "events.jsonl", EventQuery())
