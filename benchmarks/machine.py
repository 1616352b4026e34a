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
LOAD_CORE = 1


@dataclass(frozen=True, slots=True)
class Site:
    """Where a run keeps its logs, and whether its processes are held to a core each.

    Held, the relay or the yardstick in its place has one core alone, and everything else shares
    the other: load client, upstream, and the benchmark itself.
    """

    folder: Path
    pinned: bool = True

    @property
    def relay_core(self) -> int | None:
        return RELAY_CORE if self.pinned else None

    @property
    def load_core(self) -> int | None:
        return LOAD_CORE if self.pinned else None


def facts(site: Site) -> dict[str, Any]:
    """The machine and the versions, for the JSON beside the figures."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "pinning": pinning(site),
    }


_PACKAGES = ("aiortc", "aioice", "pylibsrtp", "cryptography", "aiohttp", "uvloop")


@contextlib.contextmanager
def pinned_to(core: int | None) -> Iterator[bool]:
    """Runs this thread on `core` alone, and says whether that was possible. None: anywhere.

    A child inherits the affinity of the moment of its start, and so do all its threads.
    """
    if core is None:
        yield True
        return
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


def pinning(site: Site) -> str:
    """What was held to which core, in words."""
    if not site.pinned:
        return "none"
    with pinned_to(RELAY_CORE) as first, pinned_to(LOAD_CORE) as second:
        if not (first and second):
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
