"""A stored call's waveform, over real calls and real renderings."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from relay.app import Prepared
from relay.stores.folders import Folder, Folders
from tests.stores.waiting import until
from tests.taps.sounds import opus_tone
from tests.taps.stage import Stage, stream
from tests.web.conftest import Serve
from tests.web.operator_stage import TIMEOUT_S, OperatorStage, operating, prepared_for


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def prepared(directory: Path) -> Prepared:
    return prepared_for(directory, {"recording.mix": True})


def old_call(directory: Path) -> Folder:
    """A call from before there were waveforms: the upstream speaks from 1 to 2 s."""
    stage = Stage(directory)
    stage.speak("down", stream(opus_tone(440, 1.0)))
    stage.end(3.0)
    return stage.folder


async def waveform_of(stage: OperatorStage, session_id: str) -> tuple[set[int], Any]:
    """Asks until it is there, or cannot be: the statuses on the way, and the last body."""
    statuses = set()
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            status, body = await stage.admin(f"sessions/{session_id}/waveform")
            statuses.add(status)
            if status != 202:
                return statuses, body
            await asyncio.sleep(0.05)


async def test_waveform_and_mix_are_made_after_a_call_and_the_index_knows_at_once(
    prepared: Prepared, directory: Path
) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        live = await stage.admin(f"sessions/{caller.id}/waveform")
        await caller.speak(opus_tone(440, 1.0))
        await caller.ask("Say something.")
        await caller.event("output_audio_buffer.stopped")
        await stage.hang_up(caller)
        statuses, told = await waveform_of(stage, caller.id)
        session = await stage.until(
            f"sessions/{caller.id}", lambda body: body["waveform"]["state"] == "done"
        )
        listed = await stage.until(
            "sessions?state=ended",
            lambda body: (
                "mix.ogg" in body["sessions"][0].get("audio", []) if body["sessions"] else False
            ),
        )
        status, _ = await stage.admin(f"sessions/{caller.id}/audio/mix")

    assert (live[0], live[1]["error"]["code"]) == (404, "not_found")
    assert 200 in statuses <= {200, 202}
    assert (told["version"], told["channels"], told["bits"]) == (2, 2, 8)
    assert max(told["data"][1::4]) > 20  # the client
    assert max(told["data"][3::4]) > 20  # the upstream
    assert session["mix"]["state"] == "done"
    assert status == 200
    assert listed["sessions"][0]["id"] == caller.id


async def test_waveform_of_an_old_call_is_made_when_it_is_asked_for(
    prepared: Prepared, directory: Path
) -> None:
    folder = await asyncio.to_thread(old_call, directory)

    async with operating(prepared) as stage:
        async with stage.request(f"sessions/{folder.id}/waveform") as response:
            first, after, body = (
                response.status,
                response.headers["Retry-After"],
                await response.json(),
            )
        statuses, told = await waveform_of(stage, folder.id)

    assert (first, after, body) == (202, "1", {"state": "waiting", "progress": 0.0})
    assert 200 in statuses
    assert told["length"] * told["samples_per_pixel"] == pytest.approx(3.0 * 48_000, abs=960)
    assert max(told["data"][1::4]) == 0
    assert max(told["data"][3::4]) > 20


async def test_waveform_is_gzipped_for_who_takes_it_and_not_sent_twice(
    prepared: Prepared, directory: Path
) -> None:
    folder = await asyncio.to_thread(old_call, directory)
    path = f"sessions/{folder.id}/waveform"

    async with operating(prepared) as stage:
        _, told = await waveform_of(stage, folder.id)
        async with stage.request(path, headers={"Accept-Encoding": "identity"}) as response:
            plain, headers = await response.read(), response.headers.copy()
        async with stage.request(
            path, headers={"Accept-Encoding": "gzip"}, auto_decompress=False
        ) as response:
            zipped, encoding = await response.read(), response.headers["Content-Encoding"]
            tag = response.headers["ETag"]
        again, body = await stage.admin(path, headers={"If-None-Match": tag})
        other, _ = await stage.admin(path, headers={"If-None-Match": 'W/"0"'})

    assert json.loads(plain) == json.loads(gzip.decompress(zipped)) == told
    assert (encoding, tag) == ("gzip", headers["ETag"])
    assert headers["Cache-Control"] == "private, no-cache"
    assert headers["Content-Type"].startswith("application/json")
    assert (again, body, other) == (304, b"", 200)


async def test_waveform_of_broken_audio_is_an_error_and_not_promised_for_ever(
    prepared: Prepared, directory: Path
) -> None:
    folder = await asyncio.to_thread(old_call, directory)
    await asyncio.to_thread((folder.path / "upstream.ogg").write_bytes, b"\x00" * 5_000)

    async with operating(prepared) as stage:
        statuses, problem = await waveform_of(stage, folder.id)

    assert statuses == {202, 409}
    assert problem["error"]["code"] == "conflict"
    assert "There is no audio in this folder." in problem["error"]["message"]


async def test_waveform_that_cannot_be_written_is_an_error(
    prepared: Prepared, directory: Path
) -> None:
    folder = await asyncio.to_thread(old_call, directory)
    await asyncio.to_thread((folder.path / "waveform.json").mkdir)

    async with operating(prepared) as stage:
        statuses, problem = await waveform_of(stage, folder.id)

    assert statuses == {202, 409}
    assert "waveform.json" in problem["error"]["message"]


@pytest.fixture
def uploading(directory: Path, tmp_path: Path) -> Prepared:
    """Nothing stays here."""
    changes = {
        "recording.upload_url": (tmp_path / "target").as_uri(),
        "recording.delete_after_upload": True,
    }
    return prepared_for(directory, changes)


async def test_waveform_is_uploaded_before_the_folder_goes_and_served_from_there(
    uploading: Prepared, directory: Path
) -> None:
    async with operating(uploading) as stage:
        caller = await stage.call()
        await caller.speak(opus_tone(440, 0.5))
        await stage.hang_up(caller)
        folder = await asyncio.to_thread(Folders(directory).find, caller.id)
        assert folder is not None
        await until(lambda: not folder.path.exists())
        status, told = await stage.admin(f"sessions/{caller.id}/waveform")

    assert status == 200
    assert max(told["data"][1::4]) > 20


@pytest.mark.parametrize("state", ["ended", "live"])
async def test_waveform_of_a_session_without_audio_is_not_found(
    prepared: Prepared, directory: Path, state: str
) -> None:
    folder = Folders(directory).at((await asyncio.to_thread(old_call, directory)).day, "rtc_2")
    await asyncio.to_thread(folder.make)
    await asyncio.to_thread(folder.update_session, {"id": "rtc_2", "state": state})

    async with operating(prepared) as stage:
        found = [await stage.admin(f"sessions/{name}/waveform") for name in ("rtc_2", "rtc_none")]

    assert [status for status, _ in found] == [404, 404]


async def test_waveform_of_a_call_that_another_process_records_is_not_found(
    prepared: Prepared, directory: Path
) -> None:
    stage_of_another = Stage(directory)
    await asyncio.to_thread(stage_of_another.speak, "up", stream(opus_tone(440, 1.0)))
    await asyncio.to_thread(stage_of_another.wait_until, 2.0)

    async with operating(prepared) as stage:
        status, _ = await stage.admin("sessions/rtc_1/waveform")
        await asyncio.to_thread(stage_of_another.end, 3.0)
        statuses, _ = await waveform_of(stage, "rtc_1")

    assert status == 404
    assert statuses == {200, 202}


async def test_waveform_is_deleted_with_its_session(prepared: Prepared, directory: Path) -> None:
    folder = await asyncio.to_thread(old_call, directory)

    async with operating(prepared) as stage:
        await waveform_of(stage, folder.id)
        status, proof = await stage.admin(f"recordings/{folder.id}", "DELETE")
        gone, _ = await stage.admin(f"sessions/{folder.id}/waveform")

    assert (status, gone) == (200, 404)
    assert "waveform.json" in proof["files"]
    assert not folder.path.exists()


async def test_waveform_is_behind_the_gate(serve: Serve) -> None:
    server = await serve({"admin.token": "operator-0123456789"})

    async with server.http.get("/admin/v1/sessions/rtc_1/waveform") as response:
        assert response.status == 401
