"""What an operator reads of calls that lie elsewhere, and what is said when a store does not do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.stores import delete as deletion
from relay.stores import locks
from relay.stores.database import Database
from relay.stores.folders import Folders
from relay.stores.index import Index
from tests.stores import objectstore
from tests.stores.conversations import BEGAN, entry, keep
from tests.stores.objectstore import S3
from tests.web.operator_stage import OperatorStage, operating, prepared_for


async def prepare_at(directory: Path, **overrides: object) -> Any:
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    return await asyncio.to_thread(prepared_for, directory, dotted)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    if reason := objectstore.why_not():
        pytest.skip(reason)
    with objectstore.running() as running:
        yield running


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


async def uploaded_call(stage: OperatorStage) -> str:
    """A call that was answered aloud, and of which only the target has something."""
    caller = await stage.call()
    await caller.ask("Where are you?")
    await caller.event("output_audio_buffer.stopped")
    await stage.hang_up(caller)
    await stage.until(
        "sessions", lambda body: [row["local"] for row in body["sessions"]] == [False]
    )
    return caller.id


async def test_uploaded_session_is_read_as_one_that_is_here(calls: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    prepared = await prepare_at(
        calls, recording__upload_url=archive.as_uri(), recording__delete_after_upload=True
    )
    async with operating(prepared) as stage:
        session_id = await uploaded_call(stage)
        path = f"sessions/{session_id}"
        content = await asyncio.to_thread(next(archive.rglob("upstream.ogg")).read_bytes)
        _, session = await stage.admin(path)
        _, transcript = await stage.admin(f"{path}/transcript")
        _, text = await stage.admin(f"{path}/transcript.txt")
        _, events = await stage.admin(f"{path}/events")
        _, page = await stage.admin(f"{path}/events?limit=2&after=1")
        whole = await stage.admin(f"{path}/audio/upstream")
        missing = await stage.admin(f"{path}/audio/mix")

    assert (session["id"], session["state"]) == (session_id, "ended")
    assert session["audio"]["upstream"] == ["upstream.ogg"]
    assert {"user", "assistant"} <= {turn["speaker"] for turn in transcript["turns"]}
    assert b"Where are you?" in text
    numbers = [json.loads(line)["seq"] for line in events.splitlines()]
    assert numbers == list(range(len(numbers)))
    assert [event["seq"] for event in page["events"]] == [2, 3]
    assert page["next"] == 3
    assert whole == (200, content)
    assert missing[0] == 404


@pytest.mark.parametrize(
    ("given", "status", "first", "last"),
    [
        ("bytes=100-199", 206, 100, 199),
        ("bytes=0-0", 206, 0, 0),
        ("bytes=100-", 206, 100, -1),
        ("bytes=-50", 206, -50, -1),
        ("bytes=0-99999999", 206, 0, -1),
    ],
)
async def test_uploaded_audio_is_served_in_ranges(
    calls: Path, tmp_path: Path, given: str, status: int, first: int, last: int
) -> None:
    archive = tmp_path / "archive"
    await keep_uploaded(archive, "rtc_1")
    prepared = await prepare_at(calls, recording__upload_url=archive.as_uri())
    async with operating(prepared) as stage:
        await known_as_uploaded(stage, calls, "rtc_1")
        async with stage.request(
            "sessions/rtc_1/audio/client", headers={"Range": given}
        ) as response:
            found = response.status, response.headers["Content-Range"], await response.read()

    size = len(AUDIO)
    first, last = first % size, last % size
    assert found == (status, f"bytes {first}-{last}/{size}", AUDIO[first : last + 1])


AUDIO = b"OggS" + bytes(range(256)) * 12


async def keep_uploaded(archive: Path, session_id: str) -> None:
    """The target is a directory of the folders' own shape."""
    await keep(archive, session_id, "Good morning.", audio=AUDIO)


async def known_as_uploaded(stage: OperatorStage, calls: Path, session_id: str) -> None:
    await put(stage, calls, entry(session_id, "Good morning.", is_local=False))


async def put(stage: OperatorStage, calls: Path, found: Any, origin: str = "") -> None:
    """Puts a conversation into the server's index, as another process would."""
    await stage.until("usage", lambda _: True)
    database = Database(f"sqlite:///{calls / 'index.sqlite'}")
    await database.prepare()
    await Index(database, origin).put([found])
    await database.close()


