"""The bare UDP forwarder: built when it is needed, run as yardstick or as a lossy network."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from .machine import Site
from .process import Measured, MeasurementError, free_port, running, wait_for_line

_SOURCE = Path(__file__).with_name("forwarder.c")


async def build(cache: Path) -> Path:
    """Compiles the forwarder into the folder `cache`, unless a newer one is there."""
    binary = cache / "forwarder"
    if binary.exists() and binary.stat().st_mtime > _SOURCE.stat().st_mtime:
        return binary
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise MeasurementError("no C compiler: install gcc to measure the bare forwarder")
    process = await asyncio.create_subprocess_exec(
        *(compiler, "-O2", "-Wall", "-o", str(binary), str(_SOURCE)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    if process.returncode:
        raise MeasurementError(f"{compiler} failed: {errors.decode(errors='replace')[:300]}")
    return binary


@contextlib.asynccontextmanager
async def forwarding(
    site: Site,
    name: str,
    upstream_port: int,
    *,
    core: int | None,
    loss_permille: int = 0,
) -> AsyncIterator[tuple[Measured, int]]:
    """A running forwarder and the UDP port it listens on."""
    binary = await build(site.folder)
    port = free_port(socket.SOCK_DGRAM)
    command = [str(binary), str(port), str(upstream_port), str(loss_permille)]
    async with running(name, command, core=core, log_dir=site.folder) as process:
        await wait_for_line(process, "ready", timeout_s=5)
        yield process, port
