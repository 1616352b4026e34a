"""The one runner of all renderings: real processes, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from relay.stores import locks
from relay.stores.folders import Folder
from relay.taps import renderer as module
from relay.taps.render import Work
from relay.taps.renderer import Renderer
from tests.stores.waiting import in_background, until, until_async
from tests.taps.sounds import opus_tone
from tests.taps.stage import Stage, stream

WAIT_S = 20.0
MIX: tuple[Work, ...] = ("mix",)
SHAPE: tuple[Work, ...] = ("waveform",)
BOTH = MIX + SHAPE


def speak(directory: Path, seconds: float = 1.0) -> Folder:
    """A recorded call in which the client speaks."""
    stage = Stage(directory)
    tone = opus_tone(440, 1.0)
    stage.speak("up", stream(tone[n % 50] for n in range(int(seconds * 50))))
    stage.end(seconds + 1.5)
    return stage.folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return speak(tmp_path / "one")


@pytest.fixture
def long(tmp_path: Path) -> Folder:
    """Five minutes, which take a second or two."""
    return speak(tmp_path / "long", 300.0)


def rendering() -> list[psutil.Process]:
    """Our children that render; other tests' servers may be children too."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "relay.taps.render" in child.cmdline():
                found.append(child)
    return found


async def state_of(folder: Folder, work: Work) -> object:
    session = await asyncio.to_thread(folder.session)
    return session.get(work, {}).get("state")


async def is_so(folder: Folder, work: Work, state: str) -> bool:
    return await state_of(folder, work) == state


async def names(folder: Folder, pattern: str) -> list[str]:
    return await asyncio.to_thread(lambda: [path.name for path in folder.path.glob(pattern)])


async def test_renderer_makes_mix_and_waveform_by_one_process(folder: Folder) -> None:
    told: list[Folder] = []
    renderer = Renderer(on_rendered=told.append)

    with capture_logs() as logs:
        async with in_background(renderer.run()):
            assert renderer.put(folder, BOTH, 1.0)
            await until(lambda: bool(told))

    assert [(entry["event"], entry["works"]) for entry in logs] == [
        ("rendering.finished", ["mix", "waveform"])
    ]
    assert told == [folder]
    session = await asyncio.to_thread(folder.session)
    assert session["mix"]["state"] == session["waveform"]["state"] == "done"
    assert (folder.path / "mix.ogg").is_file()
    assert (folder.path / "waveform.json").is_file()
    assert renderer.waiting == 0


async def test_renderer_goes_on_after_one_that_cannot_be_rendered(
    folder: Folder, tmp_path: Path
) -> None:
    broken, told = Folder(tmp_path), list[Folder]()
    renderer = Renderer(on_rendered=told.append)

    with capture_logs() as logs:
        async with in_background(renderer.run()):
            renderer.put(broken, SHAPE, 1.0)
            renderer.put(folder, SHAPE, 1.0)
            await until(lambda: len(told) == 2)

    assert [(entry["event"], entry.get("reason")) for entry in logs] == [
        ("rendering.failed", "There is no audio in this folder."),
        ("rendering.finished", None),
    ]
    assert renderer.failure(broken) == "There is no audio in this folder."
    assert renderer.failure(folder) is None


async def test_renderer_says_in_a_session_that_it_waits(folder: Folder, long: Folder) -> None:
    renderer = Renderer()

    async with in_background(renderer.run()):
        renderer.put(long, BOTH, 300.0)
        renderer.put(folder, BOTH, 1.0)
        await asyncio.wait_for(renderer.marked(), WAIT_S)
        session = await asyncio.to_thread(folder.session)

    assert session["mix"] == session["waveform"] == {"state": "waiting"}


async def test_renderer_takes_what_is_asked_for_before_what_is_not(tmp_path: Path) -> None:
    folders = [await asyncio.to_thread(speak, tmp_path / str(n), 0.2) for n in range(3)]
    told: list[Folder] = []
    renderer = Renderer(on_rendered=told.append)
    for folder in folders[:2]:
        renderer.put(folder, SHAPE)
    renderer.put(folders[2], SHAPE, first=True)

    async with in_background(renderer.run()):
        await until(lambda: len(told) == 3)

    assert told == [folders[2], folders[0], folders[1]]


async def test_renderer_does_what_is_asked_for_twice_once(folder: Folder) -> None:
    told: list[Folder] = []
    renderer = Renderer(on_rendered=told.append)
    for works in (MIX, SHAPE, SHAPE):
        renderer.put(folder, works, 1.0)

    with capture_logs() as logs:
        async with in_background(renderer.run()):
            await until(lambda: bool(rendering()))
            renderer.put(folder, SHAPE, 1.0, first=True)
            waiting = renderer.waiting
            await until(lambda: bool(told))

    assert waiting == 0
    assert [entry["works"] for entry in logs] == [["mix", "waveform"]]


async def test_renderer_ends_a_rendering_that_takes_too_long(long: Folder) -> None:
    renderer = Renderer(min_timeout_s=0.05)

    with capture_logs() as logs:
        async with in_background(renderer.run()):
            renderer.put(long, MIX, 0.0)
            await until(lambda: bool(logs))
            left = rendering()
            await until(lambda: renderer.failure(long) is not None)
            await until_async(lambda: is_so(long, "mix", "failed"))

    assert not left
    assert logs[0]["reason"] == "it took longer than 0.05 s"


async def test_renderer_that_is_cancelled_leaves_no_process_and_no_file(long: Folder) -> None:
    renderer = Renderer()
    async with in_background(renderer.run()):
        renderer.put(long, BOTH, 300.0)
        await until_async(lambda: is_so(long, "mix", "running"))

    assert not rendering()
    assert await names(long, ".*") == []
    assert await state_of(long, "waveform") == "running"  # the next start goes on


async def test_renderer_leaves_a_folder_to_who_renders_it_already(folder: Folder) -> None:
    told: list[Folder] = []
    renderer = Renderer(on_rendered=told.append)

    with ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, locks.rendering(folder))
        async with in_background(renderer.run()):
            renderer.put(folder, SHAPE, 1.0)
            await until(lambda: bool(told))
        await asyncio.to_thread(stack.close)

    assert renderer.failure(folder) is None
    assert await names(folder, "waveform.json") == []


async def test_renderer_passes_over_a_folder_that_was_deleted(tmp_path: Path) -> None:
    told: list[Folder] = []
    renderer, gone = Renderer(on_rendered=told.append), Folder(tmp_path / "gone")

    async with in_background(renderer.run()):
        renderer.put(gone, SHAPE, 1.0)
        await until(lambda: bool(told))

    assert renderer.failure(gone)
    assert not gone.path.exists()


async def test_renderer_with_too_many_waiting_refuses_and_has_room_again(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    renderer = Renderer()

    with capture_logs() as logs:
        accepted = [renderer.put(one, SHAPE) for one in (folder, Folder(tmp_path), folder)]
        async with in_background(renderer.run()):
            await asyncio.wait_for(renderer.has_room(), WAIT_S)

    assert accepted == [True, False, True]
    assert [entry["event"] for entry in logs] == ["rendering.refused"]


async def test_renderer_forgets_a_failure_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Folder] = []
    renderer, broken = Renderer(on_rendered=told.append), Folder(tmp_path)
    async with in_background(renderer.run()):
        renderer.put(broken, SHAPE)
        await until(lambda: bool(told))
    before = renderer.failure(broken)

    monkeypatch.setattr(module, "FORGET_FAILURE_S", 0.0)

    assert before is not None
    assert renderer.failure(broken) is None
