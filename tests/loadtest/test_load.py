"""The load client against the simulator, both real, over loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner

from relay.cli.loadtest import loadtest
from relay.core.sdp import Description, Fingerprint, Setup, Transport
from relay.loadtest.load import Load
from relay.loadtest.model import LoadModel
from relay.loadtest.offer import load_offer
from relay.loadtest.report import LoadReport
from relay.loadtest.run import LoadOptions, run_load
from relay.loadtest.speech import stored_payloads
from relay.loadtest.voice import StampedVoice, Voice
from relay.simulator.options import SimulatorOptions
from relay.simulator.server import Simulator

PAYLOADS = stored_payloads()


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    async with Simulator(SimulatorOptions(load=True)) as url:
        yield url


def load_of(model: LoadModel, url: str) -> Load:
    def voice_of(slot: int) -> Voice:
        return StampedVoice(slot, model, PAYLOADS)

    return Load(url, model, voice_of, api_key="sk-test")


async def until_everything_is_echoed(load: Load) -> None:
    """Some marks and an event of every call; the test's own timeout bounds it."""
    while True:
        window = load.end_window()
        if window.marks_echoed >= 4 and window.events_echoed >= 2:
            return
        await asyncio.sleep(0.02)


def test_offer_of_a_load_is_what_the_relay_reads() -> None:
    fingerprint = Fingerprint("sha-256", ":".join(["AB"] * 32))
    transport = Transport("ufra", "p" * 22, (fingerprint,), Setup.ACTPASS)

    offer = Description.parse(load_offer(transport, number=7, ssrc=99))

    assert offer.transport.ice_ufrag == "ufra"
    assert offer.transport.fingerprints == (fingerprint,)
    assert [section.kind for section in offer.sections] == ["audio", "application"]
    assert "a=ssrc:99 cname:load" in offer.sections[0].lines
    assert offer.sctp is not None


async def test_load_of_two_calls_talks_with_the_upstream_and_leaves_nothing(upstream: str) -> None:
    load = load_of(LoadModel(calls=2, event_interval_s=0.2, opened_per_s=100), upstream)

    openings = await load.open()
    assert (openings.opened, openings.failures.total()) == (2, 0)
    load.begin_window()
    async with asyncio.timeout(20):
        await until_everything_is_echoed(load)
    window, calls_up = load.end_window(), load.calls_up
    await load.close()
    await load.close()

    assert calls_up == 2
    assert window.packets_sent > 0
    assert window.packets_received > 0
    assert window.send_failures == 0
    assert window.round_trip_ms is not None
    assert window.event_round_trip_ms is not None


async def test_load_refused_by_the_upstream_counts_the_reason(upstream: str) -> None:
    load = load_of(LoadModel(calls=3, opened_per_s=100), f"{upstream}/realtime/calls?model=nope")

    openings = await load.open()
    await load.close()

    assert openings.opened == 0
    assert openings.failures.total() == 3
    assert all(reason.startswith("status_4") for reason in openings.failures)


async def test_load_answered_with_nonsense_counts_it_and_closes(unused_tcp_port: int) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nv=1")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", unused_tcp_port)
    load = load_of(LoadModel(calls=1, opened_per_s=100), f"http://127.0.0.1:{unused_tcp_port}")

    openings = await load.open()
    await load.close()
    server.close()

    assert dict(openings.failures) == {"answer_invalid": 1}


async def test_run_load_with_a_direct_url_tells_what_is_added(upstream: str) -> None:
    told: list[tuple[str, int, int]] = []
    model = LoadModel(calls=1, event_interval_s=0.2, opened_per_s=100)
    options = LoadOptions(upstream, model, seconds=1, api_key="sk-test", direct_url=upstream)

    report = await run_load(options, PAYLOADS, lambda *step: told.append(step))

    found = report.to_json()
    assert (found["sessions"], found["failed"]) == (1, 0)
    assert found["packets_sent"] > 0
    assert found["packets_received"] > 0
    assert set(found["added_latency_ms"]) == {"p50", "p90", "p95", "p99"}
    for key in ("setup_ms", "connected_ms", "round_trip_ms", "event_latency_ms"):
        assert found[key]["p50"] > 0
    assert found["load_model"]["calls"] == 1
    assert ("opening", 1, 1) in told
    assert ("measuring", 0, 1) in told


async def test_report_of_failed_and_lost_calls_says_so(upstream: str) -> None:
    load = load_of(LoadModel(calls=2, opened_per_s=100), f"{upstream}/realtime/calls?model=nope")
    openings = await load.open()
    window = load.end_window()
    await load.close()

    report = LoadReport("http://relay", LoadModel(calls=2), openings, window, lost=1)

    assert report.failed == 3
    assert report.to_json()["failures"]["lost"] == 1
    assert "lost" in str(report)
    assert report.to_json()["added_latency_ms"] is None


def test_loadtest_command_of_no_url_is_wrong_usage() -> None:
    outcome = CliRunner().invoke(loadtest, ["ftp://example.org"])

    assert outcome.exit_code == 2
    assert "is not an http:// or https:// URL" in outcome.output


def test_loadtest_command_that_reaches_nobody_fails_with_a_report(unused_tcp_port: int) -> None:
    arguments = [f"http://127.0.0.1:{unused_tcp_port}", "--sessions", "1", "--seconds", "1"]

    outcome = CliRunner().invoke(loadtest, [*arguments, "--json"])

    assert outcome.exit_code == 1
    report = json.loads(outcome.stdout)
    assert (report["sessions"], report["failed"]) == (1, 1)
    assert report["failures"] == {"no_answer": 1}
    assert outcome.stderr == ""  # nobody watches, so nothing is shown
