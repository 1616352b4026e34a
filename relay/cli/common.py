"""What the commands share: settings, the event loop, and stopping."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from relay.settings import InvalidSettings, Loaded, load

T = TypeVar("T")

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The TOML file; default: relay.toml in this directory, if there is one.",
)


class Failed(click.ClickException):
    """The command could not do its work; the message says what to do."""


def read_settings(path: Path | None, overrides: Mapping[str, object] | None = None) -> Loaded:
    """The settings; raises Failed with the first fault, and how many more there are."""
    try:
        return load(path, overrides=overrides)
    except InvalidSettings as error:
        first, *more = error.problems
        raise Failed(
            first + (f" ({len(more)} more: see `relay config check`)" if more else "")
        ) from None


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` on uvloop where it exists, and returns what it does."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


@asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; a second signal cancels the task, whatever it does."""
    stopped = asyncio.Event()
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if stopped.is_set():
            task.cancel()
        stopped.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield stopped
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
