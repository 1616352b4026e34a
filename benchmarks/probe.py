"""Runs `python -m relay …` as it is, and tells on SIGUSR1 what only the inside can see.

    python -m benchmarks.probe FILE serve …

Whether a task is left behind after a thousand calls cannot be seen from outside. The handler costs
nothing until it is called.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path


def _tell(file: Path) -> None:
    names = Counter(_name(task) for task in asyncio.all_tasks(asyncio.get_running_loop()))
    unfinished = file.with_suffix(".part")
    unfinished.write_text(json.dumps({"tasks": names.total(), "names": names}))
    os.replace(unfinished, file)


def _name(task: asyncio.Task[object]) -> str:
    return getattr(task.get_coro(), "__qualname__", "?")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    signal.signal(signal.SIGUSR1, lambda *_: _tell(target))
    sys.argv = ["relay", *sys.argv[2:]]
    runpy.run_module("relay", run_name="__main__", alter_sys=True)
