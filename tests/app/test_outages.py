"""A whole server whose database or disk goes away during a call: the call goes on, it is said, and
afterwards everything is there that can be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from relay.stores.folders import Folder, Folders
from relay.stores.verify import Verdict, verify
from tests.stores import postgresql
from tests.stores.disk import (
    fill,
    freeze,
    freezing_disk,
    make_read_only,
    small_disk,
    thaw,
)
from tests.web.conftest import Log
from tests.web.operator_stage import Caller, OperatorStage, operating, prepared_for

SILENCE = b"\xfb\x41\x3c\xff\xfe" + bytes(60)
"""As large as speech, by Opus' padding (RFC 6716 §3.2.5): the last block of a disk is soon full."""

ANSWER_S = 3.0
"""For an answer of the simulator's while something else is away: it does not wait for that."""


@asynccontextmanager
async def serving_at(directory: Path, **overrides: object) -> AsyncIterator[OperatorStage]:
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    prepared = await asyncio.to_thread(prepared_for, directory, dotted)
    async with operating(prepared) as stage:
        yield stage


async def asked(caller: Caller, text: str) -> None:
    """An answer in writing: spoken ones take their time."""
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    caller.send(type="conversation.item.create", item=item)
    caller.send(type="response.create", response={"output_modalities": ["text"]})
    await asyncio.wait_for(caller.event("response.done"), ANSWER_S)


async def ended_call(stage: OperatorStage) -> str:
    caller = await stage.call()
    await asked(caller, "Do you work?")
    await stage.hang_up(caller)
    return caller.id


async def readiness(stage: OperatorStage) -> tuple[int, str | None]:
    async with stage.http.get("/readyz") as response:
        return response.status, (await response.json()).get("reason")


def has_all(*ids: str) -> Callable[[Any], bool]:
    return lambda body: (
        body["problem"] is None and {row["id"] for row in body["sessions"]} == set(ids)
    )


async def timed(answer: Awaitable[tuple[int, Any]]) -> tuple[int, Any, float]:
    began = time.monotonic()
    status, body = await answer
    return status, body, time.monotonic() - began


# -- the database


@pytest.mark.slow
async def test_postgresql_that_stops_during_a_call_is_not_felt_and_catches_up(
    tmp_path: Path, cluster: postgresql.Cluster
) -> None:
    name = f"relay_{uuid4().hex}"
    await asyncio.to_thread(cluster.sql, f"CREATE DATABASE {name}")
    async with serving_at(tmp_path / "calls", store__url=cluster.url_of(name)) as stage:
        before = await ended_call(stage)
        await stage.until("sessions", has_all(before))
        caller = await stage.call()
        await asyncio.to_thread(cluster.stop)
        try:
            await asked(caller, "Are you there?")
            during = await ended_call(stage)
            listed = await timed(stage.admin("sessions"))
            usage = await timed(stage.admin("usage"))
            shown = await timed(stage.admin(f"sessions/{during}"))
            ready = await readiness(stage)
            await stage.hang_up(caller)
        finally:
            await asyncio.to_thread(cluster.start)
        found = await stage.until("sessions", has_all(before, during, caller.id))
        _, totals = await stage.admin("usage")

    assert (listed[0], [row["id"] for row in listed[1]["sessions"]]) == (200, [caller.id])
    assert "index" in listed[1]["problem"]
    assert (usage[0], shown[0], shown[1]["state"]) == (503, 200, "ended")
    assert max(listed[2], usage[2], shown[2]) < 6
    assert ready == (200, None)  # calls go on, and so are they to be sent here
    assert [row["state"] for row in found["sessions"]] == ["ended"] * 3
    assert sum(row["calls"] for row in totals["rows"]) == 3


