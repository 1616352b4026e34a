"""The guards of tests/conftest.py, played in a pytest of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CONFTEST = Path(__file__).parents[1] / "conftest.py"

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
timeout = 3
markers = both_loops: on each loop
"""

PLAYS = """
import asyncio, os, socket, threading, time
import pytest
import relay

KEEP = []
BLOCKS = compile("def nap():\\n time.sleep(0)\\n", relay.__path__[0] + "/nap.py", "exec")
exec(BLOCKS)

def start_thread():
    thread = threading.Thread(target=threading.Event().wait, args=(4,))
    thread.start()
    return thread

async def leaves_a_task():
    KEEP.append(asyncio.create_task(asyncio.Event().wait()))

async def leaves_a_socket():
    KEEP.append(socket.socket())

async def leaves_a_transport():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    KEEP.append(transport)

async def leaves_a_thread():
    KEEP.append(start_thread())

async def leaves_an_error():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)

async def blocks():
    nap()

async def warns():
    import warnings
    warnings.warn("x")

async def hangs():
    await asyncio.Event().wait()

async def is_clean():
    with socket.socket():
        await asyncio.to_thread(int)
        await asyncio.create_task(asyncio.sleep(0))

@pytest.mark.parametrize(
    "play",
    [leaves_a_task, leaves_a_socket, leaves_a_transport, leaves_a_thread, leaves_an_error]
    + [blocks, warns, hangs, is_clean],
)
async def test_it(play):
    await play()

@pytest.mark.both_loops
async def test_loop():
    print("loop", type(asyncio.get_running_loop()).__module__)

def test_environment():
    assert "RELAY_HTTP__PORT" not in os.environ
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "pytest.ini").write_text(INI)
    (folder / "test_plays.py").write_text(PLAYS)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-rAs", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env={"PYTHONPATH": str(CONFTEST.parents[1]), "RELAY_HTTP__PORT": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return run.stdout + run.stderr


@pytest.mark.parametrize(
    ("play", "words"),
    [
        ("leaves_a_task", "left behind:\n<Task pending"),
        ("leaves_a_socket", "left behind:\nsocket:["),
        ("leaves_a_transport", "left behind:\nsocket:["),
        ("leaves_a_thread", "left behind:\n<Thread(Thread-"),
        ("leaves_an_error", "ZeroDivisionError"),
        ("hangs", "Timeout (>3.0s)"),
    ],
)
def test_guard_when_something_is_left_reports_an_error(
    outcomes: str, play: str, words: str
) -> None:
    assert f"ERROR test_plays.py::test_it[{play}]" in outcomes, outcomes

    assert words in outcomes


@pytest.mark.parametrize(
    ("play", "words"),
    [
        ("blocks", "Blocking call to time.sleep"),
        ("warns", "UserWarning: x"),
        ("hangs", "CancelledError"),
    ],
)
def test_guard_when_a_test_misbehaves_fails_it(outcomes: str, play: str, words: str) -> None:
    assert f"FAILED test_plays.py::test_it[{play}] " in outcomes, outcomes

    assert words in outcomes


def test_guard_when_nothing_is_left_stays_silent(outcomes: str) -> None:
    assert "PASSED test_plays.py::test_it[is_clean]" in outcomes, outcomes
    assert "ERROR test_plays.py::test_it[is_clean]" not in outcomes
    assert "PASSED test_plays.py::test_environment" in outcomes


def test_both_loops_marker_runs_the_test_on_each_loop(outcomes: str) -> None:
    pytest.importorskip("uvloop")

    assert "PASSED test_plays.py::test_loop[uvloop]" in outcomes, outcomes
    assert "PASSED test_plays.py::test_loop[asyncio]" in outcomes
