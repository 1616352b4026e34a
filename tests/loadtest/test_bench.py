"""The benchmark's own parts: what measures must be right before it is believed."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import time
from array import array
from pathlib import Path

import pytest

from benchmarks.beeps import BeepVoice
from benchmarks.bench import Measurements
from benchmarks.control import Reading
from benchmarks.figures import Figure, Target, Verdict, markdown, table
from benchmarks.forwarder import forwarding
from benchmarks.machine import Site
from benchmarks.plan import QUICK
from benchmarks.process import (
    Footprint,
    MeasurementError,
    free_port,
    python,
    running,
    wait_for_line,
    wait_for_port,
)
from benchmarks.result import disturbed, figures_of, measured, to_json, yardsticks_of
from relay.loadtest.model import LoadModel
from relay.loadtest.window import Window

NEEDS_GCC = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")


# --- processes --------------------------------------------------------------------------------


async def test_running_process_is_measured_and_ended(tmp_path: Path) -> None:
    script = "import time; print('here', flush=True); time.sleep(60)"

    async with running("sleeper", python("-c", script), core=0, log_dir=tmp_path) as process:
        assert await wait_for_line(process, "here", timeout_s=10) == "here"
        footprint = process.footprint()
        cpu_s = process.cpu_s()
    with pytest.raises(MeasurementError, match="sleeper ended with status -15"):
        process.require_alive()

    assert 0 < cpu_s < 10
    assert footprint.threads == 1
    assert (footprint.udp_sockets, footprint.tcp_connections) == (0, 0)
    assert 1 < footprint.pss_mb < footprint.rss_mb < 200


async def test_cpu_of_a_busy_process_is_the_time_it_ran(tmp_path: Path) -> None:
    script = """
