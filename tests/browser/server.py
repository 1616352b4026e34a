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
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

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
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """`relay demo ARGUMENTS` in `folder` on a free port of 127.0.0.1, stopped as by Ctrl-C."""
    server = Server(f"http://127.0.0.1:{_free_port()}", folder / "relay.log")
    settings = {
        "RELAY_HTTP__PORT": server.url.rpartition(":")[2],
        "RELAY_ICE__BIND": "127.0.0.1",
        "RELAY_ICE__UDP_PORT": "0",
        "RELAY_TELEMETRY__LOG_FORMAT": "json",
        **(env or {}),
    }
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "relay", "demo", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **settings},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(server, process)
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.url}/readyz", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"relay demo did not become ready:\n{server.logged()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
