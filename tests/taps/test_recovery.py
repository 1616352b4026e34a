"""What a start finds of the processes before it, and has completed."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.stores.folders import Folder
from relay.stores.reading import read_entry
from relay.taps import render as render_module
from relay.taps import restore as restore_module
from relay.taps.recovery import Recovery
from relay.taps.render import Work, main
from relay.taps.renderer import Renderer
from relay.taps.restore import is_dead
from tests.stores.waiting import in_background, until
from tests.taps.rehearsal import everything
from tests.taps.sounds import opus_tone
from tests.taps.stage import Stage, stream

WORKS: tuple[Work, ...] = ("waveform",)


@pytest.fixture(autouse=True)
def _as_urgent_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_module, "step_back", lambda: None)  # this process could not undo it


def cut_off(directory: Path) -> Folder:
    """A call whose process was killed: it spoke for a second, and had events."""
    stage = Stage(directory)
    stage.speak("up", stream(opus_tone(440, 1.0)))
    for n, (way, event, at_ms) in enumerate(everything().spoken):
        stage.event(2.0 + at_ms / 1000, way, json.dumps(event))
        if n % 50 == 0:
            stage.step()
    stage.wait_until(stage.now + 2.0)
    stage.recording.close()
    return stage.folder


def ended(directory: Path) -> Folder:
    stage = Stage(directory)
    stage.speak("up", stream(opus_tone(440, 1.0)))
    stage.end(3.0)
    return stage.folder


def ids(folders: list[Folder]) -> list[str]:
    return [folder.id for folder in folders]


async def recovered(
    directory: Path, *, holds: Callable[[str], bool] = lambda _: False, renders: bool = True
) -> tuple[list[Folder], list[dict[str, object]]]:
    """The folders that were at work, and what was logged of it."""
    told: list[Folder] = []
    renderer = Renderer(on_rendered=told.append)
    with capture_logs() as logs:
        await Recovery(directory, renderer, holds, WORKS).run()
        if renders and (count := renderer.waiting):
            async with in_background(renderer.run()):
                await until(lambda: len(told) == count)
    return told, [dict(entry) for entry in logs]


async def test_call_that_was_cut_off_gets_all_that_it_lacks(tmp_path: Path) -> None:
    folder = await asyncio.to_thread(cut_off, tmp_path)
    before = await asyncio.to_thread(folder.session)
    await asyncio.to_thread((folder.path / ".upstream.ogg.part").write_bytes, b"Ogg")

    told, logs = await recovered(tmp_path)

    session = await asyncio.to_thread(folder.session)
    entry = await asyncio.to_thread(read_entry, folder, is_live=False)
    left = await asyncio.to_thread(lambda: list(folder.path.glob(".*")))
    assert (before["state"], session["state"]) == ("live", "unfinished")
    assert ids(told) == [folder.id]
    assert [entry["event"] for entry in logs] == ["recovery.found", "rendering.finished"]
    assert entry.conversation.state == "unfinished"
    assert entry.conversation.turns == 12
    assert entry.conversation.cost.usd > 0
    assert session["duration_s"] == pytest.approx(entry.conversation.duration_s)
    assert session["duration_s"] > 2.0
    assert session["waveform"]["state"] == "done"
    assert session["responses"]["count"] == 6
    assert left == []


async def test_call_that_was_completed_is_not_looked_at_again(tmp_path: Path) -> None:
    await asyncio.to_thread(cut_off, tmp_path)
    await recovered(tmp_path)

    told, logs = await recovered(tmp_path)

    assert (told, logs) == ([], [])


async def test_call_that_another_process_records_is_left_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    await asyncio.to_thread(stage.speak, "up", stream(opus_tone(440, 1.0)))
    await asyncio.to_thread(stage.wait_until, 3.0)

    told, _ = await recovered(tmp_path)

    assert told == []
    assert (await asyncio.to_thread(stage.folder.session))["state"] == "live"
    stage.recording.close()


async def test_call_of_this_process_is_left_alone(tmp_path: Path) -> None:
    await asyncio.to_thread(cut_off, tmp_path)

    told, _ = await recovered(tmp_path, holds={"rtc_1"}.__contains__)

    assert told == []


@pytest.mark.parametrize("state", ["waiting", "running"])
async def test_rendering_that_was_wanted_when_the_server_went_down_is_made(
    tmp_path: Path, state: str
) -> None:
    folder = await asyncio.to_thread(ended, tmp_path)
    await asyncio.to_thread(folder.update_session, {"mix": {"state": state}})
    transcript = folder.path / "transcript.json"
    await asyncio.to_thread(transcript.write_text, "{}")

    told, logs = await recovered(tmp_path)

    session = await asyncio.to_thread(folder.session)
    assert ids(told) == [folder.id]
    assert [(entry["event"], entry["works"]) for entry in logs] == [("rendering.finished", ["mix"])]
    assert (session["state"], session["mix"]["state"]) == ("ended", "done")
    assert "waveform" not in session


@pytest.mark.parametrize("state", ["done", "failed"])
async def test_rendering_that_is_over_is_not_made_again(tmp_path: Path, state: str) -> None:
    folder = await asyncio.to_thread(ended, tmp_path)
    await asyncio.to_thread(folder.update_session, {"mix": {"state": state}})
    await asyncio.to_thread((folder.path / "transcript.json").write_text, "{}")

    told, logs = await recovered(tmp_path)

    assert (told, logs) == ([], [])


def test_call_that_ended_and_was_not_read_is_dead_after_a_while(tmp_path: Path) -> None:
    folder = ended(tmp_path)
    just_now = is_dead(folder)
    long_ago = time.time() - restore_module.COMPLETED_S - 1

    os.utime(folder.events, (long_ago, long_ago))

    assert not just_now
    assert is_dead(folder)
    assert main([str(folder.path), "reading"]) == 0
    assert folder.session()["state"] == "ended"
    assert not is_dead(folder)


@pytest.mark.parametrize("session", [{}, {"id": "rtc_other", "state": "live"}])
def test_folder_that_is_no_conversation_is_not_dead(
    tmp_path: Path, session: dict[str, object]
) -> None:
    folder = Folder(tmp_path / "2026-01-31" / "rtc_1")
    folder.make()
    folder.update_session(session)

    assert not is_dead(folder)
    assert main([str(folder.path), "reading"]) == 0
    assert folder.session() == session


async def test_directory_that_was_never_recorded_into_is_fine(tmp_path: Path) -> None:
    assert await recovered(tmp_path / "none") == ([], [])


async def test_directory_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    told, logs = await recovered(tmp_path / "file")

    assert told == []
    assert [entry["event"] for entry in logs] == ["recovery.failed"]


async def test_recovery_gives_the_renderer_no_more_than_it_can_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.taps.renderer.MAX_WAITING", 20)

    def many() -> None:
        for n in range(40):
            folder = Folder(tmp_path / "2026-01-31" / f"rtc_{n}")
            folder.make()
            folder.update_session({"id": folder.id, "state": "ended", "mix": {"state": "waiting"}})

    await asyncio.to_thread(many)
    renderer = Renderer()

    recovery = asyncio.create_task(Recovery(tmp_path, renderer, lambda _: False, WORKS).run())
    await until(lambda: renderer.waiting > 2)
    done, _ = await asyncio.wait({recovery}, timeout=0.3)
    recovery.cancel()
    await asyncio.gather(recovery, return_exceptions=True)

    assert not done
    assert renderer.waiting == 3
