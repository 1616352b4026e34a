"""The chains that are measured: client → something → upstream, each part its own process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .forwarder import forwarding
from .machine import Site
from .process import Measured, MeasurementError, free_port, python, running, wait_for_port

_START_TIMEOUT_S = 20.0
_PROBE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """A process with an HTTP port, and perhaps one UDP port that is known before its answer."""

    process: Measured
    http_port: int
    udp_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"


@contextlib.asynccontextmanager
async def simulator(site: Site) -> AsyncIterator[Server]:
    """The upstream in `--load` mode."""
    port = free_port()
    command = python("-m", "relay.simulator", "--load", "--port", str(port))
    async with running("simulator", command, core=site.load_core, log_dir=site.folder) as process:
        await wait_for_port(process, port, timeout_s=_START_TIMEOUT_S)
        yield Server(process, port)


@contextlib.asynccontextmanager
async def relay(
    site: Site, upstream: Server, recordings: Path | None = None
) -> AsyncIterator[Server]:
    """`relay serve` as it is, with the probe around it and no limit on calls a minute. With
    `recordings` it keeps calls there, audio and all."""
    port, udp_port = free_port(), free_port(socket.SOCK_DGRAM)
    env = {
        "RELAY_HTTP__PORT": str(port),
        "RELAY_UPSTREAM__PROVIDER": "simulator",
        "RELAY_UPSTREAM__URL": f"{upstream.url}/v1",
        "RELAY_UPSTREAM__API_KEY": "sk-bench",
        "RELAY_ICE__BIND": "127.0.0.1",
        "RELAY_ICE__UDP_PORT": str(udp_port),
        "RELAY_POLICY__CALLS_PER_MINUTE": "0",
        "RELAY_POLICY__CALLS_PER_MINUTE_PER_ADDRESS": "0",
    }
    if recordings is not None:
        env |= {
            "RELAY_RECORDING__MODE": "audio",
            "RELAY_RECORDING__DIRECTORY": str(recordings),
            "RELAY_STORE__URL": f"sqlite:///{recordings / 'index.db'}",
        }
    command = python("-m", "benchmarks.probe", str(_probe_file(site.folder)), "serve")
    async with running(
        "relay", command, core=site.relay_core, log_dir=site.folder, env=env
    ) as process:
        await wait_for_port(process, port, timeout_s=_START_TIMEOUT_S)
        yield Server(process, port, udp_port)


@contextlib.asynccontextmanager
async def obvious_relay(site: Site, upstream: Server) -> AsyncIterator[Server]:
    port = free_port()
    command = python("-m", "benchmarks.obvious", str(port), f"{upstream.url}/v1/realtime/calls")
    async with running("obvious", command, core=site.relay_core, log_dir=site.folder) as process:
        await wait_for_port(process, port, timeout_s=_START_TIMEOUT_S)
        yield Server(process, port)


@contextlib.asynccontextmanager
async def echo_behind_loss(
    site: Site, loss_permille: int
) -> AsyncIterator[tuple[Server, Measured]]:
    """The echoing upstream, and the network in front of it that can be told to lose packets."""
    port, udp_port = free_port(), free_port(socket.SOCK_DGRAM)
    async with forwarding(
        site,
        "upstream network",
        udp_port,
        core=site.load_core,
        loss_permille=loss_permille,
    ) as (network, network_port):
        command = python("-m", "benchmarks.echo", *map(str, (port, udp_port, network_port)))
        async with running("echo", command, core=site.load_core, log_dir=site.folder) as process:
            await wait_for_port(process, port, timeout_s=_START_TIMEOUT_S)
            yield Server(process, port), network


async def probed(server: Server) -> dict[str, Any]:
    """What the relay knows of itself: its tasks, counted and by name."""
    file = _probe_file(server.process.log.parent)
    file.unlink(missing_ok=True)
    server.process.signal(signal.SIGUSR1)
    deadline = asyncio.get_running_loop().time() + _PROBE_TIMEOUT_S
    while not file.exists():  # no event tells
        server.process.require_alive()
        if asyncio.get_running_loop().time() > deadline:
            raise MeasurementError("the relay did not answer the probe")
        await asyncio.sleep(0.02)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _probe_file(folder: Path) -> Path:
    return folder / "probe.json"
