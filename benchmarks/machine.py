"""What a figure was measured on, and who else was using it meanwhile."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

RELAY_CORE = 0
"""The relay, or the yardstick in its place, runs here alone."""

LOAD_CORE = 1
"""Everything else of a run shares this one: load client, upstream, and the benchmark itself."""


def facts() -> dict[str, Any]:
    """The machine and the versions, for the JSON beside the figures."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "pinning": _pinning(),
    }


_PACKAGES = ("aiortc", "aioice", "pylibsrtp", "cryptography", "aiohttp", "uvloop")


@contextlib.contextmanager
def pinned_to(core: int) -> Iterator[bool]:
    """Runs this thread on `core` alone, and says whether that was possible.

    A child inherits the affinity of the moment of its start, and so do all its threads.
    """
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {core})
    except OSError:  # there is no such core, or it is not ours
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)


def can_pin() -> bool:
    with pinned_to(RELAY_CORE) as first, pinned_to(LOAD_CORE) as second:
        return first and second


def _pinning() -> str:
    if not can_pin():
        return "none: there are no two cores to choose from"
    return f"relay or yardstick on core {RELAY_CORE}, all else on core {LOAD_CORE}"


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Seconds since boot, over all cores: in use, and taken by the hypervisor."""

    busy_s: float
    stolen_s: float

    @classmethod
    def now(cls) -> CpuTimes:
        times = psutil.cpu_times()
        stolen = float(getattr(times, "steal", 0.0))
        idle = times.idle + getattr(times, "iowait", 0.0)
        return cls(busy_s=sum(times[:8]) - idle - stolen, stolen_s=stolen)

    def others_share(self, before: CpuTimes, ours_s: float, elapsed_s: float) -> float:
        """The part of the machine since `before` that neither ran ours nor was idle."""
        used_s = self.busy_s - before.busy_s + self.stolen_s - before.stolen_s
        return max(0.0, used_s - ours_s) / elapsed_s / (os.cpu_count() or 1)
