"""Events of a session by pages, and those of a live call that are not in memory any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relay.app import Prepared
from relay.taps.live import MAX_BYTES
from tests.web.operator_stage import Caller, OperatorStage, operating, prepared_for
from tests.web.test_admin import read_sse

LARGE = 200_000


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return prepared_for(tmp_path)


@pytest.fixture
def unrecorded(tmp_path: Path) -> Prepared:
    return prepared_for(tmp_path, {"recording.mode": "off"})


async def add_text(caller: Caller, text: str) -> None:
    """An item of the user's, which the upstream has taken."""
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    caller.send(type="conversation.item.create", item=item)
    await caller.event("conversation.item.added")


async def overflow(caller: Caller) -> None:
    """More events than are kept in memory."""
    for n in range(MAX_BYTES // LARGE // 2 + 2):
        await add_text(caller, f"{n} " + "x" * LARGE)


async def pages(stage: OperatorStage, call_id: str, query: str) -> list[Any]:
    found: list[Any] = []
    after: int | None = -1
    for _ in range(100):
        _, page = await stage.admin(f"sessions/{call_id}/events?{query}&after={after}")
        found += page["events"]
        after = page["next"]
        if after is None:
            return found
    raise AssertionError("the pages do not end")


async def test_events_page_by_page_are_those_of_the_file(prepared: Prepared) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        await caller.ask("Hello.")
        await stage.hang_up(caller)
        _, file = await stage.admin(f"sessions/{caller.id}/events")
        found = await pages(stage, caller.id, "limit=3")
        created = await pages(stage, caller.id, "limit=5&type=response.created&direction=down")

    lines = [json.loads(line) for line in file.splitlines()]
    assert [(e["seq"], e["event"]) for e in found] == [(e["seq"], e["event"]) for e in lines]
    assert [event["event"]["type"] for event in created] == ["response.created"]


async def test_events_page_of_a_live_call_has_what_is_written(prepared: Prepared) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        page = await stage.until(
            f"sessions/{caller.id}/events?limit=1", lambda page: bool(page["events"])
        )

    assert page["events"][0]["event"]["type"] == "session.created"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=x", "limit"),
        ("limit=-3", "limit"),
        ("limit=1&after=1e3", "after"),
        ("limit=1&after=9999999999999999", "after"),
        ("limit=1&direction=sideways", "direction"),
        (f"limit=1&q={'a' * 201}", "q"),
    ],
)
async def test_events_page_that_makes_no_sense_is_refused(
    prepared: Prepared, query: str, param: str
) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        status, body = await stage.admin(f"sessions/{caller.id}/events?{query}")

    assert (status, body["error"]["param"]) == (400, param)


async def test_events_that_are_not_in_memory_any_more_come_from_the_record(
    prepared: Prepared,
) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        await overflow(caller)
        events = f"sessions/{caller.id}/events"
        _, shown = await stage.admin(f"sessions/{caller.id}")
        assert shown["recording"]["lost"]["events"] == 0
        await stage.until(f"{events}?limit=1&after=15", lambda page: bool(page["events"]))
        found = await read_sse(stage, caller.id, 16)

    assert [(name, number) for name, number, _ in found] == [("event", str(n)) for n in range(16)]
    assert all("event" in data for _, _, data in found)


async def test_events_that_are_nowhere_any_more_are_a_gap(unrecorded: Prepared) -> None:
    async with operating(unrecorded) as stage:
        caller = await stage.call()
        await overflow(caller)
        (gap, first) = await read_sse(stage, caller.id, 2)

    assert (gap[0], gap[2]["first"], str(gap[2]["last"])) == ("gap", 0, gap[1])
    assert first[:2] == ("event", str(gap[2]["last"] + 1))