import time
print("busy", flush=True)
while time.process_time() < 0.3: pass
print("done", time.process_time(), flush=True)
time.sleep(60)
"""

    async with running("busy", python("-c", script), core=0, log_dir=tmp_path) as process:
        line = await wait_for_line(process, "done", timeout_s=30)
        cpu_s = process.cpu_s()

    assert cpu_s == pytest.approx(float(line.split()[1]), abs=0.02)


async def test_process_that_dies_is_a_failed_measurement_with_its_last_words(
    tmp_path: Path,
) -> None:
    command = python("-c", "raise SystemExit('no port is free')")

    async with running("dying", command, core=0, log_dir=tmp_path) as process:
        with pytest.raises(MeasurementError, match="dying ended with status 1: no port is free"):
            await wait_for_port(process, free_port(), timeout_s=10)


async def test_process_that_never_listens_is_a_failed_measurement(tmp_path: Path) -> None:
    command = python("-c", "import time; time.sleep(60)")

    async with running("deaf", command, core=0, log_dir=tmp_path) as process:
        with pytest.raises(MeasurementError, match="deaf did not listen on port"):
            await wait_for_port(process, free_port(), timeout_s=0.2)


# --- the forwarder ----------------------------------------------------------------------------


@NEEDS_GCC
async def test_forwarder_passes_packets_both_ways_and_keeps_flows_apart(tmp_path: Path) -> None:
    with udp_socket() as upstream, udp_socket() as first, udp_socket() as second:
        port = upstream.getsockname()[1]
        async with forwarding(Site(tmp_path), "f", port, core=None) as (_, listening):
            for client, text in ((first, b"one"), (second, b"two")):
                client.sendto(text, ("127.0.0.1", listening))
            received = dict([upstream.recvfrom(100), upstream.recvfrom(100)])
            for text, address in received.items():
                upstream.sendto(text + b" back", address)

            assert first.recv(100) == b"one back"
            assert second.recv(100) == b"two back"
    assert len(set(received.values())) == 2


@NEEDS_GCC
async def test_forwarder_told_to_lose_everything_passes_nothing_until_told_to_stop(
    tmp_path: Path,
) -> None:
    with udp_socket() as upstream, udp_socket() as client:
        port = upstream.getsockname()[1]
        async with forwarding(Site(tmp_path), "f", port, core=None, loss_permille=1000) as (
            process,
            listening,
        ):
            client.sendto(b"first", ("127.0.0.1", listening))
            assert upstream.recv(100) == b"first"

            process.signal(signal.SIGUSR1)
            await until_lost(client, upstream, listening)
            process.signal(signal.SIGUSR2)
            await until_passed(client, upstream, listening)


# --- beeps ------------------------------------------------------------------------------------


def test_beep_voice_hears_its_beep_once_and_knows_when_it_was_sent() -> None:
    voice = BeepVoice(0, LoadModel(calls=1, marked_per_s=0.5))
    heard: list[tuple[int, int]] = []
    sent: dict[int, int] = {}

    for turn in range(201):  # the last beep comes back a turn later
        before_ns = time.monotonic_ns()
        packet, is_marked = voice.next()
        if is_marked:
            sent[turn] = before_ns
        if (sent_ns := voice.heard(packet)) is not None:
            heard.append((turn, sent_ns))

    assert len(sent) == 2
    assert len(heard) == 2
    for (sent_turn, before_ns), (heard_turn, sent_ns) in zip(sent.items(), heard, strict=True):
        assert 0 <= heard_turn - sent_turn <= 1  # the codec's own delay
        assert 0 <= sent_ns - before_ns < 1e8


def test_beep_voice_hearing_what_is_no_rtp_is_none() -> None:
    assert BeepVoice(0, LoadModel(calls=1)).heard(b"no packet") is None


# --- figures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (None, Verdict.FAILED),
        (1.0, Verdict.AIM),
        (1.1, Verdict.MUST),
        (2.0, Verdict.MUST),
        (2.1, Verdict.MISSED),
    ],
)
def test_figure_with_a_target_says_what_it_reached(value: float | None, verdict: Verdict) -> None:
    figure = Figure("some figure", "ms", value, Target(must=2.0, aim=1.0))

    assert figure.verdict is verdict
    assert table([figure]).splitlines()[1].endswith(verdict)
    assert f"| ≤ 2 | ≤ 1 | {verdict} |" in markdown([figure])


def test_figures_of_nothing_measured_say_why_and_none_is_reached() -> None:
    found = Measurements(failures={"relay": "the relay ended with status 1"})

    rows = figures_of(found, QUICK)

    assert {figure.verdict for figure in rows} == {Verdict.FAILED}
    assert any("status 1" in figure.note for figure in rows)
    assert not any("churn" in figure.note for figure in rows)
    assert 0 < len(measured(rows)) < len(rows)


def test_figures_of_a_run_compare_the_relay_with_its_yardsticks() -> None:
    found = a_run()

    rows = {figure.name: figure for figure in figures_of(found, QUICK)}
    yardsticks = {figure.name: figure for figure in yardsticks_of(found, QUICK)}

    cpu = rows["CPU per call-second at 50 calls, of the bare forwarder's"]
    assert cpu.value == pytest.approx(3.0 / 1.0)
    assert cpu.verdict is Verdict.MUST
    assert rows["memory a call (PSS, 50 calls)"].value == pytest.approx(0.5)
    assert rows["10 calls one after another: left behind"].value == 1
    assert rows["10 calls one after another: RSS growth"].value == pytest.approx(2.0)
    setup = rows["POST to answer beyond the upstream's own time, p95, idle"]
    assert setup.value == pytest.approx(3.0)
    assert yardsticks["bare forwarder: CPU per call-second at 50"].value == pytest.approx(1.0)
    assert rows["added round trip, 50 calls, p50"].value == pytest.approx(0.0, abs=50)
    assert to_json(found)["failures"] == {}


def test_run_with_others_at_work_says_which_windows_they_disturbed() -> None:
    found = Measurements(readings={"relay 50": reading(1.0, others_share=0.3)})

    assert disturbed(found) == ["relay 50: 30% of the machine was used by others"]


def a_run() -> Measurements:
    before = {"tasks": 5, "threads": 2, "udp sockets": 1, "connections": 4, "rss_mb": 80.0}
    after = before | {"tasks": 6, "connections": 8, "rss_mb": 82.0}
    return Measurements(
        readings={
            "forwarder 50": reading(1.0),
            "forwarder 50 again": reading(1.1),
            "relay 50": reading(3.0, pss_mb=65.0),
            "direct 50": reading(1.0),
        },
        empty={"relay": footprint(40.0)},
        posts={"idle": [{"p50": 2.0, "p95": 9.0}, {"p50": 3.0, "p95": 5.0, "count": 30}]},
        churn={"calls": 10, "before": before, "halfway": before, "after": after},
    )


def reading(cpu_ms: float, *, pss_mb: float = 1.0, others_share: float = 0.0) -> Reading:
    window = Window()
    window.echo_received(window.start_ns)
    return Reading(
        load=window.result(lateness_ns=array("q"), skipped=0),
        cpu_ms_per_call_s=cpu_ms,
        footprint=footprint(pss_mb),
        others_share=others_share,
    )


def footprint(pss_mb: float) -> Footprint:
    return Footprint(pss_mb=pss_mb, rss_mb=pss_mb, threads=1, udp_sockets=1, tcp_connections=2)


def udp_socket() -> socket.socket:
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.bind(("127.0.0.1", 0))
    endpoint.settimeout(5)
    return endpoint


async def until_lost(client: socket.socket, upstream: socket.socket, port: int) -> None:
    """Sends until one does not arrive: the signal takes effect when it is delivered."""
    upstream.settimeout(0.1)
    async with asyncio.timeout(10):
        while True:
            client.sendto(b"lost?", ("127.0.0.1", port))
            await asyncio.sleep(0)
            try:
                upstream.recv(100)
            except TimeoutError:
                return


async def until_passed(client: socket.socket, upstream: socket.socket, port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            client.sendto(b"passed?", ("127.0.0.1", port))
            await asyncio.sleep(0)
            try:
                assert upstream.recv(100) == b"passed?"
            except TimeoutError:
                continue
            return
