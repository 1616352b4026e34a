"""A running call's events for those who watch."""

from __future__ import annotations

import asyncio

from relay.taps.facts import EndFacts
from relay.taps.live import MAX_MESSAGE_BYTES, Gap, LiveEvent, LiveEvents
from tests.taps.call import FACTS

END = EndFacts(1_010.0, "completed", "hung_up")


def said(live: LiveEvents, *messages: str) -> None:
    for message in messages:
        live.event("down", message, 1_001.0)


async def read(live: LiveEvents, since: int = 0) -> list[str | tuple[int, int] | None]:
    """All until the end: messages, and gaps as (first, last)."""
    found: list[str | tuple[int, int] | None] = []
    async for one in live.read(since, heartbeat_s=60):
        if isinstance(one, Gap):
            found.append((one.first, one.last))
        elif one is not None:
            assert not isinstance(one.message, bytes)
            found.append(one.message)
    return found


async def test_reader_gets_what_was_and_what_comes_until_the_end() -> None:
    live = LiveEvents(FACTS)
    said(live, "a", "b")

    reading = asyncio.create_task(read(live))
    await asyncio.sleep(0)
    said(live, "c")
    live.end(END)

    assert await reading == ["a", "b", "c"]
    assert live.readers == 0


async def test_reader_that_comes_again_goes_on_where_it_was() -> None:
    live = LiveEvents(FACTS)
    said(live, "a", "b", "c")
    live.end(END)

    assert await read(live, since=2) == ["c"]
    assert await read(live, since=99) == []


async def test_reader_that_is_too_slow_is_told_of_the_gap_and_holds_up_nobody() -> None:
    live = LiveEvents(FACTS, max_events=3)
    said(live, "0")
    reading = live.read(0, heartbeat_s=60)
    first = await anext(reading)
    said(live, *"123456789")
    live.end(END)

    rest = [one async for one in reading]

    assert isinstance(first, LiveEvent)
    assert rest[0] == Gap(1, 6)
    assert [one.sequence for one in rest[1:] if isinstance(one, LiveEvent)] == [7, 8, 9]


async def test_ring_is_bounded_by_bytes_and_large_messages_are_told_of_alone() -> None:
    live = LiveEvents(FACTS, max_bytes=100)
    said(live, "x" * 60, "y" * 60, "z" * (MAX_MESSAGE_BYTES + 1))
    live.end(END)

    found = [one async for one in live.read(0, heartbeat_s=60)]

    assert found[0] == Gap(0, 0)
    assert isinstance(found[2], LiveEvent)
    assert (found[2].message, found[2].size) == (None, MAX_MESSAGE_BYTES + 1)


async def test_reader_is_told_that_nothing_came() -> None:
    live = LiveEvents(FACTS)

    assert await anext(live.read(0, heartbeat_s=0.001)) is None
