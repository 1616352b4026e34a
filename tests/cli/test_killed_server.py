"""kill -9 of `relay serve` in the midst of a call, and a new one on the same directory."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from relay.stores.audio import inspect
from relay.stores.folders import Folder, Folders
from relay.stores.verify import verify
from tests.cli.conftest import Running, Start
from tests.cli.test_servers import LOOPBACK
from tests.simulator.caller import Caller
from tests.taps.sounds import opus_tone
from tests.taps.stage import Stage, stream

TOKEN = "operator-0123456789"
WAIT_S = 30.0


@pytest.fixture
def serve(start: Start, tmp_path: Path) -> Callable[[], Running]:
    """`relay serve` before a simulator, as often as it is called."""
    upstream = start("simulate", "--port", "0").wait_for_url()

    def serve() -> Running:
        return start(
            "serve",
            RELAY_UPSTREAM__PROVIDER="simulator",
            RELAY_UPSTREAM__URL=upstream,
            RELAY_ICE__ALLOW_PRIVATE_CANDIDATES="true",
            RELAY_ADMIN__TOKEN=TOKEN,
            RELAY_RECORDING__MODE="audio",
            RELAY_RECORDING__MIX="true",
            RELAY_RECORDING__DIRECTORY=str(tmp_path / "recordings"),
            **LOOPBACK,
        )

    return serve


def ask(url: str, path: str) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{url}/admin/v1/{path}", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.status, json.loads(response.read())


def until(holds: Callable[[], Any]) -> Any:
    """What another process does is told by nobody."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to be so")


def talk_until_killed(server: Running) -> str:
    """A call in which both speak; the server is killed while the answer is heard."""

    async def go() -> str:
        caller = Caller(f"{server.wait_for_url()}/v1")
        try:
            await caller.call()
            await caller.speak(opus_tone(440, 1.0))
            text = {"type": "input_text", "text": "What is the weather in Lisbon?"}
            item = {"type": "message", "role": "user", "content": [text]}
            caller.send("conversation.item.create", item=item)
            caller.send("response.create")
            await caller.event("response.done")
            await caller.packets(100)
            await asyncio.sleep(1.0)  # the recorder may lose a second at most
            server.process.send_signal(signal.SIGKILL)
            return caller.call_id
        finally:
            await caller.close()

    call_id = asyncio.run(go())
    server.process.wait(WAIT_S)
    return call_id


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_call_of_a_server_that_was_killed_is_complete_after_the_next_start(
    serve: Callable[[], Running], tmp_path: Path
) -> None:
    call_id = talk_until_killed(serve())
    folder = Folders(tmp_path / "recordings").find(call_id)
    assert folder is not None
    left = folder.session()["state"], (folder.path / "transcript.json").exists()

    url = serve().wait_for_url()
    row = until(lambda: of(ask(url, "sessions?state=unfinished&q=lisbon")[1]["sessions"]))
    status, waveform = until(lambda: answered(ask(url, f"sessions/{call_id}/waveform")))
    session = until(lambda: rendered(ask(url, f"sessions/{call_id}")[1]))
    _, transcript = ask(url, f"sessions/{call_id}/transcript")

    assert left == ("live", False)
    assert (row["id"], row["state"]) == (call_id, "unfinished")
    assert (session["state"], session["mix"]["state"]) == ("unfinished", "done")
    assert session["usage"]["cost_usd"] > 0
    assert session["responses"]["count"] >= 1
    assert session["duration_s"] > 2
    assert "user" in {turn["speaker"] for turn in transcript["turns"]}
    assert status == 200
    assert max(waveform["data"][1::4]) > 20
    assert max(waveform["data"][3::4]) > 20
    assert inspect(folder.path / "mix.ogg").problems == ()
    assert verify(folder).problems == ()
    assert [path.name for path in folder.path.glob(".*")] == []


def of(rows: list[Any]) -> Any:
    return rows[0] if rows else None


def answered(found: tuple[int, Any]) -> Any:
    return found if found[0] == 200 else None


def rendered(session: Any) -> Any:
    return session if session.get("mix", {}).get("state") == "done" else None


def minutes_of_sound(folder: Folder) -> None:
    """The client's file, so long that its mix takes a while."""
    tone = opus_tone(440, 1.0)
    stage = Stage(folder.path)
    stage.speak("up", stream(tone[n % 50] for n in range(50 * 600)))
    stage.end(602.0)
    (stage.folder.path / "client.ogg").replace(folder.path / "client.ogg")


def renderings() -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "relay.taps.render" in (process.info["cmdline"] or [])
    ]


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_server_that_ends_while_it_renders_leaves_nothing_and_the_next_goes_on(
    serve: Callable[[], Running], tmp_path: Path, number: signal.Signals
) -> None:
    folder = Folder(tmp_path / "recordings" / "2026-01-31" / "rtc_1")
    folder.make()
    folder.update_session({"id": "rtc_1", "state": "ended", "mix": {"state": "waiting"}})
    minutes_of_sound(folder)
    (folder.path / "transcript.json").write_text("{}")
    part = folder.path / ".mix.ogg.part"

    first = serve()
    first.wait_for_url()
    until(part.exists)
    ours = [process for process in renderings() if process.ppid() == first.process.pid]
    first.stop(number)
    until(lambda: not any(process.is_running() for process in ours))
    left = [path.name for path in folder.path.glob(".*")]
    state = folder.session()["mix"]["state"]
    second = serve()
    second.wait_for_url()
    until(lambda: folder.session()["mix"]["state"] == "done")
    second.stop(signal.SIGTERM)

    assert len(ours) == 1
    assert left == []
    assert state == "running"
    assert inspect(folder.path / "mix.ogg").duration_s == pytest.approx(602.0, abs=0.1)
    assert [path.name for path in folder.path.glob(".*")] == []


def test_rendering_has_no_key_in_its_environment(
    serve: Callable[[], Running], tmp_path: Path
) -> None:
    folder = Folder(tmp_path / "recordings" / "2026-01-31" / "rtc_1")
    folder.make()
    folder.update_session({"id": "rtc_1", "state": "ended", "mix": {"state": "waiting"}})
    minutes_of_sound(folder)

    server = serve()
    server.wait_for_url()
    [child] = until(lambda: [p for p in renderings() if p.ppid() == server.process.pid])
    environment = child.environ()
    nice = until(lambda: child.nice() == 19)
    server.stop(signal.SIGTERM)

    assert TOKEN not in environment.values()
    assert not {name for name in environment if name.startswith("RELAY_")}
    assert nice
