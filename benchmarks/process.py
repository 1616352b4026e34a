"""The processes of a run: started on their core, measured from outside, ended for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from .machine import pinned_to

_END_TIMEOUT_S = 10.0


class MeasurementError(Exception):
    """A figure could not be measured; the message says why and is printed in its place."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds at one moment; children counted in. Listeners are not counted."""

    pss_mb: float
    rss_mb: float
    threads: int
    udp_sockets: int
    tcp_connections: int


class Measured:
    """A running process (with its children) seen through /proc."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._ps = psutil.Process(process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def pipes(self) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
        """Its standard input and output, of a process that was started `piped`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def cpu_s(self) -> float:
        """What the kernel charged for the threads that live, user and system time together.

        From schedstat, which counts nanoseconds: `stat` counts ticks of 10 ms, too coarse for a
        forwarder that uses a few hundred of them in a window.
        """
        tasks = (Path(f"/proc/{process.pid}/task") for process in self._family())
        return sum(_on_cpu_s(task) for folder in tasks for task in folder.iterdir())

    def footprint(self) -> Footprint:
        family = self._family()
        memory = [process.memory_full_info() for process in family]
        return Footprint(
            pss_mb=sum(m.pss for m in memory) / 2**20,
            rss_mb=sum(m.rss for m in memory) / 2**20,
            threads=sum(process.num_threads() for process in family),
            udp_sockets=sum(len(process.net_connections("udp")) for process in family),
            tcp_connections=sum(_count_connections(process) for process in family),
        )

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def require_alive(self) -> None:
        if self._process.returncode is not None:
            raise MeasurementError(
                f"{self.name} ended with status {self._process.returncode}: {self._last_words()}"
            )

    async def end(self) -> None:
        """SIGTERM, then SIGKILL; returns when the process is gone."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _END_TIMEOUT_S)
        except TimeoutError:
            for process in self._family():
                process.kill()
            await self._process.wait()

    def _family(self) -> list[psutil.Process]:
        try:
            return [self._ps, *self._ps.children(recursive=True)]
        except psutil.NoSuchProcess as error:
            raise MeasurementError(f"{self.name} is gone: {self._last_words()}") from error

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"


def _on_cpu_s(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
        return 0.0


def _count_connections(process: psutil.Process) -> int:
    return sum(c.status != psutil.CONN_LISTEN for c in process.net_connections("tcp"))


def stopped(processes: Sequence[Measured]) -> contextlib.AbstractContextManager[None]:
    """They stand still within the block."""
    return _between(processes, signal.SIGSTOP, signal.SIGCONT)


def resumed(processes: Sequence[Measured]) -> contextlib.AbstractContextManager[None]:
    """Within a block in which they are stopped: they run."""
    return _between(processes, signal.SIGCONT, signal.SIGSTOP)


@contextlib.contextmanager
def _between(
    processes: Sequence[Measured], before: signal.Signals, after: signal.Signals
) -> Iterator[None]:
    for process in processes:
        process.signal(before)
    try:
        yield
    finally:
        for process in processes:
            process.signal(after)


@contextlib.asynccontextmanager
async def running(
    name: str,
    command: Sequence[str],
    *,
    core: int | None,
    log_dir: Path,
    env: Mapping[str, str] | None = None,
    piped: bool = False,
) -> AsyncIterator[Measured]:
    """Runs `command` pinned to `core` until the block ends; its output goes to a log file.

    `piped` keeps its standard input and output for the caller, and only its errors are logged.
    """
    log = log_dir / f"{name.replace(' ', '-')}.log"
    with log.open("wb") as output, pinned_to(core):
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if piped else output,
            stderr=output,
            env={**os.environ, **(env or {})},
        )
    measured = Measured(name, process, log)
    try:
        yield measured
    finally:
        await measured.end()


async def wait_for_line(process: Measured, text: str, *, timeout_s: float) -> str:
    """The first line of the process's output that contains `text`."""

    async def look() -> str:
        while True:
            process.require_alive()
            for line in process.log.read_text(errors="replace").splitlines():
                if text in line:
                    return line
            await asyncio.sleep(0.02)

    return await _in_time(look(), f"{process.name} did not say {text!r}", timeout_s)


async def wait_for_port(process: Measured, port: int, *, timeout_s: float) -> None:
    """Until 127.0.0.1:`port` takes TCP connections."""

    async def knock() -> str:
        while True:
            process.require_alive()
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return ""
            await asyncio.sleep(0.05)

    await _in_time(knock(), f"{process.name} did not listen on port {port}", timeout_s)


async def _in_time(
    waiting: Coroutine[None, None, str],
    complaint: str,
    timeout_s: float,
) -> str:
    try:
        return await asyncio.wait_for(waiting, timeout_s)
    except TimeoutError:
        raise MeasurementError(f"{complaint} within {timeout_s:g} s") from None


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python(*arguments: str) -> list[str]:
    """A command for this interpreter."""
    return [sys.executable, *arguments]
