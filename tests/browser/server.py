"""`relay demo` as a person starts it: a process of its own, seen through log and ports."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_S = 20.0
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running relay: its origin, and the log of its whole process tree."""

    url: str
    log: Path

    def metric(self, name: str) -> float:
        """The sum of a metric's samples, whatever their labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        samples = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        assert samples, f"no metric {name}"
        return sum(map(float, samples))

    def wait_until_idle(self, timeout_s: float = 30.0) -> None:
        """Returns when the relay has no call left; a call that outlives its browser is a leak."""
        deadline = time.monotonic() + timeout_s
        while calls := self.metric("relay_sessions"):
            assert time.monotonic() < deadline, f"{calls:.0f} calls are left"
            time.sleep(0.05)

    def logged(self, since: int = 0) -> str:
        """What was logged from a byte on."""
        return self.log.read_bytes()[since:].decode(errors="replace")


@contextlib.contextmanager
def running(
    folder: Path, command: str = "demo", env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """`relay demo`, or `serve`, in `folder` on a free port of 127.0.0.1, stopped as by Ctrl-C."""
    port = _free_port()
    server = Server(f"http://127.0.0.1:{port}", folder / "relay.log")
    settings = {
        "RELAY_HTTP__PORT": str(port),
        "RELAY_ICE__BIND": "127.0.0.1",
        "RELAY_ICE__UDP_PORT": "0",
        "RELAY_TELEMETRY__LOG_FORMAT": "json",
        **(env or {}),
    }
    with _process(server.log, command, env=settings) as process:
        _wait_until_ready(f"{server.url}/readyz", process, server.log)
        yield server


@contextlib.contextmanager
def simulator(folder: Path, *arguments: str) -> Iterator[str]:
    """`relay simulate ARGUMENTS` on a free port of 127.0.0.1; the URL for `upstream.url`."""
    port, log = _free_port(), folder / "simulator.log"
    with _process(log, "simulate", "--port", str(port), *arguments) as process:
        _wait_until_ready(f"http://127.0.0.1:{port}/", process, log)
        yield f"http://127.0.0.1:{port}/v1"


@contextlib.contextmanager
def _process(
    log: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "relay", *arguments],
            cwd=log.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except urllib.error.HTTPError as answer:
            if answer.code == HTTPStatus.NOT_FOUND:  # the simulator serves no pages
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} did not become ready:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
