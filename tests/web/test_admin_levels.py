"""The meters of live calls, over real ones."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from relay.app import Prepared
from relay.session import meters as module
from relay.session.meters import Meters
from relay.taps.meter import Meter
from relay.web import admin_levels
from tests.taps.sounds import opus_tone
from tests.web.conftest import Log, Serve
from tests.web.operator_stage import TIMEOUT_S, OperatorStage, operating, prepared_for


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return prepared_for(tmp_path / "recordings", {"recording.mode": "off"})


async def told(stage: OperatorStage, query: str = "") -> AsyncGenerator[tuple[str, Any]]:
    """Events of the stream: their names and data; "" is a heartbeat."""
    async with stage.request(f"levels{query}") as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        name, data = "", None
        async for line in response.content:
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
            elif not field:
                yield name, data
                name, data = "", None


async def levels_until(stage: OperatorStage, call_id: str, side: str, query: str = "") -> Any:
    """The first levels in which a call's side speaks up."""
    async with asyncio.timeout(TIMEOUT_S):
        async for _name, data in told(stage, query):
            found = data["calls"].get(call_id, {}).get(side) if data else None
            if found is not None and found > -40.0:
                return data["calls"]
    raise AssertionError("the stream ended")


def meter_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("meters")]


async def test_levels_of_both_sides_rise_when_they_speak(prepared: Prepared) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(caller.speak(opus_tone(440, 1.0)))
            spoken = await levels_until(stage, caller.id, "client")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(caller.ask("Say something."))
            answered = await levels_until(stage, caller.id, "upstream", f"?session={caller.id}")

    assert spoken[caller.id]["client"] == pytest.approx(-16, abs=5)  # its beginning
    assert -40 < answered[caller.id]["upstream"] <= 0
    assert set(answered) == {caller.id}


async def test_levels_of_a_call_that_begins_meanwhile_are_told(prepared: Prepared) -> None:
    async with operating(prepared) as stage:
        first = await stage.call()
        stream = told(stage)
        _, before = await anext(stream)
        second = await stage.call()
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                _, later = await anext(stream)
                if len(later["calls"]) == 2:
                    break
            await stage.hang_up(first)
            while len(later["calls"]) == 2:
                _, later = await anext(stream)
        await stream.aclose()

    assert before == {"calls": {first.id: {"client": None, "upstream": None}}}
    assert set(later["calls"]) == {second.id}


async def test_levels_of_one_call_end_with_it(prepared: Prepared) -> None:
    async with operating(prepared) as stage:
        caller, _other = await stage.call(), await stage.call()
        stream = told(stage, f"?session={caller.id}")
        first = await anext(stream)
        await stage.hang_up(caller)
        async with asyncio.timeout(TIMEOUT_S):
            rest = [event async for event in stream]
        status, problem = await stage.admin(f"levels?session={caller.id}")

    assert set(first[1]["calls"]) == {caller.id}
    assert rest[-1] == ("end", {})
    assert (status, problem["error"]["code"]) == (404, "not_found")


async def test_levels_leave_nothing_in_the_packet_path_when_the_last_reader_goes(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Meters] = []
    follow = Meters._follow

    def followed(self: Meters, metered: Any) -> None:
        made.append(self)
        follow(self, metered)

    monkeypatch.setattr(Meters, "_follow", followed)

    async with operating(prepared) as stage:
        caller = await stage.call()
        streams = [told(stage), told(stage)]
        for stream in streams:
            await anext(stream)
        meters = made[0]
        forwarder = meters._calls.live(caller.id).voices[0].up
        while_read, threads = forwarder._taps, meter_threads()
        for stream in streams:
            await stream.aclose()
        async with asyncio.timeout(TIMEOUT_S):
            while meters.readers or meter_threads():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        afterwards = forwarder._taps

    assert len(while_read) == len(afterwards) + 1
    assert len(threads) == 1


async def test_levels_without_calls_are_told_once_and_then_a_heartbeat(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_levels, "HEARTBEAT_S", 0.5)

    async with operating(prepared) as stage:
        stream = told(stage)
        found = [await anext(stream) for _ in range(3)]
        await stream.aclose()

    assert found == [("levels", {"calls": {}}), ("", None), ("", None)]


async def test_levels_are_read_by_so_many_and_no_more(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_READERS", 2)

    async with operating(prepared) as stage, AsyncExitStack() as stack:
        for _ in range(2):
            stream = told(stage)
            stack.push_async_callback(stream.aclose)
            await anext(stream)
        status, problem = await stage.admin("levels")

    assert (status, problem["error"]["code"]) == (429, "rate_limit_exceeded")


async def test_levels_end_when_the_server_does(prepared: Prepared) -> None:
    async with AsyncExitStack() as stack:
        async with operating(prepared) as stage:
            http = await stack.enter_async_context(aiohttp.ClientSession(stage.url))
            stream = told(OperatorStage(stack, stage.url, http))
            await anext(stream)
            closing_at = asyncio.get_running_loop().time()
        last = [event async for event in stream][-1]
        took_s = asyncio.get_running_loop().time() - closing_at

    assert last == ("end", {})
    assert took_s < 5


async def test_levels_that_break_end_their_readers_and_say_so(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    def broken(self: Meter) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(Meter, "read", broken)
    async with operating(prepared) as stage:
        caller = await stage.call()
        found = [event async for event in told(stage)]
        shown, _ = await stage.admin(f"sessions/{caller.id}")

    assert found == [("end", {})]
    assert shown == 200
    assert "meters.broke" in await log.whole()


async def test_levels_are_behind_the_gate(serve: Serve) -> None:
    server = await serve({"admin.token": "operator-0123456789"})

    async with server.http.get("/admin/v1/levels") as response:
        assert response.status == 401
