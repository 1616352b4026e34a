"""The operator's side over real calls: relay, simulator, recorder, index, all in this process."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from relay.app import Prepared
from relay.core.sdp import Description
from relay.loadtest.speech import stored_payloads
from relay.stores.audio import sound
from relay.stores.folders import Folder, Folders
from relay.stores.verify import verify
from tests.session.stage import offer_text
from tests.web.operator_stage import TOKEN, OperatorStage, operating, prepared_for, prepared_unread

BEARER = {"Authorization": f"Bearer {TOKEN}"}
SILENCE = b"\xf8\xff\xfe"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def prepared(directory: Path) -> Prepared:
    return prepared_for(directory)


@pytest.fixture
def unread(tmp_path: Path) -> Prepared:
    return prepared_unread(tmp_path)


async def folder_of(directory: Path, session_id: str) -> Folder | None:
    return await asyncio.to_thread(Folders(directory).find, session_id)


async def test_call_that_is_over_is_stored_listed_searched_and_added_up(
    prepared: Prepared, directory: Path
) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        await caller.ask("What is the weather in Lisbon?")
        await caller.event("output_audio_buffer.stopped")
        await stage.hang_up(caller)
        found = await stage.until(
            "sessions?state=ended&q=lisbon", lambda body: len(body["sessions"]) == 1
        )
        _, session = await stage.admin(f"sessions/{caller.id}")
        _, transcript = await stage.admin(f"sessions/{caller.id}/transcript")
        _, usage = await stage.admin("usage?by=day,model")

    row = found["sessions"][0]
    assert (row["id"], row["state"], found["problem"]) == (caller.id, "ended", None)
    assert any(part["match"] for hit in row["hits"] for part in hit["snippet"])
    assert session["end"] == {"outcome": "completed", "reason": "client_hung_up"}
    assert session["usage"]["tokens"]["output"]["audio"] > 0
    assert session["usage"]["cost_usd"] > 0
    assert session["audio"]["upstream"] == ["upstream.ogg"]
    assert session["client"]["packets_sent"] > 10
    assert {"user", "assistant"} <= {turn["speaker"] for turn in transcript["turns"]}
    assert transcript["final"] is True
    assert sum(row["calls"] for row in usage["rows"]) == 1
    folder = await folder_of(directory, caller.id)
    assert folder is not None
    verdict = await asyncio.to_thread(verify, folder)
    assert verdict.holds(strict=True), verdict


async def test_live_call_is_shown_with_its_legs_transcript_and_usage(prepared: Prepared) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        await caller.ask("Say something.")
        shown = await stage.until(
            f"sessions/{caller.id}", lambda body: body["usage"]["tokens"]["output"]["audio"] > 0
        )
        _, listed = await stage.admin("sessions")
        _, text = await stage.admin(
            f"sessions/{caller.id}/transcript", headers={"Accept": "text/plain"}
        )
        _, vtt = await stage.admin(f"sessions/{caller.id}/transcript.vtt")

        assert shown["state"] == "live"
        assert shown["client"]["transport"] == "udp"
        assert shown["recording"]["lost"] == {"packets": 0, "events": 0, "audio_s": 0.0}
        assert [row["state"] for row in listed["sessions"]] == ["live"]
        assert b"User: Say something." in text
        assert vtt.startswith(b"WEBVTT")


async def test_added_latency_is_told_of_the_call_and_in_the_metrics(prepared: Prepared) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        await caller.speak([SILENCE] * 40)
        shown = await stage.until(
            f"sessions/{caller.id}", lambda body: body["added_latency_ms"]["count"] > 0
        )
        await stage.hang_up(caller)
        _, session = await stage.admin(f"sessions/{caller.id}")
        async with stage.http.get("/metrics", headers=BEARER) as response:
            metrics = await response.text()

    assert shown["state"] == "live"
    timed = session["added_latency_ms"]
    assert 0 < timed["p50"] <= timed["max"] < 1000
    assert f"relay_forward_seconds_count {timed['count']}.0" in metrics


async def read_sse(
    stage: OperatorStage,
    call_id: str,
    count: int,
    last: str = "",
    begun: asyncio.Event | None = None,
) -> list[Any]:
    """The first events of a stream: their names, ids and data."""
    headers = {"Last-Event-ID": last} if last else {}
    found: list[Any] = []
    async with stage.request(f"sessions/{call_id}/events", headers=headers) as response:
        assert response.content_type == "text/event-stream"
        if begun is not None:
            begun.set()
        fields: dict[str, str] = {}
        async for line in response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
                continue
            found.append((fields.get("event"), fields.get("id"), json.loads(fields["data"])))
            fields = {}
            if len(found) == count:
                break
    return found


async def test_events_of_a_live_call_are_replayed_and_end_with_it(prepared: Prepared) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        await caller.ask("Hello.")
        all_of_them = await read_sse(stage, caller.id, 4)
        later = await read_sse(stage, caller.id, 1, last="2")
        begun = asyncio.Event()
        reading = asyncio.create_task(read_sse(stage, caller.id, 10_000, begun=begun))
        await asyncio.wait_for(begun.wait(), 5)
        await stage.hang_up(caller)
        whole = await asyncio.wait_for(reading, 10)
        status, stored = await stage.admin(f"sessions/{caller.id}/events")
        again = await stage.admin(
            f"sessions/{caller.id}/events", headers={"Accept": "text/event-stream"}
        )

    assert [entry[1] for entry in all_of_them] == ["0", "1", "2", "3"]
    assert all_of_them[0][2]["event"]["type"] == "session.created"
    assert later == all_of_them[3:]
    assert whole[-1][0] == "end"
    lines = [json.loads(line) for line in stored.splitlines()]
    assert status == 200
    assert [line["seq"] for line in lines] == list(range(len(lines)))
    told = [entry[2]["event"] for entry in whole[:-1]]
    assert [line["event"] for line in lines[: len(told)]] == told
    assert again[0] == 204


async def test_injected_event_reaches_the_upstream_and_the_record(prepared: Prepared) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        event = {"type": "session.update", "session": {"type": "realtime", "instructions": "Sing."}}
        injected = await stage.admin(f"sessions/{caller.id}/events", "POST", json=event)
        updated = await caller.event("session.updated")
        events = f"sessions/{caller.id}/events"
        refused = [
            (await stage.admin(events, "POST", data=body))[0]
            for body in (b"[1]", b"nonsense", b'{"no": "type"}', b"\xff", b'{"type": NaN}')
        ]
        await stage.hang_up(caller)
        gone = await stage.admin(f"sessions/{caller.id}/events", "POST", json=event)

    assert injected[0] == 202
    assert updated["session"]["instructions"] == "Sing."
    assert refused == [400] * 5
    assert gone[0] == 404


async def test_operator_hangs_up(prepared: Prepared) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        status, _ = await stage.admin(f"sessions/{caller.id}", "DELETE")
        again, _ = await stage.admin(f"sessions/{caller.id}", "DELETE")
        _, session = await stage.admin(f"sessions/{caller.id}")

    assert (status, again) == (204, 404)
    assert session["end"]["reason"] == "hung_up"


def listen_offer(voices: int) -> str:
    """A receive-only offer for so many voices."""
    text = offer_text(data_bytes=None)
    session, _, audio = text.partition("m=audio")
    section = f"m=audio{audio}".replace("a=sendrecv", "a=recvonly")
    sections = [section.replace("a=mid:a", f"a=mid:{n}") for n in range(voices)]
    bundle = " ".join(str(n) for n in range(voices))
    return session.replace("BUNDLE a", f"BUNDLE {bundle}") + "".join(sections)


async def listen(stage: OperatorStage, call_id: str, voices: int) -> tuple[Any, str, Any]:
    """A leg that hears, its Location and the packets that it gets."""
    leg = stage.listening_leg()
    packets: asyncio.Queue[bytes] = asyncio.Queue()
    leg.on_rtp = packets.put_nowait
    offered = Description.parse(listen_offer(voices))
    offer = offered.render(await leg.gather(), max_message_size=None)
    async with stage.request(
        f"sessions/{call_id}/listen",
        "POST",
        data=offer,
        headers={"Content-Type": "application/sdp"},
    ) as response:
        answer = await response.text()
        assert response.status == 201, answer
        location = response.headers["Location"].removeprefix("/admin/v1/")
    parsed = Description.parse_answer(answer, Description.parse(offer))
    await leg.connect(parsed.transport, None, timeout_s=5)
    return leg, location, packets


async def test_listener_hears_both_voices_and_the_call_does_not_know(
    prepared: Prepared,
) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        caller.browser.leg.on_rtp = heard.put_nowait
        _, location, packets = await listen(stage, caller.id, 2)
        await caller.ask("Tell me a story.")
        await caller.speak([SILENCE] * 25)
        payloads: dict[int, list[bytes]] = {}
        async with asyncio.timeout(10):
            while len(payloads) < 2 or min(map(len, payloads.values())) < 10:
                packet = await packets.get()
                payloads.setdefault(int.from_bytes(packet[8:12]), []).append(packet[-20:])
        _, shown = await stage.admin(f"sessions/{caller.id}")
        closed, _ = await stage.admin(location, "DELETE")
        again, _ = await stage.admin(location, "DELETE")
        _, after = await stage.admin(f"sessions/{caller.id}")
        down = {heard.get_nowait()[-20:] for _ in range(heard.qsize())}

    assert (shown["listeners"], after["listeners"]) == (1, 0)
    assert (closed, again) == (204, 404)
    assert shown["drops"] == {}
    voices = list(payloads.values())
    assert any(len(down & set(voice)) > 5 for voice in voices)  # verbatim what the client hears
    assert any(all(payload.endswith(SILENCE) for payload in voice) for voice in voices)


async def test_listener_is_gone_with_the_call(prepared: Prepared) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        leg, location, _ = await listen(stage, caller.id, 1)
        ended = asyncio.Event()
        leg.on_state = lambda state, _reason: ended.set() if state == "closed" else None
        await stage.hang_up(caller)
        await asyncio.wait_for(ended.wait(), 5)
        await stage.admin(location, "DELETE")  # waits for what is just ending
        status, _ = await stage.admin(location, "DELETE")

    assert status == 404


@pytest.mark.parametrize(
    ("body", "content_type", "query", "status"),
    [
        (b"nonsense", "application/sdp", "", 400),
        (b"", "application/sdp", "", 400),
        (b"v=0", "text/plain", "", 415),
        (b"v=0", "application/sdp", "?voice=both", 400),
    ],
)
async def test_listen_that_makes_no_sense_is_refused(
    prepared: Prepared, body: bytes, content_type: str, query: str, status: int
) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        found, _ = await stage.admin(
            f"sessions/{caller.id}/listen{query}",
            "POST",
            data=body,
            headers={"Content-Type": content_type},
        )
        _, shown = await stage.admin(f"sessions/{caller.id}")

    assert found == status
    assert shown["listeners"] == 0


async def test_audio_is_served_in_ranges(prepared: Prepared, directory: Path) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        await caller.ask("Speak.")
        await caller.event("output_audio_buffer.stopped")
        await stage.hang_up(caller)
        await stage.admin(f"sessions/{caller.id}")  # waits until it is complete
        folder = await folder_of(directory, caller.id)
        assert folder is not None
        content = await asyncio.to_thread((folder.path / "upstream.ogg").read_bytes)
        path = f"sessions/{caller.id}/audio/upstream"
        whole = await stage.admin(path)
        some = await stage.admin(path, headers={"Range": "bytes=100-199"})
        beyond = await stage.admin(path, headers={"Range": f"bytes={len(content)}-"})
        missing = await stage.admin(f"sessions/{caller.id}/audio/mix")
        nobody = await stage.admin(f"sessions/{caller.id}/audio/other")

    assert whole == (200, content)
    assert some == (206, content[100:200])
    assert beyond[0] == 416
    assert (missing[0], nobody[0]) == (404, 404)


async def test_stored_session_is_deleted_with_proof(prepared: Prepared, directory: Path) -> None:
    async with operating(prepared) as stage:
        caller = await stage.call()
        live = await stage.admin(f"recordings/{caller.id}", "DELETE")
        await stage.hang_up(caller)
        await stage.until("sessions", lambda body: len(body["sessions"]) == 1)
        deleted, proof = await stage.admin(f"recordings/{caller.id}", "DELETE")
        again = await stage.admin(f"recordings/{caller.id}", "DELETE")
        _, listed = await stage.admin("sessions")

    assert (live[0], deleted, again[0]) == (409, 200, 404)
    assert {"session.json", "events.jsonl", "transcript.json"} <= set(proof["files"])
    assert (proof["complete"], proof["remains"], proof["rows"]) == (True, [], 1)
    assert listed["sessions"] == []
    assert await folder_of(directory, caller.id) is None


@pytest.mark.parametrize(
    "session_id", ["..%2f..%2fetc", "%2e%2e", "a%00b", "a%2fb", ".hidden", "x" * 200, "rtc_none"]
)
@pytest.mark.parametrize("below", ["", "/events", "/transcript", "/audio/client"])
async def test_session_id_that_is_no_name_is_not_found(
    idle: OperatorStage, session_id: str, below: str
) -> None:
    url = URL(f"{idle.url}/admin/v1/sessions/{session_id}{below}", encoded=True)
    async with idle.http.get(url, headers=BEARER) as response:
        assert response.status == 404
        assert "error" in await response.json()


@pytest.fixture
async def idle(prepared: Prepared) -> Any:
    async with operating(prepared) as stage:
        yield stage


@pytest.mark.parametrize(
    "given", ["", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"]
)
async def test_operators_side_without_the_token_is_closed(idle: OperatorStage, given: str) -> None:
    for method, path in (
        ("GET", "sessions"),
        ("GET", "usage"),
        ("POST", "drain"),
        ("GET", "nodes"),
        ("DELETE", "recordings/rtc_1"),
        ("POST", "sessions/rtc_1/listen"),
    ):
        async with idle.http.request(
            method,
            f"/admin/v1/{path}",
            headers={"Authorization": given, "Origin": "https://x.test"},
        ) as response:
            assert response.status == 401, path
            assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    "query",
    ["state=dead", "since=yesterday", "since=2026-01-31", "limit=0", "limit=x", "cursor=%21"],
)
async def test_sessions_asked_for_in_no_way_are_refused(idle: OperatorStage, query: str) -> None:
    await idle.until("nodes", lambda body: body["nodes"][0]["store"]["failing"] is None)

    status, body = await idle.admin(f"sessions?{query}")

    assert (status, body["error"]["param"]) == (400, query.partition("=")[0])


async def test_draining_server_takes_no_more_calls(idle: OperatorStage) -> None:
    status, body = await idle.admin("drain", "POST")
    async with idle.http.get("/readyz") as response:
        ready = response.status
    _, nodes = await idle.admin("nodes")

    assert (status, body) == (200, {"draining": True, "calls": 0})
    assert ready == 503
    assert nodes["nodes"][0]["draining"] is True


@pytest.mark.slow
async def test_spoken_turn_is_recorded_transcribed_and_timed(
    prepared: Prepared, directory: Path
) -> None:
    speech = await asyncio.to_thread(stored_payloads)
    async with operating(prepared) as stage:
        caller = await stage.call()
        await caller.speak([*speech[:100], *[SILENCE] * 60])
        await caller.event("response.done")
        await caller.event("output_audio_buffer.stopped")
        await stage.hang_up(caller)
        _, session = await stage.admin(f"sessions/{caller.id}")
        folder = await folder_of(directory, caller.id)
        async with stage.http.get("/metrics", headers=BEARER) as response:
            metrics = await response.text()

    assert folder is not None
    up, down = await asyncio.to_thread(
        lambda: [b"".join(sound(folder.path / f"{side}.ogg")) for side in ("client", "upstream")]
    )
    spoken_s = sum(any(up[at : at + 1920]) for at in range(0, len(up), 1920)) / 50
    assert 1.5 < spoken_s < 2.6
    assert any(down)
    assert session["responses"]["latency_ms"]["count"] == 1
    assert 0 < session["responses"]["latency_ms"]["p50"] < 3000
    assert session["recording"]["lost"]["packets"] == 0
    assert session["setup_ms"]["answered"] > 0
    assert 'relay_tokens_total{kind="output_audio"}' in metrics
    assert "relay_response_latency_seconds_count 1.0" in metrics
    assert "relay_recording_queue" in metrics


@pytest.mark.slow
async def test_directory_that_cannot_be_written_leaves_calls_alone_and_is_told(
    unread: Prepared,
) -> None:
    async with operating(unread) as stage:
        caller = await stage.call()
        done = await caller.ask("Do you work?")
        nodes = await stage.until(
            "nodes", lambda body: body["nodes"][0]["recorder"]["failing"] is not None
        )
        async with stage.http.get("/readyz") as response:
            reason = (await response.json())["reason"]
        _, listed = await stage.admin("sessions")
        usage, _ = await stage.admin("usage")
        await stage.hang_up(caller)

    assert done["response"]["status"] == "completed"
    assert nodes["nodes"][0]["store"]["failing"] is not None
    assert reason.startswith("Calls are not recorded")
    assert [row["id"] for row in listed["sessions"]] == [caller.id]
    assert listed["problem"]
    assert usage == 503


async def test_database_that_is_away_leaves_calls_alone(tmp_path: Path) -> None:
    away = tmp_path / "file"
    await asyncio.to_thread(away.write_text, "")
    url = f"sqlite:///{away / 'index.sqlite'}"
    prepared = await asyncio.to_thread(prepared_for, tmp_path / "kept", {"store.url": url})
    async with operating(prepared) as stage:
        caller = await stage.call()
        await caller.ask("Do you work?")
        await stage.hang_up(caller)
        status, session = await stage.admin(f"sessions/{caller.id}")
        _, listed = await stage.admin("sessions")

    assert (status, session["state"]) == (200, "ended")
    assert listed["sessions"] == []
    assert "index" in listed["problem"].lower()


async def test_nothing_is_kept_where_nothing_is_to_be(prepared: Prepared, directory: Path) -> None:
    off = prepared.settings.recording.model_copy(update={"mode": "off"})
    settings = prepared.settings.model_copy(update={"recording": off})
    async with operating(replace(prepared, settings=settings)) as stage:
        caller = await stage.call()
        await caller.ask("Do you keep this?")
        shown = await stage.until(
            f"sessions/{caller.id}", lambda body: body["usage"]["cost_usd"] > 0
        )
        await stage.hang_up(caller)
        status, _ = await stage.admin(f"sessions/{caller.id}")

    assert "recording" not in shown
    assert status == 404
    assert not await asyncio.to_thread(directory.exists)


async def test_finished_call_is_uploaded_where_the_settings_say(tmp_path: Path) -> None:
    kept, archive = tmp_path / "kept", tmp_path / "archive"
    overrides: dict[str, object] = {
        "recording.upload_url": archive.as_uri(),
        "recording.delete_after_upload": True,
    }
    prepared = await asyncio.to_thread(prepared_for, kept, overrides)
    async with operating(prepared) as stage:
        caller = await stage.call()
        await stage.hang_up(caller)
        listed = await stage.until(
            "sessions", lambda body: [row["local"] for row in body["sessions"]] == [False]
        )
        names = await asyncio.to_thread(lambda: {path.name for path in archive.rglob("*.json*")})

    assert listed["sessions"][0]["upload"] == "uploaded"
    assert {"session.json", "events.jsonl", "transcript.json"} <= names
    assert await folder_of(kept, caller.id) is None