async def test_uploaded_audio_out_of_range_and_without_its_body_is_told(
    calls: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    await keep_uploaded(archive, "rtc_1")
    prepared = await prepare_at(calls, recording__upload_url=archive.as_uri())
    audio = "sessions/rtc_1/audio/client"
    async with operating(prepared) as stage:
        await known_as_uploaded(stage, calls, "rtc_1")
        beyond = await stage.admin(audio, headers={"Range": f"bytes={len(AUDIO)}-"})
        nonsense = await stage.admin(audio, headers={"Range": "bytes=x-y"})
        async with stage.request(audio, "HEAD") as response:
            head = response.status, response.headers["Content-Length"]
        changed = await stage.admin(audio, headers={"Range": "bytes=1-2", "If-Range": '"other"'})

    assert (beyond[0], nonsense[0]) == (416, 416)
    assert head == (200, str(len(AUDIO)))
    assert changed == (200, AUDIO)


async def test_uploaded_session_that_is_gone_from_the_target_is_not_found(
    calls: Path, tmp_path: Path
) -> None:
    prepared = await prepare_at(calls, recording__upload_url=(tmp_path / "archive").as_uri())
    async with operating(prepared) as stage:
        await known_as_uploaded(stage, calls, "rtc_1")
        found = [
            (await stage.admin(f"sessions/rtc_1{below}"))[0]
            for below in ("", "/transcript", "/events", "/events?limit=5", "/audio/client")
        ]

    assert found == [404] * 5


@pytest.mark.slow
async def test_target_that_refuses_is_told_as_what_may_pass(calls: Path, s3: S3) -> None:
    options = s3.options(await asyncio.to_thread(s3.bucket))
    prepared = await prepare_at(calls, recording__upload_url=options.url)
    environment = {
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_ALLOW_HTTP": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        async with operating(prepared) as stage:
            await known_as_uploaded(stage, calls, "rtc_1")
            async with s3.refusing():
                answers = [
                    await told(stage, f"sessions/rtc_1{below}")
                    for below in ("", "/transcript", "/events", "/events?limit=5", "/audio/client")
                ]
                answers.append(await told(stage, "recordings/rtc_1", "DELETE"))

    assert answers == [(503, "store_unavailable", "5")] * 6


async def told(stage: OperatorStage, path: str, method: str = "GET") -> tuple[int, str, str | None]:
    """An error's status, code and Retry-After."""
    async with stage.request(path, method) as response:
        body = await response.json()
        return response.status, body["error"]["code"], response.headers.get("Retry-After")


async def test_session_that_is_out_of_reach_is_a_conflict(calls: Path) -> None:
    prepared = await prepare_at(calls)
    async with operating(prepared) as stage:
        await put(stage, calls, entry("rtc_1", is_local=False))
        await put(stage, calls, entry("rtc_2"), "elsewhere")
        answers = [
            await told(stage, f"{path}", method)
            for number in (1, 2)
            for path, method in (
                (f"sessions/rtc_{number}", "GET"),
                (f"sessions/rtc_{number}/transcript", "GET"),
                (f"sessions/rtc_{number}/audio/client", "GET"),
                (f"sessions/rtc_{number}/events", "GET"),
                (f"recordings/rtc_{number}", "DELETE"),
            )
        ]

    assert answers == [(409, "conflict", None)] * 10


async def test_session_that_somebody_works_on_is_not_deleted_but_a_conflict(
    calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "IN_USE_TIMEOUT_S", 0.0)
    folder = await keep(calls, "rtc_1", "Good morning.")
    prepared = await prepare_at(calls)
    async with operating(prepared) as stage:
        await stage.until("sessions", lambda body: len(body["sessions"]) == 1)
        async with locks.using(folder):
            refused = await told(stage, "recordings/rtc_1", "DELETE")
        deleted, _ = await stage.admin("recordings/rtc_1", "DELETE")

    assert refused == (409, "conflict", None)
    assert deleted == 200


async def test_index_that_is_away_is_told_as_what_may_pass(calls: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    await asyncio.to_thread(blocked.write_text, "")
    prepared = await prepare_at(
        calls,
        store__url=f"sqlite:///{blocked / 'index.sqlite'}",
        recording__upload_url=(tmp_path / "archive").as_uri(),
    )
    async with operating(prepared) as stage:
        answers = [
            await told(stage, path, method)
            for path, method in (
                ("usage", "GET"),
                ("sessions/rtc_1", "GET"),
                ("sessions/rtc_1/transcript", "GET"),
                ("sessions/rtc_1/audio/mix", "GET"),
                ("recordings/rtc_1", "DELETE"),
            )
        ]
        listed = await stage.admin("sessions")

    assert answers == [(503, "store_unavailable", "5")] * 5
    assert listed[0] == 200
    assert listed[1]["problem"]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("since=0001-01-01T00:00:00%2B23:00", 400),
        ("until=9999-12-31T23:59:59-23:00", 400),
        ("model=%00", 200),
        ("q=%00", 200),
        ("key=%ED%A0%80", 200),
        ("owner=%F0%9F%92%A9", 200),
    ],
)
@pytest.mark.parametrize("path", ["sessions", "usage"])
async def test_filter_that_a_database_does_not_take_is_no_defect(
    calls: Path, path: str, query: str, wanted: int
) -> None:
    prepared = await prepare_at(calls)
    async with operating(prepared) as stage:
        await stage.until("usage", lambda body: body["rows"] == [])
        status, _ = await stage.admin(f"{path}?{query}")

    assert status == wanted


async def test_nothing_is_kept_where_recording_is_off_and_an_index_is_set(
    calls: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index.sqlite"
    prepared = await prepare_at(calls, recording__mode="off", store__url=f"sqlite:///{index}")
    async with operating(prepared) as stage:
        caller = await stage.call()
        await caller.ask("Do you count this?")
        await stage.hang_up(caller)
        usage = await stage.admin("usage")
        _, listed = await stage.admin("sessions")

    assert usage[0] == 503
    assert "recording.mode" in usage[1]["error"]["message"]
    assert listed["sessions"] == []
    assert not await asyncio.to_thread(index.exists)


async def test_deleted_upload_leaves_nothing_at_the_target(calls: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    await keep_uploaded(archive, "rtc_1")
    prepared = await prepare_at(calls, recording__upload_url=archive.as_uri())
    async with operating(prepared) as stage:
        await known_as_uploaded(stage, calls, "rtc_1")
        deleted, proof = await stage.admin("recordings/rtc_1", "DELETE")
        after = await stage.admin("sessions/rtc_1")

    assert (deleted, after[0]) == (200, 404)
    assert proof["complete"] is True
    assert f"{BEGAN.date().isoformat()}/rtc_1/client.ogg" in proof["objects"]
    assert await asyncio.to_thread(Folders(archive).find, "rtc_1") is None