@pytest.mark.slow
async def test_postgresql_that_hangs_during_a_call_is_not_felt_and_catches_up(
    tmp_path: Path, cluster: postgresql.Cluster
) -> None:
    name = f"relay_{uuid4().hex}"
    await asyncio.to_thread(cluster.sql, f"CREATE DATABASE {name}")
    async with serving_at(tmp_path / "calls", store__url=cluster.url_of(name)) as stage:
        before = await ended_call(stage)
        await stage.until("sessions", has_all(before))
        processes = await asyncio.to_thread(processes_of, cluster)
        send(processes, signal.SIGSTOP)
        try:
            asking = asyncio.create_task(timed(stage.admin("sessions")))
            during = await ended_call(stage)
            status, listed, took_s = await asking
        finally:
            send(processes, signal.SIGCONT)
        await stage.until("sessions", has_all(before, during))

    assert (status, bool(listed["problem"])) == (200, True)
    assert took_s < 20  # database.TIMEOUT_S, and something


def processes_of(cluster: postgresql.Cluster) -> list[int]:
    """The server's own and those of its connections, the parent first."""
    lines = (cluster.directory / "data" / "postmaster.pid").read_text().splitlines()
    parent = int(lines[0])
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [parent, *map(int, children)]


def send(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


async def test_sqlite_that_another_process_locks_is_waited_for_and_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.stores.connections.BUSY_TIMEOUT_S", 0.2)
    directory = tmp_path / "calls"
    async with serving_at(directory) as stage:
        before = await ended_call(stage)
        await stage.until("sessions", has_all(before))
        other = await asyncio.to_thread(locked, directory / "index.sqlite")
        during = await ended_call(stage)
        nodes = await stage.until("nodes", lambda body: failing_of(body) is not None)
        _, listed = await stage.admin("sessions")
        ready = await readiness(stage)
        await asyncio.to_thread(other.close)
        await stage.until("sessions", has_all(before, during))

    assert "locked" in failing_of(nodes)
    assert [row["id"] for row in listed["sessions"]] == [before]  # who reads is not held up
    assert ready == (200, None)


def locked(path: Path) -> sqlite3.Connection:
    """Held until it is closed."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    return other


def failing_of(nodes: Any) -> Any:
    return nodes["nodes"][0]["store"]["failing"]


async def test_sqlite_that_cannot_be_read_is_made_again_when_it_can(tmp_path: Path) -> None:
    directory = tmp_path / "calls"
    file, aside = directory / "index.sqlite", tmp_path / "aside"
    async with serving_at(directory) as stage:
        before = await ended_call(stage)
        await stage.until("sessions", has_all(before))
        await asyncio.to_thread(file.rename, aside)
        await asyncio.to_thread(file.mkdir)  # nothing that could be opened
        during = await ended_call(stage)
        await stage.until("nodes", lambda body: failing_of(body) is not None)
        await asyncio.to_thread(file.rmdir)
        await stage.until("sessions", has_all(before, during))


# -- the disk


class Speaker:
    """Somebody who speaks all the time, and notes how long the relay took to send an answer."""

    def __init__(self, caller: Caller) -> None:
        self._task = asyncio.ensure_future(caller.speak([SILENCE] * 100_000))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


async def disk(change: Callable[[], Any]) -> None:
    """By a thread of its own: those that everybody shares may all be waiting for the disk."""
    with ThreadPoolExecutor(1) as own:
        await asyncio.get_running_loop().run_in_executor(own, change)


async def during_an_outage(
    stage: OperatorStage, begin: Callable[[], Any], end: Callable[[], Any], seconds: float
) -> tuple[str, Any, tuple[int, str | None]]:
    """A call before, during and after it; gives its id, its session while the disk was away, and
    what /readyz said then."""
    caller = await stage.call()
    speaker = Speaker(caller)
    path = f"sessions/{caller.id}"
    await stage.until(path, lambda body: bool(body["recording"]["audio"]))
    await disk(begin)
    try:
        async with asyncio.timeout(15):
            while (ready := await readiness(stage))[0] == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asked(caller, "Do you hear me?")
        await asyncio.sleep(seconds)
        _, shown = await stage.admin(path)
    finally:
        await disk(end)
    async with asyncio.timeout(15):
        while (await readiness(stage))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    before = shown["recording"]["events"]
    await asked(caller, "And now?")
    await stage.until(path, lambda body: body["recording"]["events"] > before)
    await speaker.stop()
    await stage.hang_up(caller)
    await stage.admin(path)  # until it is complete
    return caller.id, shown, ready


async def proof_of(directory: Path, session_id: str) -> tuple[Folder, Verdict]:
    folder = await asyncio.to_thread(Folders(directory).find, session_id)
    assert folder is not None
    return folder, await asyncio.to_thread(verify, folder)


@pytest.mark.slow
async def test_disk_that_is_full_for_long_costs_the_record_what_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    monkeypatch.setattr("relay.taps.tracks.MAX_PENDING_S", 1.0)
    with small_disk(tmp_path / "disk", 4096) as full:
        index = f"sqlite:///{tmp_path / 'index.sqlite'}"
        async with serving_at(full, store__url=index) as stage:
            session_id, shown, ready = await during_an_outage(
                stage, lambda: fill(full), (full / "ballast").unlink, 3.0
            )
            await stage.until("sessions", has_all(session_id))
            _, session = await stage.admin(f"sessions/{session_id}")
        _, verdict = await proof_of(full, session_id)

    assert ready[0] == 503
    assert "No space left" in str(ready[1])
    assert shown["recording"]["lost"]["audio_s"] > 0
    assert 1 < session["recording"]["lost"]["audio_s"] < 15
    assert session["end"]["outcome"] == "completed"
    assert verdict.holds(strict=True), verdict
    lines = [json.loads(line)["event"] for line in (await log.whole()).splitlines()]
    assert [lines.count(name) for name in ("recording.failed", "recording.resumed")] == [1, 1]


@pytest.mark.slow
async def test_disk_that_is_held_is_never_felt_and_the_record_goes_on(tmp_path: Path) -> None:
    with freezing_disk(tmp_path / "disk", tmp_path / "image") as held:
        index = f"sqlite:///{tmp_path / 'index.sqlite'}"
        async with serving_at(held, store__url=index) as stage:
            session_id, _, ready = await during_an_outage(
                stage, lambda: freeze(held), lambda: thaw(held), 0.0
            )
            await stage.until("sessions", has_all(session_id))
        folder, verdict = await proof_of(held, session_id)
        session = await asyncio.to_thread(folder.session)

    assert ready[0] == 503
    assert "the disk hangs" in str(ready[1])
    assert session["recording"]["lost"]["events"] == 0
    assert verdict.holds(strict=True), verdict


@pytest.mark.slow
async def test_disk_that_is_read_only_at_the_start_is_written_when_it_can_be(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", 4096) as disk:
        make_read_only(disk, read_only=True)
        async with serving_at(disk / "calls") as stage:
            caller = await stage.call()
            await asked(caller, "Do you work?")
            nodes = await stage.until(
                "nodes", lambda body: body["nodes"][0]["recorder"]["failing"] is not None
            )
            ready = await readiness(stage)
            _, listed = await stage.admin("sessions")
            await asyncio.to_thread(make_read_only, disk, read_only=False)
            await asked(caller, "Do you work now?")
            await stage.hang_up(caller)
            await stage.until("sessions", has_all(caller.id))
            _, session = await stage.admin(f"sessions/{caller.id}")
        _, verdict = await proof_of(disk / "calls", caller.id)

    assert "Read-only" in failing_of(nodes)
    assert ready[0] == 503
    assert "Read-only" in str(ready[1])
    assert [row["id"] for row in listed["sessions"]] == [caller.id]
    assert listed["problem"]
    assert session["recording"]["lost"] == {"packets": 0, "events": 0, "audio_s": 0.0}
    assert verdict.holds(strict=True), verdict
