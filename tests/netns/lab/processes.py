"""The programs of a lab: each a child process in its namespace, with a log of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.netns.lab.namespaces import Namespace

ROOT = Path(__file__).parents[3]
START_S = 20.0
STOP_S = 10.0
CALL_S = 40.0


@dataclass(frozen=True, slots=True)
class Program:
    """One that runs, and what it has logged."""

    process: subprocess.Popen[bytes]
    log: Path

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one kind, where the log is JSON."""
        lines = self.log.read_text(errors="replace").splitlines()
        parsed = (json.loads(line) for line in lines if line.startswith("{"))
        return [line for line in parsed if line.get("event") == event]

    def wait_for(self, text: str, timeout_s: float = START_S) -> None:
        """Until its log has `text`. Raises AssertionError with all it has said instead."""
        deadline = time.monotonic() + timeout_s
        while text not in self.log.read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")
                raise AssertionError(f"{self.log.stem} never said {text!r}:\n{said}")
            time.sleep(0.02)


@contextlib.contextmanager
def program(
    namespace: Namespace,
    log: Path,
    *command: str,
    env: Mapping[str, str] | None = None,
) -> Iterator[Program]:
    """Runs `command` in `namespace`, and ends it as Ctrl-C would."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RELAY_", "OPENAI_")) and not name.lower().endswith("_proxy")
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            namespace.command(*command),
            cwd=log.parent,
            env={**clean, "PYTHONPATH": str(ROOT), **(env or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Program(process, log)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def relay(namespace: Namespace, folder: Path, settings: Mapping[str, str]) -> Iterator[Program]:
    """`relay serve` with `settings` by their names, `http.port` and the like; it says
    `server.started` when it is ready for calls."""
    env = {f"RELAY_{name.upper().replace('.', '__')}": value for name, value in settings.items()}
    command = (sys.executable, "-m", "relay", "serve")
    with program(namespace, folder / "relay.log", *command, env=env) as running:
        yield running


@contextlib.contextmanager
def upstream(namespace: Namespace, folder: Path, options: Mapping[str, Any]) -> Iterator[Program]:
    """The simulator with these SimulatorOptions; it says its URL when it is ready."""
    command = (sys.executable, "-m", "tests.netns.lab.upstream", json.dumps(options))
    with program(namespace, folder / "upstream.log", *command) as running:
        yield running


@contextlib.contextmanager
def proxy(namespace: Namespace, folder: Path, address: str, *ports: int) -> Iterator[str]:
    """An HTTP proxy that asks for Basic credentials; the URL that names it, them included."""
    allowed = "".join(f"ConnectPort {port}\n" for port in ports)
    configuration = folder / "tinyproxy.conf"
    configuration.write_text(
        f"Listen {address}\nPort 3128\nTimeout 60\nMaxClients 20\nLogLevel Info\n"
        f"BasicAuth office north\n{allowed}"
    )
    command = ("tinyproxy", "-d", "-c", str(configuration))
    with program(namespace, folder / "proxy.log", *command) as running:
        running.wait_for("Accepting connections")
        yield f"http://office:north@{address}:3128"


@contextlib.contextmanager
def turn(
    namespace: Namespace, folder: Path, address: str, user: str, credential: str
) -> Iterator[Program]:
    """A coturn with static credentials that relays to anywhere."""
    command = (
        *("turnserver", "-n", "--lt-cred-mech", "--no-cli", "--no-tls", "--no-dtls"),
        *("-L", address, "-r", "relay", "-u", f"{user}:{credential}", "--log-file", "stdout"),
        *("--pidfile", str(folder / "turn.pid"), "--userdb", str(folder / "turn.db")),
    )
    with program(namespace, folder / "turn.log", *command) as running:
        running.wait_for("Total General servers")
        yield running


def call(namespace: Namespace, folder: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Chromium calls from within `namespace`; what it saw (tests/netns/lab/driver.py)."""
    log = folder / "caller.log"
    command = (sys.executable, "-m", "tests.netns.lab.driver", json.dumps(plan))
    with program(namespace, log, *command) as running:
        try:
            running.process.wait(CALL_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the caller took too long:\n{log.read_text()}") from None
        lines = log.read_text().splitlines()
    if running.process.returncode != 0 or not lines:
        raise AssertionError(f"the caller failed:\n{log.read_text()}")
    seen: dict[str, Any] = json.loads(lines[-1])
    return seen
