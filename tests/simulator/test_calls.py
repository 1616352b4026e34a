"""Whole calls: HTTP, ICE, DTLS, SCTP, RTP on loopback, from a caller's side."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from relay.core import rtcp, rtp
from relay.core.sdp import Description
from relay.rtc import IceOptions, LegFailed, LegState, Sockets
from relay.simulator import Faults, Simulator, SimulatorOptions
from relay.simulator.call import MAX_WAITING_EVENTS
from relay.simulator.calls import CallAsk, Calls
from relay.simulator.load import MARK
from relay.simulator.voices import Voices
from tests.core.sdp_samples import CHROME, replaced
from tests.simulator.caller import KEY, TIMEOUT_S, Caller, voice
from tests.simulator.conftest import OpenCaller
from tests.simulator.sound import decoded_opus, decoded_pcmu, has_chime, level_dbfs

ONLY_PCMU = replaced(CHROME, "SAVPF 111 63 9 0 8 13 110 126", "SAVPF 0")
TEXT = {"type": "realtime", "output_modalities": ["text"]}


async def ended(caller: Caller) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        await caller.ended.wait()


async def until_no_calls(simulator: Simulator) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while simulator.live_calls:  # noqa: ASYNC110 — no event tells
            await asyncio.sleep(0.01)


async def test_call_when_a_voice_asks_answers_with_the_chime_and_a_sentence(
    open_caller: OpenCaller,
) -> None:
    caller = await open_caller()
    await caller.call()

    await caller.speak(voice("weather"))
    stopped = await caller.event("output_audio_buffer.stopped")
    done = await caller.event("response.done")

    heard = decoded_opus(arrived.payload for arrived in caller.media)
    assert has_chime(heard, 48_000)
    assert level_dbfs(heard[48_000 // 2 :]) > -35
    spoken = await caller.event("input_audio_buffer.speech_stopped")
    started = await caller.event("input_audio_buffer.speech_started")
    assert 400 <= started["audio_start_ms"] <= 900  # 1 s of silence, less 0.3 s of prefix
    assert 2500 <= spoken["audio_end_ms"] - started["audio_start_ms"] <= 3500
    assert stopped["response_id"] == done["response"]["id"]
    assert done["response"]["usage"]["output_token_details"]["audio_tokens"] > 40


async def test_answer_on_the_wire_is_one_stream_of_50_packets_a_second(
    open_caller: OpenCaller,
) -> None:
    caller = await open_caller()
    await caller.call()

    caller.send("response.create")
    arrived = (await caller.packets(101))[:101]

    packets = [entry.packet for entry in arrived]
    assert f"a=ssrc:{rtp.ssrc(packets[0])} cname:realtimeapi" in caller.answer
    assert len({rtp.ssrc(packet) for packet in packets}) == 1
    assert [rtp.marker(packet) for packet in packets] == [True] + [False] * 100
    for before, after in pairwise(packets):
        assert (rtp.sequence(after) - rtp.sequence(before)) % 2**16 == 1
        assert (rtp.timestamp(after) - rtp.timestamp(before)) % 2**32 == 960
    assert abs(arrived[-1].at - arrived[0].at - 2.0) < 0.1  # no drift


async def test_second_answer_continues_the_clock_of_the_first(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    await caller.call()
    caller.send("response.create")
    await caller.event("output_audio_buffer.started")
    first = (await caller.packets(10))[0]
    caller.send("output_audio_buffer.clear")
    await caller.event("output_audio_buffer.cleared")
    count = len(caller.media)

    caller.send("response.create")
    second = (await caller.packets(count + 1))[count]

    assert rtp.marker(second.packet)
    assert rtp.sequence(second.packet) == (rtp.sequence(caller.media[count - 1].packet) + 1) % 2**16
    ticks = (rtp.timestamp(second.packet) - rtp.timestamp(first.packet)) % 2**32
    assert abs(ticks / 48_000 - (second.at - first.at)) < 0.05


async def test_speech_into_an_answer_silences_it_on_the_wire(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    await caller.call()
    caller.send("response.create")
    await caller.packets(20)

    await caller.speak(voice("interrupt")[45:120])
    truncated = await caller.event("conversation.item.truncated")
    count = len(caller.media)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await caller.packets(count + 1)

    assert len(caller.media) == count
    assert abs(truncated["audio_end_ms"] - count * 20) <= 60
    cancelled = await caller.event("response.done")
    assert cancelled["response"]["status_details"]["reason"] == "turn_detected"


async def test_call_with_pcmu_alone_is_heard_and_answered_in_pcmu(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    await caller.call(ONLY_PCMU)

    caller.send("response.create")
    await caller.packets(40)

    assert "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" in caller.answer
    assert all(len(arrived.payload) == 160 for arrived in caller.media)
    assert [rtp.payload_type(arrived.packet) for arrived in caller.media[:1]] == [0]
    first, second = (rtp.timestamp(arrived.packet) for arrived in caller.media[:2])
    assert (second - first) % 2**32 == 160
    assert has_chime(decoded_pcmu(arrived.payload for arrived in caller.media), 8000)


async def test_call_with_inactive_audio_talks_in_text_alone(open_caller: OpenCaller) -> None:
    offer = replaced(CHROME, "a=sendrecv", "a=inactive")
    caller = await open_caller()
    await caller.call(offer)

    caller.send("session.update", session=TEXT)
    caller.send("response.create")
    done = await caller.event("response.output_text.done")

    assert "a=inactive\r\n" in caller.answer
    assert "a=ssrc" not in caller.answer
    assert done["text"].startswith("Hello!")
    assert caller.media == []


async def test_call_with_dcid_gets_its_events_on_the_negotiated_channel(
    open_caller: OpenCaller,
) -> None:
    caller = await open_caller()

    await caller.call(query="?dcid=7", dcid=7)
    caller.send("session.update", session=TEXT)

    updated = await caller.event("session.updated")
    assert updated["session"]["output_modalities"] == ["text"]


async def test_hangup_ends_the_call_once(open_caller: OpenCaller, simulator: Simulator) -> None:
    caller = await open_caller()
    await caller.call()

    statuses = [await caller.hang_up(), await caller.hang_up()]
    await ended(caller)
    await until_no_calls(simulator)

    assert statuses == [200, 404]


async def test_call_when_the_client_closes_is_freed(
    open_caller: OpenCaller, simulator: Simulator
) -> None:
    caller = await open_caller()
    await caller.call()

    await caller.leg.close()

    await until_no_calls(simulator)


async def test_call_of_another_key_is_found_by_nobody_else(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    await caller.call()

    path = f"{caller.url}/realtime/calls/{caller.call_id}/hangup"
    async with caller.http.post(path, headers={"Authorization": "Bearer sk-other"}) as response:
        assert response.status == 404

    caller.send("session.update", session=TEXT)
    assert await caller.event("session.updated")


async def test_sideband_sees_the_events_and_sends_its_own(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    await caller.call()
    url = f"{caller.url}/realtime?call_id={caller.call_id}"

    async with caller.http.ws_connect(url) as sideband:
        await sideband.send_json({"type": "session.update", "session": TEXT})
        mirrored = await sideband.receive_json(timeout=TIMEOUT_S)
        seen = await caller.event("session.updated")
        assert await caller.hang_up() == 200
        closing = await sideband.receive(timeout=TIMEOUT_S)

    assert mirrored == seen
    assert closing.type is aiohttp.WSMsgType.CLOSE
    assert closing.extra == "hangup"


async def test_call_at_its_longest_duration_is_told_and_ended(open_caller: OpenCaller) -> None:
    caller = await open_caller()

    await caller.call(query="?fault=expire-after=0.5")
    error = await caller.event("error")
    await ended(caller)

    assert error["error"]["code"] == "session_expired"


async def test_call_with_close_after_ends_without_a_word(open_caller: OpenCaller) -> None:
    caller = await open_caller()

    await caller.call(query="?fault=close-after=0.1")
    await ended(caller)

    assert [event["type"] for event in caller.events] == ["session.created"]


async def test_call_with_no_ice_is_answered_and_never_connects(
    open_caller: OpenCaller, simulator: Simulator
) -> None:
    simulator.options = replace(simulator.options, faults=Faults.parse("no-ice"))
    caller = await open_caller()
    status, answer, _ = await caller.post(await caller.offer())
    answered = Description.parse_answer(answer, Description.parse(CHROME))

    with pytest.raises(LegFailed) as failed:
        await caller.leg.connect(answered.transport, answered.sctp, timeout_s=0.3)

    assert (status, failed.value.reason) == (201, "ice_timeout")
    assert simulator.live_calls == 1


async def test_call_with_no_udp_connects_by_ice_tcp(open_caller: OpenCaller) -> None:
    caller = await open_caller()

    await caller.call(query="?fault=no-udp")
    caller.send("response.create")
    await caller.packets(5)

    assert re.search(r"a=candidate:\S+ 1 tcp .* typ host tcptype passive ufrag ", caller.answer)
    assert caller.leg.stats().remote_address == re.sub(
        r"(?s).* 1 tcp \d+ (\S+) (\d+) .*", r"\1:\2", caller.answer
    )


@pytest.mark.parametrize("faults", ["", "no-ice"])
async def test_call_that_nobody_connects_to_is_freed_in_time(
    open_caller: OpenCaller, simulator: Simulator, faults: str
) -> None:
    simulator.options = replace(
        simulator.options, connect_timeout_s=0.1, faults=Faults.parse(faults)
    )
    caller = await open_caller()

    status, _, _ = await caller.post(await caller.offer())
    await until_no_calls(simulator)

    assert status == 201


async def test_call_is_hung_up_while_it_still_connects(
    open_caller: OpenCaller, simulator: Simulator
) -> None:
    caller = await open_caller()
    _, _, headers = await caller.post(await caller.offer())
    caller.call_id = headers["Location"].rpartition("/")[2]

    assert await caller.hang_up() == 200

    await until_no_calls(simulator)


async def test_call_without_data_channels_goes_on_without_events(
    open_caller: OpenCaller,
) -> None:
    audio_alone = replaced(CHROME.partition("m=application")[0], "BUNDLE 0 1", "BUNDLE 0")
    caller = await open_caller()
    await caller.call(audio_alone, opens_channel=False)
    url = f"{caller.url}/realtime?call_id={caller.call_id}"

    async with caller.http.ws_connect(url) as sideband:
        for _ in range(MAX_WAITING_EVENTS + 1):
            await sideband.send_str("{}")
        for _ in range(MAX_WAITING_EVENTS + 1):
            await sideband.receive_json(timeout=TIMEOUT_S)

    assert await caller.hang_up() == 200


async def test_call_whose_channel_never_opens_is_ended_with_a_bounded_queue(
    open_caller: OpenCaller, simulator: Simulator
) -> None:
    caller = await open_caller()
    await caller.call(opens_channel=False)
    url = f"{caller.url}/realtime?call_id={caller.call_id}"

    async with caller.http.ws_connect(url) as sideband:
        for _ in range(MAX_WAITING_EVENTS):  # session.created waits, too
            await sideband.send_str("{}")

        await until_no_calls(simulator)


async def test_call_with_drop_loses_about_that_share_of_packets(open_caller: OpenCaller) -> None:
    caller = await open_caller()

    await caller.call(query="?fault=drop=50")
    caller.send("response.create")
    await caller.packets(30)

    sequences = [rtp.sequence(arrived.packet) for arrived in caller.media]
    sent = (sequences[-1] - sequences[0]) % 2**16 + 1
    assert 0.25 < 1 - len(sequences) / sent < 0.75


async def test_events_larger_than_the_client_takes_become_an_error_event(
    open_caller: OpenCaller,
) -> None:
    caller = await open_caller()
    await caller.call(size=8192)

    caller.send("session.update", session={"type": "realtime", "instructions": "x" * 5000})
    assert await caller.event("session.updated")
    tools = [{"type": "function", "name": f"tool_{n}", "description": "y" * 900} for n in range(7)]
    caller.send("session.update", session={"type": "realtime", "tools": tools})
    error = await caller.event("error")

    assert error["error"]["code"] == "event_too_large"
    caller.send("response.cancel")
    assert await caller.event("error", nth=2), "the call goes on"


async def test_reports_tell_what_was_received_and_sent(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    await caller.call()
    await caller.speak(voice("weather")[:40])
    caller.send("response.create")
    await caller.packets(120)  # 2.4 s and more: the first report goes after 2.5 s

    (report,) = rtcp.parse(await caller.report())
    assert isinstance(report, rtcp.SenderReport)
    assert 100 <= report.packet_count <= len(caller.media) + 1
    (block,) = report.blocks
    assert (block.ssrc, block.cumulative_lost, block.fraction_lost) == (0xCA11, 0, 0.0)


async def test_load_mode_replays_at_50_a_second_and_echoes_what_is_marked(
    open_caller: OpenCaller, simulator: Simulator
) -> None:
    simulator.options = replace(simulator.options, load=True)
    caller = await open_caller()
    await caller.call()
    start = (await caller.packets(5))[0].at
    mark = MARK + b"12345678"

    for count in range(10, 50, 2):
        await caller.packets(count)
        await caller.speak([mark])
    caller.send("relay.echo", number=1)
    echoed = await caller.event("relay.echo")
    arrived = await caller.packets(60)

    assert echoed == {"type": "relay.echo", "number": 1}
    assert [entry.payload for entry in arrived].count(mark) == 20
    packets = [entry.packet for entry in arrived]
    assert len({rtp.ssrc(packet) for packet in packets}) == 1
    sequences = [rtp.sequence(packet) for packet in packets]
    assert [(b - a) % 2**16 for a, b in pairwise(sequences)] == [1] * (len(packets) - 1)
    assert abs(arrived[59].at - start - 59 * 0.02) < 0.1  # each echo took a stored one's place
    caller.send("session.update", session=TEXT)
    assert await caller.event("session.updated")


async def test_stock_aiortc_client_connects_and_hears_the_answer(
    open_caller: OpenCaller,
) -> None:
    caller = await open_caller()  # for its HTTP alone
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    events: asyncio.Queue[str] = asyncio.Queue()
    channel = peer.createDataChannel("oai-events")
    channel.on("message", lambda message: events.put_nowait(json.loads(message)["type"]))
    peer.addTrack(AudioStreamTrack())
    tracks: asyncio.Queue[Any] = asyncio.Queue()
    peer.on("track", tracks.put_nowait)

    await peer.setLocalDescription(await peer.createOffer())
    status, answer, _ = await caller.post(peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    async with asyncio.timeout(TIMEOUT_S):
        assert await events.get() == "session.created"
        channel.send(json.dumps({"type": "response.create"}))
        while await events.get() != "output_audio_buffer.started":
            pass
        track = await tracks.get()
        frames = [await track.recv() for _ in range(5)]
    await peer.close()

    assert status == 201
    assert all(frame.samples == 960 for frame in frames)


async def test_simulator_stopped_in_the_middle_of_calls_leaves_nothing(
    open_caller: OpenCaller, simulator: Simulator
) -> None:
    callers = [await open_caller() for _ in range(3)]
    await asyncio.gather(*(caller.call() for caller in callers))
    callers[0].send("response.create")
    await callers[0].packets(3)
    url = f"{callers[0].url}/realtime?call_id={callers[0].call_id}"

    async with callers[0].http.ws_connect(url):
        async with asyncio.timeout(3.0):
            await simulator.stop()
            await simulator.stop()
        await asyncio.gather(*(ended(caller) for caller in callers))

    assert simulator.live_calls == 0


async def test_ephemeral_key_brings_its_session_to_the_call(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    session = {"type": "realtime", "model": "gpt-realtime-mini", "instructions": "Whisper."}
    path = f"{caller.url}/realtime/client_secrets"
    async with caller.http.post(path, json={"session": session}) as response:
        minted = await response.json()
    assert response.status == 200

    caller.http.headers["Authorization"] = f"Bearer {minted['value']}"
    await caller.call()

    created = caller.all("session.created")[0]["session"]
    assert created["instructions"] == minted["session"]["instructions"] == "Whisper."
    assert created["model"] == "gpt-realtime-mini"
    caller.http.headers["Authorization"] = f"Bearer {KEY}"
    assert await caller.hang_up() == 200, "the key behind the token owns the call"


async def test_call_when_it_is_answered_takes_checks_already(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    async with contextlib.AsyncExitStack() as stack:
        sockets = Sockets(IceOptions(bind=("127.0.0.1",)))
        stack.callback(sockets.close)
        sockets.open()
        calls = Calls(SimulatorOptions(), await Voices.load(), sockets)
        stack.push_async_callback(calls.close)

        call, _ = await calls.create(CallAsk(await caller.offer(), KEY, "m", (), None, Faults()))
        state = call.leg.state

    assert state is LegState.CONNECTING, "the client's first check would be lost for 0.5 s"
