"""What every test gets: the event loop, and the guards that make a quiet defect a red test.

- Tests run on uvloop where it exists; `PYTEST_LOOP=asyncio` or `PYTEST_LOOP=both` chooses.
  A test marked `both_loops` runs on each, and so does what `--both-loops-in` names.
- Code of `relay` that blocks the event loop raises `blockbuster.BlockingError`.
- An async test that leaves a task, a thread, a socket or an unhandled error behind fails.
- Hypothesis is deterministic under CI; `HYPOTHESIS_PROFILE=thorough` looks further.

The guards expect an event loop per test: leave pytest-asyncio's loop scopes at "function".
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio
from blockbuster import BlockBuster

from tests.stores import postgresql

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# Things that end by themselves need a few turns of the loop: a transport's close, a cancelled task.
GRACE_S = 1.0

# (function, end of a file's path, functions in that file below which it may block) and why:
MAY_BLOCK: tuple[tuple[str, str, frozenset[str]], ...] = (
    # an import inside a function reads its file once, before the first call is served
    ("io.BufferedReader.read", "<frozen importlib._bootstrap_external>", frozenset({"get_data"})),
    ("os.listdir", "<frozen importlib._bootstrap_external>", frozenset({"_fill_cache"})),
    ("os.stat", "<frozen importlib._bootstrap_external>", frozenset({"_path_stat"})),
)

# One example is far under this; the bound tells an endless loop from a slow machine.
DEADLINE_MS = 2_000

hypothesis.settings.register_profile("dev", deadline=DEADLINE_MS)
hypothesis.settings.register_profile(
    "ci", deadline=DEADLINE_MS, derandomize=True, print_blob=True, database=None
)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=5_000)
hypothesis.settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev")
)


def _loop_factories() -> dict[str, LoopFactory]:
    factories: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop
    except ImportError:
        return factories

    class Loop(uvloop.Loop):
        """Closes even where a transport was left open, which the leak guard has reported.

        uvloop warns of it while it closes; a warning that is an error leaves it waiting for ever.
        """

        def close(self) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                super().close()

    return {"uvloop": Loop, **factories}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--both-loops-in",
        action="append",
        default=[],
        metavar="FOLDER",
        help="run the async tests below FOLDER on uvloop and on asyncio's own loop",
    )


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, LoopFactory]:
    factories = _loop_factories()
    wanted = os.environ.get("PYTEST_LOOP", next(iter(factories)))
    folders = [config.rootpath / folder for folder in config.getoption("both_loops_in")]
    if (
        wanted == "both"
        or item.get_closest_marker("both_loops")
        or any(item.path.is_relative_to(folder) for folder in folders)
    ):
        return factories
    if wanted not in factories:
        raise pytest.UsageError(f"PYTEST_LOOP={wanted}: choose one of {', '.join(factories)}, both")
    return {wanted: factories[wanted]}


@pytest.fixture(scope="session", autouse=True)
def _hermetic_environment() -> Iterator[None]:
    """No test sees the settings, keys or proxies of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("RELAY_", "OPENAI_")) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    """A blocking call below a frame of `relay`, under a running loop, raises BlockingError."""
    guard = BlockBuster("relay")
    for function, filename, functions in MAY_BLOCK:
        guard.functions[function].can_block_in(filename, set(functions))
    guard.activate()
    yield
    guard.deactivate()


@pytest.fixture(autouse=True)
def _guard_async_test(request: pytest.FixtureRequest) -> None:
    """Set up before a test's other fixtures, so that the guard looks after they are torn down."""
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("leak_guard")


@pytest.fixture
async def loop_errors() -> AsyncIterator[list[dict[str, Any]]]:
    """What reached the event loop's exception handler; a test that expects an error clears it."""
    errors: list[dict[str, Any]] = []

    def catch(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        errors.append(context)
        # pytest-timeout fails a test from a signal handler, and uvloop brings that error here
        # instead of into the test: end what hangs.
        if isinstance(context.get("exception"), pytest.fail.Exception):
            for task in asyncio.all_tasks(loop):
                task.cancel()

    asyncio.get_running_loop().set_exception_handler(catch)
    yield errors
    if errors:
        different = list(dict.fromkeys(map(repr, errors)))[:10]
        pytest.fail("the event loop caught:\n" + "\n".join(different), pytrace=False)


@pytest.fixture
async def leak_guard(loop_errors: list[dict[str, Any]]) -> AsyncIterator[None]:
    """Fails a test that leaves tasks, non-daemon threads or sockets behind."""
    before = _held()
    yield
    loop = asyncio.get_running_loop()
    await asyncio.wait_for(loop.shutdown_default_executor(), GRACE_S)
    deadline = loop.time() + GRACE_S
    while (leaked := _held() - before) and loop.time() < deadline:  # noqa: ASYNC110 no event tells
        await asyncio.sleep(0.01)
    if leaked:
        pytest.fail("left behind:\n" + "\n".join(sorted(map(str, leaked))), pytrace=False)


def _held() -> set[asyncio.Task[Any] | threading.Thread | str]:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    threads = {thread for thread in threading.enumerate() if not thread.daemon}
    return {*(task for task in tasks if task is not None), *threads, *_sockets()}


def _sockets() -> set[str]:
    """The open network sockets of this process; Unix sockets belong to the loop and to pytest.

    Each with its inode, which tells a socket from an equal one opened later. Linux only.
    """
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            inode = os.readlink(entry)
            if not inode.startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as twin:
                if twin.family in {socket.AF_INET, socket.AF_INET6}:
                    found.add(f"{inode} {twin.family.name} {twin.type.name} {twin.getsockname()}")
        except OSError:  # closed meanwhile, as the directory's own descriptor is
            continue
    return found


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """A PostgreSQL for all tests, slow ones alone; who stops it starts it again."""
    if reason := postgresql.why_not():
        pytest.skip(reason)
    with postgresql.running() as running:
        yield running
