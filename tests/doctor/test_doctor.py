"""`relay doctor` against the real simulator, and against what does not work."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.core.iceserver import IceServer
from relay.doctor import Finding, Status, examine, servers
from relay.settings import Settings
from relay.simulator import Simulator, SimulatorOptions
from relay.simulator.faults import Faults


@pytest.fixture
async def simulator() -> AsyncIterator[str]:
    simulator = Simulator(SimulatorOptions())
    url = await simulator.start()
    yield url
    await simulator.stop()


def settings(url: str, **upstream: Any) -> Settings:
    return Settings.model_validate(
        {
            "http": {"port": 0},
            "ice": {"bind": ["127.0.0.1"]},
            "upstream": {"provider": "simulator", "url": url, **upstream},
        }
    )


async def found(wanted: Settings) -> dict[str, Finding]:
    return {finding.check: finding async for finding in examine(wanted)}


async def test_doctor_of_a_machine_that_works_finds_nothing_fatal(simulator: str) -> None:
    findings = await found(settings(simulator))

    assert {f.check for f in findings.values() if f.status is Status.GOOD} >= {
        "http_port",
        "addresses",
        "upstream_api",
        "upstream_media_udp",
        "upstream_media_tcp",
        "clock",
    }
    assert not [f for f in findings.values() if f.status is Status.FATAL]


async def test_doctor_tries_only_the_transport_that_is_set(simulator: str) -> None:
    findings = await found(settings(simulator, transport="tcp"))

    assert "upstream_media_udp" not in findings
    assert findings["upstream_media_tcp"].status is Status.GOOD


async def test_doctor_whose_upstream_is_not_there_says_so() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/v1"

    findings = await found(settings(url))

    assert findings["upstream_api"].status is Status.FATAL
    assert "upstream.url" in findings["upstream_api"].advice


async def test_doctor_whose_media_does_not_connect_finds_it_fatal() -> None:
    simulator = Simulator(SimulatorOptions(faults=Faults.parse("no-ice")))
    url = await simulator.start()
    try:
        findings = await found(settings(url, transport="udp"))
    finally:
        await simulator.stop()

    assert findings["upstream_media_udp"].status is Status.WARNING
    assert findings["upstream_media"].status is Status.FATAL


async def test_doctor_names_a_media_port_that_is_taken(simulator: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        wanted = settings(simulator)
        taken = wanted.model_copy(
            update={"ice": wanted.ice.model_copy(update={"udp_port": sock.getsockname()[1]})}
        )

        findings = await found(taken)

    assert findings["media_port"].status is Status.FATAL


async def test_stun_and_turn_servers_that_are_silent_are_told_with_advice() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        stun = IceServer.parse(f"stun:127.0.0.1:{port}")
        turn = IceServer.parse(f"turn:127.0.0.1:{port}", username="u", credential="c")

        told = await asyncio.gather(servers.stun(stun), servers.turn(turn, None))

    assert [finding.status for finding in told] == [Status.WARNING, Status.WARNING]
    assert all(finding.advice for finding in told)
