"""The command line as a person has it: in this process where it ends by itself, else in its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from relay.cli import main

ROOT = Path(__file__).parents[2]
START_S = 30.0
STOP_S = 15.0


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("keys", "create", "shop")` in this process."""

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["relay", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        code = exit_.value.code
        return Result(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


@dataclass(frozen=True, slots=True)
class Running:
    """A command that runs until it is told to stop. Its output goes to files, which never block."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text("utf-8")

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text("utf-8")

    def wait_for_url(self) -> str:
        """The address that the command says it is at."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            words = self.out.split()
            if words and self.out.endswith("\n"):
                return next(word.rstrip(".") for word in words if word.startswith("http"))
            time.sleep(0.02)
        raise AssertionError(f"it did not start:\n{self.out}{self.err}")

    def stop(self, number: signal.Signals) -> int:
        """Sends the signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_S)


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start("demo", RELAY_HTTP__PORT="0")` as a process of its own, killed if it is left."""
    started: list[Running] = []

    def start(*arguments: str, **variables: str) -> Running:
        folder = tmp_path / f"process-{len(started)}"
        folder.mkdir()
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "relay", *arguments],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
                stdout=out,
                stderr=err,
            )
        started.append(Running(process, folder))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
